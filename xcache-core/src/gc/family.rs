//! Key families: what a key is without what changes from save to save.
//!
//! `ccache-main-1718000000`, `ccache-main-1718086400` belong to the family `ccache-main-*`. Whatever looks made by a
//! machine is replaced by `*`: a word of at least seven hexadecimal digits that has a figure in it (hashes, commits,
//! run ids, seconds since 1970), a date (`2024-05-31`), and numbers that follow one of these to the key's end (the
//! attempt in `<run id>-2`). Short numbers stay, because `ubuntu-22.04` and `ubuntu-24.04` are not the same thing.

/// Shorter words may be versions.
const MIN_HEX_DIGITS: usize = 7;

/// The family of `key`.
pub fn family(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut rest = key;
    let mut after_star = false;
    while let Some(c) = rest.chars().next() {
        if !c.is_ascii_alphanumeric() {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let date = date_len(rest);
        let word_len = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(date.unwrap_or(word_len));
        let varies = date.is_some() || is_digest(word) || (after_star && is_trailing_number(rest));
        if varies {
            out.push('*');
            after_star = true;
        } else {
            out.push_str(word);
            after_star = false;
        }
        rest = after;
    }
    out
}

fn is_digest(word: &str) -> bool {
    word.len() >= MIN_HEX_DIGITS
        && word.bytes().all(|b| b.is_ascii_hexdigit())
        && word.bytes().any(|b| b.is_ascii_digit())
}

fn is_trailing_number(rest: &str) -> bool {
    rest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.' | b'/' | b':'))
}

/// The length of the date that `text` begins with.
fn date_len(text: &str) -> Option<usize> {
    const SHAPE: &[u8; 10] = b"20dd-dd-dd";
    let date = text.as_bytes().first_chunk::<10>()?;
    let fits = date.iter().zip(SHAPE).all(|(&b, &shape)| if shape == b'd' { b.is_ascii_digit() } else { b == shape });
    (fits && !text[10..].starts_with(|c: char| c.is_ascii_alphanumeric())).then_some(10)
}

#[cfg(test)]
mod tests {
    use super::family;

    #[test]
    fn families_drop_what_machines_made() {
        let table = [
            ("ccache-main-1718000000", "ccache-main-*"),
            ("linux-cargo-5f2c9e0b7a1d", "linux-cargo-*"),
            ("node_modules/9f86d081884c7d659a2feaa0c55ad015/x", "node_modules/*/x"),
            ("build-9812345678-2", "build-*-*"),
            ("build-2", "build-2"),
            ("ubuntu-22.04-gcc-13", "ubuntu-22.04-gcc-13"),
            ("ubuntu-22.04-a1b2c3d", "ubuntu-22.04-*"),
            ("nightly-2024-05-31", "nightly-*"),
            ("nightly-2024-05-31T10", "nightly-2024-05-31T10"),
            ("deadbeef-facade", "deadbeef-facade"),
            ("Übung-ä1234567", "Übung-ä*"),
            ("", ""),
        ];
        for (key, expected) in table {
            assert_eq!(family(key), expected, "{key}");
        }
    }
}
