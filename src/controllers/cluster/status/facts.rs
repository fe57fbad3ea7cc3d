//! What was observed of a cluster's resources, by name: for status, the agent and the node groups. Pure.

use serde::Deserialize;

use crate::api::node_group::SubnetTier;
use crate::api::status_cluster::{HealthIssue, MAX_ISSUES, PodSubnetStatus, SubnetStatus};
use crate::engine::{AnyObservation, Key, Memory, Presence};
use crate::resources::eks::cluster;
use crate::resources::eks::lifecycle::LifecycleState;
use crate::resources::graph::kinds;
use crate::resources::iam::role::{self, Purpose};
use crate::resources::network::{existing_network, subnet, vpc};

/// The control plane's key.
pub fn cluster_key() -> Key {
    cluster::key()
}

/// What is known of the cluster's resources.
#[derive(Clone, Copy)]
pub struct Facts<'m>(pub &'m Memory);

impl<'m> Facts<'m> {
    /// The control plane, if it exists.
    pub fn cluster(self) -> Option<&'m AnyObservation> {
        self.0.observed(&cluster_key())
    }

    /// Whether the control plane is ours, and not one that is still to be adopted.
    pub fn is_ours(self) -> bool {
        matches!(self.0.get(&cluster_key()).and_then(|entry| entry.presence.as_ref()), Some(Presence::Ours(_)))
    }

    /// A resource in AWS that is on record as the object's.
    pub fn recorded_resource(self) -> Option<&'m Key> {
        let mut recorded = self.0.iter().filter(|(key, entry)| entry.recorded.is_some() && kinds::is_resource(key));
        recorded.next().map(|(key, _)| key)
    }

    /// Whether nothing is known of the control plane: it was not observed yet, or cannot be.
    pub fn is_unknown(self) -> bool {
        self.0.get(&cluster_key()).is_none_or(|entry| entry.presence.is_none())
    }

    /// Whether another cluster has the name, is not ours, and may not be adopted.
    pub fn is_foreign(self) -> bool {
        matches!(self.0.get(&cluster_key()).and_then(|entry| entry.presence.as_ref()), Some(Presence::Foreign(_)))
    }

    /// An output of the control plane.
    pub fn of_cluster(self, name: &str) -> Option<String> {
        self.output(&cluster_key(), name)
    }

    /// An output of a resource; empty counts as unknown.
    pub fn output(self, key: &Key, name: &str) -> Option<String> {
        self.0.observed(key)?.outputs.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// Whether the Kubernetes API exists: the control plane is ACTIVE, or UPDATING.
    pub fn has_api(self) -> bool {
        self.cluster().is_some_and(|observed| LifecycleState::parse(&observed.state).has_api())
            && self.of_cluster("endpoint").is_some()
            && self.of_cluster("certificateAuthority").is_some()
    }

    /// Whether a resource is proven to be the object's: it was observed as its, or is on record and nobody else has its name. What anybody
    /// could have created under that name is not.
    pub fn is_proven(self, key: &Key) -> bool {
        let Some(entry) = self.0.get(key) else { return false };
        let is_recorded = entry.recorded.as_ref().is_some_and(|recorded| recorded.id.is_some());
        match &entry.presence {
            Some(Presence::Ours(_)) => true,
            // Not read yet, or deleted by somebody and about to be created again.
            None | Some(Presence::Absent) => is_recorded,
            Some(Presence::Foreign(_) | Presence::Unowned(_) | Presence::External(_)) => false,
        }
    }

    /// The VPC, our own or an external one.
    pub fn vpc_id(self) -> Option<String> {
        let own = self.0.observed(&vpc::key()).map(|observed| observed.id.clone());
        own.or_else(|| self.output(&existing_network::key(), "vpcId")).or_else(|| self.of_cluster("vpcId"))
    }

    /// The subnets, our own or external ones.
    pub fn subnets(self) -> Vec<SubnetStatus> {
        let of_tiers = self.0.iter().filter(|(key, _)| subnet::KIND.is_of(key) && !subnet::is_for_pods(key));
        let own = of_tiers.filter_map(|(key, _)| {
            let observed = self.0.observed(key)?;
            let (tier, zone) = key.name().split_once('/')?;
            Some(SubnetStatus {
                id: observed.id.clone(),
                zone: self.output(key, "zone").unwrap_or_else(|| zone.to_owned()),
                tier: tier_of(self.output(key, "tier").as_deref().unwrap_or(tier)),
                cidr: self.output(key, "cidr"),
            })
        });
        let mut all: Vec<_> = own.collect();
        if all.is_empty()
            && let Some(external) = self.output(&existing_network::key(), "subnets")
        {
            let external: Vec<ExternalSubnet> = serde_json::from_str(&external).unwrap_or_default();
            all = external
                .into_iter()
                .map(|ExternalSubnet { id, zone, tier, cidr }| SubnetStatus { id, zone, tier: tier_of(&tier), cidr })
                .collect();
        }
        all.sort_by(|a, b| (a.tier, &a.zone, &a.id).cmp(&(b.tier, &b.zone, &b.id)));
        all
    }

    /// The subnets for Pods, of our own VPC, by zone.
    pub fn pod_subnets(self) -> Vec<PodSubnetStatus> {
        let found = self.0.iter().filter(|(key, _)| subnet::is_for_pods(key)).filter_map(|(key, _)| {
            let id = self.0.observed(key)?.id.clone();
            Some(PodSubnetStatus { id, zone: self.output(key, "zone")?, cidr: self.output(key, "cidr") })
        });
        let mut all: Vec<_> = found.collect();
        all.sort_by(|a, b| (&a.zone, &a.cidr).cmp(&(&b.zone, &b.cidr)));
        all
    }

    /// Ids of the subnets of a tier.
    pub fn subnet_ids(self, tier: SubnetTier) -> Vec<String> {
        self.subnets().into_iter().filter(|subnet| subnet.tier == tier).map(|subnet| subnet.id).collect()
    }

    /// ARN of the role of the nodes.
    pub fn node_role_arn(self) -> Option<String> {
        self.output(&role::key(Purpose::Node), "arn")
    }
}

#[derive(Deserialize)]
struct ExternalSubnet {
    id: String,
    zone: String,
    tier: String,
    #[serde(default)]
    cidr: Option<String>,
}

fn tier_of(text: &str) -> SubnetTier {
    if text.eq_ignore_ascii_case("public") { SubnetTier::Public } else { SubnetTier::Private }
}

/// Health issues as resources report them: a JSON list of texts `CODE: message`, or of complete issues.
pub fn issues(list: Option<String>) -> Vec<HealthIssue> {
    let all: Vec<NestedIssue> = list.and_then(|list| serde_json::from_str(&list).ok()).unwrap_or_default();
    let issue = |value| match value {
        NestedIssue::Text(text) => issue(&text),
        NestedIssue::Whole(mut issue) => {
            issue.resource_ids.truncate(MAX_ISSUES);
            issue.message = issue.message.map(|message| crate::api::conditions::bounded(&message, 1024));
            issue
        }
    };
    all.into_iter().take(MAX_ISSUES).map(issue).collect()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NestedIssue {
    Text(String),
    Whole(HealthIssue),
}

fn issue(text: &str) -> HealthIssue {
    use crate::api::conditions::bounded;
    let (code, message) = text.split_once(": ").unwrap_or((text, ""));
    let message = Some(bounded(message, 1024)).filter(|message| !message.is_empty());
    HealthIssue { code: bounded(code, 128), message, resource_ids: Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::engine::{InventoryRecord, Observation};

    #[test]
    fn name_that_anybody_can_take_is_proven_only_by_its_owner_or_the_record() {
        let key = Key::named("queue", "keelson-demo-karpenter");
        let any = || {
            let any = std::sync::Arc::new(()) as std::sync::Arc<dyn std::any::Any + Send + Sync>;
            Observation::ready("keelson-demo-karpenter", "available", ()).map(|()| any)
        };
        let proven = |id: Option<&str>, presence: Option<Presence<_>>| {
            let id = id.map(str::to_owned);
            let record =
                InventoryRecord { id, operation: None, operations: Default::default(), at: Timestamp::UNIX_EPOCH };
            let mut memory = Memory::new(Timestamp::UNIX_EPOCH, Duration::ZERO, [(key.clone(), record)]);
            memory.entry(&key).presence = presence;
            Facts(&memory).is_proven(&key)
        };
        let id = Some("keelson-demo-karpenter");
        assert!(proven(None, Some(Presence::Ours(any()))) && proven(id, None) && proven(id, Some(Presence::Absent)));
        for presence in [Presence::Foreign("team b".to_owned()), Presence::Unowned(any())] {
            assert!(!proven(id, Some(presence.clone())) && !proven(None, Some(presence)));
        }
        assert!(
            !proven(None, None) && !proven(None, Some(Presence::Absent)),
            "its creation is not known to have succeeded"
        );
        let nothing = Memory::new(Timestamp::UNIX_EPOCH, Duration::ZERO, []);
        assert!(!Facts(&nothing).is_proven(&key));
    }

    #[test]
    fn sweeps_and_networks_of_the_user_are_no_resources_on_record() {
        let record = |key: &str| {
            let id = Some("id".to_owned());
            (
                Key::parse(key),
                InventoryRecord { id, operation: None, operations: Default::default(), at: Timestamp::UNIX_EPOCH },
            )
        };
        let of = |keys: &[&str]| Memory::new(Timestamp::UNIX_EPOCH, Duration::ZERO, keys.iter().map(|key| record(key)));
        let sweeps = of(&["leftovers", "removals", "fargateProfilePruning", "existingNetwork"]);
        assert_eq!(Facts(&sweeps).recorded_resource(), None);
        let vpc = of(&["leftovers", "vpc"]);
        assert_eq!(Facts(&vpc).recorded_resource(), Some(&Key::single("vpc")));
    }
}
