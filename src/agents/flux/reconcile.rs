//! One reconcile of Flux in one cluster: applies what is missing, reads the state, and returns when to requeue.
//!
//! Not allowed here: waiting; the caller requeues. I/O: by `apply` and `observe`.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::core::params::{Patch, PatchParams};
use serde_json::json;

use super::handover::{describe_ownership, desired_install, progress};
use super::input::{FluxInput, NAME, NAMESPACE};
use super::manifests::{self, key};
use super::observe::{self, FluxObject, Observation};
use super::status::roll_up;
use super::sync;
use super::verdict::verdict;
use crate::agents::apply::{self, OwnershipPolicy, Results, apply_all};
use crate::agents::install::{Manifests as _, install};
use crate::agents::sync_outcome::{self, GitOpsOutcome};
use crate::agents::verdict::Verdict;
use crate::api::conditions::Reason;
use crate::workload::answer;
use crate::workload::client::{Workload, lock};
use crate::workload::error::CallError;
use crate::workload::memory::Install;
use crate::workload::object::{Object, ObjectId, collection};

/// Flux's annotation that requests a reconcile, and its field manager: not that of applied objects, whose fields are
/// released.
const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
const REQUEST_MANAGER: &str = "keelson-asks";

/// Reconciles Flux with `input` and reads its state.
pub async fn reconcile(workload: &Workload, input: &FluxInput) -> Result<GitOpsOutcome, CallError> {
    let mut applied = Results::default();
    let reinstall = !lock(&workload.memory).is_installed(key(input), Instant::now());
    if reinstall {
        if let Some(wanted) = desired_install(input, &observe::controllers(&workload.client).await?) {
            if let Some(missing) = install(workload, &wanted, &mut applied).await? {
                return Ok(installing_outcome(&wanted, applied, &missing));
            }
        } else {
            lock(&workload.memory).install = Install::Done { key: key(input), at: Instant::now() };
        }
    }
    let permanent = sync::permanent_objects(input);
    apply_all(workload, permanent.iter().cloned(), OwnershipPolicy::Always, &mut applied).await?;
    // The source before the Kustomization: kustomize-controller reports a missing source as a failure.
    for seed in seeds_to_apply(workload, input).await? {
        apply_all(workload, [seed].into_iter(), OwnershipPolicy::UntilAdopted(sync::MARKER), &mut applied).await?;
    }
    if applied.changed.iter().any(|object| object.kind == "Secret") {
        request_reconcile(workload, input).await?;
    }
    if reinstall || !applied.changed.is_empty() {
        applied.changed.extend(apply::prune_secrets(&workload.client, NAMESPACE, &permanent, sync::MARKER).await?);
    }
    let observed = observe::observe(&workload.client, input.source.api()).await?;
    if reinstall || !applied.changed.is_empty() {
        lock(&workload.memory).other_source_absent = false;
    }
    applied.changed.extend(delete_other_source(workload, input, &observed).await?);
    if lacks_a_controller(&observed, input) {
        lock(&workload.memory).install = Install::Nothing;
    }
    let adoption_progressed = record_adoption_progress(workload, &observed);
    let now = Timestamp::now();
    let verdict = verdict(&observed, &applied.failed, now);
    let requeue_after =
        if adoption_progressed { Duration::from_secs(1) } else { requeue_after(&verdict, &observed, input, now) };
    let verdict = verdict.with_note(describe_ownership(&observed, input));
    let complete = applied.failed.is_empty();
    let Results { changed, released, .. } = applied;
    let status = roll_up(&observed, &input.components, now);
    Ok(GitOpsOutcome { status: Some(status), complete, verdict, changed, released, requeue_after })
}

/// Requests a reconcile by Flux after a change of credentials, which would otherwise wait for Flux's backoff.
async fn request_reconcile(workload: &Workload, input: &FluxInput) -> Result<(), CallError> {
    let parameters = PatchParams { field_manager: Some(REQUEST_MANAGER.into()), ..PatchParams::default() };
    let patch = json!({"metadata": {"annotations": {REQUESTED_AT: Timestamp::now().to_string()}}});
    for (api_version, kind) in [input.source.api(), sync::KUSTOMIZATION] {
        let request = collection(api_version, kind, Some(NAMESPACE))
            .patch_metadata(NAME, &parameters, &Patch::Merge(&patch))
            .map_err(kube::Error::BuildRequest)?;
        let answer = answer::send(&workload.client, request).await;
        // An object that does not exist or cannot be patched is reconciled at its interval.
        if let Err(error @ CallError::Unreachable(_)) = answer {
            return Err(error);
        }
    }
    Ok(())
}

/// The sync objects. If Git has adopted the root and replaced its source, the original source is not created again.
async fn seeds_to_apply(workload: &Workload, input: &FluxInput) -> Result<Vec<Object>, CallError> {
    let [source, root] = sync::seed_objects(input);
    let is_new = !lock(&workload.memory).objects.contains_key(&source.id);
    if is_new && observe::root(&workload.client).await?.is_some_and(|root| is_source_replaced(&root, &source.id.kind)) {
        return Ok(vec![root]);
    }
    Ok(vec![source, root])
}

/// Whether Git has adopted the root and uses another source than Flux's of that kind.
fn is_source_replaced(root: &FluxObject, kind: &str) -> bool {
    sync::is_adopted(&root.metadata.labels) && !root.is_from(kind)
}

/// Deletes Keelson's source of the other kind, which the spec selected before, once nothing in the cluster refers to
/// it.
async fn delete_other_source(
    workload: &Workload,
    input: &FluxInput,
    observed: &Observation,
) -> Result<Option<ObjectId>, CallError> {
    let other = sync::other_source(input);
    if lock(&workload.memory).other_source_absent || observed.is_referred_to(&other.kind) {
        return Ok(None);
    }
    let deleted = apply::delete_owned(&workload.client, &other, sync::MARKER).await?;
    let mut memory = lock(&workload.memory);
    memory.objects.remove(&other);
    memory.other_source_absent = true;
    Ok(deleted.then_some(other))
}

/// Whether Git has adopted more of the agent since the last install; then the manifests are applied again, to release
/// it.
fn record_adoption_progress(workload: &Workload, observed: &Observation) -> bool {
    let mut memory = lock(&workload.memory);
    let progress = progress(observed, &memory.handover);
    if memory.handover.progress == progress {
        return false;
    }
    memory.handover.progress = progress;
    memory.install = Install::Nothing;
    true
}

fn installing_outcome(wanted: &manifests::Install<'_>, applied: Results, missing: &str) -> GitOpsOutcome {
    let (verdict, requeue_after) = if applied.failed.is_empty() {
        (Verdict::not_ready(Reason::Creating, format!("installing {}: waiting for {missing}", wanted.agent())), 1)
    } else {
        (verdict(&Observation::default(), &applied.failed, Timestamp::now()), 15)
    };
    let Results { changed, released, .. } = applied;
    GitOpsOutcome {
        status: None,
        complete: false,
        verdict,
        changed,
        released,
        requeue_after: Duration::from_secs(requeue_after),
    }
}

/// A deleted controller is restored at once, not only when everything is applied again.
fn lacks_a_controller(observed: &Observation, input: &FluxInput) -> bool {
    input
        .components
        .iter()
        .any(|component| !observed.controllers.iter().any(|found| found.metadata.name == component.as_str()))
}

fn requeue_after(verdict: &Verdict, observed: &Observation, input: &FluxInput, now: Timestamp) -> Duration {
    let since = observed.source.as_ref().and_then(|source| source.metadata.creation_timestamp);
    let age = since.map_or(0, |since| now.duration_since(since).as_secs());
    sync_outcome::requeue_after(verdict, age, input.source.interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::flux::fixture;
    use crate::agents::flux::input::Component;

    #[test]
    fn deleted_controller_is_detected() {
        let controllers = Component::ALL.map(|component| {
            serde_json::from_value(serde_json::json!({"metadata": {"name": component.as_str()}})).unwrap()
        });
        let mut observed = Observation { controllers: controllers.into(), ..Observation::default() };
        assert!(!lacks_a_controller(&observed, &fixture::input()));
        observed.controllers.pop();
        assert!(lacks_a_controller(&observed, &fixture::input()));
    }

    #[test]
    fn requeue_is_short_while_in_progress_and_long_when_ready() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let aged = |seconds: i64| {
            let mut source = FluxObject::default();
            source.metadata.creation_timestamp = Some(now - jiff::SignedDuration::from_secs(seconds));
            Observation { source: Some(source), ..Observation::default() }
        };
        let input = fixture::input();
        let after = |reason, ready, age| {
            requeue_after(&Verdict { ready, reason, message: String::new() }, &aged(age), &input, now).as_secs()
        };
        assert_eq!(after(Reason::WaitingForSync, false, 10), 1);
        assert_eq!(after(Reason::WaitingForSync, false, 60), 2);
        assert_eq!(after(Reason::WaitingForSync, false, 1000), 5);
        assert_eq!(after(Reason::SyncFailed, false, 10), 15);
        assert_eq!(after(Reason::Available, true, 10), 60);
    }

    #[test]
    fn requeue_follows_a_short_source_interval() {
        let mut input = fixture::input();
        input.source.interval = Duration::from_secs(15);
        let ready = Verdict { ready: true, reason: Reason::Available, message: String::new() };
        assert_eq!(requeue_after(&ready, &Observation::default(), &input, Timestamp::now()).as_secs(), 15);
    }
}
