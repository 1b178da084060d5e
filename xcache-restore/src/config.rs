//! What a restore shall do, checked once.

use std::path::PathBuf;

use xcache_cli::cache_args::{CacheArgs, OnTrouble};
use xcache_cli::caches::check_apart;
use xcache_cli::ci::event::Event;
use xcache_cli::mode_args::Access;
use xcache_cli::store_args::StoreSelection;
use xcache_cli::transfer_args::Limits;
use xcache_cli::{RunContext, UsageError};
use xcache_core::key::Keys;
use xcache_core::paths::{PathDecision, PathList};
use xcache_core::restore::Protected;
use xcache_core::scope::Scopes;

use crate::args::Args;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where from.
    pub store: StoreSelection,
    /// What this run may do.
    pub access: Access,
    /// Whose entries are read, and cleared.
    pub scopes: Scopes,
    /// Where to.
    pub paths: PathList,
    /// What.
    pub keys: Keys,
    /// What to do with the entry.
    pub action: Action,
    /// Whether the commit asks to delete the entry, which this run may not do.
    pub is_clearing_refused: bool,
    /// Whether a miss is a failure.
    pub on_miss: OnMiss,
    /// What becomes of files that are not in the entry.
    pub others: Others,
    /// Whose the files will be.
    pub owners: Owners,
    /// Whether paths of other names are restored to by position.
    pub relocation: Relocation,
    /// Where state is left for the next save.
    pub state_dir: Option<PathBuf>,
    /// Whether to print why.
    pub explains: bool,
    /// How much at once.
    pub limits: Limits,
    /// What trouble does.
    pub on_trouble: OnTrouble,
}

/// What to do with the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Restore it.
    Restore,
    /// Only find it.
    Lookup,
    /// Delete it, and those that build on it: the message of the pushed commit asks for that.
    Clear,
}

/// When what has another name in the entry goes to the path at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relocation {
    /// For the exact key only.
    ExactKey,
    /// Also for an entry that was found through a prefix.
    Always,
}

/// What a miss does to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMiss {
    /// Nothing.
    GoOn,
    /// Ends with exit code 1.
    Fail,
}

/// What becomes of files that are there and not in the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They stay.
    Keep,
    /// They are removed.
    Remove,
    /// They are removed, and so are git repositories among them.
    RemoveRepositories,
}

/// Whose the restored files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Of who runs this.
    Current,
    /// Of who owned them when they were saved, as far as permitted.
    Saved,
}

impl Config {
    /// Checks the arguments of each cache. All of them share the limits.
    pub fn each(args: &Args, context: &RunContext, event: &Event) -> Result<Vec<Self>, UsageError> {
        let each = args.each()?;
        let new = |args| {
            let config = Self::new(args, context, event)?;
            Ok(Self { limits: config.limits.shared_by(each.len()), ..config })
        };
        let configs = each.iter().map(new).collect::<Result<Vec<_>, _>>()?;
        let caches: Vec<_> = configs.iter().map(|config| (config.keys.primary(), &config.paths)).collect();
        check_apart(&caches)?;
        Ok(configs)
    }

    /// Checks the arguments.
    pub fn new(args: &Args, context: &RunContext, event: &Event) -> Result<Self, UsageError> {
        let Args {
            cache,
            restore_keys,
            lookup_only,
            fail_on_cache_miss,
            clean,
            clean_protected,
            same_owner,
            relocate,
            clear_token,
            store,
            scope,
            mode,
            transfer,
            output: _,
            compat: _,
            other: _,
        } = args;
        let job = context.ci.with(event);
        let keys = cache.keys(restore_keys)?;
        let mut access = mode.resolve(&job);
        let scopes = scope.resolve(&job, &mut access)?;
        CacheArgs::check_names(&keys, &scopes)?;
        let paths = cache.path_list(context)?;
        if *clean && !clean_protected {
            check_clean(&paths, context)?;
        }
        Ok(Self {
            keys,
            paths,
            action: match (event.has_token(token(clear_token)), lookup_only.is_on("lookup-only", context)?) {
                // A run that only looks does not delete.
                (_, true) => Action::Lookup,
                (true, false) if access.mode.may_write() => Action::Clear,
                (_, false) => Action::Restore,
            },
            is_clearing_refused: event.has_token(token(clear_token)) && !access.mode.may_write(),
            on_miss: if fail_on_cache_miss.is_on("fail-on-cache-miss", context)? { OnMiss::Fail } else { OnMiss::GoOn },
            others: match (clean, clean_protected) {
                (false, _) => Others::Keep,
                (true, false) => Others::Remove,
                (true, true) => Others::RemoveRepositories,
            },
            owners: if *same_owner { Owners::Saved } else { Owners::Current },
            relocation: if *relocate { Relocation::Always } else { Relocation::ExactKey },
            store: store.resolve(context)?,
            access,
            scopes,
            state_dir: cache.state_dir(context),
            limits: transfer.resolve(context),
            explains: cache.explain,
            on_trouble: cache.on_trouble(),
        })
    }
}

/// Refuses `--clean` for a directory that is more than a cache. Of a pattern only the matches are restored, and nothing
/// is removed.
fn check_clean(paths: &PathList, context: &RunContext) -> Result<(), UsageError> {
    for (number, root) in paths.roots().iter().enumerate() {
        if paths.decide(number, b"", true) != PathDecision::Include {
            continue;
        }
        if let Some(reason) = Protected::of(&root.base, &context.base_dir, context.home.as_deref()) {
            let message = format!("`--clean` does not remove anything from `{}`: it {reason}", root.given);
            return Err(UsageError::with_hint(message, "name a directory in it, or add `--clean-protected`"));
        }
    }
    Ok(())
}

/// The token as text that can be looked for; an empty one is never found.
fn token(given: &str) -> &str {
    match given.trim() {
        "none" => "",
        token => token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{config, config_for};

    const HOME: [(&str, &str); 1] = [("HOME", "/h")];

    #[test]
    fn the_action_depends_on_flags_and_the_commit_message() {
        let check = |argv: &[&str], message: &str, expected| {
            let event = Event { head_commit_message: Some(message.to_owned()), ..Event::default() };
            assert_eq!(config_for(argv, &HOME, &event).unwrap().action, expected, "{argv:?} {message}");
        };
        check(&[], "Fix", Action::Restore);
        check(&[], "Fix [ci-clear-cache]", Action::Clear);
        check(&["--lookup-only"], "Fix [ci-clear-cache]", Action::Lookup);
        check(&["--clear-token", "[x]"], "Fix [ci-clear-cache]", Action::Restore);
        check(&["--clear-token", "[x]"], "Fix [x]", Action::Clear);
        check(&["--clear-token", "none"], "none", Action::Restore);
        check(&["--clear-token", ""], "", Action::Restore);
    }

    #[test]
    fn defaults_are_as_documented() {
        let found = config(&[], &HOME).unwrap();
        assert_eq!((found.action, found.on_miss, found.on_trouble), (Action::Restore, OnMiss::GoOn, OnTrouble::GoOn));
        assert_eq!((found.others, found.owners, found.scopes), (Others::Keep, Owners::Current, Scopes::none()));
        let asked = config(&["--clean", "--same-owner", "--fail-on-cache-miss", "--fail-on-error"], &HOME).unwrap();
        assert_eq!((asked.others, asked.owners), (Others::Remove, Owners::Saved));
        assert_eq!((asked.on_miss, asked.on_trouble), (OnMiss::Fail, OnTrouble::Fail));
    }
}
