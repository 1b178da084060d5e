//! The branches that still exist, from a file or from git.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use xcache_cli::{UsageError, child};
use xcache_core::redact::GivenAddress;

use crate::ref_list::{self, BadLine};

/// How much of a line is shown that is no ref.
const MAX_SHOWN_CHARS: usize = 100;

/// Reads a file with one ref to a line, or what git prints of refs.
pub(crate) fn from_file(path: &Path) -> anyhow::Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| UsageError::options(format_args!("cannot read `{}`: {error}", path.display())))?;
    parsed(&text, &path.display().to_string())
}

/// Asks git for the refs of `remote`.
pub(crate) fn from_git(remote: &GivenAddress) -> anyhow::Result<BTreeSet<String>> {
    // A remote that looks like an option stays a remote.
    let output = child::command("git")
        .args(["ls-remote", "--quiet", "--", remote.expose()])
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        // git may repeat the address, with the token in it.
        anyhow::bail!("git cannot list the refs of `{remote}`: {}", remote.redact_in(message.trim()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    parsed(&text, &remote.to_string())
}

/// The refs in `text`. No ref at all is far more likely to be a mistake than a repository without branches.
fn parsed(text: &str, source: &str) -> anyhow::Result<BTreeSet<String>> {
    let refs = ref_list::parse(text).map_err(|BadLine { number, line, reason }| {
        let short: String = line.chars().take(MAX_SHOWN_CHARS).collect();
        UsageError::with_hint(
            format_args!("line {number} of `{source}` is no ref: `{}`: {reason}", short.escape_debug()),
            "write one ref per line, as `git for-each-ref --format='%(refname)'` does",
        )
    })?;
    if refs.is_empty() {
        return Err(UsageError::options(format_args!("no branches in `{source}`: every entry would be deleted")).into());
    }
    Ok(refs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("branches");
        std::fs::write(&path, "\n \n").unwrap();
        assert!(from_file(&path).unwrap_err().to_string().contains("every entry would be deleted"));
        std::fs::write(&path, " main \nrefs/heads/x\n").unwrap();
        let expected = ["main", "refs/heads/x"].map(str::to_owned);
        assert_eq!(from_file(&path).unwrap(), BTreeSet::from(expected));
        assert!(from_file(&dir.path().join("missing")).is_err());
        // What a redirection of Windows PowerShell writes.
        std::fs::write(&path, b"\xff\xfem\0a\0i\0n\0").unwrap();
        assert!(from_file(&path).is_err());
    }

    #[test]
    fn a_line_that_is_no_ref_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("branches");
        std::fs::write(&path, "main\ntopic\t1\n").unwrap();
        let error = from_file(&path).unwrap_err().to_string();
        assert!(error.contains("line 2 of `") && error.contains("branches` is no ref: `topic\\t1`"), "{error}");
    }

    #[test]
    fn git_is_asked_and_believed_only_when_it_answers() {
        let dir = tempfile::tempdir().unwrap();
        let remote = dir.path().join("no-repository");
        assert!(from_git(&remote.to_str().unwrap().into()).is_err());
    }
}
