//! Which events are to be sent: from what needs a person now, and what was sent. It keeps no queue of events, only one
//! entry for each need, so that it cannot grow beyond them, and forgets nothing that still needs a person. Pure.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use super::cloud_event::Phase;
use super::needs::Need;

/// Needs that are followed; others wait until some have ended.
const MAX_NEEDS: usize = 10_000;
/// Ended needs that are remembered.
const MAX_ENDED: usize = 10_000;

/// What was sent, and what is to be sent.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    /// By the need's own id.
    entries: BTreeMap<String, Entry>,
    /// How often a need with this id has ended.
    ended: BTreeMap<String, u32>,
    /// Number of the next entry.
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
    pub fn observe(&mut self, needs: Vec<Need>, is_unknown: impl Fn(&Need) -> bool, now: Timestamp) {
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
        for (key, need) in needs {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.need = need;
            } else if self.entries.len() < MAX_NEEDS {
                // One that returns has another id: receivers would drop the one that they know.
                let id = match self.ended.get(&key) {
                    None => key.clone(),
                    Some(times) => format!("{key}-{}", times + 1),
                };
                let entry = Entry { need, id, number: self.number, state: State::Opening, attempts: 0 };
                self.number += 1;
                self.entries.insert(key, entry);
            }
        }
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
                *self.ended.entry(message.key.clone()).or_default() += 1;
                if self.ended.len() > MAX_ENDED {
                    self.ended.pop_first();
                }
            }
        }
    }

    /// How many events are to be sent.
    pub fn pending(&self) -> usize {
        self.entries.values().filter(|entry| entry.state != State::Open).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::needs::{About, NeedKind};
    use super::*;

    fn need(name: &str) -> Need {
        Need {
            about: About { kind: "EksCluster", namespace: None, name: name.into(), uid: name.into() },
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
    fn another_process_sends_what_is_open_with_the_same_id() {
        let (mut first, mut second) = (World::default(), World::default());
        first.observe(&["a"]);
        second.observe(&["a"]);
        assert_eq!(first.outbox.next().unwrap().id, second.outbox.next().unwrap().id);
    }
}
