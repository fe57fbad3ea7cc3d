//! One pass over Argo CD in one cluster: apply what is missing, read how it fares, say when to look again.
//!
//! May not enter: waiting. What takes time is looked at again. I/O: by `apply` and `observe`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::input::ArgoCdInput;
use super::manifests::{self, COMPONENTS, key};
use super::observe::{self, Application, Component, Observation};
use super::status::roll_up;
use super::sync;
use super::verdict::verdict;
use crate::api::conditions::Reason;
use crate::gitops::apply::{self, OwnershipPolicy, Results, each};
use crate::gitops::error::CallError;
use crate::gitops::install::{Manifests as _, install};
use crate::gitops::memory::{Handover, Install};
use crate::gitops::sync_outcome::{self, GitOpsOutcome};
use crate::gitops::verdict::Verdict;
use crate::gitops::workload::{Workload, locked};

/// Brings Argo CD to what `input` says and reads how it fares.
pub async fn reconcile(workload: &Workload, input: &ArgoCdInput) -> Result<GitOpsOutcome, CallError> {
    let mut applied = Results::default();
    let everything = !locked(&workload.memory).installed(key(input), Instant::now());
    if everything {
        let of_git = observe::components(&workload.client, &input.namespace).await?.iter().any(is_adopted);
        if of_git || input.installs {
            let wanted = manifests::Install { input, of_git };
            if let Some(missing) = install(workload, &wanted, &mut applied).await? {
                return Ok(installing(&wanted, applied, &missing));
            }
        } else {
            // It waits for its upgrade, at a version that is not built in.
            locked(&workload.memory).install = Install::Done { key: key(input), at: Instant::now() };
        }
    }
    let ours = sync::ours(input);
    each(workload, ours.iter().cloned(), OwnershipPolicy::ForGood, &mut applied).await?;
    // The project before what belongs to it: without it the Application is called invalid.
    for seed in sync::seeds(input) {
        each(workload, [seed].into_iter(), OwnershipPolicy::UntilAdopted(sync::SIGN), &mut applied).await?;
    }
    if everything || !applied.changed.is_empty() {
        applied.changed.extend(apply::prune_secrets(&workload.client, &input.namespace, &ours, sync::SIGN).await?);
    }
    let seen = observe::observe(&workload.client, &input.namespace).await?;
    if lacks_a_component(&seen) {
        locked(&workload.memory).install = Install::Nothing;
    }
    let adopts = adopts_more(workload, &seen);
    let verdict = verdict(&seen, &input.namespace, &applied.failed);
    let now = Timestamp::now();
    let requeue_after = if adopts { Duration::from_secs(1) } else { requeue_after(&verdict, &seen, input, now) };
    let complete = applied.failed.is_empty();
    let Results { changed, released, .. } = applied;
    Ok(GitOpsOutcome { status: Some(roll_up(&seen, now)), complete, verdict, changed, released, requeue_after })
}

/// Whether Git has adopted more of Argo CD since the manifests were looked at; then they are looked at again, to let go of it.
fn adopts_more(workload: &Workload, seen: &Observation) -> bool {
    let mut memory = locked(&workload.memory);
    let progress = progress(seen, &memory.handover);
    if memory.handover.seen == progress {
        return false;
    }
    memory.handover.seen = progress;
    memory.install = Install::Nothing;
    true
}

fn is_adopted(part: &Component) -> bool {
    sync::adopted(&part.metadata.labels, &part.metadata.annotations)
}

/// How far Git is with it: while it is not complete, each revision may bring more.
fn progress(seen: &Observation, before: &Handover) -> u64 {
    if !seen.components.iter().any(is_adopted) {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    for part in &seen.components {
        (&part.metadata.name, is_adopted(part)).hash(&mut hasher);
    }
    if !before.complete {
        seen.root().and_then(Application::applied).hash(&mut hasher);
    }
    hasher.finish().max(1)
}

fn installing(wanted: &manifests::Install<'_>, applied: Results, missing: &str) -> GitOpsOutcome {
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

/// A part that someone deleted is put back now, not when everything is applied again anyway.
fn lacks_a_component(seen: &Observation) -> bool {
    COMPONENTS.iter().any(|name| !seen.components.iter().any(|part| part.metadata.name == *name))
}

fn requeue_after(verdict: &Verdict, seen: &Observation, input: &ArgoCdInput, now: Timestamp) -> Duration {
    let since = seen.root().and_then(|root| root.metadata.creation_timestamp);
    let age = since.map_or(0, |since| now.duration_since(since).as_secs());
    sync_outcome::requeue_after(verdict, age, input.repository.interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::gitops::argocd::fixture::{component, root};

    #[test]
    fn each_part_that_git_adopts_is_a_reason_to_let_go_and_each_revision_until_all_is_let_go_of() {
        let mut seen =
            Observation { components: COMPONENTS.map(|name| component(name, 1)).into(), ..Observation::default() };
        let (begun, complete) = (Handover::default(), Handover { complete: true, ..Handover::default() });
        assert_eq!(progress(&seen, &begun), 0);
        let tracked = ("argocd.argoproj.io/tracking-id".to_owned(), "keelson:apps/Deployment:argocd/x".to_owned());
        seen.components[0].metadata.annotations.extend([tracked.clone()]);
        let first = progress(&seen, &begun);
        seen.components[1].metadata.annotations.extend([tracked]);
        assert_ne!(progress(&seen, &begun), first);
        let at = |revision: &str| root(&json!({"sync": {"status": "Synced", "revision": revision}}));
        let with = |revision| Observation { applications: vec![at(revision)], components: seen.components.clone() };
        assert_ne!(progress(&with("a"), &begun), progress(&with("b"), &begun));
        assert_eq!(progress(&with("a"), &complete), progress(&with("b"), &complete));
    }

    #[test]
    fn a_deleted_part_is_missed() {
        let mut seen =
            Observation { components: COMPONENTS.map(|name| component(name, 1)).into(), ..Observation::default() };
        assert!(!lacks_a_component(&seen));
        seen.components.pop();
        assert!(lacks_a_component(&seen));
    }
}
