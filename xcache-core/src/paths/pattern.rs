//! Wildcards: one name against one segment of a pattern, and a path against all of them.
//!
//! Names are bytes, since a file name need not be UTF-8. `?` and `[]` take one character where there is one, and one
//! byte elsewhere. Both matchers remember only the last star they passed: a longer run of an earlier one never helps.
//! So the time is bounded by the product of the two lengths.

use std::ffi::OsString;

/// What a pattern wants between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// `**`: any number of names, also none.
    AnyNames,
    /// This name.
    Name(OsString),
    /// A name that fits.
    Wild(Vec<Token>),
}

/// What a pattern wants of one character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// `*`: any number of characters, also none.
    Star,
    /// `?`
    Any,
    /// Itself.
    Char(char),
    /// `[a-z]`, or `[!a-z]`.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// How a path meets a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatternMatch {
    Full,
    /// Not itself, but something below it may.
    Partial,
    No,
}

/// Matches the names of a path with the segments of a pattern.
pub(super) fn match_path<'p>(pattern: &[Segment], path: impl Iterator<Item = &'p [u8]> + Clone) -> PatternMatch {
    let (mut wanted, mut names) = (pattern, path);
    let mut last_star = None;
    loop {
        if let [Segment::AnyNames, after @ ..] = wanted {
            if after.is_empty() {
                return PatternMatch::Full;
            }
            last_star = Some((after, names.clone()));
            wanted = after;
            continue;
        }
        match (wanted, names.next()) {
            ([], None) => return PatternMatch::Full,
            (_, None) => return PatternMatch::Partial,
            ([segment, after @ ..], Some(name)) if segment.matches(name) => wanted = after,
            _ => match &mut last_star {
                Some((after, from)) => {
                    from.next();
                    (wanted, names) = (after, from.clone());
                }
                None => return PatternMatch::No,
            },
        }
    }
}

impl Segment {
    /// Reads what stands between two slashes of a line. Everything means something: a `[` without an end is itself.
    pub(super) fn parse(text: &str) -> Self {
        if text == "**" {
            return Self::AnyNames;
        }
        let mut tokens = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::Any,
                '[' => match parse_class(rest.as_str()) {
                    Some((class, after)) => {
                        rest = after.chars();
                        class
                    }
                    None => Token::Char('['),
                },
                c if is_escape(c) => Token::Char(rest.next().unwrap_or(c)),
                c => Token::Char(c),
            });
        }
        let literal = tokens.iter().map(|token| if let Token::Char(c) = token { Some(*c) } else { None });
        match literal.collect::<Option<String>>() {
            Some(name) => Self::Name(name.into()),
            None => Self::Wild(tokens),
        }
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::AnyNames => true,
            Self::Name(wanted) if cfg!(windows) => wanted.as_encoded_bytes().eq_ignore_ascii_case(name),
            Self::Name(wanted) => wanted.as_encoded_bytes() == name,
            Self::Wild(tokens) => match_name(tokens, name),
        }
    }
}

impl Token {
    /// `c` is none for a byte that is not part of a character.
    fn matches(&self, c: Option<char>) -> bool {
        match (self, c) {
            (Self::Star, _) => false,
            (Self::Any, _) => true,
            (Self::Char(wanted), Some(c)) => fold(*wanted) == fold(c),
            (Self::Char(_), None) => false,
            (Self::Class { negated, ranges }, c) => {
                let within = |c: char| ranges.iter().any(|&(first, last)| (first..=last).contains(&c));
                *negated != c.is_some_and(|c| within(c) || within(fold(c)))
            }
        }
    }
}

fn match_name(pattern: &[Token], name: &[u8]) -> bool {
    let (mut wanted, mut rest) = (pattern, name);
    let mut last_star = None;
    loop {
        if let [Token::Star, after @ ..] = wanted {
            if after.is_empty() {
                return true;
            }
            last_star = Some((after, rest));
            wanted = after;
            continue;
        }
        match (wanted, split_char(rest)) {
            ([], None) => return true,
            (_, None) => return false,
            ([token, after @ ..], Some((c, behind))) if token.matches(c) => (wanted, rest) = (after, behind),
            _ => match &mut last_star {
                Some((after, from)) => {
                    *from = split_char(from).map_or(&[], |(_, behind)| behind);
                    (wanted, rest) = (after, from);
                }
                None => return false,
            },
        }
    }
}

/// The first character, or none in place of a byte that is not part of one, and what follows.
fn split_char(name: &[u8]) -> Option<(Option<char>, &[u8])> {
    let first = *name.first()?;
    if first.is_ascii() {
        return Some((Some(char::from(first)), &name[1..]));
    }
    let c = name[..name.len().min(4)].utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    Some((c, &name[c.map_or(1, char::len_utf8)..]))
}

/// Reads a class behind its `[`: the class, and what follows its `]`. A `]` that comes first is one of the characters.
fn parse_class(text: &str) -> Option<(Token, &str)> {
    let inside = text.strip_prefix(['!', '^']);
    let (negated, mut chars) = (inside.is_some(), inside.unwrap_or(text).chars());
    let mut ranges: Vec<(char, char)> = Vec::new();
    loop {
        match chars.next()? {
            ']' if !ranges.is_empty() => break,
            '-' if !ranges.is_empty() && !chars.as_str().starts_with(']') => {
                let last = unescape(chars.next()?, &mut chars)?;
                // `a-c-e`: the second dash is one of the characters, as its left side has been used up.
                match ranges.last_mut() {
                    Some(range) if range.0 == range.1 => range.1 = last,
                    _ => ranges.extend([('-', '-'), (last, last)]),
                }
            }
            c => {
                let c = unescape(c, &mut chars)?;
                ranges.push((c, c));
            }
        }
    }
    let token = match ranges[..] {
        [(first, last)] if first == last && !negated => Token::Char(first),
        _ => Token::Class { negated, ranges },
    };
    Some((token, chars.as_str()))
}

fn unescape(c: char, rest: &mut std::str::Chars<'_>) -> Option<char> {
    if is_escape(c) { rest.next() } else { Some(c) }
}

fn is_escape(c: char) -> bool {
    cfg!(not(windows)) && c == '\\'
}

fn fold(c: char) -> char {
    if cfg!(windows) { c.to_ascii_lowercase() } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let segment = Segment::parse(pattern);
        for name in matching {
            assert!(segment.matches(name.as_bytes()), "`{pattern}` must match `{name}`");
        }
        for name in others {
            assert!(!segment.matches(name.as_bytes()), "`{pattern}` must not match `{name}`");
        }
    }

    #[test]
    fn stars_match_any_run_of_characters() {
        check("*", &["", "a", ".hidden", "ä"], &[]);
        check("*.o", &["a.o", ".o", "a.o.o"], &["a.oo", "o"]);
        check("a*b*c", &["abc", "abbcc", "a-b-b-c"], &["ab", "acb", "abcd"]);
        check("a**b", &["ab", "axb"], &["a", "b"]);
    }

    #[test]
    fn question_marks_match_one_character() {
        check("?", &["a", ".", "ä", "😀"], &["", "ab"]);
        check("a?c", &["abc", "a\u{20ac}c"], &["ac", "abbc"]);
    }

    #[test]
    fn classes_match_one_of_their_characters() {
        check("[abc]", &["a", "c"], &["d", "", "ab"]);
        check("[a-cx]", &["b", "x"], &["d", "-"]);
        check("[a-]", &["a", "-"], &["b"]);
        check("[a-c-e]", &["b", "-", "e"], &["d"]);
        check("[!a-c]", &["d", "ä"], &["b", ""]);
        check("[^a]", &["b"], &["a"]);
        check("[]a]", &["]", "a"], &["b"]);
        check("[ä-ü]", &["ö"], &["a"]);
        check("[", &["["], &["a"]);
        check("[a", &["[a"], &["a"]);
        check("a[]", &["a[]"], &["a"]);
    }

    #[test]
    fn braces_commas_and_the_like_stand_for_themselves() {
        check("{a,b}", &["{a,b}"], &["a", "b"]);
        check("@(a|b)", &["@(a|b)"], &["a"]);
        check("a+.$", &["a+.$"], &["aa..$"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_backslash_takes_the_meaning_away() {
        check(r"\*", &["*"], &["a"]);
        check(r"\[a]", &["[a]"], &["a"]);
        check(r"[\]]", &["]"], &["\\"]);
        check(r"[\]-_]", &["]", "^", "_"], &["\\"]);
        check(r"a\", &[r"a\"], &["a"]);
        assert_eq!(Segment::parse(r"\*[?]"), Segment::Name("*?".into()));
    }

    #[test]
    fn names_need_not_be_utf8() {
        for (pattern, name, expected) in [
            ("*", &b"\xff\xfe"[..], true),
            ("a?b", b"a\xffb", true),
            ("a?b", b"a\xc3b", true),
            ("a?b", b"a\xff\xffb", false),
            ("[!a]", b"\xff", true),
            ("[a-z]", b"\xff", false),
            ("*\u{fffd}*", b"\xff", false),
            ("*.o", b"\xff.o", true),
        ] {
            assert_eq!(Segment::parse(pattern).matches(name), expected, "{pattern} {name:?}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let segment = Segment::parse(&"*a".repeat(50));
        assert!(!segment.matches(&b"a".repeat(49)));
        assert!(!segment.matches(&[&b"a".repeat(5000)[..], b"b"].concat()));
        let pattern: Vec<_> = "**/a/".repeat(50).split_terminator('/').map(Segment::parse).collect();
        assert_eq!(
            match_path(&pattern, std::iter::repeat_n(&b"a"[..], 2000).chain([&b"b"[..]])),
            PatternMatch::Partial
        );
    }
}
