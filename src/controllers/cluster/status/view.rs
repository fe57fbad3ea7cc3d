//! What node groups see of their cluster, from its status; and which of its changes concern them. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use crate::api::conditions::{self, ConditionType};
use crate::api::hold::{HOLD_PREFIX, HoldStatus, holds_in};
use crate::api::policy::DeletionPolicy;
use crate::api::status_cluster::{EksClusterStatus, ResourceStatus};
use crate::api::{EksCluster, EksClusterSpec, NodeGroup, Reason};
use crate::aws::Arn;
use crate::controllers::cluster::deletion::gate;
use crate::controllers::runtime::kind_watch::{DependentView, digest};
use crate::engine::Key;
use crate::resources::eks::cluster;
use crate::resources::eks::lifecycle::LifecycleState;
use crate::resources::eks::node_template;
use crate::resources::graph::expand::{ClusterView, SubnetView};
use crate::resources::iam::role::{self, Purpose};

/// The view, from the cluster's last status.
pub fn view(cluster: &EksCluster) -> ClusterView {
    let status = cluster.status.clone().unwrap_or_default();
    let network = status.network.clone().unwrap_or_default();
    let subnets = network
        .subnets
        .into_iter()
        .map(|s| SubnetView { id: s.id, zone: s.zone, tier: s.tier, cidr: s.cidr })
        .collect();
    ClusterView {
        cluster_name: cluster.cluster_name(),
        version: status.version.clone(),
        subnets,
        node_role_arn: node_role_arn(&status),
        node_template: node_template(cluster.cluster_name(), &status),
        not_ready: not_ready(&cluster.name_any(), &status).or_else(|| awaited_addons(&cluster.spec, &status)),
        tags: cluster.spec.tags.clone(),
    }
}

fn resource<'s>(status: &'s EksClusterStatus, key: &Key) -> Option<&'s ResourceStatus> {
    let key = key.to_string();
    status.resources.iter().find(|resource| resource.key == key)
}

/// From the inventory, which keeps the role's name or its ARN.
fn node_role_arn(status: &EksClusterStatus) -> Option<String> {
    let id = resource(status, &role::key(Purpose::Node))?.id.clone()?;
    if id.starts_with("arn:") {
        return Some(id);
    }
    let account = status.account_id.as_deref()?;
    let partition = status.arn.as_deref().and_then(Arn::parse).map_or("aws", |arn| arn.partition);
    Some(format!("arn:{partition}:iam::{account}:role/{id}"))
}

/// What launch templates of nodes need of the cluster.
fn node_template(name: String, status: &EksClusterStatus) -> node_template::Cluster {
    let network = status.network.clone().unwrap_or_default();
    let address = (status.endpoint.clone(), status.certificate_authority.clone(), network.service_cidr);
    node_template::Cluster::new(name, network.cluster_security_group_id, address)
}

/// Why nodes cannot be created: they need an ACTIVE control plane and a route to it. A stalled cluster reports its
/// own reason.
fn not_ready(name: &str, status: &EksClusterStatus) -> Option<String> {
    let stalled = stalled(&status.conditions);
    let stalled =
        || stalled.map(|Stalled { reason, message }| format!("EksCluster {name} is Stalled ({reason}): {message}"));
    let condition_of = |kind: ConditionType| conditions::get(&status.conditions, kind);
    let message =
        |condition: Option<&Condition>| condition.map_or_else(|| "not observed yet".to_owned(), |c| c.message.clone());
    let control_plane = resource(status, &cluster::key()).and_then(|cluster| cluster.state.as_deref());
    if control_plane.is_none_or(|state| !LifecycleState::parse(state).has_api()) {
        let waits = || format!("waiting for the cluster: {}", message(condition_of(ConditionType::ControlPlaneReady)));
        return Some(stalled().unwrap_or_else(waits));
    }
    let network = condition_of(ConditionType::NetworkReady);
    if network.is_none_or(|condition| condition.status != "True") {
        return Some(stalled().unwrap_or_else(|| format!("waiting for the cluster's network: {}", message(network))));
    }
    None
}

/// Why nodes wait for add-ons: one that they need does not run yet. An add-on that ran before (UPDATING, DEGRADED)
/// holds nobody up: it may be DEGRADED because there are no nodes.
fn awaited_addons(spec: &EksClusterSpec, status: &EksClusterStatus) -> Option<String> {
    let addons_ready = conditions::get(&status.conditions, ConditionType::AddonsReady);
    // What others own is not created, and may run.
    let is_foreign = addons_ready.is_some_and(|found| found.reason == Reason::NotOwned.as_str());
    let mut waits = Vec::new();
    let mut failed = false;
    for addon in spec.addons.iter().filter(|addon| addon.is_before_nodes()) {
        let name = &addon.name;
        let observed = status.addons.iter().find(|found| found.name == *name).and_then(|found| found.state.as_deref());
        match (observed.map(LifecycleState::parse), observed) {
            (Some(known @ (LifecycleState::Creating | LifecycleState::CreateFailed)), Some(state)) => {
                failed |= known == LifecycleState::CreateFailed;
                waits.push(format!("{name} ({state})"));
            }
            (None, _) if !is_foreign => waits.push(format!("{name} (does not exist)")),
            _ => {}
        }
    }
    if waits.is_empty() {
        return None;
    }
    let adds = if waits.len() == 1 { "add-on" } else { "add-ons" };
    let why = addons_ready.filter(|_| failed).map(|found| format!(": {}", found.message)).unwrap_or_default();
    Some(format!("waiting for {adds} {}{why}", waits.join(", ")))
}

/// Why an object requires intervention.
#[derive(Hash)]
struct Stalled<'a> {
    reason: &'a str,
    message: &'a str,
}

fn stalled(all: &[Condition]) -> Option<Stalled<'_>> {
    let found = conditions::get(all, ConditionType::Stalled).filter(|condition| condition.status == "True")?;
    Some(Stalled { reason: &found.reason, message: &found.message })
}

/// The node groups that a cluster's add-ons wait for, each with the required user action.
pub fn describe_awaited<'g>(groups: impl IntoIterator<Item = &'g NodeGroup>) -> String {
    let describe = |group: &NodeGroup| {
        let (name, namespace) = (group.name_any(), group.namespace().unwrap_or_default());
        let conditions = group.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
        match stalled(conditions) {
            Some(Stalled { reason, .. }) if reason == Reason::WaitingForApproval.as_str() => {
                format!("{name} (it waits for approval: keelson approve nodegroup/{name} -n {namespace})")
            }
            Some(Stalled { reason, .. }) => format!("{name} (it is Stalled: {reason})"),
            None => name,
        }
    };
    groups.into_iter().map(describe).collect::<Vec<_>>().join(", ")
}

/// The holds on a cluster, which hold its node groups too.
pub fn holds(cluster: &EksCluster) -> Vec<HoldStatus> {
    let known = cluster.status.as_ref().map(|status| status.holds.as_slice()).unwrap_or_default();
    holds_in(cluster.annotations(), known)
}

/// Digest of what node groups see of a cluster.
pub fn dependent_view(cluster: &EksCluster) -> DependentView {
    let view = view(cluster);
    let subnets: Vec<_> = view.subnets.iter().map(|subnet| &subnet.id).collect();
    let status = cluster.status.as_ref();
    let digest = digest((
        &cluster.metadata.uid,
        cluster.metadata.deletion_timestamp.is_some(),
        &view.version,
        subnets,
        &view.node_role_arn,
        (
            view.not_ready.is_none(),
            status.map(|status| (stalled(&status.conditions), awaited_addons(&cluster.spec, status))),
        ),
        (&view.tags, format!("{:?}", view.node_template), holds(cluster)),
        (&cluster.spec.account_ref.as_ref().map(|account| &account.name), cluster.spec.suspend),
        status.map(|status| (&status.account_id, format!("{:?}", status.hand_over))),
        status.and_then(|status| status.upgrade.as_ref()?.node_group_version.as_ref()),
        format!("{:?} {:?}", cluster.spec.upgrade, cluster.spec.network.existing),
        policy(cluster),
    ));
    DependentView { digest, part_of: String::new() }
}

/// What decides what a node group may do: its cluster's policies, its steps approved there, and whether a deletion
/// has started.
fn policy(cluster: &EksCluster) -> String {
    let EksClusterSpec { change_policy, drift_policy, adoption_policy, deletion_policy, .. } = &cluster.spec;
    let status = cluster.status.as_ref();
    let has_started = status.is_some_and(gate::has_started);
    let approved = status.and_then(|status| status.plan.as_ref()).map(|plan| &plan.approved[..]).unwrap_or_default();
    let theirs: Vec<_> = approved.iter().filter(|step| step.resource.starts_with("nodeGroup/")).collect();
    let in_force = status.and_then(|status| status.change_policy);
    format!(
        "{change_policy:?} {in_force:?} {drift_policy:?} {adoption_policy:?} {deletion_policy:?} {has_started} \
         {theirs:?}"
    )
}

/// The field or annotation because of which a NodeGroup's node group stays when its cluster is deleted.
pub fn why_node_group_stays(group: &NodeGroup) -> Option<&'static str> {
    if group.spec.deletion_policy == DeletionPolicy::Retain {
        return Some("deletionPolicy: Retain");
    }
    if group.spec.suspend {
        return Some("suspend: true");
    }
    if group.annotations().keys().any(|key| key.starts_with(HOLD_PREFIX)) {
        return Some("an annotation hold.keelson.dev/NAME");
    }
    group.status.as_ref().is_some_and(|status| status.hand_over.is_some()).then_some("status.handOver")
}

/// Digest of what a cluster sees of a node group.
pub fn node_group_dependent_view(group: &NodeGroup) -> DependentView {
    let status = group.status.as_ref();
    let ready = super::is_ready(group);
    let digest = digest((
        &group.metadata.uid,
        group.metadata.deletion_timestamp.is_some(),
        &group.metadata.finalizers,
        &group.spec.additional_role_policies,
        ready,
        status.and_then(|status| stalled(&status.conditions).map(|stalled| stalled.reason)),
        status.and_then(|status| status.replicas),
        status.and_then(|status| status.version.as_ref()),
        (crate::controllers::cluster::upgrade::observation::is_busy(group), &group.spec.version),
        // What decides whether its node group stays when the cluster is deleted.
        why_node_group_stays(group),
    ));
    DependentView { digest, part_of: group.spec.cluster_ref.name.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cluster(change: impl FnOnce(&mut Value)) -> EksCluster {
        let mut object = json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "namespace": "team", "uid": "1"},
            "spec": {"region": "eu-west-1", "version": "1.34", "addons": []},
            "status": {
                "accountId": "123456789012",
                "arn": "arn:aws-cn:eks:cn-north-1:123456789012:cluster/demo",
                "version": "1.34",
                "network": {"subnets": [{"id": "subnet-1", "zone": "eu-west-1a", "tier": "Private"}]},
                "resources": [
                    {"key": "cluster", "id": "demo", "state": "ACTIVE"},
                    {"key": "role/node", "id": "demo-node"},
                ],
                "conditions": [{"type": "NetworkReady", "status": "True", "reason": "Available", "message": "",
                    "lastTransitionTime": "2026-11-21T10:00:00Z"}],
            },
        });
        change(&mut object);
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn nodes_wait_for_control_plane_and_network() {
        let observed = view(&cluster(|_| ()));
        assert_eq!(observed.not_ready, None);
        assert_eq!(observed.node_role_arn.as_deref(), Some("arn:aws-cn:iam::123456789012:role/demo-node"));
        assert_eq!(observed.subnets[0].id, "subnet-1");
        let creating = view(&cluster(|c| c["status"]["resources"][0]["state"] = "CREATING".into()));
        assert!(creating.not_ready.unwrap().contains("waiting for the cluster"));
        let no_routes = view(&cluster(|c| c["status"]["conditions"][0]["status"] = "False".into()));
        assert!(no_routes.not_ready.unwrap().contains("network"));
        assert!(view(&cluster(|c| drop(c["status"].take()))).not_ready.is_some());
    }

    #[test]
    fn new_node_groups_wait_for_addons_that_do_not_run_yet() {
        let with = |spec: Value, states: &[(&str, &str)], reason: &str, message: &str| {
            let found = cluster(|c| {
                c["spec"]["addons"] = spec;
                let states = states.iter().map(|(name, state)| json!({"name": name, "state": state}));
                c["status"]["addons"] = states.collect();
                c["status"]["conditions"]
                    .as_array_mut()
                    .unwrap()
                    .push(json!({"type": "AddonsReady", "status": "False",
                    "reason": reason, "message": message, "lastTransitionTime": "2026-11-21T10:00:00Z"}));
            });
            (view(&found).not_ready, dependent_view(&found).digest)
        };
        let of = |spec: Value, states: &[(&str, &str)]| with(spec, states, "Creating", "").0;
        let cni = || json!([{"name": "vpc-cni"}, {"name": "coredns"}]);
        for (states, waits) in [
            (vec![], Some("waiting for add-on vpc-cni (does not exist)")),
            (vec![("vpc-cni", "CREATING")], Some("waiting for add-on vpc-cni (CREATING)")),
            (vec![("vpc-cni", "ACTIVE")], None),
            (vec![("vpc-cni", "DEGRADED")], None),
            (vec![("vpc-cni", "UPDATING")], None),
            (vec![("vpc-cni", "UPDATE_FAILED")], None),
        ] {
            assert_eq!(of(cni(), &states).as_deref(), waits, "{states:?}");
        }
        assert_eq!(of(json!([{"name": "vpc-cni", "beforeNodes": false}]), &[]), None);
        assert_eq!(
            of(json!([{"name": "kube-proxy"}, {"name": "agent", "beforeNodes": true}]), &[]).as_deref(),
            Some("waiting for add-ons kube-proxy (does not exist), agent (does not exist)")
        );
        let failed = with(cni(), &[("vpc-cni", "CREATE_FAILED")], "Failed", "add-on vpc-cni: CREATE_FAILED: conflicts");
        assert_eq!(
            failed.0.as_deref(),
            Some("waiting for add-on vpc-cni (CREATE_FAILED): add-on vpc-cni: CREATE_FAILED: conflicts")
        );
        let creating = with(cni(), &[("vpc-cni", "CREATING")], "Failed", "add-on vpc-cni: CREATE_FAILED: conflicts");
        assert_ne!(failed.1, creating.1, "they are requeued");
        assert_eq!(with(cni(), &[], "NotOwned", "it is another's").0, None, "it is not created, and may run");
    }

    #[test]
    fn node_groups_report_their_stalled_cluster() {
        let stalled = |c: &mut Value| {
            c["status"] = json!({"conditions": [{"type": "Stalled", "status": "True", "reason": "AccessDenied",
                "message": "AwsAccount \"prod\" may not be used", "lastTransitionTime": "2026-11-21T10:00:00Z"}]});
        };
        let why = view(&cluster(stalled)).not_ready.unwrap();
        assert_eq!(why, "EksCluster demo is Stalled (AccessDenied): AwsAccount \"prod\" may not be used");
        let unobserved = |c: &mut Value| c["status"] = json!({"conditions": []});
        assert_eq!(view(&cluster(unobserved)).not_ready.unwrap(), "waiting for the cluster: not observed yet");
        assert_ne!(
            dependent_view(&cluster(stalled)).digest,
            dependent_view(&cluster(unobserved)).digest,
            "they are requeued"
        );
    }

    #[test]
    fn awaited_node_groups_are_named_with_the_required_action() {
        let group = |name: &str, reason: Option<&str>| -> NodeGroup {
            let condition = |reason| {
                json!([{"type": "Stalled", "status": "True", "reason": reason, "message": "m",
                    "lastTransitionTime": "2026-11-21T10:00:00Z"}])
            };
            serde_json::from_value(json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup",
                "metadata": {"name": name, "namespace": "team", "uid": "1"},
                "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}},
                "status": {"conditions": reason.map_or(json!([]), condition)},
            }))
            .unwrap()
        };
        let (web, batch) = (group("web", Some("WaitingForApproval")), group("batch", Some("QuotaExceeded")));
        assert_eq!(
            describe_awaited([&web, &batch, &group("new", None)]),
            "web (it waits for approval: keelson approve nodegroup/web -n team), batch (it is Stalled: QuotaExceeded), \
             new"
        );
        assert_ne!(
            node_group_dependent_view(&web).digest,
            node_group_dependent_view(&group("web", None)).digest,
            "the cluster is requeued"
        );
    }

    #[test]
    fn node_group_stays_when_its_cluster_is_deleted_because_of_its_own_spec_status_or_hold() {
        let group = |annotations: Value, spec: &[(&str, Value)], status: Value| -> NodeGroup {
            let mut object = json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup",
                "metadata": {"name": "db", "namespace": "team", "uid": "1", "annotations": annotations},
                "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}},
                "status": status,
            });
            for (key, value) in spec {
                object["spec"][key] = value.clone();
            }
            serde_json::from_value(object).unwrap()
        };
        let held = group(json!({"hold.keelson.dev/db": ""}), &[], json!({}));
        let free = group(json!({"keelson.dev/approve": "1"}), &[], json!({}));
        for (group, expected) in [
            (&free, None),
            (&held, Some("an annotation hold.keelson.dev/NAME")),
            (&group(json!({}), &[("deletionPolicy", "Retain".into())], json!({})), Some("deletionPolicy: Retain")),
            (&group(json!({}), &[("suspend", true.into())], json!({})), Some("suspend: true")),
        ] {
            assert_eq!(why_node_group_stays(group), expected);
        }
        assert_ne!(
            node_group_dependent_view(&held).digest,
            node_group_dependent_view(&free).digest,
            "the cluster is requeued when the hold is removed"
        );
    }

    #[test]
    fn node_groups_are_requeued_only_for_relevant_cluster_changes() {
        let now = dependent_view(&cluster(|_| ())).digest;
        assert_eq!(now, dependent_view(&cluster(|c| c["status"]["addons"] = json!([{"name": "coredns"}]))).digest);
        assert_ne!(now, dependent_view(&cluster(|c| c["status"]["version"] = "1.35".into())).digest);
        assert_ne!(now, dependent_view(&cluster(|c| c["status"]["resources"][0]["state"] = "DELETING".into())).digest);
        assert_ne!(now, dependent_view(&cluster(|c| c["spec"]["changePolicy"] = "Observe".into())).digest);
        let has_started = json!({"began": "2026-11-21T10:00:00Z"});
        assert_ne!(now, dependent_view(&cluster(|c| c["status"]["deletion"] = has_started)).digest);
        let approved = |key: &str| json!({"approved": [{"resource": key, "id": "1"}]});
        assert_eq!(now, dependent_view(&cluster(|c| c["status"]["plan"] = approved("cluster"))).digest);
        assert_ne!(now, dependent_view(&cluster(|c| c["status"]["plan"] = approved("nodeGroup/a"))).digest);
        assert_ne!(
            now,
            dependent_view(&cluster(|c| c["metadata"]["deletionTimestamp"] = "2026-11-21T10:00:00Z".into())).digest
        );
    }
}
