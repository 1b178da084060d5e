//! A command line that cannot be used, in the words of whoever wrote it: in a job that is an input of an action, else a
//! flag or a variable.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::values::parse_switch;
use super::{Exit, RunContext, UsageError};

/// Why a command line gave no arguments.
#[derive(Debug)]
pub struct Refusal<'a> {
    stop: &'a clap::Error,
    argv: &'a [OsString],
}

/// Flags that are no inputs of the actions, only variables.
pub const NO_INPUTS: [&str; 6] = ["json", "verbose", "quiet", "color", "progress", "state-dir"];

impl<'a> Refusal<'a> {
    /// What clap says of `argv`.
    pub fn new(stop: &'a clap::Error, argv: &'a [OsString]) -> Self {
        Self { stop, argv }
    }

    /// Whether there is something wrong, as opposed to help or the version that was asked for.
    pub fn is_error(&self) -> bool {
        self.stop.use_stderr()
    }

    /// Whether a value is wrong, as opposed to the command line as a whole.
    pub fn is_value(&self) -> bool {
        matches!(self.stop.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::InvalidUtf8)
            && self.text(ContextKind::InvalidArg).is_some()
    }

    /// Prints it as on any command line: help goes to stdout, errors to stderr.
    pub fn print(&self) -> Exit {
        let printed = self.stop.print().and_then(|()| io::stdout().flush());
        match printed {
            _ if self.is_error() => Exit::Usage,
            Err(_) => Exit::Failed,
            Ok(()) => Exit::Done,
        }
    }

    /// What is wrong, for an annotation: which input, which value, what is allowed.
    pub fn error(&self, context: &RunContext) -> UsageError {
        let Some(flag) = self.text(ContextKind::InvalidArg).filter(|_| self.is_value()) else {
            let text = self.stop.to_string();
            let first = text.lines().next().unwrap_or_default();
            return UsageError::options(first.strip_prefix("error: ").unwrap_or(first));
        };
        // `--s3-sse <ALGORITHM>`, `--full[=<BOOL>]`, `--verbose...`
        let name = flag.split([' ', '[', '=', '.']).next().unwrap_or_default().trim_start_matches('-');
        let variable = format!("XCACHE_{}", name.to_uppercase().replace('-', "_"));
        let place = match (self.is_on_command_line(name), context.ci.is_actions()) {
            (true, _) => format!("`--{name}`"),
            (false, true) if !NO_INPUTS.contains(&name) => format!("input `{name}` ({variable})"),
            (false, _) => format!("variable `{variable}`"),
        };
        let value = self.text(ContextKind::InvalidValue).unwrap_or_default();
        let problem = match (self.allowed(), self.stop.source()) {
            (Some(allowed), _) => format!("not one of {allowed}"),
            (None, Some(source)) => source.to_string(),
            (None, None) => "not text".to_owned(),
        };
        UsageError::options(format!("{place}: `{value}` is {problem}"))
    }

    fn is_on_command_line(&self, name: &str) -> bool {
        let flag = format!("--{name}");
        self.argv.iter().filter_map(|arg| arg.to_str()).any(|arg| arg.split('=').next() == Some(&flag))
    }

    fn text(&self, kind: ContextKind) -> Option<String> {
        match self.stop.get(kind)? {
            ContextValue::String(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn allowed(&self) -> Option<String> {
        match self.stop.get(ContextKind::ValidValue)? {
            ContextValue::Strings(values) if !values.is_empty() => {
                Some(values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "))
            }
            _ => None,
        }
    }
}

/// What the user asked for that also concerns a run that is refused: known before, or without, parsing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedFor {
    /// To end with exit code 1.
    pub to_fail: bool,
    /// For the document.
    pub for_json: bool,
}

impl AskedFor {
    /// Looks for the switches in a command line that cannot be parsed, and in the environment.
    pub fn read(argv: &[OsString], lookup: impl Fn(&str) -> Option<OsString>, context: &RunContext) -> Self {
        let is_on = |name: &str| {
            let flag = format!("--{name}");
            let given = argv.iter().filter_map(|arg| arg.to_str()).find_map(|arg| match arg.strip_prefix(&flag)? {
                "" => Some("true".to_owned()),
                value => value.strip_prefix('=').map(str::to_owned),
            });
            let variable = || {
                let value = lookup(&format!("XCACHE_{}", name.to_uppercase().replace('-', "_")))?;
                OsStr::to_str(&value).map(str::to_owned)
            };
            given.or_else(variable)
        };
        let word = |name| is_on(name).is_some_and(|text| parse_switch(&text) == Ok(true));
        let is_miss_failure = is_on("fail-on-cache-miss").is_some_and(|text| {
            let text = text.trim();
            text.eq_ignore_ascii_case("true") || (!context.ci.is_actions() && parse_switch(text) == Ok(true))
        });
        Self { to_fail: word("fail-on-error") || is_miss_failure, for_json: word("json") }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::context::tests::context;
    use super::super::output_args::OutputArgs;
    use super::super::parse;
    use super::super::store_args::StoreArgs;
    use super::super::transfer_args::TransferArgs;
    use super::*;

    #[derive(Debug, Parser)]
    struct Args {
        #[command(flatten)]
        _store: StoreArgs,
        #[command(flatten)]
        _transfer: TransferArgs,
        #[command(flatten)]
        _output: OutputArgs,
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        let check = |argv: &[&str], expected: &str| {
            let argv: Vec<OsString> = std::iter::once(&"test").chain(argv).map(OsString::from).collect();
            let stop = parse::<Args>(argv.clone()).unwrap_err();
            let refusal = Refusal::new(&stop, &argv);
            let job = context(&[("GITHUB_ACTIONS", "true")]);
            assert_eq!(refusal.error(&job).to_string(), expected);
            // The same, given as an input.
            let by_input = Refusal::new(&stop, &argv[..1]).error(&job).to_string();
            let is_input = !argv[1].to_str().is_some_and(|arg| arg.starts_with("--quiet"));
            assert_eq!(by_input.starts_with("input `"), refusal.is_value() && is_input, "{by_input}");
        };
        check(&["--s3-sse", "rot13"], "`--s3-sse`: `rot13` is not one of `AES256`, `aws:kms`");
        check(&["--concurrency=99"], "`--concurrency`: `99` is not a whole number from 1 to 64");
        check(
            &["--s3-requester-pays=maybe"],
            "`--s3-requester-pays`: `maybe` is neither yes nor no: write `true` or `false` (or `1`, `0`, `yes`, `no`, \
             `on`, `off`)",
        );
        check(
            &["--quiet=maybe"],
            "`--quiet`: `maybe` is neither yes nor no: write `true` or `false` (or `1`, `0`, `yes`, `no`, `on`, `off`)",
        );
        check(&["--nonsense"], "unexpected argument '--nonsense' found");
    }

    #[test]
    fn what_was_asked_for_is_known_without_parsing() {
        let check = |argv: &[&str], variables: &[(&str, &str)], to_fail, for_json| {
            let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
            let lookup =
                |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
            let asked = AskedFor::read(&argv, lookup, &context(variables));
            assert_eq!(asked, AskedFor { to_fail, for_json }, "{argv:?} {variables:?}");
        };
        check(&[], &[], false, false);
        check(&["--fail-on-error", "--json"], &[], true, true);
        check(&["--fail-on-error=no"], &[("XCACHE_FAIL_ON_ERROR", "1")], false, false);
        check(&[], &[("XCACHE_FAIL_ON_ERROR", "On"), ("XCACHE_JSON", "maybe")], true, false);
        check(&[], &[("XCACHE_FAIL_ON_CACHE_MISS", "yes")], true, false);
        check(&[], &[("XCACHE_FAIL_ON_CACHE_MISS", "yes"), ("GITHUB_ACTIONS", "true")], false, false);
        check(&[], &[("XCACHE_FAIL_ON_CACHE_MISS", "True"), ("GITHUB_ACTIONS", "true")], true, false);
    }
}
