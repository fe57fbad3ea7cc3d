//! Kubernetes events: what was done in AWS, once it is done, and what failed there. What one reconcile did of a kind is one event;
//! which of them become objects is in [`super::event_series`]. Published beside the reconcile, never in its way, and given up when the
//! API server does not take them: status tells the same. I/O: the management cluster's API.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::Semaphore;

use super::event_series::{Decision, Series};
use super::plan_status;
use super::progress;
use super::reasons;
use super::watch::digest;
use crate::api::Reason;
use crate::api::conditions::bounded;
use crate::api::stable_text::stable;
use crate::engine::{Action, CREATION, Class, DELETION, FinishedOperation, Goal, Key, Operation, Outcome, StepResult};

/// Events under way at once: a burst waits here, not in front of status patches. Those of one object go one after the other.
const AT_ONCE: usize = 4;
/// Events waiting: beyond it they are dropped.
const WAITING: usize = 2000;
const PATIENCE: Duration = Duration::from_secs(10);
/// What the API allows.
const LONGEST_NOTE: usize = 1000;

/// What is to be told of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMessage {
    /// True: something is wrong.
    pub warning: bool,
    /// CamelCase, e.g. `Created`.
    pub reason: String,
    /// For machines: what was attempted.
    pub action: String,
    /// For people.
    pub note: String,
}

impl EventMessage {
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
pub fn of_steps(steps: &[StepResult], goal: Goal, failures: &mut Failures) -> Vec<EventMessage> {
    let mut told = Vec::new();
    for StepResult { key, action, changes, outcome } in steps {
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
                    note = format!("{note}: {}", plan_status::format_changes(changes));
                }
                told.push(EventMessage { action: action.as_str().into(), ..EventMessage::normal(reason, note) });
            }
            // Told when it is done: it may come to nothing, as it may have before.
            Outcome::InProgress(_) => {}
            Outcome::Failed(failure) => {
                let this = (failure.class, stable(&failure.message).into_owned());
                let passes = matches!(failure.class, Class::NotYetVisible | Class::NotFound | Class::NotLeader);
                // In use for a moment is the normal course of a deletion.
                let passes = passes || (goal == Goal::Deleted && failure.class == Class::Busy);
                if passes || failures.get(key) == Some(&this) {
                    continue;
                }
                failures.insert(key.clone(), this);
                let note = format!("{name}: {}", failure.message);
                let told_as = EventMessage::warning(reasons::reason(failure.class), note);
                told.push(EventMessage { action: action.as_str().into(), ..told_as });
            }
        }
    }
    together(told)
}

/// What was done of a kind in one reconcile, as few events: a network is dozens of resources.
fn together(all: Vec<EventMessage>) -> Vec<EventMessage> {
    let mut told: Vec<EventMessage> = Vec::new();
    for one in all {
        let fits = |other: &&mut EventMessage| {
            !other.warning
                && other.reason == one.reason
                && other.note.chars().count() + one.note.chars().count() + 2 <= LONGEST_NOTE
        };
        match told.iter_mut().find(fits).filter(|_| !one.warning) {
            Some(other) => other.note = format!("{}; {}", other.note, one.note),
            None => told.push(one),
        }
    }
    told
}

/// What is worth an event of the operations that ended: what was reached, and whatever came to nothing.
pub fn of_operations(ended: &[FinishedOperation], failures: &mut Failures) -> Vec<EventMessage> {
    let told = ended.iter().filter_map(|FinishedOperation { key, operation, changes, result, .. }| {
        let (name, Operation { id, kind, .. }) = (progress::label(key), operation);
        let what =
            if changes.is_empty() { String::new() } else { format!("{}, ", plan_status::format_changes(changes)) };
        if result.is_ok() {
            failures.remove(key);
        }
        match result {
            Ok(took) if kind.starts_with("Version") => Some(EventMessage::normal(
                "Upgraded",
                format!("{name}: {what}{kind} {id} took {}", progress::rough(*took)),
            )),
            Ok(_) if kind == DELETION => Some(EventMessage::normal("Deleted", format!("{name} {id}"))),
            Ok(_) if kind == CREATION => Some(EventMessage::normal("Created", format!("{name} {id}"))),
            // Begun by another process, or by other hands: what it changed is not known.
            Ok(_) if changes.is_empty() => None,
            Ok(_) => Some(EventMessage::normal("Updated", format!("{name}: {}", plan_status::format_changes(changes)))),
            // The message names the update, which is another at each try.
            Err(failure) => {
                let this = (failure.class, failure.message.replace(id.as_str(), ""));
                let told_before = failures.insert(key.clone(), this.clone()) == Some(this);
                (!told_before).then(|| EventMessage::warning(Reason::Failed, format!("{name}: {}", failure.message)))
            }
        }
    });
    told.collect()
}

/// Publishes events. Clones share its limits.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
    series: Arc<[tokio::sync::Mutex<Series>; AT_ONCE]>,
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
            series: Arc::default(),
            waiting: Arc::new(Semaphore::new(WAITING)),
            last: Arc::new(Mutex::new(Timestamp::UNIX_EPOCH)),
        }
    }

    /// Publishes, in order, and returns at once.
    pub fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, told: Vec<EventMessage>) {
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
        let uid = about.uid.clone().unwrap_or_default();
        let (this, api) = (self.clone(), Api::<Event>::namespaced(self.client.clone(), &namespace));
        tokio::spawn(async move {
            let _place = place;
            let mut series = this.series[usize::try_from(digest(&uid)).unwrap_or_default() % AT_ONCE].lock().await;
            for told in told {
                let told = EventMessage { note: bounded(&stable(&told.note), LONGEST_NOTE), ..told };
                let now = this.moment();
                let name = || {
                    format!("{}.{:x}", bounded_name(about.name.as_deref().unwrap_or("keelson")), now.as_nanosecond())
                };
                let decision = series.decide(&uid, &told, name, now);
                // The next may be taken: what is wrong may be with this one alone.
                if let Some(unknown) = this.send(&api, &about, told, decision, now).await {
                    series.forget(&uid, &unknown);
                }
            }
        });
    }

    /// Returns the name of an Event that is not there.
    async fn send(
        &self,
        api: &Api<Event>,
        about: &ObjectReference,
        told: EventMessage,
        decision: Decision,
        now: Timestamp,
    ) -> Option<String> {
        let (name, sent) = match decision {
            Decision::Nothing => return None,
            Decision::Create { name, note } => {
                let event = self.event(about, &name, EventMessage { note, ..told }, now);
                let sent = tokio::time::timeout(PATIENCE, api.create(&PostParams::default(), &event)).await;
                (name, sent.map(|sent| sent.map(drop)))
            }
            Decision::Count { name, count } => {
                let series = EventSeries { count, last_observed_time: MicroTime(now) };
                let patch = Patch::Merge(serde_json::json!({"series": series}));
                let sent =
                    tokio::time::timeout(PATIENCE, api.patch_metadata(&name, &PatchParams::default(), &patch)).await;
                (name, sent.map(|sent| sent.map(drop)))
            }
        };
        match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                tracing::debug!(error = %super::apply::describe_error(&error), "an event was not taken");
                Some(name)
            }
            Err(_) => Some(name),
        }
    }

    fn event(&self, about: &ObjectReference, name: &str, told: EventMessage, now: Timestamp) -> Event {
        Event {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
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

    fn steps(action: Action, outcome: Outcome) -> StepResult {
        StepResult { key: Key::single("vpc"), action, changes: Vec::new(), outcome }
    }

    #[test]
    fn each_step_is_told_and_a_failure_that_repeats_once() {
        let mut failures = Failures::new();
        let denied = || steps(Action::Create, Outcome::Failed(Failure::new(Class::Denied, "CreateVpc: denied")));
        let mut update = steps(Action::Update, Outcome::Done("vpc-1".into()));
        update.changes.push(Change::in_place("tags[team]", "", "shop"));
        let told = of_steps(
            &[denied(), denied(), steps(Action::Create, Outcome::Done("vpc-1".into())), update],
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
    fn an_operation_is_told_when_it_is_done_and_not_at_each_try_that_fails() {
        let ended = |id: &str, fails: bool| {
            let operation = Operation { id: id.into(), kind: "AddonUpdate".into(), since: None };
            let failure = Failure::new(Class::OperationFailed, format!("EKS update {id} failed: it conflicts"));
            FinishedOperation {
                key: Key::named("addon", "coredns"),
                operation,
                changes: vec![Change::in_place("version", "1", "2")],
                since: Timestamp::UNIX_EPOCH,
                result: if fails { Err(failure) } else { Ok(Duration::from_secs(60)) },
            }
        };
        let mut failures = Failures::new();
        let tries = [("u-1", true), ("u-2", true), ("u-3", false), ("u-4", true)];
        let told: Vec<_> = tries
            .iter()
            .flat_map(|(id, fails)| {
                let begun = steps(Action::Update, Outcome::InProgress("coredns".into()));
                let begun = StepResult { key: Key::named("addon", "coredns"), ..begun };
                assert_eq!(of_steps(&[begun], Goal::Present, &mut failures), []);
                of_operations(&[ended(id, *fails)], &mut failures)
            })
            .map(|told| format!("{} {}", told.reason, told.note))
            .collect();
        let expected = [
            "Failed add-on coredns: EKS update u-1 failed: it conflicts",
            "Updated add-on coredns: version 1 -> 2",
            "Failed add-on coredns: EKS update u-4 failed: it conflicts",
        ];
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn an_event_that_is_refused_does_not_take_the_rest_of_its_batch_along() {
        use axum::http::StatusCode;
        let posted = Arc::new(Mutex::new(Vec::new()));
        let seen = posted.clone();
        let answer = move |body: String| async move {
            let event: Event = serde_json::from_str(&body).unwrap();
            let mut posted = seen.lock().unwrap();
            posted.push(event.reason.unwrap_or_default());
            let (status, code) = if posted.len() == 1 { ("Failure", 422) } else { ("Success", 200) };
            let body = serde_json::json!({"kind": "Status", "status": status, "code": code, "metadata": {}});
            (StatusCode::from_u16(code).unwrap(), body.to_string())
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let app = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, app).await });
        let events = Events::new(Client::try_from(kube::Config::new(url)).unwrap(), "test");
        let object = k8s_openapi::api::core::v1::ConfigMap::default();
        events.publish(&object, ["First", "Second", "Third"].map(|reason| EventMessage::normal(reason, "x")).into());
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while posted.lock().unwrap().len() < 3 && std::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(*posted.lock().unwrap(), ["First", "Second", "Third"]);
    }

    #[test]
    fn what_passes_by_itself_is_no_event() {
        let busy = steps(Action::Delete, Outcome::Failed(Failure::new(Class::Busy, "in use")));
        assert!(of_steps(std::slice::from_ref(&busy), Goal::Deleted, &mut Failures::new()).is_empty());
        assert_eq!(of_steps(&[busy], Goal::Present, &mut Failures::new()).len(), 1);
    }
}
