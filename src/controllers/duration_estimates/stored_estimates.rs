//! The stored form of learned durations: a line for each account and region. Pure.
//!
//! The key of a line is `ACCOUNT.REGION`, its value is JSON:
//! `{"learned":"2026-11-22T02:40:00Z","seconds":{"cluster/Create":548.2}}`. Invalid data is reported and ignored:
//! durations can be learned again.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::Action;

/// Durations by kind and action.
pub type Durations = Vec<(String, Action, Duration)>;

/// Maximum number of lines: a ConfigMap holds 1 MiB, and a line is a few hundred bytes.
const MAX_LINES: usize = 400;
/// No operation of EKS or EC2 takes longer.
const MAX_SECONDS: f64 = 24.0 * 3600.0;

/// An account and region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountRegion {
    /// The account id.
    pub account: String,
    /// Such as `eu-west-1`.
    pub region: String,
}

/// The durations of one account and region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When a duration last changed.
    pub at: Timestamp,
    /// The durations.
    pub learned: Durations,
}

/// The durations of all accounts and regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(pub BTreeMap<AccountRegion, Line>);

#[derive(Serialize, Deserialize)]
struct StoredLine {
    learned: Timestamp,
    seconds: BTreeMap<String, f64>,
}

impl Table {
    /// Updates a line. A line without changes keeps its time.
    pub fn update(&mut self, place: AccountRegion, learned: Durations, now: Timestamp) {
        let learned: Durations = learned.into_iter().map(|(kind, action, took)| (kind, action, round(took))).collect();
        if learned.is_empty() || self.0.get(&place).is_some_and(|line| line.learned == learned) {
            return;
        }
        self.0.insert(place, Line { at: now, learned });
    }

    /// Encodes ConfigMap data. Of too many lines, the most recently changed are kept.
    pub fn encode(&self) -> BTreeMap<String, String> {
        let mut lines: Vec<_> = self.0.iter().collect();
        lines.sort_by(|a, b| b.1.at.cmp(&a.1.at).then(a.0.cmp(b.0)));
        lines.truncate(MAX_LINES);
        let text = |line: &Line| {
            let seconds = |(kind, action, took): &(String, Action, Duration)| {
                (format!("{kind}/{}", action.as_str()), took.as_secs_f64())
            };
            serde_json::to_string(&StoredLine { learned: line.at, seconds: line.learned.iter().map(seconds).collect() })
        };
        lines
            .into_iter()
            .filter_map(|(place, line)| Some((format!("{}.{}", place.account, place.region), text(line).ok()?)))
            .collect()
    }

    /// Decodes ConfigMap data, and returns the names of invalid parts.
    pub fn decode(data: &BTreeMap<String, String>) -> (Self, Vec<String>) {
        let (mut table, mut invalid) = (Self::default(), Vec::new());
        for (key, text) in data {
            let place = key.split_once('.').filter(|(account, region)| !account.is_empty() && !region.is_empty());
            let (Some((account, region)), Ok(text)) = (place, serde_json::from_str::<StoredLine>(text)) else {
                invalid.push(key.clone());
                continue;
            };
            let mut learned: Durations = Vec::new();
            for (name, seconds) in text.seconds {
                match parse_entry(&name, seconds) {
                    Some(entry) => learned.push(entry),
                    None => invalid.push(format!("{key}: {name}")),
                }
            }
            learned.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
            let place = AccountRegion { account: account.to_owned(), region: region.to_owned() };
            if !learned.is_empty() {
                table.0.insert(place, Line { at: text.learned, learned });
            }
        }
        (table, invalid)
    }
}

fn parse_entry(name: &str, seconds: f64) -> Option<(String, Action, Duration)> {
    let (kind, action) = name.rsplit_once('/').filter(|(kind, _)| !kind.is_empty())?;
    let all = [Action::Create, Action::Update, Action::Delete];
    let action = all.into_iter().find(|one| one.as_str() == action)?;
    (0.0..=MAX_SECONDS).contains(&seconds).then(|| (kind.to_owned(), action, round(Duration::from_secs_f64(seconds))))
}

/// Rounds to a tenth of a second; finer differences are not stored.
fn round(took: Duration) -> Duration {
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
    fn table_round_trips_through_configmap_data() {
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
    fn unchanged_line_keeps_its_time() {
        let mut table = Table::default();
        table.update(place("1"), vec![created("cluster", 60_000)], at(1));
        table.update(place("1"), vec![created("cluster", 60_020)], at(2));
        assert_eq!(table.0[&place("1")].at, at(1));
        table.update(place("1"), vec![created("cluster", 61_000)], at(3));
        assert_eq!(table.0[&place("1")].at, at(3));
        table.update(place("2"), Vec::new(), at(4));
        assert!(!table.0.contains_key(&place("2")), "a line without durations is not stored");
    }

    #[test]
    fn newest_lines_are_kept_beyond_the_limit() {
        let mut table = Table::default();
        for number in 0..=MAX_LINES {
            let second = i64::try_from(number).unwrap();
            table.update(place(&format!("{number:012}")), vec![created("cluster", 60_000)], at(second));
        }
        let data = table.encode();
        assert_eq!(data.len(), MAX_LINES);
        assert!(!data.contains_key("000000000000.eu-west-1"), "the oldest line is dropped");
    }

    #[test]
    fn invalid_data_is_reported_and_the_rest_is_used() {
        let good = r#"{"learned":"2027-01-15T08:00:00Z","seconds":{"cluster/Create":60.0,"cluster/Fly":1.0,"vpc/Create":-1.0,"/Create":1.0,"addon/Create":1e300}}"#;
        let entries = [
            ("1.eu-west-1", good),
            ("2.eu-west-1", "{"),
            ("eu-west-1", good),
            (".x", good),
            ("3.x", "{\"seconds\":{}}"),
        ];
        let data = entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        let (table, invalid) = Table::decode(&data);
        assert_eq!(table.0.len(), 1);
        assert_eq!(table.0[&place("1")].learned, [created("cluster", 60_000)]);
        let mut expected = vec![".x", "1.eu-west-1: /Create", "1.eu-west-1: addon/Create", "1.eu-west-1: cluster/Fly"];
        expected.extend(["1.eu-west-1: vpc/Create", "2.eu-west-1", "3.x", "eu-west-1"]);
        assert_eq!(invalid, expected);
    }
}
