//! The inventory in `status.resources`: ids and intents that survive a restart. I/O: the management cluster's API.

use async_trait::async_trait;
use kube::Client;
use parking_lot::Mutex;
use serde_json::json;

use crate::api::EksCluster;
use crate::api::status_cluster::{MAX_RESOURCES, ResourceStatus};
use crate::aws::WriteGate;
use crate::controllers::runtime::apply;
use crate::engine::{Class, Failure, InventoryRecord, Journal, Key, Memory, Presence};
use crate::resources::graph::kinds;
use jiff::Timestamp;

/// Whether EKS lists the kind by cluster: omitted first when the inventory is full. Not where only the record says what to remove.
fn is_found_by_cluster(key: &Key) -> bool {
    kinds::find(key.kind()).is_some_and(|kind| kind.in_eks().is_some() && !kind.is_removable)
}

/// The inventory for status: Keelson's own resources, and intended creates (without an id).
pub fn inventory(memory: &Memory) -> Vec<ResourceStatus> {
    let mut lines: Vec<(bool, ResourceStatus)> = memory
        .iter()
        .filter_map(|(key, entry)| {
            let recorded = entry.recorded.as_ref()?;
            let is_own = match &entry.presence {
                Some(Presence::External(_)) => false,
                Some(Presence::Unowned(_)) => entry.stays_on_record,
                _ => true,
            };
            if !is_own {
                return None;
            }
            let state = entry
                .presence
                .as_ref()
                .and_then(|presence| presence.observed())
                .map(|observation| observation.state.clone());
            let state = state.filter(|state| !state.is_empty());
            let (id, update_id) = (recorded.id.clone(), recorded.operation.clone());
            let update_attempts = update_attempts(recorded);
            let line = ResourceStatus { key: key.to_string(), id, state, update_id, update_attempts };
            Some((is_found_by_cluster(key), line))
        })
        .collect();
    lines.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
    lines.truncate(MAX_RESOURCES);
    lines.sort_by(|a, b| a.1.key.cmp(&b.1.key));
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Parses the inventory of the previous process. Its times come from another clock, so they count from this process's
/// start.
pub fn parse_inventory(resources: &[ResourceStatus]) -> Vec<(Key, InventoryRecord)> {
    let line = |line: &ResourceStatus| {
        let id = line.id.clone().filter(|id| !id.is_empty());
        let operations = parse_update_attempts(line.update_attempts);
        (
            Key::parse(&line.key),
            InventoryRecord { id, operation: line.update_id.clone(), operations, at: Timestamp::UNIX_EPOCH },
        )
    };
    resources.iter().map(line).collect()
}

/// Whether an inventory, by the keys of its lines, records an AWS resource of the object, or an intended one. The
/// record of resources that existed before the cluster does not count.
pub fn has_recorded<'k>(keys: impl IntoIterator<Item = &'k str>) -> bool {
    keys.into_iter().any(|key| kinds::is_resource(&Key::parse(key)))
}

/// The number of failed updates, as stored in status.
pub fn update_attempts(recorded: &InventoryRecord) -> Option<i32> {
    (recorded.operations > 0).then(|| i32::try_from(recorded.operations).unwrap_or(i32::MAX))
}

/// Parses [`update_attempts`].
pub fn parse_update_attempts(update_attempts: Option<i32>) -> u32 {
    update_attempts.and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}

/// Writes the inventory of one EksCluster to its status.
pub struct StatusJournal<'a> {
    client: &'a Client,
    object: &'a EksCluster,
    gate: &'a dyn WriteGate,
    written: Mutex<Vec<ResourceStatus>>,
    /// The object's resourceVersion after the last write.
    version: Mutex<Option<String>>,
}

impl<'a> StatusJournal<'a> {
    /// `written` is the inventory in status. Nothing is written once `gate` is closed: the new leader knows more.
    pub fn new(
        client: &'a Client,
        object: &'a EksCluster,
        gate: &'a dyn WriteGate,
        written: Vec<ResourceStatus>,
    ) -> Self {
        Self { client, object, gate, written: Mutex::new(written), version: Mutex::default() }
    }

    /// The inventory in status, and the object's resourceVersion if it was written.
    pub fn into_written(self) -> (Vec<ResourceStatus>, Option<String>) {
        (self.written.into_inner(), self.version.into_inner())
    }

    fn written(&self) -> parking_lot::MutexGuard<'_, Vec<ResourceStatus>> {
        self.written.lock()
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
            let message = "the inventory was not written to status: this replica is no longer the leader";
            return Err(Failure::new(Class::NotLeader, message));
        }
        let body = json!({"resources": lines});
        match apply::patch_status(self.client, self.object, apply::JOURNAL, self.gate, &body).await {
            Ok(version) => {
                (*self.written(), *self.version.lock()) = (lines, version);
                Ok(())
            }
            Err(error) => {
                let message =
                    format!("the inventory could not be written to status: {}", apply::describe_error(&error));
                Err(Failure::new(Class::Unavailable, message).caused_by(error))
            }
        }
    }
}

/// For objects whose creates all carry client tokens: they are found again by name.
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

    fn observation(id: &str, state: &str) -> Observation<Arc<dyn std::any::Any + Send + Sync>> {
        Observation::ready(id, state, Arc::new(()) as _)
    }

    #[test]
    fn inventory_holds_ids_intents_and_missing_resources_but_no_external_ones() {
        let now = Timestamp::UNIX_EPOCH;
        let mut memory = Memory::new(now, Duration::ZERO, []);
        memory.record_observation(&Key::single("vpc"), Presence::Ours(observation("vpc-1", "available")), now);
        memory.record_observation(
            &Key::single("existingNetwork"),
            Presence::External(observation("vpc-2", "available")),
            now,
        );
        memory.record_observation(&Key::single("cluster"), Presence::Ours(observation("demo", "ACTIVE")), now);
        memory.record_observation(&Key::single("cluster"), Presence::Absent, now);
        memory.record_observation(&Key::named("addon", "coredns"), Presence::Absent, now);
        memory.record_intent(&Key::named("elasticIp", "eu-west-1a"), now);
        let lines = inventory(&memory);
        let entries: Vec<_> = lines.iter().map(|l| (l.key.as_str(), l.id.as_deref(), l.state.as_deref())).collect();
        let expected = [
            ("cluster", Some("demo"), None),
            ("elasticIp/eu-west-1a", None, None),
            ("vpc", Some("vpc-1"), Some("available")),
        ];
        assert_eq!(entries, expected);
        assert_eq!(lines[0].update_attempts, None);
        let failed_update =
            ResourceStatus { update_id: Some("u-2".into()), update_attempts: Some(2), ..lines[0].clone() };
        let (_, parsed) = &parse_inventory(&[failed_update])[0];
        assert_eq!((parsed.operation.as_deref(), parsed.operations), (Some("u-2"), 2));
        assert_eq!(update_attempts(parsed), Some(2));
        let restored = Memory::new(now, Duration::ZERO, parse_inventory(&lines));
        assert_eq!(
            inventory(&restored).iter().map(|l| &l.key).collect::<Vec<_>>(),
            lines.iter().map(|l| &l.key).collect::<Vec<_>>()
        );
    }

    #[test]
    fn own_resources_stay_on_record_while_they_are_handed_over() {
        let now = Timestamp::UNIX_EPOCH;
        let record = |id: &str| InventoryRecord { id: Some(id.to_owned()), operation: None, operations: 0, at: now };
        let (own, other) = (Key::single("vpc"), Key::single("cluster"));
        let mut memory = Memory::new(now, Duration::ZERO, [(own.clone(), record("vpc-1"))]);
        memory.keep_records();
        // Their tags do not name the other installation yet; the cluster was never on record.
        for (key, id) in [(&own, "vpc-1"), (&other, "demo")] {
            memory.record_observation(key, Presence::Unowned(observation(id, "")), now);
        }
        let ids = |memory: &Memory| inventory(memory).into_iter().filter_map(|line| line.id).collect::<Vec<_>>();
        assert_eq!(ids(&memory), ["vpc-1"]);
        memory.restart(now);
        assert_eq!(ids(&memory), ["vpc-1"], "the hand-over was withdrawn");
        memory.record_observation(&own, Presence::Unowned(observation("vpc-1", "")), now);
        assert!(ids(&memory).is_empty(), "otherwise what is not owned is not on record");
    }

    #[tokio::test]
    async fn former_leader_does_not_write_the_inventory() {
        // Nothing listens there: a write would fail as unavailable.
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
        let object = json!({"apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
            "spec": {"region": "eu-west-1", "version": "1.34"}});
        let object: EksCluster = serde_json::from_value(object).unwrap();
        let mut memory = Memory::new(Timestamp::UNIX_EPOCH, Duration::ZERO, []);
        memory.record_intent(&Key::single("vpc"), Timestamp::UNIX_EPOCH);
        let gate = crate::controllers::runtime::leader::Leadership::none();
        let journal = StatusJournal::new(&client, &object, &gate, Vec::new());
        let failure = journal.record(&memory).await.unwrap_err();
        assert_eq!(failure.class, Class::NotLeader, "{failure}");
    }

    #[test]
    fn full_inventory_omits_resources_that_eks_lists() {
        let now = Timestamp::UNIX_EPOCH;
        let mut memory = Memory::new(now, Duration::ZERO, []);
        for number in 0..250 {
            memory.record_observation(
                &Key::named("accessEntry", number.to_string()),
                Presence::Ours(observation("a", "")),
                now,
            );
        }
        memory.record_intent(&Key::single("vpc"), now);
        let lines = inventory(&memory);
        assert_eq!(lines.len(), MAX_RESOURCES);
        assert!(lines.iter().any(|line| line.key == "vpc"));
    }
}
