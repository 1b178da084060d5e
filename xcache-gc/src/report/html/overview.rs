//! The numbers at the top, and how they came about.

use chrono::{DateTime, Utc};
use xcache_cli::output::v1::{Growth, Price, ReportDocument};
use xcache_cli::report::human::{Bytes, Count};

use super::chart::{Areas, Series, bar};
use super::markup::Markup;
use super::table::{MarkupColumn, TableMarkup};
use super::{cell, percent};

/// The numbers that matter, and what deltas save.
pub(super) fn overview(document: &ReportDocument) -> Markup {
    let ReportDocument { total, price, troubles, .. } = document;
    let mut html = Markup::new();
    html.raw("<dl class=\"tiles\">");
    let stored = format!("for {} of files", Bytes(total.content_bytes));
    html.append(&tile("Stored", Bytes(total.bytes()), stored));
    let bases = total.entries - total.deltas;
    let kinds = format!("{}, {}", Count(bases, "base"), Count(total.deltas, "delta"));
    html.append(&tile("Entries", total.entries, kinds));
    let share = percent(total.saved_bytes(), total.without_deltas_bytes);
    let without = format!("up to {share}% of {}", Bytes(total.without_deltas_bytes));
    html.append(&tile("Saved by deltas", Bytes(total.saved_bytes()), without));
    if let Some(Price { gibibyte, stored, saved }) = price {
        let per = format!("at {gibibyte} for a GiB; deltas save up to {}", money(*saved));
        html.append(&tile("Price of a month", money(*stored), per));
    }
    let count = troubles.len() as u64;
    let verdict = if count == 0 { "nothing is wrong" } else { "cannot be restored, or need a look" };
    html.append(&tile("Need attention", count, verdict));
    html.raw("</dl>");
    if total.deltas > 0 {
        html.append(&savings(document));
    }
    html
}

fn tile(name: &'static str, value: impl std::fmt::Display, note: impl std::fmt::Display) -> Markup {
    let mut html = Markup::new();
    html.raw("<div><dt>").raw(name).raw("</dt><dd class=\"value\">").text(value);
    html.raw("</dd><dd class=\"note\">").text(note).raw("</dd></div>");
    html
}

/// A sum of money with as many decimals as it takes to see it.
fn money(sum: f64) -> String {
    let decimals = if sum < 1.0 { 4 } else { 2 };
    format!("{sum:.decimals$}")
}

/// What is stored against what complete entries would take.
fn savings(document: &ReportDocument) -> Markup {
    let total = &document.total;
    let full = total.without_deltas_bytes;
    let mut html = Markup::new();
    html.raw("<div class=\"compare\"><h3>With deltas, and without</h3><dl>");
    let now = bar(&[("base", total.base_bytes), ("delta", total.delta_bytes)], full);
    let complete = bar(&[("other", full)], full);
    for (name, bytes, picture) in [("Stored now", total.bytes(), now), ("If each entry were complete", full, complete)]
    {
        html.raw("<div><dt>").raw(name).raw("</dt><dd><span class=\"amount\">").text(Bytes(bytes)).raw("</span>");
        html.append(&picture).raw("</dd></div>");
    }
    html.raw("</dl><ul class=\"legend\"><li><span class=\"swatch base\"></span>bases, ").text(Bytes(total.base_bytes));
    html.raw("</li><li><span class=\"swatch delta\"></span>deltas, ").text(Bytes(total.delta_bytes));
    html.raw(
        "</li></ul><p class=\"caption\">The second bar is an upper bound: a delta may use only a part of what it ",
    );
    html.raw("builds on, and complete entries compress a little better.</p></div>");
    html
}

/// Stored and logical bytes over time.
pub(super) fn growth(document: &ReportDocument) -> Markup {
    let mut html = Markup::new();
    let rows = &document.growth;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        html.raw("<p>There is no entry yet.</p>");
        return html;
    };
    html.raw("<p>The entries of today, by the time when they were written. Entries that were deleted since are not ");
    html.raw("known, so this is not how large the store was then.</p><div class=\"charts\">");
    let times: Vec<DateTime<Utc>> = rows.iter().map(|row| row.until.0).collect();
    let values = |value: fn(&Growth) -> u64| rows.iter().map(value).collect::<Vec<u64>>();
    let span = |first: u64, last: u64| {
        let (start, end) = (times.first().copied().unwrap_or_default(), times.last().copied().unwrap_or_default());
        let day = |time: DateTime<Utc>| time.format("%-d %B %Y").to_string();
        format!("From {} on {} to {} on {}.", Bytes(first), day(start), Bytes(last), day(end))
    };
    let stored = |row: &Growth| row.base_bytes + row.delta_bytes;
    let charts = [
        Areas {
            id: "stored",
            title: "Stored",
            description: span(stored(first), stored(last)),
            times: &times,
            series: vec![
                Series { class: "base", name: "bases", values: values(|row| row.base_bytes) },
                Series { class: "delta", name: "deltas", values: values(|row| row.delta_bytes) },
            ],
        },
        Areas {
            id: "logical",
            title: "Files in the entries",
            description: span(first.content_bytes, last.content_bytes),
            times: &times,
            series: vec![Series { class: "other", name: "files", values: values(|row| row.content_bytes) }],
        },
    ];
    charts.iter().for_each(|chart| {
        html.append(&chart.draw());
    });
    html.raw("</div><details><summary>The numbers of these charts</summary>").append(&numbers(rows));
    html.raw("</details>");
    html
}

fn numbers(rows: &[Growth]) -> Markup {
    use MarkupColumn::{Number, Text};
    let columns = [Text("Until"), Number("Entries"), Number("Bases"), Number("Deltas"), Number("Files")];
    let mut table = TableMarkup::new("Growth", &columns);
    for row in rows.iter().rev() {
        table.row(&[
            cell(row.until.0.format("%Y-%m-%d %H:%M")),
            cell(row.entries),
            cell(Bytes(row.base_bytes)),
            cell(Bytes(row.delta_bytes)),
            cell(Bytes(row.content_bytes)),
        ]);
    }
    table.finish()
}
