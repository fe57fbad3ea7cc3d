//! FleetRollouts: watches them, and advances them by the state of all clusters. The leader is the only writer of their
//! status, with the resourceVersion that it has read: a former leader cannot give tickets that a new one gave already.
//! I/O: the management cluster's API.

mod checks;
#[cfg(test)]
mod cost_tests;
pub mod member;
mod promoted;
mod rollout_conditions;
pub mod store;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt};
use tokio::sync::Notify;

use super::approvals::{ApprovedBy, describe_author, read_authors};
use super::context::Context;
use super::runtime::apply::{self, MANAGER};
use super::runtime::event_publisher::EventMessage;
use super::runtime::kind_watch::{Change, DependentView, digest, watch_mirrored_kind};
use super::runtime::mirror::{Mirror, WatchTap};
use super::runtime::reconcile_queue::Trigger;
use super::states::LastWrite;
use crate::api::conditions::ConditionType;
use crate::api::fleet_rollout_status::{FleetRolloutStatus, ReleaseStatus};
use crate::api::status_cluster::UpgradeStatus;
use crate::api::{APPROVE_ANNOTATION, EksCluster, FleetRollout, PROMOTE_ANNOTATION, RETRY_ANNOTATION, Reason};
use crate::aws::WriteGate as _;
use crate::rollout::{Annotations, Input, Member, RolloutEvent, SourcePlan, advance};
use crate::telemetry::rollouts::{self, RolloutState};
use checks::CheckRuns;
use store::Snapshot;

/// How often rollouts are advanced, in memory: status is written only when something changes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Pause after a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// Watches and advances the FleetRollouts until the term ends. `mirror` shows what is read.
pub async fn run(ctx: Arc<Context>, mirror: Option<Arc<dyn Mirror>>) {
    let changed = Arc::new(Notify::new());
    let (watch_ctx, notify) = (ctx.clone(), changed.clone());
    // Clusters that wait see the status, too.
    let view = |rollout: &FleetRollout| {
        let releases = rollout.status.iter().flat_map(|status| &status.releases).map(seen_by_clusters);
        DependentView { digest: digest(releases.collect::<Vec<_>>()), part_of: String::new() }
    };
    let on_change = move |change: Change<'_, FleetRollout>| {
        let only_asking = matches!(change, Change::DependentsAffected(_));
        match change {
            Change::SpecChanged(rollout) => watch_ctx.unreadable.clear::<FleetRollout>(None, &rollout.name_any()),
            Change::DependentsAffected(_) => {}
            Change::Unreadable(object) => watch_ctx.unreadable.record::<FleetRollout>(object),
            Change::Deleted { object, .. } => watch_ctx.unreadable.clear::<FleetRollout>(None, &object.name),
        }
        enqueue_waiting_clusters(&watch_ctx, only_asking);
        notify.notify_one();
    };
    let tap = mirror.map(|mirror| WatchTap::new(move |reading| mirror.on_rollout(reading)));
    let (store, watching) = watch_mirrored_kind(Api::all(ctx.client.clone()), view, on_change, tap);
    ctx.rollouts.set(store.clone());
    tokio::select! {
        () = watching => {}
        () = advance_all(&ctx, &store, &changed) => {}
    }
}

/// What a waiting cluster sees of a release. Messages, which change as clusters proceed, are no part of it: each change would
/// reach all that wait.
fn seen_by_clusters(release: &ReleaseStatus) -> String {
    let waves: Vec<_> = release
        .waves
        .iter()
        .map(|wave| (&wave.name, wave.state, &wave.approval_hash, wave.members, wave.in_progress))
        .collect();
    let parts = (&release.gate, &release.target, &release.wave, &release.halt, &release.tickets, waves);
    serde_json::to_string(&parts).unwrap_or_default()
}

/// Requests reconciles of the clusters that a rollout may hold. `only_asking`: of those that ask for a ticket, or that it holds.
fn enqueue_waiting_clusters(ctx: &Context, only_asking: bool) {
    let waits = |cluster: &EksCluster| {
        let Some(status) = &cluster.status else { return false };
        let asks = |upgrade: &UpgradeStatus| {
            let requests = [&upgrade.wave, &upgrade.agent_wave, &upgrade.revision_wave];
            requests.into_iter().flatten().any(|request| request.asks.is_some())
        };
        let asks = status.upgrade.as_ref().is_some_and(asks);
        // One with a ticket, whose hooks have not passed, may be held too.
        let ready = crate::api::conditions::get(&status.conditions, ConditionType::Ready);
        let holds = [Reason::WaitingForWave, Reason::WaveHalted];
        let is_held = ready.is_some_and(|ready| holds.iter().any(|reason| ready.reason == reason.as_str()));
        asks || is_held || !only_asking && !crate::api::conditions::is_true(&status.conditions, ConditionType::Ready)
    };
    for cluster in ctx.clusters.state_filter(waits) {
        ctx.queues.clusters.push(ObjectRef::from_obj(&*cluster), Trigger::Dependency);
    }
}

/// Requests reconciles of the clusters whose sources a rollout may hold.
fn enqueue_clusters_with_sources(ctx: &Context) {
    for cluster in ctx.clusters.state_filter(|cluster| cluster.spec.gitops.is_some()) {
        ctx.queues.clusters.push(ObjectRef::from_obj(&*cluster), Trigger::Dependency);
    }
}

/// What is remembered of a rollout.
#[derive(Default)]
struct Written {
    last: LastWrite,
    retry_at: Option<Instant>,
}

async fn advance_all(ctx: &Context, store: &Store<FleetRollout>, changed: &Notify) {
    if store.wait_until_ready().await.is_err() {
        return;
    }
    ctx.rollouts.set_listed();
    enqueue_waiting_clusters(ctx, false);
    let mut written: HashMap<String, Written> = HashMap::new();
    let mut checks = CheckRuns::default();
    loop {
        let _ = tokio::time::timeout(INTERVAL, changed.notified()).await;
        // A cluster that is not listed yet is not gone.
        if !ctx.all_listed.is_cancelled() || !ctx.gate.may_write() {
            continue;
        }
        let snapshot = ctx.rollouts.snapshot(&ctx.unreadable);
        let exists = |uid: &str| snapshot.readable.iter().any(|rollout| rollout.metadata.uid.as_deref() == Some(uid));
        written.retain(|uid, _| exists(uid));
        checks.collect();
        checks.retain(exists);
        rollouts::set(snapshot.readable.iter().map(|rollout| state(rollout)));
        if snapshot.readable.is_empty() {
            ctx.rollouts.set_plans(HashMap::new());
            continue;
        }
        let members = member::members(&ctx.clusters.state(), ctx.node_groups.state());
        let known = ctx.rollouts.plans();
        let mut plans = HashMap::new();
        for rollout in &snapshot.readable {
            let written = written.entry(rollout.uid().unwrap_or_default()).or_default();
            let plan = advance_one(ctx, rollout, &snapshot, &members, written, &mut checks).await;
            let name = rollout.name_any();
            if let Some(plan) = plan.or_else(|| known.get(&name).cloned()) {
                plans.insert(name, plan);
            }
        }
        if ctx.rollouts.set_plans(plans) {
            enqueue_clusters_with_sources(ctx);
        }
    }
}

async fn advance_one(
    ctx: &Context,
    rollout: &FleetRollout,
    snapshot: &Snapshot,
    members: &[Member],
    written: &mut Written,
    checks: &mut CheckRuns,
) -> Option<Vec<SourcePlan>> {
    let is_current = written.last.is_in(rollout.metadata.resource_version.as_deref());
    if !is_current || written.retry_at.is_some_and(|at| at > Instant::now()) {
        return None;
    }
    let nothing = FleetRolloutStatus::default();
    let before = rollout.status.as_ref().unwrap_or(&nothing);
    let tickets = before.releases.iter().flat_map(|release| &release.tickets);
    let unreadable: BTreeSet<String> =
        tickets.filter(|ticket| ctx.unreadable.has_cluster(&ticket.uid)).map(|ticket| ticket.uid.clone()).collect();
    let annotation = |key: &str| rollout.annotations().get(key).map(String::as_str);
    let now = Timestamp::now();
    let results = checks.results(rollout.metadata.uid.as_deref().unwrap_or_default());
    let mut outcome = advance(&Input {
        name: rollout.metadata.name.as_deref().unwrap_or_default(),
        spec: &rollout.spec,
        status: before,
        annotations: Annotations {
            approve: annotation(APPROVE_ANNOTATION),
            retry: annotation(RETRY_ANNOTATION),
            promote: annotation(PROMOTE_ANNOTATION),
        },
        rollouts: &snapshot.rollouts(),
        clusters: members,
        unreadable: &unreadable,
        results: &results,
        now,
    });
    checks.begin(ctx, rollout, std::mem::take(&mut outcome.due));
    if promoted::is_in(&outcome.events) {
        let authors = read_authors(ctx, rollout, &[PROMOTE_ANNOTATION.to_owned()]).await;
        promoted::record_author(before, &mut outcome.status, authors.get(PROMOTE_ANNOTATION).map(String::as_str));
    }
    let generation = rollout.metadata.generation;
    let conditions = rollout_conditions::conditions(&outcome.status, generation, outcome.problem.as_deref(), now);
    let status = FleetRolloutStatus { observed_generation: generation, conditions, ..outcome.status };
    if status == *before {
        return outcome.plans;
    }
    match apply::patch_unchanged_status(&ctx.client, rollout, MANAGER, &*ctx.gate, &status).await {
        Ok(version) => {
            written.last.record(version);
            publish(ctx, rollout, outcome.events).await;
        }
        // It changed since: the watch delivers it.
        Err(kube::Error::Api(response)) if matches!(response.code, 404 | 409) => {}
        Err(error) => {
            written.retry_at = Some(Instant::now() + RETRY);
            let (name, error) = (rollout.name_any(), apply::describe_error(&error));
            tracing::warn!(name, error, "failed to write the status of a FleetRollout; Keelson will retry");
        }
    }
    outcome.plans
}

async fn publish(ctx: &Context, rollout: &FleetRollout, events: Vec<RolloutEvent>) {
    let mut messages = Vec::new();
    for RolloutEvent { warning, reason, note, annotation } in events {
        let note = match annotation {
            Some(key) => {
                let by = describe_author(ctx, rollout, ApprovedBy::Annotation(key)).await;
                format!("{note}, by {by}")
            }
            None => note,
        };
        tracing::info!(rollout = rollout.name_any(), reason, note, "a rollout changed");
        messages.push(EventMessage { warning, ..EventMessage::normal(reason, note) });
    }
    ctx.events.publish(rollout, messages);
}

/// For metrics.
fn state(rollout: &FleetRollout) -> RolloutState {
    let releases = rollout.status.iter().flat_map(|status| &status.releases);
    RolloutState {
        name: rollout.name_any(),
        members: rollout.status.as_ref().map_or(0, |status| i64::from(status.members)),
        releases: releases
            .map(|release| rollouts::ReleaseState {
                gate: release.gate.as_str(),
                target: release.target.clone(),
                state: release.state.as_str(),
                tickets: i64::try_from(release.tickets.len()).unwrap_or(i64::MAX),
                at_target: release.waves.iter().map(|wave| i64::from(wave.at_target)).sum(),
                failed: release.waves.iter().map(|wave| i64::from(wave.failed)).sum(),
            })
            .collect(),
    }
}
