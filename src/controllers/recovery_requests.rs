//! Requests to take over the AWS resources of an earlier object with the same name, to hand them over to another
//! installation or take them back ([`super::hand_over`]), and who may not. Pure, but reads the stores.
//!
//! An object that is restored from a backup, or applied again from Git, has a different UID than the tags in AWS. Only
//! a person can decide that it takes over the resources of the earlier object; until then nothing is changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::approvals::execution_policy::PlanApprovalState;
use super::context::Context;
use super::runtime::apply::Kind;
use super::runtime::event_publisher::EventMessage;
use super::status::conditions::{ConditionValue, Overall, overall_of_plan};
use super::status::requeue::Next;
use crate::api::conditions::bounded;
use crate::api::status_cluster::{HandOverStatus, PlanStatus, RecoveryStatus};
use crate::api::{EksCluster, HAND_OVER_ANNOTATION, NodeGroup, RECOVER_ANNOTATION, Reason};
use crate::aws::Session;
use crate::aws::tags::{INSTALLATION, Tags};
use crate::engine::{Class, Failure, HoldReason, Key, Memory, Report};
use crate::resources::cloud::Owner;
use crate::resources::eks::cluster;
use crate::resources::graph::adoption::Existing;
use crate::resources::graph::proof::Records;
use crate::resources::iam::role_name;
use crate::resources::recovery::retag;
use crate::resources::recovery::takeover::{Evidence, Item, Selection, parse_uid};

/// Maximum stored length of the annotation's text.
const MAX_TEXT: usize = 256;

/// A recovery in progress or complete, for status.
pub struct Recovering {
    /// The tag changes to make.
    pub plan: PlanStatus,
    /// The record in status, once all tags are written.
    pub done: Option<CompletedRequest>,
}

/// A completed recovery or hand-over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CompletedRequest {
    Recovered(RecoveryStatus),
    HandedOver(HandOverStatus),
    TakenBack,
}

/// What is done with the resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The object takes over those of an earlier one.
    Recovery,
    /// Another installation receives them. Holds its id.
    HandOver(String),
    /// This installation takes back what it handed over. Holds its id.
    TakeBack(Option<String>),
}

/// A request made with an annotation, or by removing one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryRequest {
    /// The annotation's text; each text counts once. Empty: it was removed.
    text: String,
    /// The UID of the earlier object; for a hand-over, the object's own UID.
    pub uid: String,
    /// What is done with the resources.
    pub purpose: Purpose,
}

/// The recovery request on an object, unless it was already handled.
pub fn recovery_request<K: Kind>(object: &K, handled: Option<&RecoveryStatus>) -> Option<RecoveryRequest> {
    let text = bounded(object.annotations().get(RECOVER_ANNOTATION)?, MAX_TEXT);
    let uid = parse_uid(&text).to_owned();
    (!uid.is_empty() && handled.is_none_or(|handled| handled.annotation != text)).then_some(RecoveryRequest {
        text,
        uid,
        purpose: Purpose::Recovery,
    })
}

/// Whether the EksCluster's status records the control plane.
pub fn is_on_record(cluster: &EksCluster) -> bool {
    let status = cluster.status.as_ref();
    status.is_some_and(|status| status.resources.iter().any(|line| line.key == cluster::KIND.name && line.id.is_some()))
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
    let roles = memory.iter().filter(|(key, _)| role_name::purpose(key).is_some());
    roles.filter_map(|(key, entry)| Some((key.clone(), entry.recorded.as_ref()?.id.clone()?))).collect()
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
        Self { text: String::new(), uid: uid.to_owned(), purpose: Purpose::Recovery }
    }

    /// The request to hand over to installation `to`.
    pub fn hand_over<K: Kind>(object: &K, to: &str) -> Self {
        Self::of_own(object, Purpose::HandOver(to.to_owned()))
    }

    /// The request to take back what was handed over.
    pub fn take_back<K: Kind>(object: &K, installation: Option<String>) -> Self {
        Self::of_own(object, Purpose::TakeBack(installation))
    }

    fn of_own<K: Kind>(object: &K, purpose: Purpose) -> Self {
        let text = object.annotations().get(HAND_OVER_ANNOTATION).map(|text| bounded(text, MAX_TEXT));
        Self { text: text.unwrap_or_default(), uid: object.uid().unwrap_or_default(), purpose }
    }

    /// What shows that resources belong to the object. `by_tags`: the owner of the AWS account accepts tags alone.
    /// `records`: those of the object, if its cluster is on record.
    pub fn evidence<'a>(&self, by_tags: bool, records: Option<&'a Records>) -> Evidence<'a> {
        match (&self.purpose, records) {
            (Purpose::HandOver(_), Some(_)) => Evidence::Own(None),
            (Purpose::TakeBack(_), Some(records)) => Evidence::Own(Some(records)),
            (Purpose::Recovery, _) if by_tags => Evidence::Tags,
            _ => Evidence::Role,
        }
    }

    /// Whether the resources are the object's own: they stay on its record, also while the tags are not written.
    pub fn is_of_own(&self) -> bool {
        matches!(self.purpose, Purpose::HandOver(_) | Purpose::TakeBack(_))
    }

    /// Whether it is such a reverse: a request of a user has a text.
    pub fn gives_back(&self) -> bool {
        self.text.is_empty()
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
        if matches!(&self.purpose, Purpose::HandOver(to) if ctx.installation().as_ref() == Some(to)) {
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
        let is_recovery = self.purpose == Purpose::Recovery;
        let annotation = if is_recovery { RECOVER_ANNOTATION } else { HAND_OVER_ANNOTATION };
        let text = K::current(ctx, object).map(|now| now.annotations().get(annotation).cloned().unwrap_or_default());
        if text.is_none_or(|text| bounded(&text, MAX_TEXT) != self.text) {
            let message = format!("the annotation {annotation}: {} was removed or changed", self.text);
            return Err(Failure::new(Class::Denied, message));
        }
        self.check_permitted(ctx, object).map_err(|why| Failure::new(Class::Denied, why))
    }

    /// The desired tags of a resource.
    pub fn wanted(&self, item: &Item, owner: &Owner) -> Tags {
        match &self.purpose {
            Purpose::Recovery => item.wanted(owner),
            Purpose::HandOver(to) => Tags::new().with(INSTALLATION, to),
            // With the owner's: another object may have taken over a part.
            Purpose::TakeBack(_) => item.wanted(owner),
        }
    }

    /// Digest of the changes to `items`.
    pub fn digest(&self, items: &[Item]) -> String {
        let what = match &self.purpose {
            Purpose::Recovery => "None".to_owned(),
            Purpose::HandOver(to) => format!("{:?}", Some(to)),
            Purpose::TakeBack(_) => "taken back".to_owned(),
        };
        retag::digest(items, &format!("{} {what}", self.uid))
    }

    /// The message when no resource carries the UID. Nothing is created instead.
    pub fn describe_no_resources(&self, owner: &Owner, aws: &Session, selection: &Selection) -> String {
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
        match &self.purpose {
            Purpose::Recovery => "taken over".to_owned(),
            Purpose::HandOver(to) => format!("handed over to installation {to}"),
            Purpose::TakeBack(_) => "taken back".to_owned(),
        }
    }

    /// Adds the reason of the request to the plan's steps.
    pub fn plan(&self, mut plan: PlanStatus) -> PlanStatus {
        for step in &mut plan.steps {
            let reason = match &self.purpose {
                Purpose::Recovery => format!("taken over from UID {}", self.uid),
                Purpose::HandOver(to) => format!("handed over to installation {to}"),
                Purpose::TakeBack(_) => "taken back: the hand-over was withdrawn".to_owned(),
            };
            step.reason.replace(bounded(&reason, MAX_TEXT));
        }
        plan
    }

    /// The event of the completed request.
    pub fn done_event(&self, selection: &Selection) -> EventMessage {
        let reason = match &self.purpose {
            Purpose::Recovery => "Recovered",
            Purpose::HandOver(_) => "HandedOver",
            Purpose::TakeBack(_) => "TakenBack",
        };
        EventMessage::normal(reason, format!("{}; only tags were written", self.describe_completed(selection)))
    }

    /// The record in status.
    pub fn done(&self, resources: usize, now: Timestamp) -> CompletedRequest {
        let resources = i32::try_from(resources).unwrap_or(i32::MAX);
        let completed_at = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
        match &self.purpose {
            Purpose::HandOver(to) => CompletedRequest::HandedOver(HandOverStatus {
                installation: to.clone(),
                resources,
                completed_at,
                withdrawn: false,
            }),
            Purpose::TakeBack(_) => CompletedRequest::TakenBack,
            Purpose::Recovery => {
                let (annotation, owner) = (self.text.clone(), self.uid.clone());
                CompletedRequest::Recovered(RecoveryStatus { annotation, owner, resources, completed_at })
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
        let CompletedRequest::Recovered(handled) = first.done(3, Timestamp::UNIX_EPOCH) else { panic!("a recovery") };
        assert_eq!(recovery_request(&cluster(Some("uid-0")), Some(&handled)), None);
        assert_eq!(recovery_request(&cluster(Some("uid-0/2")), Some(&handled)).unwrap().uid, "uid-0");
        assert_eq!(recovery_request(&cluster(None), None), None);
        assert_eq!(recovery_request(&cluster(Some(" /x")), None), None);
    }
}
