//! Which branches, families and scopes take how much: tables that are charts as well.

use xcache_cli::output::v1::{ReportDocument, Share};
use xcache_cli::report::human::Bytes;

use super::cell;
use super::chart::bar;
use super::markup::Markup;
use super::table::{MarkupColumn, TableMarkup};

/// How many rows are shown of each.
const ROWS: usize = 20;

/// By family, branch and scope. A breakdown that has only one row says nothing.
pub(super) fn shares(document: &ReportDocument) -> Markup {
    let ReportDocument { by_branch, by_family, by_scope, tags_supported, .. } = document;
    let mut html = Markup::new();
    if by_family.is_empty() {
        html.raw("<p>There is no entry yet.</p>");
        return html;
    }
    html.raw("<ul class=\"legend\"><li><span class=\"swatch base\"></span>bases</li>");
    html.raw("<li><span class=\"swatch delta\"></span>deltas</li></ul>");
    html.append(&table("By key family", "Key family", by_family, ""));
    if *tags_supported {
        html.append(&table("By branch", "Branch", by_branch, "no branch"));
    } else {
        html.raw("<p>The store has no tags, so branches are not known.</p>");
    }
    if by_scope.len() > 1 {
        html.append(&table("By scope", "Scope", by_scope, "shared"));
    }
    html
}

fn table(title: &'static str, name: &'static str, shares: &[Share], nameless: &'static str) -> Markup {
    use MarkupColumn::{Number, Text, Wide};
    let columns = [
        Text(name),
        Number("Stored"),
        Wide("Bases"),
        Wide("Deltas"),
        Number("Files"),
        Wide("Entries"),
        Wide("Saved by deltas"),
    ];
    let mut table = TableMarkup::new(title, &columns);
    let most = shares.iter().map(Share::bytes).max().unwrap_or_default();
    for share in shares.iter().take(ROWS) {
        let mut label = Markup::new();
        match share.name.as_deref() {
            Some(name) => label.raw("<span class=\"key\">").foreign(name).raw("</span>"),
            None => label.raw("<span class=\"nameless\">").raw(nameless).raw("</span>"),
        };
        label.append(&bar(&[("base", share.base_bytes), ("delta", share.delta_bytes)], most));
        table.row(&[
            label,
            cell(Bytes(share.bytes())),
            cell(Bytes(share.base_bytes)),
            cell(Bytes(share.delta_bytes)),
            cell(Bytes(share.content_bytes)),
            cell(share.entries),
            cell(Bytes(share.saved_bytes())),
        ]);
    }
    let mut html = Markup::new();
    html.raw("<h3>").raw(title).raw("</h3>").append(&table.more(shares.len().saturating_sub(ROWS)).finish());
    html
}
