//! One reconcile of Argo CD in one cluster: applies what is missing, reads the state, and returns when to requeue.
//!
//! Not allowed here: waiting; the caller requeues. I/O: by `apply` and `observe`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::input::ArgoCdInput;
use super::manifests::{self, COMPONENTS, key};
use super::observe::{self, Application, Component, Observation};
use super::status::roll_up;
use super::sync;
use super::verdict::verdict;
use crate::agents::apply::{self, OwnershipPolicy, Results, apply_all};
use crate::agents::install::{Manifests as _, install};
use crate::agents::sync_outcome::{self, GitOpsOutcome};
use crate::agents::verdict::Verdict;
use crate::api::conditions::Reason;
use crate::workload::client::{Workload, lock};
use crate::workload::error::CallError;
use crate::workload::memory::{Handover, Install};

/// Reconciles Argo CD with `input` and reads its state.
pub async fn reconcile(workload: &Workload, input: &ArgoCdInput) -> Result<GitOpsOutcome, CallError> {
    let mut applied = Results::default();
    let reinstall = !lock(&workload.memory).is_installed(key(input), Instant::now());
    if reinstall {
        let adopted_by_git = observe::components(&workload.client, &input.namespace).await?.iter().any(is_adopted);
        if adopted_by_git || input.installs {
            let wanted = manifests::Install { input, adopted_by_git };
            if let Some(missing) = install(workload, &wanted, &mut applied).await? {
                return Ok(installing_outcome(&wanted, applied, &missing));
            }
        } else {
            // The installed version is not built in, and the upgrade has to wait.
            lock(&workload.memory).install = Install::Done { key: key(input), at: Instant::now() };
        }
    }
    let permanent = sync::permanent_objects(input);
    apply_all(workload, permanent.iter().cloned(), OwnershipPolicy::Always, &mut applied).await?;
    // The project before the Application, which is invalid without it.
    for seed in sync::seed_objects(input) {
        apply_all(workload, [seed].into_iter(), OwnershipPolicy::UntilAdopted(sync::MARKER), &mut applied).await?;
    }
    if reinstall || !applied.changed.is_empty() {
        applied
            .changed
            .extend(apply::prune_secrets(&workload.client, &input.namespace, &permanent, sync::MARKER).await?);
    }
    let observed = observe::observe(&workload.client, &input.namespace).await?;
    if lacks_a_component(&observed) {
        lock(&workload.memory).install = Install::Nothing;
    }
    let adoption_progressed = record_adoption_progress(workload, &observed);
    let verdict = verdict(&observed, &input.namespace, &applied.failed);
    let now = Timestamp::now();
    let requeue_after =
        if adoption_progressed { Duration::from_secs(1) } else { requeue_after(&verdict, &observed, input, now) };
    let complete = applied.failed.is_empty();
    let Results { changed, released, .. } = applied;
    Ok(GitOpsOutcome { status: Some(roll_up(&observed, now)), complete, verdict, changed, released, requeue_after })
}

/// Whether Git has adopted more of Argo CD since the last install; then the manifests are applied again, to release it.
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

fn is_adopted(part: &Component) -> bool {
    sync::is_tracked(&part.metadata.labels, &part.metadata.annotations)
}

/// Hash of what Git has adopted. Until the adoption is complete it includes the revision, since each may adopt more.
fn progress(observed: &Observation, before: &Handover) -> u64 {
    if !observed.components.iter().any(is_adopted) {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    for part in &observed.components {
        (&part.metadata.name, is_adopted(part)).hash(&mut hasher);
    }
    if !before.complete {
        observed.root().and_then(Application::applied_revision).hash(&mut hasher);
    }
    hasher.finish().max(1)
}

fn installing_outcome(wanted: &manifests::Install<'_>, applied: Results, missing: &str) -> GitOpsOutcome {
    let (verdict, requeue_after) = if applied.failed.is_empty() {
        (Verdict::not_ready(Reason::Creating, format!("installing {}: waiting for {missing}", wanted.agent())), 1)
    } else {
        (verdict(&Observation::default(), &wanted.input.namespace, &applied.failed), 15)
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

/// A deleted component is restored at once, not only when everything is applied again.
fn lacks_a_component(observed: &Observation) -> bool {
    COMPONENTS.iter().any(|name| !observed.components.iter().any(|part| part.metadata.name == *name))
}

fn requeue_after(verdict: &Verdict, observed: &Observation, input: &ArgoCdInput, now: Timestamp) -> Duration {
    let since = observed.root().and_then(|root| root.metadata.creation_timestamp);
    let age = since.map_or(0, |since| now.duration_since(since).as_secs());
    sync_outcome::requeue_after(verdict, age, input.repository.interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::agents::argocd::fixture::{component, root};

    #[test]
    fn adoption_progress_changes_with_each_adopted_component_and_revision_until_complete() {
        let mut observed =
            Observation { components: COMPONENTS.map(|name| component(name, 1)).into(), ..Observation::default() };
        let (incomplete, complete) = (Handover::default(), Handover { complete: true, ..Handover::default() });
        assert_eq!(progress(&observed, &incomplete), 0);
        let tracked = ("argocd.argoproj.io/tracking-id".to_owned(), "keelson:apps/Deployment:argocd/x".to_owned());
        observed.components[0].metadata.annotations.extend([tracked.clone()]);
        let first = progress(&observed, &incomplete);
        observed.components[1].metadata.annotations.extend([tracked]);
        assert_ne!(progress(&observed, &incomplete), first);
        let at = |revision: &str| root(&json!({"sync": {"status": "Synced", "revision": revision}}));
        let with = |revision| Observation { applications: vec![at(revision)], components: observed.components.clone() };
        assert_ne!(progress(&with("a"), &incomplete), progress(&with("b"), &incomplete));
        assert_eq!(progress(&with("a"), &complete), progress(&with("b"), &complete));
    }

    #[test]
    fn deleted_component_is_detected() {
        let mut observed =
            Observation { components: COMPONENTS.map(|name| component(name, 1)).into(), ..Observation::default() };
        assert!(!lacks_a_component(&observed));
        observed.components.pop();
        assert!(lacks_a_component(&observed));
    }
}
