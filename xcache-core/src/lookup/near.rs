//! What a lookup has almost found: entries in scopes that the run does not read, and keys that look like those asked for.
//!
//! Costs a listing of the whole store, so it is for those who ask why there was a miss.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::entry::Entry;
use crate::gc::family::family;
use crate::key::{Keys, RestoreKey};
use crate::scope::{Scope, Scopes};
use crate::store::{self, Store};

/// The most families that are remembered: a store with more is not one in which a typo can be found.
const MAX_FAMILIES: usize = 10_000;
/// How many keys are suggested for one that was asked for.
const MAX_SUGGESTIONS: usize = 3;

/// What there is near the keys of a lookup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Near {
    /// Entries in scopes that may be read.
    pub in_reach: u64,
    /// Entries that a key would have found, in scopes that are not read.
    pub elsewhere: Vec<Elsewhere>,
    /// Keys in scopes that may be read which look like those asked for.
    pub alike: Vec<Alike>,
}

/// Entries in a scope that is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The key or restore key that they begin with.
    pub key: String,
    /// Their scope.
    pub scope: Option<Scope>,
    /// How many.
    pub entries: u64,
    /// When the newest was saved.
    pub newest: DateTime<Utc>,
}

/// Keys that look like one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// The key or restore key.
    pub key: String,
    /// What the keys have in common: without hashes, dates and run ids, which are `*`.
    pub family: String,
    /// How many entries have such keys.
    pub entries: u64,
    /// When the newest was saved.
    pub newest: DateTime<Utc>,
}

/// Lists the store, and says what is near `keys` for a run that reads `scopes`.
pub async fn near(store: &dyn Store, scopes: &Scopes, keys: &Keys) -> store::Result<Near> {
    let mut view = View::new(scopes, keys);
    store::each_page(store, "", |objects| {
        objects.into_iter().filter_map(Entry::from_listed).for_each(|entry| view.see(&entry));
    })
    .await?;
    Ok(view.finish())
}

#[derive(Clone, Copy)]
struct Seen {
    entries: u64,
    newest: DateTime<Utc>,
}

impl Seen {
    fn add<K: Ord>(map: &mut BTreeMap<K, Self>, key: K, saved: DateTime<Utc>) {
        let seen = map.entry(key).or_insert(Self { entries: 0, newest: saved });
        seen.entries += 1;
        seen.newest = seen.newest.max(saved);
    }
}

/// What has been listed so far.
struct View<'a> {
    scopes: &'a Scopes,
    /// All that is asked for: the key, then the restore keys.
    asked: Vec<&'a str>,
    in_reach: u64,
    elsewhere: BTreeMap<(usize, Option<Scope>), Seen>,
    families: BTreeMap<String, Seen>,
}

impl<'a> View<'a> {
    fn new(scopes: &'a Scopes, keys: &'a Keys) -> Self {
        let restore = keys.restore().iter().map(RestoreKey::as_str);
        let asked = std::iter::once(keys.primary().as_str()).chain(restore).collect();
        Self { scopes, asked, in_reach: 0, elsewhere: BTreeMap::new(), families: BTreeMap::new() }
    }

    fn see(&mut self, entry: &Entry) {
        let (key, saved) = (entry.key.as_str(), entry.meta.last_modified);
        if !self.scopes.read.contains(&entry.scope) {
            if let Some(n) = self.asked.iter().position(|asked| key.starts_with(asked)) {
                Seen::add(&mut self.elsewhere, (n, entry.scope.clone()), saved);
            }
            return;
        }
        self.in_reach += 1;
        let family = family(key);
        if self.families.len() < MAX_FAMILIES || self.families.contains_key(&family) {
            Seen::add(&mut self.families, family, saved);
        }
    }

    fn finish(self) -> Near {
        let elsewhere = self.elsewhere.into_iter().map(|((n, scope), seen)| Elsewhere {
            key: self.asked[n].to_owned(),
            scope,
            entries: seen.entries,
            newest: seen.newest,
        });
        let mut alike = Vec::new();
        for asked in &self.asked {
            let mut found: Vec<(usize, &String, &Seen)> = self
                .families
                .iter()
                .filter_map(|(family, seen)| Some((distance(asked, family)?, family, seen)))
                .collect();
            found.sort_by_key(|(distance, _, seen)| (*distance, std::cmp::Reverse(seen.newest)));
            alike.extend(found.into_iter().take(MAX_SUGGESTIONS).map(|(_, family, seen)| Alike {
                key: (*asked).to_owned(),
                family: family.clone(),
                entries: seen.entries,
                newest: seen.newest,
            }));
        }
        Near { in_reach: self.in_reach, elsewhere: elsewhere.collect(), alike }
    }
}

/// How many characters a key differs by from the beginning of a family; none if it is not alike. One that differs only in
/// what machines make of it, or in upper and lower case, is as near as can be.
fn distance(asked: &str, of: &str) -> Option<usize> {
    if family(asked) == of {
        return Some(0);
    }
    let fold = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<char>>();
    let (asked, of) = (fold(&family(asked)), fold(of));
    let most = (asked.len() / 5).clamp(1, 3);
    // The best end in the family: the last row of the table of edit distances.
    let mut row: Vec<usize> = (0..=of.len()).collect();
    for (n, a) in asked.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], n + 1);
        for (m, b) in of.iter().enumerate() {
            let cost = corner + usize::from(a != b);
            corner = row[m + 1];
            row[m + 1] = cost.min(corner + 1).min(row[m] + 1);
        }
    }
    row.into_iter().min().filter(|&distance| distance <= most && distance < asked.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::naming::object_name;
    use crate::object::Kind;
    use crate::store::{ETag, ObjectMeta};

    #[test]
    fn keys_are_alike_by_few_characters() {
        let check = |asked: &str, family: &str, expected| assert_eq!(distance(asked, family), expected, "{asked}");
        check("deps-linux-", "deps-linux-*", Some(0));
        check("deps-linx-", "deps-linux-*", Some(1));
        check("deps_linux-", "deps-linux-*", Some(1));
        check("Linux-deps-", "linux-deps-*", Some(0));
        check("deps-linux-5f2c9e0b7a1d", "deps-linux-*", Some(0));
        check("node-18-", "node-20-*", None);
        check("ccache-", "target-*", None);
        check("x", "y-*", None);
        check("deps-linux-main-", "deps-linux-*", None);
    }

    #[test]
    fn entries_that_are_not_read_are_counted_and_near_ones_named() {
        let pull: Scope = "refs/pull/7/merge".parse().unwrap();
        let scopes = Scopes { write: None, read: vec![None] };
        let keys = Keys::parse("deps-linx-9f86d081", &["deps-linux-".to_owned()]).unwrap();
        let mut view = View::new(&scopes, &keys);
        let time = |second| DateTime::from_timestamp(second, 0).unwrap();
        for (scope, key, second) in [
            (Some(&pull), "deps-linux-1234567", 5),
            (Some(&pull), "deps-linux-7654321", 9),
            (Some(&pull), "other", 7),
            (None, "deps-Linux-7654321", 3),
            (None, "ccache-1", 4),
        ] {
            let key: Key = key.parse().unwrap();
            let name = object_name(scope, &key, Kind::Base).unwrap();
            let meta = ObjectMeta { size: 1, etag: ETag("e".into()), last_modified: time(second) };
            view.see(&Entry { scope: scope.cloned(), key, kind: Kind::Base, name, meta });
        }
        let near = view.finish();
        let elsewhere = Elsewhere { key: "deps-linux-".into(), scope: Some(pull), entries: 2, newest: time(9) };
        assert_eq!((near.in_reach, near.elsewhere), (2, vec![elsewhere]));
        let alike = |key: &str| Alike { key: key.into(), family: "deps-Linux-*".into(), entries: 1, newest: time(3) };
        assert_eq!(near.alike, [alike("deps-linx-9f86d081"), alike("deps-linux-")]);
    }
}
