//! Decides which changes to AWS are allowed, from the spec's policies, approvals and known drift. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use serde_json::Value;

use crate::api::APPROVE_ANNOTATION;
use crate::api::conditions::bounded;
use crate::api::policy::{ChangePolicy, DriftPolicy};
use crate::api::status_cluster::{ApprovedStep, DriftStatus, MAX_APPROVED, MAX_DRIFT, PlanStatus};
use crate::engine::execution_policy::{AllowedSteps, Approved, Drift, EXISTENCE, Facts, StepId, Subject, digest};
use crate::engine::{ExecutionPolicy, HoldReason, Key, Plan, Step, Verdict};
use crate::resources::cloud::AccountSettings;

/// Spec fields that configure Keelson, and do not describe AWS resources.
const NOT_IN_AWS: [&str; 12] = [
    "changePolicy",
    "driftPolicy",
    "deletionPolicy",
    "replacementPolicy",
    "adoptionPolicy",
    "suspend",
    "upgrade",
    "hooks",
    "gitops",
    "writeKubeconfigToSecretRef",
    "registerWith",
    "registration",
];
/// Fields that follow AWS without an edit of the spec: a newer value is no drift.
const FOLLOWED: [&str; 1] = ["releaseVersion"];
/// Maximum length of a value in drift status.
const MAX_VALUE: usize = 1024;

/// Digest of the desired state: the spec with what its account and other objects add. Approvals of creates refer to
/// it.
pub fn desired_digest<S: Serialize, M: Serialize>(spec: &S, account: &AccountSettings, more: &M) -> String {
    let mut spec = serde_json::to_value(spec).unwrap_or_default();
    if let Value::Object(fields) = &mut spec {
        fields.retain(|name, _| !NOT_IN_AWS.contains(&name.as_str()));
    }
    let more = serde_json::to_value(more).unwrap_or_default();
    let AccountSettings { tags, permissions_boundary, workload_permissions_boundary, role_path, enforced_tags } =
        account;
    // Unset values add nothing, so existing digests stay the same.
    let path = role_path.as_ref().map(|path| format!(" {path}")).unwrap_or_default();
    let enforced = if enforced_tags.is_empty() { String::new() } else { format!(" {enforced_tags:?}") };
    let workloads = workload_permissions_boundary.as_ref().map(|arn| format!(" {arn}")).unwrap_or_default();
    digest(&format!("{spec} {tags:?} {permissions_boundary:?} {more}{path}{enforced}{workloads}"), 8)
}

/// The current target, as a digest: `target`, unless the versions are not known in this reconcile, as in the first one
/// of a process or one requested with the annotation. Then it is the target that AWS matched last, if the spec was not
/// edited since: otherwise a manual change in AWS would be treated as an edit, and overwritten.
pub fn current_target(target: String, versions_known: bool, edited: bool, synced: Option<&str>) -> String {
    match synced {
        Some(synced) if !versions_known && !edited => synced.to_owned(),
        _ => target,
    }
}

/// The policies, and the history of changes.
pub struct Input<'a> {
    /// The change policy.
    pub change: ChangePolicy,
    /// The drift policy.
    pub drift: DriftPolicy,
    /// Digest of the desired state: [`wanted`].
    pub wanted: String,
    /// Digest of the current target: the desired state with the versions on the way to the spec's.
    pub target: String,
    /// The last plan in status.
    pub plan: Option<&'a PlanStatus>,
    /// Further steps, approved in another object.
    pub approved_elsewhere: &'a [ApprovedStep],
    /// The last drift in status.
    pub known: &'a [DriftStatus],
    /// The `target` that AWS matched last.
    pub synced: Option<&'a str>,
    /// Whether a hold keeps every step from starting.
    pub on_hold: bool,
}

impl Input<'_> {
    /// The resulting execution policy.
    pub fn policy(&self) -> ExecutionPolicy {
        let allowed = match self.change {
            ChangePolicy::Automatic => AllowedSteps::All,
            ChangePolicy::Observe => AllowedSteps::None,
            ChangePolicy::Approval => {
                let own = self.plan.map_or(&[][..], |plan| &plan.approved);
                AllowedSteps::Only(own.iter().chain(self.approved_elsewhere).map(parse_step).collect())
            }
        };
        let drift = match self.drift {
            DriftPolicy::Correct => Drift::Correct,
            DriftPolicy::Report => Drift::Report {
                synced: self.synced == Some(self.target.as_str()),
                known: self
                    .known
                    .iter()
                    .map(|drift_status| {
                        (Key::parse(&drift_status.resource), drift_status.field.clone(), drift_status.wanted.clone())
                    })
                    .collect(),
                followed: FOLLOWED.map(str::to_owned).into(),
            },
        };
        ExecutionPolicy { allowed, drift, wanted: self.wanted.clone(), recovers: None, on_hold: self.on_hold }
    }
}

/// Parses an approved step for comparison.
pub fn parse_step(step: &ApprovedStep) -> (Key, StepId) {
    (Key::parse(&step.resource), StepId::parse(&step.id))
}

/// The approval state of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanApprovalState {
    /// Hash of the plan; an approval names it.
    pub hash: String,
    /// Approved steps that are not complete.
    pub approved: Vec<ApprovedStep>,
    /// The last accepted annotation.
    pub approval: Option<String>,
    /// UID of the last accepted PlanApproval.
    pub approval_uid: Option<String>,
    /// The last approved hash.
    pub approved_hash: String,
    /// Whether the approval was accepted just now: nothing is done before it is recorded in status.
    pub is_new: bool,
}

/// The hash in an approval annotation: its value up to a `/`, so that the same plan can be approved again.
fn hash_of_annotation(annotation: &str) -> &str {
    annotation.split('/').next().unwrap_or_default().trim()
}

/// The plan that an approval would cover.
#[derive(Clone, Copy)]
pub struct Proposal<'a> {
    /// The object and its spec.
    pub subject: &'a Subject,
    /// The plan.
    pub plan: &'a Plan,
    /// The steps that follow it.
    pub ahead: &'a [(Key, Step)],
    /// Attributes of resources to create or delete.
    pub facts: &'a Facts,
}

/// A PlanApproval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalObject {
    /// Its UID: it counts once.
    pub uid: String,
    /// The hash that it names.
    pub hash: String,
}

/// The approvals of an object's plans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvals {
    /// The annotation's text.
    pub annotation: Option<String>,
    /// PlanApprovals that are not used yet.
    pub objects: Vec<ApprovalObject>,
    /// Whether annotations do not count: `--require-approval-objects`.
    pub only_objects: bool,
}

impl Approvals {
    /// The PlanApproval that names `hash`.
    pub fn object(&self, hash: &str) -> Option<&ApprovalObject> {
        self.objects.iter().find(|object| object.hash == hash)
    }
}

/// Accepts an approval of the current plan, if there is one.
pub fn accept_approval(
    policy: &ExecutionPolicy,
    proposal: Proposal<'_>,
    approvals: &Approvals,
    previous: Option<&PlanStatus>,
) -> PlanApprovalState {
    let Proposal { subject, plan, ahead, facts } = proposal;
    let hash = policy.hash(subject, plan, ahead, facts);
    let AllowedSteps::Only(approved) = &policy.allowed else {
        // Accepted approvals stay recorded, so that they do not count again if approvals are required again.
        let recorded = previous.cloned().unwrap_or_default();
        let PlanStatus { approval, approval_uid, approved_hash, .. } = recorded;
        return PlanApprovalState { hash, approval, approval_uid, approved_hash, ..PlanApprovalState::default() };
    };
    let annotation = approvals.annotation.as_deref();
    // Recorded while the annotation exists.
    let mut approval = annotation.and_then(|_| previous.and_then(|plan| plan.approval.clone()));
    let mut approval_uid = previous.and_then(|plan| plan.approval_uid.clone());
    let by_annotation = annotation.filter(|text| {
        !approvals.only_objects && hash_of_annotation(text) == hash && approval.as_deref() != Some(*text)
    });
    let by_object = approvals.object(&hash).filter(|object| approval_uid.as_ref() != Some(&object.uid));
    let is_new = awaits_approval(plan) && (by_annotation.is_some() || by_object.is_some());
    if !is_new {
        let approved = approved_steps(&policy.unused_approvals(approved, plan, ahead));
        let approved_hash = previous.map(|plan| plan.approved_hash.clone()).unwrap_or_default();
        return PlanApprovalState { hash, approved, approval, approval_uid, approved_hash, is_new };
    }
    match by_object {
        Some(object) => approval_uid = Some(object.uid.clone()),
        None => approval = annotation.map(str::to_owned),
    }
    let approved = approved_steps(&policy.ids_of(plan, ahead));
    PlanApprovalState { approved_hash: hash.clone(), hash, approved, approval, approval_uid, is_new }
}

fn approved_steps(approved: &Approved) -> Vec<ApprovedStep> {
    let step = |(key, id): &(Key, StepId)| ApprovedStep { resource: key.to_string(), id: id.to_string() };
    approved.iter().take(MAX_APPROVED).map(step).collect()
}

/// The message of a plan that waits for approval. `object`: the arguments of `keelson approve`.
pub fn describe_pending_plan(agreed: &PlanApprovalState, summary: &str, object: &str, approvals: &Approvals) -> String {
    let hash = &agreed.hash;
    let how = instructions(object, APPROVE_ANNOTATION, hash, approvals);
    let text = format!("plan {hash} waits for approval ({summary}): {how}");
    match approvals.annotation.as_deref() {
        Some(_) if approvals.only_objects => format!("{text}; annotations do not count (--require-approval-objects)"),
        Some(other) if hash_of_annotation(other) == hash => {
            format!("{text}; {other:?} was already used; approve again with a different text: {hash}/2")
        }
        Some(other) => format!(
            "{text}; the annotation names {:?}, which is not the hash of this plan",
            bounded(hash_of_annotation(other), 64)
        ),
        None => text,
    }
}

/// This text in an object's message means that annotations do not count.
pub const ONLY_OBJECTS: &str = "or a PlanApproval of hash";

/// How to approve or release: the command, and the annotation `key` where annotations count, otherwise a PlanApproval.
pub fn instructions(object: &str, key: &str, token: &str, approvals: &Approvals) -> String {
    if approvals.only_objects {
        return format!("keelson approve {object}, {ONLY_OBJECTS} {token}");
    }
    format!("keelson approve {object}, or the annotation {key}: {token}")
}

/// Drift that is not corrected, with the time when it was first observed.
pub fn drift(plan: &Plan, previous: &[DriftStatus], now: Timestamp) -> Vec<DriftStatus> {
    let drift_status = |key: &Key, field: &str, wanted: &str, observed: &str| {
        let (resource, field) = (key.to_string(), bounded(field, 253));
        let (wanted, observed) = (bounded(wanted, MAX_VALUE), bounded(observed, MAX_VALUE));
        let same = |old: &&DriftStatus| {
            (&old.resource, &old.field, &old.wanted, &old.seen) == (&resource, &field, &wanted, &observed)
        };
        let since = previous.iter().find(same).map(|old| old.since.clone());
        let since = since.unwrap_or_else(|| Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
        DriftStatus { resource, field, wanted, seen: observed, since }
    };
    let drift_of_item = |item: &crate::engine::Item| -> Vec<DriftStatus> {
        if matches!(item.verdict, Verdict::Held(_, HoldReason::Drift)) {
            return vec![drift_status(&item.key, EXISTENCE, "", "deleted")];
        }
        // Not compared while AWS is changing it, or cannot be read: the known drift stays, or an edit would accept it.
        if matches!(item.verdict, Verdict::Waiting { .. } | Verdict::NotObserved(_)) {
            let resource = item.key.to_string();
            return previous.iter().filter(|old| old.resource == resource).cloned().collect();
        }
        item.drift.iter().map(|change| drift_status(&item.key, &change.field, &change.to, &change.from)).collect()
    };
    plan.items.iter().flat_map(drift_of_item).take(MAX_DRIFT).collect()
}

/// Returns `target` if AWS matches it, apart from drift that is not corrected, or matched it last.
pub fn update_synced(plan: &Plan, target: &str, before: Option<&str>) -> Option<String> {
    let matches = plan.items.iter().all(|item| {
        let settled = matches!(item.verdict, Verdict::Settled | Verdict::Held(_, HoldReason::Drift));
        settled && item.forbidden.is_empty()
    });
    // After a change of target, AWS is in transition: reverting the edit is an edit, not drift.
    (matches || before == Some(target)).then(|| target.to_owned())
}

/// Whether a step waits for approval.
pub fn awaits_approval(plan: &Plan) -> bool {
    plan.held_steps(HoldReason::Approval).next().is_some()
}

#[cfg(test)]
#[path = "execution_policy_tests.rs"]
mod tests;
