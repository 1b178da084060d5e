//! The largest entries, the newest ones and what is new in them, and the largest files.

use xcache_cli::output::v1::{Changed, LargeFile, ReportDocument, ReportedEntry};
use xcache_cli::report::human::{Bytes, Count};

use super::chart::bar;
use super::markup::Markup;
use super::table::{MarkupColumn, TableMarkup};
use super::{cell, key, kind, percent};
use crate::reason::age;

/// The largest entries.
pub(super) fn largest(document: &ReportDocument) -> Markup {
    use MarkupColumn::{Number, Text, Wide, WideText};
    let mut html = Markup::new();
    let Some(largest) = document.largest_entries.first() else {
        html.raw("<p>There is no entry yet.</p>");
        return html;
    };
    let columns = [Text("Key"), WideText("Kind"), Number("Stored"), Wide("Files"), WideText("Branch"), Number("Age")];
    let mut table = TableMarkup::new("Largest entries", &columns);
    for entry in &document.largest_entries {
        let ReportedEntry { bytes, content_bytes, branch, modified, .. } = entry;
        let mut label = key(&entry.key, entry.scope.as_ref());
        label.append(&bar(&[(class(&entry.kind), *bytes)], largest.bytes));
        let mut on = Markup::new();
        if let Some(branch) = branch {
            on.raw("<span class=\"key\">").foreign(branch).raw("</span>");
        } else {
            on.raw("<span class=\"nameless\">none</span>");
        }
        table.row(&[
            label,
            kind(&entry.kind),
            cell(Bytes(*bytes)),
            content_bytes.map_or_else(|| cell("not known"), |bytes| cell(Bytes(bytes))),
            on,
            cell(age(document.now.0 - modified.0)),
        ]);
    }
    html.append(&table.finish());
    html
}

fn class(kind: &str) -> &'static str {
    if kind == "base" { "base" } else { "delta" }
}

/// What changed in each of the newest entries.
pub(super) fn newest(document: &ReportDocument) -> Markup {
    let mut html = Markup::new();
    html.raw(
        "<p>Each is compared with the entry before it, of the same key family and scope. A directory that is new in ",
    );
    html.raw("every entry makes every delta larger: see whether it can be excluded.</p><div class=\"cards\">");
    for changed in &document.newest {
        html.append(&card(document, changed));
    }
    html.raw("</div>");
    html
}

fn card(document: &ReportDocument, changed: &Changed) -> Markup {
    let Changed { entry, compared_with, files, added_files, changed_files, removed_files, new_bytes, directories } =
        changed;
    let mut html = Markup::new();
    html.raw("<article class=\"card\"><h3>")
        .append(&key(&entry.key, entry.scope.as_ref()))
        .raw("</h3><p class=\"facts\">");
    html.append(&kind(&entry.kind)).raw("<span>").text(Bytes(entry.bytes)).raw("</span><span>");
    html.text(age(document.now.0 - entry.modified.0)).raw(" old</span></p>");
    let content = entry.content_bytes.unwrap_or_default();
    html.raw("<p>");
    if let Some(before) = compared_with {
        html.raw("<strong>").text(Bytes(*new_bytes)).raw("</strong> new of ").text(Bytes(content)).raw(", ");
        html.text(percent(*new_bytes, content)).raw("%. ").text(Count(*changed_files, "file")).raw(" changed, ");
        html.text(added_files).raw(" added, ").text(removed_files).raw(" removed since ");
        html.append(&key(before, None)).raw(".");
    } else {
        html.raw("The first of its family: ").text(Count(*files, "file")).raw(", ").text(Bytes(content)).raw(".");
    }
    html.raw("</p>");
    let most = directories.first().map_or(0, |directory| directory.new_bytes);
    if most > 0 {
        html.raw("<ul class=\"directories\" aria-label=\"New by directory\">");
        for directory in directories.iter().take(6) {
            html.raw("<li><span class=\"key\">").foreign(&directory.path).raw("</span><span class=\"amount\">");
            html.text(Bytes(directory.new_bytes)).raw("</span>").append(&bar(&[("delta", directory.new_bytes)], most));
            html.raw("</li>");
        }
        html.raw("</ul>");
    }
    html.raw("</article>");
    html
}

/// The largest files.
pub(super) fn files(document: &ReportDocument) -> Markup {
    use MarkupColumn::{Number, Text, WideText};
    let mut html = Markup::new();
    let Some(largest) = document.largest_files.first() else {
        html.raw("<p>The newest entries hold no file.</p>");
        return html;
    };
    html.raw("<p>Of the newest entry of each key family. New is what the entry before did not have.</p>");
    html.raw("<ul class=\"legend\"><li><span class=\"swatch delta\"></span>new</li>");
    html.raw("<li><span class=\"swatch other\"></span>as before</li></ul>");
    let mut table =
        TableMarkup::new("Largest files", &[Text("File"), Number("Size"), Number("New"), WideText("In the entry")]);
    for LargeFile { path, key: of, scope, bytes, new_bytes } in &document.largest_files {
        let mut label = Markup::new();
        label.raw("<span class=\"key\">").foreign(path).raw("</span>");
        label.append(&bar(&[("delta", *new_bytes), ("other", bytes - new_bytes)], largest.bytes));
        table.row(&[label, cell(Bytes(*bytes)), cell(Bytes(*new_bytes)), key(of, scope.as_ref())]);
    }
    html.append(&table.finish());
    html
}
