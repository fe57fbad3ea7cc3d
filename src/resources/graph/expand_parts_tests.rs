//! When the identity provider and capabilities are created, replaced and deleted.

use serde_json::{Value, json};

use super::tests::{follow, input, positions, spec};
use super::*;
use crate::engine::Goal;

fn corp() -> Value {
    json!({"oidcIdentityProvider": {"name": "corp", "issuerUrl": "https://id.example.com", "clientId": "kubernetes"}})
}

fn capability(name: &str) -> Value {
    json!({"name": name, "type": "Kro", "roleArn": "arn:aws:iam::123456789012:role/kro"})
}

fn present(graph: &Graph<Cloud>) -> BTreeMap<String, usize> {
    positions(&follow(graph, Goal::Present))
}

fn keys(graph: &Graph<Cloud>) -> Vec<String> {
    graph.nodes().iter().map(|node| node.key().to_string()).collect()
}

#[test]
fn identity_provider_is_associated_after_everything_else_in_the_cluster() {
    let spec = spec(json!({"access": corp(), "capabilities": [capability("kro")]}));
    let created = present(&cluster(&input(&spec)).unwrap());
    let last = created["identityProvider/corp"];
    for before in ["addon/coredns", "addon/vpc-cni", "capability/kro", "cluster"] {
        assert!(created[before] < last, "{before}: {created:?}");
    }
}

#[test]
fn identity_provider_waits_for_nodes_that_are_expected_and_not_for_others() {
    let spec = spec(json!({"access": corp()}));
    let created = |nodes| present(&cluster(&ClusterInput { nodes, ..input(&spec) }).unwrap());
    assert!(!created(Nodes::NotYet("no NodeGroup is ready".into())).contains_key("identityProvider/corp"));
    let without = created(Nodes::NoneExpected("no NodeGroup".into()));
    assert!(without.contains_key("identityProvider/corp") && !without.contains_key("addon/coredns"));
}

#[test]
fn another_provider_or_capability_waits_for_the_removal_of_the_earlier_one() {
    let spec = spec(json!({"access": corp(), "capabilities": [capability("kro"), capability("ack")]}));
    let of = |key: &str| (Key::parse(key), Key::parse(key).name().to_owned());
    let after = |owned: &[Owned], key: &str| {
        let graph = cluster(&ClusterInput { removes: Some(owned), ..input(&spec) }).unwrap();
        graph.node(&Key::parse(key)).unwrap().after().contains(&removals::key())
    };
    let listed = [of("identityProvider/corp"), of("capability/kro")];
    for key in ["identityProvider/corp", "capability/ack", "capability/kro"] {
        assert!(!after(&listed, key), "{key}: nothing is removed");
    }
    assert!(after(&[of("identityProvider/before")], "identityProvider/corp"));
    assert!(!after(&[of("identityProvider/before")], "capability/kro"));
    assert!(after(&[of("capability/before"), of("capability/kro")], "capability/ack"));
}

#[test]
fn what_an_earlier_spec_listed_is_deleted_with_the_cluster_and_capabilities_before_it() {
    let spec = spec(json!({"capabilities": [capability("kro")]}));
    let owned = ["identityProvider/corp", "capability/before", "capability/kro"].map(Key::parse);
    let graph = cluster(&ClusterInput { owned: &owned, ..input(&spec) }).unwrap();
    let deleted = positions(&follow(&graph, Goal::Deleted));
    for key in ["capability/kro", "capability/before"] {
        assert!(deleted[key] < deleted["cluster"], "{deleted:?}");
    }
    assert!(
        keys(&graph).contains(&"identityProvider/corp".to_owned()) && !deleted.contains_key("identityProvider/corp")
    );
    // While the object exists, they are removed by themselves.
    let graph = cluster(&ClusterInput { owned: &owned, removes: Some(&[]), ..input(&spec) }).unwrap();
    assert!(!keys(&graph).contains(&"capability/before".to_owned()));
}
