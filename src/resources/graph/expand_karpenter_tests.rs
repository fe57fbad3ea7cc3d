//! What `spec.karpenter` adds to the graph, and in which order it is created and deleted.

use super::*;
use crate::resources::karpenter::{event_rule, leftover_instances, queue};

const PODS: &str = "kube-system/karpenter";

fn with(karpenter: Value) -> EksClusterSpec {
    spec(json!({"karpenter": karpenter}))
}

fn has(graph: &Graph<Cloud>, key: &Key) -> bool {
    graph.node(key).is_some()
}

#[test]
fn queue_and_identity_are_created_once_the_cluster_has_the_name() {
    let graph = expanded(&with(json!({})), &[], &[]).unwrap();
    let created = positions(&follow(&graph, Goal::Present));
    let (queue, rule) = (queue::key("demo").to_string(), event_rule::key("demo").to_string());
    assert_eq!(
        (queue.as_str(), rule.as_str()),
        ("queue/keelson-demo-karpenter", "eventRule/keelson-demo-interruptions")
    );
    assert!(created["cluster"] < created[&queue] && created[&queue] < created[&rule]);
    assert!(created[&format!("workloadRole/{PODS}")] < created[&format!("podIdentity/{PODS}")]);
    assert!(created.contains_key("role/node"), "nodes of Karpenter need it, whatever node groups there are");
}

#[test]
fn queue_is_left_out_where_the_spec_does_not_ask_for_it_and_deleted_if_it_exists() {
    let without = with(json!({"interruptionQueue": false}));
    let keys = [queue::key("demo"), event_rule::key("demo")];
    let graph = cluster(&ClusterInput { removes: Some(&[]), ..input(&without) }).unwrap();
    assert!(keys.iter().all(|key| !has(&graph, key)));
    let graph = expanded(&without, &[], &keys).unwrap();
    let deleted = positions(&follow(&graph, Goal::Deleted));
    assert!(deleted["cluster"] < deleted[&keys[1].to_string()]);
    assert!(deleted[&keys[1].to_string()] < deleted[&keys[0].to_string()]);
}

#[test]
fn instances_are_terminated_between_the_cluster_and_its_network() {
    let spec = with(json!({}));
    let key = leftover_instances::key();
    assert!(!has(&expanded(&spec, &[], &[]).unwrap(), &key), "only when the cluster is deleted");
    let deletion = ClusterInput { instances_since: Some(Timestamp::UNIX_EPOCH), ..input(&spec) };
    let deleted = positions(&follow(&cluster(&deletion).unwrap(), Goal::Deleted));
    let at = deleted[&key.to_string()];
    assert!(deleted["cluster"] < at && at < deleted["leftovers"] && at < deleted["subnet/private/eu-west-1a"]);
    assert!(at < deleted["role/node"], "it proves that they are the cluster's");
    let without = super::spec(json!({}));
    let deletion = ClusterInput { instances_since: Some(Timestamp::UNIX_EPOCH), ..input(&without) };
    assert!(!has(&cluster(&deletion).unwrap(), &key), "those of a Karpenter of the user's stay");
}
