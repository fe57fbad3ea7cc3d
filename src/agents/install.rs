//! Applies an agent's install manifests in order: the namespace, the CRDs, and once these are served, the agent.
//!
//! Not allowed here: which agent. I/O: by `apply`.

use std::collections::HashSet;
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::adoption::AdoptionMarker;
use super::apply::{self, CONCURRENCY, OwnershipPolicy, PrunedKind, Results, apply_all};
use super::definition::Definition;
use crate::workload::client::Workload;
use crate::workload::error::{ApplyFailure, CallError};
use crate::workload::memory::Install;
use crate::workload::object::{Object, ObjectId};

/// When an object is applied: each phase needs all earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The agent's namespace.
    Namespace,
    /// CRDs; the install waits until they are Established.
    Definitions,
    /// Service accounts, roles, policies and the controllers.
    Agent,
}

/// The install manifests of one agent, customized for the spec.
pub trait Manifests: Send + Sync {
    /// Name and version for messages: `Flux v2.9.5`.
    fn agent(&self) -> String;
    /// Hash of what the manifests depend on.
    fn key(&self) -> u64;
    /// The objects of a phase, one at a time.
    fn objects(&self, phase: Phase) -> Box<dyn Iterator<Item = Object> + Send + '_>;
    /// Whether an object of the last phase stays unchanged for now.
    fn is_held_back(&self, _id: &ObjectId) -> bool {
        false
    }
    /// Whether an object is one of the sync objects, which every reconcile applies, and not part of the manifests.
    fn is_synced(&self, id: &ObjectId) -> bool;
    /// How an object shows that Git has adopted it.
    fn marker(&self) -> AdoptionMarker;
    /// How long Keelson applies them.
    fn policy(&self) -> OwnershipPolicy {
        OwnershipPolicy::UntilAdopted(self.marker())
    }
    /// Kinds of the last phase that are pruned: objects of an older version, or of a component that is not installed.
    /// Never CRDs, whose deletion would delete all objects of their kind.
    fn pruned_kinds(&self) -> Vec<PrunedKind<'_>> {
        Vec::new()
    }
}

/// Applies the install manifests. Returns what the sync objects still wait for, if anything.
pub async fn install(
    workload: &Workload,
    manifests: &dyn Manifests,
    results: &mut Results,
) -> Result<Option<String>, CallError> {
    let (key, policy) = (manifests.key(), manifests.policy());
    if workload.memory.lock().is_installed(key, Instant::now()) {
        return Ok(None);
    }
    let Ok(_permit) = workload.installs.try_acquire() else {
        return Ok(Some("installs in other clusters".into()));
    };
    let pending = match &workload.memory.lock().install {
        Install::Definitions { key: started, pending } if *started == key => Some(pending.clone()),
        _ => None,
    };
    let pending = match pending {
        Some(pending) => pending,
        None => {
            if refuses_stored_versions(workload, manifests, results).await? {
                // The installed agent stays unchanged.
                return Ok(None);
            }
            apply_all(workload, manifests.objects(Phase::Namespace), policy, results).await?;
            apply_all(workload, manifests.objects(Phase::Definitions), policy, results).await?;
            manifests.objects(Phase::Definitions).map(|definition| definition.id).collect()
        }
    };
    if !results.failed.is_empty() {
        return Ok(Some("the rejected objects".into()));
    }
    let pending = not_established(workload, pending).await?;
    let waiting_for = pending.first().map(ToString::to_string);
    workload.memory.lock().install = Install::Definitions { key, pending };
    if waiting_for.is_some() {
        return Ok(waiting_for);
    }
    let adopted_before = results.adopted;
    let objects = manifests.objects(Phase::Agent).filter(|object| !manifests.is_held_back(&object.id));
    apply_all(workload, objects, policy, results).await?;
    if !results.failed.is_empty() {
        return Ok(None);
    }
    let wanted: HashSet<ObjectId> = manifests.objects(Phase::Agent).map(|object| object.id).collect();
    if matches!(policy, OwnershipPolicy::UntilAdopted(_)) {
        for pruned_kind in manifests.pruned_kinds() {
            let pruned =
                apply::prune(&workload.client, pruned_kind, |id| wanted.contains(id), manifests.marker()).await?;
            results.changed.extend(pruned);
        }
    }
    let mut memory = workload.memory.lock();
    memory.install = Install::Done { key, at: Instant::now() };
    memory.handover.complete = results.released.is_empty() && results.adopted - adopted_before == wanted.len();
    // Their digests are no longer needed: the key covers them all.
    memory.objects.retain(|id, _| manifests.is_synced(id));
    Ok(None)
}

/// Whether objects are stored in a version that a desired CRD lacks; then nothing is applied.
async fn refuses_stored_versions(
    workload: &Workload,
    manifests: &dyn Manifests,
    results: &mut Results,
) -> Result<bool, CallError> {
    let OwnershipPolicy::UntilAdopted(marker) = manifests.policy() else { return Ok(false) };
    let mut read = stream::iter(manifests.objects(Phase::Definitions))
        .map(|wanted| async move {
            let found = Definition::read(&workload.client, &wanted.id).await?;
            Ok::<_, CallError>((found, wanted))
        })
        .buffer_unordered(CONCURRENCY);
    let before = results.failed.len();
    while let Some((found, wanted)) = read.try_next().await? {
        let Some(found) = found else { continue };
        let stored = found.dropped_stored_versions(&wanted);
        if !stored.is_empty() && !(marker.is_adopted)(&found.metadata.labels, &found.metadata.annotations) {
            let why = format!(
                "objects may be stored in {}, which {} does not have: migrate them to a version that it has and remove the other one from \
                 status.storedVersions (`flux migrate` does both), or set the previous version",
                stored.join(", "),
                manifests.agent()
            );
            results.failed.push(ApplyFailure { object: wanted.id, why });
        }
    }
    results.failed[before..].sort_by(|one, other| one.object.cmp(&other.object));
    Ok(results.failed.len() > before)
}

async fn not_established(workload: &Workload, definitions: Vec<ObjectId>) -> Result<Vec<ObjectId>, CallError> {
    stream::iter(definitions)
        .map(|id| async move {
            // A CRD that was deleted meanwhile is applied again by the next reconcile.
            let found = Definition::read(&workload.client, &id).await?;
            Ok((!found.is_some_and(|found| found.is_established())).then_some(id))
        })
        .buffer_unordered(CONCURRENCY)
        .try_filter_map(|pending| async move { Ok(pending) })
        .try_collect()
        .await
}
