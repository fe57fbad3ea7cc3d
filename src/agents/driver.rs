//! One reconcile of one cluster, the same for every agent: installs what is missing, points the agent at its source,
//! leaves to Git what Git has adopted, reads the state, and returns when to requeue.
//!
//! Not allowed here: which agent; waiting: the caller requeues. I/O: by `apply` and the agent.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::agent::Driven;
use super::apply::{self, OwnershipPolicy, Results, apply_all};
use super::gitops_condition::{Verdict, rejected};
use super::host_network;
use super::install::{Manifests, install};
use super::other_installation;
use super::sync_outcome::{GitOpsOutcome, requeue_after};
use crate::api::conditions::Reason;
use crate::workload::client::Workload;
use crate::workload::error::CallError;
use crate::workload::memory::{Install, PodNetwork};

/// Reconciles the agent with `input` and reads its state.
pub async fn reconcile<I: Driven>(workload: &Workload, input: &I) -> Result<GitOpsOutcome, CallError> {
    let mut own = input.clone();
    let brings_cni = input.may_use_host_network().is_some();
    choose_network(workload, &mut own).await?;
    let input = &own;
    let mut applied = Results::default();
    let key = input.install_key();
    let reinstall = !workload.memory.lock().is_installed(key, Instant::now());
    if reinstall {
        if let Some(other) = other_installation::find(workload, input.agent(), I::MARKER).await?
            && !other.yields(input.takes_over(), input.pod_namespace())
        {
            return Ok(left_alone(other.verdict(input.agent(), input.pod_namespace())));
        }
        if let Some(wanted) = input.desired_install(workload).await? {
            if let Some(missing) = install(workload, &*wanted, &mut applied).await? {
                return Ok(installing_outcome(&*wanted, applied, &missing));
            }
        } else {
            workload.memory.lock().install = Install::Done { key, at: Instant::now() };
        }
    }
    let permanent = input.permanent_objects();
    apply_all(workload, permanent.iter().cloned(), OwnershipPolicy::Always, &mut applied).await?;
    for seed in input.seed_objects(workload).await? {
        apply_all(workload, [seed].into_iter(), OwnershipPolicy::UntilAdopted(I::MARKER), &mut applied).await?;
    }
    if applied.changed.iter().any(|object| object.kind == "Secret") {
        input.request_sync(workload).await?;
    }
    if reinstall || !applied.changed.is_empty() {
        let pruned = apply::prune_secrets(&workload.client, input.pod_namespace(), &permanent, I::MARKER).await?;
        applied.changed.extend(pruned);
    }
    let observed = input.observe(&workload.client).await?;
    let is_changed = reinstall || !applied.changed.is_empty();
    applied.changed.extend(input.delete_replaced(workload, &observed, is_changed).await?);
    let lacks_a_component = input.lacks_a_component(&observed);
    if lacks_a_component {
        workload.memory.lock().install = Install::Nothing;
    }
    let adoption_progressed = record_adoption_progress(workload, input, &observed);
    let now = Timestamp::now();
    let verdict = rejected(&applied.failed).unwrap_or_else(|| input.verdict(&observed, now));
    let age = input.since(&observed).map_or(0, |since| now.duration_since(since).as_secs());
    // What was deleted is created again at once, unless this pass has just tried.
    let is_repair_due = lacks_a_component && !reinstall;
    let requeue_after = if adoption_progressed || is_repair_due {
        Duration::from_secs(1)
    } else {
        requeue_after(&verdict, age, input.interval())
    };
    let is_on_host = input.may_use_host_network().is_some();
    let (poll, until) = host_network::POLL;
    let requeue_after = if is_on_host && age < until { requeue_after.min(poll) } else { requeue_after };
    let verdict = verdict.with_note(input.note(&observed));
    let network = if is_on_host {
        Some(host_network::NOTE.to_owned())
    } else if brings_cni && !verdict.ready {
        host_network::stuck_note(workload).await?
    } else {
        None
    };
    let verdict = verdict.with_note(network);
    let complete = applied.failed.is_empty();
    let Results { changed, released, .. } = applied;
    let status = input.roll_up(&observed, now);
    Ok(GitOpsOutcome { status: Some(status), complete, verdict, changed, released, requeue_after })
}

/// Takes the agent from the host network once it needs that no longer, for ever, and its components in order.
async fn choose_network<I: Driven>(workload: &Workload, input: &mut I) -> Result<(), CallError> {
    let Some(component) = input.may_use_host_network() else { return Ok(()) };
    if workload.memory.lock().pod_network != PodNetwork::Used {
        let leaves = !host_network::is_needed(workload, &component).await?;
        if input.hold_back(workload, leaves).await? || !leaves {
            return Ok(());
        }
        workload.memory.lock().pod_network = PodNetwork::Used;
    }
    input.set_host_network(None);
    Ok(())
}

/// Whether Git has adopted more of the agent since the last install; then the manifests are applied again, to release
/// it.
fn record_adoption_progress<I: Driven>(workload: &Workload, input: &I, observed: &I::Observation) -> bool {
    let mut memory = workload.memory.lock();
    let progress = input.adoption_progress(observed, &memory.handover);
    if memory.handover.progress == progress {
        return false;
    }
    memory.handover.progress = progress;
    memory.install = Install::Nothing;
    true
}

/// Nothing is applied beside an installation of somebody else.
fn left_alone(verdict: Verdict) -> GitOpsOutcome {
    GitOpsOutcome {
        status: None,
        complete: false,
        verdict,
        changed: Vec::new(),
        released: Vec::new(),
        requeue_after: Duration::from_secs(60),
    }
}

fn installing_outcome(wanted: &dyn Manifests, applied: Results, missing: &str) -> GitOpsOutcome {
    let (verdict, requeue_after) = match rejected(&applied.failed) {
        None => {
            (Verdict::not_ready(Reason::Creating, format!("installing {}: waiting for {missing}", wanted.agent())), 1)
        }
        Some(rejected) => (rejected, 15),
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

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
