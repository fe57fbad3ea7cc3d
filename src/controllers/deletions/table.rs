//! Which clusters' deletions began lately, and which of them wait because there were too many. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The time within which deletions are counted.
pub const WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// A cluster whose deletion began, or waits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Entry {
    /// `namespace/name`.
    pub name: String,
    /// Since when.
    pub at: Timestamp,
}

/// How many deletions may begin within an hour without a person's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In one namespace.
    pub namespace: u32,
    /// In all namespaces together. One namespace counts for no more than its own limit, however many were approved in it: what
    /// one tenant deletes, and approves, cannot use up what is for the others.
    pub total: u32,
}

/// The limit that a deletion would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// That of its namespace.
    Namespace,
    /// That of all namespaces together.
    Total,
}

/// Whether a deletion may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may, or has begun.
    Begins,
    /// Not before a person agrees.
    Waits {
        /// Which limit holds it.
        exceeded: Exceeded,
        /// Whose deletions began within the hour, of its own namespace: other tenants' names are not its business.
        lately: Vec<String>,
    },
}

/// Deletions by the UID of their object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    began: BTreeMap<String, Entry>,
    held: BTreeMap<String, Entry>,
}

impl Table {
    /// Asks for one, and notes the answer. What waits once waits until it is approved, however long.
    pub fn ask(&mut self, uid: &str, name: &str, now: Timestamp, limits: Limits) -> Verdict {
        if self.began.contains_key(uid) {
            return Verdict::Begins;
        }
        let lately = self.lately(now);
        let own = lately.get(namespace_of(name)).cloned().unwrap_or_default();
        let count = |names: &Vec<String>| u32::try_from(names.len()).unwrap_or(u32::MAX);
        let total = lately.values().map(|names| count(names).min(limits.namespace)).fold(0, u32::saturating_add);
        let exceeded = if count(&own) >= limits.namespace {
            Some(Exceeded::Namespace)
        } else {
            (total >= limits.total).then_some(Exceeded::Total)
        };
        let entry = Entry { name: name.to_owned(), at: now };
        if exceeded.is_none() && !self.held.contains_key(uid) {
            self.began.insert(uid.to_owned(), entry);
            return Verdict::Begins;
        }
        self.held.entry(uid.to_owned()).or_insert(entry);
        Verdict::Waits { exceeded: exceeded.unwrap_or(Exceeded::Namespace), lately: own }
    }

    /// Whether the deletion of `uid` has begun, or was approved.
    pub fn has_begun(&self, uid: &str) -> bool {
        self.began.contains_key(uid)
    }

    /// A person agrees to one.
    pub fn approve(&mut self, uid: &str, name: &str, now: Timestamp) {
        self.held.remove(uid);
        self.began.entry(uid.to_owned()).or_insert(Entry { name: name.to_owned(), at: now });
    }

    /// Forgets what is gone and does not count any more.
    pub fn tidy(&mut self, now: Timestamp, is_there: impl Fn(&str) -> bool) {
        self.began.retain(|uid, entry| is_there(uid) || now.duration_since(entry.at) < WITHIN);
        self.held.retain(|uid, _| is_there(uid));
    }

    /// What began within the hour, by namespace.
    fn lately(&self, now: Timestamp) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in self.began.values().filter(|entry| now.duration_since(entry.at) < WITHIN) {
            found.entry(namespace_of(&entry.name).to_owned()).or_default().push(entry.name.clone());
        }
        found
    }

    /// As it stands in a ConfigMap.
    pub fn encode(&self) -> BTreeMap<String, String> {
        let text = |entries| serde_json::to_string(entries).unwrap_or_default();
        BTreeMap::from([("began".to_owned(), text(&self.began)), ("held".to_owned(), text(&self.held))])
    }

    /// Reads it back.
    ///
    /// # Errors
    /// The key that cannot be read: what is not known may be too much, so nothing is concluded from the rest.
    pub fn decode(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let read = |name: &str| match data.get(name) {
            None => Ok(BTreeMap::new()),
            Some(text) => serde_json::from_str(text).map_err(|error| format!("{name}: {error}")),
        };
        Ok(Self { began: read("began")?, held: read("held")? })
    }
}

fn namespace_of(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { namespace: 3, total: 10 };

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    fn ask(table: &mut Table, uid: &str, minute: i64) -> bool {
        table.ask(uid, &format!("team/{uid}"), at(minute), LIMITS) == Verdict::Begins
    }

    #[test]
    fn a_few_an_hour_begin_and_the_rest_wait_until_a_person_agrees() {
        let mut table = Table::default();
        assert!(["a", "b", "c"].iter().all(|uid| ask(&mut table, uid, 0)));
        assert_eq!(
            table.ask("d", "team/d", at(1), LIMITS),
            Verdict::Waits {
                exceeded: Exceeded::Namespace,
                lately: vec!["team/a".into(), "team/b".into(), "team/c".into()]
            }
        );
        assert!(ask(&mut table, "a", 2), "what has begun goes on");
        assert!(!ask(&mut table, "d", 300), "what waits goes on waiting when the hour is over");
        assert!(ask(&mut table, "e", 300), "a deletion of another day begins");
        table.approve("d", "team/d", at(301));
        assert!(ask(&mut table, "d", 302));
        assert!(ask(&mut table, "f", 303), "the third within this hour");
        assert!(!ask(&mut table, "g", 304), "approved ones count");
        for none in [Limits { namespace: 0, ..LIMITS }, Limits { total: 0, ..LIMITS }] {
            let answer = Table::default().ask("a", "team/a", at(0), none);
            assert!(matches!(answer, Verdict::Waits { lately, .. } if lately.is_empty()), "none may begin by itself");
        }
    }

    #[test]
    fn what_one_namespace_deletes_and_approves_holds_up_no_other() {
        let mut table = Table::default();
        let limits = Limits { namespace: 2, total: 4 };
        let begins = |name: &str, table: &mut Table| table.ask(name, name, at(0), limits) == Verdict::Begins;
        assert!(begins("mallory/1", &mut table) && begins("mallory/2", &mut table));
        for held in 3..9 {
            let name = format!("mallory/{held}");
            assert!(!begins(&name, &mut table));
            table.approve(&name, &name, at(0));
        }
        assert!(begins("search/1", &mut table) && begins("search/2", &mut table));
        assert!(!begins("search/3", &mut table));
    }

    #[test]
    fn many_namespaces_at_once_are_held_by_the_total_and_told_no_names_of_others() {
        let mut table = Table::default();
        let limits = Limits { namespace: 2, total: 4 };
        for name in ["a/1", "a/2", "b/1", "c/1"] {
            assert_eq!(table.ask(name, name, at(0), limits), Verdict::Begins);
        }
        let held = |lately| Verdict::Waits { exceeded: Exceeded::Total, lately };
        assert_eq!(table.ask("d/1", "d/1", at(1), limits), held(vec![]));
        assert_eq!(table.ask("b/2", "b/2", at(1), limits), held(vec!["b/1".into()]));
    }

    #[test]
    fn it_outlives_the_process_and_forgets_what_is_gone() {
        let mut table = Table::default();
        assert!(ask(&mut table, "a", 0) && ask(&mut table, "b", 50) && ask(&mut table, "c", 50));
        assert!(!ask(&mut table, "d", 50));
        assert_eq!(Table::decode(&table.encode()), Ok(table.clone()));
        table.tidy(at(70), |uid| uid == "b");
        assert_eq!(table.began.keys().collect::<Vec<_>>(), ["b", "c"], "c is gone, and counts still");
        assert!(table.held.is_empty());
        assert!(Table::decode(&BTreeMap::from([("held".to_owned(), "{".to_owned())])).is_err());
    }
}
