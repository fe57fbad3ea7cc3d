//! Which events become objects: what repeats is counted in the series of one, what differs in its words only is combined, and no
//! object gets more than a burst of them, whatever is edited how often. As `client-go` does for all Kubernetes components; kube's own
//! `Recorder` goes by the reason alone, so that the second resource that is created would show as the first, and knows no limit.
//! Pure.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::events::EventMessage;

/// New Events of one object in a row, and how long each takes to be made good: `client-go`'s own numbers.
const BURST: u32 = 25;
const REFILL: SignedDuration = SignedDuration::from_mins(5);
/// So many Events of one reason within [`SIMILAR_WITHIN`] have words of their own; the rest are combined.
const SIMILAR: usize = 20;
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// The API server keeps events for an hour.
const KEPT: SignedDuration = SignedDuration::from_mins(55);
/// A series is written at its first repetitions, and then no more often than this.
const WRITTEN_EACH: SignedDuration = SignedDuration::from_secs(30);
const FIRST: i32 = 3;

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is a new object of this name. The note may be another than was asked for.
    Create { name: String, note: String },
    /// It is counted in the series of that object.
    Count { name: String, count: i32 },
    /// It is only remembered, or dropped.
    Nothing,
}

/// What makes two events the same.
type Same = (bool, String, String);

/// An Event that was published.
#[derive(Clone, Debug)]
struct Published {
    name: String,
    count: i32,
    last: Timestamp,
    written: Timestamp,
}

/// New objects that may be made.
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
        let may = self.used < BURST;
        self.used += u32::from(may);
        may
    }
}

#[derive(Debug, Default)]
struct OfObject {
    published: HashMap<Same, Published>,
    /// Of the routine, and of the rest: what was created must not keep from being told that it is ready.
    buckets: [Option<Bucket>; 2],
}

/// The events of the last hour, by the UID of their object.
#[derive(Debug, Default)]
pub struct Series {
    objects: HashMap<String, OfObject>,
    swept: Option<Timestamp>,
}

/// What is done to resources all the time.
const ROUTINE: [&str; 7] = ["Created", "Updated", "Deleted", "Adopted", "Released", "Applied", "ChangedInAws"];

impl Series {
    /// What becomes of `told` of the object `uid`. `name`: that of a new Event.
    pub fn decide(
        &mut self,
        uid: &str,
        told: &EventMessage,
        name: impl FnOnce() -> String,
        now: Timestamp,
    ) -> Decision {
        self.sweep(now);
        let of = self.objects.entry(uid.to_owned()).or_default();
        let same = |note: &str| (told.warning, told.reason.clone(), note.to_owned());
        let exact = same(&told.note);
        let (key, note) = if of.published.contains_key(&exact) || of.similar(told, now) < SIMILAR {
            (exact, told.note.clone())
        } else {
            (same(COMBINED), format!("{COMBINED}: {}", told.note))
        };
        if let Some(before) = of.published.get_mut(&key) {
            before.count = before.count.saturating_add(1);
            before.last = now;
            if before.count > FIRST && now.duration_since(before.written) < WRITTEN_EACH {
                return Decision::Nothing;
            }
            before.written = now;
            return Decision::Count { name: before.name.clone(), count: before.count };
        }
        let bucket = &mut of.buckets[usize::from(ROUTINE.contains(&told.reason.as_str()))];
        if !bucket.get_or_insert(Bucket { used: 0, since: now }).take(now) {
            return Decision::Nothing;
        }
        let name = name();
        of.published.insert(key, Published { name: name.clone(), count: 1, last: now, written: now });
        Decision::Create { name, note }
    }

    /// The Event of that name is not there: what repeats it is a new one.
    pub fn forget(&mut self, uid: &str, name: &str) {
        if let Some(of) = self.objects.get_mut(uid) {
            of.published.retain(|_, published| published.name != name);
        }
    }

    /// Forgets what the API server has forgotten, now and then.
    fn sweep(&mut self, now: Timestamp) {
        if self.swept.is_some_and(|at| now.duration_since(at) < WRITTEN_EACH) {
            return;
        }
        self.swept = Some(now);
        let full = REFILL.saturating_mul(BURST.try_into().unwrap_or(i32::MAX));
        self.objects.retain(|_, of| {
            of.published.retain(|_, one| now.duration_since(one.last) < KEPT);
            let resting = |bucket: &Option<Bucket>| bucket.is_none_or(|bucket| now.duration_since(bucket.since) > full);
            !of.published.is_empty() || !of.buckets.iter().all(resting)
        });
    }
}

/// As Kubernetes's own components say it.
const COMBINED: &str = "(combined from similar events)";

impl OfObject {
    /// Events of the same reason lately, whatever their words.
    fn similar(&self, told: &EventMessage, now: Timestamp) -> usize {
        let lately = |one: &Published| now.duration_since(one.last) < SIMILAR_WITHIN;
        let of = |key: &Same| key.0 == told.warning && key.1 == told.reason && key.2 != COMBINED;
        self.published.iter().filter(|(key, one)| of(key) && lately(one)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Play {
        series: Series,
        names: u32,
        now: Timestamp,
        created: Vec<String>,
        counted: Vec<i32>,
    }

    impl Play {
        fn new() -> Self {
            let (series, now) = (Series::default(), Timestamp::from_second(1_000_000).unwrap());
            Self { series, names: 0, now, created: Vec::new(), counted: Vec::new() }
        }

        fn tell(&mut self, reason: &str, note: &str) {
            let name = format!("e{}", self.names);
            self.names += 1;
            match self.series.decide("uid", &EventMessage::normal(reason, note), || name, self.now) {
                Decision::Create { note, .. } => self.created.push(note),
                Decision::Count { count, .. } => self.counted.push(count),
                Decision::Nothing => {}
            }
        }

        fn wait(&mut self, seconds: i64) {
            self.now += SignedDuration::from_secs(seconds);
        }
    }

    #[test]
    fn what_repeats_is_one_object_whose_series_counts() {
        let mut play = Play::new();
        for _ in 0..1000 {
            play.tell("SyncFailed", "refused");
            play.wait(1);
        }
        assert_eq!(play.created, ["refused"]);
        assert_eq!(play.counted[..3], [2, 3, 33], "at once, and then now and then");
        assert!(play.counted.len() < 40 && *play.counted.last().unwrap() > 960, "{:?}", play.counted);
    }

    #[test]
    fn a_thousand_edits_are_a_few_objects_and_the_last_says_what_it_stands_for() {
        let mut play = Play::new();
        for edit in 0..1000 {
            play.tell("Updated", &format!("IAM role: tags[edit] -> {edit}"));
        }
        assert_eq!(play.created.len(), SIMILAR + 1);
        assert!(play.created.last().unwrap().starts_with("(combined from similar events): IAM role"));
    }

    #[test]
    fn an_object_has_a_burst_of_new_events_and_then_one_each_five_minutes() {
        let mut play = Play::new();
        let tell = |play: &mut Play, count: usize| {
            for _ in 0..count {
                let note = format!("{} {}", play.names, play.now);
                play.tell(["Created", "Deleted", "Updated"][play.names as usize % 3], &note);
            }
        };
        tell(&mut play, 59);
        assert_eq!(play.created.len(), BURST as usize);
        play.wait(301);
        tell(&mut play, 10);
        assert_eq!(play.created.len(), BURST as usize + 1);
        // What was done does not keep from being told how it ended.
        play.tell("Ready", "all is there");
        assert_eq!(play.created.last().unwrap(), "all is there");
    }

    #[test]
    fn what_the_api_server_has_forgotten_is_told_anew() {
        let mut play = Play::new();
        play.tell("Ready", "all is there");
        play.wait(3600);
        play.tell("Ready", "all is there");
        assert_eq!(play.created.len(), 2);
        play.series.forget("uid", "e1");
        play.tell("Ready", "all is there");
        assert_eq!(play.created.len(), 3, "somebody deleted it");
    }

    #[test]
    fn nothing_is_remembered_of_objects_that_rest() {
        let mut play = Play::new();
        play.tell("Ready", "all is there");
        play.wait(3 * 3600);
        play.series.sweep(play.now);
        assert!(play.series.objects.is_empty());
    }
}
