//! Every valid combination of network settings expands to a graph that can be created and deleted, in the order that
//! EKS requires.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::api::NodeGroupSpec;
use crate::api::gitops::FLUX_IDENTITY;
use crate::engine::{AnyObservation, ExecutionPolicy, Expectations, Goal, Memory, Observation, Presence, check, plan};
use crate::resources::deletion::prune;
use crate::resources::graph::kinds;
use crate::resources::network::vpc_endpoint;

pub(super) fn spec(more: Value) -> EksClusterSpec {
    let mut spec = json!({"region": "eu-west-1", "version": "1.34"});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    serde_json::from_value(spec).unwrap()
}

fn owner() -> Owner {
    Owner { uid: "7b1b4c5e".into(), cluster: "default/demo".into(), ..Owner::default() }
}

fn expanded(spec: &EksClusterSpec, remaining: &[String], owned: &[Key]) -> Result<Graph<Cloud>, SpecError> {
    expanded_with(spec, &NodeRole::default(), remaining, owned)
}

fn expanded_with(
    spec: &EksClusterSpec,
    node_role: &NodeRole,
    remaining: &[String],
    owned: &[Key],
) -> Result<Graph<Cloud>, SpecError> {
    cluster(&ClusterInput { node_role, node_groups_left: remaining, owned, ..input(spec) })
}

/// The input of a deletion in three zones, where nodes are ready.
pub(super) fn input(spec: &EksClusterSpec) -> ClusterInput<'_> {
    fn leaked<T>(value: T) -> &'static T {
        Box::leak(Box::new(value))
    }
    ClusterInput {
        spec,
        cluster_name: "demo",
        owner: leaked(owner()),
        account: leaked(AccountSettings::default()),
        zones: leaked(["a", "b", "c"].map(|zone| format!("eu-west-1{zone}"))),
        missing_services: leaked(BTreeSet::new()),
        node_role: leaked(NodeRole::default()),
        nodes: Nodes::Ready,
        node_groups_left: &[],
        owned: &[],
        tag_keys: &[],
        used_roles: &[],
        removes: None,
        volumes_since: None,
        instances_since: None,
        versions: leaked(Versions::default()),
        intervals: Intervals::default(),
    }
}

fn current() -> AnyObservation {
    Observation::ready("id", "there", Arc::new(()) as Arc<dyn Any + Send + Sync>)
}

/// Follows the plans of the real planner and checker, and returns the steps that run concurrently, wave by wave.
pub(super) fn follow(graph: &Graph<Cloud>, goal: Goal) -> Vec<Vec<String>> {
    let now = Timestamp::UNIX_EPOCH;
    let mut memory = Memory::new(now, Duration::ZERO, []);
    // If no profile is listed, none exists.
    let profile_pruning = PrunedKind::FargateProfiles.key();
    let no_profiles = graph.nodes().iter().all(|node| !fargate_profile::KIND.is_of(&node.key()));
    for node in graph.nodes() {
        assert!(kinds::find(node.key().kind()).is_some(), "{} is not in kinds::ALL", node.key());
        let external = node.key() == existing_network::key() || prune::is_never_created(&node.key());
        memory.record_observation(
            &node.key(),
            if goal == Goal::Deleted {
                if node.key() == existing_network::key() || no_profiles && node.key() == profile_pruning {
                    Presence::External(current())
                } else {
                    Presence::Ours(current())
                }
            } else if external {
                Presence::External(current())
            } else {
                Presence::Absent
            },
            now,
        );
    }
    let mut waves = Vec::new();
    loop {
        let plan = plan(graph, &memory, goal, &ExecutionPolicy::default(), &Expectations::default(), now);
        let checked = check::check(plan, graph, &memory, &ExecutionPolicy::default())
            .unwrap_or_else(|broken| panic!("{broken:?}"));
        let ready: Vec<Key> = checked.plan().ready_steps().map(|(key, _)| key.clone()).collect();
        if ready.is_empty() {
            return waves;
        }
        for key in &ready {
            let presence = if goal == Goal::Deleted { Presence::Absent } else { Presence::Ours(current()) };
            memory.record_observation(key, presence, now);
            for deleted_along in
                graph.nodes().iter().filter(|n| goal == Goal::Deleted && n.deleted_with().as_ref() == Some(key))
            {
                memory.record_observation(&deleted_along.key(), Presence::Absent, now);
            }
        }
        waves.push(ready.iter().map(ToString::to_string).collect());
    }
}

pub(super) fn positions(waves: &[Vec<String>]) -> BTreeMap<String, usize> {
    let each = waves.iter().enumerate();
    each.flat_map(|(n, wave)| wave.iter().map(move |key| (key.clone(), n))).collect()
}

#[test]
fn every_network_configuration_can_be_created_and_deleted() {
    let mut shapes = 0;
    for nat in ["Single", "PerZone", "None"] {
        for public in [true, false] {
            for endpoints in [json!([]), json!(["s3"]), json!(["s3", "ecr.api", "ecr.dkr"])] {
                for oidc in [true, false] {
                    let network = json!({"vpc": {"nat": nat, "publicSubnets": public, "endpoints": endpoints}});
                    let spec = spec(json!({"network": network, "oidcProvider": oidc}));
                    let Ok(graph) = expanded(&spec, &[], &[]) else {
                        assert!(nat != "None" && !public, "{network} was rejected");
                        continue;
                    };
                    shapes += 1;
                    let created: usize = follow(&graph, Goal::Present).iter().map(Vec::len).sum();
                    let deleted_only = graph.nodes().iter().filter(|n| prune::is_never_created(&n.key())).count();
                    assert_eq!(created, graph.nodes().len() - deleted_only, "all that can be created: {network}");
                    let deleted = positions(&follow(&graph, Goal::Deleted));
                    let deleted_along = graph.nodes().iter().filter(|node| node.deleted_with().is_some()).count();
                    // No Fargate profile exists to be pruned.
                    assert_eq!(deleted.len(), graph.nodes().len() - deleted_along - 1, "{network}");
                    assert_eq!(deleted["vpc"], *deleted.values().max().unwrap(), "the VPC is deleted last: {network}");
                    let before_the_cluster: Vec<_> =
                        deleted.iter().filter(|(_, wave)| **wave < deleted["cluster"]).collect();
                    assert!(before_the_cluster.is_empty() || before_the_cluster == [(&"role/node".to_owned(), &0)]);
                }
            }
        }
    }
    assert_eq!(shapes, 24);
}

#[test]
fn creation_and_deletion_order_of_the_minimal_cluster() {
    let graph = expanded(&spec(json!({})), &[], &[]).unwrap();
    let format_waves = |waves: Vec<Vec<String>>| {
        waves.iter().map(|wave| wave.join("\n    ")).collect::<Vec<_>>().join("\n  then\n    ")
    };
    insta::assert_snapshot!("created", format_waves(follow(&graph, Goal::Present)));
    insta::assert_snapshot!("deleted", format_waves(follow(&graph, Goal::Deleted)));
}

#[test]
fn cluster_is_not_deleted_while_node_groups_exist() {
    let graph = expanded(&spec(json!({})), &["spot".into()], &[]).unwrap();
    assert!(follow(&graph, Goal::Deleted).is_empty());
}

#[test]
fn existing_network_is_never_changed() {
    let spec = spec(json!({"network": {"existing": {"subnetIds": ["subnet-1", "subnet-2"]}}}));
    let graph = expanded(&spec, &[], &[]).unwrap();
    let all = [follow(&graph, Goal::Present), follow(&graph, Goal::Deleted)].concat().concat();
    let of_network = ["vpc", "subnet", "internetGateway", "natGateway", "elasticIp", "routeTable", "existingNetwork"];
    for key in all {
        assert!(!of_network.contains(&Key::parse(&key).kind()), "{key}");
    }
}

#[test]
fn resources_of_earlier_specs_are_deleted_with_the_cluster() {
    let owned = [
        vpc_endpoint::key("sqs"),
        crate::resources::network::security_group::key(),
        crate::resources::network::nat_gateway::key("eu-west-1c"),
        crate::resources::network::elastic_ip::key("eu-west-1c"),
    ];
    let graph = expanded(&spec(json!({})), &[], &owned).unwrap();
    let deleted = positions(&follow(&graph, Goal::Deleted));
    for key in owned {
        assert!(deleted.contains_key(&key.to_string()), "{key} would be left behind");
    }
}

#[test]
fn resources_of_earlier_specs_are_removed_while_the_cluster_stays() {
    let zones: Vec<String> = ["a", "b"].iter().map(|zone| format!("eu-west-1{zone}")).collect();
    let key = crate::resources::network::nat_gateway::key;
    let created: Vec<_> =
        [key("eu-west-1a"), key("eu-west-1b"), vpc_endpoint::key("sqs"), crate::resources::iam::oidc_provider::key()]
            .into_iter()
            .map(|key| (key, "id".to_owned()))
            .collect();
    let owned: Vec<_> = created.iter().map(|(key, _)| key.clone()).collect();
    let graph = |more: Value, removes: Option<&[Owned]>| {
        cluster(&ClusterInput { zones: &zones, owned: &owned, removes, ..input(&spec(more)) }).unwrap()
    };
    let contains = |graph: &Graph<Cloud>, key: &Key| graph.node(key).is_some();
    let removals = crate::resources::deletion::removals::key();
    let less = || json!({"network": {"vpc": {"zoneCount": 2, "nat": "Single"}}, "oidcProvider": false});
    let present = graph(less(), Some(&created));
    assert!(contains(&present, &removals) && contains(&present, &owned[0]));
    assert!(owned[1..].iter().all(|key| !contains(&present, key)));
    let deleted = graph(less(), None);
    assert!(!contains(&deleted, &removals) && owned.iter().all(|key| contains(&deleted, key)));
    let all = json!({"network": {"vpc": {"zoneCount": 2, "nat": "PerZone", "endpoints": ["sqs"]}}});
    assert!(!contains(&graph(all, Some(&created)), &removals));
}

#[test]
fn more_tags_than_fit_on_a_resource_are_refused_before_the_first_call() {
    let tags = |name: &str, count: usize| (0..count).map(|n| (format!("{name}{n}"), "x".to_owned())).collect();
    let account = AccountSettings { tags: tags("account", 20), ..AccountSettings::default() };
    let refused = |own: usize, removes: Option<&[Owned]>| {
        let own: BTreeMap<String, String> = tags("own", own);
        let spec = spec(json!({"tags": own}));
        cluster(&ClusterInput { account: &account, removes, ..input(&spec) }).err().map(|error| error.to_string())
    };
    assert_eq!(refused(MAX_USER_TAGS - 20, Some(&[])), None);
    let message = refused(MAX_USER_TAGS - 18, Some(&[])).unwrap();
    assert!(message.contains("spec.tags: 45 tags") && message.ends_with("remove 2"), "{message}");
    assert_eq!(refused(MAX_USER_TAGS - 18, None), None, "a deletion does not depend on it");
}

#[test]
fn fargate_profiles_are_created_and_deleted_one_at_a_time() {
    let profile = |name: &str| json!({"name": name, "selectors": [{"namespace": name}]});
    let three = json!({"fargateProfiles": [profile("a"), profile("b"), profile("c")]});
    let graph = expanded(&spec(three), &[], &[]).unwrap();
    let created = positions(&follow(&graph, Goal::Present));
    let deleted = positions(&follow(&graph, Goal::Deleted));
    let at = |waves: &BTreeMap<String, usize>, keys: &[&str]| keys.iter().map(|key| waves[*key]).collect::<Vec<_>>();
    let order = at(&created, &["cluster", "fargateProfile/a", "fargateProfile/b", "fargateProfile/c"]);
    assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    assert!(created["role/fargate"] < created["fargateProfile/a"]);
    let keys = ["fargateProfile/a", "fargateProfile/b", "fargateProfile/c", "fargateProfilePruning", "cluster"];
    let order = at(&deleted, &keys);
    assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
    assert!(deleted["role/fargate"] > deleted["fargateProfilePruning"]);
}

#[test]
fn unused_fargate_role_is_deleted_with_the_cluster() {
    let fargate = role::key(Purpose::Fargate);
    let without = expanded(&spec(json!({})), &[], &[]).unwrap();
    assert!(without.node(&fargate).is_none());
    let graph = expanded(&spec(json!({})), &[], std::slice::from_ref(&fargate)).unwrap();
    assert!(positions(&follow(&graph, Goal::Deleted)).contains_key(&fargate.to_string()));
}

#[test]
fn ecr_source_gets_an_identity_unless_the_spec_lists_one() {
    let oci = |provider: &str| {
        let source = json!({"oci": {"url": "oci://r/fleet", "ref": {"tag": "prod"}, "provider": provider}});
        json!({"flux": {"source": source, "path": "."}})
    };
    let (role, association) = (role::key(Purpose::Source), source_identity::key(&FLUX_IDENTITY));
    let contains = |more: Value, owned: &[Key]| {
        let graph = expanded(&spec(more), &[], owned).unwrap();
        (graph.node(&role).is_some(), graph.node(&association).is_some())
    };
    assert_eq!(contains(json!({"gitops": oci("generic")}), &[]), (false, false));
    assert_eq!(contains(json!({"gitops": oci("aws")}), &[]), (true, true));
    assert_eq!(contains(json!({"gitops": oci("generic")}), std::slice::from_ref(&role)), (true, false));
    let own = json!({
        "namespace": "flux-system",
        "serviceAccount": "source-controller",
        "roleArn": "arn:aws:iam::123456789012:role/own",
    });
    assert_eq!(contains(json!({"gitops": oci("aws"), "podIdentities": [own]}), &[]), (false, true));

    let graph = expanded(&spec(json!({"gitops": oci("aws")})), &[], &[]).unwrap();
    let created = positions(&follow(&graph, Goal::Present));
    let at = |key: &Key| created[&key.to_string()];
    assert!(at(&role) < at(&association), "EKS rejects an association with a missing role");
    assert!(created["cluster"] < at(&association));
    // The association is deleted with the cluster.
    assert!(positions(&follow(&graph, Goal::Deleted)).contains_key(&role.to_string()));
}

#[test]
fn pruning_runs_for_owned_kinds_and_on_request_for_others() {
    let pruning_keys = |more| {
        let graph = expanded(&spec(more), &[], &[]).unwrap();
        let keys = graph.nodes().iter().map(|node| node.key().to_string());
        let mut keys: Vec<_> = keys.filter(|key| key.ends_with("Pruning")).collect();
        keys.sort();
        keys
    };
    let ours = ["fargateProfilePruning", "podIdentityPruning"];
    assert_eq!(pruning_keys(json!({})), ours);
    let pruned = pruning_keys(json!({"access": {"prune": true}, "pruneAddons": true}));
    assert_eq!(pruned, ["accessEntryPruning", "addonPruning", ours[0], ours[1]]);
}

#[test]
fn only_addons_that_need_nodes_wait_for_them() {
    let spec = spec(json!({}));
    let graph = cluster(&ClusterInput { nodes: Nodes::NotYet("no NodeGroup is ready".into()), ..input(&spec) });
    let created = positions(&follow(&graph.unwrap(), Goal::Present));
    let addons: Vec<_> = created.keys().filter(|key| key.starts_with("addon/")).cloned().collect();
    assert_eq!(addons, ["addon/eks-pod-identity-agent", "addon/kube-proxy", "addon/vpc-cni"]);
}

#[test]
fn node_role_is_created_for_current_and_future_node_groups() {
    let group = |more: Value| -> NodeGroupSpec {
        let mut spec = json!({"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    };
    let own = || group(json!({"roleArn": "arn:aws:iam::123456789012:role/own"}));
    let node = role::key(Purpose::Node);
    let is_created = |policy: &str, groups: &[NodeGroupSpec], owned: &[Key]| {
        let spec = spec(json!({"adoptionPolicy": policy}));
        let node_role = NodeRole::of(groups);
        let graph = expanded_with(&spec, &node_role, &[], owned).unwrap();
        graph.node(&node).is_some()
    };
    for (policy, groups, owned, created) in [
        ("Refuse", vec![], vec![], true),
        ("Refuse", vec![own()], vec![], false),
        ("Refuse", vec![own(), group(json!({}))], vec![], true),
        ("Refuse", vec![own()], vec![node.clone()], true),
        ("Adopt", vec![], vec![], false),
        ("Adopt", vec![own()], vec![], false),
        ("Adopt", vec![group(json!({}))], vec![], true),
        ("Adopt", vec![], vec![node.clone()], true),
    ] {
        assert_eq!(is_created(policy, &groups, &owned), created, "{policy} {} {owned:?}", groups.len());
    }
    let policies = |arns: &[&str]| group(json!({"additionalRolePolicies": arns}));
    let both = NodeRole::of(&[policies(&["b", "a"]), policies(&["a"]), own()]);
    assert_eq!(both, NodeRole { in_use: Some(true), policies: vec!["a".into(), "b".into()], ..NodeRole::default() });
}

#[path = "expand_karpenter_tests.rs"]
mod karpenter;
#[path = "expand_network_tests.rs"]
mod network;
