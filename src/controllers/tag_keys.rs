//! Records the tag keys that an object has set. A tag that is removed from its spec, or from its account, is removed
//! in AWS only if its key is recorded: foreign tags are in no status. I/O: status.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use super::account::Grant;
use super::cluster;
use super::context::Context;
use super::runtime::apply::{self, Kind};
use super::runtime::event_publisher::EventMessage;
use super::states::State;
use crate::api::NodeGroupSpec;
use crate::api::conditions::{self, ConditionType, MAX_MESSAGE, bounded};
use crate::api::status_cluster::{EksClusterStatus, MAX_TAG_KEYS, NodeGroupStatus};
use crate::engine::failure::span;
use crate::engine::{Item, Memory, Plan};
use crate::resources::cloud::tag_key;
use crate::resources::deletion::prune::is_never_created;
use crate::resources::eks::auto_scaling_group_tags;

/// Where a status records the keys of some tags.
pub struct Record<S> {
    /// The recorded keys.
    keys: fn(&S) -> &[String],
    /// A copy with other keys.
    with_keys: fn(&S, Vec<String>) -> S,
    /// The tag key of the field of a change of such a tag.
    changed_key: fn(&str) -> Option<&str>,
}

/// Of the resources of an EksCluster.
pub const OF_CLUSTER: Record<EksClusterStatus> = Record {
    keys: |status| &status.tag_keys,
    // The journal owns the inventory, and what is said to a FleetRollout is written on its own.
    with_keys: |status, tag_keys| {
        let mut status = EksClusterStatus { tag_keys, resources: Vec::new(), ..status.clone() };
        cluster::status::forget_wave(&mut status);
        status
    },
    changed_key: tag_key,
};

/// Of the resources of a NodeGroup.
pub const OF_NODE_GROUP: Record<NodeGroupStatus> = Record {
    keys: |status| &status.tag_keys,
    with_keys: |status, tag_keys| NodeGroupStatus { tag_keys, ..status.clone() },
    changed_key: tag_key,
};

/// Of the Auto Scaling group of a NodeGroup.
pub const OF_AUTO_SCALING_GROUP: Record<NodeGroupStatus> = Record {
    keys: |status| &status.auto_scaling_group_tag_keys,
    with_keys: |status, auto_scaling_group_tag_keys| NodeGroupStatus { auto_scaling_group_tag_keys, ..status.clone() },
    changed_key: auto_scaling_group_tags::tag_key,
};

/// The keys that status must contain before the tags are written; `None`: it contains them.
fn keys_to_record(recorded: &[String], desired: &BTreeMap<String, String>) -> Option<Vec<String>> {
    if desired.keys().all(|key| recorded.contains(key)) {
        return None;
    }
    let former: BTreeSet<&String> = recorded.iter().filter(|key| !desired.contains_key(*key)).collect();
    let mut all: Vec<String> = desired.keys().chain(former).take(MAX_TAG_KEYS).cloned().collect();
    all.sort();
    Some(all)
}

/// Records in status which tags are about to be written, and returns that status. From then on, whatever happens, the
/// tags are known to be Keelson's to remove.
///
/// # Errors
/// The API server did not store it: nothing may be written to AWS.
pub async fn record_keys<K: Kind, S: Clone + Serialize, R>(
    ctx: &Context,
    object: &K,
    state: &mut State<S, R>,
    record: &Record<S>,
    previous: &S,
    desired: &BTreeMap<String, String>,
) -> Result<S, kube::Error> {
    let Some(keys) = keys_to_record((record.keys)(previous), desired) else { return Ok(previous.clone()) };
    let status = (record.with_keys)(previous, keys);
    let version = apply::patch_status(&ctx.client, object, apply::MANAGER, &*ctx.gate, &status).await?;
    state.last_write.record(version);
    state.written = Some(status.clone());
    Ok(status)
}

/// The keys to retain in status: those in the spec, and those that a resource may still carry.
pub fn keys_to_retain<S>(
    record: &Record<S>,
    previous: &S,
    desired: &BTreeMap<String, String>,
    plan: &Plan,
    memory: &Memory,
) -> Vec<String> {
    retained((record.keys)(previous), record.changed_key, desired, plan, memory)
}

fn retained(
    recorded: &[String],
    changed_key: fn(&str) -> Option<&str>,
    desired: &BTreeMap<String, String>,
    plan: &Plan,
    memory: &Memory,
) -> Vec<String> {
    // Writes of the previous process may not have been visible in the first observation.
    let visible_by = memory.since.saturating_add(span(memory.read_after_write_window)).unwrap_or(memory.since);
    let is_observed = |item: &Item| {
        // Prune items carry no tags, and are rarely observed.
        let observed_at = memory.get(&item.key).and_then(|entry| entry.observed_at);
        is_never_created(&item.key) || observed_at.is_some_and(|time| time >= visible_by)
    };
    let removed = plan.is_settled() && plan.items.iter().all(is_observed);
    let is_present =
        |key: &str| plan.items.iter().any(|item| item.drift.iter().any(|c| changed_key(&c.field) == Some(key)));
    let needed = |key: &&String| desired.contains_key(*key) || !removed || is_present(key);
    recorded.iter().filter(needed).cloned().collect()
}

/// That an object's own tags, in `field` of its spec, are replaced by those that its account enforces; `None`: none is.
pub fn describe_overridden(grant: &Grant, field: &str, own: &BTreeMap<String, String>) -> Option<String> {
    let keys = grant.settings.overridden_keys(own);
    let account = grant.account.as_deref().unwrap_or_default();
    (!keys.is_empty()).then(|| {
        format!(
            "AwsAccount {account} enforces other tags than {field} has for {}: AWS has its values (enforcedTags); remove \
             these keys from {field}",
            keys.join(", ")
        )
    })
}

/// The same of a NodeGroup.
pub fn describe_overridden_of(grant: &Grant, spec: &NodeGroupSpec) -> Option<String> {
    let fields = [("spec.tags", &spec.tags), ("spec.autoScalingGroupTags", &spec.auto_scaling_group_tags)];
    let notes: Vec<_> = fields.iter().filter_map(|(field, own)| describe_overridden(grant, field, own)).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// Adds `note` to the message of InSync. Publishes it as an event when it is new. `previous`: the last conditions.
pub fn report_overridden<K: Kind>(
    ctx: &Context,
    object: &K,
    previous: &[Condition],
    conditions: &mut [Condition],
    note: Option<String>,
) {
    let Some(note) = note else { return };
    let Some(in_sync) = conditions.iter_mut().find(|one| one.type_ == ConditionType::InSync.as_str()) else { return };
    in_sync.message = bounded(&format!("{}; {note}", in_sync.message), MAX_MESSAGE);
    let was_reported = conditions::get(previous, ConditionType::InSync).is_some_and(|one| one.message.contains(&note));
    if !was_reported {
        ctx.events
            .publish(object, vec![EventMessage { warning: true, ..EventMessage::normal("TagsOverridden", note) }]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::engine::{Change, Goal, Key, Observation, Presence, Verdict};

    fn desired(keys: &[&str]) -> BTreeMap<String, String> {
        keys.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect()
    }

    fn owned(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn new_tag_keys_are_recorded_before_tags_are_written() {
        assert_eq!(keys_to_record(&[], &desired(&[])), None);
        assert_eq!(keys_to_record(&[], &desired(&["team"])), Some(owned(&["team"])));
        assert_eq!(
            keys_to_record(&owned(&["env", "team"]), &desired(&["team"])),
            None,
            "a removed key is dropped at the end"
        );
        assert_eq!(keys_to_record(&owned(&["env"]), &desired(&["team"])), Some(owned(&["env", "team"])));
        let many: Vec<String> = (0..200).map(|number| format!("k{number}")).collect();
        let kept = keys_to_record(&many, &desired(&["team"])).unwrap();
        assert!(kept.len() == MAX_TAG_KEYS && kept.contains(&"team".to_owned()));
    }

    #[test]
    fn tag_key_is_retained_until_no_resource_carries_it() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let key = Key::single("vpc");
        let mut memory = Memory::new(at(100), Duration::from_secs(10), []);
        let item = |verdict, drift| Item { key: key.clone(), verdict, forbidden: Vec::new(), drift };
        let plan = |verdict, drift| Plan { goal: Goal::Present, items: vec![item(verdict, drift)] };
        let recorded = owned(&["env", "team"]);
        let kept = |memory: &Memory, plan: &Plan| retained(&recorded, tag_key, &desired(&["team"]), plan, memory);
        let settled = plan(Verdict::Settled, Vec::new());
        assert_eq!(kept(&memory, &settled), recorded, "not observed yet");
        let observed = || Presence::Ours(Observation::ready("vpc-1", "available", Arc::new(()) as _));
        memory.record_observation(&key, observed(), at(105));
        assert_eq!(
            kept(&memory, &settled),
            recorded,
            "the observation may be older than a write of the previous process"
        );
        memory.record_observation(&key, observed(), at(110));
        assert_eq!(kept(&memory, &plan(Verdict::NotObserved(None), Vec::new())), recorded);
        let drift = vec![Change::in_place("tags.env", "prod", "(none)")];
        assert_eq!(kept(&memory, &plan(Verdict::Settled, drift)), recorded, "the tag remains");
        assert_eq!(kept(&memory, &settled), owned(&["team"]));
    }
}
