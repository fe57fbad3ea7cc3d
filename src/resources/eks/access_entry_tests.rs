//! Differences and requests of access entries.

use std::collections::BTreeMap as Map;

use serde_json::{Value, json};

use super::*;
use crate::resources::cloud::Owner;

const VIEW: &str = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy";
const EDIT: &str = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSEditPolicy";

/// The changes between the current policies and the listed ones, as "field: from -> to".
fn changes(current: Value, groups: &[&str], listed: Value) -> Vec<String> {
    let owner = Owner { uid: "uid".into(), cluster: "default/demo".into(), ..Owner::default() };
    let context = ResourceContext {
        owner: &owner,
        cluster_name: "demo",
        user_tags: Map::new(),
        former_tags: BTreeSet::new(),
        intervals: Intervals::default(),
    };
    let mut wanted = json!({"principalArn": "arn:aws:iam::123456789012:role/r"});
    wanted.as_object_mut().unwrap().extend(listed.as_object().unwrap().clone());
    let entry = AccessEntry::new(&context, &serde_json::from_value(wanted).unwrap());
    let detail = Detail {
        kind: "STANDARD".to_owned(),
        username: "arn".to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        policies: serde_json::from_value(current).unwrap(),
        tags: entry.tags.clone(),
        untagged: false,
    };
    let format_change = |change: &Change| format!("{}: {} -> {}", change.field, change.from, change.to);
    let observed = Observation::ready("arn", "available", detail);
    entry.diff(&observed, &Refs::default()).iter().map(format_change).collect()
}

#[test]
fn listed_policies_are_complete_and_an_unset_list_is_not_managed() {
    let view = json!({"policyArn": VIEW});
    let shop = json!({"policyArn": VIEW, "scope": {"type": "Namespace", "namespaces": ["shop"]}});
    for (current, groups, listed, expected) in [
        (json!({VIEW: "Cluster"}), vec!["a"], json!({}), vec![]),
        (json!({VIEW: "Cluster"}), vec!["a"], json!({"policies": [view]}), vec![]),
        (json!({}), vec![], json!({"policies": [view]}), vec![format!("policies[{VIEW}]:  -> Cluster")]),
        (
            json!({VIEW: "Cluster", EDIT: "Cluster"}),
            vec![],
            json!({"policies": [shop]}),
            vec![format!("policies[{VIEW}]: Cluster -> Namespace shop"), format!("policies[{EDIT}]: Cluster -> ")],
        ),
        (json!({EDIT: "Cluster"}), vec![], json!({"policies": []}), vec![format!("policies[{EDIT}]: Cluster -> ")]),
        (json!({}), vec!["b", "a"], json!({"kubernetesGroups": ["a", "b"]}), vec![]),
        (json!({}), vec!["a"], json!({"kubernetesGroups": []}), vec!["kubernetesGroups: a -> ".to_owned()]),
        (json!({}), vec![], json!({"username": "sso:ann"}), vec!["username: arn -> sso:ann".to_owned()]),
        (json!({}), vec![], json!({"type": "Ec2Linux"}), vec!["type: STANDARD -> EC2_LINUX".to_owned()]),
    ] {
        assert_eq!(changes(current, &groups, listed.clone()), expected, "{listed}");
    }
}
