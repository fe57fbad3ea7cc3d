//! What is recognised as a cluster's leftovers, and what never is.

use super::*;
use crate::aws::snapshots::network_attributes::Permission;
use crate::engine::sweep::Baseline;

const CLUSTER: &str = "prod";
const ACCOUNT: &str = "123456789012";

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| (*key, *value)).collect()
}

fn group(id: &str, pairs: &[(&str, &str)]) -> SecurityGroup {
    SecurityGroup {
        id: id.into(),
        name: format!("group {id}"),
        description: "[k8s] Managed SecurityGroup for LoadBalancer".into(),
        owner_id: Some(ACCOUNT.into()),
        vpc_id: "vpc-1".into(),
        ingress: Vec::new(),
        egress: Vec::new(),
        tags: tags(pairs),
    }
}

fn refers(group: SecurityGroup, to: &str) -> SecurityGroup {
    let rule = Permission {
        protocol: "tcp".into(),
        from_port: Some(80),
        to_port: Some(80),
        cidrs: Vec::new(),
        ipv6_cidrs: Vec::new(),
        group_ids: vec![to.into()],
    };
    SecurityGroup { ingress: vec![rule], ..group }
}

const OWNED_TAG: (&str, &str) = ("kubernetes.io/cluster/prod", "owned");
const EKS_TAG: (&str, &str) = ("aws:eks:cluster-name", "prod");
const LOAD_BALANCER_TAGS: [(&str, &str); 2] =
    [("elbv2.k8s.aws/cluster", "prod"), ("ingress.k8s.aws/resource", "ManagedLBSecurityGroup")];

fn interface(id: &str, instance: &str, pairs: &[(&str, &str)]) -> NetworkInterface {
    let mut tags = tags(pairs);
    if !instance.is_empty() {
        tags = tags.with(INSTANCE, instance);
    }
    NetworkInterface {
        id: id.into(),
        vpc_id: "vpc-1".into(),
        subnet_id: "subnet-1".into(),
        status: Some(NetworkInterfaceStatus::Available),
        description: format!("aws-K8S-{instance}"),
        kind: None,
        owner_id: Some(ACCOUNT.into()),
        requester_id: None,
        security_group_ids: Vec::new(),
        attachment_id: None,
        instance_id: None,
        requester_managed: false,
        public_ip: None,
        tags,
    }
}

fn of_node(id: &str, instance: &str, created: &str) -> NetworkInterface {
    interface(id, instance, &[(CNI_CLUSTER, CLUSTER), (CREATED, created)])
}

const LATER: &str = "2026-11-28T21:00:00Z";
const EARLIER: &str = "2026-11-28T19:00:00Z";

/// Ids that are swept, that are blocked, and that are left alone.
fn classify(network: Network, interfaces: &[NetworkInterface], groups: &[SecurityGroup]) -> [Vec<String>; 3] {
    let live = BTreeSet::from(["i-living".to_owned()]);
    let baseline = Baseline::parse("2026-11-28T20:00:00Z sg-before");
    let search = Search {
        cluster: CLUSTER,
        network,
        account: ACCOUNT,
        spared: &["sg-spec".to_owned()],
        live_instances: &live,
        baseline: baseline.as_ref(),
    };
    let found = search.classify(interfaces, groups);
    let ids = |groups: &[&SecurityGroup]| groups.iter().map(|group| group.id.clone()).collect::<Vec<_>>();
    let swept = found.interfaces.iter().map(|(one, _)| one.id.clone());
    let swept = swept.chain(found.groups.iter().map(|(group, _)| group.id.clone())).collect();
    let left_alone = found.unproven_interfaces.iter().map(|one| one.id.clone());
    let left_alone = left_alone.chain(ids(&found.unproven_groups)).collect();
    [swept, ids(&found.blocked), left_alone]
}

#[test]
fn existing_network_sweeps_only_what_controllers_marked_after_cluster_creation() {
    let groups = [
        group("sg-terraform", &[OWNED_TAG]),
        group("sg-spec", &[EKS_TAG, OWNED_TAG]),
        group("sg-before", &LOAD_BALANCER_TAGS),
        group("sg-load-balancer", &LOAD_BALANCER_TAGS),
        group("sg-tag-only", &LOAD_BALANCER_TAGS[..1]),
        SecurityGroup { description: "by hand".into(), ..group("sg-described", &LOAD_BALANCER_TAGS) },
        SecurityGroup { name: "k8s-elb-1".into(), ..group("sg-provider", &[OWNED_TAG]) },
        SecurityGroup { owner_id: Some("210987654321".into()), ..group("sg-shared", &LOAD_BALANCER_TAGS) },
        group("sg-eks", &[EKS_TAG, OWNED_TAG]),
        group("sg-other", &[("elbv2.k8s.aws/cluster", "other"), ("elbv2.k8s.aws/resource", "backend-sg")]),
        SecurityGroup { name: "default".into(), ..group("sg-default", &[EKS_TAG]) },
    ];
    let interfaces = [
        of_node("eni-new", "i-gone", LATER),
        of_node("eni-before", "i-gone", EARLIER),
        of_node("eni-living", "i-living", LATER),
        of_node("eni-undated", "i-gone", ""),
        NetworkInterface { description: "mine".into(), ..of_node("eni-described", "i-gone", LATER) },
        NetworkInterface { owner_id: Some("210987654321".into()), ..of_node("eni-shared", "i-gone", LATER) },
        interface("eni-team", "", &[OWNED_TAG]),
        interface("eni-unnamed", "i-gone", &[(CREATED, LATER)]),
        interface("eni-plain", "", &[]),
    ];
    let [swept, blocked, left_alone] = classify(Network::External, &interfaces, &groups);
    assert_eq!(swept, ["eni-new", "sg-load-balancer", "sg-eks"]);
    assert!(blocked.is_empty());
    let kept = ["eni-before", "eni-living", "eni-undated", "eni-described", "eni-shared", "eni-team"];
    let of_groups = ["sg-terraform", "sg-spec", "sg-before", "sg-tag-only", "sg-described", "sg-provider", "sg-shared"];
    assert_eq!(left_alone, [&kept[..], &of_groups[..]].concat());
}

#[test]
fn own_network_sweeps_all_marked_resources_regardless_of_age() {
    let groups = [
        SecurityGroup { name: "k8s-elb-1".into(), ..group("sg-provider", &[OWNED_TAG]) },
        group("sg-tag-only", &LOAD_BALANCER_TAGS[..1]),
        group("sg-before", &LOAD_BALANCER_TAGS),
        group("sg-terraform", &[OWNED_TAG]),
    ];
    let interfaces = [
        of_node("eni-before", "i-gone", EARLIER),
        interface("eni-unnamed", "i-gone", &[]),
        of_node("eni-living", "i-living", LATER),
        interface("eni-other", "i-gone", &[(CNI_CLUSTER, "other")]),
        interface("eni-team", "", &[OWNED_TAG]),
    ];
    let [swept, _, left_alone] = classify(Network::Own, &interfaces, &groups);
    assert_eq!(swept, ["eni-before", "eni-unnamed", "sg-provider", "sg-tag-only", "sg-before"]);
    assert_eq!(left_alone, ["eni-living", "eni-team", "sg-terraform"]);
}

#[test]
fn used_or_referenced_group_is_blocked_with_its_dependencies() {
    let load_balancer = |id| group(id, &LOAD_BALANCER_TAGS);
    let used = NetworkInterface {
        status: Some(NetworkInterfaceStatus::InUse),
        security_group_ids: vec!["sg-used".into()],
        ..interface("eni-theirs", "", &[])
    };
    let groups = [
        load_balancer("sg-free"),
        refers(load_balancer("sg-1"), "sg-2"),
        refers(load_balancer("sg-2"), "sg-1"),
        refers(load_balancer("sg-used"), "sg-hanging"),
        load_balancer("sg-hanging"),
        load_balancer("sg-named"),
        refers(group("sg-nodes", &[]), "sg-named"),
    ];
    let [swept, blocked, _] = classify(Network::External, &[used], &groups);
    assert_eq!(swept, ["sg-free", "sg-1", "sg-2"]);
    assert_eq!(blocked, ["sg-used", "sg-named", "sg-hanging"]);
}

#[test]
fn group_is_swept_with_the_interface_that_uses_it() {
    let leaked = NetworkInterface { security_group_ids: vec!["sg-eks".into()], ..of_node("eni-1", "i-gone", LATER) };
    let [swept, blocked, _] = classify(Network::External, &[leaked], &[group("sg-eks", &[EKS_TAG])]);
    assert_eq!((swept, blocked), (vec!["eni-1".to_owned(), "sg-eks".to_owned()], vec![]));
}

#[test]
fn interface_in_use_is_awaited_only_if_its_node_is_gone() {
    let in_use = |one: NetworkInterface| NetworkInterface { status: Some(NetworkInterfaceStatus::InUse), ..one };
    let interfaces = [in_use(of_node("eni-1", "i-gone", LATER)), in_use(of_node("eni-2", "i-living", LATER))];
    let baseline = Baseline::parse("2026-11-28T20:00:00Z");
    let search = Search {
        cluster: CLUSTER,
        network: Network::External,
        account: ACCOUNT,
        spared: &[],
        live_instances: &BTreeSet::from(["i-living".to_owned()]),
        baseline: baseline.as_ref(),
    };
    let found = search.classify(&interfaces, &[]);
    assert_eq!(found.releasing.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["eni-1"]);
    assert!(found.interfaces.is_empty());
}
