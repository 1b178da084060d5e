//! Lists of refs as git prints them, line by line.
//!
//! What is not on such a list is deleted, so a line that is misread costs the entries of a live branch. Every form that can
//! be told apart is understood, every line that cannot be a ref is an error, and where a line may mean two refs, both live.

use std::collections::BTreeSet;

/// A line that is no ref.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) line: String,
    pub(crate) reason: &'static str,
}

/// The refs in `text`: names in full or short, one to a line, or what `git ls-remote`, `git show-ref`,
/// `git for-each-ref` or `git branch` print.
pub(crate) fn parse(text: &str) -> Result<BTreeSet<String>, BadLine> {
    let mut refs = BTreeSet::new();
    // Known without being told: a checkout in CI rarely has `origin/HEAD`.
    let mut remotes = BTreeSet::from(["origin"]);
    // Some editors and shells begin a file with a mark.
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let bad = |reason| BadLine { number, line: line.to_owned(), reason };
        let trimmed = line.trim_ascii();
        if trimmed.is_empty() {
            continue;
        }
        let Some(name) = name(trimmed).map_err(bad)? else { continue };
        if let Some(remote) = name.strip_suffix("/HEAD") {
            remotes.insert(remote.strip_prefix("remotes/").unwrap_or(remote));
        } else if name != "HEAD" {
            refs.insert(name.to_owned());
        }
    }
    let also: Vec<String> = refs.iter().flat_map(|name| of_remote(name, &remotes)).collect();
    refs.extend(also);
    Ok(refs)
}

/// The ref that a line without blanks around it names; none if it is one of `git branch` that names none.
fn name(line: &str) -> Result<Option<&str>, &'static str> {
    if let Some((before, name)) = line.split_once('\t') {
        return in_full(before, name).map(Some);
    }
    if let Some((id, name)) = line.split_once(' ')
        && is_object_id(id)
    {
        return in_full(id, name).map(Some);
    }
    // The current branch, and those of other working trees.
    let name = line.strip_prefix("* ").or_else(|| line.strip_prefix("+ ")).unwrap_or(line).trim_ascii_start();
    // `(HEAD detached at 1234567)`, in the words of the user's language.
    if name.starts_with('(') && name.ends_with(')') && name.contains(' ') {
        return Ok(None);
    }
    // `origin/HEAD -> origin/main`
    let name = name.split_once(" -> ").map_or(name, |(name, _)| name);
    check(name)?;
    if is_object_id(name) {
        return Err("it is the id of an object, and no name");
    }
    if name.starts_with(['-', '"', '\'']) {
        return Err("no branch has a name that begins so");
    }
    Ok(Some(name))
}

/// `ID⇥refs/heads/main`, or `ID commit⇥refs/heads/main`, or `ref: refs/heads/main⇥HEAD`.
fn in_full<'a>(before: &str, name: &'a str) -> Result<&'a str, &'static str> {
    let id = before.split_once(' ').map_or(before, |(id, _)| id);
    if !is_object_id(id) && !before.starts_with("ref: refs/") {
        return Err("what stands before the ref is not the id of an object");
    }
    // What an annotated tag leads to.
    let name = name.trim_ascii();
    let name = name.strip_suffix("^{}").unwrap_or(name);
    if name != "HEAD" && !name.starts_with("refs/") {
        return Err("what follows the id of the object is not a full ref (`refs/…`)");
    }
    check(name).map(|()| name)
}

/// The branches that `name` may stand for if it is one of a remote: `git branch -a` shortens
/// `refs/remotes/origin/main` to `remotes/origin/main`, and `git branch -r` to `origin/main`.
fn of_remote(name: &str, remotes: &BTreeSet<&str>) -> Option<String> {
    if let Some((_, branch)) = name.strip_prefix("remotes/").and_then(|rest| rest.split_once('/')) {
        return Some(branch.to_owned());
    }
    let (_, branch) = name.split_once('/').filter(|(remote, _)| remotes.contains(remote))?;
    Some(branch.to_owned())
}

fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The rules of `git check-ref-format`.
fn check(name: &str) -> Result<(), &'static str> {
    let is_forbidden = |c: char| c.is_ascii_control() || c == ' ' || "~^:?*[\\".contains(c);
    if name.contains(is_forbidden) {
        return Err("no ref has blanks, control characters or any of `~^:?*[\\` in its name");
    }
    if name.contains("..") || name.contains("@{") || name == "@" || name.ends_with('.') {
        return Err("no ref is named `@`, ends in `.`, or has `..` or `@{` in its name");
    }
    let is_bad = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    if name.split('/').any(is_bad) {
        return Err("no part of a ref between slashes is empty, begins with `.` or ends in `.lock`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn refs(text: &str) -> Vec<String> {
        parse(text).unwrap().into_iter().collect()
    }

    #[test]
    fn what_git_prints_is_understood() {
        assert_eq!(
            refs(" main \n\n\trefs/heads/x\r\nübersicht\r\n\u{a0}"),
            ["main", "refs/heads/x", "\u{a0}", "übersicht"]
        );
        assert_eq!(refs("\u{feff}main"), ["main"]);
        let long = "ab".repeat(32);
        let remote = format!(
            "ref: refs/heads/main\tHEAD\n{ID}\tHEAD\r\n{ID}\trefs/heads/main\n{long}\trefs/tags/v1\n{ID}\trefs/tags/v1^{{}}\n"
        );
        assert_eq!(refs(&remote), ["refs/heads/main", "refs/tags/v1"]);
        assert_eq!(refs(&format!("{ID} refs/heads/a\n{ID} commit\trefs/heads/b\n")), ["refs/heads/a", "refs/heads/b"]);
        assert_eq!(refs("  a\n* main\n+ other/x\n"), ["a", "main", "other/x"]);
        assert_eq!(refs("* (HEAD detached at 1234567)\n  main\n"), ["main"]);
        let all = "* main\n  remotes/origin/HEAD -> origin/main\n  remotes/origin/main\n  remotes/fork/topic/x\n";
        assert_eq!(refs(all), ["main", "remotes/fork/topic/x", "remotes/origin/main", "topic/x"]);
        assert_eq!(refs("  fork/HEAD -> fork/a\n  fork/a\n  origin/b\n"), ["a", "b", "fork/a", "origin/b"]);
        assert!(refs("").is_empty() && refs("HEAD\n").is_empty() && refs(&format!("{ID}\tHEAD\n")).is_empty());
    }

    #[test]
    fn a_line_that_is_no_ref_is_an_error() {
        let lines = [
            "main 1234567 a subject",
            "* main 1234567 [origin/main] a subject",
            "* * main",
            "- main",
            "main topic",
            "From https://example.com/repository",
            "https://example.com/main",
            "[\"main\", \"topic\"]",
            "\"main\",",
            "'main'",
            "-x",
            "a..b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[b",
            "a\\b",
            "a\u{7f}b",
            "a\0b",
            "\u{1b}[32mmain\u{1b}[m",
            "/main",
            "main/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a.lock/b",
            "a.",
            "a@{1}",
            "@",
            "main\ttopic",
            "1234567\trefs/heads/main",
            ID,
        ];
        let more =
            [format!("{ID}\tmain"), format!("{ID}\t{ID}"), format!("{ID}\trefs/heads/a b"), format!("{ID} main")];
        for line in lines.into_iter().chain(more.iter().map(String::as_str)) {
            let bad = parse(&format!("main\n\n{line}\n")).expect_err(line);
            assert_eq!((bad.number, &*bad.line), (3, line), "{}", bad.reason);
        }
    }
}
