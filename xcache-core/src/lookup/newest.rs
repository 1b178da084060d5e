//! The best few of any number of listed entries, in memory for those few only.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};

use crate::entry::Entry;
use crate::key::Key;
use crate::object::Kind;

/// The most candidates of one lookup, and of one listing. Each is a corrupt entry more that is passed over.
pub(super) const MAX_CANDIDATES: usize = 8;

/// Collects the best entries whose keys begin with a prefix: that very key first, then the newest.
pub(super) struct Newest<'a> {
    prefix: &'a str,
    most: usize,
    /// Best first.
    kept: Vec<Listed>,
    /// How many had the prefix.
    matching: u64,
}

/// What a listing shows of one key.
struct Listed {
    /// The entry: the base, if there are two objects.
    entry: Entry,
    /// The delta next to a base. A race can leave one; and where a damaged base may not be deleted, because others build
    /// on it, a save puts a complete entry there.
    beside: Option<Entry>,
}

impl<'a> Newest<'a> {
    /// Keeps at most `most`.
    pub(super) fn new(prefix: &'a str, most: usize) -> Self {
        Self { prefix, most, kept: Vec::with_capacity(most + 1), matching: 0 }
    }

    pub(super) fn offer(&mut self, entry: Entry) {
        if !entry.key.as_str().starts_with(self.prefix) {
            return;
        }
        self.matching += 1;
        let listed = match self.kept.iter().position(|kept| kept.entry.key == entry.key) {
            Some(at) if entry.kind == Kind::Delta => {
                let kept = &mut self.kept[at];
                // A listing may show an object twice.
                if kept.entry.kind == Kind::Base {
                    kept.beside = Some(entry);
                }
                return;
            }
            Some(at) => {
                let Listed { entry: kept, beside } = self.kept.remove(at);
                Listed { entry, beside: if kept.kind == Kind::Delta { Some(kept) } else { beside } }
            }
            None => Listed { entry, beside: None },
        };
        let rank = self.rank(&listed.entry);
        let at = self.kept.partition_point(|kept| self.rank(&kept.entry) > rank);
        if at < self.most {
            self.kept.insert(at, listed);
            self.kept.truncate(self.most);
        }
    }

    /// How many entries had the prefix, both objects of a key counted.
    pub(super) fn matching(&self) -> u64 {
        self.matching
    }

    /// Whether there may be more than it keeps.
    pub(super) fn is_full(&self) -> bool {
        let beside = self.kept.iter().filter(|listed| listed.beside.is_some()).count();
        self.kept.len() + beside >= self.most
    }

    /// Best first. What lies beside an entry comes right after it: it is wanted only if that one proves unusable.
    pub(super) fn into_sorted(self) -> Vec<Entry> {
        let (kept, most) = (self.kept, self.most);
        kept.into_iter().flat_map(|Listed { entry, beside }| [Some(entry), beside]).flatten().take(most).collect()
    }

    /// The key comes last only to make the order the same whatever order the store lists in.
    fn rank<'e>(&self, entry: &'e Entry) -> (bool, DateTime<Utc>, Reverse<&'e Key>) {
        (entry.key.as_str() == self.prefix, entry.meta.last_modified, Reverse(&entry.key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::naming;
    use crate::store::{ETag, ObjectMeta};

    fn entry(key: &str, kind: Kind, second: i64) -> Entry {
        let key: Key = key.parse().unwrap();
        let name = naming::object_name(None, &key, kind).unwrap();
        let last_modified = DateTime::from_timestamp(second, 0).unwrap();
        Entry { scope: None, key, kind, name, meta: ObjectMeta { size: 1, etag: ETag("e".into()), last_modified } }
    }

    #[track_caller]
    fn check(prefix: &str, offered: &[(&str, Kind, i64)], expected: &[&str]) {
        let mut newest = Newest::new(prefix, MAX_CANDIDATES);
        for &(key, kind, second) in offered {
            newest.offer(entry(key, kind, second));
        }
        let kept: Vec<_> = newest.into_sorted().into_iter().map(|entry| entry.name.to_string()).collect();
        let expected: Vec<_> = expected.iter().map(|name| format!("{name}.tar.zst")).collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn newest_come_first() {
        use Kind::{Base, Delta};
        check("", &[], &[]);
        check("a", &[("a1", Base, 1), ("a3", Delta, 3), ("a2", Base, 2)], &["a3-delta", "a2-base", "a1-base"]);
        check("a", &[("a2", Base, 1), ("a1", Base, 1)], &["a1-base", "a2-base"]);
    }

    #[test]
    fn the_very_key_comes_before_newer_ones() {
        check("a", &[("ab", Kind::Base, 9), ("a", Kind::Base, 1)], &["a-base", "ab-base"]);
    }

    #[test]
    fn a_listing_for_foo_b_does_not_find_foo() {
        check("foo-b", &[("foo", Kind::Base, 9), ("foo-bar", Kind::Base, 1)], &["foo-bar-base"]);
    }

    #[test]
    fn the_base_is_the_entry_if_both_are_there_and_the_delta_comes_next() {
        use Kind::{Base, Delta};
        let expected = ["a1-base", "a1-delta", "a2-base"];
        check("a", &[("a1", Base, 1), ("a1", Delta, 2), ("a2", Base, 1)], &expected);
        check("a", &[("a1", Delta, 2), ("a2", Base, 2), ("a1", Base, 1)], &["a2-base", "a1-base", "a1-delta"]);
        check("a", &[("a1", Delta, 2), ("a1", Base, 3), ("a2", Base, 2)], &expected);
    }

    #[test]
    fn there_are_no_more_than_eight() {
        let keys: Vec<String> = (0..6).map(|number| format!("a{number}")).collect();
        let mut newest = Newest::new("a", MAX_CANDIDATES);
        for key in &keys {
            newest.offer(entry(key, Kind::Base, 1));
            newest.offer(entry(key, Kind::Delta, 1));
        }
        assert_eq!(newest.into_sorted().len(), MAX_CANDIDATES);
    }

    proptest! {
        #[test]
        fn the_order_of_the_listing_does_not_matter(seconds in prop::collection::vec(0..20_i64, 0..40)) {
            let mut all: Vec<_> =
                seconds.iter().enumerate().map(|(i, &s)| entry(&format!("k{i:02}"), Kind::Base, s)).collect();
            let mut newest = Newest::new("k", MAX_CANDIDATES);
            all.iter().cloned().for_each(|entry| newest.offer(entry));
            all.sort_by_key(|entry| (Reverse(entry.meta.last_modified), entry.key.clone()));
            all.truncate(MAX_CANDIDATES);
            prop_assert_eq!(newest.into_sorted(), all);
        }
    }
}
