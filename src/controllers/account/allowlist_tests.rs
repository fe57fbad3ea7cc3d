//! Every field that can refer to a foreign resource, with every way in which an account may or may not allow it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::api::{EksClusterSpec, NodeGroupSpec};
use crate::controllers::account::named::{by_cluster, by_node_group, by_node_group_in};

pub(super) const ACCOUNT: &str = "123456789012";

/// A field, and values of it.
struct Case {
    field: &'static str,
    /// A spec with the value: of an EksCluster, otherwise of a NodeGroup.
    of_cluster: bool,
    spec: fn(&str) -> Value,
    list: &'static str,
    /// A resource outside Keelson; another tenant's; the tenant's own (empty: Keelson creates none).
    foreign: &'static str,
    others: &'static str,
    own: &'static str,
    /// The list entries that allow `foreign`: exact, and as a pattern.
    exact: &'static str,
    pattern: &'static str,
}

const UNMANAGED_ROLE: &str = "arn:aws:iam::123456789012:role/team/dns";
const OTHERS_ROLE: &str = "arn:aws:iam::123456789012:role/keelson-vault-0a0b0c0d-node";
const OWN_ROLE: &str = "arn:aws:iam::123456789012:role/keelson/keelson-search-01020304-node";
const ADMIN: &str = "arn:aws:iam::aws:policy/AdministratorAccess";
const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/1234";
const OTHERS_KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/9876";

/// A case whose values are roles.
fn role(field: &'static str, of_cluster: bool, spec: fn(&str) -> Value) -> Case {
    Case {
        field,
        of_cluster,
        spec,
        list: "allowedRoleArns",
        foreign: UNMANAGED_ROLE,
        others: OTHERS_ROLE,
        own: OWN_ROLE,
        exact: UNMANAGED_ROLE,
        pattern: "arn:aws:iam::123456789012:role/team/*",
    }
}

/// A case whose values are subnets; they are listed by their VPC.
fn subnet(field: &'static str, of_cluster: bool, spec: fn(&str) -> Value) -> Case {
    Case {
        field,
        of_cluster,
        spec,
        list: "allowedVpcIds",
        foreign: "subnet-f",
        others: "subnet-b",
        own: "subnet-a",
        exact: "vpc-f",
        pattern: "vpc-f*",
    }
}

fn cases() -> Vec<Case> {
    vec![
        role("spec.roleArn", true, |arn| json!({"roleArn": arn})),
        role("spec.roleArn", false, |arn| json!({"roleArn": arn})),
        role(
            "spec.podIdentities[kube-system/dns].roleArn",
            true,
            |arn| json!({"podIdentities": [{"namespace": "kube-system", "serviceAccount": "dns", "roleArn": arn}]}),
        ),
        role(
            "spec.podIdentities[kube-system/dns].targetRoleArn",
            true,
            |arn| json!({"podIdentities": [{"namespace": "kube-system", "serviceAccount": "dns", "role": {}, "targetRoleArn": arn}]}),
        ),
        role(
            "spec.addons[csi].podIdentityRoleArn",
            true,
            |arn| json!({"addons": [{"name": "csi", "podIdentityRoleArn": arn}]}),
        ),
        role(
            "spec.addons[csi].serviceAccountRoleArn",
            true,
            |arn| json!({"addons": [{"name": "csi", "serviceAccountRoleArn": arn}]}),
        ),
        role(
            "spec.autoMode.nodeRoleArn",
            true,
            |arn| json!({"autoMode": {"nodePools": ["system"], "nodeRoleArn": arn}}),
        ),
        role(
            "spec.fargateProfiles[jobs].podExecutionRoleArn",
            true,
            |arn| json!({"fargateProfiles": [{"name": "jobs", "selectors": [], "podExecutionRoleArn": arn}]}),
        ),
        role(
            "spec.capabilities[kro].roleArn",
            true,
            |arn| json!({"capabilities": [{"name": "kro", "type": "Kro", "roleArn": arn}]}),
        ),
        role(
            "spec.registration.roleArn",
            true,
            |arn| json!({"registerWith": "ArgoCd", "registration": {"roleArn": arn}}),
        ),
        subnet(
            "spec.fargateProfiles[jobs].subnetIds",
            true,
            |id| json!({"fargateProfiles": [{"name": "jobs", "selectors": [], "subnetIds": [id]}]}),
        ),
        subnet("spec.network.existing.subnetIds", true, |id| json!({"network": {"existing": {"subnetIds": [id]}}})),
        subnet("spec.network.existing.subnets", true, |id| json!({"network": {"existing": {"subnets": [{"id": id}]}}})),
        subnet("spec.subnets.ids", false, |id| json!({"subnets": {"ids": [id]}})),
        Case {
            field: "spec.network.existing.vpcId",
            of_cluster: true,
            spec: |id| json!({"network": {"existing": {"vpcId": id, "subnetSelector": {"tags": {"tier": "private"}}}}}),
            list: "allowedVpcIds",
            foreign: "vpc-f",
            others: "vpc-b",
            own: "vpc-a",
            exact: "vpc-f",
            pattern: "vpc-*f",
        },
        Case {
            field: "spec.network.existing.securityGroupIds",
            of_cluster: true,
            spec: |id| json!({"network": {"existing": {"securityGroupIds": [id]}}}),
            list: "allowedSecurityGroupIds",
            foreign: "sg-f",
            others: "sg-b",
            own: "sg-a",
            exact: "sg-f",
            pattern: "sg-*",
        },
        Case {
            field: "spec.secretsEncryption.kmsKeyArn",
            of_cluster: true,
            spec: |arn| json!({"secretsEncryption": {"kmsKeyArn": arn}}),
            list: "allowedKmsKeyArns",
            foreign: KEY,
            others: OTHERS_KEY,
            own: "",
            exact: KEY,
            pattern: "arn:aws:kms:*:123456789012:key/12*",
        },
        Case {
            field: "spec.logGroup.kmsKeyArn",
            of_cluster: true,
            spec: |arn| json!({"logGroup": {"retentionDays": 1, "kmsKeyArn": arn}}),
            list: "allowedKmsKeyArns",
            foreign: KEY,
            others: OTHERS_KEY,
            own: "",
            exact: KEY,
            pattern: "arn:aws:kms:*:123456789012:key/12*",
        },
        Case {
            field: "spec.additionalRolePolicies",
            of_cluster: false,
            spec: |arn| json!({"additionalRolePolicies": [arn]}),
            list: "allowedPolicyArns",
            foreign: ADMIN,
            others: "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy",
            own: "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy",
            exact: ADMIN,
            pattern: "arn:*:policy/Admin*",
        },
        Case {
            field: "spec.addons[csi].podIdentityRole.policyArns",
            of_cluster: true,
            spec: |arn| json!({"addons": [{"name": "csi", "podIdentityRole": {"policyArns": [arn]}}]}),
            list: "allowedPolicyArns",
            foreign: ADMIN,
            others: "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy",
            own: "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy",
            exact: ADMIN,
            pattern: "arn:*:policy/Admin*",
        },
        Case {
            field: "spec.launchTemplate.id",
            of_cluster: false,
            spec: |id| json!({"launchTemplate": {"id": id}}),
            list: "allowedLaunchTemplateIds",
            foreign: "lt-f",
            others: "lt-b",
            own: "",
            exact: "lt-f",
            pattern: "lt-f*",
        },
        Case {
            field: "spec.node.imageId",
            of_cluster: false,
            spec: |id| json!({"node": {"imageId": id}}),
            list: "allowedImageIds",
            foreign: "ami-f",
            others: "ami-b",
            own: "",
            exact: "ami-f",
            pattern: "ami-f*",
        },
        Case {
            field: "spec.node.capacityReservationId",
            of_cluster: false,
            spec: |id| json!({"node": {"capacityReservationId": id}}),
            list: "allowedCapacityReservationIds",
            foreign: "cr-f",
            others: "cr-b",
            own: "",
            exact: "cr-f",
            pattern: "cr-f*",
        },
        Case {
            field: "spec.node.placementGroup",
            of_cluster: false,
            spec: |name| json!({"node": {"placementGroup": name}}),
            list: "allowedPlacementGroups",
            foreign: "search near",
            others: "vault",
            own: "",
            exact: "search near",
            pattern: "search*",
        },
        Case {
            field: "spec.network.vpc.natAddresses",
            of_cluster: true,
            spec: |id| json!({"network": {"vpc": {"natAddresses": [id]}}}),
            list: "allowedElasticIpAllocationIds",
            foreign: "eipalloc-f",
            others: "eipalloc-b",
            own: "",
            exact: "eipalloc-f",
            pattern: "eipalloc-f*",
        },
    ]
}

fn set(items: &[&str]) -> BTreeSet<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

/// What AWS reports for a tenant: its own resources, and the VPCs of the requested subnets.
fn owned(subnets_to_look_up: &[String]) -> OwnedResources {
    let vpc_of = |id: &String| (id.clone(), id.replace("subnet", "vpc"));
    OwnedResources {
        vpcs: set(&["vpc-a"]),
        subnets: set(&["subnet-a"]),
        security_groups: set(&["sg-a"]),
        roles: set(&[OWN_ROLE]),
        vpc_of_subnet: subnets_to_look_up.iter().map(vpc_of).collect(),
        image_owners: BTreeMap::from([
            image("ami-f", ACCOUNT, None),
            image("ami-b", ACCOUNT, None),
            image("ami-eks", "602401143452", Some("amazon")),
            image("ami-vendor", "679593333241", Some("aws-marketplace")),
            image("ami-ubuntu", "099720109477", None),
        ]),
    }
}

fn image(id: &str, account: &str, alias: Option<&str>) -> (String, ImageOwner) {
    (id.to_owned(), ImageOwner { account: account.to_owned(), alias: alias.map(str::to_owned) })
}

pub(super) fn lists(more: Value) -> Allowlists {
    let mut spec = json!({"accountId": ACCOUNT});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Allowlists::of("prod", &serde_json::from_value(spec).unwrap(), "team-search")
}

pub(super) fn cluster_spec(more: &Value) -> EksClusterSpec {
    let mut spec = json!({"region": "eu-west-1", "version": "1.34"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

pub(super) fn node_group_spec(more: &Value) -> NodeGroupSpec {
    let mut spec = json!({"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

pub(super) fn decide(lists: &Allowlists, named: &[ResourceReference]) -> Result<(), Refusal> {
    let undecided = lists.check(named)?;
    lists.check_owned(&undecided, &owned(&lists.subnets_to_look_up(&undecided)))
}

fn outcome(case: &Case, value: &str, allowed: Value) -> Result<(), Refusal> {
    let spec = (case.spec)(value);
    let named = if case.of_cluster { by_cluster(&cluster_spec(&spec)) } else { by_node_group(&node_group_spec(&spec)) };
    decide(&lists(allowed), &named)
}

#[test]
fn each_field_may_refer_only_to_owned_or_listed_resources() {
    for case in cases() {
        let Case { field, list, foreign, others, own, exact, pattern, .. } = case;
        let listed = |entry: &str| json!({list: [entry]});
        for (value, lists, allowed) in [
            (foreign, json!({}), false),
            (foreign, json!({list: []}), false),
            (foreign, listed(exact), true),
            (foreign, listed(pattern), true),
            (foreign, listed("*"), true),
            (others, json!({}), false),
            (others, listed(exact), false),
            (others, listed(pattern), list == "allowedSecurityGroupIds"),
            (own, json!({}), !own.is_empty()),
        ] {
            let result = outcome(&case, value, lists.clone()).map_err(|refusal| refusal.message);
            assert_eq!(result.is_ok(), allowed, "{field}: {value} with {lists}: {result:?}");
        }
    }
}

#[test]
fn refusal_names_the_field_and_list_and_reveals_nothing() {
    for case in cases() {
        let refusal = outcome(&case, case.others, json!({case.list: [case.exact]})).unwrap_err();
        assert_eq!(refusal.reason, Reason::AccessDenied);
        for part in [case.field, case.others, case.list, "\"prod\"", "the owner of the AwsAccount"] {
            assert!(refusal.message.contains(part), "{part}: {}", refusal.message);
        }
        assert!(!refusal.message.contains("vpc-b") || case.others == "vpc-b", "{}", refusal.message);
        // A missing resource is refused with the same message.
        let missing = format!("{}0", case.others);
        let of_missing = outcome(&case, &missing, json!({case.list: [case.exact]})).unwrap_err();
        assert_eq!(of_missing.message, refusal.message.replace(case.others, &missing));
    }
}

#[test]
fn cluster_policies_are_not_for_nodes_unless_listed() {
    let lists = lists(json!({"allowedPolicyArns": ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]}));
    let arn = |name: &str| format!("arn:aws:iam::aws:policy/{name}");
    for name in ["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonSSMManagedInstanceCore"] {
        assert!(lists.allows_policy(&arn(name)), "{name}");
    }
    for name in ["AmazonEKSClusterPolicy", "AmazonEKSComputePolicy", "AdministratorAccess", "x/AmazonEKS_CNI_Policy"] {
        assert!(!lists.allows_policy(&arn(name)), "{name}");
    }
    assert!(!lists.allows_policy("arn:aws:iam::123456789012:policy/AmazonEKS_CNI_Policy"));
}

#[test]
fn role_of_another_account_is_never_owned() {
    let foreign = OWN_ROLE.replace(ACCOUNT, "999999999999");
    let named = by_cluster(&cluster_spec(&json!({"roleArn": foreign})));
    assert!(lists(json!({})).check(&named).is_err());
}

#[test]
fn nodes_may_not_join_a_network_refused_to_their_cluster() {
    let cluster =
        cluster_spec(&json!({"network": {"existing": {"subnetIds": ["subnet-b"]}}, "roleArn": UNMANAGED_ROLE}));
    let named = by_node_group_in("demo", &cluster, &node_group_spec(&json!({})));
    let refusal = decide(&lists(json!({})), &named).unwrap_err();
    assert!(
        refusal.message.starts_with("EksCluster demo: spec.network.existing.subnetIds: subnet-b"),
        "{}",
        refusal.message
    );
    assert!(decide(&lists(json!({"allowedVpcIds": ["vpc-b"]})), &named).is_ok());
}

#[test]
fn subnets_are_looked_up_only_if_vpcs_are_listed() {
    let named = by_cluster(&cluster_spec(&json!({"network": {"existing": {"subnetIds": ["subnet-a", "subnet-b"]}}})));
    for (allowed, looked_up) in
        [(json!({}), 0), (json!({"allowedVpcIds": ["vpc-f"]}), 2), (json!({"allowedVpcIds": ["*"]}), 0)]
    {
        let lists = lists(allowed);
        assert_eq!(lists.subnets_to_look_up(&lists.check(&named).unwrap()).len(), looked_up);
    }
}

#[test]
fn only_a_star_is_a_wildcard() {
    for (pattern, value, matched) in [
        ("*", "", true),
        ("*", "arn:aws:iam::1:role/a", true),
        ("sg-1", "sg-1", true),
        ("sg-1", "sg-12", false),
        ("sg-1", "xsg-1", false),
        ("sg-1*", "sg-1", true),
        ("*-1", "sg-1", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("a*a", "a", false),
        ("role/team.*", "role/teamx1", false),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(matches(pattern, value), matched, "{pattern} {value}");
    }
}
