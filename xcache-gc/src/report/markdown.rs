//! A report as Markdown, for the summary of a step.

use xcache_cli::ci::summary::Table;
use xcache_cli::output::v1::{ReportDocument, Share};
use xcache_cli::report::human::{Bytes, Count};

use super::text::{plan_line, totals_line};

/// How many rows a table has: a summary is for reading.
const ROWS: usize = 20;

/// The whole report.
pub(super) fn summary(document: &ReportDocument) -> String {
    let mut text = overview(document).titled(&format!("xcache report: {}", totals_line(document)));
    text += &shares("By branch", "no branch", &document.by_branch);
    text += &shares("By key family", "", &document.by_family);
    text += &newest(document);
    text += &troubles(document);
    if let Some(plan) = &document.plan {
        let mut table = Table::new(&["Key", "Kind", "Size", "Why"]);
        for row in plan.deleted.iter().take(ROWS) {
            table = table.row([&labelled(&row.key, row.scope.as_ref()), &row.kind, &size(row.bytes), &row.detail]);
        }
        text += &and_more(table, plan.deleted.len()).titled(&format!("Clean-up: {}", plan_line(plan)));
    }
    text
}

fn overview(document: &ReportDocument) -> Table {
    let ReportDocument { store, now, total, price, .. } = document;
    let mut table = Table::new(&["", ""])
        .row(["Store", store])
        .row(["Listed", &now.to_string()])
        .row(["Bases", &format!("{}, {}", total.entries - total.deltas, Bytes(total.base_bytes))])
        .row(["Deltas", &format!("{}, {}", total.deltas, Bytes(total.delta_bytes))]);
    if let Some(price) = price {
        table = table.row(["Price of a month", &format!("{:.2}", price.stored)]);
        table = table.row(["Saved by deltas", &format!("up to {:.2} a month", price.saved)]);
    }
    table
}

fn shares(title: &str, nameless: &str, shares: &[Share]) -> String {
    let mut table = Table::new(&["", "Entries", "Stored", "Files", "Saved by deltas"]);
    for share in shares.iter().take(ROWS) {
        table = table.row([
            share.name.as_deref().unwrap_or(nameless),
            &share.entries.to_string(),
            &size(share.bytes()),
            &size(share.content_bytes),
            &size(share.saved_bytes()),
        ]);
    }
    and_more(table, shares.len()).titled(title)
}

fn newest(document: &ReportDocument) -> String {
    if document.newest.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["Key", "Kind", "Size", "New in it", "Mostly in"]);
    for changed in &document.newest {
        let entry = &changed.entry;
        table = table.row([
            labelled(&entry.key, entry.scope.as_ref()),
            entry.kind.clone(),
            size(entry.bytes),
            size(changed.new_bytes),
            changed.directories.first().map_or_else(String::new, |row| row.path.clone()),
        ]);
    }
    table.titled("Newest entries")
}

fn troubles(document: &ReportDocument) -> String {
    if document.troubles.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["Key", "Size", "Trouble"]);
    for row in document.troubles.iter().take(ROWS) {
        table = table.row([labelled(&row.key, row.scope.as_ref()), size(row.bytes), row.detail.clone()]);
    }
    let count = document.troubles.len();
    and_more(table, count).titled(&format!("{} with trouble", Count(count as u64, "entry")))
}

fn and_more(table: Table, rows: usize) -> Table {
    match rows.checked_sub(ROWS).filter(|&more| more > 0) {
        Some(more) => table.row([format!("… and {more} more")]),
        None => table,
    }
}

fn labelled(key: &str, scope: Option<&String>) -> String {
    scope.map_or_else(|| key.to_owned(), |scope| format!("{key} [{scope}]"))
}

fn size(bytes: u64) -> String {
    Bytes(bytes).to_string()
}
