//! What a VPC that Keelson creates needs in AWS.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::claims::{Requirement, RequirementKind, Stage, of_cluster};
use super::super::refusal::{Fact, find_problem};
use super::*;
use crate::aws::snapshots::Address;
use crate::aws::tags::Tags;

#[test]
fn addresses_of_nat_gateways_must_be_free_and_of_the_region() {
    let ids = vec!["eipalloc-1".to_owned()];
    let kind = RequirementKind::Addresses { ids, vpc: Some("vpc-1".into()) };
    let requirement = Requirement { field: "spec.network.vpc.natAddresses".into(), kind };
    let address = |associated: bool, group: &str| Address {
        allocation_id: "eipalloc-1".into(),
        public_ip: "203.0.113.1".into(),
        association_id: associated.then(|| "eipassoc-1".to_owned()),
        network_interface_id: Some("eni-1".to_owned()),
        border_group: Some(group.to_owned()),
        tags: Tags::new(),
    };
    let problem = |found: Vec<Address>, ours: &[&str]| {
        let used_by_ours = ours.iter().map(|id| (*id).to_owned()).collect();
        find_problem(&requirement, &Fact::Addresses { found, used_by_ours }, "eu-west-1").unwrap_or_default()
    };
    assert_eq!(problem(vec![address(false, "eu-west-1")], &[]), "");
    assert_eq!(problem(vec![address(true, "eu-west-1")], &["eipalloc-1"]), "", "the cluster's own gateway uses it");
    assert!(problem(vec![address(true, "eu-west-1")], &["eipalloc-2"]).contains("associated with eni-1 already"));
    assert!(problem(vec![], &[]).contains("eipalloc-1 does not exist"));
    assert!(problem(vec![address(false, "eu-west-1-wl1")], &[]).contains("network border group eu-west-1-wl1"));
}

#[test]
fn groups_of_the_control_plane_must_be_in_the_vpc_of_the_cluster() {
    let spec = json!({"region": "eu-west-1", "version": "1.36", "network": {"vpc": {"securityGroupIds": ["sg-1"]}}});
    let spec: EksClusterSpec = serde_json::from_value(spec).unwrap();
    let field = "spec.network.vpc.securityGroupIds";
    for (own_vpc, fact, words) in [
        (None, Fact::NoVpc, "which does not exist yet"),
        (Some("vpc-1"), Fact::SecurityGroups { vpc: "vpc-1".into(), ids: BTreeSet::new() }, "does not exist in vpc-1"),
        (Some("vpc-1"), Fact::SecurityGroups { vpc: "vpc-1".into(), ids: ["sg-1".to_owned()].into() }, ""),
    ] {
        let requirements = of_cluster(&spec, Stage::Edited, AccountContext { own_vpc, ..AccountContext::default() });
        let requirement = requirements.iter().find(|one| one.field == field).unwrap();
        let problem = find_problem(requirement, &fact, "eu-west-1").unwrap_or_default();
        assert!(problem.contains(words) && problem.is_empty() == words.is_empty(), "{problem}");
    }
}

#[test]
fn ipv6_in_a_vpc_of_keelsons_needs_the_policy_of_the_cni() {
    let spec = json!({"region": "cn-north-1", "version": "1.36", "kubernetesNetwork": {"ipFamily": "IPv6"}});
    let spec: EksClusterSpec = serde_json::from_value(spec).unwrap();
    let around = AccountContext { account_id: "123456789012", ..AccountContext::default() };
    let policy = RequirementKind::Policy("arn:aws-cn:iam::123456789012:policy/AmazonEKS_CNI_IPv6_Policy".into());
    let has = |stage| of_cluster(&spec, stage, around).iter().any(|one| one.kind == policy);
    assert!(has(Stage::New) && !has(Stage::Edited));
}
