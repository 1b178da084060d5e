//! A report as one page: no script, no network, nothing outside of the file.
//!
//! The page is for people who look at it once a month: what there is, what it costs, what is wrong, what a clean-up would
//! do. Light and dark follow the system. Everything can be read without seeing (tables, headings, labels) and reached by
//! keyboard, and fits into 360 pixels.

use xcache_cli::output::v1::ReportDocument;
use xcache_cli::report::human::{Bytes, Count};

use markup::Markup;
use xcache_core::convert;

mod chart;
mod cleanup;
mod entries;
mod markup;
mod overview;
mod shares;
mod table;

/// Its colours and its layout.
const STYLE: &str = include_str!("page.css");

/// The page.
pub(super) fn page(document: &ReportDocument) -> String {
    let mut sections: Vec<(&'static str, &'static str, Markup)> = vec![
        ("overview", "Overview", overview::overview(document)),
        ("growth", "Growth", overview::growth(document)),
        ("shares", "Breakdown", shares::shares(document)),
        ("largest", "Largest entries", entries::largest(document)),
    ];
    if !document.newest.is_empty() {
        sections.push(("newest", "Newest entries", entries::newest(document)));
        sections.push(("files", "Largest files", entries::files(document)));
    }
    sections.push(("health", "Needs attention", cleanup::health(document)));
    sections.push(("cleanup", "Clean-up", cleanup::plan(document)));

    let mut html = head(document);
    html.raw("<nav aria-label=\"Sections\"><ul>");
    for (id, title, _) in &sections {
        html.raw("<li><a href=\"#").raw(id).raw("\">").raw(title).raw("</a></li>");
    }
    html.raw("</ul></nav><main id=\"main\">");
    for (id, title, body) in &sections {
        html.raw("<section id=\"").raw(id).raw("\" aria-labelledby=\"").raw(id).raw("-title\"><h2 id=\"").raw(id);
        html.raw("-title\">").raw(title).raw("</h2>").append(body).raw("</section>");
    }
    html.raw("</main><footer><p>Made by <code>xcache-gc report</code> ").raw(env!("CARGO_PKG_VERSION"));
    html.raw(". Sizes are binary: a GiB has 2<sup>30</sup> bytes. Times are UTC.</p></footer></body></html>\n");
    html.into_string()
}

fn head(document: &ReportDocument) -> Markup {
    let ReportDocument { store, now, total, .. } = document;
    let mut html = Markup::new();
    html.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.raw("<meta name=\"color-scheme\" content=\"light dark\">");
    // Even if something of what is shown were markup, it could neither run nor load anything.
    html.raw("<meta http-equiv=\"Content-Security-Policy\" ");
    html.raw("content=\"default-src 'none'; style-src 'unsafe-inline'\">");
    html.raw("<title>Cache report: ").text(store).raw("</title><style>").raw(STYLE).raw("</style></head><body>");
    html.raw("<a class=\"skip\" href=\"#main\">Skip to the report</a><header><p class=\"eyebrow\">xcache report</p>");
    html.raw("<h1>").foreign(store).raw("</h1><p class=\"lede\">");
    html.text(Count(total.entries, "entry")).raw(" with ").text(Bytes(total.content_bytes)).raw(" of files take ");
    html.raw("<strong>").text(Bytes(total.bytes())).raw("</strong> of storage.");
    html.raw("</p><p class=\"when\">Listed on <time datetime=\"").text(now).raw("\">");
    html.text(now.0.format("%-d %B %Y, %H:%M UTC")).raw("</time></p></header>");
    html
}

/// An element with text of ours or of others.
fn cell(text: impl std::fmt::Display) -> Markup {
    let mut html = Markup::new();
    html.text(text);
    html
}

/// A key and its scope.
fn key(key: &str, scope: Option<&String>) -> Markup {
    let mut html = Markup::new();
    html.raw("<span class=\"key\">").foreign(key).raw("</span>");
    if let Some(scope) = scope {
        html.raw(" <span class=\"scope\">").foreign(scope).raw("</span>");
    }
    html
}

/// `base` or `delta`, marked with the colour that it has in charts.
fn kind(kind: &str) -> Markup {
    let mut html = Markup::new();
    let class = if kind == "base" { "base" } else { "delta" };
    html.raw("<span class=\"kind\"><span class=\"swatch ").raw(class).raw("\"></span>").text(kind).raw("</span>");
    html
}

/// Whole per cent; nothing of nothing is nothing.
fn percent(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 100 / u128::from(whole.max(1));
    convert::shown(share)
}
