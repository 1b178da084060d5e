//! HTML that cannot be broken by what it shows.
//!
//! Keys, scopes, branches and paths are written by whoever may save. Markup only comes from the program itself
//! (`&'static str`); everything else goes through [`Markup::text`].

use std::fmt::{self, Display, Write as _};

/// A piece of a page.
#[derive(Clone, Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Markup of ours, as it is.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Anything, as text: in an element, or in an attribute between double quotes.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        write!(Escaping(&mut self.0), "{text}").expect("a string takes everything");
        self
    }

    /// A text that others have chosen, apart from its surroundings: its direction of writing is its own.
    pub(super) fn foreign(&mut self, text: impl Display) -> &mut Self {
        self.raw("<bdi>").text(text).raw("</bdi>")
    }

    /// Another piece.
    pub(super) fn append(&mut self, other: &Self) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    /// The text of the page.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // They are no part of HTML, or change how what follows is shown.
                c if c.is_control() || is_formatting(c) => self.0.push('\u{FFFD}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// Whether a character is invisible and moves others: marks, embeddings, overrides and isolates of direction.
fn is_formatting(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_becomes_markup() {
        let check = |text: &str, expected: &str| {
            let mut markup = Markup::new();
            markup.text(text);
            assert_eq!(markup.into_string(), expected);
        };
        check("deps-1.2", "deps-1.2");
        check("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;");
        check("\" onload='x' &amp;", "&quot; onload=&#39;x&#39; &amp;amp;");
        check("a\u{202E}b\0c\n", "a\u{FFFD}b\u{FFFD}c\u{FFFD}");
        check("ü 漢 🦀", "ü 漢 🦀");
    }
}
