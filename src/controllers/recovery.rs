//! The word by which an object takes over what an earlier one of its name had in AWS, and who may not. Pure, but for the stores.
//!
//! An object that is restored from a backup, or applied anew from Git, has another UID than the one that AWS's tags name. Only a
//! person can say that it is to have what that one had; until then nothing is touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::account::Refusal;
use super::apply::Kind;
use super::conditions::{ConditionValue, Overall, whole};
use super::context::Context;
use super::events::EventMessage;
use super::execution_policy::Agreed;
use super::report::Next;
use crate::api::conditions::bounded;
use crate::api::status::{HandOverStatus, PlanStatus, RecoveryStatus};
use crate::api::{EksCluster, HAND_OVER_ANNOTATION, NodeGroup, RECOVER_ANNOTATION, Reason};
use crate::aws::Session;
use crate::aws::tags::{INSTALLATION, Tags};
use crate::engine::{Class, Failure, HoldReason, Key, Memory, Report};
use crate::resources::adoption::Existing;
use crate::resources::cloud::Owner;
use crate::resources::recovery::{Item, Selection, named};
use crate::resources::retag;

/// Longest text of the annotation that is kept.
const LONGEST: usize = 256;

/// A recovery that is under way or done, for status.
pub struct Recovering {
    /// What is to be written.
    pub plan: PlanStatus,
    /// What status keeps once all is.
    pub done: Option<Done>,
}

/// A recovery or a hand-over that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Done {
    Recovered(RecoveryStatus),
    HandedOver(HandOverStatus),
}

/// What a person said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryRequest {
    /// The annotation's text: it counts once.
    text: String,
    /// The UID of the earlier object; of what is handed over, the object's own.
    pub uid: String,
    /// The installation to which it is handed over; `None`: it is taken over.
    pub to: Option<String>,
}

/// The word on an object, unless it was acted upon already.
pub fn word<K: Kind>(object: &K, used: Option<&RecoveryStatus>) -> Option<RecoveryRequest> {
    let text = bounded(object.annotations().get(RECOVER_ANNOTATION)?, LONGEST);
    let uid = named(&text).to_owned();
    (!uid.is_empty() && used.is_none_or(|used| used.annotation != text)).then_some(RecoveryRequest {
        text,
        uid,
        to: None,
    })
}

/// The word that hands over what an object has, unless that was done.
pub fn hand_over<K: Kind>(object: &K, done: Option<&HandOverStatus>) -> Option<RecoveryRequest> {
    let text = bounded(object.annotations().get(HAND_OVER_ANNOTATION)?, LONGEST);
    let to = text.trim().to_owned();
    let is_new = !to.is_empty() && done.is_none_or(|done| done.installation != to);
    is_new.then(|| RecoveryRequest { text, uid: object.uid().unwrap_or_default(), to: Some(to) })
}

/// What a person's word asks for while an object is suspended: to hand over what it has, or to take over what an earlier one had.
pub fn while_suspended<K: Kind>(
    object: &K,
    recovered: &Option<RecoveryStatus>,
    handed_over: &Option<HandOverStatus>,
) -> Option<RecoveryRequest> {
    match object.annotations().get(HAND_OVER_ANNOTATION) {
        Some(_) => hand_over(object, handed_over.as_ref()),
        None => word(object, recovered.as_ref()),
    }
}

/// Whether the control plane is on record as the EksCluster's.
pub fn is_on_record(cluster: &EksCluster) -> bool {
    let status = cluster.status.as_ref();
    status.is_some_and(|status| status.resources.iter().any(|line| line.key == "cluster" && line.id.is_some()))
}

/// Why nothing is done for an object whose resources were handed over; `None`: they were not, or are taken back.
pub fn handed_over<K: Kind>(object: &K, done: Option<&HandOverStatus>) -> Option<String> {
    let (text, done) = (object.annotations().get(HAND_OVER_ANNOTATION)?, done?);
    (text.trim() == done.installation).then(|| {
        format!(
            "its resources in AWS are handed over to installation {}, where an object of this name takes them over, so nothing is done \
             for it here: delete it, which deletes nothing in AWS; or, if they were not taken over, remove the annotation \
             {HAND_OVER_ANNOTATION}",
            done.installation
        )
    })
}

/// What status keeps of a hand-over: nothing once the annotation is gone, so that the same word later is a new one.
pub fn kept_hand_over<K: Kind>(object: &K, done: Option<&HandOverStatus>) -> Option<HandOverStatus> {
    done.filter(|done| object.annotations().get(HAND_OVER_ANNOTATION).is_some_and(|to| to.trim() == done.installation))
        .cloned()
}

/// Which objects exist here. One that cannot be read exists.
pub fn existing(ctx: &Arc<Context>) -> Existing {
    let ctx = ctx.clone();
    Existing::new(move |uid| find(&ctx, uid).is_some())
}

/// The object of that UID, for people.
fn find(ctx: &Context, uid: &str) -> Option<String> {
    fn of<K: Kind>(all: Vec<Arc<K>>, uid: &str) -> Option<String> {
        let found = all.into_iter().find(|object| object.uid().as_deref() == Some(uid))?;
        Some(format!("{} {}/{}", K::NAME, found.namespace().unwrap_or_default(), found.name_any()))
    }
    of::<EksCluster>(ctx.clusters.state(), uid)
        .or_else(|| of::<NodeGroup>(ctx.node_groups.state(), uid))
        .or_else(|| ctx.unreadable.has_uid(uid).then(|| "an object that cannot be read".to_owned()))
}

/// The roles of a cluster as they are on record.
pub fn roles_on_record(memory: &Memory) -> BTreeMap<Key, String> {
    let roles = memory.iter().filter(|(key, _)| key.kind() == "role");
    roles.filter_map(|(key, entry)| Some((key.clone(), entry.recorded.as_ref()?.id.clone()?))).collect()
}

/// A refusal as a failure of the write that it stops.
pub fn denied(refusal: Refusal) -> Failure {
    Failure::new(Class::Denied, refusal.message)
}

/// Whether nothing is left to write.
pub fn is_done(report: &Report) -> bool {
    report.plan.is_settled() && report.violations.is_empty()
}

impl RecoveryRequest {
    /// Where it stands after `report`, and when to go on. `waits`: how the plan is approved, for people.
    pub fn standing(
        &self,
        report: &Report,
        selection: &Selection,
        (agreed, waits): (&Agreed, &str),
        memory: &Memory,
        now: Timestamp,
    ) -> (Overall, Next) {
        let plan = &report.plan;
        let reconciling = |message| Overall::Reconciling(ConditionValue::false_(Reason::Updating, message));
        if is_done(report) {
            return (reconciling(self.describe(selection)), Next::at(now));
        }
        if agreed.is_new {
            return (reconciling(format!("plan {} is approved", agreed.hash)), Next::at(now).of(report));
        }
        let next = report.next.map_or(Next::change(), Next::at).of(report);
        let overall = if plan.held_steps(HoldReason::Approval).next().is_some() {
            let message = format!("{}: {waits}", self.would(selection));
            Overall::Stalled(ConditionValue::false_(Reason::WaitingForApproval, message))
        } else if plan.held_steps(HoldReason::Observe).next().is_some() {
            let message = format!("{}; changePolicy is Observe, so no tag is written", self.would(selection));
            Overall::Stalled(ConditionValue::false_(Reason::Observed, message))
        } else {
            whole(plan, memory, &report.violations, now, "")
        };
        (overall, next)
    }

    /// Whether what carries the UID can be another object's than that of `object`.
    ///
    /// # Errors
    /// The object of that UID exists. Holds what a person reads.
    pub fn permitted<K: Kind>(&self, ctx: &Context, object: &K) -> Result<(), String> {
        if self.to.is_some() && self.to == ctx.installation() {
            return Err(format!(
                "the annotation {HAND_OVER_ANNOTATION} names this installation itself, which has it already. Remove the annotation"
            ));
        }
        if object.uid().as_deref() == Some(&self.uid) {
            return Ok(());
        }
        match find(ctx, &self.uid) {
            None => Ok(()),
            // Of another namespace's not even the name is told.
            Some(_) => Err(format!(
                "the annotation {RECOVER_ANNOTATION} names UID {}, whose object exists in this management cluster: what it has \
                 in AWS stays its own. Remove the annotation",
                self.uid
            )),
        }
    }

    /// The same right before a write, when the word must stand, too.
    ///
    /// # Errors
    /// The word was taken back, or the object exists by now.
    pub fn still_permitted<K: Recoverable>(&self, ctx: &Context, object: &K) -> Result<(), Failure> {
        let annotation = if self.to.is_some() { HAND_OVER_ANNOTATION } else { RECOVER_ANNOTATION };
        let text = K::current(ctx, object).and_then(|now| now.annotations().get(annotation).cloned());
        if text.is_none_or(|text| bounded(&text, LONGEST) != self.text) {
            let message = format!("the annotation {annotation}: {} was taken back", self.text);
            return Err(Failure::new(Class::Denied, message));
        }
        self.permitted(ctx, object).map_err(|why| Failure::new(Class::Denied, why))
    }

    /// The tags that a resource is to have.
    pub fn wanted(&self, item: &Item, owner: &Owner) -> Tags {
        match &self.to {
            Some(to) => Tags::new().with(INSTALLATION, to),
            None => item.wanted(owner),
        }
    }

    /// Digest of what is done with `items`.
    pub fn digest(&self, items: &[Item]) -> String {
        retag::digest(items, &format!("{} {:?}", self.uid, self.to))
    }

    /// What a person reads when there is nothing to take over: nothing is made instead.
    pub fn nothing(&self, owner: &Owner, aws: &Session, selection: &Selection) -> String {
        if self.to.is_some() {
            return format!("nothing in AWS carries UID {}: there is nothing to hand over", self.uid);
        }
        let left = if selection.left.is_empty() {
            String::new()
        } else {
            format!(" that can be taken over (left alone: {})", selection.left.join(", "))
        };
        format!(
            "nothing in account {}, {} carries UID {} and {}{left}: check the UID (keelson recover --dry-run lists what is there), or \
             remove the annotation {RECOVER_ANNOTATION} to have everything made anew",
            aws.account_id, aws.region, self.uid, owner.cluster
        )
    }

    /// What is taken over, before it is.
    pub fn would(&self, selection: &Selection) -> String {
        format!("{} resources of UID {} are to be {}{}", selection.items.len(), self.uid, self.verb(), left(selection))
    }

    /// What was taken over.
    pub fn describe(&self, selection: &Selection) -> String {
        format!("{} resources of UID {} are {}{}", selection.items.len(), self.uid, self.verb(), left(selection))
    }

    fn verb(&self) -> String {
        self.to.as_ref().map_or_else(|| "taken over".to_owned(), |to| format!("handed over to installation {to}"))
    }

    /// The plan with why its steps are what they are.
    pub fn plan(&self, mut plan: PlanStatus) -> PlanStatus {
        for step in &mut plan.steps {
            let reason = match &self.to {
                Some(to) => format!("handed over to installation {to}"),
                None => format!("taken over from UID {}", self.uid),
            };
            step.reason.replace(bounded(&reason, LONGEST));
        }
        plan
    }

    /// An event that says so.
    pub fn done_event(&self, selection: &Selection) -> EventMessage {
        let reason = if self.to.is_some() { "HandedOver" } else { "Recovered" };
        EventMessage::normal(reason, format!("{}; nothing but tags was written", self.describe(selection)))
    }

    /// What status keeps of it.
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

fn left(selection: &Selection) -> String {
    if selection.left.is_empty() { String::new() } else { format!("; left alone: {}", selection.left.join(", ")) }
}

/// A kind whose objects take over what earlier ones had.
pub trait Recoverable: Kind {
    /// The same object as the API server told last.
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
    fn a_word_counts_once_and_can_be_said_again() {
        let first = word(&cluster(Some("uid-0")), None).unwrap();
        assert_eq!(first.uid, "uid-0");
        let Done::Recovered(used) = first.done(3, Timestamp::UNIX_EPOCH) else { panic!("it is taken over") };
        assert_eq!(word(&cluster(Some("uid-0")), Some(&used)), None);
        assert_eq!(word(&cluster(Some("uid-0/2")), Some(&used)).unwrap().uid, "uid-0");
        assert_eq!(word(&cluster(None), None), None);
        assert_eq!(word(&cluster(Some(" /x")), None), None);
    }

    #[test]
    fn what_is_handed_over_is_left_alone_until_that_is_taken_back() {
        let mut object = cluster(None);
        assert_eq!((hand_over(&object, None), handed_over(&object, None)), (None, None));
        let annotations = object.metadata.annotations.get_or_insert_default();
        annotations.insert(HAND_OVER_ANNOTATION.to_owned(), "there".to_owned());
        let word = hand_over(&object, None).unwrap();
        assert_eq!((word.uid.as_str(), word.to.as_deref()), ("uid-1", Some("there")));
        let Done::HandedOver(done) = word.done(3, Timestamp::UNIX_EPOCH) else { panic!("it is handed over") };
        assert_eq!(hand_over(&object, Some(&done)), None);
        assert!(handed_over(&object, Some(&done)).unwrap().contains("installation there"));
        object.metadata.annotations = None;
        assert_eq!(handed_over(&object, Some(&done)), None);
    }
}
