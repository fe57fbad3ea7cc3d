//! What a VPC has besides its own range: it can be created and deleted in the order that EC2 requires.

use super::*;
use crate::resources::network::{elastic_ip, nat_gateway, subnet};

const PODS: &str = "100.64.0.0/16";

fn of_vpc(vpc: Value) -> EksClusterSpec {
    spec(json!({"network": {"vpc": vpc}}))
}

fn keys(graph: &Graph<Cloud>) -> Vec<String> {
    graph.nodes().iter().map(|node| node.key().to_string()).collect()
}

#[test]
fn given_addresses_are_neither_allocated_nor_released() {
    let vpc = json!({"nat": "PerZone", "natAddresses": ["eipalloc-a", "eipalloc-b", "eipalloc-c"]});
    let graph = expanded(&of_vpc(vpc), &[], &[]).unwrap();
    assert!(keys(&graph).iter().all(|key| !key.starts_with("elasticIp/")));
    let gateway = graph.node(&nat_gateway::key("eu-west-1b")).unwrap();
    assert_eq!(gateway.excluded_ids(), ["eipalloc-b"]);
    assert!(gateway.facts().contains(&("address", "eipalloc-b".to_owned())));
}

#[test]
fn own_address_of_an_earlier_spec_is_deleted_with_the_cluster_after_its_gateway() {
    let vpc = json!({"nat": "Single", "natAddresses": ["eipalloc-a"]});
    let own = elastic_ip::key("eu-west-1a");
    let graph = expanded(&of_vpc(vpc), &[], std::slice::from_ref(&own)).unwrap();
    assert_eq!(graph.node(&own).unwrap().excluded_ids(), ["eipalloc-a"]);
    let deleted = positions(&follow(&graph, Goal::Deleted));
    assert!(deleted["natGateway/eu-west-1a"] < deleted["elasticIp/eu-west-1a"]);
}

#[test]
fn addresses_that_do_not_fit_the_gateways_are_refused() {
    let vpc = of_vpc(json!({"nat": "PerZone", "natAddresses": ["eipalloc-a"]}));
    let refused = cluster(&ClusterInput { removes: Some(&[]), ..input(&vpc) }).err().unwrap();
    assert!(refused.to_string().contains("1 addresses for 3 NAT gateways"), "{refused}");
    assert!(expanded(&vpc, &[], &[]).is_ok(), "a deletion does not depend on it");
}

#[test]
fn ranges_for_pods_come_before_their_subnets_and_go_with_the_vpc() {
    let graph = expanded(&of_vpc(json!({"podCidrs": [PODS], "endpoints": ["sts"]})), &[], &[]).unwrap();
    let created = positions(&follow(&graph, Goal::Present));
    let subnet = subnet::pods_key("eu-west-1a", PODS).to_string();
    assert!(created["vpc"] < created["vpcCidr/100.64.0.0/16"]);
    assert!(created["vpcCidr/100.64.0.0/16"] < created[&subnet]);
    let deleted = positions(&follow(&graph, Goal::Deleted));
    assert!(deleted[&subnet] < deleted["vpc"] && !deleted.contains_key("vpcCidr/100.64.0.0/16"));
    assert!(deleted["leftovers"] < deleted[&subnet], "interfaces of nodes are in it");
    let group = graph.nodes().iter().find(|node| node.key().kind() == "securityGroup").unwrap().facts();
    assert!(group[0].1.ends_with("10.0.0.0/16, 100.64.0.0/16"), "{group:?}");
    // The control plane is not placed there.
    assert!(
        graph.nodes().iter().all(|node| node.key() != cluster::key() || !node.after().contains(&Key::parse(&subnet)))
    );
}

#[test]
fn subnets_of_a_range_stay_until_the_cluster_is_deleted() {
    let owned = [subnet::pods_key("eu-west-1a", PODS)];
    let graph = expanded(&of_vpc(json!({})), &[], &owned).unwrap();
    assert!(positions(&follow(&graph, Goal::Deleted)).contains_key(&owned[0].to_string()));
}

#[test]
fn ipv6_adds_a_way_out_and_a_route_in_each_table() {
    let graph = expanded(&spec(json!({"kubernetesNetwork": {"ipFamily": "IPv6"}})), &[], &[]).unwrap();
    let created = positions(&follow(&graph, Goal::Present));
    for (route, gateway) in [
        ("route/ipv6/private/eu-west-1a", "egressOnlyInternetGateway"),
        ("route/ipv6/private/eu-west-1c", "egressOnlyInternetGateway"),
        ("route/ipv6/public", "internetGateway"),
    ] {
        assert!(created[gateway] < created[route], "{route}");
    }
    let deleted = positions(&follow(&graph, Goal::Deleted));
    assert!(deleted["cluster"] < deleted["egressOnlyInternetGateway"]);
    assert!(deleted["egressOnlyInternetGateway"] < deleted["vpc"]);
    let role = graph.nodes().iter().find(|node| node.key() == role::key(Purpose::Node)).unwrap().facts();
    assert!(role.iter().any(|(_, value)| value.contains("AmazonEKS_CNI_IPv6_Policy")), "{role:?}");
    let without = expanded(&spec(json!({})), &[], &[]).unwrap();
    assert!(keys(&without).iter().all(|key| !key.contains("ipv6") && key != "egressOnlyInternetGateway"));
}

#[test]
fn private_endpoints_are_listed_one_by_one() {
    let missing: BTreeSet<String> = ["eks-auth".to_owned()].into();
    let spec = of_vpc(json!({"endpoints": ["private", "kms"]}));
    let graph = cluster(&ClusterInput { missing_services: &missing, ..input(&spec) }).unwrap();
    let endpoints: Vec<_> = keys(&graph).into_iter().filter(|key| key.starts_with("vpcEndpoint/")).collect();
    assert_eq!(endpoints.len(), 11);
    assert!(
        endpoints.contains(&"vpcEndpoint/kms".to_owned()) && !endpoints.contains(&"vpcEndpoint/eks-auth".to_owned())
    );
    let vpc = graph.nodes().iter().find(|node| node.key() == Key::single("vpc")).unwrap().facts();
    assert!(vpc.iter().any(|(name, value)| *name == "endpoints" && value.starts_with("endpoints of eks-auth")));
}
