//! What is cached and under which keys: the arguments that save and restore share.

use std::path::PathBuf;

use clap::Args;

use super::caches::{CacheSpec, parse_caches};
use super::env_vars as var;
use super::values::{lines, parse_switch};
use super::{RunContext, UsageError};
use xcache_core::key::Keys;
use xcache_core::naming::object_name;
use xcache_core::object::Kind;
use xcache_core::paths::{Anchors, PathError, PathList};
use xcache_core::scope::Scopes;

/// Paths and keys.
#[derive(Args, Clone, Debug)]
pub struct CacheArgs {
    /// Files, directories and globs; `!` excludes. An argument may have several lines
    #[arg(value_name = "PATH")]
    pub paths: Vec<String>,

    /// Files, directories and globs, one per line; `!` excludes
    #[arg(long = "path", env = var::PATH, value_name = "PATHS", conflicts_with = "paths")]
    pub path: Vec<String>,

    /// The key: up to 512 characters, without commas
    #[arg(long, short, env = var::KEY, value_name = "KEY")]
    pub key: Option<String>,

    /// Several caches in one run: a YAML or JSON list of `path`, `key` and `restore-keys`, instead of these
    // A YAML list begins with a hyphen.
    #[arg(long, env = var::CACHES, value_name = "LIST", allow_hyphen_values = true)]
    pub caches: Option<String>,

    /// Directory where a restore leaves notes for the save of the same job [default: below the temporary directory of the CI job,
    /// otherwise $XDG_STATE_HOME/xcache or ~/.local/state/xcache]
    #[arg(long, env = var::STATE_DIR, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Print why: each step of the lookup, near misses, why a base or a delta, and what is new by directory. After a miss
    /// this takes a listing of the whole store
    #[arg(long, env = var::EXPLAIN, value_parser = parse_switch)]
    pub explain: bool,

    /// Write hits, misses, bytes and seconds of the run to this file, as OpenMetrics text
    #[arg(long, env = var::METRICS, value_name = "FILE")]
    pub metrics: Option<PathBuf>,

    /// End with exit code 1 when the cache cannot be used, instead of a warning
    #[arg(long, env = var::FAIL_ON_ERROR, value_parser = parse_switch)]
    pub fail_on_error: bool,
}

impl CacheArgs {
    /// Whether there is a list of caches.
    pub fn is_list(&self) -> bool {
        self.caches.is_some()
    }

    /// The caches of the list, if there is one; `restore_keys` are those beside it.
    pub fn list(&self, restore_keys: &[String]) -> Result<Option<Vec<CacheSpec>>, UsageError> {
        let Some(text) = &self.caches else { return Ok(None) };
        let is_blank = |texts: &[String]| lines(texts).is_empty();
        if self.raw_key().is_some() || !is_blank(&self.paths) || !is_blank(&self.path) || !is_blank(restore_keys) {
            return Err(UsageError::with_hint(
                "`caches` replaces `path`, `key` and `restore-keys`, which cannot be given as well",
                "give each cache its own in the list",
            ));
        }
        parse_caches(text).map(Some)
    }

    /// The arguments of one cache of the list.
    #[must_use]
    pub fn of(&self, spec: &CacheSpec) -> Self {
        let CacheSpec { path, key, restore_keys: _ } = spec;
        Self { path: vec![path.clone()], key: Some(key.clone()), caches: None, ..self.clone() }
    }

    /// The key as given, without surrounding space; `None` if there is none.
    pub fn raw_key(&self) -> Option<&str> {
        self.key.as_deref().map(str::trim).filter(|key| !key.is_empty())
    }

    /// Checks the keys. `restore_keys` may hold several lines each.
    pub fn keys(&self, restore_keys: &[String]) -> Result<Keys, UsageError> {
        let primary = self.raw_key().ok_or_else(|| UsageError::input("key is not specified"))?;
        Keys::parse(primary, &lines(restore_keys)).map_err(UsageError::input)
    }

    /// Checks that the objects of the key have names that S3 takes. A key of 512 characters may need more bytes than
    /// that allows, because what stores mangle is encoded.
    pub fn check_names(keys: &Keys, scopes: &Scopes) -> Result<(), UsageError> {
        for scope in scopes.read.iter().chain([&scopes.write]) {
            object_name(scope.as_ref(), keys.primary(), Kind::Delta).map_err(UsageError::input)?;
        }
        Ok(())
    }

    /// Checks the paths.
    pub fn path_list(&self, context: &RunContext) -> Result<PathList, UsageError> {
        let given: Vec<&String> = self.paths.iter().chain(&self.path).collect();
        let anchors =
            Anchors { cwd: context.base_dir.clone(), home: context.home.clone(), temp: context.ci.temp_dir.clone() };
        PathList::parse_from(&given, anchors).map_err(|error| match error {
            // Not the fault of who wrote the path.
            PathError::NoHome(_) => UsageError::with_hint(error, "set HOME, or write the whole path"),
            error => UsageError::input(error),
        })
    }

    /// The directory for the state, if there is any place for it.
    pub fn state_dir(&self, context: &RunContext) -> Option<PathBuf> {
        self.state_dir.clone().or_else(|| context.state_dir.clone())
    }

    /// What cache trouble does to the run.
    pub fn on_trouble(&self) -> OnTrouble {
        if self.fail_on_error { OnTrouble::Fail } else { OnTrouble::GoOn }
    }
}

/// What the run does when the cache cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTrouble {
    /// Warns, and ends with exit code 0.
    GoOn,
    /// Ends with exit code 1.
    Fail,
}

#[cfg(test)]
mod tests {
    use super::super::context::tests::context;
    use super::*;

    fn args(key: &str, paths: &[&str]) -> CacheArgs {
        CacheArgs {
            paths: paths.iter().map(ToString::to_string).collect(),
            path: Vec::new(),
            key: Some(key.to_owned()),
            caches: None,
            state_dir: None,
            explain: false,
            metrics: None,
            fail_on_error: false,
        }
    }

    #[test]
    fn keys_are_trimmed_and_limited() {
        let check = |key: &str, restore: &[&str], expected: Result<&[&str], &str>| {
            let restore: Vec<String> = restore.iter().map(ToString::to_string).collect();
            match (args(key, &[]).keys(&restore), expected) {
                (Ok(keys), Ok(expected)) => {
                    assert_eq!(keys.primary().as_str(), key.trim());
                    assert_eq!(keys.restore().iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
                }
                (Err(error @ UsageError::Input { .. }), Err(part)) => {
                    assert!(error.to_string().contains(part), "{error}");
                }
                (result, expected) => panic!("{result:?}, not {expected:?}"),
            }
        };
        check(" k ", &[], Ok(&[]));
        check("k", &["a-\n\n  b- \n", "c"], Ok(&["a-", "b-", "c"]));
        check("  ", &[], Err("not specified"));
        check("a,b", &[], Err("comma"));
        check("k", &["a,b"], Err("comma"));
        check(&"x".repeat(513), &[], Err("512"));
        check("k", &["a\nb\nc\nd\ne\nf\ng\nh\ni"], Ok(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]));
        check("k", &["a\nb\nc\nd\ne\nf\ng\nh\ni\nj"], Err("11 keys"));
    }

    #[test]
    fn names_fit_into_an_object_name() {
        let check = |key: &str, scopes: &Scopes, expected| {
            let found = CacheArgs::check_names(&args(key, &[]).keys(&[]).unwrap(), scopes);
            assert_eq!(found.is_ok(), expected, "{key}");
        };
        let scope = format!("refs/heads/{}", "b".repeat(180)).parse().ok();
        let scoped = Scopes { write: scope.clone(), read: vec![scope] };
        check(&"k".repeat(512), &Scopes::none(), true);
        check(&"k".repeat(512), &scoped, true);
        check(&"é".repeat(130), &scoped, true);
        check(&"é".repeat(150), &scoped, false);
        check(&"é".repeat(200), &Scopes::none(), false);
    }

    #[test]
    fn paths_start_at_the_workspace_in_a_job() {
        let job = context(&[("GITHUB_ACTIONS", "true"), ("GITHUB_WORKSPACE", "/w")]);
        let list = args("k", &["a\n! a/tmp", "/b"]).path_list(&job).unwrap();
        let bases: Vec<_> = list.roots().iter().map(|root| root.base.display().to_string()).collect();
        assert_eq!(bases, ["/w/a", "/b"]);
        assert!(matches!(args("k", &[" \n"]).path_list(&job), Err(UsageError::Input { .. })));
    }
}
