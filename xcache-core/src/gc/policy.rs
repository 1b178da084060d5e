//! What an administrator wants gone.

use chrono::TimeDelta;

use super::live::LiveRefs;

/// Retention rules. Each is a limit of its own: an entry goes as soon as one rule says so, unless it is pinned, younger
/// than the minimum age, noted by a running save, or needed by an entry that stays.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// At most so many entries in a group: the newest stay.
    pub keep_newest: Option<u32>,
    /// What makes a group.
    pub group_by: GroupBy,
    /// Entries older than this go.
    pub max_age: Option<TimeDelta>,
    /// The oldest entries go until the rest is no larger.
    pub max_total_bytes: Option<u64>,
    /// Entries of branches, tags and pull requests that no longer exist are deleted; those without a branch tag are kept.
    pub live_branches: Option<LiveRefs>,
    /// Deltas of a key that has a base too go: no restore ever looks at them.
    pub shadowed: bool,
    /// Deltas that cannot be restored go: a ref is missing, or their end is damaged. Bases are not read for this; what is
    /// wrong with them, `verify` finds.
    pub dangling: bool,
    /// Multipart uploads of entries that began longer ago go.
    pub stale_uploads: Option<TimeDelta>,
    /// Entries younger than this stay, whatever the rules say.
    pub min_age: TimeDelta,
}

/// What makes a group for [`Policy::keep_newest`]. Entries in different scopes are never in one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// The same branch tag and the same key family.
    #[default]
    BranchAndFamily,
    /// The same branch tag.
    Branch,
    /// The same key family.
    Family,
    /// All entries of a scope together.
    Scope,
}

impl Policy {
    /// Whether it has no rule at all, so that a prune with it would be a mistake.
    pub fn is_empty(&self) -> bool {
        let Self {
            keep_newest,
            group_by: _,
            max_age,
            max_total_bytes,
            live_branches,
            shadowed,
            dangling,
            stale_uploads,
            min_age: _,
        } = self;
        keep_newest.is_none()
            && max_age.is_none()
            && max_total_bytes.is_none()
            && live_branches.is_none()
            && !shadowed
            && !dangling
            && stale_uploads.is_none()
    }
}

impl GroupBy {
    /// Whether groups depend on the branch tag.
    pub fn by_branch(self) -> bool {
        matches!(self, Self::BranchAndFamily | Self::Branch)
    }

    /// Whether groups depend on the key family.
    pub fn by_family(self) -> bool {
        matches!(self, Self::BranchAndFamily | Self::Family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rule_makes_a_policy() {
        let ages = Policy { min_age: TimeDelta::days(1), group_by: GroupBy::Family, ..Policy::default() };
        assert!(ages.is_empty());
        assert!(!Policy { keep_newest: Some(0), ..Policy::default() }.is_empty());
        assert!(!Policy { dangling: true, ..Policy::default() }.is_empty());
    }
}
