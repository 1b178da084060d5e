//! Values of arguments: booleans, lists, durations and secrets.

use std::convert::Infallible;
use std::time::Duration;

use xcache_core::store::open::Secret;

/// Reads a boolean as actions do: `true` in any case is true, anything else is false.
pub fn parse_switch(text: &str) -> Result<bool, Infallible> {
    Ok(text.trim().eq_ignore_ascii_case("true"))
}

/// Splits multi-line values: one item to a line, trimmed, empty lines dropped (as `actions/cache` does).
pub fn lines(values: &[String]) -> Vec<&str> {
    values.iter().flat_map(|value| value.lines()).map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// Reads a duration: a whole number and a unit (`s m h d w`), for example `90m`, `7d`; or `0`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let form = || format!("`{text}` is not a duration such as `90m`, `12h` or `7d`");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let seconds: u64 = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return Err(form()),
    };
    let number: u64 = digits.parse().map_err(|_| form())?;
    let seconds = number.checked_mul(seconds).ok_or_else(form)?;
    // A thousand years: longer than any cache lives, and far from where adding it to a date would overflow.
    if seconds > 1000 * 366 * 24 * 3600 {
        return Err(format!("`{text}` is longer than a thousand years"));
    }
    Ok(Duration::from_secs(seconds))
}

/// Reads a secret; a line end that came along with it is not part of it.
pub fn parse_secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_is_true() {
        let check = |text, expected| assert_eq!(parse_switch(text), Ok(expected), "{text:?}");
        check("true", true);
        check("True", true);
        check(" TRUE\n", true);
        for text in ["false", "1", "yes", "on", "truee", ""] {
            check(text, false);
        }
    }

    #[test]
    fn lists_have_one_item_to_a_line() {
        let check = |values: &[&str], expected: &[&str]| {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            assert_eq!(lines(&values), expected, "{values:?}");
        };
        check(&[], &[]);
        check(&["", " \n\t\n"], &[]);
        check(&["a"], &["a"]);
        check(&["  a \r\n\n b c ", "d"], &["a", "b c", "d"]);
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        let check = |text, seconds| assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        check("0", 0);
        check("0d", 0);
        check("45s", 45);
        check("90m", 5400);
        check("24h", 86_400);
        check(" 7d ", 604_800);
        check("2w", 1_209_600);
        for text in ["", "7", "d", "7 d", "-1d", "1.5h", "7days", "7é", "99999999999999999999d", "9999999999w"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_trimmed_and_never_printed() {
        let secret = parse_secret(" hunter2\n").unwrap();
        assert_eq!(secret, Secret::new("hunter2"));
        assert_eq!(format!("{:#?}", Some(&secret)).matches("hunter2").count(), 0);
    }
}
