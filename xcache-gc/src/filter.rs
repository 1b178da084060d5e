//! Which entries a command is about.

use chrono::{DateTime, TimeDelta, Utc};
use xcache_cli::UsageError;
use xcache_cli::report::Reporter;
use xcache_core::gc::inventory::{Branches, EntryId, Inventory, TagState};
use xcache_core::gc::look;
use xcache_core::gc::tagging::Tagging;
use xcache_core::object::Kind;
use xcache_core::scope::Scope;
use xcache_core::store::Store;

use crate::args::FilterArgs;
use crate::notices::{tell_tagging, warn_tagging};

/// What a command does about entries of which it cannot be told whether they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnHidden {
    /// It shows what it can: a notice.
    Notice,
    /// It falls short of what was asked for: a warning, and so exit code 1.
    Warn,
}

/// The entries of these keys, in any scope; all entries if there are none. Those of other stores are left out.
pub(crate) fn with_keys(inventory: &Inventory, keys: &[String]) -> Vec<EntryId> {
    let is_wanted = |&id: &EntryId| keys.is_empty() || keys.contains(&inventory.key(id));
    inventory.ids().filter(|&id| inventory.is_ours(id)).filter(is_wanted).collect()
}

/// Those of `keys` that no entry has.
pub(crate) fn missing_keys<'a>(inventory: &Inventory, keys: &'a [String]) -> Vec<&'a String> {
    let found = with_keys(inventory, keys);
    keys.iter().filter(|wanted| !found.iter().any(|&id| inventory.key(id) == **wanted)).collect()
}

impl FilterArgs {
    /// Whether tags must be read.
    pub(crate) fn needs_tags(&self) -> bool {
        self.branch.is_some() || self.repo.is_some() || !self.tags.is_empty()
    }

    /// Those of `ids` that pass all filters. Reads tags only if it must; what comes of that is reported as `on_hidden` says.
    pub(crate) async fn select(
        &self,
        store: &dyn Store,
        inventory: &mut Inventory,
        ids: Vec<EntryId>,
        now: DateTime<Utc>,
        (on_hidden, reporter): (OnHidden, &Reporter),
    ) -> anyhow::Result<Vec<EntryId>> {
        let mut ids = self.select_by_listing(inventory, ids, now)?;
        if self.needs_tags() {
            let tagging = look::tags(store, reporter, inventory, ids.clone()).await?;
            match on_hidden {
                OnHidden::Notice => tell_tagging(&tagging, reporter),
                OnHidden::Warn => {
                    let is_hidden = |&&id: &&EntryId| inventory.tag_state(id) == TagState::Unreadable;
                    let hidden = match tagging {
                        Tagging::Unsupported => ids.len(),
                        Tagging::Known | Tagging::Unreadable(_) => ids.iter().filter(is_hidden).count(),
                    };
                    warn_tagging(&tagging, hidden as u64, reporter);
                }
            }
            self.retain_tagged(inventory, &mut ids);
        }
        Ok(ids)
    }

    /// Those of `ids` that pass the filters which the listing answers.
    fn select_by_listing(
        &self,
        inventory: &Inventory,
        mut ids: Vec<EntryId>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Vec<EntryId>> {
        let Self { prefix, scope, branch: _, repo: _, tags: _, kind, older_than, newer_than } = self;
        let scope = scope.as_deref().map(parse_scope).transpose()?;
        let age = |id| now - inventory.modified(id);
        let limit = |limit: &Option<std::time::Duration>| limit.and_then(|limit| TimeDelta::from_std(limit).ok());
        let (older, newer) = (limit(older_than), limit(newer_than));
        ids.retain(|&id| {
            kind.is_none_or(|kind| Kind::from(kind) == inventory.kind(id))
                && older.is_none_or(|limit| age(id) > limit)
                && newer.is_none_or(|limit| age(id) < limit)
                && prefix.as_deref().is_none_or(|prefix| inventory.key(id).starts_with(prefix))
                && scope.as_ref().is_none_or(|scope| scope.as_ref().map(Scope::as_str) == inventory.scope(id))
        });
        Ok(ids)
    }

    /// Keeps those that have the tags asked for.
    fn retain_tagged(&self, inventory: &Inventory, ids: &mut Vec<EntryId>) {
        let branch: Option<Branches> = self.branch.as_deref().map(|name| std::iter::once(name).collect());
        ids.retain(|&id| branch.as_ref().is_none_or(|branch| inventory.is_on(id, branch)));
        let mut wanted: Vec<(&str, &str)> = self.tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        wanted.extend(self.repo.as_deref().map(|repo| ("repo", repo)));
        ids.retain(|&id| wanted.iter().all(|(name, value)| inventory.has_tag(id, name, value)));
    }
}

/// `none` is the absence of a scope.
fn parse_scope(text: &str) -> anyhow::Result<Option<Scope>> {
    match text {
        "none" => Ok(None),
        text => text.parse().map(Some).map_err(|error| UsageError::options(error).into()),
    }
}
