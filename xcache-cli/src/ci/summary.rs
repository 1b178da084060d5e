//! The summary of a step: Markdown appended to the file that `GITHUB_STEP_SUMMARY` names.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use xcache_core::redact;

/// A Markdown table.
#[derive(Clone, Debug)]
pub struct Table {
    columns: usize,
    text: String,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        let mut table = Self { columns: headings.len(), text: String::new() };
        table.line(headings.iter().map(|text| escape(text)));
        table.line(headings.iter().map(|_| "---".to_owned()));
        table
    }

    /// Adds a row. Missing cells stay empty; more cells than headings are not shown.
    #[must_use]
    pub fn row<T: AsRef<str>>(mut self, cells: impl IntoIterator<Item = T>) -> Self {
        let columns = self.columns;
        let cells = cells.into_iter().map(|cell| escape(cell.as_ref()));
        self.line(cells.chain(std::iter::repeat_with(String::new)).take(columns));
        self
    }

    /// The table below a title.
    pub fn titled(&self, title: &str) -> String {
        format!("### {}\n\n{}\n", escape(title), self.text)
    }

    fn line(&mut self, cells: impl Iterator<Item = String>) {
        for cell in cells {
            self.text.push_str("| ");
            self.text.push_str(&cell);
            self.text.push(' ');
        }
        self.text.push_str("|\n");
    }
}

/// Appends to the file.
pub fn append(path: &Path, markdown: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?.write_all(redact::hide(markdown).as_bytes())
}

/// Shows a text as it is: nothing in it is Markdown or HTML, and it does not leave its cell.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => escaped.push(' '),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' | '#' | '!' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            // Autolinks and mentions are made without any other sign.
            '@' => escaped.push_str("&#64;"),
            ':' => escaped.push_str("&#58;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cannot_leave_the_table() {
        let check = |cell, expected| assert_eq!(escape(cell), expected);
        check("plain-key 1.2", "plain-key 1.2");
        check("a|b\r\nc", "a\\|b  c");
        check("\\|", "\\\\\\|");
        check("<b>&`x`", "&lt;b&gt;&amp;\\`x\\`");
        check("![i](https://x)", "\\!\\[i\\](https&#58;//x)");
        check("@org", "&#64;org");
    }

    #[test]
    fn rows_have_as_many_cells_as_there_are_headings() {
        let table = Table::new(&["a", "b"]).row(["1"]).row(["1", "2", "3"]);
        assert_eq!(table.titled("T"), "### T\n\n| a | b |\n| --- | --- |\n| 1 |  |\n| 1 | 2 |\n\n");
    }

    #[test]
    fn summaries_are_appended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("summary.md");
        append(&path, "a\n").unwrap();
        append(&path, "b\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\n");
    }
}
