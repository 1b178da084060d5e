//! A table of data: columns with headings on a terminal, fitted to its width, and elsewhere lines of values that are
//! separated by tabs. People get sizes with units and ages, programs get bytes and times.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A column has no less than this, however narrow the terminal is.
const MIN_WIDTH: usize = 12;
/// Between two columns.
const GAP: &str = "  ";

/// A column of a [`AlignedTable`].
#[derive(Clone, Copy, Debug)]
pub struct Column {
    heading: &'static str,
    is_right: bool,
    /// Never shortened.
    is_whole: bool,
}

impl Column {
    /// A column of texts.
    pub const fn text(heading: &'static str) -> Self {
        Self { heading, is_right: false, is_whole: false }
    }

    /// A last column of texts that are of no use if something is cut out: a long one goes on in the next line.
    pub const fn whole(heading: &'static str) -> Self {
        Self { heading, is_right: false, is_whole: true }
    }

    /// A column of numbers, which stand below each other.
    pub const fn number(heading: &'static str) -> Self {
        Self { heading, is_right: true, is_whole: false }
    }
}

/// A value of a [`AlignedTable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// For people.
    shown: String,
    /// For programs.
    exact: String,
}

impl Cell {
    /// A value that people and programs read in different forms.
    pub fn new(shown: impl ToString, exact: impl ToString) -> Self {
        Self { shown: shown.to_string(), exact: exact.to_string() }
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self::new(value.to_string(), value)
    }
}

/// Rows of values below headings.
#[derive(Clone, Debug)]
pub struct AlignedTable {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl AlignedTable {
    /// A table without rows.
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, with one value for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines for programs: no headings, nothing cut off.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        let line = |row: &Vec<Cell>| row.iter().map(|cell| visible(&cell.exact)).collect::<Vec<_>>().join("\t");
        self.rows.iter().map(line)
    }

    /// The lines for people, on a terminal of this width. A table without rows has none; a column in which nothing stands
    /// is left out.
    pub(super) fn lines_within(&self, width: usize) -> Vec<String> {
        let shown: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(|cell| visible(&cell.shown)).collect()).collect();
        let is_used = |column: usize| shown.iter().any(|row| row.get(column).is_some_and(|text| !text.is_empty()));
        let used: Vec<usize> = (0..self.columns.len()).filter(|&column| is_used(column)).collect();
        let widest = |&column: &usize| {
            let cells = shown.iter().filter_map(|row| row.get(column)).map(|text| text.width());
            cells.chain([self.columns[column].heading.width()]).max().unwrap_or_default()
        };
        let mut widths: Vec<usize> = used.iter().map(widest).collect();
        fit(&mut widths, width.saturating_sub(GAP.len() * used.len().saturating_sub(1)));
        let line = |texts: &dyn Fn(usize) -> String| {
            let cells = used.iter().zip(&widths).map(|(&column, &width)| {
                let text = texts(column);
                let text = if self.columns[column].is_whole { text } else { shortened(&text, width) };
                let fill = " ".repeat(width.saturating_sub(text.width()));
                if self.columns[column].is_right { fill + &text } else { text + &fill }
            });
            cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
        };
        let heading = line(&|column| self.columns[column].heading.to_owned());
        let rows = shown.iter().map(|row| line(&|column| row.get(column).cloned().unwrap_or_default()));
        if used.is_empty() { Vec::new() } else { std::iter::once(heading).chain(rows).collect() }
    }
}

/// Takes from the widest columns until all of them fit.
fn fit(widths: &mut [usize], available: usize) {
    while widths.iter().sum::<usize>() > available {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > MIN_WIDTH) else { break };
        *widest -= 1;
    }
}

/// Control characters as escapes: the name of a file must neither break a row nor move the cursor.
fn visible(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// Cuts out of the middle: the ends of keys differ, and so do their beginnings.
fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let take = |chars: &mut dyn Iterator<Item = char>, width: usize| {
        let mut left = width;
        let fits = |c: &char| {
            let rest = left.checked_sub(c.width().unwrap_or(0));
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        chars.take_while(fits).collect::<Vec<char>>()
    };
    let start = take(&mut text.chars(), kept.div_ceil(2));
    let end = take(&mut text.chars().rev(), kept / 2);
    start.into_iter().chain(['…']).chain(end.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> AlignedTable {
        let mut table = AlignedTable::new(&[Column::number("SIZE"), Column::text("KEY"), Column::text("SCOPE")]);
        table.row([Cell::new("1.5 MiB", 1_572_864), "deps-linux-0123456789abcdef".into(), "".into()]);
        table.row([Cell::new("2 B", 2), "a\tb".into(), "".into()]);
        table
    }

    #[test]
    fn a_terminal_gets_headings_and_columns_within_its_width() {
        let all = ["   SIZE  KEY", "1.5 MiB  deps-linux-0123456789abcdef", "    2 B  a\\tb"];
        assert_eq!(table().lines_within(80), all);
        assert_eq!(table().lines_within(36), all);
        assert_eq!(table().lines_within(25)[1], "1.5 MiB  deps-lin…9abcdef");
        // Below this the lines are as long as they must be.
        assert_eq!(table().lines_within(5)[1], "1.5 MiB  deps-l…bcdef");
        assert_eq!(AlignedTable::new(&[Column::text("KEY")]).lines_within(80), [""; 0]);
    }

    #[test]
    fn a_pipe_gets_exact_values_between_tabs() {
        let lines: Vec<String> = table().lines().collect();
        assert_eq!(lines, ["1572864\tdeps-linux-0123456789abcdef\t", "2\ta\\tb\t"]);
    }

    #[test]
    fn what_takes_two_columns_is_counted_as_two() {
        let check = |text: &str, width, expected: &str| assert_eq!(shortened(text, width), expected);
        check("漢字漢字", 8, "漢字漢字");
        check("漢字漢字", 7, "漢…字");
        check("abc", 3, "abc");
        check("abcd", 3, "a…d");
    }
}
