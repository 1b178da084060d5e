//! What an answer must hold to count as one, and which answers are asked for again.
//!
//! The SDK reads XML as far as it goes: a listing that was cut after its tenth object looks like one of ten objects, and a
//! page of HTML with status 200 like an object without an ETag. Here each answer is looked at as a whole, for every request
//! of the store; what is not one is sent again like any other failure on the way, and in the end is an error.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::operation::create_multipart_upload::CreateMultipartUploadOutput;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::operation::upload_part::UploadPartOutput;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, InterceptorContext, Output,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};

/// What is wrong with an answer that says that all is well.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Absurd {
    /// Its document has no end.
    #[error("the answer ends early: the end of its document is missing")]
    NoEnd,
    /// A listing is not as long as it says.
    #[error("the answer ends early: it holds {found} names of {said}")]
    TooFew {
        /// Names in it.
        found: usize,
        /// Names that it says it has.
        said: i32,
    },
    /// A listing goes on, and does not say where.
    #[error("the answer has no continuation token")]
    NoToken,
    /// A field that every answer must have.
    #[error("the answer has no {0}")]
    Lacks(&'static str),
    /// Not from a store at all.
    #[error("the answer is a web page, not one of an S3 store")]
    WebPage,
}

/// Looks at each answer as a whole.
#[derive(Debug)]
pub(super) struct Complete;

impl Intercept for Complete {
    fn name(&self) -> &'static str {
        "complete answers"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Ok(output) = context.output_or_error() else { return Ok(()) };
        let operation = config.load::<Metadata>().map_or("", Metadata::name);
        match absurd(operation, context.response(), output) {
            Some(absurd) => Err(absurd.into()),
            None => Ok(()),
        }
    }
}

fn absurd(operation: &str, answer: &HttpResponse, output: &Output) -> Option<Absurd> {
    // HEAD and the like have no document, and bodies of objects are streams.
    let document = match operation {
        "ListObjectsV2"
        | "ListObjectVersions"
        | "GetBucketVersioning"
        | "GetBucketLifecycleConfiguration"
        | "GetBucketEncryption"
        | "ListMultipartUploads"
        | "DeleteObjects"
        | "CompleteMultipartUpload"
        | "CreateMultipartUpload" => answer.body().bytes(),
        // Ceph 16 has no document for an object without tags, and says so.
        "GetObjectTagging" if answer.headers().get("content-length") == Some("0") => None,
        "GetObjectTagging" => answer.body().bytes(),
        _ => None,
    };
    if document.is_some_and(|document| !ends(document)) {
        return Some(if is_web_page(answer) { Absurd::WebPage } else { Absurd::NoEnd });
    }
    let lacks = lacking(output)?;
    Some(if is_web_page(answer) { Absurd::WebPage } else { lacks })
}

/// What an answer lacks that each of its kind must have.
fn lacking(output: &Output) -> Option<Absurd> {
    let lacks = |field: Option<&str>, name| field.is_none_or(str::is_empty).then_some(Absurd::Lacks(name));
    if let Some(list) = output.downcast_ref::<ListObjectsV2Output>() {
        let found = list.contents().len() + list.common_prefixes().len();
        return match list.key_count() {
            Some(said) if usize::try_from(said) != Ok(found) => Some(Absurd::TooFew { found, said }),
            _ if list.is_truncated() == Some(true) && list.next_continuation_token().is_none() => Some(Absurd::NoToken),
            _ => None,
        };
    }
    if let Some(found) = output.downcast_ref::<HeadObjectOutput>() {
        return lacks(found.e_tag(), "ETag");
    }
    if let Some(found) = output.downcast_ref::<GetObjectOutput>() {
        return lacks(found.e_tag(), "ETag");
    }
    if let Some(found) = output.downcast_ref::<PutObjectOutput>() {
        return lacks(found.e_tag(), "ETag");
    }
    if let Some(found) = output.downcast_ref::<UploadPartOutput>() {
        return lacks(found.e_tag(), "ETag");
    }
    if let Some(found) = output.downcast_ref::<CreateMultipartUploadOutput>() {
        return lacks(found.upload_id(), "upload id");
    }
    None
}

/// Whether an XML document is there to its end: its last tag closes its first one.
fn ends(document: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(document) else { return false };
    let mut rest = text.trim();
    while rest.starts_with("<?") || rest.starts_with("<!--") {
        let Some((_, after)) = rest.split_once('>') else { return false };
        rest = after.trim_start();
    }
    let Some(opened) = rest.strip_prefix('<') else { return false };
    let name = opened.split(|c: char| c.is_whitespace() || c == '>' || c == '/').next().unwrap_or_default();
    if name.is_empty() {
        return false;
    }
    let is_closed = rest.strip_suffix('>').map(str::trim_end).and_then(|rest| rest.strip_suffix(name));
    match is_closed {
        Some(rest) if rest.ends_with("</") => true,
        // `<DeleteResult/>`: one tag is all of it.
        _ => opened.ends_with("/>") && !opened.contains('<'),
    }
}

fn is_web_page(answer: &HttpResponse) -> bool {
    let is_html = |kind: &str| kind.trim_start().to_ascii_lowercase().starts_with("text/html");
    answer.headers().get("content-type").is_some_and(is_html)
}

/// Sends again what the SDK does not by itself: throttling by status, proxies in trouble, answers that are none.
#[derive(Debug)]
pub(super) struct SendAgain;

impl ClassifyRetry for SendAgain {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(status) = context.response().map(|answer| answer.status().as_u16()) else {
            return RetryAction::NoActionIndicated;
        };
        let has_failed = context.output_or_error().is_none_or(|output| output.is_err());
        match status {
            429 => RetryAction::throttling_error(),
            // 501 says that the store does not know the request, which will not change.
            408 | 425 | 500 | 502..=599 => RetryAction::transient_error(),
            200..=299 if has_failed => RetryAction::transient_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "answers to ask for again"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_counts_only_with_its_last_tag() {
        let whole = "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\"><Key>a</Key></ListBucketResult>\n";
        assert!(ends(whole.as_bytes()));
        for end in 0..whole.trim_end().len() {
            assert!(!ends(&whole.as_bytes()[..end]), "{}", &whole[..end]);
        }
        for whole in ["<DeleteResult/>", "<DeleteResult xmlns=\"x\" />", "<a></a >", "<s:a xmlns:s=\"x\"></s:a>"] {
            assert!(ends(whole.as_bytes()), "{whole}");
        }
        for cut in ["", "text", "<", "<a><b/>", "<a><b></b>", "</a>", "<?xml?>", "<ab></b>", "\u{1f}\u{8b}"] {
            assert!(!ends(cut.as_bytes()), "{cut}");
        }
    }
}
