//! How a prune or a removal is told: lines, the document of `--json`, and the summary of a step, all from one value.

use std::collections::HashSet;

use xcache_cli::ci::summary::Table;
use xcache_cli::output::v1::{
    FORMAT, Group, NameAndWhy, PlannedEntry, PruneDocument, StaleUploadFields, Sum, Time, VersionsReport,
};
use xcache_cli::report::Reporter;
use xcache_cli::report::chain;
use xcache_cli::report::human::{Bytes, Count};
use xcache_cli::report::table::{AlignedTable, Cell, Column};
use xcache_cli::{self as cli, Exit, RunContext};
use xcache_core::gc::inventory::EntryId;
use xcache_core::gc::plan::{Decision, Keep, groups};
use xcache_core::gc::policy::Policy;
use xcache_core::gc::run::Outcome;
use xcache_core::gc::sweep::{Left, Swept};
use xcache_core::gc::tagging::Tagging;
use xcache_core::store;

use crate::cells::{ago, size};
use crate::notices::{tell_foreign, tell_unreadable};
use crate::reason::{age, reason};
use crate::versions::tell_purged;

/// A summary is for reading: GitHub cuts it off at a megabyte.
const MAX_SUMMARY_ROWS: usize = 200;

const GROUP_COLUMNS: [Column; 6] = [
    Column::text("GROUPS"),
    Column::number("ENTRIES"),
    Column::number("KEPT"),
    Column::text("BRANCH"),
    Column::text("FAMILY"),
    Column::text("SCOPE"),
];
const PLAN_COLUMNS: [Column; 7] = [
    Column::text("DECISION"),
    Column::number("SIZE"),
    Column::number("MODIFIED"),
    Column::text("KIND"),
    Column::text("KEY"),
    Column::text("SCOPE"),
    Column::text("REASON"),
];
const UPLOAD_COLUMNS: [Column; 4] =
    [Column::text("DECISION"), Column::text("KIND"), Column::number("BEGUN"), Column::text("NAME")];

/// What was planned and done.
pub(crate) struct Presented<'a> {
    pub(crate) command: &'static str,
    pub(crate) store: String,
    pub(crate) policy: Option<&'a Policy>,
    pub(crate) outcome: &'a Outcome,
    /// What the bucket keeps of it; none where nothing was deleted, or the store has no versions.
    pub(crate) versions: Option<VersionsReport>,
}

impl Presented<'_> {
    /// Prints everything, and says how to end.
    pub(crate) fn tell(&self, context: &RunContext, reporter: &Reporter) -> Exit {
        if self.outcome.tagging == Tagging::Unsupported {
            reporter.notice("the store has no tags: entries are grouped by key family alone, and none is pinned");
            if self.policy.is_some_and(|policy| policy.live_branches.is_some()) {
                reporter.warning(
                    "the rule of live branches deleted nothing: the store has no tags, so it is not known which entry is of which branch",
                    Some("leave out `--live-branches` and `--live-branches-from-git` here, and use `--max-age` or `--keep-newest`"),
                );
            }
        }
        tell_foreign(&self.outcome.inventory, reporter);
        tell_unreadable(&self.outcome.inventory, reporter);
        self.print_groups(reporter);
        self.print_plan(reporter);
        self.print_troubles(reporter);
        reporter.line(self.totals_line());
        if let Some(versions) = &self.versions {
            tell_purged(versions, reporter);
        }
        cli::write_outputs(context, reporter, &self.outputs());
        cli::write_summary(context, reporter, &self.summary());
        if reporter.settings().is_json {
            cli::print_document(reporter, &self.document());
        }
        if self.has_failed() { Exit::Failed } else { Exit::Done }
    }

    fn has_failed(&self) -> bool {
        let swept = |swept: &Swept| !swept.failed.is_empty() || swept.stopped.is_some();
        self.outcome.swept.as_ref().is_some_and(swept)
            || self.outcome.uploads.iter().any(|upload| upload.failure.is_some())
    }

    /// The groups of `--keep-newest`: in a dry run all of them, and always that they make the rule void.
    fn print_groups(&self, reporter: &Reporter) {
        let groups = self.groups();
        if self.outcome.swept.is_none() {
            let mut table = AlignedTable::new(&GROUP_COLUMNS);
            for Group { entries, kept, branch, family, scope } in &groups {
                let text = |text: &Option<String>| Cell::from(text.clone().unwrap_or_default());
                let numbers = [Cell::from(*entries), Cell::from(*kept)];
                let texts = [branch, family, scope].map(text);
                table.row([Cell::from("group")].into_iter().chain(numbers).chain(texts));
            }
            reporter.log_table(&table);
        }
        if groups.len() > 1 && groups.iter().all(|group| group.entries == 1) {
            reporter.notice(
                "each entry is a group of its own, so `--keep-newest` has no effect; \
                 `--group-by branch` or `--group-by scope` makes larger groups",
            );
        }
    }

    fn groups(&self) -> Vec<Group> {
        let Some((policy, kept)) = self.policy.and_then(|policy| Some((policy, policy.keep_newest?))) else {
            return Vec::new();
        };
        let inventory = &self.outcome.inventory;
        let by = policy.group_by;
        let group = |ids: Vec<EntryId>| {
            let first = *ids.first()?;
            let branch = inventory.branch(first).unwrap_or("no branch");
            Some(Group {
                entries: ids.len() as u64,
                kept,
                branch: by.by_branch().then(|| branch.to_owned()),
                family: by.by_family().then(|| inventory.family(first).to_owned()),
                scope: inventory.scope(first).map(str::to_owned),
            })
        };
        groups(inventory, policy).into_iter().filter_map(group).collect()
    }

    /// What became of the entries that the plan deletes, in a word.
    fn fates(&self) -> impl Fn(EntryId) -> &'static str + use<> {
        let of = |ids: fn(&Swept) -> &Vec<EntryId>| -> Option<HashSet<EntryId>> {
            self.outcome.swept.as_ref().map(|swept| ids(swept).iter().copied().collect())
        };
        let (deleted, gone) = (of(|swept| &swept.deleted), of(|swept| &swept.gone));
        move |id| match (&deleted, &gone) {
            (Some(deleted), _) if deleted.contains(&id) => "deleted",
            (_, Some(gone)) if gone.contains(&id) => "gone",
            (None, None) => "would delete",
            _ => "not deleted",
        }
    }

    fn print_plan(&self, reporter: &Reporter) {
        let Outcome { now, inventory, plan, .. } = self.outcome;
        let fate = self.fates();
        let mut table = AlignedTable::new(&PLAN_COLUMNS);
        for id in inventory.ids() {
            let reason = reason(plan.decision(id), inventory, id, self.policy, *now);
            let verb = if reason.is_delete { fate(id) } else { "keep" };
            // What no rule is about is not worth a line, unless all are asked for.
            if matches!(reason.code, "within-limits" | "young" | "foreign") {
                reporter.debug(format_args!("{verb} {} ({})", self.label(id), reason.text));
                continue;
            }
            table.row([
                verb.into(),
                size(inventory.size(id)),
                ago(inventory.modified(id), *now),
                inventory.kind(id).into(),
                inventory.key(id).into(),
                inventory.scope(id).unwrap_or_default().into(),
                reason.text.into(),
            ]);
        }
        reporter.log_table(&table);
        let mut table = AlignedTable::new(&UPLOAD_COLUMNS);
        for upload in &self.outcome.uploads {
            let verb = match (&self.outcome.swept, &upload.failure) {
                (None, _) => "would abort",
                (Some(_), None) => "aborted",
                (Some(_), Some(_)) => "not aborted",
            };
            table.row([verb.into(), "upload".into(), ago(upload.initiated, *now), upload.name.as_str().into()]);
        }
        reporter.log_table(&table);
    }

    fn print_troubles(&self, reporter: &Reporter) {
        for upload in &self.outcome.uploads {
            if let Some(error) = &upload.failure {
                reporter.warning_for(error);
            }
        }
        if let Some(error) = &self.outcome.uploads_failure {
            reporter
                .warning(format_args!("no multipart upload was aborted: {}", chain::text(error)), chain::hint(error));
        }
        if let Tagging::Unreadable(why) = &self.outcome.tagging {
            let Outcome { inventory, plan, .. } = self.outcome;
            let is_kept = |id: &EntryId| plan.decision(*id) == Decision::Keep(Keep::TagsUnreadable);
            let kept = inventory.ids().filter(is_kept).count() as u64;
            reporter.warning(
                format_args!(
                    "{} kept because the tags, which may protect them, cannot be read: {why}",
                    Count(kept, "entry")
                ),
                Some("the clean-up needs the right s3:GetObjectTagging"),
            );
        }
        let Some(swept) = &self.outcome.swept else { return };
        for (id, left) in &swept.left {
            reporter.notice(format_args!(
                "`{}` is condemned and left to the next prune: {}",
                self.label(*id),
                why(*left)
            ));
        }
        for (id, error) in &swept.failed {
            let text = format!("`{}` stays: {}", self.label(*id), chain::text(error));
            let cause = if is_full(error) { Some(FULL_HINT) } else { chain::hint(error) };
            if swept.unmarked.contains(id) {
                reporter.warning(text, cause);
                continue;
            }
            let hint = format!(
                "it remains marked: the next `prune` deletes it when no entry needs it; `xcache-gc keep {}` removes the mark",
                self.outcome.inventory.key(*id)
            );
            let cause = cause.map(|cause| format!("{cause}; ")).unwrap_or_default();
            reporter.warning(text, Some(&format!("{cause}{hint}")));
        }
        if let Some(error) = &swept.stopped {
            reporter.error_for(error);
        }
    }

    fn label(&self, id: EntryId) -> String {
        let inventory = &self.outcome.inventory;
        match inventory.scope(id) {
            Some(scope) => format!("{} [{scope}]", inventory.key(id)),
            None => inventory.key(id),
        }
    }

    fn before(&self) -> Sum {
        let totals = self.outcome.plan.totals(&self.outcome.inventory);
        Sum { entries: totals.entries, bytes: totals.bytes }
    }

    /// What is left, or would be.
    fn after(&self) -> Sum {
        let Sum { entries, bytes } = self.before();
        let gone: Vec<EntryId> = match &self.outcome.swept {
            Some(swept) => swept.deleted.iter().chain(&swept.gone).copied().collect(),
            None => self.outcome.plan.victims().collect(),
        };
        let gone_bytes: u64 = gone.iter().map(|&id| self.outcome.inventory.size(id)).sum();
        Sum { entries: entries - gone.len() as u64, bytes: bytes - gone_bytes }
    }

    fn totals_line(&self) -> String {
        let (before, after) = (self.before(), self.after());
        let verb = if self.outcome.swept.is_some() { "deleted" } else { "would delete" };
        format!(
            "{verb} {}, {}; before: {}, {}; after: {}, {}",
            Count(before.entries - after.entries, "entry"),
            Bytes(before.bytes - after.bytes),
            Count(before.entries, "entry"),
            Bytes(before.bytes),
            Count(after.entries, "entry"),
            Bytes(after.bytes)
        )
    }

    /// The outputs of the step; of a dry run what they would be.
    fn outputs(&self) -> [(&'static str, String); 4] {
        let (before, after) = (self.before(), self.after());
        [
            ("deleted-entries", (before.entries - after.entries).to_string()),
            ("deleted-bytes", (before.bytes - after.bytes).to_string()),
            ("entries", after.entries.to_string()),
            ("bytes", after.bytes.to_string()),
        ]
    }

    fn summary(&self) -> String {
        let Outcome { now, inventory, plan, .. } = self.outcome;
        let mut table = Table::new(&["Key", "Kind", "Size", "Age", "Reason"]);
        let victims: Vec<EntryId> = plan.victims().collect();
        for &id in victims.iter().take(MAX_SUMMARY_ROWS) {
            let reason = reason(plan.decision(id), inventory, id, self.policy, *now);
            table = table.row([
                self.label(id),
                inventory.kind(id).to_string(),
                Bytes(inventory.size(id)).to_string(),
                age(*now - inventory.modified(id)),
                reason.text,
            ]);
        }
        if let Some(more) = victims.len().checked_sub(MAX_SUMMARY_ROWS).filter(|&more| more > 0) {
            table = table.row([format!("… and {more} more")]);
        }
        table.titled(&format!("xcache {}: {}", self.command, self.totals_line()))
    }

    fn document(&self) -> PruneDocument {
        let Outcome { now, inventory, plan, swept, tagging, uploads, uploads_failure: _ } = self.outcome;
        let name = |id: &EntryId| inventory.name(*id).to_owned();
        let rows = inventory.ids().map(|id| {
            let reason = reason(plan.decision(id), inventory, id, self.policy, *now);
            PlannedEntry {
                name: inventory.name(id).to_owned(),
                key: inventory.key(id),
                scope: inventory.scope(id).map(str::to_owned),
                kind: inventory.kind(id).to_string(),
                bytes: inventory.size(id),
                modified: Time(inventory.modified(id)),
                branch: inventory.branch(id).map(str::to_owned),
                decision: if reason.is_delete { "delete" } else { "keep" }.to_owned(),
                reason: reason.code.to_owned(),
                detail: reason.text,
            }
        });
        let told = |id: EntryId, why: String| NameAndWhy { name: inventory.name(id).to_owned(), why };
        let failed =
            |swept: &Swept| swept.failed.iter().map(|(id, error)| told(*id, chain::text(error))).collect::<Vec<_>>();
        let left = |swept: &Swept| swept.left.iter().map(|(id, left)| told(*id, why(*left).into())).collect::<Vec<_>>();
        let swept = swept.as_ref();
        PruneDocument {
            format: FORMAT,
            command: self.command.to_owned(),
            store: self.store.clone(),
            now: Time(*now),
            dry_run: swept.is_none(),
            tags_supported: *tagging == Tagging::Known,
            before: self.before(),
            after: self.after(),
            groups: self.groups(),
            entries: rows.collect(),
            stale_uploads: uploads
                .iter()
                .map(|upload| StaleUploadFields {
                    name: upload.name.to_string(),
                    initiated: Time(upload.initiated),
                    error: upload.failure.as_ref().map(|error| chain::text(error)),
                })
                .collect(),
            deleted: swept.map(|swept| swept.deleted.iter().map(name).collect()).unwrap_or_default(),
            already_gone: swept.map(|swept| swept.gone.iter().map(name).collect()).unwrap_or_default(),
            left: swept.map(left).unwrap_or_default(),
            failed: swept.map(failed).unwrap_or_default(),
            error: swept.and_then(|swept| swept.stopped.as_ref()).map(|error| chain::text(error)),
            versions: self.versions.clone(),
        }
    }
}

/// What to do where not even a clean-up finds space. The hint of the store is to clean up.
pub(crate) const FULL_HINT: &str =
    "free some space on that disk by other means, a few KiB are enough, and run the clean-up again";

/// Whether something could not be written because there is no space left.
pub(crate) fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    chain::causes(error).any(|cause| cause.downcast_ref::<store::Error>().is_some_and(store::Error::is_full))
}

fn why(left: Left) -> &'static str {
    match left {
        Left::InUse => "a running save is about to use it",
        Left::DependentStays => "an entry that builds on it could not be deleted",
    }
}
