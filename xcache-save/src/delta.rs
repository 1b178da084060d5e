//! Saving only what the objects of another entry do not hold.
//!
//! The objects that a delta refers to must not be deleted while it is being made, so they are noted first (the intent), and
//! looked at once more when it is published: `docs/protocols.md`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use xcache_cli as cli;
use xcache_cli::report::human::Bytes;
use xcache_core::convert;
use xcache_core::delta::plan::{Reason, SavePlan, Standing, new_and_all, plan};
use xcache_core::delta::{Known, TreeFacts, Trust, compare};
use xcache_core::gc::protocol::{DeltaVerdict, Intent, RefRefusal};
use xcache_core::monitor::{Monitor as _, Unit};
use xcache_core::naming::object_name;
use xcache_core::object::{Kind, Ref, RunId};
use xcache_core::scan::Tree;

use crate::earlier::{Earlier, LeftBehind};
use crate::make::What;
use crate::outcome::{Existed, Outcome};
use crate::run::Run;
use crate::write::{Stored, Written, write};

/// For cleaning up after an interruption: runners wait ten seconds, in which all else has to end as well.
const CLEAN_UP: Duration = Duration::from_secs(5);
/// For the end of a request under way, of that time.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// What holds for a delta that is published.
enum Settled {
    /// It can be restored.
    Stays,
    /// A base of the same key is there, and wins over it.
    Shadowed,
    /// An object that it refers to is gone.
    RefsGone,
}

impl Run<'_> {
    /// Stores what `earlier` does not hold, unless that is not worth it.
    pub(crate) async fn save_delta(&self, tree: Arc<Tree>, earlier: Earlier) -> anyhow::Result<Outcome> {
        let Earlier { known, left, key: built_on } = earlier;
        let mut known = Arc::new(known);
        let comparing = self.reporter.phase("compare");
        let (intent, facts) = self.note_and_compare(&tree, &known, left).await?;
        drop(comparing);
        // Both have given it back. Objects that were copied have new ETags.
        if let Some(known) = Arc::get_mut(&mut known) {
            known.adopt(intent.usable());
        }
        let facts = Arc::new(facts);
        let now = convert::unix_nanos(self.context.now);
        let standings: Vec<Standing> = known.refs.iter().map(|r| standing(&intent, r)).collect();
        if self.explain().is_on() {
            let (new, all) = new_and_all(&known, &facts);
            self.explain().line(format_args!("about {} of {} would be new", Bytes(new), Bytes(all)));
        }
        let keep = match plan(&known, &facts, &standings, now, self.config.rebase_after) {
            SavePlan::Delta { keep } => {
                let kept = keep.iter().filter(|keep| **keep).count();
                self.explain().line(format_args!("a delta: refers to {kept} of {} objects", keep.len()));
                keep
            }
            SavePlan::Complete(reason) => {
                self.explain().line(format_args!("a base: {reason}"));
                self.give_back(intent).await;
                return self.save_complete(tree, Kind::Base, reason).await;
            }
        };
        let what = What::Delta { known, facts, keep };
        let stored = match write(self, tree.clone(), what).await {
            Ok(Written::Stored(stored)) => stored,
            Ok(Written::Exists { sent_bytes }) => {
                self.give_back(intent).await;
                return Ok(Outcome::AlreadyExists { when: Existed::LostRace, sent_bytes });
            }
            // A delta that arrives after all must find its refs: the intent stands until a gc finds it a day old.
            Ok(Written::InDoubt(error)) => return Err(error),
            Err(error) => {
                self.give_back(intent).await;
                return Err(error);
            }
        };
        match self.settle(intent, &stored).await? {
            Settled::Stays => Ok(self.saved(&stored, Ok(built_on))),
            Settled::Shadowed => {
                self.take_back(&stored.name, &stored.etag).await;
                Ok(Outcome::AlreadyExists { when: Existed::LostRace, sent_bytes: stored.sent_bytes })
            }
            Settled::RefsGone => {
                // The base first: with it no lookup chooses the delta any more, whether that can be deleted or not.
                let outcome = self.save_complete(tree, Kind::Base, Reason::RefsGone).await;
                self.take_back(&stored.name, &stored.etag).await;
                outcome
            }
        }
    }

    /// Notes what the delta will refer to, and compares the tree with it meanwhile: one waits for the store, the other
    /// for the disk.
    async fn note_and_compare(
        &self,
        tree: &Arc<Tree>,
        known: &Arc<Known>,
        left: LeftBehind,
    ) -> anyhow::Result<(Intent, TreeFacts)> {
        let comparing = {
            let (tree, known, threads) = (tree.clone(), known.clone(), self.config.limits.workers);
            let progress = self.reporter.progress("comparing", Unit::Bytes, None);
            tokio::task::spawn_blocking(move || {
                let LeftBehind { signatures, roots, noted_nanos } = &left;
                let trust = Trust { roots, signatures, noted_nanos: *noted_nanos };
                compare(&tree, &known, Some(&trust), threads, &*progress)
            })
        };
        let id = RunId::new()?;
        // A task of its own: an interruption must not drop a request that the store may carry out all the same, after
        // the note was taken away.
        let mut noting = {
            let (store, refs) = (self.store.clone(), known.refs.clone());
            tokio::spawn(async move { Intent::note(&*store, &id, refs).await })
        };
        let both = cli::unless_interrupted(async { tokio::join!(&mut noting, comparing) }).await;
        let (intent, facts) = match both {
            Ok(both) => both,
            Err(interrupted) => {
                match tokio::time::timeout(UNDER_WAY, noting).await {
                    Ok(Ok(intent)) => self.give_back(intent).await,
                    _ => drop(tokio::time::timeout(UNDER_WAY, Intent::forget(&*self.store, &id)).await),
                }
                return Err(interrupted.into());
            }
        };
        let intent = intent.context("cannot note what this entry builds on")?;
        let facts = facts.context("cannot compare")?;
        for refused in intent.refused() {
            self.reporter.debug(format_args!("`{}` is not built on: {}", refused.name, refused.why));
        }
        self.reporter.debug(format_args!("{} files read of {}", facts.read_files, tree.nodes.len()));
        Ok((intent, facts))
    }

    /// Looks, now that the delta is published, whether it stays.
    async fn settle(&self, intent: Intent, stored: &Stored) -> anyhow::Result<Settled> {
        // A base of the same key wins over a delta, whichever came first.
        let base_name = object_name(self.config.scopes.write.as_ref(), self.config.keys.primary(), Kind::Base)?;
        let settling = async {
            tokio::join!(self.store.head(&base_name), intent.settle(&*self.store, &stored.archive.footer.refs))
        };
        // The delta is published: an interruption waits for the answer, for as long as a runner waits for us.
        let mut settling = std::pin::pin!(settling);
        let (base, verdict) = match cli::unless_interrupted(&mut settling).await {
            Ok(settled) => settled,
            Err(interrupted) => {
                let _ = tokio::time::timeout(CLEAN_UP, settling).await;
                return Err(interrupted.into());
            }
        };
        Ok(match (base, verdict) {
            (Ok(_), _) => Settled::Shadowed,
            (Err(_), DeltaVerdict::Withdraw(_)) => Settled::RefsGone,
            (Err(_), _) => Settled::Stays,
        })
    }

    /// Takes the note of refs away. When we are asked to stop, within the time that a runner leaves us.
    async fn give_back(&self, intent: Intent) {
        let withdrawing = intent.withdraw(&*self.store);
        let patience = async {
            cli::interrupted().await;
            tokio::time::sleep(CLEAN_UP).await;
        };
        tokio::select! {
            () = withdrawing => {}
            () = patience => {}
        }
    }
}

/// Whether the intent protects a ref, so that the delta may use it.
fn standing(intent: &Intent, r: &Ref) -> Standing {
    if intent.usable().contains(r) {
        return Standing::Usable;
    }
    let is_unproven = intent.refused().iter().any(|no| no.name == r.name && matches!(no.why, RefRefusal::Unproven(_)));
    if is_unproven { Standing::Unproven } else { Standing::Lost }
}
