//! Requests to take over the AWS resources of an earlier object with the same name, or to hand them over to another
//! installation, and who may not. Pure, but reads the stores.
//!
//! An object that is restored from a backup, or applied again from Git, has a different UID than the tags in AWS. Only
//! a person can decide that it takes over the resources of the earlier object; until then nothing is changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::account::Refusal;
use super::approvals::execution_policy::PlanApprovalState;
use super::context::Context;
use super::runtime::apply::Kind;
use super::runtime::events::EventMessage;
use super::status::conditions::{ConditionValue, Overall, overall_of_plan};
use super::status::next::Next;
use crate::api::conditions::bounded;
use crate::api::status::{HandOverStatus, PlanStatus, RecoveryStatus};
use crate::api::{EksCluster, HAND_OVER_ANNOTATION, NodeGroup, RECOVER_ANNOTATION, Reason};
use crate::aws::Session;
use crate::aws::tags::{INSTALLATION, Tags};
use crate::engine::{Class, Failure, HoldReason, Key, Memory, Report};
use crate::resources::cloud::Owner;
use crate::resources::graph::adoption::Existing;
use crate::resources::recovery::retag;
use crate::resources::recovery::takeover::{Item, Selection, parse_uid};

/// Maximum stored length of the annotation's text.
const MAX_TEXT: usize = 256;

/// A recovery in progress or complete, for status.
pub struct Recovering {
    /// The tag changes to make.
    pub plan: PlanStatus,
    /// The record in status, once all tags are written.
    pub done: Option<Done>,
}

/// A completed recovery or hand-over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Done {
    Recovered(RecoveryStatus),
    HandedOver(HandOverStatus),
}

/// A request made with an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryRequest {
    /// The annotation's text; each text counts once.
    text: String,
    /// The UID of the earlier object; for a hand-over, the object's own UID.
    pub uid: String,
    /// The installation that receives the resources; `None`: the request is a recovery.
    pub to: Option<String>,
}

/// The recovery request on an object, unless it was already handled.
pub fn recovery_request<K: Kind>(object: &K, handled: Option<&RecoveryStatus>) -> Option<RecoveryRequest> {
    let text = bounded(object.annotations().get(RECOVER_ANNOTATION)?, MAX_TEXT);
    let uid = parse_uid(&text).to_owned();
    (!uid.is_empty() && handled.is_none_or(|handled| handled.annotation != text)).then_some(RecoveryRequest {
        text,
        uid,
        to: None,
    })
}

/// The hand-over request on an object, unless it was already completed.
pub fn hand_over_request<K: Kind>(object: &K, done: Option<&HandOverStatus>) -> Option<RecoveryRequest> {
    let text = bounded(object.annotations().get(HAND_OVER_ANNOTATION)?, MAX_TEXT);
    let to = text.trim().to_owned();
    let is_new = !to.is_empty() && done.is_none_or(|done| done.installation != to);
    is_new.then(|| RecoveryRequest { text, uid: object.uid().unwrap_or_default(), to: Some(to) })
}

/// The request to handle while an object is suspended: a hand-over, or a recovery.
pub fn request_while_suspended<K: Kind>(
    object: &K,
    recovered: &Option<RecoveryStatus>,
    completed: &Option<HandOverStatus>,
) -> Option<RecoveryRequest> {
    match object.annotations().get(HAND_OVER_ANNOTATION) {
        Some(_) => hand_over_request(object, completed.as_ref()),
        None => recovery_request(object, recovered.as_ref()),
    }
}

/// Whether the EksCluster's status records the control plane.
pub fn is_on_record(cluster: &EksCluster) -> bool {
    let status = cluster.status.as_ref();
    status.is_some_and(|status| status.resources.iter().any(|line| line.key == "cluster" && line.id.is_some()))
}

/// The message of an object whose resources were handed over; `None`: they were not, or are taken back.
pub fn handed_over_message<K: Kind>(object: &K, done: Option<&HandOverStatus>) -> Option<String> {
    let (text, done) = (object.annotations().get(HAND_OVER_ANNOTATION)?, done?);
    (text.trim() == done.installation).then(|| {
        format!(
            "its AWS resources are handed over to installation {}, where an object of this name takes them over, so this object is \
             not reconciled: delete it, which deletes nothing in AWS; or, if they were not taken over, remove the annotation \
             {HAND_OVER_ANNOTATION}",
            done.installation
        )
    })
}

/// The hand-over record to keep in status. It is removed with the annotation, so that the same request can be made
/// again.
pub fn retained_hand_over<K: Kind>(object: &K, done: Option<&HandOverStatus>) -> Option<HandOverStatus> {
    done.filter(|done| object.annotations().get(HAND_OVER_ANNOTATION).is_some_and(|to| to.trim() == done.installation))
        .cloned()
}

/// The objects that exist in this management cluster, including unreadable ones.
pub fn existing(ctx: &Arc<Context>) -> Existing {
    let ctx = ctx.clone();
    Existing::new(move |uid| find(&ctx, uid).is_some())
}

/// Describes the object with that UID.
fn find(ctx: &Context, uid: &str) -> Option<String> {
    fn find_in<K: Kind>(all: Vec<Arc<K>>, uid: &str) -> Option<String> {
        let found = all.into_iter().find(|object| object.uid().as_deref() == Some(uid))?;
        Some(format!("{} {}/{}", K::NAME, found.namespace().unwrap_or_default(), found.name_any()))
    }
    find_in::<EksCluster>(ctx.clusters.state(), uid)
        .or_else(|| find_in::<NodeGroup>(ctx.node_groups.state(), uid))
        .or_else(|| ctx.unreadable.has_uid(uid).then(|| "an unreadable object".to_owned()))
}

/// The recorded roles of a cluster.
pub fn roles_on_record(memory: &Memory) -> BTreeMap<Key, String> {
    let roles = memory.iter().filter(|(key, _)| key.kind() == "role");
    roles.filter_map(|(key, entry)| Some((key.clone(), entry.recorded.as_ref()?.id.clone()?))).collect()
}

/// Converts a refusal into the failure of the write that it prevents.
pub fn refusal_failure(refusal: Refusal) -> Failure {
    Failure::new(Class::Denied, refusal.message)
}

/// Whether all tags are written.
fn is_written(report: &Report) -> bool {
    report.plan.is_settled() && report.violations.is_empty()
}

/// Whether all tags are written and visible in all reads: only then are resources without tags found by the owner of what
/// contains them.
pub fn is_complete(report: &Report, memory: &Memory, now: Timestamp) -> bool {
    is_written(report) && memory.writes_visible_at().is_none_or(|at| at <= now)
}

impl RecoveryRequest {
    /// The reverse of a recovery from the object with that UID, when the object is deleted before it is complete.
    pub fn giving_back(uid: &str) -> Self {
        Self { text: String::new(), uid: uid.to_owned(), to: None }
    }

    /// The overall state after `report`, and when to continue. `waits`: the message on how to approve the plan.
    pub fn progress(
        &self,
        report: &Report,
        selection: &Selection,
        (agreed, waits): (&PlanApprovalState, &str),
        memory: &Memory,
        now: Timestamp,
    ) -> (Overall, Next) {
        let plan = &report.plan;
        let reconciling = |message| Overall::Reconciling(ConditionValue::false_(Reason::Updating, message));
        if is_written(report) {
            let next = memory.writes_visible_at().map_or(now, |at| at.max(now));
            return (reconciling(self.describe_completed(selection)), Next::at(next));
        }
        if agreed.is_new {
            return (reconciling(format!("plan {} is approved", agreed.hash)), Next::at(now).of(report));
        }
        let next = report.next.map_or(Next::change(), Next::at).of(report);
        let overall = if plan.held_steps(HoldReason::Approval).next().is_some() {
            let message = format!("{}: {waits}", self.describe_proposed(selection));
            Overall::Stalled(ConditionValue::false_(Reason::WaitingForApproval, message))
        } else if plan.held_steps(HoldReason::Observe).next().is_some() {
            let message =
                format!("{}; changePolicy is Observe, so no tags are written", self.describe_proposed(selection));
            Overall::Stalled(ConditionValue::false_(Reason::Observed, message))
        } else {
            overall_of_plan(plan, memory, &report.violations, now, "")
        };
        (overall, next)
    }

    /// Checks that resources tagged with the UID may change owner.
    ///
    /// # Errors
    /// An object with that UID exists. Contains the message for the user.
    pub fn check_permitted<K: Kind>(&self, ctx: &Context, object: &K) -> Result<(), String> {
        if self.to.is_some() && self.to == ctx.installation() {
            return Err(format!(
                "the annotation {HAND_OVER_ANNOTATION} names this installation itself. Remove the annotation"
            ));
        }
        if object.uid().as_deref() == Some(&self.uid) {
            return Ok(());
        }
        match find(ctx, &self.uid) {
            None => Ok(()),
            // Objects of other namespaces are not named.
            Some(_) => Err(format!(
                "the annotation {RECOVER_ANNOTATION} names UID {}, whose object exists in this management cluster and \
                 keeps its AWS resources. Remove the annotation",
                self.uid
            )),
        }
    }

    /// Checks again right before a write; the annotation must still be present, too.
    ///
    /// # Errors
    /// The annotation was removed or changed, or an object with that UID exists by now.
    pub fn check_still_permitted<K: Recoverable>(&self, ctx: &Context, object: &K) -> Result<(), Failure> {
        let annotation = if self.to.is_some() { HAND_OVER_ANNOTATION } else { RECOVER_ANNOTATION };
        let text = K::current(ctx, object).and_then(|now| now.annotations().get(annotation).cloned());
        if text.is_none_or(|text| bounded(&text, MAX_TEXT) != self.text) {
            let message = format!("the annotation {annotation}: {} was removed or changed", self.text);
            return Err(Failure::new(Class::Denied, message));
        }
        self.check_permitted(ctx, object).map_err(|why| Failure::new(Class::Denied, why))
    }

    /// The desired tags of a resource.
    pub fn wanted(&self, item: &Item, owner: &Owner) -> Tags {
        match &self.to {
            Some(to) => Tags::new().with(INSTALLATION, to),
            None => item.wanted(owner),
        }
    }

    /// Digest of the changes to `items`.
    pub fn digest(&self, items: &[Item]) -> String {
        retag::digest(items, &format!("{} {:?}", self.uid, self.to))
    }

    /// The message when no resource carries the UID. Nothing is created instead.
    pub fn describe_no_resources(&self, owner: &Owner, aws: &Session, selection: &Selection) -> String {
        if self.to.is_some() {
            return format!("no AWS resource carries UID {}: there is nothing to hand over", self.uid);
        }
        let skipped = if selection.left.is_empty() {
            String::new()
        } else {
            format!(" that can be taken over (skipped: {})", selection.left.join(", "))
        };
        format!(
            "no resource in account {}, {} carries UID {} and {}{skipped}: check the UID (keelson recover --dry-run lists what exists), or \
             remove the annotation {RECOVER_ANNOTATION} to create everything anew",
            aws.account_id, aws.region, self.uid, owner.cluster
        )
    }

    /// Describes the proposed changes.
    pub fn describe_proposed(&self, selection: &Selection) -> String {
        format!(
            "{} resources of UID {} are to be {}{}",
            selection.items.len(),
            self.uid,
            self.verb(),
            skipped_suffix(selection)
        )
    }

    /// Describes the completed changes.
    pub fn describe_completed(&self, selection: &Selection) -> String {
        format!(
            "{} resources of UID {} are {}{}",
            selection.items.len(),
            self.uid,
            self.verb(),
            skipped_suffix(selection)
        )
    }

    fn verb(&self) -> String {
        self.to.as_ref().map_or_else(|| "taken over".to_owned(), |to| format!("handed over to installation {to}"))
    }

    /// Adds the reason of the request to the plan's steps.
    pub fn plan(&self, mut plan: PlanStatus) -> PlanStatus {
        for step in &mut plan.steps {
            let reason = match &self.to {
                Some(to) => format!("handed over to installation {to}"),
                None => format!("taken over from UID {}", self.uid),
            };
            step.reason.replace(bounded(&reason, MAX_TEXT));
        }
        plan
    }

    /// The event of the completed request.
    pub fn done_event(&self, selection: &Selection) -> EventMessage {
        let reason = if self.to.is_some() { "HandedOver" } else { "Recovered" };
        EventMessage::normal(reason, format!("{}; only tags were written", self.describe_completed(selection)))
    }

    /// The record in status.
    pub fn done(&self, resources: usize, now: Timestamp) -> Done {
        let resources = i32::try_from(resources).unwrap_or(i32::MAX);
        let completed_at = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
        match &self.to {
            Some(to) => Done::HandedOver(HandOverStatus { installation: to.clone(), resources, completed_at }),
            None => {
                let (annotation, owner) = (self.text.clone(), self.uid.clone());
                Done::Recovered(RecoveryStatus { annotation, owner, resources, completed_at })
            }
        }
    }
}

fn skipped_suffix(selection: &Selection) -> String {
    if selection.left.is_empty() { String::new() } else { format!("; skipped: {}", selection.left.join(", ")) }
}

/// A kind whose objects can take over resources of earlier objects.
pub trait Recoverable: Kind {
    /// The object as cached, unless it was replaced.
    fn current(ctx: &Context, object: &Self) -> Option<Arc<Self>>;
}

impl Recoverable for EksCluster {
    fn current(ctx: &Context, object: &Self) -> Option<Arc<Self>> {
        let found = ctx.cluster(&object.namespace()?, &object.name_any())?;
        (found.metadata.uid == object.metadata.uid).then_some(found)
    }
}

impl Recoverable for NodeGroup {
    fn current(ctx: &Context, object: &Self) -> Option<Arc<Self>> {
        let found = ctx.node_group(&object.namespace()?, &object.name_any())?;
        (found.metadata.uid == object.metadata.uid).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster(annotation: Option<&str>) -> EksCluster {
        let annotations = annotation.map(|text| json!({RECOVER_ANNOTATION: text})).unwrap_or_default();
        serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "namespace": "team", "uid": "uid-1", "annotations": annotations},
            "spec": {"region": "eu-west-1", "version": "1.34"},
        }))
        .unwrap()
    }

    #[test]
    fn recovery_request_counts_once_and_can_be_repeated() {
        let first = recovery_request(&cluster(Some("uid-0")), None).unwrap();
        assert_eq!(first.uid, "uid-0");
        let Done::Recovered(handled) = first.done(3, Timestamp::UNIX_EPOCH) else { panic!("a recovery") };
        assert_eq!(recovery_request(&cluster(Some("uid-0")), Some(&handled)), None);
        assert_eq!(recovery_request(&cluster(Some("uid-0/2")), Some(&handled)).unwrap().uid, "uid-0");
        assert_eq!(recovery_request(&cluster(None), None), None);
        assert_eq!(recovery_request(&cluster(Some(" /x")), None), None);
    }

    #[test]
    fn handed_over_object_is_not_reconciled_until_the_annotation_is_removed() {
        let mut object = cluster(None);
        assert_eq!((hand_over_request(&object, None), handed_over_message(&object, None)), (None, None));
        let annotations = object.metadata.annotations.get_or_insert_default();
        annotations.insert(HAND_OVER_ANNOTATION.to_owned(), "there".to_owned());
        let request = hand_over_request(&object, None).unwrap();
        assert_eq!((request.uid.as_str(), request.to.as_deref()), ("uid-1", Some("there")));
        let Done::HandedOver(done) = request.done(3, Timestamp::UNIX_EPOCH) else { panic!("a hand-over") };
        assert_eq!(hand_over_request(&object, Some(&done)), None);
        assert!(handed_over_message(&object, Some(&done)).unwrap().contains("installation there"));
        object.metadata.annotations = None;
        assert_eq!(handed_over_message(&object, Some(&done)), None);
    }
}
