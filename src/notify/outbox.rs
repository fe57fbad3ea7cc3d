//! Which events are to be sent: from what needs a person now, and what was sent. It keeps no queue of events, only one
//! entry for each need, so that it cannot grow beyond them, and forgets nothing that still needs a person. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use super::cloud_event::Phase;
use super::needs::Need;

/// Needs of a namespace that are followed; others wait until some have ended. A tenant with more silences nobody else. Those of
/// cluster-scoped objects, which only administrators write, have no limit.
pub const MAX_OF_NAMESPACE: usize = 1_000;
/// Ended needs that are remembered.
const MAX_ENDED: usize = 10_000;

/// What was sent, and what is to be sent.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    /// By the need's own id.
    entries: BTreeMap<String, Entry>,
    /// By the id of a need that has ended.
    ended: BTreeMap<String, Earlier>,
    /// Number of what began or ended last.
    number: u64,
    /// Namespaces that have had more needs than are followed.
    crowded: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Earlier {
    /// How often.
    times: u32,
    /// The order in which they ended last.
    number: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    need: Need,
    /// Its id in events.
    id: String,
    /// The order in which they began.
    number: u64,
    state: State,
    /// Attempts to send its next event.
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// That it is open is to be sent.
    Opening,
    /// That was sent.
    Open,
    /// That it has ended is to be sent.
    Resolving(Timestamp),
}

/// An event to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    key: String,
    /// The need.
    pub need: Need,
    /// Id of the need.
    pub id: String,
    /// What the event says.
    pub phase: Phase,
}

impl Outbox {
    /// Notes what needs a person now. `is_unknown`: of an object that cannot be read now, what is noted stays.
    /// Returns the namespaces that have more needs than are followed, each only once.
    pub fn observe(&mut self, needs: Vec<Need>, is_unknown: impl Fn(&Need) -> bool, now: Timestamp) -> Vec<String> {
        let needs: Vec<(String, Need)> = needs.into_iter().map(|need| (need.id(), need)).collect();
        let open: HashSet<&str> = needs.iter().map(|(key, _)| key.as_str()).collect();
        self.entries.retain(|key, entry| {
            let is_open = open.contains(key.as_str()) || is_unknown(&entry.need);
            match entry.state {
                // Nobody has heard of it.
                State::Opening if !is_open && entry.attempts == 0 => return false,
                // Somebody may have: an answer can be lost.
                State::Opening | State::Open if !is_open => {
                    (entry.state, entry.attempts) = (State::Resolving(now), 0);
                }
                // Nobody has heard that it had ended.
                State::Resolving(_) if is_open && entry.attempts == 0 => entry.state = State::Open,
                State::Opening | State::Open | State::Resolving(_) => {}
            }
            true
        });
        let mut followed: HashMap<String, usize> = HashMap::new();
        for namespace in self.entries.values().filter_map(|entry| entry.need.about.namespace.as_ref()) {
            *followed.entry(namespace.clone()).or_default() += 1;
        }
        let mut crowded = Vec::new();
        for (key, need) in needs {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.need = need;
                continue;
            }
            if let Some(namespace) = &need.about.namespace {
                let count = followed.entry(namespace.clone()).or_default();
                if *count >= MAX_OF_NAMESPACE {
                    if self.crowded.insert(namespace.clone()) {
                        crowded.push(namespace.clone());
                    }
                    continue;
                }
                *count += 1;
            }
            // One that returns has another id: receivers would drop the one that they know.
            let id = match self.ended.get(&key) {
                None => key.clone(),
                Some(ended) => format!("{key}-{}", ended.times + 1),
            };
            let entry = Entry { need, id, number: self.next_number(), state: State::Opening, attempts: 0 };
            self.entries.insert(key, entry);
        }
        crowded
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// The next event to send: what failed goes behind the others.
    pub fn next(&self) -> Option<Message> {
        let pending = self.entries.iter().filter(|(_, entry)| entry.state != State::Open);
        let (key, entry) = pending.min_by_key(|(_, entry)| (entry.attempts, entry.number))?;
        let phase = match entry.state {
            State::Opening | State::Open => Phase::Open,
            State::Resolving(at) => Phase::Resolved(at),
        };
        Some(Message { key: key.clone(), need: entry.need.clone(), id: entry.id.clone(), phase })
    }

    /// Notes that the event is about to be sent.
    pub fn attempt(&mut self, message: &Message) {
        if let Some(entry) = self.entries.get_mut(&message.key) {
            entry.attempts = entry.attempts.saturating_add(1);
        }
    }

    /// Notes that the receiver has taken the event, or never will.
    pub fn settled(&mut self, message: &Message) {
        let Some(entry) = self.entries.get_mut(&message.key) else { return };
        match message.phase {
            Phase::Open => (entry.state, entry.attempts) = (State::Open, 0),
            Phase::Resolved(_) => {
                self.entries.remove(&message.key);
                let number = self.next_number();
                let ended = self.ended.entry(message.key.clone()).or_default();
                (ended.times, ended.number) = (ended.times + 1, number);
                if self.ended.len() > MAX_ENDED {
                    self.forget_oldest();
                }
            }
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.ended.iter().min_by_key(|(_, ended)| ended.number).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            self.ended.remove(&oldest);
        }
    }

    /// How many events are to be sent.
    pub fn pending(&self) -> usize {
        self.entries.values().filter(|entry| entry.state != State::Open).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::needs::{AffectedObject, NeedKind};
    use super::*;

    fn need(name: &str) -> Need {
        Need {
            about: AffectedObject { kind: "EksCluster", namespace: None, name: name.into(), uid: name.into() },
            kind: NeedKind::ObjectStalled,
            detail: "Failed/1".into(),
            reason: "Failed".into(),
            message: "m".into(),
            since: None,
        }
    }

    /// An outbox, and what its receiver has got.
    #[derive(Default)]
    struct World {
        outbox: Outbox,
        got: Vec<String>,
    }

    impl World {
        fn observe(&mut self, names: &[&str]) {
            self.outbox.observe(names.iter().map(|name| need(name)).collect(), |_| false, Timestamp::UNIX_EPOCH);
        }

        fn attempt(&mut self, takes: bool) {
            let Some(message) = self.outbox.next() else { return };
            self.outbox.attempt(&message);
            if takes {
                self.outbox.settled(&message);
                let sign = if message.phase == Phase::Open { "+" } else { "-" };
                let again = message.id.strip_prefix(&message.key).unwrap().to_owned();
                self.got.push(format!("{sign}{}{again}", message.need.about.name));
            }
        }

        fn send_all(&mut self) {
            while self.outbox.pending() > 0 {
                self.attempt(true);
            }
        }
    }

    #[test]
    fn each_need_is_sent_once_and_its_end_once() {
        let mut world = World::default();
        world.observe(&["a", "b"]);
        world.send_all();
        world.observe(&["a", "b"]);
        world.send_all();
        world.observe(&["b"]);
        world.send_all();
        world.observe(&["b"]);
        world.send_all();
        assert_eq!(world.got, ["+a", "+b", "-a"]);
    }

    #[test]
    fn need_that_ended_before_it_was_sent_is_not_sent() {
        let mut world = World::default();
        world.observe(&["a"]);
        world.observe(&[]);
        world.send_all();
        assert!(world.got.is_empty());
    }

    #[test]
    fn end_is_sent_when_the_answer_to_the_beginning_was_lost() {
        let mut world = World::default();
        world.observe(&["a"]);
        world.attempt(false);
        world.observe(&[]);
        world.send_all();
        assert_eq!(world.got, ["-a"]);
    }

    #[test]
    fn event_that_fails_does_not_hold_up_the_others() {
        let mut world = World::default();
        world.observe(&["a", "b", "c"]);
        world.attempt(false);
        world.send_all();
        assert_eq!(world.got, ["+b", "+c", "+a"]);
    }

    #[test]
    fn need_that_returns_has_another_id_once_its_end_was_sent() {
        let mut world = World::default();
        world.observe(&["a"]);
        world.send_all();
        // Back before anybody heard of its end.
        world.observe(&[]);
        world.observe(&["a"]);
        world.send_all();
        assert_eq!(world.got, ["+a"]);
        world.observe(&[]);
        // Somebody may have heard of it.
        world.attempt(false);
        world.observe(&["a"]);
        world.send_all();
        world.observe(&["a"]);
        world.send_all();
        assert_eq!(world.got, ["+a", "-a", "+a-2"]);
    }

    #[test]
    fn what_is_noted_of_an_object_that_cannot_be_read_stays() {
        let mut world = World::default();
        world.observe(&["a"]);
        world.send_all();
        world.outbox.observe(Vec::new(), |need| need.about.uid == "a", Timestamp::UNIX_EPOCH);
        assert_eq!(world.outbox.pending(), 0);
        world.observe(&[]);
        assert_eq!(world.outbox.pending(), 1);
    }

    #[test]
    fn namespace_with_too_many_needs_silences_no_other_and_is_named_once() {
        let of = |namespace: Option<&str>, name: String| {
            let mut found = need(&name);
            found.about.namespace = namespace.map(str::to_owned);
            found
        };
        let mut all: Vec<Need> = (0..=MAX_OF_NAMESPACE).map(|number| of(Some("a"), format!("a{number}"))).collect();
        all.push(of(Some("b"), "b".into()));
        all.extend((0..=MAX_OF_NAMESPACE).map(|number| of(None, format!("rollout{number}"))));
        let mut outbox = Outbox::default();
        let mut observe = |needs: &[Need]| {
            let crowded = outbox.observe(needs.to_vec(), |_| false, Timestamp::UNIX_EPOCH);
            (crowded, outbox.pending())
        };
        assert_eq!(observe(&all), (vec!["a".to_owned()], all.len() - 1));
        assert_eq!(observe(&all), (Vec::new(), all.len() - 1));
        // Another one has ended, before anybody heard of it: the last one has its place.
        assert_eq!(observe(&all[1..]), (Vec::new(), all.len() - 1));
    }

    #[test]
    fn what_ended_first_is_forgotten_first() {
        let mut world = World::default();
        for name in ["a", "b", "c", "a"] {
            world.observe(&[name]);
            world.send_all();
            world.observe(&[]);
            world.send_all();
        }
        world.outbox.forget_oldest();
        for name in ["a", "b", "c"] {
            world.observe(&[name]);
            world.send_all();
        }
        let opened: Vec<&String> = world.got.iter().rev().filter(|event| event.starts_with('+')).take(3).collect();
        assert_eq!(opened, ["+c-2", "+b", "+a-3"]);
    }

    #[test]
    fn another_process_sends_what_is_open_with_the_same_id() {
        let (mut first, mut second) = (World::default(), World::default());
        first.observe(&["a"]);
        second.observe(&["a"]);
        assert_eq!(first.outbox.next().unwrap().id, second.outbox.next().unwrap().id);
    }
}
