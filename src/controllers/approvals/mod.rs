//! PlanApprovals: watches them, offers them to the objects they name, and reports the result in their status. An event
//! on the object names the approver. I/O: the management cluster's API.

mod approval_state;
mod author;
pub mod change_policy;
pub mod store;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt};

use approval_state::{ApprovalTarget, NamedObject, Verdict, verdict};
pub use author::{ApprovedBy, describe_author, read_authors};
use store::target_of;

use super::context::Context;
use super::runtime::apply::{self, Kind, MANAGER};
use super::runtime::kind_watch::{Change, DependentView, digest, watch_kind};
use super::runtime::reconcile_queue::Trigger;
use crate::api::plan_approval::PlanApprovalStatus;
use crate::api::status_cluster::{DeletionStatus, PlanStatus};
use crate::api::{APPROVE_ANNOTATION, EksCluster, NodeGroup, PlanApproval, Reason};
use crate::aws::WriteGate;

/// How often undecided approvals are evaluated. In memory: status is written only when one is decided.
const DECISION_INTERVAL: Duration = Duration::from_secs(1);

/// The approval that is accepted in `now` and was not in `before`.
pub fn newly_accepted<'a>(before: Option<&PlanStatus>, now: &'a PlanStatus) -> Option<ApprovedBy<'a>> {
    let changed = |of: fn(&PlanStatus) -> Option<&str>, now: &'a PlanStatus| {
        of(now).filter(|text| before.and_then(of) != Some(*text))
    };
    let object = changed(|plan| plan.approval_uid.as_deref(), now).map(ApprovedBy::Object);
    let annotation = changed(|plan| plan.approval.as_deref(), now).map(|_| ApprovedBy::Annotation(APPROVE_ANNOTATION));
    object.or(annotation)
}

/// Watches the approvals until the term ends.
pub async fn watch_approvals(ctx: Arc<Context>) {
    let watch_ctx = ctx.clone();
    let decided = |approval: &PlanApproval| approval.status.as_ref().is_some_and(|status| status.state.is_some());
    let view =
        move |approval: &PlanApproval| DependentView { digest: digest(decided(approval)), part_of: String::new() };
    let (store, watching) = watch_kind(Api::all(ctx.client.clone()), view, move |change| match change {
        Change::SpecChanged(approval) | Change::DependentsAffected(approval) => enqueue_target(&watch_ctx, approval),
        // An unreadable one approves nothing.
        Change::Unreadable(_) | Change::Deleted { .. } => {}
    });
    ctx.approvals.set(store.clone());
    tokio::select! {
        () = watching => {}
        () = decide_all(&ctx, &store) => {}
    }
}

/// Requests a reconcile of the object that the approval names.
fn enqueue_target(ctx: &Context, approval: &PlanApproval) {
    let namespace = approval.namespace().unwrap_or_default();
    match target_of(approval) {
        Some((EksCluster::NAME, name)) => {
            ctx.queues.clusters.push(ObjectRef::new(name).within(&namespace), Trigger::Approval)
        }
        Some((_, name)) => ctx.queues.node_groups.push(ObjectRef::new(name).within(&namespace), Trigger::Approval),
        None => {}
    }
}

async fn decide_all(ctx: &Context, store: &Store<PlanApproval>) {
    let mut written: HashSet<String> = HashSet::new();
    loop {
        tokio::time::sleep(DECISION_INTERVAL).await;
        if !ctx.all_listed.is_cancelled() {
            // An object that is not listed yet is not missing.
            continue;
        }
        let (all, now) = (store.state(), Timestamp::now());
        written.retain(|uid| all.iter().any(|one| one.uid().as_ref() == Some(uid)));
        for approval in all {
            let uid = approval.uid().unwrap_or_default();
            let decided = approval.status.as_ref().is_some_and(|status| status.state.is_some());
            if decided || written.contains(&uid) || !ctx.gate.may_write() {
                continue;
            }
            let Some(named) = named_object(ctx, &approval) else { continue };
            let Some(verdict) = verdict(&approval, &named, now) else { continue };
            let status = status(&approval, verdict, now);
            let write = apply::patch_status(&ctx.client, &*approval, MANAGER, &*ctx.gate, &status);
            match tokio::time::timeout(author::TIMEOUT, write).await {
                Ok(Ok(_)) => drop(written.insert(uid)),
                Ok(Err(error)) => {
                    let (name, error) = (approval.name_any(), apply::describe_error(&error));
                    tracing::warn!(name, error, "failed to write the status of a PlanApproval; Keelson will retry");
                }
                Err(_) => tracing::warn!(
                    "the API server does not answer: the status of a PlanApproval was not written; Keelson will retry"
                ),
            }
        }
    }
}

fn status(approval: &PlanApproval, verdict: Verdict, now: Timestamp) -> PlanApprovalStatus {
    let Verdict { state, message, object_uid } = verdict;
    PlanApprovalStatus {
        observed_generation: approval.metadata.generation,
        state: Some(state),
        message: Some(message),
        object_uid,
        decided_at: Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now))),
    }
}

/// The object that an approval names, with its state; `None`: the approval names none.
fn named_object(ctx: &Context, approval: &PlanApproval) -> Option<NamedObject> {
    let namespace = approval.namespace()?;
    let (kind, name) = target_of(approval)?;
    let missing = |unreadable: Option<String>| match unreadable {
        Some(_) => NamedObject::Unreadable,
        None => NamedObject::Missing(format!("{kind} {name}")),
    };
    if kind == EksCluster::NAME {
        let Some(cluster) = ctx.cluster(&namespace, name) else {
            return Some(missing(ctx.unreadable.reason::<EksCluster>(Some(&namespace), name)));
        };
        let status = cluster.status.clone().unwrap_or_default();
        let (observed, conditions) = (status.observed_generation, &status.conditions);
        let target = target_from_status(&cluster.metadata, observed, conditions, status.plan, status.deletion);
        return Some(NamedObject::Found(target));
    }
    let Some(group) = ctx.node_groups.get(&ObjectRef::new(name).within(&namespace)) else {
        return Some(missing(ctx.unreadable.reason::<NodeGroup>(Some(&namespace), name)));
    };
    let status = group.status.clone().unwrap_or_default();
    let (observed, conditions) = (status.observed_generation, &status.conditions);
    let target =
        target_from_status(&group.metadata, observed, conditions, status.plan, status.deletion.map(Into::into));
    Some(NamedObject::Found(target))
}

fn target_from_status(
    meta: &ObjectMeta,
    observed: Option<i64>,
    conditions: &[Condition],
    plan: Option<PlanStatus>,
    deletion: Option<DeletionStatus>,
) -> ApprovalTarget {
    let (plan, deletion) = (plan.unwrap_or_default(), deletion.unwrap_or_default());
    let is_waiting = conditions.iter().any(|one| one.reason == Reason::WaitingForApproval.as_str());
    let token = deletion.release.filter(|_| deletion.began.is_none()).unwrap_or_else(|| plan.hash.clone());
    ApprovalTarget {
        uid: meta.uid.clone().unwrap_or_default(),
        current: observed == meta.generation && plan.generation == meta.generation,
        waits_for: is_waiting.then(|| token.clone()),
        hash: token,
        accepted: plan.approval_uid.into_iter().chain(deletion.approval_uid).collect(),
    }
}
pub mod execution_policy;
