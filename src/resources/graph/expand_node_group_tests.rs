//! The subnets of a node group.

use serde_json::{Value, json};

use super::*;

fn view() -> ClusterView {
    let subnet = |id: &str, zone: &str, tier| {
        let cidr = Some(format!("10.0.{}.0/24", id.trim_start_matches("subnet-")));
        SubnetView { id: id.into(), zone: zone.into(), tier, cidr }
    };
    ClusterView {
        cluster_name: "demo".into(),
        version: Some("1.34".into()),
        subnets: vec![
            subnet("subnet-1", "r-a", SubnetTier::Private),
            subnet("subnet-2", "r-b", SubnetTier::Private),
            subnet("subnet-3", "r-a", SubnetTier::Public),
        ],
        node_role_arn: Some("arn:aws:iam::123456789012:role/nodes".into()),
        node_template: node_template::Cluster::default(),
        not_ready: None,
        tags: BTreeMap::new(),
    }
}

fn node_spec(subnets: Value) -> NodeGroupSpec {
    let spec = json!({"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}, "subnets": subnets});
    serde_json::from_value(spec).unwrap()
}

#[test]
fn node_group_subnets_are_selected_by_tier_zone_or_id() {
    for (subnets, chosen) in [
        (json!({}), vec!["subnet-1", "subnet-2"]),
        (json!({"tier": "Public"}), vec!["subnet-3"]),
        (json!({"tier": "Private", "zones": ["r-b"]}), vec!["subnet-2"]),
        (json!({"ids": ["subnet-9"]}), vec!["subnet-9"]),
        (json!({"cidrs": ["10.0.2.0/24"]}), vec!["subnet-2"]),
        (
            json!({"ids": ["subnet-9", "subnet-2"], "cidrs": ["10.0.2.0/24", "10.0.1.0/24"]}),
            vec!["subnet-9", "subnet-2", "subnet-1"],
        ),
    ] {
        assert_eq!(node_subnets(&node_spec(subnets), &view()).unwrap(), chosen);
    }
    let error = node_subnets(&node_spec(json!({"tier": "Public", "zones": ["r-b"]})), &view()).unwrap_err();
    assert!(error.to_string().contains("no Public subnet in r-b; it has them in r-a"), "{error}");
    let error = node_subnets(&node_spec(json!({"cidrs": ["10.9.0.0/24"]})), &view()).unwrap_err();
    assert!(error.to_string().contains("no subnet of 10.9.0.0/24; it has 10.0.1.0/24, 10.0.2.0/24"), "{error}");
    assert!(node_subnets(&node_spec(json!({"ids": ["a"], "tier": "Public"})), &view()).is_err());
    let unknown = ClusterView { subnets: Vec::new(), ..view() };
    assert!(node_subnets(&node_spec(json!({"cidrs": ["10.9.0.0/24"]})), &unknown).unwrap().is_empty());
}
