//! Scopes: the optional path segment that keeps the entries of one ref apart from those of others.
//!
//! A pull request executes what its author wrote, so what it saves must not be restored by anyone else. By default it
//! writes into a scope of its own, and reads that, then the shared entries, which lie outside of all scopes and belong to
//! every other run. With a scope for each ref, a run reads its own, then the base branch of its pull request, then the
//! default branch. Either way a policy per prefix can enforce that a pull request changes nothing that `main` restores.

use std::fmt;
use std::str::FromStr;

use crate::naming::escape::{MAX_SEGMENT_BYTES, scope_segment};

/// One ref whose entries lie together, for example `refs/heads/main`. A name without a slash is taken as `scope/NAME`,
/// so that a scope always has a slash inside; see [`crate::naming`] for what that is good for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(String);

/// How a run chooses its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeMode {
    /// No scopes: all entries lie together.
    None,
    /// The own ref for a pull request, none for everything else.
    Auto,
    /// The ref that the run is for.
    Ref,
    /// This one.
    Named(Scope),
}

/// What the environment of a run tells of its refs. Empty texts count as absent.
///
/// The head branch of a pull request is not among them on purpose: its name is chosen by whoever opened the pull
/// request, perhaps in a fork, and may be that of a branch here.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunRefs<'a> {
    /// `refs/heads/main`, `refs/tags/v1`, or `refs/pull/7/merge` in a pull request.
    pub own: Option<&'a str>,
    /// Whether it is a pull request that is built.
    pub is_pull_request: bool,
    /// The branch that a pull request is for, without `refs/heads/`.
    pub base_branch: Option<&'a str>,
    /// The repository's default branch, without `refs/heads/`.
    pub default_branch: Option<&'a str>,
}

/// Where a run writes and where it reads, in order. `None` stands for "no scope".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes {
    /// Entries are written here only.
    pub write: Option<Scope>,
    /// Entries are looked for here, in order, the least trusted first.
    pub read: Vec<Option<Scope>>,
}

/// Why a text is no scope, or why a run has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Nothing there.
    #[error("a scope must not be empty")]
    Empty,
    /// More than 200 characters, or more bytes than a path segment may have.
    #[error(
        "scope `{start}…` is too long: the limit is {} characters, and {} bytes when percent-encoded",
        Scope::MAX_CHARS,
        MAX_SEGMENT_BYTES
    )]
    TooLong {
        /// Its first characters.
        start: String,
    },
    /// Contains a control character.
    #[error("scope {0:?} contains a control character")]
    Control(String),
    /// Begins or ends with a slash, or has two in a row.
    #[error("scope `{0}` has a slash at an end, or two in a row")]
    Slash(String),
    /// The scope shall be the ref, but the run has none.
    #[error("scope `ref` needs the git ref, but neither GITHUB_REF nor the variable of another CI system is set")]
    NoRef,
    /// The scope shall be that of the pull request, but its number is unknown.
    #[error("this is a pull request, but the environment does not say which")]
    NoPullRequest,
}

impl Scope {
    /// The longest scope, in characters. Leaves room for a long key in an object name of 1,024 bytes.
    pub const MAX_CHARS: usize = 200;

    /// The ref, or `scope/NAME`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn branch(name: &str) -> Result<Self, ScopeError> {
        format!("refs/heads/{name}").parse()
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() {
            return Err(ScopeError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(ScopeError::Control(text.to_owned()));
        }
        if text.split('/').any(str::is_empty) {
            return Err(ScopeError::Slash(text.to_owned()));
        }
        let scope = if text.contains('/') { text.to_owned() } else { format!("scope/{text}") };
        if scope.chars().count() > Self::MAX_CHARS || scope_segment(&scope).len() > MAX_SEGMENT_BYTES {
            return Err(ScopeError::TooLong { start: text.chars().take(40).collect() });
        }
        Ok(Self(scope))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ScopeMode {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        match text {
            "none" => Ok(Self::None),
            "auto" => Ok(Self::Auto),
            "ref" => Ok(Self::Ref),
            name => name.parse().map(Self::Named),
        }
    }
}

impl fmt::Display for ScopeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Auto => f.write_str("auto"),
            Self::Ref => f.write_str("ref"),
            Self::Named(scope) => scope.fmt(f),
        }
    }
}

impl Scopes {
    /// No scopes: one place for all.
    pub fn none() -> Self {
        Self { write: None, read: vec![None] }
    }

    /// Works out the scopes of a run: writes go to its own, reads to its own, then to the base branch of its pull
    /// request, then to the default branch, each once; with [`ScopeMode::Auto`], to its own and the shared entries.
    pub fn new(mode: &ScopeMode, refs: &RunRefs<'_>) -> Result<Self, ScopeError> {
        let RunRefs { own, is_pull_request, base_branch, default_branch } = refs;
        let own = match mode {
            ScopeMode::None => return Ok(Self::none()),
            ScopeMode::Auto if !is_pull_request => return Ok(Self::none()),
            ScopeMode::Auto => {
                let own: Scope = present(*own).ok_or(ScopeError::NoPullRequest)?.parse()?;
                return Ok(Self { write: Some(own.clone()), read: vec![Some(own), None] });
            }
            ScopeMode::Ref => present(*own).ok_or(ScopeError::NoRef)?.parse()?,
            ScopeMode::Named(scope) => scope.clone(),
        };
        let mut read = vec![Some(own.clone())];
        for branch in [base_branch, default_branch].into_iter().filter_map(|branch| present(*branch)) {
            let scope = Some(Scope::branch(branch)?);
            if !read.contains(&scope) {
                read.push(scope);
            }
        }
        Ok(Self { write: Some(own), read })
    }

    /// Whether an entry in scope `from` may build on an object in scope `to`: this run may read both, and `to` does
    /// not stand before `from` in the order of trust. So an entry of a pull request may build on one of `main`, and
    /// one of `main` never on one of a pull request.
    pub fn may_build_on(&self, from: Option<&Scope>, to: Option<&Scope>) -> bool {
        let place = |scope: Option<&Scope>| self.read.iter().position(|read| read.as_ref() == scope);
        matches!((place(from), place(to)), (Some(from), Some(to)) if from <= to)
    }
}

fn present(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_scope() -> impl Strategy<Value = Scope> {
        prop_oneof![r"refs/heads/[a-z./%# ]{1,30}", r"\PC{1,20}", "[a-z]{1,8}"]
            .prop_filter_map("no scope", |text: String| text.parse().ok())
    }

    #[track_caller]
    fn check_parse(text: &str, expected: Result<&str, ScopeError>) {
        assert_eq!(text.parse::<Scope>().map(|scope| scope.to_string()), expected.map(str::to_owned));
    }

    #[test]
    fn a_scope_has_a_slash_inside() {
        check_parse("refs/heads/main", Ok("refs/heads/main"));
        check_parse("nightly", Ok("scope/nightly"));
        check_parse("scope/nightly", Ok("scope/nightly"));
        check_parse("refs/heads/a b", Ok("refs/heads/a b"));
        check_parse("", Err(ScopeError::Empty));
        check_parse("/", Err(ScopeError::Slash("/".into())));
        check_parse("/a/b", Err(ScopeError::Slash("/a/b".into())));
        check_parse("a/b/", Err(ScopeError::Slash("a/b/".into())));
        check_parse("a//b", Err(ScopeError::Slash("a//b".into())));
        check_parse("a\tb", Err(ScopeError::Control("a\tb".into())));
    }

    #[test]
    fn a_scope_fits_into_one_path_segment() {
        let long = |n: usize, c: &str| format!("refs/heads/{}", c.repeat(n));
        let too_long = |text: &str| Err(ScopeError::TooLong { start: text.chars().take(40).collect() });
        check_parse(&long(189, "x"), Ok(&long(189, "x")));
        check_parse(&long(190, "x"), too_long(&long(190, "x")));
        check_parse(&"x".repeat(194), Ok(&format!("scope/{}", "x".repeat(194))));
        check_parse(&"x".repeat(195), too_long(&"x".repeat(195)));
        check_parse(&long(40, "é"), Ok(&long(40, "é")));
        check_parse(&long(41, "é"), too_long(&long(41, "é")));
    }

    #[track_caller]
    fn check_run(mode: &str, refs: [&str; 3], expected: Result<&[&str], ScopeError>) {
        let [own, base, default] = refs;
        let (own, base_branch, default_branch) = (Some(own), Some(base), Some(default));
        let refs = RunRefs { own, is_pull_request: false, base_branch, default_branch };
        let scopes = Scopes::new(&mode.parse().unwrap(), &refs);
        let expected = expected.map(|names| names.iter().map(|name| Some(name.parse().unwrap())).collect::<Vec<_>>());
        assert_eq!(scopes.as_ref().map(|scopes| &scopes.read), expected.as_ref());
        if let Ok(scopes) = scopes {
            assert_eq!(scopes.write, scopes.read[0]);
        }
    }

    #[test]
    fn a_run_reads_its_own_then_the_base_then_the_default_branch() {
        let (main, pull, stable) = ("refs/heads/main", "refs/pull/7/merge", "refs/heads/stable/1");
        check_run("ref", [main, "", "main"], Ok(&[main]));
        check_run("ref", [stable, "", "main"], Ok(&[stable, main]));
        check_run("ref", [pull, "main", "main"], Ok(&[pull, main]));
        check_run("ref", [pull, "stable/1", "main"], Ok(&[pull, stable, main]));
        check_run("ref", [main, "", ""], Ok(&[main]));
        check_run("ref", ["refs/tags/v1", "", "main"], Ok(&["refs/tags/v1", main]));
        check_run("ref", ["", "", "main"], Err(ScopeError::NoRef));
        check_run("nightly", ["", "", ""], Ok(&["scope/nightly"]));
        check_run("nightly", [pull, "stable/1", "main"], Ok(&["scope/nightly", stable, main]));
    }

    #[test]
    fn without_scopes_all_entries_lie_together() {
        let main = Some("main");
        let refs =
            RunRefs { own: Some("refs/heads/main"), is_pull_request: false, base_branch: main, default_branch: main };
        assert_eq!(Scopes::new(&ScopeMode::None, &refs), Ok(Scopes { write: None, read: vec![None] }));
        assert!(Scopes::none().may_build_on(None, None));
        assert!(!Scopes::none().may_build_on(None, Some(&"x".parse().unwrap())));
    }

    #[test]
    fn by_default_only_a_pull_request_has_a_scope() {
        let scopes = |own, is_pull_request| {
            let refs = RunRefs { own, is_pull_request, base_branch: Some("main"), default_branch: Some("main") };
            Scopes::new(&ScopeMode::Auto, &refs)
        };
        let pull: Scope = "refs/pull/7/merge".parse().unwrap();
        let expected = Scopes { write: Some(pull.clone()), read: vec![Some(pull.clone()), None] };
        assert_eq!(scopes(Some("refs/pull/7/merge"), true), Ok(expected.clone()));
        for own in [Some("refs/heads/main"), Some("refs/tags/v1"), None] {
            assert_eq!(scopes(own, false), Ok(Scopes::none()), "{own:?}");
        }
        // Never into the shared entries because something is not known.
        for own in [None, Some("")] {
            assert_eq!(scopes(own, true), Err(ScopeError::NoPullRequest), "{own:?}");
        }
        assert!(expected.may_build_on(Some(&pull), None));
        assert!(!expected.may_build_on(None, Some(&pull)));
        assert!(!Scopes::none().may_build_on(None, Some(&pull)));
    }

    #[test]
    fn an_entry_builds_only_on_what_is_at_least_as_trusted() {
        let scope = |text: &str| text.parse::<Scope>().unwrap();
        let (pull, main, other) = (scope("refs/pull/7/merge"), scope("refs/heads/main"), scope("refs/pull/8/merge"));
        let scopes = Scopes { write: Some(pull.clone()), read: vec![Some(pull.clone()), Some(main.clone())] };
        let table = [
            (Some(&pull), Some(&pull), true),
            (Some(&pull), Some(&main), true),
            (Some(&main), Some(&main), true),
            (Some(&main), Some(&pull), false),
            (Some(&pull), Some(&other), false),
            (Some(&other), Some(&main), false),
            (Some(&pull), None, false),
            (None, None, false),
        ];
        for (from, to, expected) in table {
            assert_eq!(scopes.may_build_on(from, to), expected, "{from:?} on {to:?}");
        }
    }

    proptest! {
        #[test]
        fn display_undoes_parse(scope in any_scope()) {
            prop_assert_eq!(scope.to_string().parse::<Scope>(), Ok(scope.clone()));
            prop_assert_eq!(scope.to_string().parse::<ScopeMode>(), Ok(ScopeMode::Named(scope)));
        }
    }
}
