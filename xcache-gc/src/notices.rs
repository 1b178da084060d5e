//! What a command has found out about a store besides what it was asked for, each said once.

use xcache_cli::report::Reporter;
use xcache_cli::report::human::Count;
use xcache_core::gc::inventory::{EntryId, Inventory};
use xcache_core::gc::tagging::Tagging;

/// How many entries are named.
const NAMED: usize = 3;

/// What is left alone because it belongs to other stores, or was written under other keys.
pub(crate) fn tell_foreign(inventory: &Inventory, reporter: &Reporter) {
    let mut foreign: Vec<EntryId> = inventory.ids().filter(|&id| !inventory.is_ours(id)).collect();
    for nested in inventory.nested() {
        let (below, rest): (Vec<_>, Vec<_>) =
            foreign.into_iter().partition(|&id| inventory.name(id).starts_with(nested));
        foreign = rest;
        if !below.is_empty() {
            let entries = Count(below.len() as u64, "entry");
            reporter.notice(format_args!("{entries} below `{nested}` ignored: another store begins there"));
        }
    }
    if !foreign.is_empty() {
        let names = named(inventory, &foreign);
        reporter.notice(format_args!(
            "{} ignored, written under another key or in another store: {names}",
            Count(foreign.len() as u64, "entry")
        ));
    }
}

/// What is left alone because it cannot be read.
pub(crate) fn tell_unreadable(inventory: &Inventory, reporter: &Reporter) {
    let unreadable: Vec<(EntryId, &str)> = inventory.unreadable().collect();
    let Some((_, why)) = unreadable.first() else { return };
    let ids: Vec<EntryId> = unreadable.iter().map(|(id, _)| *id).collect();
    reporter.notice(format_args!(
        "{} cannot be read and kept, with the entries that it may need: {} ({why}); \
         `xcache-gc rm KEY` deletes such an entry",
        Count(ids.len() as u64, "entry"),
        named(inventory, &ids)
    ));
}

/// What is not known of branches and pins.
pub(crate) fn tell_tagging(tagging: &Tagging, reporter: &Reporter) {
    match tagging {
        Tagging::Known => {}
        Tagging::Unsupported => reporter.notice("the store has no tags, so branches are not known"),
        Tagging::Unreadable(why) => {
            reporter.notice(format_args!("some tags cannot be read, so some branches are not known: {why}"));
        }
    }
}

/// Entries of which it cannot be told whether they have the tags that were asked for: something that was asked for may not
/// have been done.
pub(crate) fn warn_tagging(tagging: &Tagging, hidden: u64, reporter: &Reporter) {
    let (why, hint) = match tagging {
        Tagging::Known => return,
        Tagging::Unsupported => {
            ("the store has no tags".to_owned(), "select by key, `--prefix`, `--scope` or age on a store without tags")
        }
        Tagging::Unreadable(why) => {
            (format!("their tags cannot be read: {why}"), "the role needs the right s3:GetObjectTagging")
        }
    };
    if hidden > 0 {
        let entries = Count(hidden, "entry");
        let text = format_args!("{entries} left out that may have the tags asked for: {why}");
        reporter.warning(text, Some(hint));
    }
}

fn named(inventory: &Inventory, ids: &[EntryId]) -> String {
    let mut names: Vec<String> = ids.iter().take(NAMED).map(|&id| format!("`{}`", inventory.key(id))).collect();
    if ids.len() > NAMED {
        names.push("…".to_owned());
    }
    names.join(", ")
}
