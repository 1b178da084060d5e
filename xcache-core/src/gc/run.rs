//! The two ways in which entries go: by policy, and by name.

use chrono::{DateTime, Utc};

use super::error::{Error, Result};
use super::inventory::Inventory;
use super::pass::{DeleteMode, Pass};
use super::plan::{Cascade, Plan, Target, plan, plan_removal};
use super::policy::Policy;
use super::survey::{Tagging, read_footers, read_tags, survey};
use super::sweep::{Swept, sweep};
use crate::naming;
use crate::store::probe::Features;
use crate::store::{ObjectName, Store, Upload};

/// Whether to do it, or only to say what would be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Delete.
    Real,
    /// Only plan.
    Dry,
}

/// What a run found, decided and did.
#[derive(Debug)]
pub struct Outcome {
    /// The time of all decisions, by the store's clock.
    pub now: DateTime<Utc>,
    /// What was there.
    pub inventory: Inventory,
    /// What was decided.
    pub plan: Plan,
    /// What was done; none in a dry run.
    pub swept: Option<Swept>,
    /// Whether the store knows tags; if not, there are no branches and no pins.
    pub tagging: Tagging,
    /// Multipart uploads that were found stale.
    pub uploads: Vec<StaleUpload>,
}

/// A multipart upload that nobody completes any more.
#[derive(Debug)]
pub struct StaleUpload {
    /// The name it would have had.
    pub name: ObjectName,
    /// When it began.
    pub initiated: DateTime<Utc>,
    /// Why it could not be thrown away.
    pub failure: Option<crate::store::Error>,
}

/// Deletes what `policy` wants gone. `sid` is unique to this run.
pub async fn prune(
    store: &dyn Store,
    features: &Features,
    sid: &[u8; 16],
    policy: &Policy,
    mode: Mode,
) -> Result<Outcome> {
    let pass = Pass::begin(store, DeleteMode::of(features), sid).await?;
    let tagging = if features.tags { Tagging::Known } else { Tagging::Unsupported };
    let outcome = prune_in(&pass, tagging, policy, mode).await;
    pass.end().await;
    outcome
}

/// Deletes `targets`. `sid` is unique to this run.
///
/// An entry that others build on stays, unless they go too; one that a running save has noted is condemned and left to
/// the next prune. `[ci-clear-cache]` and `rm` are this, and so is the withdrawal of a delta that does not stand.
pub async fn remove(
    store: &dyn Store,
    delete_mode: DeleteMode,
    sid: &[u8; 16],
    targets: &[Target],
    cascade: Cascade,
    mode: Mode,
) -> Result<Outcome> {
    let pass = Pass::begin(store, delete_mode, sid).await?;
    let outcome = remove_in(&pass, targets, cascade, mode).await;
    pass.end().await;
    outcome
}

async fn prune_in(pass: &Pass<'_>, mut tagging: Tagging, policy: &Policy, mode: Mode) -> Result<Outcome> {
    let now = pass.now();
    let mut inventory = survey(pass.store, now).await?;
    let plan = loop {
        let plan = plan(&inventory, policy, now);
        let questions = plan.questions(&inventory, policy, now);
        if questions.tags.is_empty() && questions.footers.is_empty() {
            break plan;
        }
        tagging = read_tags(pass.store, &mut inventory, tagging, questions.tags).await?;
        read_footers(pass.store, &mut inventory, questions.footers).await?;
    };
    let uploads = stale_uploads(pass, policy, mode).await?;
    finish(pass, inventory, plan, mode, tagging, uploads).await
}

async fn remove_in(pass: &Pass<'_>, targets: &[Target], cascade: Cascade, mode: Mode) -> Result<Outcome> {
    let mut inventory = survey(pass.store, pass.now()).await?;
    let plan = loop {
        let plan = plan_removal(&inventory, targets, cascade);
        let footers = plan.footers(&inventory);
        if footers.is_empty() {
            break plan;
        }
        read_footers(pass.store, &mut inventory, footers).await?;
    };
    finish(pass, inventory, plan, mode, Tagging::Known, Vec::new()).await
}

async fn finish(
    pass: &Pass<'_>,
    inventory: Inventory,
    plan: Plan,
    mode: Mode,
    tagging: Tagging,
    uploads: Vec<StaleUpload>,
) -> Result<Outcome> {
    let swept = match mode {
        Mode::Real => Some(sweep(pass, &inventory, &plan).await),
        Mode::Dry => None,
    };
    Ok(Outcome { now: pass.now(), inventory, plan, swept, tagging, uploads })
}

async fn stale_uploads(pass: &Pass<'_>, policy: &Policy, mode: Mode) -> Result<Vec<StaleUpload>> {
    let Some(limit) = policy.stale_uploads else { return Ok(Vec::new()) };
    let is_stale = |upload: &dyn Upload| {
        naming::parse(upload.name()).is_some() && pass.now() - upload.initiated() > limit.max(policy.min_age)
    };
    let mut stale = Vec::new();
    for upload in pass.store.uploads("").await.map_err(Error::from)? {
        if is_stale(&*upload) {
            let failure = match mode {
                Mode::Real => upload.abort().await.err(),
                Mode::Dry => None,
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
        let pruned = prune(&store, &features, &[1; 16], &policy, Mode::Real).await;
        assert!(matches!(pruned, Err(Error::TagsDenied(_))), "{pruned:?}");
        store.head(&name).await.unwrap();
    }
}
