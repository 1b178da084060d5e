//! Deleting objects: in batches where nothing depends on which object it is, one by one where something does.

use aws_sdk_s3::operation::delete_objects::DeleteObjectsOutput;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures_util::stream::{self, StreamExt as _};

use super::super::bounds;
use super::super::{Deletion, Error, ErrorKind, Result};
use super::bucket::{Bucket, quoted};

/// The most names in one DeleteObjects request and in one page of a listing, by the API.
pub(super) const PAGE_NAMES: usize = 1000;

/// Conditional deletions under way at a time.
const PARALLEL_DELETES: usize = 16;

impl Bucket {
    /// Deletes up to a thousand objects in one request. Only what the answer names by its very key counts as deleted; what
    /// it does not name at all is deleted by itself, for an answer of its own.
    pub(super) async fn delete_page(&self, page: &[&Deletion]) -> Vec<Result<()>> {
        let keys: Vec<Result<String>> = page.iter().map(|deletion| self.place.full("delete", &deletion.name)).collect();
        let identifier = |key: &String| ObjectIdentifier::builder().key(key).build().ok();
        let identifiers: Vec<_> = keys.iter().flatten().filter_map(identifier).collect();
        if identifiers.is_empty() {
            return keys.into_iter().map(|key| key.map(drop)).collect();
        }
        let request = self.place.request("delete", page[0].name.as_str(), ErrorKind::Changed);
        let delete = match Delete::builder().set_objects(Some(identifiers)).quiet(false).build() {
            Ok(delete) => delete,
            Err(error) => return spread(page, &Error::new(ErrorKind::Invalid, "delete", self).source(error)),
        };
        let sent = self
            .patient
            .delete_objects()
            .bucket(&self.place.bucket)
            .delete(delete)
            .set_request_payer(self.payer.clone());
        let bound = if self.health.is_down() { bounds::DOWN } else { bounds::DELETE };
        let Ok(sent) = tokio::time::timeout(bound, sent.send()).await else {
            self.health.gave_up();
            let silent = Error::new(ErrorKind::Unavailable, "delete", self);
            return spread(page, &silent.detail(format!("no answer for {} s", bound.as_secs())));
        };
        let told = match sent {
            Ok(answer) => match deleted(&answer, page, &keys) {
                Ok(told) => told,
                Err(error) => return spread(page, &error.about(self)),
            },
            Err(failure) => return spread(page, &request.failed(failure)),
        };
        let unnamed: Vec<&Deletion> =
            page.iter().zip(&told).filter(|(_, told)| told.is_none()).map(|(d, _)| *d).collect();
        let mut singly = self.delete_singly(&unnamed).await.into_iter();
        let missing = || Err(Error::new(ErrorKind::Corrupt, "delete", self).detail("the store gave no answer"));
        told.into_iter().map(|told| told.or_else(|| singly.next()).unwrap_or_else(missing)).collect()
    }

    pub(super) async fn delete_singly(&self, deletions: &[&Deletion]) -> Vec<Result<()>> {
        let owned: Vec<Deletion> = deletions.iter().map(|deletion| (*deletion).clone()).collect();
        let requests = owned.into_iter().map(|deletion| self.delete_one(deletion));
        stream::iter(requests).buffered(PARALLEL_DELETES).collect().await
    }

    pub(super) async fn delete_one(&self, deletion: Deletion) -> Result<()> {
        let key = self.place.full("delete", &deletion.name)?;
        let sent = self
            .client
            .delete_object()
            .bucket(&self.place.bucket)
            .key(key)
            .set_if_match(deletion.if_match.as_ref().map(quoted))
            .set_request_payer(self.payer.clone())
            .send()
            .await;
        let request = self.place.request("delete", deletion.name.as_str(), ErrorKind::Changed);
        match sent.map_err(|failure| request.failed(failure)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound && deletion.if_match.is_none() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What the answer to a batch says of each deletion; none where it does not name it. An error about something that was not
/// asked for spoils all of it: it may be any of them, under another spelling.
fn deleted(
    answer: &DeleteObjectsOutput,
    page: &[&Deletion],
    keys: &[Result<String>],
) -> Result<Vec<Option<Result<()>>>> {
    let place = |key: Option<&str>| keys.iter().position(|asked| asked.as_deref().ok() == key && key.is_some());
    let mut told: Vec<Option<Result<()>>> =
        keys.iter().map(|key| key.as_ref().err().map(|error| Err(error.about(error.object())))).collect();
    for done in answer.deleted() {
        if let Some(at) = place(done.key()) {
            told[at] = Some(Ok(()));
        }
    }
    for failed in answer.errors() {
        let code = failed.code().unwrap_or("no code");
        let detail = format!("{} ({code})", failed.message().unwrap_or("refused"));
        let kind = match code {
            "NoSuchKey" => None,
            "AccessDenied" => Some(ErrorKind::Denied),
            "SlowDown" | "InternalError" | "ServiceUnavailable" => Some(ErrorKind::Unavailable),
            _ => Some(ErrorKind::Other),
        };
        let Some(at) = place(failed.key()) else {
            let shown = failed.key().unwrap_or("no name");
            return Err(Error::new(kind.unwrap_or(ErrorKind::Corrupt), "delete", "")
                .detail(format!("the store names an object that was not asked for, `{shown}`: {detail}")));
        };
        told[at] = Some(match kind {
            Some(kind) => Err(Error::new(kind, "delete", &page[at].name).detail(detail)),
            None => Ok(()),
        });
    }
    Ok(told)
}

/// The same failure for each of them.
fn spread(page: &[&Deletion], error: &Error) -> Vec<Result<()>> {
    page.iter().map(|deletion| Err(error.about(&deletion.name))).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{DeletedObject, Error as Failed};

    use super::super::super::ObjectName;
    use super::*;

    /// What is said of the keys `a`, `b` and `c`: their names if deleted, or the failure's kind.
    fn told(answer: &DeleteObjectsOutput) -> Result<Vec<Option<std::result::Result<(), ErrorKind>>>> {
        let names = ["a", "b", "c"].map(|name| ObjectName::new(name).unwrap());
        let deletions = names.each_ref().map(|name| Deletion { name: name.clone(), if_match: None });
        let keys = names.map(|name| Ok(format!("prefix/{name}")));
        let told = deleted(answer, &deletions.each_ref()[..], &keys)?;
        Ok(told.into_iter().map(|one| one.map(|one| one.map_err(|error| error.kind()))).collect())
    }

    fn done(key: &str) -> DeletedObject {
        DeletedObject::builder().key(key).build()
    }

    fn failed(key: Option<&str>, code: &str) -> Failed {
        Failed::builder().set_key(key.map(str::to_owned)).code(code).message("no").build()
    }

    #[test]
    fn only_what_an_answer_names_counts_as_deleted() {
        let answer = DeleteObjectsOutput::builder()
            .deleted(done("prefix/a"))
            .errors(failed(Some("prefix/b"), "AccessDenied"))
            .build();
        assert_eq!(told(&answer).unwrap(), [Some(Ok(())), Some(Err(ErrorKind::Denied)), None]);
        let answer = DeleteObjectsOutput::builder().errors(failed(Some("prefix/c"), "NoSuchKey")).build();
        assert_eq!(told(&answer).unwrap(), [None, None, Some(Ok(()))]);
        // Under another spelling: not the object that was asked for.
        let answer = DeleteObjectsOutput::builder().deleted(done("prefix%2Fa")).deleted(done("a")).build();
        assert_eq!(told(&answer).unwrap(), [None, None, None]);
    }

    #[test]
    fn an_error_about_something_else_spoils_the_whole_answer() {
        for key in [None, Some("prefix%2Fa"), Some("a"), Some("prefix/d")] {
            let answer =
                DeleteObjectsOutput::builder().deleted(done("prefix/a")).errors(failed(key, "AccessDenied")).build();
            assert_eq!(told(&answer).unwrap_err().kind(), ErrorKind::Denied, "{key:?}");
        }
    }
}
