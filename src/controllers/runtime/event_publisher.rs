//! Publishes Kubernetes events: what was done in AWS, once it is complete, and what failed there. Actions of one kind
//! in one reconcile become one event; [`super::event_series`] decides which become objects. Publishing runs beside the
//! reconcile and never blocks it; events are dropped when the API server rejects them, as status holds the same
//! information. I/O: the management cluster's API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use super::event_message::EventMessage;
use super::event_series::{Decision, Series};
use super::kind_watch::digest;
use crate::api::Reason;
use crate::api::conditions::bounded;
use crate::api::stable_text::stable;
use crate::controllers::status::plan_status;
use crate::controllers::status::progress;
use crate::controllers::status::reasons;
use crate::engine::{
    Action, CREATION, Class, DELETION, FinishedOperation, Goal, Key, Operation, Outcome, StepResult, is_lifecycle,
};
use crate::resources::eks::lifecycle;

/// Concurrent publishers: bursts queue here, not in front of status patches. Events of one object are published in
/// order.
const WORKERS: usize = 4;
/// Maximum queued batches; beyond it, events are dropped.
const MAX_QUEUED: usize = 2000;
const TIMEOUT: Duration = Duration::from_secs(10);
/// The API's limit.
const MAX_NOTE: usize = 1000;

/// The last published failure of each resource, so that a repeated failure is published once.
pub type Failures = BTreeMap<Key, (Class, String)>;

/// The events for the steps of a reconcile.
pub fn step_events(steps: &[StepResult], goal: Goal, failures: &mut Failures) -> Vec<EventMessage> {
    let mut messages = Vec::new();
    for StepResult { key, action, changes, outcome } in steps {
        let name = progress::label(key);
        match outcome {
            Outcome::Done(id) => {
                failures.remove(key);
                let reason = match action {
                    Action::Create => "Created",
                    Action::Update => "Updated",
                    Action::Adopt => "Adopted",
                    Action::Delete => "Deleted",
                    Action::Release => "Released",
                };
                let mut note = with_id(&name, id);
                if !changes.is_empty() {
                    note = format!("{note}: {}", plan_status::format_changes(changes));
                }
                messages.push(EventMessage { action: action.as_str().into(), ..EventMessage::normal(reason, note) });
            }
            // Published when the operation completes: it may still fail.
            Outcome::InProgress(_) => {}
            Outcome::Failed(failure) => {
                let this = (failure.class, stable(&failure.message).into_owned());
                let is_transient = matches!(failure.class, Class::NotYetVisible | Class::NotFound | Class::NotLeader);
                // During a deletion, a resource in use is expected for a while.
                let is_transient = is_transient || (goal == Goal::Deleted && failure.class == Class::Busy);
                if is_transient || failures.get(key) == Some(&this) {
                    continue;
                }
                failures.insert(key.clone(), this);
                let note = format!("{name}: {}", failure.message);
                let warning = EventMessage::warning(reasons::reason(failure.class), note);
                messages.push(EventMessage { action: action.as_str().into(), ..warning });
            }
        }
    }
    merge_events(messages)
}

/// The resource and its id in AWS, which may be its name.
fn with_id(name: &str, id: &str) -> String {
    let ends_with_id = name.rsplit(' ').next() == Some(id);
    if ends_with_id { name.to_owned() } else { format!("{name} {id}") }
}

/// Merges events of one reason into as few as possible: a network consists of dozens of resources.
fn merge_events(all: Vec<EventMessage>) -> Vec<EventMessage> {
    let mut messages: Vec<EventMessage> = Vec::new();
    for one in all {
        let fits = |other: &&mut EventMessage| {
            !other.warning
                && other.reason == one.reason
                && other.note.chars().count() + one.note.chars().count() + 2 <= MAX_NOTE
        };
        match messages.iter_mut().find(fits).filter(|_| !one.warning) {
            Some(other) => other.note = format!("{}; {}", other.note, one.note),
            None => messages.push(one),
        }
    }
    messages
}

/// The events for finished operations: results, and failures.
pub fn operation_events(finished: &[FinishedOperation], failures: &mut Failures) -> Vec<EventMessage> {
    let messages = finished.iter().filter_map(|FinishedOperation { key, operation, changes, result, .. }| {
        let (name, Operation { id, kind, .. }) = (progress::label(key), operation);
        let what =
            if changes.is_empty() { String::new() } else { format!("{}, ", plan_status::format_changes(changes)) };
        if result.is_ok() {
            failures.remove(key);
        }
        match result {
            Ok(took) if lifecycle::is_version_update(kind) => Some(EventMessage::normal(
                "Upgraded",
                format!("{name}: {what}{kind} {id} took {}", progress::rough(*took)),
            )),
            Ok(_) if kind == DELETION => Some(EventMessage::normal("Deleted", with_id(&name, id))),
            Ok(_) if kind == CREATION => Some(EventMessage::normal("Created", with_id(&name, id))),
            // Started by another process or manually: what it changed is unknown.
            Ok(_) if changes.is_empty() => None,
            Ok(_) => Some(EventMessage::normal("Updated", format!("{name}: {}", plan_status::format_changes(changes)))),
            // The object becomes Stalled with that message, or the resource is created again.
            Err(_) if is_lifecycle(kind) => None,
            // The message contains the update id, which differs at each attempt.
            Err(failure) => {
                let this = (failure.class, failure.message.replace(id.as_str(), ""));
                let published_before = failures.insert(key.clone(), this.clone()) == Some(this);
                (!published_before)
                    .then(|| EventMessage::warning(Reason::Failed, format!("{name}: {}", failure.message)))
            }
        }
    });
    messages.collect()
}

/// Publishes events. Clones share the limits.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
    series: Arc<[tokio::sync::Mutex<Series>; WORKERS]>,
    queue_slots: Arc<Semaphore>,
    /// The last timestamp used, as event names need unique ones.
    last: Arc<Mutex<Timestamp>>,
}

impl Events {
    /// Creates a publisher that reports as the replica `instance`.
    pub fn new(client: Client, instance: &str) -> Self {
        Self {
            client,
            instance: bounded(instance, 128),
            series: Arc::default(),
            queue_slots: Arc::new(Semaphore::new(MAX_QUEUED)),
            last: Arc::new(Mutex::new(Timestamp::UNIX_EPOCH)),
        }
    }

    /// Queues events for publishing in order, and returns at once.
    pub fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, messages: Vec<EventMessage>) {
        if messages.is_empty() {
            return;
        }
        let Ok(permit) = self.queue_slots.clone().try_acquire_owned() else {
            tracing::debug!(count = messages.len(), "events dropped: too many are queued");
            return;
        };
        let regarding = object.object_ref(&());
        // Events of cluster-scoped objects live in `default`.
        let namespace = object.namespace().unwrap_or_else(|| "default".into());
        let uid = regarding.uid.clone().unwrap_or_default();
        let (this, api) = (self.clone(), Api::<Event>::namespaced(self.client.clone(), &namespace));
        tokio::spawn(async move {
            let _permit = permit;
            let mut series = this.series[usize::try_from(digest(&uid)).unwrap_or_default() % WORKERS].lock().await;
            for event in messages {
                let event = EventMessage { note: bounded(&stable(&event.note), MAX_NOTE), ..event };
                let now = this.unique_timestamp();
                let name = || {
                    format!(
                        "{}.{:x}",
                        bounded_name(regarding.name.as_deref().unwrap_or("keelson")),
                        now.as_nanosecond()
                    )
                };
                let decision = series.decide(&uid, &event, name, now);
                // A rejected event does not affect the next ones.
                if let Some(unknown) = this.send(&api, &regarding, event, decision, now).await {
                    series.forget(&uid, &unknown);
                }
            }
        });
    }

    /// Sends an event. Returns the Event's name if it does not exist in the API server.
    async fn send(
        &self,
        api: &Api<Event>,
        regarding: &ObjectReference,
        message: EventMessage,
        decision: Decision,
        now: Timestamp,
    ) -> Option<String> {
        let (name, sent) = match decision {
            Decision::Skip => return None,
            Decision::Create { name, note } => {
                let event = self.event(regarding, &name, EventMessage { note, ..message }, now);
                let sent = tokio::time::timeout(TIMEOUT, api.create(&PostParams::default(), &event)).await;
                (name, sent.map(|sent| sent.map(drop)))
            }
            Decision::Count { name, count } => {
                let series = EventSeries { count, last_observed_time: MicroTime(now) };
                let patch = Patch::Merge(serde_json::json!({"series": series}));
                let sent =
                    tokio::time::timeout(TIMEOUT, api.patch_metadata(&name, &PatchParams::default(), &patch)).await;
                (name, sent.map(|sent| sent.map(drop)))
            }
        };
        match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                tracing::debug!(error = %super::apply::describe_error(&error), "an event was rejected");
                Some(name)
            }
            Err(_) => Some(name),
        }
    }

    fn event(&self, regarding: &ObjectReference, name: &str, message: EventMessage, now: Timestamp) -> Event {
        Event {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            action: Some(message.action),
            reason: Some(message.reason),
            note: Some(bounded(&message.note, MAX_NOTE)),
            type_: Some(if message.warning { "Warning" } else { "Normal" }.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(regarding.clone()),
            reporting_controller: Some("keelson.dev/controller".to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }

    /// The current time, never the same twice.
    fn unique_timestamp(&self) -> Timestamp {
        let mut last = self.last.lock();
        let next = last.saturating_add(jiff::SignedDuration::from_micros(1)).unwrap_or(*last);
        *last = Timestamp::now().max(next);
        *last
    }
}

/// Names have at most 253 characters, and the timestamp needs some.
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
    fn each_step_is_published_and_a_repeated_failure_once() {
        let mut failures = Failures::new();
        let denied = || steps(Action::Create, Outcome::Failed(Failure::new(Class::Denied, "CreateVpc: denied")));
        let mut update = steps(Action::Update, Outcome::Done("vpc-1".into()));
        update.changes.push(Change::in_place("tags[team]", "", "shop"));
        let messages = step_events(
            &[denied(), denied(), steps(Action::Create, Outcome::Done("vpc-1".into())), update],
            Goal::Present,
            &mut failures,
        );
        let lines: Vec<_> =
            messages.iter().map(|event| format!("{} {} {}", event.warning, event.reason, event.note)).collect();
        let expected = [
            "true AccessDenied VPC: CreateVpc: denied",
            "false Created VPC vpc-1",
            "false Updated VPC vpc-1: tags[team] (none) -> shop",
        ];
        assert_eq!(lines, expected);
        assert!(failures.is_empty());
    }

    #[test]
    fn an_id_that_is_the_name_is_not_repeated() {
        let done = |key: Key, id: &str| StepResult { key, ..steps(Action::Create, Outcome::Done(id.into())) };
        let all = [
            done(Key::named("addon", "coredns"), "coredns"),
            done(Key::named("addon", "coredns"), "dns"),
            done(Key::single("vpc"), "vpc-1"),
        ];
        let messages = step_events(&all, Goal::Present, &mut Failures::new());
        let notes: Vec<_> = messages.iter().map(|event| event.note.as_str()).collect();
        assert_eq!(notes, ["add-on coredns; add-on coredns dns; VPC vpc-1"]);
    }

    #[test]
    fn operation_is_published_on_completion_and_a_repeated_failure_once() {
        let finished = |id: &str, fails: bool| {
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
        let messages: Vec<_> = tries
            .iter()
            .flat_map(|(id, fails)| {
                let begun = steps(Action::Update, Outcome::InProgress("coredns".into()));
                let begun = StepResult { key: Key::named("addon", "coredns"), ..begun };
                assert_eq!(step_events(&[begun], Goal::Present, &mut failures), []);
                operation_events(&[finished(id, *fails)], &mut failures)
            })
            .map(|event| format!("{} {}", event.reason, event.note))
            .collect();
        let expected = [
            "Failed add-on coredns: EKS update u-1 failed: it conflicts",
            "Updated add-on coredns: version 1 -> 2",
            "Failed add-on coredns: EKS update u-4 failed: it conflicts",
        ];
        assert_eq!(messages, expected);
    }

    #[tokio::test]
    async fn rejected_event_does_not_drop_the_rest_of_its_batch() {
        use axum::http::StatusCode;
        let posted = Arc::new(Mutex::new(Vec::new()));
        let received = posted.clone();
        let answer = move |body: String| async move {
            let event: Event = serde_json::from_str(&body).unwrap();
            let mut posted = received.lock();
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
        while posted.lock().len() < 3 && std::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(*posted.lock(), ["First", "Second", "Third"]);
    }

    #[test]
    fn transient_failures_are_not_published() {
        let busy = steps(Action::Delete, Outcome::Failed(Failure::new(Class::Busy, "in use")));
        assert!(step_events(std::slice::from_ref(&busy), Goal::Deleted, &mut Failures::new()).is_empty());
        assert_eq!(step_events(&[busy], Goal::Present, &mut Failures::new()).len(), 1);
    }
}
