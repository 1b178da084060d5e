//! Sizes on the command line.

/// Reads a size: a whole number and a unit. `kB MB GB TB` are decimal, `KiB MiB GiB TiB` and the bare letters binary,
/// as in `--max-total-size 50GiB`; a number alone counts bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let form = || "not a size such as `500MiB` or `50GiB`".to_owned();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match text[digits.len()..].trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
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
    use super::parse_size;

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        let check = |text, expected| assert_eq!(parse_size(text), Ok(expected), "{text}");
        check("0", 0);
        check("123", 123);
        check("1k", 1024);
        check("2 MiB", 2 << 20);
        check("50GiB", 50 << 30);
        check("50gb", 50_000_000_000);
        check(" 1T ", 1 << 40);
        for text in ["", "x", "-1", "1.5G", "1 GiBs", "99999999999T", "5é"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
