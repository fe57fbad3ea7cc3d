//! What may be done to AWS, from the policies of a spec, from what was approved, and from what is known of drift. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use serde_json::Value;

use crate::api::APPROVE_ANNOTATION;
use crate::api::conditions::bounded;
use crate::api::policy::{ChangePolicy, DriftPolicy};
use crate::api::status::{ApprovedStep, DriftStatus, MAX_APPROVED, MAX_DRIFT, PlanStatus};
use crate::engine::execution_policy::{
    AllowedSteps, Approved, Drift, EXISTENCE, Facts, HoldReason, StepId, Subject, digest,
};
use crate::engine::{ExecutionPolicy, Key, Plan, Step, Verdict};
use crate::resources::cloud::AccountSettings;

/// Fields of a spec that say how Keelson goes about, and not what is to be in AWS.
const NOT_IN_AWS: [&str; 8] = [
    "changePolicy",
    "driftPolicy",
    "deletionPolicy",
    "adoptionPolicy",
    "suspend",
    "upgrade",
    "gitops",
    "writeKubeconfigToSecretRef",
];
/// What follows AWS without an edit of the spec: a newer one is no drift.
const FOLLOWED: [&str; 1] = ["releaseVersion"];
/// Longest value of a difference in status.
const LONGEST: usize = 1024;

/// Digest of what a spec asks AWS for, with what the account and others add to it. An approval of a create is of this.
pub fn wanted<S: Serialize, M: Serialize>(spec: &S, account: &AccountSettings, more: &M) -> String {
    let mut spec = serde_json::to_value(spec).unwrap_or_default();
    if let Value::Object(fields) = &mut spec {
        fields.retain(|name, _| !NOT_IN_AWS.contains(&name.as_str()));
    }
    let more = serde_json::to_value(more).unwrap_or_default();
    let AccountSettings { tags, permissions_boundary, role_path, enforced_tags } = account;
    // Nothing of what is not set: the digests of before stay as they are.
    let path = role_path.as_ref().map(|path| format!(" {path}")).unwrap_or_default();
    let enforced = if enforced_tags.is_empty() { String::new() } else { format!(" {enforced_tags:?}") };
    digest(&format!("{spec} {tags:?} {permissions_boundary:?} {more}{path}{enforced}"), 8)
}

/// What may be asked for now, as a digest: `asked`, unless the versions are not known at this look, as at the first of a process
/// or one that a person asked for. Then it is what AWS matched last, where the spec was not edited since: otherwise what somebody
/// changed by hand would pass for an edit, and be overwritten.
pub fn asked(asked: String, versions_known: bool, edited: bool, synced: Option<&str>) -> String {
    match synced {
        Some(synced) if !versions_known && !edited => synced.to_owned(),
        _ => asked,
    }
}

/// How changes are made, and what is known of earlier ones.
pub struct Input<'a> {
    /// When a plan may be written.
    pub change: ChangePolicy,
    /// What is done about drift.
    pub drift: DriftPolicy,
    /// What the spec asks for, as a digest: [`wanted`].
    pub wanted: String,
    /// The same with what else may be asked for now: versions on the way to the spec's.
    pub asked: String,
    /// The last plan in status.
    pub plan: Option<&'a PlanStatus>,
    /// More that was approved elsewhere.
    pub approved_elsewhere: &'a [ApprovedStep],
    /// The last drift in status.
    pub known: &'a [DriftStatus],
    /// `asked` when AWS matched it last.
    pub synced: Option<&'a str>,
}

impl Input<'_> {
    /// What may be done.
    pub fn policy(&self) -> ExecutionPolicy {
        let allowed = match self.change {
            ChangePolicy::Automatic => AllowedSteps::All,
            ChangePolicy::Observe => AllowedSteps::None,
            ChangePolicy::Approval => {
                let own = self.plan.map_or(&[][..], |plan| &plan.approved);
                AllowedSteps::Only(own.iter().chain(self.approved_elsewhere).map(kept).collect())
            }
        };
        let drift = match self.drift {
            DriftPolicy::Correct => Drift::Correct,
            DriftPolicy::Report => Drift::Report {
                synced: self.synced == Some(self.asked.as_str()),
                known: self
                    .known
                    .iter()
                    .map(|one| (Key::parse(&one.resource), one.field.clone(), one.wanted.clone()))
                    .collect(),
                followed: FOLLOWED.map(str::to_owned).into(),
            },
        };
        ExecutionPolicy { allowed, drift, wanted: self.wanted.clone(), recovers: None }
    }
}

/// As it is compared.
pub fn kept(step: &ApprovedStep) -> (Key, StepId) {
    (Key::parse(&step.resource), StepId::parse(&step.id))
}

/// Where approval stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// Hash of the plan: an approval names it.
    pub hash: String,
    /// What is approved and not done yet.
    pub approved: Vec<ApprovedStep>,
    /// The annotation that was taken up last.
    pub approval: Option<String>,
    /// UID of the PlanApproval that was taken up last.
    pub approval_uid: Option<String>,
    /// The hash that was approved last.
    pub approved_hash: String,
    /// It was taken up just now: nothing is done before it is kept in status.
    pub is_new: bool,
}

/// The hash that an approval names: of the annotation's value up to a `/`, so that the same plan can be approved again.
fn named(annotation: &str) -> &str {
    annotation.split('/').next().unwrap_or_default().trim()
}

/// The plan that an approval would be of.
#[derive(Clone, Copy)]
pub struct Proposal<'a> {
    /// The object and its spec.
    pub subject: &'a Subject,
    /// What is to be done.
    pub plan: &'a Plan,
    /// What will follow it.
    pub ahead: &'a [(Key, Step)],
    /// Values of what is created or deleted.
    pub facts: &'a Facts,
}

/// An approval in the form of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalObject {
    /// Its UID: it counts once.
    pub uid: String,
    /// The hash that it names.
    pub hash: String,
}

/// The approvals that were given of an object's plans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvals {
    /// The annotation's text.
    pub annotation: Option<String>,
    /// Objects that are not used yet.
    pub objects: Vec<ApprovalObject>,
    /// Annotations do not count: `--require-approval-objects`.
    pub only_objects: bool,
}

impl Approvals {
    /// The object that names `hash`.
    pub fn object(&self, hash: &str) -> Option<&ApprovalObject> {
        self.objects.iter().find(|object| object.hash == hash)
    }
}

/// Takes up an approval of the plan as it stands.
pub fn agree(
    policy: &ExecutionPolicy,
    proposal: Proposal<'_>,
    approvals: &Approvals,
    previous: Option<&PlanStatus>,
) -> Agreed {
    let Proposal { subject, plan, ahead, facts } = proposal;
    let hash = policy.hash(subject, plan, ahead, facts);
    let AllowedSteps::Only(approved) = &policy.allowed else {
        // What was taken up is remembered: it does not count again should approvals be asked for again.
        let taken = previous.cloned().unwrap_or_default();
        let PlanStatus { approval, approval_uid, approved_hash, .. } = taken;
        return Agreed { hash, approval, approval_uid, approved_hash, ..Agreed::default() };
    };
    let annotation = approvals.annotation.as_deref();
    // Kept as long as the annotation stands.
    let mut approval = annotation.and_then(|_| previous.and_then(|plan| plan.approval.clone()));
    let mut approval_uid = previous.and_then(|plan| plan.approval_uid.clone());
    let by_annotation =
        annotation.filter(|text| !approvals.only_objects && named(text) == hash && approval.as_deref() != Some(*text));
    let by_object = approvals.object(&hash).filter(|object| approval_uid.as_ref() != Some(&object.uid));
    let is_new = is_waiting(plan) && (by_annotation.is_some() || by_object.is_some());
    if !is_new {
        let approved = shown(&policy.unused_approvals(approved, plan, ahead));
        let approved_hash = previous.map(|plan| plan.approved_hash.clone()).unwrap_or_default();
        return Agreed { hash, approved, approval, approval_uid, approved_hash, is_new };
    }
    match by_object {
        Some(object) => approval_uid = Some(object.uid.clone()),
        None => approval = annotation.map(str::to_owned),
    }
    let approved = shown(&policy.ids_of(plan, ahead));
    Agreed { approved_hash: hash.clone(), hash, approved, approval, approval_uid, is_new }
}

fn shown(approved: &Approved) -> Vec<ApprovedStep> {
    let step = |(key, id): &(Key, StepId)| ApprovedStep { resource: key.to_string(), id: id.to_string() };
    approved.iter().take(MAX_APPROVED).map(step).collect()
}

/// What a person reads of a plan that waits. `object`: as `keelson approve` takes it.
pub fn waits(agreed: &Agreed, summary: &str, object: &str, approvals: &Approvals) -> String {
    let hash = &agreed.hash;
    let how = instructions(object, APPROVE_ANNOTATION, hash, approvals);
    let text = format!("plan {hash} waits for approval ({summary}): {how}");
    match approvals.annotation.as_deref() {
        Some(_) if approvals.only_objects => format!("{text}; annotations do not count (--require-approval-objects)"),
        Some(other) if named(other) == hash => {
            format!("{text}; {other:?} was taken up before, so approve it anew with another text: {hash}/2")
        }
        Some(other) => format!("{text}; the annotation names {:?}, which is not this plan", bounded(named(other), 64)),
        None => text,
    }
}

/// By this in its message an object says that annotations do not count.
pub const ONLY_OBJECTS: &str = "or a PlanApproval of hash";

/// What a person does to give a word: the command, the annotation `key` where annotations count, or the object.
pub fn instructions(object: &str, key: &str, word: &str, approvals: &Approvals) -> String {
    if approvals.only_objects {
        return format!("keelson approve {object}, {ONLY_OBJECTS} {word}");
    }
    format!("keelson approve {object}, or the annotation {key}: {word}")
}

/// The differences that are left alone, with when each was noticed first.
pub fn drift(plan: &Plan, previous: &[DriftStatus], now: Timestamp) -> Vec<DriftStatus> {
    let one = |key: &Key, field: &str, wanted: &str, seen: &str| {
        let (resource, field) = (key.to_string(), bounded(field, 253));
        let (wanted, seen) = (bounded(wanted, LONGEST), bounded(seen, LONGEST));
        let same = |old: &&DriftStatus| {
            (&old.resource, &old.field, &old.wanted, &old.seen) == (&resource, &field, &wanted, &seen)
        };
        let since = previous.iter().find(same).map(|old| old.since.clone());
        let since = since.unwrap_or_else(|| Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
        DriftStatus { resource, field, wanted, seen, since }
    };
    let of_item = |item: &crate::engine::Item| -> Vec<DriftStatus> {
        if matches!(item.verdict, Verdict::Held(_, HoldReason::Drift)) {
            return vec![one(&item.key, EXISTENCE, "", "it is gone")];
        }
        // Not compared while AWS is at work on it, or cannot be asked: what was known holds still, or an edit would settle it.
        if matches!(item.verdict, Verdict::Waiting { .. } | Verdict::NotObserved(_)) {
            let resource = item.key.to_string();
            return previous.iter().filter(|old| old.resource == resource).cloned().collect();
        }
        item.drift.iter().map(|change| one(&item.key, &change.field, &change.to, &change.from)).collect()
    };
    plan.items.iter().flat_map(of_item).take(MAX_DRIFT).collect()
}

/// `asked`, when AWS matches it now but for drift that is left alone; or matched it last.
pub fn synced(plan: &Plan, asked: &str, before: Option<&str>) -> Option<String> {
    let matches = plan.items.iter().all(|item| {
        let settled = matches!(item.verdict, Verdict::Settled | Verdict::Held(_, HoldReason::Drift));
        settled && item.forbidden.is_empty()
    });
    // Once something else is asked for, AWS is on its way there: an edit that is taken back is an edit, not drift.
    (matches || before == Some(asked)).then(|| asked.to_owned())
}

/// Whether a step waits for an approval.
pub fn is_waiting(plan: &Plan) -> bool {
    plan.held_steps(HoldReason::Approval).next().is_some()
}

#[cfg(test)]
#[path = "execution_policy_tests.rs"]
mod tests;
