//! What programs read: the documents of `--json`, by version.

pub mod v1;
