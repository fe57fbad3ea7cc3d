//! The status of an EksCluster, from what was seen. Pure. The inventory (`resources`) is the journal's.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::facts::{Facts, issues};
use crate::api::NodeGroup;
use crate::api::conditions::{self, ConditionType};
use crate::api::status::{
    AddonStatus, DriftStatus, EksClusterStatus, GitOpsStatus, NetworkStatus, NodeGroupCounts, PlanStatus,
    SupportStatus, UpgradeStatus,
};
use crate::engine::Memory;

/// How old `gitops.lastContact` may get in status: it moves with every look, and is no news.
const CONTACT: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);

/// What status is made of.
pub struct Input<'a> {
    /// The status written last.
    pub previous: &'a EksClusterStatus,
    /// Of the spec.
    pub generation: Option<i64>,
    /// As decided.
    pub conditions: Vec<Condition>,
    /// Of the session.
    pub account_id: Option<&'a str>,
    /// What was seen.
    pub memory: &'a Memory,
    /// What is to be done.
    pub plan: Option<PlanStatus>,
    /// What differs and is left alone.
    pub drift: Vec<DriftStatus>,
    /// What AWS matched last.
    pub synced: Option<String>,
    /// Those that refer to the cluster.
    pub node_groups: &'a [Arc<NodeGroup>],
    /// What the agent says.
    pub gitops: Option<GitOpsStatus>,
    /// The upgrade under way, and past ones.
    pub upgrade: Option<UpgradeStatus>,
    /// Until when AWS supports the version.
    pub support: Option<SupportStatus>,
}

/// The whole status but the inventory.
pub fn status(input: Input<'_>) -> EksClusterStatus {
    let Input {
        previous,
        generation,
        conditions,
        account_id,
        memory,
        plan,
        drift,
        synced,
        node_groups,
        gitops,
        upgrade,
        support,
    } = input;
    let facts = Facts(memory);
    let version = facts.of_cluster("version");
    EksClusterStatus {
        observed_generation: generation,
        conditions,
        waits: previous.waits.clone(),
        account_id: account_id.map(str::to_owned).or_else(|| previous.account_id.clone()),
        arn: facts.of_cluster("arn"),
        platform_version: facts.of_cluster("platformVersion"),
        endpoint: facts.of_cluster("endpoint"),
        oidc_issuer: facts.of_cluster("oidcIssuer"),
        network: network(facts),
        resources: Vec::new(),
        addons: addons(memory),
        node_groups: Some(counts(node_groups)),
        support,
        version,
        plan,
        drift,
        synced,
        change_policy: previous.change_policy,
        deletion: previous.deletion.clone(),
        upgrade,
        gitops,
    }
}

/// The status with other conditions, where nothing was looked at.
pub fn unseen(previous: &EksClusterStatus, generation: Option<i64>, conditions: Vec<Condition>) -> EksClusterStatus {
    EksClusterStatus { observed_generation: generation, conditions, resources: Vec::new(), ..previous.clone() }
}

/// Nothing is kept of a cluster that belongs to somebody else, not even from when it could be adopted.
pub fn forget_cluster(status: &mut EksClusterStatus) {
    (status.upgrade, status.support, status.gitops, status.synced) = (None, None, None, None);
    status.drift = Vec::new();
}

/// Whether it is worth a write. What only ticks is taken over from the last one.
pub fn settle_ticks(next: &mut EksClusterStatus, previous: &EksClusterStatus) {
    let (Some(gitops), Some(before)) = (&mut next.gitops, &previous.gitops) else { return };
    let contact = |status: &GitOpsStatus| status.last_contact.as_ref().map(|time| time.0);
    let since = |from: Timestamp, to: Timestamp| to.duration_since(from);
    if let (Some(now), Some(then)) = (contact(gitops), contact(before))
        && since(then, now) < CONTACT
    {
        gitops.last_contact = before.last_contact.clone();
    }
}

fn network(facts: Facts<'_>) -> Option<NetworkStatus> {
    let network = NetworkStatus {
        vpc_id: facts.vpc_id(),
        cluster_security_group_id: facts.of_cluster("securityGroupId"),
        subnets: facts.subnets(),
    };
    (network != NetworkStatus::default()).then_some(network)
}

fn addons(memory: &Memory) -> Vec<AddonStatus> {
    let facts = Facts(memory);
    let seen = memory.iter().filter(|(key, _)| key.kind() == "addon");
    seen.filter_map(|(key, _)| {
        Some(AddonStatus {
            name: key.name().to_owned(),
            state: Some(memory.observed(key)?.state.clone()),
            version: facts.output(key, "version"),
            issues: issues(facts.output(key, "issues")),
        })
    })
    .collect()
}

/// Counted over the node groups that refer to the cluster.
pub fn counts(node_groups: &[Arc<NodeGroup>]) -> NodeGroupCounts {
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    NodeGroupCounts {
        ready: number(node_groups.iter().filter(|group| is_ready(group)).count()),
        total: number(node_groups.len()),
        nodes: node_groups.iter().filter_map(|group| group.status.as_ref()?.replicas).sum(),
    }
}

/// Whether its nodes are there.
pub fn is_ready(group: &NodeGroup) -> bool {
    let conditions = group.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions::is_true(conditions, ConditionType::NodesReady)
}
