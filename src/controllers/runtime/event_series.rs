//! Decides which events become Event objects, like `client-go` does for all Kubernetes components: repetitions are
//! counted in a series, events that differ only in their note are combined, and each object has a bounded burst.
//! kube's own `Recorder` (5.0) cannot replace this: its key is type, action, reason and object without the note, so a
//! second created resource would only raise the count of the first for six minutes. It has no burst, no queue that
//! drops, and no limits on notes and names, beyond which the API server rejects an event. Pure.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::event_message::EventMessage;

/// Burst of new Events per object, and the time to refill one: the values of `client-go`.
const BURST: u32 = 25;
const REFILL: SignedDuration = SignedDuration::from_mins(5);
/// This many Events of one reason within [`SIMILAR_WITHIN`] keep their own note; the rest are combined.
const MAX_SIMILAR: usize = 20;
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// The API server keeps Events for an hour.
const EVENT_TTL: SignedDuration = SignedDuration::from_mins(55);
/// A series is written at its first repetitions, then at most this often.
const WRITE_INTERVAL: SignedDuration = SignedDuration::from_secs(30);
const ALWAYS_WRITTEN: i32 = 3;

/// What to do with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Create an Event of this name. The note may differ from the requested one.
    Create { name: String, note: String },
    /// Update the count of that Event's series.
    Count { name: String, count: i32 },
    /// Do not write anything: the event is only counted, or dropped.
    Skip,
}

/// Events with equal keys belong to one series: warning, reason, note.
type SeriesKey = (bool, String, String);

/// A published Event.
#[derive(Clone, Debug)]
struct Published {
    name: String,
    count: i32,
    last: Timestamp,
    written: Timestamp,
}

/// A token bucket for new Events.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    used: u32,
    since: Timestamp,
}

impl Bucket {
    fn take(&mut self, now: Timestamp) -> bool {
        while self.used > 0 && now.duration_since(self.since) >= REFILL {
            self.used -= 1;
            self.since = self.since.saturating_add(REFILL).unwrap_or(now);
        }
        if self.used == 0 {
            self.since = now;
        }
        let allowed = self.used < BURST;
        self.used += u32::from(allowed);
        allowed
    }
}

#[derive(Debug, Default)]
struct ObjectEvents {
    published: HashMap<SeriesKey, Published>,
    /// One for routine events and one for the rest, so that creation events cannot suppress the Ready event.
    buckets: [Option<Bucket>; 2],
}

/// The events of the last hour, by object UID.
#[derive(Debug, Default)]
pub struct Series {
    objects: HashMap<String, ObjectEvents>,
    last_sweep: Option<Timestamp>,
}

/// Reasons of routine operations.
const ROUTINE: [&str; 7] = ["Created", "Updated", "Deleted", "Adopted", "Released", "Applied", "ChangedInAws"];

impl Series {
    /// Decides what to do with `event` of the object `uid`. `name` generates the name of a new Event.
    pub fn decide(
        &mut self,
        uid: &str,
        event: &EventMessage,
        name: impl FnOnce() -> String,
        now: Timestamp,
    ) -> Decision {
        self.sweep(now);
        let events = self.objects.entry(uid.to_owned()).or_default();
        let series_key = |note: &str| (event.warning, event.reason.clone(), note.to_owned());
        let exact = series_key(&event.note);
        let (key, note) = if events.published.contains_key(&exact) || events.similar(event, now) < MAX_SIMILAR {
            (exact, event.note.clone())
        } else {
            (series_key(COMBINED), format!("{COMBINED}: {}", event.note))
        };
        if let Some(before) = events.published.get_mut(&key) {
            before.count = before.count.saturating_add(1);
            before.last = now;
            if before.count > ALWAYS_WRITTEN && now.duration_since(before.written) < WRITE_INTERVAL {
                return Decision::Skip;
            }
            before.written = now;
            return Decision::Count { name: before.name.clone(), count: before.count };
        }
        let bucket = &mut events.buckets[usize::from(ROUTINE.contains(&event.reason.as_str()))];
        if !bucket.get_or_insert(Bucket { used: 0, since: now }).take(now) {
            return Decision::Skip;
        }
        let name = name();
        events.published.insert(key, Published { name: name.clone(), count: 1, last: now, written: now });
        Decision::Create { name, note }
    }

    /// Forgets an Event that does not exist in the API server; a repetition creates a new one.
    pub fn forget(&mut self, uid: &str, name: &str) {
        if let Some(events) = self.objects.get_mut(uid) {
            events.published.retain(|_, published| published.name != name);
        }
    }

    /// Periodically forgets Events that have expired in the API server.
    fn sweep(&mut self, now: Timestamp) {
        if self.last_sweep.is_some_and(|at| now.duration_since(at) < WRITE_INTERVAL) {
            return;
        }
        self.last_sweep = Some(now);
        let full = REFILL.saturating_mul(BURST.try_into().unwrap_or(i32::MAX));
        self.objects.retain(|_, events| {
            events.published.retain(|_, one| now.duration_since(one.last) < EVENT_TTL);
            let is_idle = |bucket: &Option<Bucket>| bucket.is_none_or(|bucket| now.duration_since(bucket.since) > full);
            !events.published.is_empty() || !events.buckets.iter().all(is_idle)
        });
    }
}

/// The text that Kubernetes components use.
const COMBINED: &str = "(combined from similar events)";

impl ObjectEvents {
    /// The number of recent Events with the same reason and any note.
    fn similar(&self, event: &EventMessage, now: Timestamp) -> usize {
        let is_recent = |one: &Published| now.duration_since(one.last) < SIMILAR_WITHIN;
        let is_same_reason = |key: &SeriesKey| key.0 == event.warning && key.1 == event.reason && key.2 != COMBINED;
        self.published.iter().filter(|(key, one)| is_same_reason(key) && is_recent(one)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        series: Series,
        names: u32,
        now: Timestamp,
        created: Vec<String>,
        counted: Vec<i32>,
    }

    impl Fixture {
        fn new() -> Self {
            let (series, now) = (Series::default(), Timestamp::from_second(1_000_000).unwrap());
            Self { series, names: 0, now, created: Vec::new(), counted: Vec::new() }
        }

        fn publish(&mut self, reason: &str, note: &str) {
            let name = format!("e{}", self.names);
            self.names += 1;
            match self.series.decide("uid", &EventMessage::normal(reason, note), || name, self.now) {
                Decision::Create { note, .. } => self.created.push(note),
                Decision::Count { count, .. } => self.counted.push(count),
                Decision::Skip => {}
            }
        }

        fn wait(&mut self, seconds: i64) {
            self.now += SignedDuration::from_secs(seconds);
        }
    }

    #[test]
    fn repeated_event_is_one_object_with_a_series_count() {
        let mut fixture = Fixture::new();
        for _ in 0..1000 {
            fixture.publish("SyncFailed", "refused");
            fixture.wait(1);
        }
        assert_eq!(fixture.created, ["refused"]);
        assert_eq!(fixture.counted[..3], [2, 3, 33], "at once, then occasionally");
        assert!(fixture.counted.len() < 40 && *fixture.counted.last().unwrap() > 960, "{:?}", fixture.counted);
    }

    #[test]
    fn similar_events_are_combined() {
        let mut fixture = Fixture::new();
        for edit in 0..1000 {
            fixture.publish("Updated", &format!("IAM role: tags[edit] -> {edit}"));
        }
        assert_eq!(fixture.created.len(), MAX_SIMILAR + 1);
        assert!(fixture.created.last().unwrap().starts_with("(combined from similar events): IAM role"));
    }

    #[test]
    fn new_events_are_limited_to_a_burst_and_one_each_five_minutes() {
        let mut fixture = Fixture::new();
        let publish = |fixture: &mut Fixture, count: usize| {
            for _ in 0..count {
                let note = format!("{} {}", fixture.names, fixture.now);
                fixture.publish(["Created", "Deleted", "Updated"][fixture.names as usize % 3], &note);
            }
        };
        publish(&mut fixture, 59);
        assert_eq!(fixture.created.len(), BURST as usize);
        fixture.wait(301);
        publish(&mut fixture, 10);
        assert_eq!(fixture.created.len(), BURST as usize + 1);
        // Routine events do not suppress the outcome.
        fixture.publish("Ready", "all resources exist");
        assert_eq!(fixture.created.last().unwrap(), "all resources exist");
    }

    #[test]
    fn expired_or_deleted_event_is_created_again() {
        let mut fixture = Fixture::new();
        fixture.publish("Ready", "all resources exist");
        fixture.wait(3600);
        fixture.publish("Ready", "all resources exist");
        assert_eq!(fixture.created.len(), 2);
        fixture.series.forget("uid", "e1");
        fixture.publish("Ready", "all resources exist");
        assert_eq!(fixture.created.len(), 3, "the Event was deleted");
    }

    #[test]
    fn idle_objects_are_forgotten() {
        let mut fixture = Fixture::new();
        fixture.publish("Ready", "all resources exist");
        fixture.wait(3 * 3600);
        fixture.series.sweep(fixture.now);
        assert!(fixture.series.objects.is_empty());
    }
}
