//! Which tags an object has asked for so far. What is taken out of its spec, or of its account, is taken away in AWS by that, and
//! nothing else is: tags of others are in no status. I/O: status.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use serde::Serialize;

use super::apply::{self, Kind};
use super::context::{Context, State};
use crate::api::status::{EksClusterStatus, MAX_TAG_KEYS, NodeGroupStatus};
use crate::engine::failure::span;
use crate::engine::{Item, Memory, Plan};
use crate::resources::cloud::tag_key;
use crate::resources::prune::is_never_made;

/// A status that holds the keys.
pub trait WithTagKeys: Clone + Serialize {
    /// All of them.
    fn tag_keys(&self) -> &[String];
    /// The same with others.
    fn with_tag_keys(&self, tag_keys: Vec<String>) -> Self;
}

impl WithTagKeys for EksClusterStatus {
    fn tag_keys(&self) -> &[String] {
        &self.tag_keys
    }

    fn with_tag_keys(&self, tag_keys: Vec<String>) -> Self {
        // The inventory is the journal's.
        Self { tag_keys, resources: Vec::new(), ..self.clone() }
    }
}

impl WithTagKeys for NodeGroupStatus {
    fn tag_keys(&self) -> &[String] {
        &self.tag_keys
    }

    fn with_tag_keys(&self, tag_keys: Vec<String>) -> Self {
        Self { tag_keys, ..self.clone() }
    }
}

/// The keys that status is to hold before the tags are written; `None`: it holds them.
fn to_keep(recorded: &[String], wanted: &BTreeMap<String, String>) -> Option<Vec<String>> {
    if wanted.keys().all(|key| recorded.contains(key)) {
        return None;
    }
    let former: BTreeSet<&String> = recorded.iter().filter(|key| !wanted.contains_key(*key)).collect();
    let mut all: Vec<String> = wanted.keys().chain(former).take(MAX_TAG_KEYS).cloned().collect();
    all.sort();
    Some(all)
}

/// Keeps in status which tags are about to be written, and returns the status that stands then. Whatever happens after that, they
/// are known to be ours to take away.
///
/// # Errors
/// The API server did not take it: nothing may be written to AWS. For people.
pub async fn keep<K: Kind, S: WithTagKeys, R>(
    ctx: &Context,
    object: &K,
    state: &mut State<S, R>,
    previous: &S,
    wanted: &BTreeMap<String, String>,
) -> Result<S, String> {
    let Some(keys) = to_keep(previous.tag_keys(), wanted) else { return Ok(previous.clone()) };
    let status = previous.with_tag_keys(keys);
    match apply::status(&ctx.client, object, apply::MANAGER, &*ctx.gate, &status).await {
        Ok(()) => {
            state.written = Some(status.clone());
            Ok(status)
        }
        Err(error) => {
            let (kind, name, error) = (K::NAME, object.name_any(), apply::describe_error(&error));
            tracing::warn!(kind, name, error, "the keys of tags were not kept in status; it is tried again");
            Err(format!("the keys of its tags are not kept in status yet, so nothing is written to AWS: {error}"))
        }
    }
}

/// The keys that status holds from now on: those that are asked for, and those that something may still carry.
pub fn still_needed(
    recorded: &[String],
    wanted: &BTreeMap<String, String>,
    plan: &Plan,
    memory: &Memory,
) -> Vec<String> {
    // What was written before this process began may not have shown in the first look.
    let shows_by = memory.since.saturating_add(span(memory.read_after_write_window)).unwrap_or(memory.since);
    let looked_at = |item: &Item| {
        // What only cleans away carries no tags, and is hardly ever looked at.
        let observed_at = memory.get(&item.key).and_then(|entry| entry.observed_at);
        is_never_made(&item.key) || observed_at.is_some_and(|seen| seen >= shows_by)
    };
    let removed = plan.is_settled() && plan.items.iter().all(looked_at);
    let left = |key: &str| plan.items.iter().any(|item| item.drift.iter().any(|c| tag_key(&c.field) == Some(key)));
    let needed = |key: &&String| wanted.contains_key(*key) || !removed || left(key);
    recorded.iter().filter(needed).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::engine::{Change, Goal, Key, Observation, Presence, Verdict};

    fn wanted(keys: &[&str]) -> BTreeMap<String, String> {
        keys.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect()
    }

    fn owned(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn status_is_written_first_when_a_tag_is_asked_for_that_it_does_not_hold() {
        assert_eq!(to_keep(&[], &wanted(&[])), None);
        assert_eq!(to_keep(&[], &wanted(&["team"])), Some(owned(&["team"])));
        assert_eq!(
            to_keep(&owned(&["env", "team"]), &wanted(&["team"])),
            None,
            "one that is taken out is written by the end"
        );
        assert_eq!(to_keep(&owned(&["env"]), &wanted(&["team"])), Some(owned(&["env", "team"])));
        let many: Vec<String> = (0..200).map(|number| format!("k{number}")).collect();
        let kept = to_keep(&many, &wanted(&["team"])).unwrap();
        assert!(kept.len() == MAX_TAG_KEYS && kept.contains(&"team".to_owned()));
    }

    #[test]
    fn a_key_is_held_until_nothing_can_carry_the_tag() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let key = Key::single("vpc");
        let mut memory = Memory::new(at(100), Duration::from_secs(10), []);
        let item = |verdict, drift| Item { key: key.clone(), verdict, forbidden: Vec::new(), drift };
        let plan = |verdict, drift| Plan { goal: Goal::Present, items: vec![item(verdict, drift)] };
        let recorded = owned(&["env", "team"]);
        let kept = |memory: &Memory, plan: &Plan| still_needed(&recorded, &wanted(&["team"]), plan, memory);
        let settled = plan(Verdict::Settled, Vec::new());
        assert_eq!(kept(&memory, &settled), recorded, "it was not looked at");
        let seen = || Presence::Ours(Observation::ready("vpc-1", "available", Arc::new(()) as _));
        memory.record_observation(&key, seen(), at(105));
        assert_eq!(kept(&memory, &settled), recorded, "the look may be older than the write of an earlier process");
        memory.record_observation(&key, seen(), at(110));
        assert_eq!(kept(&memory, &plan(Verdict::NotObserved(None), Vec::new())), recorded);
        let drift = vec![Change::in_place("tags.env", "prod", "(none)")];
        assert_eq!(kept(&memory, &plan(Verdict::Settled, drift)), recorded, "it is left there");
        assert_eq!(kept(&memory, &settled), owned(&["team"]));
    }
}
