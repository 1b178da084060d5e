//! What a save shall do, checked once.

use std::path::PathBuf;
use std::time::Duration;

use xcache_core::cli::cache_args::OnTrouble;
use xcache_core::cli::store_args::StoreSelection;
use xcache_core::cli::transfer_args::Limits;
use xcache_core::cli::values::lines;
use xcache_core::cli::{RunContext, UsageError};
use xcache_core::entry::Kind;
use xcache_core::github::event::Event;
use xcache_core::key::{Key, Keys};
use xcache_core::naming::{TagError, TagInput, tags};
use xcache_core::paths::PathList;
use xcache_core::scope::Scopes;
use xcache_core::store::Tags;

use crate::args::{Args, IfExists};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to.
    pub store: StoreSelection,
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
    /// Compression level of zstd, 1 to 19.
    pub level: i32,
    /// What the entry is tagged with.
    pub tags: TagTexts,
    /// Where restore may have left its state.
    pub state_dir: Option<PathBuf>,
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

/// What an entry is tagged with, besides its kind. Known to make valid tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagTexts {
    branch: Option<String>,
    commit: Option<String>,
    repo: Option<String>,
    extra: Vec<(String, String)>,
}

impl Config {
    /// Checks the arguments.
    pub fn new(args: &Args, context: &RunContext, event: &Event) -> Result<Self, UsageError> {
        let Args {
            cache,
            base_key,
            restore_keys,
            full,
            rebase_after,
            if_exists,
            level,
            tags,
            branch,
            commit,
            repo,
            store,
            scope,
            transfer,
            output: _,
            compat: _,
            other: _,
        } = args;
        let github = &context.github;
        let keys = cache.keys(restore_keys)?;
        let base_key = base_key.as_deref().map(str::trim).filter(|key| !key.is_empty());
        let given = |value: &Option<String>, default: Option<&str>| value.as_deref().or(default).map(str::to_owned);
        let tags = TagTexts {
            branch: given(branch, github.branch(event)),
            commit: given(commit, github.sha.as_deref()),
            repo: given(repo, github.repository.as_deref()),
            extra: parse_tags(tags)?,
        };
        tags.check().map_err(UsageError::options)?;
        Ok(Self {
            paths: cache.path_list(context)?,
            keys,
            base_key: base_key.map(str::parse).transpose().map_err(UsageError::input)?,
            form: if *full { Form::Base } else { Form::Smallest },
            rebase_after: *rebase_after,
            if_exists: *if_exists,
            level: *level,
            tags,
            store: store.resolve(context)?,
            scopes: scope.resolve(context, event)?,
            state_dir: cache.state_dir(context),
            limits: transfer.resolve(context),
            on_trouble: cache.on_trouble(),
        })
    }
}

impl TagTexts {
    /// The tags of an entry of this kind, ready for the store.
    pub fn tags(&self, kind: Kind) -> Tags {
        self.make(kind).expect("they were checked when the configuration was made, and the kind changes no rule")
    }

    /// The branch, for reports.
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_deref()
    }

    fn check(&self) -> Result<(), TagError> {
        self.make(Kind::Base).map(drop)
    }

    fn make(&self, kind: Kind) -> Result<Tags, TagError> {
        let Self { branch, commit, repo, extra } = self;
        tags(TagInput { kind, branch: branch.as_deref(), commit: commit.as_deref(), repo: repo.as_deref(), extra })
    }
}

fn parse_tags(values: &[String]) -> Result<Vec<(String, String)>, UsageError> {
    let pair = |line: &str| match line.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err(UsageError::with_hint(format!("tag `{line}` has no value"), format!("write `{line}=true`"))),
    };
    lines(values).into_iter().map(pair).collect()
}
