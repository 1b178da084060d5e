//! Tables: what every chart has next to it.

use super::markup::Markup;

/// How a column looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkupColumn {
    /// Words.
    Text(&'static str),
    /// Numbers, set to the right.
    Number(&'static str),
    /// Numbers that a narrow screen does without.
    Wide(&'static str),
    /// Words that a narrow screen does without.
    WideText(&'static str),
}

impl MarkupColumn {
    fn title(self) -> &'static str {
        match self {
            Self::Text(title) | Self::Number(title) | Self::Wide(title) | Self::WideText(title) => title,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Number(_) => "number",
            Self::Wide(_) => "number wide",
            Self::WideText(_) => "text wide",
        }
    }
}

/// A table in a region that scrolls sideways if it must, also by keyboard.
pub(super) struct TableMarkup {
    columns: Vec<MarkupColumn>,
    html: Markup,
}

impl TableMarkup {
    /// A table of these columns; the first one names the row.
    pub(super) fn new(caption: &'static str, columns: &[MarkupColumn]) -> Self {
        let mut html = Markup::new();
        html.raw("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Table: ").text(caption);
        html.raw("\"><table><caption>").text(caption).raw("</caption><thead><tr>");
        for &column in columns {
            html.raw("<th scope=\"col\" class=\"").raw(column.class()).raw("\">").text(column.title()).raw("</th>");
        }
        html.raw("</tr></thead><tbody>");
        Self { columns: columns.to_vec(), html }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: &[Markup]) -> &mut Self {
        self.html.raw("<tr>");
        for (n, (cell, column)) in cells.iter().zip(&self.columns).enumerate() {
            let (open, close) =
                if n == 0 { ("<th scope=\"row\" class=\"", "</th>") } else { ("<td class=\"", "</td>") };
            self.html.raw(open).raw(column.class()).raw("\">").append(cell).raw(close);
        }
        self.html.raw("</tr>");
        self
    }

    /// Says that rows were left out.
    pub(super) fn more(&mut self, count: usize) -> &mut Self {
        if count > 0 {
            let span = self.columns.len();
            self.html.raw("<tr><td class=\"more\" colspan=\"").text(span).raw("\">and ").text(count);
            self.html.raw(" more</td></tr>");
        }
        self
    }

    /// The table.
    pub(super) fn finish(&mut self) -> Markup {
        self.html.raw("</tbody></table></div>");
        std::mem::take(&mut self.html)
    }
}
