//! What the user asks for each object that is written: encryption and storage class.
//!
//! A store that does not know them refuses the request, and its answer does not say which header it is about. A storage
//! class only changes the price, so the object is then sent without one. Encryption is never left out: its option is
//! named.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};

use super::super::{Error, ErrorKind};
use super::options::{Encryption, S3Options};

/// What goes with each write. Clones share what has been refused.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteOptions {
    encryption: Option<Encryption>,
    storage_class: Option<String>,
    is_class_refused: Arc<AtomicBool>,
}

impl WriteOptions {
    pub(super) fn new(options: &S3Options) -> Self {
        Self {
            encryption: options.encryption.clone(),
            storage_class: options.storage_class.clone(),
            is_class_refused: Arc::default(),
        }
    }

    /// The algorithm and the key.
    pub(super) fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.encryption {
            None => (None, None),
            Some(Encryption::S3) => (Some(ServerSideEncryption::Aes256), None),
            Some(Encryption::Kms(key)) => (Some(ServerSideEncryption::AwsKms), key.clone()),
        }
    }

    /// The storage class, unless the store has refused it.
    pub(super) fn storage_class(&self) -> Option<StorageClass> {
        let class = self.storage_class.as_deref().filter(|_| !self.is_class_refused.load(Ordering::Relaxed));
        class.map(StorageClass::from)
    }

    /// The storage class that was asked for and that the store has refused.
    pub(super) fn refused_class(&self) -> Option<&str> {
        self.storage_class.as_deref().filter(|_| self.is_class_refused.load(Ordering::Relaxed))
    }

    /// Whether to send a refused write again without the storage class, `sent` with it. Writes that are under way at the
    /// same time each learn of the refusal for themselves. If that fails too: [`Self::not_the_class`].
    pub(super) fn drop_class(&self, error: &Error, sent: Option<&StorageClass>) -> bool {
        let is_dropped = is_refusal(error) && sent.is_some();
        if is_dropped {
            self.is_class_refused.store(true, Ordering::Relaxed);
        }
        is_dropped
    }

    /// It was not the storage class, or not that alone.
    pub(super) fn not_the_class(&self, error: Error, store: &dyn std::fmt::Display) -> Error {
        self.is_class_refused.store(false, Ordering::Relaxed);
        self.blame(error, store)
    }

    /// Names the options whose headers the store may have refused, in the error of a write without tags.
    pub(super) fn blame(&self, error: Error, store: &dyn std::fmt::Display) -> Error {
        let mut options = Vec::new();
        match &self.encryption {
            Some(Encryption::S3) => options.push("`--s3-sse AES256`".to_owned()),
            Some(Encryption::Kms(None)) => options.push("`--s3-sse aws:kms`".to_owned()),
            Some(Encryption::Kms(Some(_))) => options.push("`--s3-sse aws:kms` with `--s3-kms-key`".to_owned()),
            None => {}
        }
        if let Some(class) = self.storage_class() {
            options.push(format!("`--s3-storage-class {}`", class.as_str()));
        }
        if options.is_empty() || !is_refusal(&error) {
            return error;
        }
        let options = options.join(" or ");
        let detail = format!("the store refuses what {options} asks for: {}", error.reason());
        error.about(store).detail(detail).hint(format!("leave out {options} if this store does not support it"))
    }
}

/// Whether a header may be what the store does not like.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Invalid)
}
