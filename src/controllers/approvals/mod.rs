//! PlanApprovals: they are watched, offered to the objects that they name, and told what became of them. Who approved is told in
//! an event. I/O: the management cluster's API.

mod author;
pub mod policy;
mod verdict;

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt};

pub use author::{ApprovedBy, author};
use verdict::{ApprovalTarget, Verdict, is_open, verdict};

use super::apply::{self, Kind, MANAGER};
use super::context::Context;
use super::execution_policy::ApprovalObject;
use super::watch::{Change, DependentView, digest, watched};
use crate::api::plan_approval::PlanApprovalStatus;
use crate::api::status::{DeletionStatus, PlanStatus};
use crate::api::{APPROVE_ANNOTATION, EksCluster, NodeGroup, PlanApproval, Reason};
use crate::aws::WriteGate;

/// How often approvals that are not decided are looked at. In memory: a write follows only where one is decided.
const DECIDED_EVERY: Duration = Duration::from_secs(1);
/// An API server that does not answer must not hold up the other approvals for long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The approvals, as the API server last told.
#[derive(Default)]
pub struct Offered(OnceLock<Store<PlanApproval>>);

impl Offered {
    /// Those of one object that are open. `taken`: the one that was taken up last: until that is marked as used, no other is, so
    /// that each counts once whatever gets lost in between.
    pub fn of<K: Kind>(&self, object: &K, taken: Option<&str>, now: Timestamp) -> Vec<ApprovalObject> {
        let Some(store) = self.0.get() else { return Vec::new() };
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let mut found: Vec<_> = store
            .state()
            .into_iter()
            .filter(|one| one.namespace().as_ref() == Some(&namespace) && names(one) == Some((K::NAME, &name)))
            .filter(|one| is_open(one, now))
            .filter_map(|one| Some(ApprovalObject { uid: one.uid()?, hash: one.spec.hash.clone() }))
            .collect();
        if found.iter().any(|one| Some(one.uid.as_str()) == taken) {
            return Vec::new();
        }
        found.sort_by(|one, other| one.uid.cmp(&other.uid));
        found
    }

    fn by_uid(&self, uid: &str) -> Option<Arc<PlanApproval>> {
        self.0.get()?.state().into_iter().find(|one| one.uid().as_deref() == Some(uid))
    }
}

/// Kind and name of what an approval names.
fn names(approval: &PlanApproval) -> Option<(&'static str, &str)> {
    let cluster = approval.spec.cluster_ref.as_ref().map(|cluster| (EksCluster::NAME, cluster.name.as_str()));
    let group = approval.spec.node_group_ref.as_ref().map(|group| (NodeGroup::NAME, group.name.as_str()));
    match (cluster, group) {
        (Some(named), None) | (None, Some(named)) => Some(named),
        // The schema refuses it, so nothing is approved by it.
        (Some(_), Some(_)) | (None, None) => None,
    }
}

/// How the approval was given that `now` took up and `before` had not.
pub fn given_now<'a>(before: Option<&PlanStatus>, now: &'a PlanStatus) -> Option<ApprovedBy<'a>> {
    let changed = |of: fn(&PlanStatus) -> Option<&str>, now: &'a PlanStatus| {
        of(now).filter(|text| before.and_then(of) != Some(*text))
    };
    let object = changed(|plan| plan.approval_uid.as_deref(), now).map(ApprovedBy::Object);
    let annotation = changed(|plan| plan.approval.as_deref(), now).map(|_| ApprovedBy::Annotation(APPROVE_ANNOTATION));
    object.or(annotation)
}

/// Watches the approvals until the term ends.
pub async fn follow(ctx: Arc<Context>) {
    let asks = ctx.clone();
    let decided = |approval: &PlanApproval| approval.status.as_ref().is_some_and(|status| status.state.is_some());
    let shown =
        move |approval: &PlanApproval| DependentView { digest: digest(decided(approval)), part_of: String::new() };
    let (store, watching) = watched(Api::all(ctx.client.clone()), shown, move |change| match change {
        Change::SpecChanged(approval) | Change::DependentsAffected(approval) => look_at_named(&asks, approval),
        // One that cannot be read approves nothing.
        Change::Unreadable(_) | Change::Deleted { .. } => {}
    });
    // Of this term's context only, so it is not set yet.
    let _ = ctx.approvals.0.set(store.clone());
    tokio::select! {
        () = watching => {}
        () = decide_all(&ctx, &store) => {}
    }
}

/// The object that the approval names is reconciled.
fn look_at_named(ctx: &Context, approval: &PlanApproval) {
    let namespace = approval.namespace().unwrap_or_default();
    match names(approval) {
        Some((EksCluster::NAME, name)) => ctx.queues.clusters.push(ObjectRef::new(name).within(&namespace)),
        Some((_, name)) => ctx.queues.node_groups.push(ObjectRef::new(name).within(&namespace)),
        None => {}
    }
}

async fn decide_all(ctx: &Context, store: &Store<PlanApproval>) {
    let mut written: HashSet<String> = HashSet::new();
    loop {
        tokio::time::sleep(DECIDED_EVERY).await;
        let (all, now) = (store.state(), Timestamp::now());
        written.retain(|uid| all.iter().any(|one| one.uid().as_ref() == Some(uid)));
        for approval in all {
            let uid = approval.uid().unwrap_or_default();
            let decided = approval.status.as_ref().is_some_and(|status| status.state.is_some());
            if decided || written.contains(&uid) || !ctx.gate.may_write() {
                continue;
            }
            let Some(verdict) = verdict(&approval, standing(ctx, &approval).as_ref(), now) else { continue };
            let status = status(&approval, verdict, now);
            let write = apply::status(&ctx.client, &*approval, MANAGER, &*ctx.gate, &status);
            match tokio::time::timeout(TIMEOUT, write).await {
                Ok(Ok(())) => drop(written.insert(uid)),
                Ok(Err(error)) => {
                    let (name, error) = (approval.name_any(), apply::describe_error(&error));
                    tracing::warn!(name, error, "the status of a PlanApproval was not written; it is tried again");
                }
                Err(_) => tracing::warn!("the API server does not answer: statuses of PlanApprovals wait"),
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

/// The plan of the object that an approval names.
fn standing(ctx: &Context, approval: &PlanApproval) -> Option<ApprovalTarget> {
    let namespace = approval.namespace()?;
    match names(approval)? {
        (EksCluster::NAME, name) => {
            let cluster = ctx.cluster(&namespace, name)?;
            let status = cluster.status.clone().unwrap_or_default();
            let (observed, conditions) = (status.observed_generation, &status.conditions);
            Some(of_status(&cluster.metadata, observed, conditions, status.plan, status.deletion))
        }
        (_, name) => {
            let group = ctx.node_groups.get(&ObjectRef::new(name).within(&namespace))?;
            let status = group.status.clone().unwrap_or_default();
            let (observed, conditions) = (status.observed_generation, &status.conditions);
            Some(of_status(&group.metadata, observed, conditions, status.plan, status.deletion))
        }
    }
}

fn of_status(
    meta: &ObjectMeta,
    observed: Option<i64>,
    conditions: &[Condition],
    plan: Option<PlanStatus>,
    deletion: Option<DeletionStatus>,
) -> ApprovalTarget {
    let (plan, deletion) = (plan.unwrap_or_default(), deletion.unwrap_or_default());
    let waits = conditions.iter().any(|one| one.reason == Reason::WaitingForApproval.as_str());
    let word = deletion.release.filter(|_| deletion.began.is_none()).unwrap_or_else(|| plan.hash.clone());
    ApprovalTarget {
        uid: meta.uid.clone().unwrap_or_default(),
        current: observed == meta.generation && plan.generation == meta.generation,
        waits_for: waits.then(|| word.clone()),
        hash: word,
        taken: plan.approval_uid.into_iter().chain(deletion.approval_uid).collect(),
    }
}
