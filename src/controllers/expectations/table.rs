//! What was learned as it is kept: a line for each account and region. Pure.
//!
//! The key of a line is `ACCOUNT.REGION`, its text is JSON:
//! `{"learned":"2026-11-22T02:40:00Z","seconds":{"cluster/Create":548.2}}`. What cannot be read is named and left out: it
//! is only time, and is learned anew.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::Action;

/// How long things take, by kind and action.
pub type Learned = Vec<(String, Action, Duration)>;

/// More lines than this are not kept: a ConfigMap holds 1 MiB, and a line some hundred bytes.
const MOST_LINES: usize = 400;
/// Nothing that EKS or EC2 do takes longer.
const LONGEST: f64 = 24.0 * 3600.0;

/// Which account and region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountRegion {
    /// Its number.
    pub account: String,
    /// E.g. `eu-west-1`.
    pub region: String,
}

/// What was learned in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When something new was learned last.
    pub at: Timestamp,
    /// What.
    pub learned: Learned,
}

/// What was learned everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(pub BTreeMap<AccountRegion, Line>);

#[derive(Serialize, Deserialize)]
struct Text {
    learned: Timestamp,
    seconds: BTreeMap<String, f64>,
}

impl Table {
    /// Takes what is known in a place now. A line that says nothing new keeps its time.
    pub fn update(&mut self, place: AccountRegion, learned: Learned, now: Timestamp) {
        let learned: Learned = learned.into_iter().map(|(kind, action, took)| (kind, action, kept(took))).collect();
        if learned.is_empty() || self.0.get(&place).is_some_and(|line| line.learned == learned) {
            return;
        }
        self.0.insert(place, Line { at: now, learned });
    }

    /// The data of a ConfigMap. Of too many lines those stay that learned last.
    pub fn encode(&self) -> BTreeMap<String, String> {
        let mut lines: Vec<_> = self.0.iter().collect();
        lines.sort_by(|a, b| b.1.at.cmp(&a.1.at).then(a.0.cmp(b.0)));
        lines.truncate(MOST_LINES);
        let text = |line: &Line| {
            let seconds = |(kind, action, took): &(String, Action, Duration)| {
                (format!("{kind}/{}", action.as_str()), took.as_secs_f64())
            };
            serde_json::to_string(&Text { learned: line.at, seconds: line.learned.iter().map(seconds).collect() })
        };
        lines
            .into_iter()
            .filter_map(|(place, line)| Some((format!("{}.{}", place.account, place.region), text(line).ok()?)))
            .collect()
    }

    /// Reads the data of a ConfigMap, and names what in it cannot be read.
    pub fn decode(data: &BTreeMap<String, String>) -> (Self, Vec<String>) {
        let (mut table, mut unread) = (Self::default(), Vec::new());
        for (key, text) in data {
            let place = key.split_once('.').filter(|(account, region)| !account.is_empty() && !region.is_empty());
            let (Some((account, region)), Ok(text)) = (place, serde_json::from_str::<Text>(text)) else {
                unread.push(key.clone());
                continue;
            };
            let mut learned: Learned = Vec::new();
            for (name, seconds) in text.seconds {
                match entry(&name, seconds) {
                    Some(entry) => learned.push(entry),
                    None => unread.push(format!("{key}: {name}")),
                }
            }
            learned.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
            let place = AccountRegion { account: account.to_owned(), region: region.to_owned() };
            if !learned.is_empty() {
                table.0.insert(place, Line { at: text.learned, learned });
            }
        }
        (table, unread)
    }
}

fn entry(name: &str, seconds: f64) -> Option<(String, Action, Duration)> {
    let (kind, action) = name.rsplit_once('/').filter(|(kind, _)| !kind.is_empty())?;
    let all = [Action::Create, Action::Update, Action::Delete];
    let action = all.into_iter().find(|one| one.as_str() == action)?;
    (0.0..=LONGEST).contains(&seconds).then(|| (kind.to_owned(), action, kept(Duration::from_secs_f64(seconds))))
}

/// To a tenth of a second: a finer difference is no news.
fn kept(took: Duration) -> Duration {
    let tenths = took.as_millis().saturating_add(50) / 100;
    Duration::from_millis(u64::try_from(tenths * 100).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(account: &str) -> AccountRegion {
        AccountRegion { account: account.into(), region: "eu-west-1".into() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn created(kind: &str, millis: u64) -> (String, Action, Duration) {
        (kind.into(), Action::Create, Duration::from_millis(millis))
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let mut table = Table::default();
        let deleted = ("cluster".into(), Action::Delete, Duration::from_secs(180));
        table.update(place("111122223333"), vec![created("cluster", 548_240), deleted], at(1_800_000_000));
        table.update(place("444455556666"), vec![created("nodeGroup", 90_000)], at(1_800_000_001));
        let data = table.encode();
        let expected =
            r#"{"learned":"2027-01-15T08:00:00Z","seconds":{"cluster/Create":548.2,"cluster/Delete":180.0}}"#;
        assert_eq!(data["111122223333.eu-west-1"], expected);
        assert_eq!(Table::decode(&data), (table, Vec::new()));
    }

    #[test]
    fn a_line_keeps_its_time_until_it_says_something_new() {
        let mut table = Table::default();
        table.update(place("1"), vec![created("cluster", 60_000)], at(1));
        table.update(place("1"), vec![created("cluster", 60_020)], at(2));
        assert_eq!(table.0[&place("1")].at, at(1));
        table.update(place("1"), vec![created("cluster", 61_000)], at(3));
        assert_eq!(table.0[&place("1")].at, at(3));
        table.update(place("2"), Vec::new(), at(4));
        assert!(!table.0.contains_key(&place("2")), "nothing learned is nothing to keep");
    }

    #[test]
    fn of_too_many_places_the_newest_are_kept() {
        let mut table = Table::default();
        for number in 0..=MOST_LINES {
            let second = i64::try_from(number).unwrap();
            table.update(place(&format!("{number:012}")), vec![created("cluster", 60_000)], at(second));
        }
        let data = table.encode();
        assert_eq!(data.len(), MOST_LINES);
        assert!(!data.contains_key("000000000000.eu-west-1"), "the oldest goes");
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_counts() {
        let good = r#"{"learned":"2027-01-15T08:00:00Z","seconds":{"cluster/Create":60.0,"cluster/Fly":1.0,"vpc/Create":-1.0,"/Create":1.0,"addon/Create":1e300}}"#;
        let entries = [
            ("1.eu-west-1", good),
            ("2.eu-west-1", "{"),
            ("eu-west-1", good),
            (".x", good),
            ("3.x", "{\"seconds\":{}}"),
        ];
        let data = entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        let (table, unread) = Table::decode(&data);
        assert_eq!(table.0.len(), 1);
        assert_eq!(table.0[&place("1")].learned, [created("cluster", 60_000)]);
        let mut expected = vec![".x", "1.eu-west-1: /Create", "1.eu-west-1: addon/Create", "1.eu-west-1: cluster/Fly"];
        expected.extend(["1.eu-west-1: vpc/Create", "2.eu-west-1", "3.x", "eu-west-1"]);
        assert_eq!(unread, expected);
    }
}
