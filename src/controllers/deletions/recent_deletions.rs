//! Records which deletions began recently, and which are held because of the limits. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The period for counting deletions.
pub const PERIOD: SignedDuration = SignedDuration::from_hours(1);

/// Most held objects of a namespace that are recorded one by one. Beyond, all of the namespace are held: the ConfigMap
/// has room for 1 MiB, and one namespace must not use up that of the others.
const MAX_HELD: usize = 50;
/// Longest name that is recorded.
const MAX_NAME: usize = 128;

/// An object whose deletion began, or is held.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Entry {
    /// `namespace/name`.
    pub name: String,
    /// The time.
    pub at: Timestamp,
}

/// How many deletions may begin within an hour without a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Per namespace.
    pub namespace: u32,
    /// In total. One namespace counts for at most its own limit, however many were approved in it: what one tenant
    /// deletes, and approves, cannot use up the others' share.
    pub total: u32,
}

/// What is counted, each with limits of its own: NodeGroups only if their cluster stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// EksClusters.
    Clusters,
    /// NodeGroups whose EksCluster is not deleted with them.
    NodeGroups,
}

impl Counted {
    /// The message of a deletion that would exceed a limit. `recent`: deletions in its namespace that began.
    pub fn describe_held(self, limits: Limits, exceeded: Exceeded, recent: &[String]) -> String {
        let (kind, flag, more) = match self {
            Self::Clusters => ("clusters", "--max-deletions", ""),
            Self::NodeGroups => ("NodeGroups", "--max-node-group-deletions", " while their clusters stay"),
        };
        let (most, within, total) = match exceeded {
            Exceeded::Namespace => (limits.namespace, "in a namespace", ""),
            Exceeded::Total => (limits.total, "in all namespaces together", "-total"),
        };
        let started = if recent.is_empty() { String::new() } else { format!("; started: {}", recent.join(", ")) };
        format!(
            "no more than {most} {kind} an hour are deleted {within} without a release{more} ({flag}{total}{started})"
        )
    }
}

/// The limits of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllLimits {
    /// For EksClusters.
    pub clusters: Limits,
    /// For NodeGroups.
    pub node_groups: Limits,
}

impl AllLimits {
    /// The limits of one kind.
    pub fn of(self, counted: Counted) -> Limits {
        match counted {
            Counted::Clusters => self.clusters,
            Counted::NodeGroups => self.node_groups,
        }
    }
}

/// The limit that a deletion would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// The limit per namespace.
    Namespace,
    /// The total limit.
    Total,
}

/// Whether a deletion may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may begin, or has begun.
    Allowed,
    /// It is held until a person releases it.
    Held {
        /// The exceeded limit.
        exceeded: Exceeded,
        /// Recent deletions in its own namespace; names of other tenants are not revealed.
        recent: Vec<String>,
    },
}

/// The deletions of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    clusters: Table,
    node_groups: Table,
}

impl Tables {
    /// The deletions of one kind.
    pub fn of(&mut self, counted: Counted) -> &mut Table {
        match counted {
            Counted::Clusters => &mut self.clusters,
            Counted::NodeGroups => &mut self.node_groups,
        }
    }

    /// Encodes the tables as ConfigMap data.
    pub fn encode(&self) -> BTreeMap<String, String> {
        let mut data = self.clusters.encode(CLUSTER_KEYS);
        data.extend(self.node_groups.encode(NODE_GROUP_KEYS));
        data
    }

    /// Decodes ConfigMap data; keys that are missing hold nothing.
    ///
    /// # Errors
    /// The key that cannot be decoded. Nothing is concluded from the rest, as the unknown part may exceed a limit.
    pub fn decode(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let clusters = Table::decode(data, CLUSTER_KEYS)?;
        Ok(Self { clusters, node_groups: Table::decode(data, NODE_GROUP_KEYS)? })
    }
}

/// ConfigMap keys of the deletions that began, and of those that are held.
type Keys = [&'static str; 2];
const CLUSTER_KEYS: Keys = ["began", "held"];
const NODE_GROUP_KEYS: Keys = ["nodeGroupsBegan", "nodeGroupsHeld"];

/// Deletions by object UID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    began: BTreeMap<String, Entry>,
    held: BTreeMap<String, Entry>,
}

impl Table {
    /// Requests a deletion, and records the result. A held deletion stays held until it is approved, however long.
    pub fn request(&mut self, uid: &str, name: &str, now: Timestamp, limits: Limits) -> Verdict {
        if self.began.contains_key(uid) {
            return Verdict::Allowed;
        }
        let recent = self.recent(now);
        let own = recent.get(namespace_of(name)).cloned().unwrap_or_default();
        let count = |names: &Vec<String>| u32::try_from(names.len()).unwrap_or(u32::MAX);
        let total = recent.values().map(|names| count(names).min(limits.namespace)).fold(0, u32::saturating_add);
        let exceeded = if count(&own) >= limits.namespace {
            Some(Exceeded::Namespace)
        } else {
            (total >= limits.total).then_some(Exceeded::Total)
        };
        let entry = Entry { name: name.chars().take(MAX_NAME).collect(), at: now };
        let everything = everything_of(name);
        if exceeded.is_none() && !self.held.contains_key(uid) && !self.held.contains_key(&everything) {
            self.began.insert(uid.to_owned(), entry);
            return Verdict::Allowed;
        }
        let is_of_namespace = |held: &&Entry| namespace_of(&held.name) == namespace_of(name);
        if self.held.contains_key(uid) {
            // Recorded already.
        } else if self.held.values().filter(is_of_namespace).count() < MAX_HELD {
            self.held.insert(uid.to_owned(), entry);
        } else {
            // The hour begins anew only after a while: each object asks again every few seconds.
            let marker = Entry { name: format!("{}/*", namespace_of(name)), at: now };
            let marked = self.held.entry(everything).or_insert_with(|| marker.clone());
            if now.duration_since(marked.at) > PERIOD / 4 {
                *marked = marker;
            }
        }
        Verdict::Held { exceeded: exceeded.unwrap_or(Exceeded::Namespace), recent: own }
    }

    /// Whether the deletion of `uid` has begun, or was approved.
    pub fn has_begun(&self, uid: &str) -> bool {
        self.began.contains_key(uid)
    }

    /// Records an approval.
    pub fn approve(&mut self, uid: &str, name: &str, now: Timestamp) {
        self.held.remove(uid);
        let name = name.chars().take(MAX_NAME).collect();
        self.began.entry(uid.to_owned()).or_insert(Entry { name, at: now });
    }

    /// Removes deleted objects that no longer count.
    pub fn tidy(&mut self, now: Timestamp, exists: impl Fn(&str) -> bool) {
        self.began.retain(|uid, entry| exists(uid) || now.duration_since(entry.at) < PERIOD);
        let is_marker = |uid: &str| uid.starts_with(EVERYTHING);
        self.held.retain(|uid, entry| exists(uid) || is_marker(uid) && now.duration_since(entry.at) < PERIOD);
    }

    /// Deletions that began within the hour, by namespace.
    fn recent(&self, now: Timestamp) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in self.began.values().filter(|entry| now.duration_since(entry.at) < PERIOD) {
            found.entry(namespace_of(&entry.name).to_owned()).or_default().push(entry.name.clone());
        }
        found
    }

    fn encode(&self, [began, held]: Keys) -> BTreeMap<String, String> {
        let text = |entries| serde_json::to_string(entries).unwrap_or_default();
        BTreeMap::from([(began.to_owned(), text(&self.began)), (held.to_owned(), text(&self.held))])
    }

    fn decode(data: &BTreeMap<String, String>, [began, held]: Keys) -> Result<Self, String> {
        let read = |name: &str| match data.get(name) {
            None => Ok(BTreeMap::new()),
            Some(text) => serde_json::from_str(text).map_err(|error| format!("{name}: {error}")),
        };
        Ok(Self { began: read(began)?, held: read(held)? })
    }
}

/// Before the name of a namespace, all of whose deletions are held.
const EVERYTHING: char = '*';

/// The key that holds all deletions of the namespace of `name`. No UID begins like it.
fn everything_of(name: &str) -> String {
    format!("{EVERYTHING}{}", namespace_of(name))
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

    fn request(table: &mut Table, uid: &str, minute: i64) -> bool {
        table.request(uid, &format!("team/{uid}"), at(minute), LIMITS) == Verdict::Allowed
    }

    #[test]
    fn deletions_beyond_the_hourly_limit_are_held_until_approved() {
        let mut table = Table::default();
        assert!(["a", "b", "c"].iter().all(|uid| request(&mut table, uid, 0)));
        assert_eq!(
            table.request("d", "team/d", at(1), LIMITS),
            Verdict::Held {
                exceeded: Exceeded::Namespace,
                recent: vec!["team/a".into(), "team/b".into(), "team/c".into()]
            }
        );
        assert!(request(&mut table, "a", 2), "a deletion that began continues");
        assert!(!request(&mut table, "d", 300), "a held deletion stays held after the hour");
        assert!(request(&mut table, "e", 300), "a deletion of another day begins");
        table.approve("d", "team/d", at(301));
        assert!(request(&mut table, "d", 302));
        assert!(request(&mut table, "f", 303), "the third within this hour");
        assert!(!request(&mut table, "g", 304), "approved ones count");
        for none in [Limits { namespace: 0, ..LIMITS }, Limits { total: 0, ..LIMITS }] {
            let answer = Table::default().request("a", "team/a", at(0), none);
            assert!(
                matches!(answer, Verdict::Held { recent, .. } if recent.is_empty()),
                "none may begin without a release"
            );
        }
    }

    #[test]
    fn message_of_a_held_deletion_names_the_limit_the_flag_and_what_started() {
        let recent = ["team/a".to_owned(), "team/b".to_owned()];
        assert_eq!(
            Counted::Clusters.describe_held(LIMITS, Exceeded::Namespace, &recent),
            "no more than 3 clusters an hour are deleted in a namespace without a release (--max-deletions; started: \
             team/a, team/b)"
        );
        assert_eq!(
            Counted::NodeGroups.describe_held(Limits { namespace: 10, total: 30 }, Exceeded::Total, &[]),
            "no more than 30 NodeGroups an hour are deleted in all namespaces together without a release while their \
             clusters stay (--max-node-group-deletions-total)"
        );
    }

    #[test]
    fn approved_deletions_of_one_namespace_do_not_block_others() {
        let mut table = Table::default();
        let limits = Limits { namespace: 2, total: 4 };
        let is_allowed = |name: &str, table: &mut Table| table.request(name, name, at(0), limits) == Verdict::Allowed;
        assert!(is_allowed("mallory/1", &mut table) && is_allowed("mallory/2", &mut table));
        for held in 3..9 {
            let name = format!("mallory/{held}");
            assert!(!is_allowed(&name, &mut table));
            table.approve(&name, &name, at(0));
        }
        assert!(is_allowed("search/1", &mut table) && is_allowed("search/2", &mut table));
        assert!(!is_allowed("search/3", &mut table));
    }

    #[test]
    fn total_limit_holds_deletions_and_reveals_no_names_of_other_namespaces() {
        let mut table = Table::default();
        let limits = Limits { namespace: 2, total: 4 };
        for name in ["a/1", "a/2", "b/1", "c/1"] {
            assert_eq!(table.request(name, name, at(0), limits), Verdict::Allowed);
        }
        let held = |recent| Verdict::Held { exceeded: Exceeded::Total, recent };
        assert_eq!(table.request("d/1", "d/1", at(1), limits), held(vec![]));
        assert_eq!(table.request("b/2", "b/2", at(1), limits), held(vec!["b/1".into()]));
    }

    #[test]
    fn one_namespace_records_a_bounded_number_of_held_deletions_and_the_rest_are_held_too() {
        let mut table = Table::default();
        let long = "x".repeat(253);
        for n in 0..5_000 {
            table.request(&format!("uid-{n}"), &format!("mallory/{long}{n}"), at(0), LIMITS);
        }
        let size: usize = table.encode(CLUSTER_KEYS).values().map(String::len).sum();
        assert!(size < 20_000, "{size}");
        assert!(request(&mut table, "uid-late", 0), "of another namespace");
        let of_mallory = |table: &mut Table, minute| table.request("uid-4999", "mallory/y", at(minute), LIMITS);
        assert!(matches!(of_mallory(&mut table, 1), Verdict::Held { .. }), "not recorded by itself");
        // As long as it asks, also after the hour.
        for minute in (0..200).step_by(10) {
            table.tidy(at(minute), |_| true);
            assert!(matches!(of_mallory(&mut table, minute), Verdict::Held { .. }), "minute {minute}");
        }
        table.approve("uid-4999", "mallory/y", at(201));
        assert_eq!(of_mallory(&mut table, 202), Verdict::Allowed);
        // Nothing of the namespace is left: it counts anew.
        table.tidy(at(400), |_| false);
        assert_eq!(table.request("uid-new", "mallory/new", at(400), LIMITS), Verdict::Allowed);
    }

    #[test]
    fn table_survives_a_restart_and_drops_old_entries() {
        let mut table = Table::default();
        assert!(request(&mut table, "a", 0) && request(&mut table, "b", 50) && request(&mut table, "c", 50));
        assert!(!request(&mut table, "d", 50));
        assert_eq!(Table::decode(&table.encode(CLUSTER_KEYS), CLUSTER_KEYS), Ok(table.clone()));
        table.tidy(at(70), |uid| uid == "b");
        assert_eq!(table.began.keys().collect::<Vec<_>>(), ["b", "c"], "c no longer exists, but still counts");
        assert!(table.held.is_empty());
        for key in ["held", "nodeGroupsBegan"] {
            assert!(Tables::decode(&BTreeMap::from([(key.to_owned(), "{".to_owned())])).is_err());
        }
    }

    #[test]
    fn clusters_and_node_groups_are_counted_apart() {
        let mut tables = Tables::default();
        let once = Limits { namespace: 1, total: 1 };
        for counted in [Counted::Clusters, Counted::NodeGroups] {
            let mut request = |uid: &str| tables.of(counted).request(uid, &format!("team/{uid}"), at(0), once);
            assert_eq!(request("a"), Verdict::Allowed);
            assert!(matches!(request("b"), Verdict::Held { .. }));
        }
        assert_eq!(Tables::decode(&tables.encode()), Ok(tables));
        let before = BTreeMap::from([("began".to_owned(), "{}".to_owned())]);
        assert_eq!(Tables::decode(&before), Ok(Tables::default()), "of a version that counted only clusters");
    }
}
