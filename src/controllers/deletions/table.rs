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

/// Whether a deletion may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may, or has begun.
    Begins,
    /// Not before a person agrees. Holds whose deletions began lately.
    Waits(Vec<String>),
}

/// Deletions by the UID of their object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    began: BTreeMap<String, Entry>,
    held: BTreeMap<String, Entry>,
}

impl Table {
    /// Asks for one, and notes the answer. What waits once waits until it is approved, however long.
    pub fn ask(&mut self, uid: &str, name: &str, now: Timestamp, most: u32) -> Verdict {
        if self.began.contains_key(uid) {
            return Verdict::Begins;
        }
        let lately = self.lately(now);
        let few = u32::try_from(lately.len()).is_ok_and(|count| count < most);
        let entry = Entry { name: name.to_owned(), at: now };
        if few && !self.held.contains_key(uid) {
            self.began.insert(uid.to_owned(), entry);
            return Verdict::Begins;
        }
        self.held.entry(uid.to_owned()).or_insert(entry);
        Verdict::Waits(lately)
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

    fn lately(&self, now: Timestamp) -> Vec<String> {
        let lately = self.began.values().filter(|entry| now.duration_since(entry.at) < WITHIN);
        lately.map(|entry| entry.name.clone()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    fn ask(table: &mut Table, uid: &str, minute: i64) -> bool {
        table.ask(uid, &format!("team/{uid}"), at(minute), 3) == Verdict::Begins
    }

    #[test]
    fn a_few_an_hour_begin_and_the_rest_wait_until_a_person_agrees() {
        let mut table = Table::default();
        assert!(["a", "b", "c"].iter().all(|uid| ask(&mut table, uid, 0)));
        assert_eq!(
            table.ask("d", "team/d", at(1), 3),
            Verdict::Waits(vec!["team/a".into(), "team/b".into(), "team/c".into()])
        );
        assert!(ask(&mut table, "a", 2), "what has begun goes on");
        assert!(!ask(&mut table, "d", 300), "what waits goes on waiting when the hour is over");
        assert!(ask(&mut table, "e", 300), "a deletion of another day begins");
        table.approve("d", "team/d", at(301));
        assert!(ask(&mut table, "d", 302));
        assert!(ask(&mut table, "f", 303), "the third within this hour");
        assert!(!ask(&mut table, "g", 304), "approved ones count");
        assert_eq!(Table::default().ask("a", "team/a", at(0), 0), Verdict::Waits(vec![]), "none may begin by itself");
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
