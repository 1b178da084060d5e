//! What a save shall do, checked once.

use std::path::PathBuf;
use std::time::Duration;

use xcache_cli::cache_args::{CacheArgs, OnTrouble};
use xcache_cli::caches::{check_apart, check_keys};
use xcache_cli::ci::event::Event;
use xcache_cli::mode_args::Access;
use xcache_cli::store_args::StoreSelection;
use xcache_cli::transfer_args::Limits;
use xcache_cli::values::lines;
use xcache_cli::{RunContext, UsageError};
use xcache_core::key::{Key, Keys};
use xcache_core::naming::{self, TagInput};
use xcache_core::object::Kind;
use xcache_core::paths::PathList;
use xcache_core::scope::Scopes;
use xcache_core::store::Tags;

use crate::args::{Args, IfExists};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to.
    pub store: StoreSelection,
    /// What this run may do.
    pub access: Access,
    /// Whose entries are written and read.
    pub scopes: Scopes,
    /// What.
    pub paths: PathList,
    /// Under which key; the restore keys say what to build on.
    pub keys: Keys,
    /// The entry to build on, before the restore keys.
    pub base_key: Option<Key>,
    /// Whether to build on anything.
    pub form: Form,
    /// From which age on an entry is too old to be built on.
    pub rebase_after: Duration,
    /// What to do if the key exists.
    pub if_exists: IfExists,
    /// What to do if a restore onto these paths did not finish.
    pub on_unfinished: OnUnfinished,
    /// Compression level of zstd, 1 to 19.
    pub level: i32,
    /// What the entry is tagged with.
    pub tags: EntryTags,
    /// Where restore may have left its state.
    pub state_dir: Option<PathBuf>,
    /// Whether to print why.
    pub explains: bool,
    /// How much at once.
    pub limits: Limits,
    /// What trouble does.
    pub on_trouble: OnTrouble,
}

/// Which kind of entry to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A base in any case.
    Base,
    /// A delta where that is worth it.
    Smallest,
}

/// What to do with a tree that a restore has left half written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnfinished {
    /// Leave it.
    Refuse,
    /// Save it: the user knows that it is whole.
    Save,
}

/// What an entry is tagged with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryTags {
    branch: Option<String>,
    /// Those of a base.
    base: Tags,
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
        check_keys(&caches)?;
        check_apart(&caches)?;
        Ok(configs)
    }

    /// Checks the arguments.
    pub fn new(args: &Args, context: &RunContext, event: &Event) -> Result<Self, UsageError> {
        let Args {
            cache,
            base_key,
            restore_keys,
            full,
            rebase_after,
            if_exists,
            save_unfinished,
            level,
            tags,
            branch,
            commit,
            repo,
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
        let base_key = base_key.as_deref().map(str::trim).filter(|key| !key.is_empty());
        let given = |value: &Option<String>, default: Option<&str>| value.as_deref().or(default).map(str::to_owned);
        let branch = given(branch, job.branch()).map(|branch| naming::branch_tag(&branch).to_owned());
        let commit = given(commit, job.commit.as_deref());
        let repo = given(repo, job.repository.as_deref());
        let tags = TagInput {
            kind: Kind::Base,
            branch: branch.as_deref(),
            commit: commit.as_deref(),
            repo: repo.as_deref(),
            extra: &parse_tags(tags)?,
        };
        let tags = naming::tags(tags).map_err(UsageError::options)?;
        Ok(Self {
            paths: cache.path_list(context)?,
            keys,
            base_key: base_key.map(str::parse).transpose().map_err(UsageError::input)?,
            form: if *full { Form::Base } else { Form::Smallest },
            rebase_after: *rebase_after,
            if_exists: *if_exists,
            on_unfinished: if *save_unfinished { OnUnfinished::Save } else { OnUnfinished::Refuse },
            level: *level,
            tags: EntryTags { branch, base: tags },
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

impl EntryTags {
    /// The tags of an entry of this kind, ready for the store.
    pub fn of(&self, kind: Kind) -> Tags {
        let mut tags = self.base.clone();
        tags.insert("type".to_owned(), kind.to_string());
        tags
    }

    /// The branch, for reports.
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_deref()
    }
}

fn parse_tags(values: &[String]) -> Result<Vec<(String, String)>, UsageError> {
    let pair = |line: &str| match line.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err(UsageError::with_hint(format!("tag `{line}` has no value"), format!("write `{line}=true`"))),
    };
    lines(values).into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::config;

    #[test]
    fn tags_come_from_the_job_and_the_arguments() {
        let tags = |argv: &[&str], variables: &[(&str, &str)]| {
            let tags = config(argv, variables).unwrap().tags.of(Kind::Delta);
            tags.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        let job =
            [("GITHUB_REF", "refs/heads/fix/7"), ("GITHUB_SHA", "abc"), ("GITHUB_REPOSITORY", "o/r"), ("HOME", "/h")];
        assert_eq!(tags(&[], &job[3..]), "type=delta");
        assert_eq!(tags(&[], &job), "branch=fix/7 commit=abc repo=o/r type=delta");
        assert_eq!(
            tags(&["--branch", "x", "--tag", "keep=true\n a = b \n"], &job[2..]),
            "a=b branch=x keep=true repo=o/r type=delta"
        );
    }

    #[test]
    fn a_branch_may_be_given_as_a_ref() {
        let branch =
            |name: &str| config(&["--branch", name], &[("HOME", "/h")]).unwrap().tags.branch().map(str::to_owned);
        assert_eq!(branch("refs/heads/main").as_deref(), Some("main"));
        assert_eq!(branch("refs/tags/v1").as_deref(), Some("tags/v1"));
        assert_eq!(branch("topic").as_deref(), Some("topic"));
    }

    #[test]
    fn wrong_arguments_are_told_apart() {
        let check = |argv: &[&str], is_input: bool, part: &str| {
            let error = config(argv, &[("HOME", "/h")]).unwrap_err();
            assert_eq!(matches!(error, UsageError::Input { .. }), is_input, "{error:?}");
            assert!(error.to_string().contains(part), "{error}");
        };
        check(&["--key", "a,b"], true, "comma");
        check(&["--base-key", "a,b"], true, "comma");
        check(&["--tag", "keep"], false, "no value");
        check(&["--tag", "type=x"], false, "type");
        check(&["--scope", "ref"], false, "GITHUB_REF");
        check(&["--store", "/x"], false, "/x");
    }

    #[test]
    fn defaults_are_as_documented() {
        let found = config(&[], &[("HOME", "/h")]).unwrap();
        assert_eq!((found.form, found.if_exists, found.level), (Form::Smallest, IfExists::Skip, 3));
        assert_eq!((found.rebase_after.as_secs(), found.on_trouble), (7 * 86_400, OnTrouble::GoOn));
        assert_eq!((found.base_key, found.scopes), (None, Scopes::none()));
        assert_eq!(found.state_dir, Some("/h/.local/state/xcache".into()));
        assert_eq!(found.limits, Limits { concurrency: 8, workers: 2 });
    }
}
