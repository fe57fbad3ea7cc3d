//! The install manifests of an agent, applied in their order: what others live in, the definitions, and when these are served the agent.
//!
//! May not enter: which agent. I/O: by `apply`.

use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::apply::{self, Results, SIDE_BY_SIDE, Sign, Tenure, each};
use super::error::CallError;
use super::memory::Install;
use super::object::{Object, ObjectId};
use super::workload::{Workload, locked};

/// When an object is applied: what a later phase holds needs all of the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// What others live in.
    Namespace,
    /// Waited for until Established.
    Definitions,
    /// Accounts, roles, policies and the controllers.
    Agent,
}

/// The install manifests of one agent, with what the spec asks for written in.
pub trait Manifests: Sync {
    /// What is installed, for people: `Flux v2.9.5`.
    fn agent(&self) -> String;
    /// Differs when other manifests would be applied.
    fn key(&self) -> u64;
    /// The objects of a phase, one at a time.
    fn objects(&self, phase: Phase) -> Box<dyn Iterator<Item = Object> + Send + '_>;
    /// Whether an object is none of the manifests, but of those that every pass looks at.
    fn is_synced(&self, id: &ObjectId) -> bool;
    /// How an object shows that Git has adopted it.
    fn sign(&self) -> Sign;
}

/// Applies the install manifests. What is still missing before the sync objects can be applied, if anything.
pub async fn install(
    workload: &Workload,
    manifests: &impl Manifests,
    results: &mut Results,
) -> Result<Option<String>, CallError> {
    let (key, tenure) = (manifests.key(), Tenure::UntilAdopted(manifests.sign()));
    if locked(&workload.memory).installed(key, Instant::now()) {
        return Ok(None);
    }
    let Ok(_permit) = workload.installs.try_acquire() else {
        return Ok(Some("other clusters' installs, which go first".into()));
    };
    let pending = match &locked(&workload.memory).install {
        Install::Definitions { key: begun, pending } if *begun == key => Some(pending.clone()),
        _ => None,
    };
    let pending = match pending {
        Some(pending) => pending,
        None => {
            each(workload, manifests.objects(Phase::Namespace), tenure, results).await?;
            each(workload, manifests.objects(Phase::Definitions), tenure, results).await?;
            manifests.objects(Phase::Definitions).map(|definition| definition.id).collect()
        }
    };
    if !results.failed.is_empty() {
        return Ok(Some("what was refused".into()));
    }
    let pending = not_established(workload, pending).await?;
    let waits_for = pending.first().map(ToString::to_string);
    locked(&workload.memory).install = Install::Definitions { key, pending };
    if waits_for.is_some() {
        return Ok(waits_for);
    }
    each(workload, manifests.objects(Phase::Agent), tenure, results).await?;
    if results.failed.is_empty() {
        let mut memory = locked(&workload.memory);
        memory.install = Install::Done { key, at: Instant::now() };
        // Their digests are no longer asked for: the key stands for them all.
        memory.objects.retain(|id, _| manifests.is_synced(id));
    }
    Ok(None)
}

async fn not_established(workload: &Workload, definitions: Vec<ObjectId>) -> Result<Vec<ObjectId>, CallError> {
    stream::iter(definitions)
        .map(|id| async move {
            match apply::established(&workload.client, &id).await {
                Ok(true) => Ok(None),
                // Gone again: it is applied once more when the pass begins anew.
                Ok(false) | Err(CallError::NotFound) => Ok(Some(id)),
                Err(other) => Err(other),
            }
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .try_filter_map(|pending| async move { Ok(pending) })
        .try_collect()
        .await
}
