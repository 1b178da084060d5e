//! What is wrong with entries, and what the rules of a clean-up would do.

use xcache_cli::output::v1::{PlannedEntry, ReportDocument, ReportedPlan, Trouble};
use xcache_cli::report::human::{Bytes, Count};

use super::chart::bar;
use super::markup::Markup;
use super::table::{MarkupColumn, TableMarkup};
use super::{cell, key, kind};
use crate::reason::age;

/// How many rows are shown of each.
const ROWS: usize = 100;

/// Entries that something is wrong with.
pub(super) fn health(document: &ReportDocument) -> Markup {
    use MarkupColumn::{Number, Text};
    let mut html = Markup::new();
    if document.troubles.is_empty() {
        html.raw(
            "<p class=\"good\"><span class=\"mark\" aria-hidden=\"true\">✓</span> No entry is dangling, damaged or ",
        );
        html.raw("condemned. Content was not read: <code>xcache-gc verify --deep</code> does that.</p>");
        return html;
    }
    let mut table =
        TableMarkup::new("Entries that need attention", &[Text("Key"), Text("What is wrong"), Number("Stored")]);
    for row in document.troubles.iter().take(ROWS) {
        let Trouble { trouble, detail, bytes, .. } = row;
        let mut what = Markup::new();
        what.raw("<strong>").text(trouble).raw("</strong><br><span class=\"detail\">").text(detail).raw("</span>");
        table.row(&[key(&row.key, row.scope.as_ref()), what, cell(Bytes(*bytes))]);
    }
    html.append(&table.more(document.troubles.len().saturating_sub(ROWS)).finish());
    html.raw(
        "<p><code>xcache-gc prune --dangling --shadowed</code> deletes dangling, damaged, condemned and shadowed ",
    );
    html.raw("entries once they are old enough; <code>--dry-run</code> shows which.</p>");
    html
}

/// The plan, if rules were given.
pub(super) fn plan(document: &ReportDocument) -> Markup {
    let mut html = Markup::new();
    let Some(plan) = &document.plan else {
        html.raw("<p>No rules were given. With those of <code>prune</code>, for example <code>--keep-newest 3 ");
        html.raw("--max-age 30d</code>, this section shows what they would delete.</p>");
        return html;
    };
    let ReportedPlan { rules, before, after, deleted, stale_uploads, .. } = plan;
    html.raw("<p>What this would do now; nothing was deleted:</p><pre tabindex=\"0\"><code>xcache-gc prune");
    for rule in rules {
        html.raw(" ").text(rule);
    }
    html.raw("</code></pre><dl class=\"compare\">");
    for (name, sum, class) in [("Before", before, "other"), ("After", after, "base")] {
        html.raw("<div><dt>").raw(name).raw("</dt><dd><span class=\"amount\">").text(Bytes(sum.bytes)).raw(", ");
        html.text(Count(sum.entries, "entry")).raw("</span>").append(&bar(&[(class, sum.bytes)], before.bytes));
        html.raw("</dd></div>");
    }
    html.raw("</dl>").append(&reasons(plan));
    if *stale_uploads > 0 {
        html.raw("<p>").text(Count(*stale_uploads, "multipart upload")).raw(" would be aborted.</p>");
    }
    if deleted.is_empty() {
        html.raw("<p class=\"good\"><span class=\"mark\" aria-hidden=\"true\">✓</span> Nothing would be deleted.</p>");
    } else {
        html.raw("<h3>Would be deleted</h3>").append(&victims(document, deleted));
    }
    html
}

fn reasons(plan: &ReportedPlan) -> Markup {
    use MarkupColumn::{Number, Text};
    let mut table =
        TableMarkup::new("Reasons", &[Text("Reason"), Text("Decision"), Number("Entries"), Number("Stored")]);
    for row in &plan.reasons {
        let decision = if row.decision == "delete" { "delete" } else { "keep" };
        table.row(&[cell(row.reason.replace('-', " ")), cell(decision), cell(row.entries), cell(Bytes(row.bytes))]);
    }
    table.finish()
}

fn victims(document: &ReportDocument, deleted: &[PlannedEntry]) -> Markup {
    use MarkupColumn::{Number, Text, WideText};
    let columns = [Text("Key"), WideText("Kind"), Number("Stored"), Number("Age"), WideText("Why")];
    let mut table = TableMarkup::new("Entries that would be deleted", &columns);
    for entry in deleted.iter().take(ROWS) {
        table.row(&[
            key(&entry.key, entry.scope.as_ref()),
            kind(&entry.kind),
            cell(Bytes(entry.bytes)),
            cell(age(document.now.0 - entry.modified.0)),
            cell(&entry.detail),
        ]);
    }
    table.more(deleted.len().saturating_sub(ROWS)).finish()
}
