//! The install manifests of an agent, applied in their order: what others live in, the definitions, and when these are served the agent.
//!
//! May not enter: which agent. I/O: by `apply`.

use std::collections::HashSet;
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::adoption::AdoptionMarker;
use super::apply::{self, CONCURRENCY, OwnershipPolicy, PrunedKind, Results, apply_all};
use super::definition::Definition;
use super::error::{CallError, NotApplied};
use super::memory::Install;
use super::object::{Object, ObjectId};
use super::workload::{Workload, lock};

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
    fn marker(&self) -> AdoptionMarker;
    /// Until when they are ours to apply.
    fn policy(&self) -> OwnershipPolicy {
        OwnershipPolicy::UntilAdopted(self.marker())
    }
    /// Kinds of the last phase, of which what we applied goes when the manifests no longer have it: an older version's, or a component's
    /// that is left out. Never definitions, with which all objects of their kind would go.
    fn pruned_kinds(&self) -> Vec<PrunedKind<'_>> {
        Vec::new()
    }
}

/// Applies the install manifests. What is still missing before the sync objects can be applied, if anything.
pub async fn install(
    workload: &Workload,
    manifests: &impl Manifests,
    results: &mut Results,
) -> Result<Option<String>, CallError> {
    let (key, policy) = (manifests.key(), manifests.policy());
    if lock(&workload.memory).is_installed(key, Instant::now()) {
        return Ok(None);
    }
    let Ok(_permit) = workload.installs.try_acquire() else {
        return Ok(Some("other clusters' installs, which go first".into()));
    };
    let pending = match &lock(&workload.memory).install {
        Install::Definitions { key: begun, pending } if *begun == key => Some(pending.clone()),
        _ => None,
    };
    let pending = match pending {
        Some(pending) => pending,
        None => {
            if refuses_stored_versions(workload, manifests, results).await? {
                // What is installed goes on as it is.
                return Ok(None);
            }
            apply_all(workload, manifests.objects(Phase::Namespace), policy, results).await?;
            apply_all(workload, manifests.objects(Phase::Definitions), policy, results).await?;
            manifests.objects(Phase::Definitions).map(|definition| definition.id).collect()
        }
    };
    if !results.failed.is_empty() {
        return Ok(Some("what was refused".into()));
    }
    let pending = not_established(workload, pending).await?;
    let waiting_for = pending.first().map(ToString::to_string);
    lock(&workload.memory).install = Install::Definitions { key, pending };
    if waiting_for.is_some() {
        return Ok(waiting_for);
    }
    let adopted_before = results.adopted;
    apply_all(workload, manifests.objects(Phase::Agent), policy, results).await?;
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
    let mut memory = lock(&workload.memory);
    memory.install = Install::Done { key, at: Instant::now() };
    memory.handover.complete = results.released.is_empty() && results.adopted - adopted_before == wanted.len();
    // Their digests are no longer asked for: the key stands for them all.
    memory.objects.retain(|id, _| manifests.is_synced(id));
    Ok(None)
}

/// Whether objects are stored in a version that a definition to be applied does not have; then nothing at all is applied.
async fn refuses_stored_versions(
    workload: &Workload,
    manifests: &impl Manifests,
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
        if !stored.is_empty() && !(marker.adopted)(&found.metadata.labels, &found.metadata.annotations) {
            let why = format!(
                "objects may be stored in {}, which {} does not have: store them anew in a version that it has and take the other out of \
                 status.storedVersions (`flux migrate` does), or ask for the version of before",
                stored.join(", "),
                manifests.agent()
            );
            results.failed.push(NotApplied { object: wanted.id, why });
        }
    }
    results.failed[before..].sort_by(|one, other| one.object.cmp(&other.object));
    Ok(results.failed.len() > before)
}

async fn not_established(workload: &Workload, definitions: Vec<ObjectId>) -> Result<Vec<ObjectId>, CallError> {
    stream::iter(definitions)
        .map(|id| async move {
            // One that is gone again is applied once more when the pass begins anew.
            let found = Definition::read(&workload.client, &id).await?;
            Ok((!found.is_some_and(|found| found.is_established())).then_some(id))
        })
        .buffer_unordered(CONCURRENCY)
        .try_filter_map(|pending| async move { Ok(pending) })
        .try_collect()
        .await
}
