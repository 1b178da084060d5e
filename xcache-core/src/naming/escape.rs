//! Spelling texts with the characters that every store keeps as they are. Why these: see the module above.

/// The most bytes between two slashes: the limit of common file systems, and so of stores built on them.
pub(crate) const MAX_SEGMENT_BYTES: usize = 255;

/// The path segment of the scope `text`.
pub(crate) fn scope_segment(text: &str) -> String {
    let mut segment = String::new();
    for c in text.chars() {
        let leading_dot = c == '.' && segment.is_empty();
        push_char(&mut segment, c, is_plain(c) && !leading_dot);
    }
    segment
}

pub(super) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.+=@:()!".contains(c)
}

pub(super) fn push_char(name: &mut String, c: char, plain: bool) {
    if plain {
        name.push(c);
    } else {
        push_escaped(name, '%', c);
    }
}

/// Appends each UTF-8 byte of `c` as two upper-case digits after `mark`.
pub(super) fn push_escaped(text: &mut String, mark: char, c: char) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        text.push(mark);
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Undoes [`push_escaped`]; `None` for a mark without two digits, or if the bytes are not UTF-8.
pub(super) fn unescape(text: &str, mark: u8) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == mark {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
