//! Workflow commands: lines of the log that the runner turns into annotations.

use std::fmt::Write as _;

/// How much an annotation matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Seen only in debug logs.
    Debug,
    /// Blue.
    Notice,
    /// Yellow.
    Warning,
    /// Red.
    Error,
}

impl Level {
    fn command(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The line, without a line end, that annotates the run with `message`. The message may have several lines.
pub fn annotation(level: Level, title: Option<&str>, message: &str) -> String {
    let mut line = format!("::{}", level.command());
    if let Some(title) = title {
        line.push_str(" title=");
        escape(&mut line, title, &['%', '\r', '\n', ':', ',']);
    }
    line.push_str("::");
    escape(&mut line, message, &['%', '\r', '\n']);
    line
}

fn escape(line: &mut String, text: &str, specials: &[char]) {
    for c in text.chars() {
        if specials.contains(&c) {
            write!(line, "%{:02X}", u32::from(c)).expect("a string takes everything");
        } else {
            line.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runner_would_read_is_escaped() {
        let check = |level, title, message, expected| assert_eq!(annotation(level, title, message), expected);
        check(Level::Warning, None, "plain: a, b", "::warning::plain: a, b");
        check(Level::Error, None, "100%\r\nsure\n::error::x", "::error::100%25%0D%0Asure%0A::error::x");
        check(Level::Notice, Some("a:b,c%\n"), "m", "::notice title=a%3Ab%2Cc%25%0A::m");
        check(Level::Debug, None, "%0A", "::debug::%250A");
        check(Level::Debug, None, "é", "::debug::é");
    }
}
