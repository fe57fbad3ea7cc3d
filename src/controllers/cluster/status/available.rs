//! The Available condition of an EksCluster: whether it can be used now. Pure.
//!
//! `Ready` is False during every change, as kstatus requires; Available is for alerts. It stays True while the
//! control plane is upgraded and nodes are replaced, and after a failed sync: what was applied before still runs.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::cluster_conditions;
use super::is_ready;
use crate::agents;
use crate::api::conditions::ConditionType;
use crate::api::status_cluster::EksClusterStatus;
use crate::api::{EksCluster, NodeGroup, Reason};
use crate::controllers::status::conditions::ConditionValue;
use crate::resources::eks::lifecycle::LifecycleState;

/// How long the cluster may be unreachable: an API server is briefly unavailable when EKS replaces it.
const MAX_SILENCE: SignedDuration = SignedDuration::from_mins(5);

/// Whether the cluster can be used. `control_plane`: the state that EKS reports; `None`: it does not exist.
fn available(
    cluster: &EksCluster,
    status: &EksClusterStatus,
    control_plane: Option<&str>,
    groups: &[Arc<NodeGroup>],
    now: Timestamp,
) -> ConditionValue {
    let has_begun = status.deletion.as_ref().is_some_and(|deletion| deletion.began.is_some());
    if cluster.metadata.deletion_timestamp.is_some() && has_begun {
        return ConditionValue::false_(Reason::Deleting, "the cluster is being deleted");
    }
    match control_plane {
        Some(state) if LifecycleState::parse(state).has_api() => {}
        Some(state) => return ConditionValue::false_(Reason::Creating, format!("the control plane is {state}")),
        None => return ConditionValue::false_(Reason::Creating, "the control plane does not exist yet"),
    }
    let silent_since = status.gitops.as_ref().and_then(|gitops| Some(gitops.unreachable_since.as_ref()?.0));
    if let Some(since) = silent_since.filter(|since| now.duration_since(*since) >= MAX_SILENCE) {
        return ConditionValue::false_(
            Reason::AgentUnreachable,
            format!("the cluster's API has not answered since {since:.0}"),
        );
    }
    let spec = &cluster.spec;
    let runs_elsewhere = spec.has_auto_mode() || !spec.fargate_profiles.is_empty();
    if !groups.is_empty() && !runs_elsewhere && !groups.iter().any(|group| has_nodes(group)) {
        let names: Vec<_> = groups.iter().map(|group| group.node_group_name()).collect();
        return ConditionValue::false_(Reason::WaitingForNodes, format!("no node of {} is ready", names.join(", ")));
    }
    let has_agent = spec.gitops.as_ref().is_some_and(|gitops| agents::requested(gitops).is_some());
    let applied = status.gitops.as_ref().is_some_and(|gitops| gitops.last_applied_revision.is_some());
    if has_agent && !applied {
        return ConditionValue::false_(Reason::WaitingForSync, "the GitOps agent has not applied a revision yet");
    }
    ConditionValue::true_(Reason::Available, "the control plane, nodes and applied manifests are available")
}

/// Sets the condition. Nodes join and leave also while an edit is rejected (`is_observed` is false then); what a rejected edit says of
/// the agent does not affect what runs.
pub fn update(
    status: &mut EksClusterStatus,
    cluster: &EksCluster,
    control_plane: Option<&str>,
    is_observed: bool,
    groups: &[Arc<NodeGroup>],
    now: Timestamp,
) {
    let condition = available(cluster, status, control_plane, groups, now);
    let is_current = control_plane.is_some() && condition.reason != Reason::WaitingForSync;
    if is_observed || is_current {
        let generation = cluster.metadata.generation;
        cluster_conditions::set(&mut status.conditions, ConditionType::Available, generation, &condition, now);
    }
}

/// Whether at least one of its nodes is ready: as counted, otherwise as EKS reports.
fn has_nodes(group: &NodeGroup) -> bool {
    let counted = group.status.as_ref().and_then(|status| status.ready_nodes);
    counted.map_or_else(|| is_ready(group) || is_updated(group), |ready| ready > 0)
}

/// EKS replaces the nodes one after the other: the others keep running.
fn is_updated(group: &NodeGroup) -> bool {
    use crate::api::conditions::get;
    let conditions = group.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let reasons = [Reason::Updating, Reason::Upgrading].map(Reason::as_str);
    get(conditions, ConditionType::NodesReady).is_some_and(|nodes| reasons.contains(&nodes.reason.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cluster(spec: Value) -> EksCluster {
        let mut all = json!({"region": "eu-west-1", "version": "1.34"});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let metadata = json!({"name": "demo", "namespace": "team"});
        let object =
            json!({"apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": metadata, "spec": all});
        serde_json::from_value(object).unwrap()
    }

    fn group(status: Value) -> Arc<NodeGroup> {
        let object = json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup", "metadata": {"name": "web", "namespace": "team"},
            "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}}, "status": status,
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn nodes(status: &str, reason: &str) -> Value {
        let time = "2026-11-28T10:00:00Z";
        json!({"conditions": [
            {"type": "NodesReady", "status": status, "reason": reason, "message": "", "lastTransitionTime": time}
        ]})
    }

    #[test]
    fn available_stays_true_during_updates_and_is_false_before_first_use() {
        let now: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        let flux = json!({"gitops": {"flux": {"path": "a", "source": {"git": {"url": "https://example.com/a", "ref": {"branch": "main"}}}}}});
        let applied = json!({"gitops": {"lastAppliedRevision": "main@sha1:1"}});
        let silent = |since: &str| json!({"gitops": {"lastAppliedRevision": "a", "unreachableSince": since}});
        let none: Vec<Arc<NodeGroup>> = Vec::new();
        let cases = [
            ("nothing exists", json!({}), json!({}), None, none.clone()),
            ("being created", json!({}), json!({}), Some("CREATING"), none.clone()),
            ("control plane only", json!({}), json!({}), Some("ACTIVE"), none.clone()),
            ("no node yet", json!({}), json!({}), Some("ACTIVE"), vec![group(json!({"readyNodes": 0}))]),
            ("one node of two", json!({}), json!({}), Some("ACTIVE"), vec![group(json!({"readyNodes": 1}))]),
            ("upgraded", json!({}), json!({}), Some("UPDATING"), vec![group(nodes("False", "Upgrading"))]),
            ("node group failed", json!({}), json!({}), Some("ACTIVE"), vec![group(nodes("False", "Failed"))]),
            ("auto mode", json!({"autoMode": {}}), json!({}), Some("ACTIVE"), vec![group(json!({"readyNodes": 0}))]),
            ("never synced", flux.clone(), json!({}), Some("ACTIVE"), none.clone()),
            ("synced once", flux.clone(), applied, Some("ACTIVE"), none.clone()),
            ("unreachable for a minute", flux.clone(), silent("2026-11-28T09:59:00Z"), Some("ACTIVE"), none.clone()),
            ("unreachable for an hour", flux, silent("2026-11-28T09:00:00Z"), Some("ACTIVE"), none),
        ];
        let lines = cases.map(|(name, spec, status, control_plane, groups)| {
            let status: EksClusterStatus = serde_json::from_value(status).unwrap();
            let condition = available(&cluster(spec), &status, control_plane, &groups, now);
            format!("{name}: {} {}: {}", condition.status.as_str(), condition.reason, condition.message)
        });
        insta::assert_snapshot!(lines.join("\n"), @r"
        nothing exists: False Creating: the control plane does not exist yet
        being created: False Creating: the control plane is CREATING
        control plane only: True Available: the control plane, nodes and applied manifests are available
        no node yet: False WaitingForNodes: no node of web is ready
        one node of two: True Available: the control plane, nodes and applied manifests are available
        upgraded: True Available: the control plane, nodes and applied manifests are available
        node group failed: False WaitingForNodes: no node of web is ready
        auto mode: True Available: the control plane, nodes and applied manifests are available
        never synced: False WaitingForSync: the GitOps agent has not applied a revision yet
        synced once: True Available: the control plane, nodes and applied manifests are available
        unreachable for a minute: True Available: the control plane, nodes and applied manifests are available
        unreachable for an hour: False AgentUnreachable: the cluster's API has not answered since 2026-11-28T09:00:00Z
        ");
    }

    #[test]
    fn nodes_count_while_an_edit_is_rejected_and_its_agent_does_not() {
        let group: NodeGroup = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup", "metadata": {"name": "web"},
            "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 1}}, "status": {"readyNodes": 1},
        }))
        .unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let is_available = |spec: Value, ready: i32, before: bool| {
            let mut group = group.clone();
            group.status.as_mut().unwrap().ready_nodes = Some(ready);
            let mut status = EksClusterStatus::default();
            let reason = Reason::Available;
            let condition = if before { ConditionValue::true_(reason, "") } else { ConditionValue::false_(reason, "") };
            cluster_conditions::set(&mut status.conditions, ConditionType::Available, None, &condition, now);
            update(&mut status, &cluster(spec), Some("ACTIVE"), false, &[Arc::new(group)], now);
            crate::api::conditions::is_true(&status.conditions, ConditionType::Available)
        };
        assert!(is_available(json!({}), 1, false) && !is_available(json!({}), 0, true));
        let agent = json!({"gitops": {"flux": {"path": "a", "source": {"git": {"url": "https://git.example.com/a", "ref": {"branch": "main"}}}}}});
        assert!(is_available(agent.clone(), 1, true) && !is_available(agent, 1, false));
    }
}
