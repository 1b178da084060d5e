//! The branches that still exist, from a file or from git.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use xcache_cli::{UsageError, child};
use xcache_core::redact::GivenAddress;

/// Reads a file with one branch to a line.
pub(crate) fn from_file(path: &Path) -> anyhow::Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| UsageError::options(format_args!("cannot read `{}`: {error}", path.display())))?;
    let names = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
    not_empty(names.collect(), &path.display().to_string())
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
    let refs = text.lines().filter_map(|line| line.split_once('\t')).map(|(_, name)| name);
    not_empty(refs.map(str::to_owned).collect(), &remote.to_string())
}

/// No branch at all is far more likely to be a mistake than a repository without branches.
fn not_empty(branches: BTreeSet<String>, source: &str) -> anyhow::Result<BTreeSet<String>> {
    if branches.is_empty() {
        return Err(UsageError::options(format_args!("no branches in `{source}`: every entry would go")).into());
    }
    Ok(branches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("branches");
        std::fs::write(&path, "\n \n").unwrap();
        assert!(from_file(&path).unwrap_err().to_string().contains("every entry would go"));
        std::fs::write(&path, " main \nrefs/heads/x\n").unwrap();
        let expected = ["main", "refs/heads/x"].map(str::to_owned);
        assert_eq!(from_file(&path).unwrap(), BTreeSet::from(expected));
        assert!(from_file(&dir.path().join("missing")).is_err());
    }

    #[test]
    fn git_is_asked_and_believed_only_when_it_answers() {
        let dir = tempfile::tempdir().unwrap();
        let remote = dir.path().join("no-repository");
        assert!(from_git(&remote.to_str().unwrap().into()).is_err());
    }
}
