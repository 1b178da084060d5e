//! The two ways in which entries go: by policy, and by name.

use chrono::{DateTime, Utc};

use super::ends::read_ends;
use super::error::Result;
use super::inventory::Inventory;
use super::pass::{DeleteMode, Pass};
use super::plan::{Cascade, PrunePlan, RemovalTarget, plan, plan_removal};
use super::policy::Policy;
use super::survey::survey;
use super::sweep::{Swept, sweep};
use super::tagging::{Tagging, read_tags};
use crate::monitor::Monitor;
use crate::naming::{self, PROBES_PREFIX};
use crate::object::RunId;
use crate::store::probe::Features;
use crate::store::{self, ObjectName, Store, Upload};

/// Whether to do it, or only to say what would be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Delete.
    Real,
    /// Only plan, at this time. The store's own cannot be had without writing to it, and a dry run writes nothing.
    Dry(DateTime<Utc>),
}

/// What a run found, decided and did.
#[derive(Debug)]
pub struct Outcome {
    /// The time of all decisions, by the store's clock.
    pub now: DateTime<Utc>,
    /// What was there.
    pub inventory: Inventory,
    /// What was decided.
    pub plan: PrunePlan,
    /// What was done; none in a dry run.
    pub swept: Option<Swept>,
    /// Whether the store knows tags; if not, there are no branches and no pins.
    pub tagging: Tagging,
    /// Multipart uploads that were found stale.
    pub uploads: Vec<StaleUpload>,
    /// Why multipart uploads could not be listed.
    pub uploads_failure: Option<store::Error>,
}

/// A multipart upload that nobody completes any more.
#[derive(Debug)]
pub struct StaleUpload {
    /// The name it would have had.
    pub name: ObjectName,
    /// When it began.
    pub initiated: DateTime<Utc>,
    /// Why it could not be thrown away.
    pub failure: Option<store::Error>,
}

/// One clean-up or removal: where, and whom it reports to.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// Unique to this run.
    pub run: &'a RunId,
    /// Whether to do it.
    pub mode: Effect,
    /// Hears of what could not be done.
    pub monitor: &'a dyn Monitor,
}

/// Deletes what `policy` wants gone.
pub async fn prune(operation: &Operation<'_>, features: &Features, policy: &Policy) -> Result<Outcome> {
    let Operation { store, run, mode, monitor } = *operation;
    let tagging = if features.tags { Tagging::Known } else { Tagging::Unsupported };
    match mode {
        Effect::Dry(now) => prune_at(Surroundings { store, monitor, now, pass: None }, tagging, policy).await,
        Effect::Real => {
            let pass = Pass::begin(store, monitor, DeleteMode::of(features), run).await?;
            let around = Surroundings { store, monitor, now: pass.now(), pass: Some(&pass) };
            let outcome = prune_at(around, tagging, policy).await;
            pass.end().await;
            outcome
        }
    }
}

/// Deletes `targets`.
///
/// An entry that others build on stays, unless they go too; one that a running save has noted is condemned and left to
/// the next prune. `[ci-clear-cache]` and `rm` are this, and so is the withdrawal of a delta that does not stand.
pub async fn remove(
    operation: &Operation<'_>,
    delete_mode: DeleteMode,
    targets: &[RemovalTarget],
    cascade: Cascade,
) -> Result<Outcome> {
    let Operation { store, run, mode, monitor } = *operation;
    match mode {
        Effect::Dry(now) => remove_at(Surroundings { store, monitor, now, pass: None }, targets, cascade).await,
        Effect::Real => {
            let pass = Pass::begin(store, monitor, delete_mode, run).await?;
            let around = Surroundings { store, monitor, now: pass.now(), pass: Some(&pass) };
            let outcome = remove_at(around, targets, cascade).await;
            pass.end().await;
            outcome
        }
    }
}

/// What planning and doing take from their surroundings.
#[derive(Clone, Copy)]
struct Surroundings<'a> {
    store: &'a dyn Store,
    monitor: &'a dyn Monitor,
    now: DateTime<Utc>,
    /// Without one nothing is deleted.
    pass: Option<&'a Pass<'a>>,
}

/// Plans, and does it if there is a pass to do it in.
async fn prune_at(around: Surroundings<'_>, mut tagging: Tagging, policy: &Policy) -> Result<Outcome> {
    let Surroundings { store, monitor, now, pass } = around;
    let mut inventory = survey(store, monitor, now, pass).await?;
    let plan = loop {
        let plan = plan(&inventory, policy, now);
        let questions = plan.questions(&inventory, policy, now);
        if questions.tags.is_empty() && questions.ends.is_empty() {
            break plan;
        }
        tagging = read_tags(store, monitor, &mut inventory, tagging, questions.tags).await?;
        read_ends(store, monitor, &mut inventory, questions.ends).await?;
    };
    let swept = sweep_in(pass, &inventory, &plan).await;
    let (uploads, uploads_failure) = match stale_uploads(&around, &inventory, policy).await {
        Ok(uploads) => (uploads, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    Ok(Outcome { now, inventory, plan, swept, tagging, uploads, uploads_failure })
}

/// Plans, and does it if there is a pass to do it in.
async fn remove_at(around: Surroundings<'_>, targets: &[RemovalTarget], cascade: Cascade) -> Result<Outcome> {
    let Surroundings { store, monitor, now, pass } = around;
    let mut inventory = survey(store, monitor, now, pass).await?;
    let plan = loop {
        let plan = plan_removal(&inventory, targets, cascade);
        let ends = plan.ends(&inventory);
        if ends.is_empty() {
            break plan;
        }
        read_ends(store, monitor, &mut inventory, ends).await?;
    };
    let swept = sweep_in(pass, &inventory, &plan).await;
    let (tagging, uploads, uploads_failure) = (Tagging::Known, Vec::new(), None);
    Ok(Outcome { now, inventory, plan, swept, tagging, uploads, uploads_failure })
}

async fn sweep_in(pass: Option<&Pass<'_>>, inventory: &Inventory, plan: &PrunePlan) -> Option<Swept> {
    Some(sweep(pass?, inventory, plan).await)
}

/// After the sweep: a store that cannot list uploads is cleaned up all the same.
async fn stale_uploads(
    around: &Surroundings<'_>,
    inventory: &Inventory,
    policy: &Policy,
) -> store::Result<Vec<StaleUpload>> {
    let Surroundings { store, now, pass, .. } = *around;
    let Some(limit) = policy.stale_uploads else { return Ok(Vec::new()) };
    let is_stale = |upload: &dyn Upload| {
        let name = upload.name().as_str();
        let is_ours = !inventory.nested().any(|nested| name.starts_with(nested));
        // Of entries and of probes: others are not ours.
        let is_known = naming::parse(upload.name()).is_some() || name.starts_with(PROBES_PREFIX);
        is_ours && is_known && now - upload.initiated() > limit.max(policy.min_age)
    };
    let mut stale = Vec::new();
    for upload in store.uploads("").await? {
        if is_stale(&*upload) {
            let failure = match pass {
                Some(_) => upload.abort().await.err(),
                None => None,
            };
            stale.push(StaleUpload { name: upload.name().clone(), initiated: upload.initiated(), failure });
        }
    }
    Ok(stale)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chrono::TimeDelta;

    use super::*;
    use crate::gc::plan::{Decision, Keep};
    use crate::monitor::Quiet;
    use crate::store::probe::features;
    use crate::store::{ErrorKind, PutMode, Tags};
    use crate::transfer::doubles::{Faulty, MemoryStore};

    #[tokio::test]
    async fn a_role_that_may_not_see_pins_deletes_nothing() {
        let store = Faulty::new(MemoryStore::default()).fail("tags", ErrorKind::Denied, u32::MAX);
        let name = ObjectName::new("key-base.tar.zst").unwrap();
        store.put(&name, Bytes::from_static(b"x"), PutMode::Create, &Tags::new()).await.unwrap();
        let features = features(&store).await.unwrap();
        let policy = Policy { max_age: Some(TimeDelta::zero()), min_age: TimeDelta::zero(), ..Policy::default() };
        let operation = Operation { store: &store, run: &RunId([1; 16]), mode: Effect::Real, monitor: &Quiet };
        let pruned = prune(&operation, &features, &policy).await;
        let pruned = pruned.unwrap();
        assert!(matches!(&pruned.tagging, Tagging::Unreadable(why) if why.contains("told to fail")), "{pruned:?}");
        assert_eq!(pruned.plan.decision(0), Decision::Keep(Keep::TagsUnreadable));
        store.head(&name).await.unwrap();
    }
}
