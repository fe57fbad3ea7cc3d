//! What is recognised as a cluster's leftovers, and what never is.

use super::*;
use crate::aws::snapshots::network::Permission;
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

const OWNED: (&str, &str) = ("kubernetes.io/cluster/prod", "owned");
const OF_EKS: (&str, &str) = ("aws:eks:cluster-name", "prod");
const OF_LOAD_BALANCERS: [(&str, &str); 2] =
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
fn sorted(network: Network, interfaces: &[NetworkInterface], groups: &[SecurityGroup]) -> [Vec<String>; 3] {
    let living = BTreeSet::from(["i-living".to_owned()]);
    let baseline = Baseline::parse("2026-11-28T20:00:00Z sg-before");
    let search = Search {
        cluster: CLUSTER,
        network,
        account: ACCOUNT,
        spared: &["sg-spec".to_owned()],
        living: &living,
        baseline: baseline.as_ref(),
    };
    let found = search.sort(interfaces, groups);
    let ids = |groups: &[&SecurityGroup]| groups.iter().map(|group| group.id.clone()).collect::<Vec<_>>();
    let goes = found.interfaces.iter().map(|(one, _)| one.id.clone());
    let goes = goes.chain(found.groups.iter().map(|(group, _)| group.id.clone())).collect();
    let left = found.unproven_interfaces.iter().map(|one| one.id.clone());
    let left = left.chain(ids(&found.unproven_groups)).collect();
    [goes, ids(&found.held), left]
}

#[test]
fn in_a_network_of_others_only_what_controllers_marked_after_the_cluster_was_made_goes() {
    let groups = [
        group("sg-terraform", &[OWNED]),
        group("sg-spec", &[OF_EKS, OWNED]),
        group("sg-before", &OF_LOAD_BALANCERS),
        group("sg-load-balancer", &OF_LOAD_BALANCERS),
        group("sg-tag-only", &OF_LOAD_BALANCERS[..1]),
        SecurityGroup { description: "by hand".into(), ..group("sg-described", &OF_LOAD_BALANCERS) },
        SecurityGroup { name: "k8s-elb-1".into(), ..group("sg-provider", &[OWNED]) },
        SecurityGroup { owner_id: Some("210987654321".into()), ..group("sg-shared", &OF_LOAD_BALANCERS) },
        group("sg-eks", &[OF_EKS, OWNED]),
        group("sg-other", &[("elbv2.k8s.aws/cluster", "other"), ("elbv2.k8s.aws/resource", "backend-sg")]),
        SecurityGroup { name: "default".into(), ..group("sg-default", &[OF_EKS]) },
    ];
    let interfaces = [
        of_node("eni-new", "i-gone", LATER),
        of_node("eni-before", "i-gone", EARLIER),
        of_node("eni-living", "i-living", LATER),
        of_node("eni-undated", "i-gone", ""),
        NetworkInterface { description: "mine".into(), ..of_node("eni-described", "i-gone", LATER) },
        NetworkInterface { owner_id: Some("210987654321".into()), ..of_node("eni-shared", "i-gone", LATER) },
        interface("eni-team", "", &[OWNED]),
        interface("eni-unnamed", "i-gone", &[(CREATED, LATER)]),
        interface("eni-plain", "", &[]),
    ];
    let [goes, held, left] = sorted(Network::Theirs, &interfaces, &groups);
    assert_eq!(goes, ["eni-new", "sg-load-balancer", "sg-eks"]);
    assert!(held.is_empty());
    let stays = ["eni-before", "eni-living", "eni-undated", "eni-described", "eni-shared", "eni-team"];
    let of_groups = ["sg-terraform", "sg-spec", "sg-before", "sg-tag-only", "sg-described", "sg-provider", "sg-shared"];
    assert_eq!(left, [&stays[..], &of_groups[..]].concat());
}

#[test]
fn in_our_own_network_what_came_with_the_cluster_goes_whatever_its_age() {
    let groups = [
        SecurityGroup { name: "k8s-elb-1".into(), ..group("sg-provider", &[OWNED]) },
        group("sg-tag-only", &OF_LOAD_BALANCERS[..1]),
        group("sg-before", &OF_LOAD_BALANCERS),
        group("sg-terraform", &[OWNED]),
    ];
    let interfaces = [
        of_node("eni-before", "i-gone", EARLIER),
        interface("eni-unnamed", "i-gone", &[]),
        of_node("eni-living", "i-living", LATER),
        interface("eni-other", "i-gone", &[(CNI_CLUSTER, "other")]),
        interface("eni-team", "", &[OWNED]),
    ];
    let [goes, _, left] = sorted(Network::Ours, &interfaces, &groups);
    assert_eq!(goes, ["eni-before", "eni-unnamed", "sg-provider", "sg-tag-only", "sg-before"]);
    assert_eq!(left, ["eni-living", "eni-team", "sg-terraform"]);
}

#[test]
fn a_group_that_is_used_or_named_by_what_stays_is_held_with_all_that_hangs_on_it() {
    let load_balancer = |id| group(id, &OF_LOAD_BALANCERS);
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
    let [goes, held, _] = sorted(Network::Theirs, &[used], &groups);
    assert_eq!(goes, ["sg-free", "sg-1", "sg-2"]);
    assert_eq!(held, ["sg-used", "sg-named", "sg-hanging"]);
}

#[test]
fn a_group_goes_with_the_interface_that_uses_it() {
    let leaked = NetworkInterface { security_group_ids: vec!["sg-eks".into()], ..of_node("eni-1", "i-gone", LATER) };
    let [goes, held, _] = sorted(Network::Theirs, &[leaked], &[group("sg-eks", &[OF_EKS])]);
    assert_eq!((goes, held), (vec!["eni-1".to_owned(), "sg-eks".to_owned()], vec![]));
}

#[test]
fn an_interface_that_is_in_use_is_waited_for_only_when_its_node_is_gone() {
    let in_use = |one: NetworkInterface| NetworkInterface { status: Some(NetworkInterfaceStatus::InUse), ..one };
    let interfaces = [in_use(of_node("eni-1", "i-gone", LATER)), in_use(of_node("eni-2", "i-living", LATER))];
    let baseline = Baseline::parse("2026-11-28T20:00:00Z");
    let search = Search {
        cluster: CLUSTER,
        network: Network::Theirs,
        account: ACCOUNT,
        spared: &[],
        living: &BTreeSet::from(["i-living".to_owned()]),
        baseline: baseline.as_ref(),
    };
    let found = search.sort(&interfaces, &[]);
    assert_eq!(found.going.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["eni-1"]);
    assert!(found.interfaces.is_empty());
}
