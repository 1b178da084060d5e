//! Values of arguments: booleans, lists, durations and secrets.

use std::convert::Infallible;
use std::time::Duration;

use xcache_core::redact::Secret;

use super::{RunContext, UsageError};

/// Reads a switch: a clear yes or no in any of the usual spellings. A blank one is off, as if it were not given.
pub fn parse_switch(text: &str) -> Result<bool, NotASwitch> {
    if text.trim().is_empty() { Ok(false) } else { yes_or_no(text).ok_or(NotASwitch) }
}

/// Reads a switch that makes a run harmless, such as `--dry-run`: whatever is not a clear no turns it on.
pub fn parse_safeguard(text: &str) -> Result<bool, Infallible> {
    Ok(yes_or_no(text).unwrap_or(true))
}

/// Neither a yes nor a no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither yes nor no: write `true` or `false` (or `1`, `0`, `yes`, `no`, `on`, `off`)")]
pub struct NotASwitch;

fn yes_or_no(text: &str) -> Option<bool> {
    let text = text.trim();
    let is_any = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_any(["true", "yes", "on", "1"]) {
        Some(true)
    } else if is_any(["false", "no", "off", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// A switch that `actions/cache` has too. There `true` in any case is true and everything else is false, without a
/// word, so that in a job of GitHub Actions it is the same here; elsewhere it is a switch like all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionsSwitch(String);

impl ActionsSwitch {
    /// Keeps the text until it is known whether this is a job.
    pub fn parse(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.trim().to_owned()))
    }

    /// Whether it is on. The error names `flag`.
    pub fn is_on(&self, flag: &str, context: &RunContext) -> Result<bool, UsageError> {
        if context.ci.is_actions() {
            return Ok(self.0.eq_ignore_ascii_case("true"));
        }
        parse_switch(&self.0).map_err(|error| UsageError::options(format!("`--{flag}={}` is {error}", self.0)))
    }

    /// What to say of a text that means something else than its author may think.
    pub fn notice(&self, input: &str, context: &RunContext) -> Option<String> {
        let is_clear = ["true", "false", "no", "off", "0", ""].iter().any(|word| self.0.eq_ignore_ascii_case(word));
        (context.ci.is_actions() && !is_clear).then(|| {
            format!("`{input}: {}` counts as `false`, as in `actions/cache`; write `true` to turn it on", self.0)
        })
    }
}

/// A switch that the program decides if it is not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Not given.
    #[default]
    Auto,
    /// On.
    Yes,
    /// Off.
    No,
}

impl Choice {
    /// Reads a yes, a no, or nothing.
    pub fn parse(text: &str) -> Result<Self, NotASwitch> {
        if text.trim().is_empty() {
            return Ok(Self::Auto);
        }
        yes_or_no(text).map(|is_on| if is_on { Self::Yes } else { Self::No }).ok_or(NotASwitch)
    }

    /// The value, if there is one.
    pub fn given(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::Yes => Some(true),
            Self::No => Some(false),
        }
    }
}

/// Splits multi-line values: one item to a line, trimmed, empty lines dropped (as `actions/cache` does).
pub fn lines(values: &[String]) -> Vec<&str> {
    values.iter().flat_map(|value| value.lines()).map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// Reads a duration: a whole number and a unit (`s m h d w`), for example `90m`, `7d`. `0` needs its unit, too: it is what
/// a shell computes from a variable that is not set, and as an age it would select everything.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let form = || "not a duration such as `90m`, `12h` or `7d`".to_owned();
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
        return Err("longer than a thousand years".to_owned());
    }
    Ok(Duration::from_secs(seconds))
}

/// Reads a whole number within limits.
pub fn parse_number<const MIN: u32, const MAX: u32>(text: &str) -> Result<u32, String> {
    let number = text.trim().parse().ok().filter(|number| (MIN..=MAX).contains(number));
    number.ok_or_else(|| match (MIN, MAX) {
        (min, u32::MAX) => format!("not a whole number from {min}"),
        (min, max) => format!("not a whole number from {min} to {max}"),
    })
}

/// Reads a secret; a line end that came along with it is not part of it.
pub fn parse_secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text.trim()))
}

#[cfg(test)]
mod tests {
    use super::super::context::tests::context;
    use super::*;

    const ON: [&str; 6] = ["true", "True", " YES\n", "on", "On", "1"];
    const OFF: [&str; 6] = ["false", "FALSE", " no", "No", "oFF", "0"];
    const NEITHER: [&str; 6] = ["truee", "ja", "2", "-1", "y", "${{ x }}"];

    #[test]
    fn a_switch_takes_a_clear_yes_or_no() {
        ON.iter().for_each(|text| assert_eq!(parse_switch(text), Ok(true), "{text:?}"));
        OFF.iter().chain(&["", " \t"]).for_each(|text| assert_eq!(parse_switch(text), Ok(false), "{text:?}"));
        NEITHER.iter().for_each(|text| assert_eq!(parse_switch(text), Err(NotASwitch), "{text:?}"));
    }

    #[test]
    fn only_a_clear_no_turns_a_safeguard_off() {
        OFF.iter().for_each(|text| assert_eq!(parse_safeguard(text), Ok(false), "{text:?}"));
        for text in ON.iter().chain(&NEITHER).chain(&[""]) {
            assert_eq!(parse_safeguard(text), Ok(true), "{text:?}");
        }
    }

    #[test]
    fn a_choice_may_be_left_open() {
        let check = |text, expected: Option<bool>| assert_eq!(Choice::parse(text).unwrap().given(), expected, "{text}");
        check("", None);
        check("yes", Some(true));
        check("0", Some(false));
        assert_eq!(Choice::parse("maybe"), Err(NotASwitch));
    }

    #[test]
    fn switches_of_actions_cache_follow_its_rule_in_a_job() {
        let (job, elsewhere) = (context(&[("GITHUB_ACTIONS", "true")]), context(&[]));
        let switch = |text| ActionsSwitch::parse(text).unwrap();
        let check = |text, in_job: bool, is_noticed: bool, outside: Option<bool>| {
            assert_eq!(switch(text).is_on("f", &job), Ok(in_job), "{text}");
            assert_eq!(switch(text).notice("f", &job).is_some(), is_noticed, "{text}");
            assert_eq!(switch(text).is_on("f", &elsewhere).ok(), outside, "{text}");
            assert_eq!(switch(text).notice("f", &elsewhere), None, "{text}");
        };
        check("true", true, false, Some(true));
        check(" TRUE\n", true, false, Some(true));
        check("False", false, false, Some(false));
        check("", false, false, Some(false));
        check("yes", false, true, Some(true));
        check("1", false, true, Some(true));
        check("maybe", false, true, None);
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
        check("0d", 0);
        check("45s", 45);
        check("90m", 5400);
        check("24h", 86_400);
        check(" 7d ", 604_800);
        check("2w", 1_209_600);
        for text in
            ["", "0", "00", "7", "d", "7 d", "-1d", "1.5h", "7days", "7é", "99999999999999999999d", "9999999999w"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_have_limits() {
        assert_eq!(parse_number::<1, 19>(" 7 "), Ok(7));
        for text in ["", "0", "20", "-1", "1.5", "seven"] {
            assert_eq!(parse_number::<1, 19>(text), Err("not a whole number from 1 to 19".to_owned()), "{text}");
        }
        assert_eq!(parse_number::<1, { u32::MAX }>("0"), Err("not a whole number from 1".to_owned()));
    }

    #[test]
    fn secrets_are_trimmed_and_never_printed() {
        let secret = parse_secret(" hunter2\n").unwrap();
        assert_eq!(secret, Secret::new("hunter2"));
        assert_eq!(format!("{:#?}", Some(&secret)).matches("hunter2").count(), 0);
    }
}
