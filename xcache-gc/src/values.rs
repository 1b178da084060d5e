//! Sizes and selectors on the command line.

use std::path::PathBuf;

use xcache_core::redact::GivenAddress;

/// Reads what selects entries. A blank one is a variable that is not set, and would select everything.
pub(crate) fn parse_selector(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("blank, as from a variable that is not set; `--all` selects all entries".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads a git remote.
pub(crate) fn parse_remote(text: &str) -> Result<GivenAddress, String> {
    if text.trim().is_empty() {
        return Err("blank, as from a variable that is not set".to_owned());
    }
    Ok(text.into())
}

/// Reads the name of a file to write. A blank one is a variable that is not set.
pub(crate) fn parse_file(text: &str) -> Result<PathBuf, String> {
    if text.trim().is_empty() {
        return Err("blank, as from a variable that is not set".to_owned());
    }
    Ok(text.into())
}

/// Reads a price.
pub(crate) fn parse_price(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(price) if price.is_finite() && price >= 0.0 => Ok(price),
        _ => Err("not a price such as `0.023`".to_owned()),
    }
}

/// Reads the name and value of a tag.
pub(crate) fn parse_tag(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
    match pair {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not a tag such as `keep=true`".to_owned()),
    }
}

/// Reads a size: a whole number and a unit. `kB MB GB TB` are decimal, `KiB MiB GiB TiB` and the bare letters binary,
/// as in `--max-total-size 50GiB`. A number needs its unit: `50` for `50GiB`, or the `0` that a shell computes from a variable
/// that is not set, would delete everything.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let form = || "not a size such as `500MiB` or `50GiB`".to_owned();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match text[digits.len()..].trim_start().to_ascii_lowercase().as_str() {
        "" => return Err("a number without a unit: write `500MiB` or `50GiB`".to_owned()),
        "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(form()),
    };
    let number: u64 = digits.parse().map_err(|_| form())?;
    number.checked_mul(unit).ok_or_else(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_not_blank() {
        assert_eq!(parse_selector("a b"), Ok("a b".to_owned()));
        for blank in ["", " ", "\t\n"] {
            assert!(parse_selector(blank).unwrap_err().contains("--all"), "{blank:?}");
        }
        assert_eq!(parse_tag("keep=true"), Ok(("keep".to_owned(), "true".to_owned())));
        for text in ["", "keep", "=true", "keep=", " = "] {
            assert!(parse_tag(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        let check = |text, expected| assert_eq!(parse_size(text), Ok(expected), "{text}");
        check("0B", 0);
        check("123B", 123);
        check("1k", 1024);
        check("2 MiB", 2 << 20);
        check("50GiB", 50 << 30);
        check("50gb", 50_000_000_000);
        check(" 1T ", 1 << 40);
        for text in ["", "0", "50", "123", "x", "-1", "1.5G", "1 GiBs", "99999999999T", "5é"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
