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
    let tagging = if features.tags { Tagging::Known } else { Tagging::Unsupported };
    match mode {
        Mode::Dry(now) => prune_at(store, now, None, tagging, policy).await,
        Mode::Real => {
            let pass = Pass::begin(store, DeleteMode::of(features), sid).await?;
            let outcome = prune_at(store, pass.now(), Some(&pass), tagging, policy).await;
            pass.end().await;
            outcome
        }
    }
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
    match mode {
        Mode::Dry(now) => remove_at(store, now, None, targets, cascade).await,
        Mode::Real => {
            let pass = Pass::begin(store, delete_mode, sid).await?;
            let outcome = remove_at(store, pass.now(), Some(&pass), targets, cascade).await;
            pass.end().await;
            outcome
        }
    }
}

/// Plans, and does it if there is a pass to do it in.
async fn prune_at(
    store: &dyn Store,
    now: DateTime<Utc>,
    pass: Option<&Pass<'_>>,
    mut tagging: Tagging,
    policy: &Policy,
) -> Result<Outcome> {
    let mut inventory = survey(store, now, pass).await?;
    let plan = loop {
        let plan = plan(&inventory, policy, now);
        let questions = plan.questions(&inventory, policy, now);
        if questions.tags.is_empty() && questions.footers.is_empty() {
            break plan;
        }
        tagging = read_tags(store, &mut inventory, tagging, questions.tags).await?;
        read_footers(store, &mut inventory, questions.footers).await?;
    };
    let uploads = stale_uploads(store, now, pass, policy).await?;
    let swept = sweep_in(pass, &inventory, &plan).await;
    Ok(Outcome { now, inventory, plan, swept, tagging, uploads })
}

/// Plans, and does it if there is a pass to do it in.
async fn remove_at(
    store: &dyn Store,
    now: DateTime<Utc>,
    pass: Option<&Pass<'_>>,
    targets: &[Target],
    cascade: Cascade,
) -> Result<Outcome> {
    let mut inventory = survey(store, now, pass).await?;
    let plan = loop {
        let plan = plan_removal(&inventory, targets, cascade);
        let footers = plan.footers(&inventory);
        if footers.is_empty() {
            break plan;
        }
        read_footers(store, &mut inventory, footers).await?;
    };
    let swept = sweep_in(pass, &inventory, &plan).await;
    Ok(Outcome { now, inventory, plan, swept, tagging: Tagging::Known, uploads: Vec::new() })
}

async fn sweep_in(pass: Option<&Pass<'_>>, inventory: &Inventory, plan: &Plan) -> Option<Swept> {
    Some(sweep(pass?, inventory, plan).await)
}

async fn stale_uploads(
    store: &dyn Store,
    now: DateTime<Utc>,
    pass: Option<&Pass<'_>>,
    policy: &Policy,
) -> Result<Vec<StaleUpload>> {
    let Some(limit) = policy.stale_uploads else { return Ok(Vec::new()) };
    let is_stale = |upload: &dyn Upload| {
        naming::parse(upload.name()).is_some() && now - upload.initiated() > limit.max(policy.min_age)
    };
    let mut stale = Vec::new();
    for upload in store.uploads("").await.map_err(Error::from)? {
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
