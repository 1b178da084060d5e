//! The refs that still exist, and which branch tags are those of refs that do not.

use std::collections::HashSet;

use crate::naming::{branch_tag, encode_tag_value};

/// The refs of a repository, to tell entries of live ones from those of dead ones.
///
/// A list need not be complete: one made of branches says nothing of tags. So branches are judged only by a list that has
/// a branch, tags only by one that has a tag, and pull requests only by one that has a pull request. An entry whose tag is none of these — of a ref under any
/// other name — is never dead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveRefs {
    /// As in tags, plain and encoded: a value that was too long cannot be decoded.
    tags: HashSet<String>,
    has_branches: bool,
    has_tags: bool,
    /// The numbers of pull requests, as in `7`: git may list another ref of one than the one that its job ran on.
    pull_requests: HashSet<String>,
}

/// What a branch tag stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RefKind {
    Branch,
    Tag,
    PullRequest,
    Other,
}

impl<'a> FromIterator<&'a str> for LiveRefs {
    /// Refs in full (`refs/heads/main`, `refs/tags/v1`), as in tags (`main`, `tags/v1`), and those that a clone has of its
    /// remote (`refs/remotes/origin/main`). Blank names are ignored.
    fn from_iter<T: IntoIterator<Item = &'a str>>(names: T) -> Self {
        let mut live = Self::default();
        for name in names.into_iter().map(str::trim).filter(|name| !name.is_empty()) {
            let tag = match name.strip_prefix("refs/remotes/").and_then(|rest| rest.split_once('/')) {
                Some((_, branch)) => branch,
                None => branch_tag(name),
            };
            live.has_branches |= kind(tag) == RefKind::Branch;
            live.has_tags |= kind(tag) == RefKind::Tag;
            live.pull_requests.extend(pull_request(tag).map(str::to_owned));
            // Other tools may tag entries with the ref in full.
            live.tags.extend([tag.to_owned(), encode_tag_value(tag), encode_tag_value(name)]);
        }
        live
    }
}

impl LiveRefs {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Whether an entry with this branch tag belongs to a ref that no longer exists.
    pub fn is_dead(&self, tag: &str) -> bool {
        let is_judged = match kind(tag) {
            RefKind::Branch => self.has_branches,
            RefKind::Tag => self.has_tags,
            RefKind::PullRequest => !self.pull_requests.is_empty(),
            RefKind::Other => false,
        };
        let is_listed = self.tags.contains(tag) || pull_request(tag).is_some_and(|id| self.pull_requests.contains(id));
        is_judged && !is_listed
    }
}

fn kind(tag: &str) -> RefKind {
    // A value that was too long to be decoded may still be a ref in full.
    match branch_tag(tag) {
        tag if tag.starts_with("tags/") => RefKind::Tag,
        tag if tag.starts_with("pull/") => RefKind::PullRequest,
        tag if tag.starts_with("refs/") => RefKind::Other,
        _ => RefKind::Branch,
    }
}

/// The number of a pull request. `pull/7/head`, its last commit, and `pull/7/merge`, which jobs run on, are both of 7.
fn pull_request(tag: &str) -> Option<&str> {
    branch_tag(tag).strip_prefix("pull/").and_then(|rest| rest.split('/').next()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(names: &[&str]) -> LiveRefs {
        names.iter().copied().collect()
    }

    #[test]
    fn what_is_listed_lives() {
        let long = format!("refs/heads/{}", "x".repeat(300));
        let refs =
            ["refs/heads/main", " topic/x ", "refs/tags/v1", "refs/pull/7/merge", "refs/remotes/origin/far", &long];
        let live = live(&refs);
        let long = encode_tag_value(&"x".repeat(300));
        for tag in ["main", "topic/x", "tags/v1", "pull/7/merge", "far", &long] {
            assert!(!live.is_dead(tag), "{tag}");
        }
        for tag in ["gone", "v1", "tags/v2", "pull/8/merge", "origin/far"] {
            assert!(live.is_dead(tag), "{tag}");
        }
        assert!(!live.is_dead("refs/notes/x") && !live.is_dead("refs/changes/1/2"));
    }

    #[test]
    fn a_list_judges_only_what_it_has() {
        let branches = live(&["main"]);
        assert!(branches.is_dead("gone") && !branches.is_dead("tags/v1") && !branches.is_dead("pull/7/merge"));
        assert!(live(&["main", "refs/tags/v2"]).is_dead("tags/v1"));
        assert!(live(&["main", "refs/pull/8/merge"]).is_dead("pull/7/merge"));
        let tags = live(&["refs/tags/v1", "refs/notes/x"]);
        assert!(!tags.is_dead("main") && tags.is_dead("tags/v2"));
        assert!(live(&["", " "]).is_empty());
    }

    #[test]
    fn any_ref_of_a_pull_request_shows_that_it_lives() {
        for listed in ["refs/pull/7/head", "refs/pull/7/merge", "pull/7/head", "refs/remotes/origin/pull/7/head"] {
            let live = live(&["refs/heads/main", listed]);
            for tag in ["pull/7/merge", "pull/7/head", "refs/pull/7/merge"] {
                assert!(!live.is_dead(tag), "{tag}, with {listed}");
            }
            for tag in ["pull/77/merge", "pull/8/head", "pull/0/7"] {
                assert!(live.is_dead(tag), "{tag}, with {listed}");
            }
        }
    }
}
