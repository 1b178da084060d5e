//! The directory of a store: file work is done on threads where it may wait, and its failures are those of a store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::{Error, ErrorKind, Result};
use super::refused::Refused;

/// The directory. Clones are cheap.
#[derive(Clone, Debug)]
pub(super) struct Directory(Arc<Path>);

impl Directory {
    pub(super) fn new(root: PathBuf) -> Self {
        Self(root.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Runs file work on a thread where it may wait.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        object: impl fmt::Display,
        work: impl FnOnce(&Path) -> std::result::Result<T, Refused> + Send + 'static,
    ) -> Result<T> {
        let root = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&root)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(refused)) => Err(refused.into_error(&self.0, action, object)),
            Err(panic) => Err(Error::new(ErrorKind::Other, action, object).source(panic)),
        }
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file://{}", self.0.display())
    }
}
