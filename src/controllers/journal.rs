//! The inventory in `status.resources`: ids and intents that outlive the process. I/O: the management cluster's API.

use std::sync::Mutex;

use async_trait::async_trait;
use kube::Client;
use serde_json::json;

use super::apply;
use crate::api::EksCluster;
use crate::api::status::{MAX_RESOURCES, ResourceStatus};
use crate::aws::WriteGate;
use crate::engine::{Class, Failure, InventoryRecord, Journal, Key, Memory, Presence};
use crate::resources::leftovers;
use jiff::Timestamp;

/// Kinds that EKS lists by cluster: the first to be left out when the inventory is full.
const FOUND_BY_CLUSTER: [&str; 4] = ["accessEntry", "addon", "podIdentity", "fargateProfile"];

/// The inventory as it is to stand in status: what is ours, and creates that were about to be sent (without an id).
pub fn inventory(memory: &Memory) -> Vec<ResourceStatus> {
    let mut lines: Vec<(bool, ResourceStatus)> = memory
        .iter()
        .filter_map(|(key, entry)| {
            let recorded = entry.recorded.as_ref()?;
            if matches!(entry.presence, Some(Presence::External(_) | Presence::Unowned(_))) {
                return None;
            }
            let state = entry.presence.as_ref().and_then(|presence| presence.observed()).map(|seen| seen.state.clone());
            let state = state.filter(|state| !state.is_empty());
            let (id, update_id) = (recorded.id.clone(), recorded.operation.clone());
            let update_attempts = update_attempts(recorded);
            let line = ResourceStatus { key: key.to_string(), id, state, update_id, update_attempts };
            Some((FOUND_BY_CLUSTER.contains(&key.kind()), line))
        })
        .collect();
    lines.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
    lines.truncate(MAX_RESOURCES);
    lines.sort_by(|a, b| a.1.key.cmp(&b.1.key));
    lines.into_iter().map(|(_, line)| line).collect()
}

/// The inventory as the last process left it. Its times are of another clock, so they count from our own start.
pub fn recorded(resources: &[ResourceStatus]) -> Vec<(Key, InventoryRecord)> {
    let line = |line: &ResourceStatus| {
        let id = line.id.clone().filter(|id| !id.is_empty());
        let operations = operations(line.update_attempts);
        (
            Key::parse(&line.key),
            InventoryRecord { id, operation: line.update_id.clone(), operations, at: Timestamp::UNIX_EPOCH },
        )
    };
    resources.iter().map(line).collect()
}

/// Whether an inventory says that something in AWS is the object's own or was about to be made, by the keys of its lines. The
/// record of what was there before a cluster is no such thing.
pub fn has_recorded<'k>(keys: impl IntoIterator<Item = &'k str>) -> bool {
    keys.into_iter().any(|key| Key::parse(key) != leftovers::key())
}

/// How many updates were begun in vain, as status keeps it.
pub fn update_attempts(recorded: &InventoryRecord) -> Option<i32> {
    (recorded.operations > 0).then(|| i32::try_from(recorded.operations).unwrap_or(i32::MAX))
}

/// The same, read back.
pub fn operations(update_attempts: Option<i32>) -> u32 {
    update_attempts.and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}

/// Keeps the inventory of one EksCluster.
pub struct StatusJournal<'a> {
    client: &'a Client,
    object: &'a EksCluster,
    gate: &'a dyn WriteGate,
    written: Mutex<Vec<ResourceStatus>>,
}

impl<'a> StatusJournal<'a> {
    /// With what stands in status already. Nothing is written once `gate` is closed: whoever leads then knows more.
    pub fn new(
        client: &'a Client,
        object: &'a EksCluster,
        gate: &'a dyn WriteGate,
        written: Vec<ResourceStatus>,
    ) -> Self {
        Self { client, object, gate, written: Mutex::new(written) }
    }

    /// What stands in status now.
    pub fn into_written(self) -> Vec<ResourceStatus> {
        self.written.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn written(&self) -> std::sync::MutexGuard<'_, Vec<ResourceStatus>> {
        self.written.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[async_trait]
impl Journal for StatusJournal<'_> {
    async fn record(&self, memory: &Memory) -> Result<(), Failure> {
        let lines = inventory(memory);
        if *self.written() == lines {
            return Ok(());
        }
        if !self.gate.may_write() {
            let message = "the inventory is not kept in status: this replica does not lead any more";
            return Err(Failure::new(Class::NotLeader, message));
        }
        let body = json!({"resources": lines});
        match apply::status(self.client, self.object, apply::JOURNAL, self.gate, &body).await {
            Ok(()) => {
                *self.written() = lines;
                Ok(())
            }
            Err(error) => {
                let message = format!("the inventory cannot be kept in status: {}", apply::describe_error(&error));
                Err(Failure::new(Class::Unavailable, message))
            }
        }
    }
}

/// For objects whose creates all carry client tokens: their names lead back to them.
pub struct NoJournal;

#[async_trait]
impl Journal for NoJournal {
    async fn record(&self, _: &Memory) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Observation;
    use std::sync::Arc;
    use std::time::Duration;

    fn seen(id: &str, state: &str) -> Observation<Arc<dyn std::any::Any + Send + Sync>> {
        Observation::ready(id, state, Arc::new(()) as _)
    }

    #[test]
    fn the_inventory_holds_ids_intents_and_what_vanished_but_nothing_borrowed() {
        let now = Timestamp::UNIX_EPOCH;
        let mut memory = Memory::new(now, Duration::ZERO, []);
        memory.record_observation(&Key::single("vpc"), Presence::Ours(seen("vpc-1", "available")), now);
        memory.record_observation(&Key::single("existingNetwork"), Presence::External(seen("vpc-2", "available")), now);
        memory.record_observation(&Key::single("cluster"), Presence::Ours(seen("demo", "ACTIVE")), now);
        memory.record_observation(&Key::single("cluster"), Presence::Absent, now);
        memory.record_observation(&Key::named("addon", "coredns"), Presence::Absent, now);
        memory.record_intent(&Key::named("elasticIp", "eu-west-1a"), now);
        let lines = inventory(&memory);
        let told: Vec<_> = lines.iter().map(|l| (l.key.as_str(), l.id.as_deref(), l.state.as_deref())).collect();
        let expected = [
            ("cluster", Some("demo"), None),
            ("elasticIp/eu-west-1a", None, None),
            ("vpc", Some("vpc-1"), Some("available")),
        ];
        assert_eq!(told, expected);
        assert_eq!(lines[0].update_attempts, None);
        let failing = ResourceStatus { update_id: Some("u-2".into()), update_attempts: Some(2), ..lines[0].clone() };
        let (_, kept) = &recorded(&[failing])[0];
        assert_eq!((kept.operation.as_deref(), kept.operations), (Some("u-2"), 2));
        assert_eq!(update_attempts(kept), Some(2));
        let again = Memory::new(now, Duration::ZERO, recorded(&lines));
        assert_eq!(
            inventory(&again).iter().map(|l| &l.key).collect::<Vec<_>>(),
            lines.iter().map(|l| &l.key).collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn a_process_that_leads_no_more_does_not_write_what_it_knew() {
        // Nothing listens there: a write would fail as unavailable.
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
        let object = json!({"apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
            "spec": {"region": "eu-west-1", "version": "1.34"}});
        let object: EksCluster = serde_json::from_value(object).unwrap();
        let mut memory = Memory::new(Timestamp::UNIX_EPOCH, Duration::ZERO, []);
        memory.record_intent(&Key::single("vpc"), Timestamp::UNIX_EPOCH);
        let gate = crate::controllers::leader::Leadership::none();
        let journal = StatusJournal::new(&client, &object, &gate, Vec::new());
        let failure = journal.record(&memory).await.unwrap_err();
        assert_eq!(failure.class, Class::NotLeader, "{failure}");
    }

    #[test]
    fn a_full_inventory_leaves_out_what_eks_lists_by_itself() {
        let now = Timestamp::UNIX_EPOCH;
        let mut memory = Memory::new(now, Duration::ZERO, []);
        for number in 0..250 {
            memory.record_observation(
                &Key::named("accessEntry", number.to_string()),
                Presence::Ours(seen("a", "")),
                now,
            );
        }
        memory.record_intent(&Key::single("vpc"), now);
        let lines = inventory(&memory);
        assert_eq!(lines.len(), MAX_RESOURCES);
        assert!(lines.iter().any(|line| line.key == "vpc"));
    }
}
