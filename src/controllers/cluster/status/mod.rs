//! The status of an EksCluster, from what was observed. Pure. The journal writes the inventory (`resources`).

pub mod available;
pub mod cluster_conditions;
pub mod control_plane_health;
pub mod facts;
pub mod notices;
pub mod view;
pub mod whole_plan;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::NodeGroup;
use crate::api::certificate_authority::CertificateAuthorityStatus;
use crate::api::conditions::{ConditionType, is_true};
use crate::api::registration::RegistrationStatus;
use crate::api::status_cluster::{
    AddonStatus, DriftStatus, EksClusterStatus, GitOpsStatus, NetworkStatus, NodeGroupCounts, PlanStatus,
    SupportStatus, UpgradeStatus,
};
use crate::engine::Memory;
use crate::resources::eks::{addon, certificate_authority};
use facts::{Facts, issues};

/// How old `gitops.lastContact` may get in status: it changes with every observation, and alone is not worth a write.
const MAX_CONTACT_AGE: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);

/// Input of the status.
pub struct Input<'a> {
    /// The status written last.
    pub previous: &'a EksClusterStatus,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// Account of the session.
    pub account_id: Option<&'a str>,
    /// The observed resources.
    pub memory: &'a Memory,
    /// The remaining plan.
    pub plan: Option<PlanStatus>,
    /// Drift that is left alone.
    pub drift: Vec<DriftStatus>,
    /// Digest of what AWS matched last.
    pub synced: Option<String>,
    /// Keys of tags that resources may carry.
    pub tag_keys: Vec<String>,
    /// The NodeGroups that refer to the cluster.
    pub node_groups: &'a [Arc<NodeGroup>],
    /// The agent's status.
    pub gitops: Option<GitOpsStatus>,
    /// The upgrade in progress, and past ones.
    pub upgrade: Option<UpgradeStatus>,
    /// Until when AWS supports the version.
    pub support: Option<SupportStatus>,
    /// The Secret with the kubeconfig.
    pub kubeconfig_secret: Option<String>,
    /// The Secret that registers the cluster.
    pub registration: Option<RegistrationStatus>,
}

/// The whole status except the inventory.
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
        tag_keys,
        node_groups,
        gitops,
        upgrade,
        support,
        kubeconfig_secret,
        registration,
    } = input;
    let facts = Facts(memory);
    // What could not be read is not gone: the guard against mass deletion and the check of the account rely on the ARN.
    let is_unknown = facts.is_unknown();
    let known =
        |name: &str, last: &Option<String>| facts.of_cluster(name).or_else(|| last.clone().filter(|_| is_unknown));
    EksClusterStatus {
        observed_generation: generation,
        change: previous.change.clone(),
        last_handled_reconcile_at: previous.last_handled_reconcile_at.clone(),
        conditions,
        waits: previous.waits.clone(),
        holds: previous.holds.clone(),
        account_id: account_id.map(str::to_owned).or_else(|| previous.account_id.clone()),
        arn: known("arn", &previous.arn),
        platform_version: known("platformVersion", &previous.platform_version),
        endpoint: known("endpoint", &previous.endpoint),
        certificate_authority: known("certificateAuthority", &previous.certificate_authority),
        certificate_authorities: certificate_authorities(facts, &previous.certificate_authorities)
            .unwrap_or_else(|| previous.certificate_authorities.clone().into_iter().filter(|_| is_unknown).collect()),
        oidc_issuer: known("oidcIssuer", &previous.oidc_issuer),
        network: network(facts).or_else(|| previous.network.clone().filter(|_| is_unknown)),
        resources: Vec::new(),
        // They are written on their own.
        hooks: Vec::new(),
        health_issues: if is_unknown {
            previous.health_issues.clone()
        } else {
            control_plane_health::health_issues(memory)
        },
        addons: addons(memory),
        node_groups: Some(counts(node_groups)),
        support,
        version: known("version", &previous.version),
        plan,
        drift,
        synced,
        tag_keys,
        change_policy: previous.change_policy,
        deletion: previous.deletion.clone(),
        recovery: previous.recovery.clone(),
        hand_over: previous.hand_over.clone(),
        upgrade,
        gitops,
        kubeconfig_secret,
        registration,
    }
}

/// The status with other conditions, when nothing was observed.
pub fn unobserved(
    previous: &EksClusterStatus,
    generation: Option<i64>,
    conditions: Vec<Condition>,
) -> EksClusterStatus {
    let plan = previous.plan.clone().map(|plan| plan.of_generation(generation));
    EksClusterStatus { observed_generation: generation, conditions, resources: Vec::new(), plan, ..previous.clone() }
}

/// Keeps nothing of a cluster that is owned by others, not even from when it could be adopted.
pub fn forget_cluster(status: &mut EksClusterStatus) {
    (status.upgrade, status.support, status.gitops, status.synced) = (None, None, None, None);
    (status.drift, status.health_issues) = (Vec::new(), Vec::new());
}

/// Leaves out what the cluster says to its FleetRollout, and its hooks: they are written on their own, with a resourceVersion.
pub fn forget_wave(status: &mut EksClusterStatus) {
    status.hooks = Vec::new();
    let is_nothing_else = |upgrade: &mut UpgradeStatus| {
        (upgrade.wave, upgrade.agent_wave, upgrade.revision_wave) = (None, None, None);
        *upgrade == UpgradeStatus::default()
    };
    if status.upgrade.as_mut().is_some_and(is_nothing_else) {
        status.upgrade = None;
    }
}

/// Takes over from the last status the values that only tick, so that they alone cause no write. What is written for
/// another reason has the newest ones.
pub fn settle_ticks(next: &mut EksClusterStatus, previous: &EksClusterStatus) {
    let contact = |status: &EksClusterStatus| status.gitops.as_ref()?.last_contact.as_ref().map(|time| time.0);
    let (Some(now), Some(then)) = (contact(next), contact(previous)) else { return };
    if now.duration_since(then) >= MAX_CONTACT_AGE {
        return;
    }
    // The journal writes the inventory, and the waits are evaluated later.
    let mut ticked =
        EksClusterStatus { resources: previous.resources.clone(), waits: previous.waits.clone(), ..next.clone() };
    if let (Some(gitops), Some(before)) = (&mut ticked.gitops, &previous.gitops) {
        gitops.last_contact.clone_from(&before.last_contact);
    }
    if ticked == *previous {
        next.gitops = ticked.gitops;
    }
}

/// `None`: they are not read. What is in the state of `previous` has been so since then: another process observed it.
fn certificate_authorities(
    facts: Facts<'_>,
    previous: &[CertificateAuthorityStatus],
) -> Option<Vec<CertificateAuthorityStatus>> {
    let shown = facts.output(&certificate_authority::key(), "authorities")?;
    let mut all: Vec<CertificateAuthorityStatus> = serde_json::from_str(&shown).ok()?;
    for one in &mut all {
        let same = |before: &&CertificateAuthorityStatus| before.id == one.id && before.state == one.state;
        if let Some(before) = previous.iter().find(same).filter(|before| before.since.is_some()) {
            one.since.clone_from(&before.since);
        }
    }
    Some(all)
}

fn network(facts: Facts<'_>) -> Option<NetworkStatus> {
    let network = NetworkStatus {
        vpc_id: facts.vpc_id(),
        cluster_security_group_id: facts.of_cluster("securityGroupId"),
        service_cidr: facts.of_cluster("serviceCidr"),
        subnets: facts.subnets(),
        pod_subnets: facts.pod_subnets(),
    };
    (network != NetworkStatus::default()).then_some(network)
}

fn addons(memory: &Memory) -> Vec<AddonStatus> {
    let facts = Facts(memory);
    let addons = memory.iter().filter(|(key, _)| addon::KIND.is_of(key));
    addons
        .filter_map(|(key, _)| {
            Some(AddonStatus {
                name: key.name().to_owned(),
                state: Some(memory.observed(key)?.state.clone()),
                version: facts.output(key, "version"),
                issues: issues(facts.output(key, "issues")),
            })
        })
        .collect()
}

/// Counts over the node groups that refer to the cluster.
pub fn counts(node_groups: &[Arc<NodeGroup>]) -> NodeGroupCounts {
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    NodeGroupCounts {
        ready: number(node_groups.iter().filter(|group| is_ready(group)).count()),
        total: number(node_groups.len()),
        nodes: node_groups.iter().filter_map(|group| group.status.as_ref()?.replicas).sum(),
    }
}

/// Whether its nodes are ready.
pub fn is_ready(group: &NodeGroup) -> bool {
    let conditions = group.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    is_true(conditions, ConditionType::NodesReady)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn contacted(second: i64, revision: &str) -> EksClusterStatus {
        let last_contact = Timestamp::from_second(second).ok().map(Time);
        let last_applied_revision = Some(revision.to_owned());
        let gitops = Some(GitOpsStatus { last_contact, last_applied_revision, ..GitOpsStatus::default() });
        EksClusterStatus { gitops, ..EksClusterStatus::default() }
    }

    #[test]
    fn contact_alone_is_not_written_and_is_current_in_what_is_written() {
        for (second, revision, expected) in [(160, "a", 100), (160, "b", 160), (400, "a", 400)] {
            let mut next = contacted(second, revision);
            settle_ticks(&mut next, &contacted(100, "a"));
            assert_eq!(next, contacted(expected, revision));
        }
    }
}
