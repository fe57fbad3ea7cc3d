//! Events of the objects on the page. An event counts only where others cannot write it: in its object's own namespace. Bounded in number
//! and size, as whoever may create events chooses what they say. Pure.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt as _;

use super::id::{Id, Kind};
use crate::api::conditions::bounded;
use crate::cli::events::EventLine;

/// Events that are kept of an object.
const MAX_EVENTS: usize = 30;
/// The same of one that is not known: it may be read after its events.
const MAX_OF_UNKNOWN: usize = 5;
/// Unknown objects of which events are kept.
const MAX_UNKNOWN: usize = 1000;
/// Longest name of an object.
const MAX_NAME: usize = 253;
/// Longest texts that are kept of an event: those that the API server accepts, where it checks them.
const MAX_REASON: usize = 128;
const MAX_MESSAGE: usize = 1024;
const MAX_OBJECT: usize = 400;
/// Where events of objects without a namespace are.
const HOME_OF_CLUSTER_SCOPED: &str = "default";

/// The events of all objects, by UID of the event, oldest first.
#[derive(Default)]
pub struct ObjectEvents(HashMap<Id, VecDeque<(String, EventLine)>>);

/// The object that an event is of. `None`: it is of another kind, or in a namespace in which it proves nothing: the API server does not
/// compare the namespaces of all events with those of their objects.
pub fn object_of(event: &Event) -> Option<Id> {
    let of = &event.involved_object;
    let kind = Kind::parse(of.kind.as_deref()?)?;
    let name = of.name.as_deref().filter(|name| (1..=MAX_NAME).contains(&name.len()))?;
    let namespace = if kind.is_namespaced() { of.namespace.as_deref().unwrap_or_default() } else { "" };
    let home = if kind.is_namespaced() { namespace } else { HOME_OF_CLUSTER_SCOPED };
    (event.metadata.namespace.as_deref() == Some(home)).then(|| Id::new(kind, namespace, name))
}

impl ObjectEvents {
    /// Stores an event of an object. `is_known`: the object is on the page.
    pub fn add(&mut self, id: &Id, event: &Event, is_known: bool, now: Timestamp) {
        let uid = event.uid().unwrap_or_default();
        let known = self.0.entry(id.clone()).or_default();
        // A series is one event that is written again.
        known.retain(|(other, _)| *other != uid);
        known.push_back((uid, line_of(event, now)));
        known.make_contiguous().sort_by_key(|(_, line)| line.at);
        while known.len() > if is_known { MAX_EVENTS } else { MAX_OF_UNKNOWN } {
            known.pop_front();
        }
    }

    /// Whether there are events of too many unknown objects, if that many are known.
    pub fn are_too_many(&self, known: usize) -> bool {
        self.0.len() > known + MAX_UNKNOWN
    }

    /// Removes those of the other objects.
    pub fn retain(&mut self, is_kept: impl Fn(&Id) -> bool) {
        self.0.retain(|id, _| is_kept(id));
    }

    /// Removes those of an object.
    pub fn remove(&mut self, id: &Id) {
        self.0.remove(id);
    }

    /// The events of an object, newest first.
    pub fn of(&self, id: &Id) -> impl Iterator<Item = &EventLine> {
        self.0.get(id).into_iter().flatten().rev().map(|(_, line)| line)
    }
}

/// What is kept of an event. Its time is what its author says: one in the future would stay before all others, so the API server's own
/// time counts instead.
fn line_of(event: &Event, now: Timestamp) -> EventLine {
    let line = EventLine::from(event);
    let created = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let at = line.at.filter(|at| *at <= now).or(created).map(|at| at.min(now));
    EventLine {
        at,
        object: bounded(&line.object, MAX_OBJECT),
        reason: bounded(&line.reason, MAX_REASON),
        message: bounded(&line.message, MAX_MESSAGE),
        ..line
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-12-01T00:00:00Z".parse().unwrap()
    }

    /// An event in `at` of an object in `of`, at that second of now, made a minute before.
    fn event(uid: &str, kind: &str, at: &str, of: Value, second: i64) -> Event {
        let time = Timestamp::from_second(now().as_second() + second).unwrap();
        let created = Timestamp::from_second(now().as_second() - 60).unwrap();
        serde_json::from_value(json!({
            "metadata": {"name": uid, "namespace": at, "uid": uid, "creationTimestamp": created},
            "involvedObject": {"kind": kind, "name": "demo", "namespace": of},
            "reason": "r", "message": uid, "lastTimestamp": time,
        }))
        .unwrap()
    }

    #[test]
    fn event_counts_only_in_the_namespace_of_its_object() {
        for (kind, at, of, expected) in [
            ("EksCluster", "team-a", json!("team-a"), Some("team-a")),
            ("NodeGroup", "team-a", json!("team-a"), Some("team-a")),
            ("EksCluster", "team-b", json!("team-a"), None),
            ("EksCluster", "default", json!("team-a"), None),
            ("EksCluster", "team-b", Value::Null, None),
            ("FleetRollout", "default", Value::Null, Some("")),
            ("AwsAccount", "default", json!("team-b"), Some("")),
            ("AwsAccount", "team-b", Value::Null, None),
            ("FleetRollout", "team-b", json!("team-b"), None),
            ("Pod", "team-a", json!("team-a"), None),
        ] {
            let found = object_of(&event("e", kind, at, of.clone(), 0));
            assert_eq!(found.as_ref().map(|id| id.namespace.as_str()), expected, "{kind} of {of} in {at}");
        }
        let mut long = event("e", "EksCluster", "team-a", json!("team-a"), 0);
        long.involved_object.name = Some("x".repeat(MAX_NAME + 1));
        assert_eq!(object_of(&long), None);
    }

    #[test]
    fn number_and_texts_are_bounded() {
        let (mut events, id) = (ObjectEvents::default(), Id::new(Kind::EksCluster, "team-a", "demo"));
        let mut large = event("large", "EksCluster", "team-a", json!("team-a"), 0);
        (large.reason, large.message) = (Some("r".repeat(9000)), Some("\u{e9}".repeat(900_000)));
        large.involved_object.kind = Some("k".repeat(9000));
        events.add(&id, &large, true, now());
        let kept = events.of(&id).next().unwrap();
        let lengths = [&kept.reason, &kept.message, &kept.object].map(|text| text.chars().count());
        assert_eq!(lengths, [MAX_REASON, MAX_MESSAGE, MAX_OBJECT]);
        for number in 0..100 {
            events.add(&id, &event(&number.to_string(), "EksCluster", "team-a", json!("team-a"), -9), true, now());
        }
        assert_eq!(events.of(&id).count(), MAX_EVENTS);
        let unknown = Id::new(Kind::EksCluster, "team-a", "unknown");
        for number in 0..100 {
            events.add(
                &unknown,
                &event(&number.to_string(), "EksCluster", "team-a", json!("team-a"), -9),
                false,
                now(),
            );
        }
        assert_eq!(events.of(&unknown).count(), MAX_OF_UNKNOWN);
    }

    #[test]
    fn time_in_the_future_does_not_push_out_what_happens() {
        let (mut events, id) = (ObjectEvents::default(), Id::new(Kind::EksCluster, "team-a", "demo"));
        for number in 0..MAX_EVENTS {
            let future = event(&format!("future-{number}"), "EksCluster", "team-a", json!("team-a"), 1_000_000);
            events.add(&id, &future, true, now());
        }
        events.add(&id, &event("real", "EksCluster", "team-a", json!("team-a"), -1), true, now());
        let first = events.of(&id).next().unwrap();
        assert_eq!((first.message.as_str(), events.of(&id).count()), ("real", MAX_EVENTS));
        assert!(events.of(&id).all(|line| line.at.unwrap() <= now()));
    }
}
