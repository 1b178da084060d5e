//! Arguments of `actions/cache` and of the bash actions before us that have no meaning here. They are accepted, so
//! that workflows need no change, and each is answered with a notice.

use clap::Args;

use super::env_vars as var;

/// Accepted and ignored.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Accepted and ignored")]
pub struct CompatArgs {
    /// Part sizes are chosen by size and measurement
    #[arg(long, env = var::UPLOAD_CHUNK_SIZE, value_name = "BYTES")]
    pub upload_chunk_size: Option<String>,

    /// Every archive can be restored on every system
    #[arg(long, env = var::ENABLE_CROSS_OS_ARCHIVE, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub enable_cross_os_archive: Option<String>,

    /// A delta is written if it is small enough
    #[arg(long, env = var::USE_DELTAS, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub use_deltas: Option<String>,

    /// Use `if: always()` on the save step
    #[arg(long, env = var::SAVE_ALWAYS, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub save_always: Option<String>,
}

impl CompatArgs {
    /// One line for each argument that was given.
    pub fn notices(&self) -> Vec<String> {
        let Self { upload_chunk_size, enable_cross_os_archive, use_deltas, save_always } = self;
        // `false` is what these mean anyway; a word about it would be noise. Deltas are the exception: they are on.
        let given = |value: &Option<String>| {
            value.as_deref().is_some_and(|text| !text.trim().is_empty() && !text.trim().eq_ignore_ascii_case("false"))
        };
        let mut notices = Vec::new();
        if given(upload_chunk_size) {
            notices.push("`upload-chunk-size` is ignored: part sizes are chosen by the size of the archive".to_owned());
        }
        if given(enable_cross_os_archive) {
            notices.push("`enableCrossOsArchive` is ignored: archives do not depend on the system".to_owned());
        }
        if use_deltas.as_deref().is_some_and(|text| !text.trim().is_empty()) {
            notices.push(
                "`use-deltas` is ignored: a delta is written when it is small enough (`full: true` asks for a base)"
                    .to_owned(),
            );
        }
        if given(save_always) {
            notices.push("`save-always` is ignored: put `if: always()` on the save step".to_owned());
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ignored_argument_is_answered() {
        let none =
            CompatArgs { upload_chunk_size: None, enable_cross_os_archive: None, use_deltas: None, save_always: None };
        assert!(none.notices().is_empty());
        let quiet = CompatArgs {
            enable_cross_os_archive: Some("false".into()),
            save_always: Some(" False ".into()),
            ..none.clone()
        };
        assert!(quiet.notices().is_empty());
        let all = CompatArgs {
            upload_chunk_size: Some("1024".into()),
            enable_cross_os_archive: Some("true".into()),
            use_deltas: Some("false".into()),
            save_always: Some("true".into()),
        };
        assert_eq!(all.notices().len(), 4);
    }
}
