//! The save itself, top to bottom:
//!
//! paths → scan → (what an earlier entry holds) → plan → frames → parts → one create-only object.

use std::sync::Arc;

use anyhow::Context as _;
use xcache_cli::explain::Explain;
use xcache_cli::report::Reporter;
use xcache_cli::{self as cli, RunContext};
use xcache_core::archive::index::RootKind;
use xcache_core::delta::plan::Reason;
use xcache_core::entry::Entry;
use xcache_core::lookup::exists;
use xcache_core::naming;
use xcache_core::object::Kind;
use xcache_core::object_end;
use xcache_core::scan::{Tree, TreeRoot, scan};
use xcache_core::state::unfinished;
use xcache_core::state::unusable::{self, UnusableNote};
use xcache_core::store::open::{OpenedStore, open};
use xcache_core::store::{self, ErrorKind, Store};

use crate::config::{Config, Form, OnUnfinished};
use crate::earlier;
use crate::make_good;
use crate::outcome::{Existed, NotSaved, Outcome};
use crate::run::Run;
use crate::write::tell_skipped;

/// Saves what `config` says.
pub async fn run(config: &Config, context: &RunContext, reporter: &Reporter) -> anyhow::Result<Outcome> {
    run_on(open(&config.store.config), config, context, reporter).await
}

/// Saves what `config` says in the store that `opening` gives, which is asked for it only if something is to be saved.
pub async fn run_on(
    opening: impl Future<Output = store::Result<OpenedStore>>,
    config: &Config,
    context: &RunContext,
    reporter: &Reporter,
) -> anyhow::Result<Outcome> {
    let explain = Explain::new(config.explains, reporter);
    explain.line(format_args!("mode `{}`: {}", config.access.mode.word(), config.access.reason));
    if !config.access.mode.may_write() {
        return Ok(Outcome::ReadOnly);
    }
    if is_unfinished(config, reporter) {
        return Ok(Outcome::NotSaved { reason: NotSaved::Unfinished, sent_bytes: 0 });
    }
    let opened = cli::unless_interrupted(opening).await??;
    let (store, key) = (opened.store.clone(), config.keys.primary());
    let scope = config.scopes.write.as_ref();
    tell_overlaps(config, reporter);
    let scanning = {
        let (paths, threads) = (config.paths.clone(), config.limits.workers);
        tokio::task::spawn_blocking(move || scan(&paths, threads))
    };
    let looking = async { tokio::join!(exists(&*store, scope, key), opened.features(), scanning) };
    let scanned = reporter.phase("scan");
    let (there, features, tree) = cli::unless_interrupted(looking).await?;
    drop(scanned);
    let tree = tree.context("cannot scan")?;
    match tree.linked_symlinks() {
        0 => {}
        1 => reporter.notice("1 symbolic link has several names (hard links); each is saved as a link of its own"),
        count => reporter.notice(format_args!(
            "{count} symbolic links have several names (hard links); each is saved as a link of its own"
        )),
    }
    let there = match there {
        // A role that may not list is answered "denied" for what is not there: the create-only write decides.
        Err(error) if error.kind() == ErrorKind::Denied => None,
        there => there?,
    };
    let unusable = found_unusable(config);
    let note = there.as_ref().and_then(|entry| make_good::note_of(&unusable, entry)).cloned();
    if let Some(entry) = &there {
        explain.line(format_args!("`{}` exists since {}", entry.name, entry.meta.last_modified.to_rfc3339()));
    }
    if let (Some(entry), None) = (&there, &note) {
        return Ok(match cli::unless_interrupted(is_of_another_store(&*store, entry, reporter)).await? {
            true => Outcome::NotSaved { reason: NotSaved::OtherStore, sent_bytes: 0 },
            false => Outcome::AlreadyExists { when: Existed::Before, sent_bytes: 0 },
        });
    }
    if tree.nodes.is_empty() {
        let unreadable = tell_skipped(reporter, &tree.skipped);
        for root in tree.roots.iter().filter(|root| !is_told(&tree, root)) {
            reporter.notice(format_args!("nothing at path `{}`", root.given));
        }
        return Ok(Outcome::NothingToSave { unreadable });
    }
    for root in tree.roots.iter().filter(|root| root.kind == RootKind::Nothing && !is_told(&tree, root)) {
        reporter.notice(format_args!("nothing at path `{}`; it is left out", root.given));
    }
    let (features, is_trusted) = (features?, !opened.needs_probe);
    let run = Run { config, context, reporter, store, features, is_trusted, opened, unusable };
    match (there, note) {
        (Some(entry), Some(note)) => run.make_good(Arc::new(tree), &entry, &note).await,
        _ => run.save(Arc::new(tree)).await,
    }
}

/// Whether an entry that has the name of our key was saved under another key, in a store below this one: `ci/deps-1` of
/// `s3://bucket` has the name of `deps-1` of `s3://bucket/ci`. No restore of ours takes it, so it must not count as saved.
/// Only a key with a slash can be meant, and only then is the end of the object read.
async fn is_of_another_store(store: &dyn Store, entry: &Entry, reporter: &Reporter) -> bool {
    let Entry { scope: None, key, name, meta, .. } = entry else { return false };
    if !key.as_str().contains('/') {
        return false;
    }
    let footer = match object_end::read_footer(store, name, &meta.etag).await {
        Ok(object_end::Verdict::Readable(Some(footer))) => footer,
        _ => return false,
    };
    if naming::is_name_of(name, &footer.key, footer.kind) {
        return false;
    }
    reporter.warning(
        format_args!(
            "not saving key `{key}`: its object `{name}` is an entry of another store, saved there under key `{}`",
            footer.key
        ),
        Some("use another key, or another prefix for one of the two stores"),
    );
    true
}

/// Says which paths lie inside others.
fn tell_overlaps(config: &Config, reporter: &Reporter) {
    match &config.paths.overlaps()[..] {
        [] => {}
        [(inner, outer), others @ ..] => {
            let more = match others.len() {
                0 => String::new(),
                1 => ", and 1 more path lies inside another".to_owned(),
                count => format!(", and {count} more paths lie inside others"),
            };
            let (inner, outer) = (&inner.given, &outer.given);
            reporter.notice(format_args!("path `{inner}` lies inside `{outer}`{more}: such files are stored twice"));
        }
    }
}

/// What restores of this job could not use.
fn found_unusable(config: &Config) -> Vec<UnusableNote> {
    let url = config.store.config.url.to_string();
    config.state_dir.as_deref().map(|directory| unusable::read(directory, &url)).unwrap_or_default()
}

/// Whether a restore onto these paths has not finished, which is reported.
fn is_unfinished(config: &Config, reporter: &Reporter) -> bool {
    let found = config.state_dir.as_deref().and_then(|directory| unfinished::find(directory, &config.paths));
    let Some(found) = found.filter(|_| config.on_unfinished == OnUnfinished::Refuse) else { return false };
    let text = match found.is_running {
        true => format!(
            "not saving key `{}`: a restore of entry `{}` is still writing to its paths",
            config.keys.primary(),
            found.key
        ),
        false => format!(
            "not saving key `{}`: a restore of entry `{}` onto its paths did not finish, so that some of the files may be \
             those of another tree",
            config.keys.primary(),
            found.key
        ),
    };
    let hint = "let a restore of these paths finish, or use `--save-unfinished` (input `save-unfinished`) if you know that \
                the tree is whole";
    reporter.warning(text, Some(hint));
    true
}

/// Whether something is there and it is said why it is left out.
fn is_told(tree: &Tree, root: &TreeRoot) -> bool {
    tree.skipped.iter().any(|skipped| skipped.path.starts_with(&root.base))
}

impl Run<'_> {
    async fn save(&self, tree: Arc<Tree>) -> anyhow::Result<Outcome> {
        let looking = self.reporter.phase("look");
        let earlier = match self.config.form {
            Form::Base => Err(Reason::Asked),
            Form::Smallest => cli::unless_interrupted(earlier::find(self)).await?,
        };
        drop(looking);
        match &earlier {
            Ok(earlier) => self.explain().line(format_args!(
                "builds on `{}`, which {}",
                earlier.key,
                if earlier.left.roots.is_empty() { "the keys have found" } else { "this job restored" }
            )),
            Err(reason) => self.explain().line(format_args!("builds on nothing: {reason}")),
        }
        match earlier {
            Ok(earlier) => self.save_delta(tree, earlier).await,
            Err(reason) => self.save_complete(tree, Kind::Base, reason).await,
        }
    }
}
