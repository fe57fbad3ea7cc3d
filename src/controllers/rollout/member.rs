//! An EksCluster as its rollout sees it, from the spec and status of the cluster and its NodeGroups. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::conditions::{self, ConditionType};
use crate::api::hook::{HookFailurePolicy, HookPoint, HookState, HookStatus};
use crate::api::status_cluster::EksClusterStatus;
use crate::api::upgrade::FollowPolicy;
use crate::api::{EksCluster, KubernetesVersion, NodeGroup, Reason};
use crate::controllers::cluster::agent::agent_version_state::agent_state;
use crate::controllers::cluster::agent::held_revision::{adopted_source, source_state};
use crate::controllers::cluster::status::is_ready;
use crate::hooks::passes;
use crate::resources::eks::cluster;
use crate::resources::eks::lifecycle;
use crate::rollout::{Health, Member, Request, Stalled};

/// A version that no release has: the spec is not readable, which admission prevents.
const NO_VERSION: KubernetesVersion = KubernetesVersion { major: 0, minor: 0 };

/// All clusters, with the NodeGroups of each.
pub fn members(clusters: &[Arc<EksCluster>], all_groups: impl IntoIterator<Item = Arc<NodeGroup>>) -> Vec<Member> {
    let mut groups: HashMap<(String, String), Vec<Arc<NodeGroup>>> = HashMap::new();
    for group in all_groups {
        let key = (group.namespace().unwrap_or_default(), group.spec.cluster_ref.name.clone());
        groups.entry(key).or_default().push(group);
    }
    let of = |cluster: &Arc<EksCluster>| {
        let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        member(cluster, groups.get(&key).map(Vec::as_slice).unwrap_or_default())
    };
    clusters.iter().map(of).collect()
}

/// The cluster, as its rollout sees it.
pub fn member(cluster: &EksCluster, groups: &[Arc<NodeGroup>]) -> Member {
    let nothing = EksClusterStatus::default();
    let status = cluster.status.as_ref().unwrap_or(&nothing);
    let control_plane = status.version.as_deref().and_then(|version| version.parse().ok());
    let request = status.upgrade.as_ref().and_then(|upgrade| upgrade.wave.as_ref());
    let revision_request = status.upgrade.as_ref().and_then(|upgrade| upgrade.revision_wave.as_ref());
    let agent_request = status.upgrade.as_ref().and_then(|upgrade| upgrade.agent_wave.as_ref());
    let node_groups = control_plane.map(|at| following(cluster, groups).fold(at, KubernetesVersion::min));
    Member {
        uid: cluster.uid().unwrap_or_default(),
        name: format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any()),
        labels: cluster.labels().clone(),
        wanted: cluster.spec.version().unwrap_or(NO_VERSION),
        control_plane,
        node_groups,
        suspended: cluster.spec.suspend,
        deleting: cluster.metadata.deletion_timestamp.is_some(),
        request: request.map(Request::of).unwrap_or_default(),
        agent: agent_state(cluster, status),
        agent_request: agent_request.map(Request::of).unwrap_or_default(),
        source: source_state(cluster, status),
        adopted_source: adopted_source(cluster, status),
        revision_request: revision_request.map(Request::of).unwrap_or_default(),
        health: with_hooks(health(cluster, status, groups), cluster, status, control_plane.zip(node_groups)),
        stalled: stalled(status, groups),
        waits_for: waits_for(status),
    }
}

/// The versions of the node groups that follow the control plane.
fn following(cluster: &EksCluster, groups: &[Arc<NodeGroup>]) -> impl Iterator<Item = KubernetesVersion> {
    let follows = cluster.spec.upgrade.node_groups == FollowPolicy::Follow;
    let is_custom = |group: &NodeGroup| {
        let status = group.status.as_ref();
        let ami_type = status.and_then(|status| status.ami_type.as_deref()).or(group.spec.ami_type.as_deref());
        let release = status.and_then(|status| status.release_version.as_deref()).unwrap_or_default();
        ami_type == Some("CUSTOM") || release.starts_with("ami-")
    };
    let is_left = |group: &NodeGroup| group.spec.suspend || group.metadata.deletion_timestamp.is_some();
    groups
        .iter()
        .filter(move |group| follows && group.spec.version.is_none() && !is_left(group) && !is_custom(group))
        .filter_map(|group| group.status.as_ref()?.version.as_deref()?.parse().ok())
}

/// The health that counts towards a soak, by the same parts as within a cluster.
fn health(cluster: &EksCluster, status: &EksClusterStatus, groups: &[Arc<NodeGroup>]) -> Health {
    if let Some(why) = unhealthy(status, groups) {
        return Health::Unhealthy(why);
    }
    let soak = status.upgrade.as_ref().and_then(|upgrade| upgrade.soak.as_ref());
    match soak.map(|soak| soak.healthy_since.as_ref()) {
        Some(Some(since)) => Health::Since(since.0),
        Some(None) => Health::Unhealthy("it was not healthy when it was last observed".to_owned()),
        // It has made no step yet.
        None => Health::Since(since_conditions(cluster, status)),
    }
}

/// The health, with the hooks after the steps that are done. `at`: the versions of the control plane and of the oldest node group.
fn with_hooks(
    health: Health,
    cluster: &EksCluster,
    status: &EksClusterStatus,
    at: Option<(KubernetesVersion, KubernetesVersion)>,
) -> Health {
    let Health::Since(since) = health else { return health };
    let Some((control_plane, node_groups)) = at else { return health };
    let is_due = |entry: &HookStatus| {
        let to = entry.step.rsplit("->").next().and_then(|to| to.parse::<KubernetesVersion>().ok());
        match entry.at {
            HookPoint::AfterControlPlane => to.is_some_and(|to| to <= control_plane),
            HookPoint::AfterNodeGroups => to.is_some_and(|to| to <= node_groups),
            HookPoint::AfterUpgrade => entry.state != HookState::Pending,
            _ => false,
        }
    };
    let due: Vec<&HookStatus> = status.hooks.iter().filter(|entry| is_due(entry)).collect();
    // One whose failure is ignored may run, and does not count.
    let counts = |entry: &HookStatus| {
        let mut hooks = cluster.spec.hooks.iter();
        hooks.any(|hook| hook.name == entry.name && hook.on_failure == HookFailurePolicy::Stop)
    };
    let holds = |entry: &HookStatus| !entry.closed && counts(entry) && !passes(&cluster.spec.hooks, entry);
    if let Some(entry) = due.iter().find(|entry| holds(entry)) {
        return Health::Unhealthy(format!("{} is {}", entry.describe(), entry.state.as_str()));
    }
    let finished = due.iter().filter_map(|entry| entry.finished_at.as_ref()).map(|time| time.0);
    Health::Since(finished.fold(since, Timestamp::max))
}

fn unhealthy(status: &EksClusterStatus, groups: &[Arc<NodeGroup>]) -> Option<String> {
    let control_plane = status.resources.iter().find(|resource| resource.key == cluster::KIND.name);
    let state = control_plane.and_then(|resource| resource.state.as_deref()).unwrap_or("not observed yet");
    if !lifecycle::is_active(state) {
        return Some(format!("the control plane is {state}"));
    }
    let addon =
        status.addons.iter().find(|addon| addon.state.as_deref().is_none_or(|state| !lifecycle::is_active(state)));
    if let Some(addon) = addon {
        return Some(format!("add-on {} is {}", addon.name, addon.state.as_deref().unwrap_or("not observed yet")));
    }
    if let Some(group) = groups.iter().find(|group| !group.spec.suspend && !is_ready(group)) {
        return Some(format!("node group {} is not ready", group.node_group_name()));
    }
    let agent = conditions::get(&status.conditions, ConditionType::GitOpsReady)?;
    let fails = agent.status == "False" && agent.reason == Reason::SyncFailed.as_str();
    fails.then(|| format!("the GitOps agent: {}", agent.message))
}

/// Since when a cluster that has made no step is healthy.
fn since_conditions(cluster: &EksCluster, status: &EksClusterStatus) -> Timestamp {
    const PARTS: [ConditionType; 3] =
        [ConditionType::ControlPlaneReady, ConditionType::AddonsReady, ConditionType::Available];
    let changed = PARTS.iter().filter_map(|part| conditions::get(&status.conditions, *part));
    let created = cluster.metadata.creation_timestamp.as_ref().map(|time| time.0);
    changed.map(|condition| condition.last_transition_time.0).chain(created).max().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Reasons of `Stalled` that are no failure: somebody decides, or the rollout itself holds the cluster.
const NO_FAILURES: [Reason; 4] =
    [Reason::WaitingForApproval, Reason::OnHold, Reason::WaitingForWave, Reason::WaveHalted];

/// What does not proceed without a person, apart from decisions: the cause at a node group comes before what the cluster says of it.
fn stalled(status: &EksClusterStatus, groups: &[Arc<NodeGroup>]) -> Option<Stalled> {
    let of = |all: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition], who: &str| {
        let stalled = conditions::get(all, ConditionType::Stalled)?;
        let counts = stalled.status == "True" && !NO_FAILURES.iter().any(|reason| stalled.reason == reason.as_str());
        let message = format!("{who}{}: {}", stalled.reason, stalled.message);
        counts.then_some(Stalled { since: stalled.last_transition_time.0, message })
    };
    let of_group = |group: &Arc<NodeGroup>| {
        let conditions = &group.status.as_ref()?.conditions;
        of(conditions, &format!("node group {}: ", group.node_group_name()))
    };
    match (groups.iter().find_map(of_group), of(&status.conditions, "")) {
        (Some(group), Some(cluster)) => Some(Stalled {
            since: group.since.max(cluster.since),
            message: format!("{}; {}", group.message, cluster.message),
        }),
        (group, cluster) => group.or(cluster),
    }
}

/// What it waits for, if it is not Ready.
fn waits_for(status: &EksClusterStatus) -> Option<String> {
    let ready = conditions::get(&status.conditions, ConditionType::Ready)?;
    // Their messages quote the rollout, whose message would quote them.
    let is_of_wave = [Reason::WaitingForWave, Reason::WaveHalted].iter().any(|reason| ready.reason == reason.as_str());
    (ready.status != "True" && !is_of_wave).then(|| format!("{}: {}", ready.reason, ready.message))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cluster(status: Value) -> EksCluster {
        serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "namespace": "team", "uid": "u", "labels": {"ring": "0"},
                "creationTimestamp": "2026-11-01T00:00:00Z"},
            "spec": {"region": "eu-west-1", "version": "1.34"}, "status": status,
        }))
        .unwrap()
    }

    fn group(name: &str, version: &str, spec: Value, ready: &str) -> Arc<NodeGroup> {
        let mut wanted = json!({"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}});
        wanted.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let condition = json!({"type": "NodesReady", "status": ready, "reason": "x", "message": "m",
            "lastTransitionTime": "2026-11-28T00:00:00Z"});
        let object = json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup", "metadata": {"name": name, "namespace": "team"},
            "spec": wanted, "status": {"version": version, "conditions": [condition]},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn active(more: Value) -> Value {
        let mut status = json!({"version": "1.33", "resources": [{"key": "cluster", "state": "ACTIVE"}]});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        status
    }

    #[test]
    fn health_names_the_part_that_is_not_healthy() {
        let health = |status: Value, groups: &[Arc<NodeGroup>]| match member(&cluster(status), groups).health {
            Health::Since(since) => since.to_string(),
            Health::Unhealthy(why) => why,
        };
        assert_eq!(health(active(json!({})), &[]), "2026-11-01T00:00:00Z");
        assert_eq!(health(json!({"version": "1.33"}), &[]), "the control plane is not observed yet");
        let updating = json!({"resources": [{"key": "cluster", "state": "UPDATING"}]});
        assert_eq!(health(updating, &[]), "the control plane is UPDATING");
        let addon = active(json!({"addons": [{"name": "coredns", "state": "DEGRADED"}]}));
        assert_eq!(health(addon, &[]), "add-on coredns is DEGRADED");
        let groups = [group("a", "1.33", json!({}), "False")];
        assert_eq!(health(active(json!({})), &groups), "node group a is not ready");
        let soak = |since: Value| active(json!({"upgrade": {"soak": {"seconds": 0, "healthySince": since}}}));
        assert_eq!(health(soak(json!("2026-11-22T09:00:00Z")), &[]), "2026-11-22T09:00:00Z");
        assert!(health(soak(Value::Null), &[]).contains("not healthy"));
    }

    #[test]
    fn hook_after_a_step_counts_towards_health() {
        let of = |at: &str, step: &str, state: &str, on_failure: &str, closed: bool| {
            let entry = json!({"name": "smoke", "at": at, "step": step, "state": state, "attempt": 1, "closed": closed,
                "finishedAt": "2026-11-20T00:00:00Z"});
            let mut cluster = cluster(active(json!({"hooks": [entry]})));
            let hook =
                json!({"name": "smoke", "at": [at], "job": {"cronJob": {"name": "smoke"}}, "onFailure": on_failure});
            cluster.spec.hooks = vec![serde_json::from_value(hook).unwrap()];
            match member(&cluster, &[group("a", "1.32", json!({}), "True")]).health {
                Health::Since(since) => since.to_string(),
                Health::Unhealthy(why) => why,
            }
        };
        let (created, finished) = ("2026-11-01T00:00:00Z", "2026-11-20T00:00:00Z");
        let table = [
            ("AfterUpgrade", "1.32->1.33", "Failed", "hook smoke (AfterUpgrade, 1.32->1.33) is Failed"),
            ("AfterUpgrade", "1.32->1.33", "Pending", created),
            ("AfterUpgrade", "1.32->1.33", "Succeeded", finished),
            ("AfterControlPlane", "1.32->1.33", "Pending", "hook smoke (AfterControlPlane, 1.32->1.33) is Pending"),
            ("AfterControlPlane", "1.33->1.34", "Pending", created),
            ("AfterControlPlane", "1.32->1.33", "Skipped", finished),
            ("AfterNodeGroups", "1.32", "Lost", "hook smoke (AfterNodeGroups, 1.32) is Lost"),
            ("AfterNodeGroups", "1.33", "Pending", created),
            ("BeforeDelete", "delete", "Failed", created),
        ];
        for (at, step, state, expected) in table {
            assert_eq!(of(at, step, state, "Stop", false), expected, "{at} {step} {state}");
        }
        assert_eq!(of("AfterUpgrade", "1.32->1.33", "Running", "Continue", false), finished);
        assert_eq!(of("AfterControlPlane", "1.32->1.33", "Failed", "Stop", true), finished, "its step is over");
    }

    #[test]
    fn only_node_groups_that_follow_count() {
        let at =
            |groups: &[Arc<NodeGroup>]| member(&cluster(active(json!({}))), groups).node_groups.unwrap().to_string();
        assert_eq!(at(&[]), "1.33");
        assert_eq!(at(&[group("a", "1.32", json!({}), "True"), group("b", "1.33", json!({}), "True")]), "1.32");
        assert_eq!(at(&[group("a", "1.31", json!({"version": "1.31"}), "True")]), "1.33");
        assert_eq!(at(&[group("a", "1.31", json!({"suspend": true}), "True")]), "1.33");
    }

    #[test]
    fn cluster_that_waits_for_an_approval_has_not_failed() {
        let stalled = |reason: &str| {
            let condition = json!({"type": "Stalled", "status": "True", "reason": reason, "message": "m",
                "lastTransitionTime": "2026-11-28T00:00:00Z"});
            member(&cluster(active(json!({"conditions": [condition]}))), &[]).stalled.map(|stalled| stalled.message)
        };
        assert_eq!(stalled("UpgradeBlocked").as_deref(), Some("UpgradeBlocked: m"));
        let mut group = (*group("blue", "1.33", json!({}), "True")).clone();
        let condition = json!({"type": "Stalled", "status": "True", "reason": "PodEvictionFailure", "message": "web",
            "lastTransitionTime": "2026-11-28T00:00:00Z"});
        group.status.as_mut().unwrap().conditions.push(serde_json::from_value(condition).unwrap());
        let blocked = json!({"conditions": [{"type": "Stalled", "status": "True", "reason": "UpgradeBlocked", "message": "m",
            "lastTransitionTime": "2026-11-28T00:05:00Z"}]});
        let both = member(&cluster(active(blocked)), &[Arc::new(group)]).stalled.unwrap();
        assert_eq!(both.message, "node group blue: PodEvictionFailure: web; UpgradeBlocked: m");
        assert_eq!(both.since, "2026-11-28T00:05:00Z".parse().unwrap());
        for reason in ["WaitingForApproval", "OnHold", "WaitingForWave", "WaveHalted"] {
            assert_eq!(stalled(reason), None, "{reason}");
        }
    }
}
