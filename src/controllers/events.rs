//! Kubernetes events: one for each thing that was done in AWS or failed there. Published beside the reconcile, never in its
//! way, and given up when the API server does not take them: status tells the same. I/O: the management cluster's API.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::Semaphore;

use super::plan_status;
use super::progress;
use super::reasons;
use crate::api::Reason;
use crate::api::conditions::bounded;
use crate::engine::{Action, Class, DELETION, Ended, Goal, Happened, Key, Operation, Outcome};

/// Events under way at once: a burst waits here, not in front of status patches.
const AT_ONCE: usize = 4;
/// Events waiting: beyond it they are dropped.
const WAITING: usize = 2000;
const PATIENCE: Duration = Duration::from_secs(10);
/// What the API allows.
const LONGEST_NOTE: usize = 1000;

/// What is to be told of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// True: something is wrong.
    pub warning: bool,
    /// CamelCase, e.g. `Created`.
    pub reason: String,
    /// For machines: what was attempted.
    pub action: String,
    /// For people.
    pub note: String,
}

impl Told {
    /// News.
    pub fn normal(reason: &str, note: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.into(), action: reason.into(), note: note.into() }
    }

    /// Something is wrong.
    pub fn warning(reason: Reason, note: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.as_str().into(), action: "Reconcile".into(), note: note.into() }
    }
}

/// What was last told of each failure, so that one that repeats is told once.
pub type Failures = BTreeMap<Key, (Class, String)>;

/// What is worth an event of what a reconcile did.
pub fn of_steps(happened: &[Happened], goal: Goal, failures: &mut Failures) -> Vec<Told> {
    let mut told = Vec::new();
    for Happened { key, action, changes, outcome } in happened {
        let name = progress::label(key);
        match outcome {
            Outcome::Done(id) => {
                failures.remove(key);
                let (reason, mut note) = match action {
                    Action::Create => ("Created", format!("{name} {id}")),
                    Action::Update => ("Updated", format!("{name} {id}")),
                    Action::Adopt => ("Adopted", format!("{name} {id}")),
                    Action::Delete => ("Deleted", format!("{name} {id}")),
                    Action::Release => ("Released", format!("{name} {id}")),
                };
                if !changes.is_empty() {
                    note = format!("{note}: {}", plan_status::told(changes));
                }
                told.push(Told { action: action.as_str().into(), ..Told::normal(reason, note) });
            }
            // Told when it is done: it may come to nothing.
            Outcome::Begun(_) => drop(failures.remove(key)),
            Outcome::Failed(failure) => {
                let this = (failure.class, failure.message.clone());
                let passes = matches!(failure.class, Class::NotYetVisible | Class::Gone | Class::NotLeader);
                // In use for a moment is the normal course of a deletion.
                let passes = passes || (goal == Goal::Gone && failure.class == Class::Busy);
                if passes || failures.get(key) == Some(&this) {
                    continue;
                }
                failures.insert(key.clone(), this);
                let note = format!("{name}: {}", failure.message);
                let told_as = Told::warning(reasons::reason(failure.class), note);
                told.push(Told { action: action.as_str().into(), ..told_as });
            }
        }
    }
    told
}

/// What is worth an event of the operations that ended: versions that were reached, and whatever came to nothing.
pub fn of_operations(ended: &[Ended]) -> Vec<Told> {
    let told = ended.iter().filter_map(|Ended { key, operation, result, .. }| {
        let (name, Operation { id, kind, .. }) = (progress::label(key), operation);
        match result {
            Ok(took) if kind.starts_with("Version") => {
                Some(Told::normal("Upgraded", format!("{name}: {kind} {id} took {}", progress::rough(*took))))
            }
            Ok(_) if kind == DELETION => Some(Told::normal("Deleted", format!("{name} {id}"))),
            Ok(_) => None,
            // The message names the update.
            Err(failure) => Some(Told::warning(Reason::Failed, format!("{name}: {}", failure.message))),
        }
    });
    told.collect()
}

/// Publishes events. Clones share its limits.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
    at_once: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Two events of one moment need two names.
    last: Arc<Mutex<Timestamp>>,
}

impl Events {
    /// As the replica `instance`.
    pub fn new(client: Client, instance: &str) -> Self {
        Self {
            client,
            instance: bounded(instance, 128),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            last: Arc::new(Mutex::new(Timestamp::UNIX_EPOCH)),
        }
    }

    /// Publishes, in order, and returns at once.
    pub fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, told: Vec<Told>) {
        if told.is_empty() {
            return;
        }
        let Ok(place) = self.waiting.clone().try_acquire_owned() else {
            tracing::debug!(count = told.len(), "events dropped: too many are waiting");
            return;
        };
        let about = object.object_ref(&());
        // Cluster-scoped objects' events live in `default`.
        let namespace = object.namespace().unwrap_or_else(|| "default".into());
        let events: Vec<Event> = told.into_iter().map(|told| self.event(&about, &namespace, told)).collect();
        let (api, at_once) = (Api::<Event>::namespaced(self.client.clone(), &namespace), self.at_once.clone());
        tokio::spawn(async move {
            let _place = place;
            let Ok(_permit) = at_once.acquire().await else { return };
            for event in events {
                let sent = tokio::time::timeout(PATIENCE, api.create(&PostParams::default(), &event)).await;
                if let Ok(Err(error)) = sent {
                    tracing::debug!(error = %super::apply::told(&error), "an event was not taken");
                    return;
                }
            }
        });
    }

    fn event(&self, about: &ObjectReference, namespace: &str, told: Told) -> Event {
        let now = self.moment();
        let name = about.name.as_deref().unwrap_or("keelson");
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{:x}", bounded_name(name), now.as_nanosecond())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some(told.action),
            reason: Some(told.reason),
            note: Some(bounded(&told.note, LONGEST_NOTE)),
            type_: Some(if told.warning { "Warning" } else { "Normal" }.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(about.clone()),
            reporting_controller: Some("keelson.dev/controller".to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }

    /// Now, but never the same twice.
    fn moment(&self) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let next = last.saturating_add(jiff::SignedDuration::from_micros(1)).unwrap_or(*last);
        *last = Timestamp::now().max(next);
        *last
    }
}

/// Names are at most 253 characters, and the moment takes some.
fn bounded_name(name: &str) -> &str {
    name.get(..200).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Change, Failure};

    fn happened(action: Action, outcome: Outcome) -> Happened {
        Happened { key: Key::single("vpc"), action, changes: Vec::new(), outcome }
    }

    #[test]
    fn each_step_is_told_and_a_failure_that_repeats_once() {
        let mut failures = Failures::new();
        let denied = || happened(Action::Create, Outcome::Failed(Failure::new(Class::Denied, "CreateVpc: denied")));
        let mut update = happened(Action::Update, Outcome::Done("vpc-1".into()));
        update.changes.push(Change::in_place("tags[team]", "", "shop"));
        let told = of_steps(
            &[denied(), denied(), happened(Action::Create, Outcome::Done("vpc-1".into())), update],
            Goal::Present,
            &mut failures,
        );
        let lines: Vec<_> = told.iter().map(|t| format!("{} {} {}", t.warning, t.reason, t.note)).collect();
        let expected = [
            "true AccessDenied VPC: CreateVpc: denied",
            "false Created VPC vpc-1",
            "false Updated VPC vpc-1: tags[team] (none) -> shop",
        ];
        assert_eq!(lines, expected);
        assert!(failures.is_empty());
    }

    #[test]
    fn what_passes_by_itself_is_no_event() {
        let busy = happened(Action::Delete, Outcome::Failed(Failure::new(Class::Busy, "in use")));
        assert!(of_steps(std::slice::from_ref(&busy), Goal::Gone, &mut Failures::new()).is_empty());
        assert_eq!(of_steps(&[busy], Goal::Present, &mut Failures::new()).len(), 1);
    }
}
