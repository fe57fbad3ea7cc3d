//! Property test over random pairs of tenants in one account: what one may refer to, and so what is read and written
//! for it, never belongs to the other.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::allowlist::Allowlists;
use super::named::{Kind, by_cluster, by_node_group};
use crate::api::{AwsAccountSpec, EksClusterSpec, NodeGroupSpec};
use crate::aws::snapshots::named::ImageOwner;
use crate::controllers::account::Refusal;
use crate::resources::cloud::{AccountSettings, Intervals, Owner};
use crate::resources::graph::expand::{self, ClusterInput, NodeRole, Nodes, Versions};
use crate::resources::inventory::owned_resources::OwnedResources;

/// The owner of a resource: the tenant itself, the other tenant, or someone outside Keelson.
const OWNERS: [&str; 3] = ["a", "b", "f"];

fn id(kind: Kind, owner_id: &str, number: usize) -> String {
    match kind {
        Kind::Role if owner_id == "f" => format!("arn:aws:iam::123456789012:role/team/f{number}"),
        Kind::Role => format!("arn:aws:iam::123456789012:role/keelson-{owner_id}{number}-node"),
        Kind::Policy => format!("arn:aws:iam::123456789012:policy/{owner_id}{number}"),
        Kind::KmsKey => format!("arn:aws:kms:eu-west-1:123456789012:key/{owner_id}{number}"),
        Kind::Vpc => format!("vpc-{owner_id}{number}"),
        Kind::Subnet => format!("subnet-{owner_id}{number}"),
        Kind::SecurityGroup => format!("sg-{owner_id}{number}"),
        Kind::LaunchTemplate => format!("lt-{owner_id}{number}"),
        Kind::Image => format!("ami-{owner_id}{number}"),
        Kind::CapacityReservation => format!("cr-{owner_id}{number}"),
        Kind::PlacementGroup => format!("place-{owner_id}{number}"),
        Kind::ElasticIp => format!("eipalloc-{owner_id}{number}"),
        Kind::WorkloadPolicy | Kind::InlinePolicy => unreachable!("not generated"),
    }
}

/// A subnet's VPC has the same suffix.
fn vpc_of(subnet: &str) -> String {
    subnet.replace("subnet-", "vpc-")
}

fn id_of_any_owner(kind: Kind) -> impl Strategy<Value = String> {
    // The other tenant's resources are rarest, so that some specs are accepted.
    (prop_oneof![5 => Just("a"), 1 => Just("b"), 5 => Just("f")], 0usize..3)
        .prop_map(move |(owner_id, number)| id(kind, owner_id, number))
}

fn cluster_spec() -> impl Strategy<Value = Value> {
    let network = prop_oneof![
        2 => Just(json!({"vpc": {}})),
        2 => (id_of_any_owner(Kind::ElasticIp), option::weighted(0.3, vec(id_of_any_owner(Kind::SecurityGroup), 1..3)))
            .prop_map(|(address, groups)| json!({"vpc": {"natAddresses": [address], "securityGroupIds": groups}})),
        3 => (vec(id_of_any_owner(Kind::Subnet), 2..4), option::weighted(0.3, vec(id_of_any_owner(Kind::SecurityGroup), 1..3)))
            .prop_map(|(subnets, groups)| json!({"existing": {"subnetIds": subnets, "securityGroupIds": groups}})),
        1 => id_of_any_owner(Kind::Vpc)
            .prop_map(|vpc| json!({"existing": {"vpcId": vpc, "subnetSelector": {"tags": {"tier": "private"}}}})),
    ];
    let role = || option::weighted(0.3, id_of_any_owner(Kind::Role));
    (network, role(), role(), role(), option::weighted(0.2, id_of_any_owner(Kind::KmsKey))).prop_map(
        |(network, role, identity, addon, key)| {
            let identities = identity.map(|arn| json!({"namespace": "x", "serviceAccount": "y", "roleArn": arn}));
            json!({
                "region": "eu-west-1", "version": "1.34", "network": network, "roleArn": role,
                "podIdentities": identities.into_iter().collect::<Vec<_>>(),
                "addons": [{"name": "csi", "podIdentityRoleArn": addon}],
                "secretsEncryption": key.map(|arn| json!({"kmsKeyArn": arn})),
            })
        },
    )
}

fn node_group_spec() -> impl Strategy<Value = Value> {
    let template = option::weighted(0.2, id_of_any_owner(Kind::LaunchTemplate));
    let subnets = option::weighted(0.4, vec(id_of_any_owner(Kind::Subnet), 1..3));
    let policies = prop_oneof![4 => Just(Vec::new()), 1 => vec(id_of_any_owner(Kind::Policy), 1..2)];
    let of_node = |kind| option::weighted(0.2, id_of_any_owner(kind));
    let node = (of_node(Kind::Image), of_node(Kind::CapacityReservation), of_node(Kind::PlacementGroup)).prop_map(
        |(image, reservation, place)| json!({"imageId": image, "capacityReservationId": reservation, "placementGroup": place}),
    );
    (option::weighted(0.3, id_of_any_owner(Kind::Role)), subnets, template, policies, node).prop_map(
        |(role, ids, template, policies, node)| {
            json!({
                "clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}, "roleArn": role,
                "subnets": ids.map_or(json!({"tier": "Private"}), |ids| json!({"ids": ids})),
                "launchTemplate": template.map(|id| json!({"id": id})),
                "additionalRolePolicies": policies, "node": node,
            })
        },
    )
}

/// The allowlists of an account: resources outside Keelson, by id or by a pattern for all of them.
fn account() -> impl Strategy<Value = Value> {
    let list = |kind: Kind| {
        prop_oneof![
            1 => Just(Vec::new()),
            2 => vec((0usize..3).prop_map(move |number| id(kind, "f", number)), 1..3),
            3 => Just(vec![id(kind, "f", 0).replace("f0", "f*")]),
        ]
    };
    let vpcs = (list(Kind::Vpc), list(Kind::SecurityGroup), list(Kind::LaunchTemplate), list(Kind::ElasticIp));
    let owners = prop_oneof![Just(json!([])), Just(json!(["amazon"])), Just(json!(["amazon", GOLDEN]))];
    let node = (list(Kind::Image), list(Kind::CapacityReservation), list(Kind::PlacementGroup), owners);
    (list(Kind::Role), list(Kind::Policy), list(Kind::KmsKey), vpcs, node).prop_map(
        |(roles, policies, keys, ids, node)| {
            json!({
                "accountId": "123456789012",
                "allowedRoleArns": roles, "allowedPolicyArns": policies, "allowedKmsKeyArns": keys,
                "allowedVpcIds": ids.0, "allowedSecurityGroupIds": ids.1, "allowedLaunchTemplateIds": ids.2,
                "allowedElasticIpAllocationIds": ids.3,
                "allowedImageIds": node.0, "allowedCapacityReservationIds": node.1, "allowedPlacementGroups": node.2,
                "allowedImageOwners": node.3,
            })
        },
    )
}

/// What AWS reports for the tenant `a`.
fn made_by_a(subnets_to_look_up: &[String]) -> OwnedResources {
    let all = |kind: Kind| -> BTreeSet<String> { (0..3).map(|number| id(kind, "a", number)).collect() };
    OwnedResources {
        vpcs: all(Kind::Vpc),
        subnets: all(Kind::Subnet),
        security_groups: all(Kind::SecurityGroup),
        roles: all(Kind::Role),
        vpc_of_subnet: subnets_to_look_up.iter().map(|subnet| (subnet.clone(), vpc_of(subnet))).collect(),
        // Tenants share an account, so their images have one owner; the account of golden images shares its own.
        image_owners: ["a", "b"]
            .iter()
            .map(|tenant| (*tenant, "123456789012"))
            .chain([("f", GOLDEN)])
            .flat_map(|(of, account)| (0..3).map(move |number| (id(Kind::Image, of, number), image_owner(account))))
            .collect(),
    }
}

/// The account of golden images.
const GOLDEN: &str = "999999999999";

fn image_owner(account: &str) -> ImageOwner {
    ImageOwner { account: account.to_owned(), alias: None }
}

/// A second implementation of the rule: the name shows the owner.
fn is_allowed(kind: Kind, value: &str, account: &AwsAccountSpec) -> bool {
    let made_by_keelson = matches!(kind, Kind::Role | Kind::Vpc | Kind::Subnet | Kind::SecurityGroup);
    let (list, listed) = match kind {
        Kind::Role => (&account.allowed_role_arns, value.to_owned()),
        Kind::Policy => (&account.allowed_policy_arns, value.to_owned()),
        Kind::KmsKey => (&account.allowed_kms_key_arns, value.to_owned()),
        Kind::LaunchTemplate => (&account.allowed_launch_template_ids, value.to_owned()),
        Kind::ElasticIp => (&account.allowed_elastic_ip_allocation_ids, value.to_owned()),
        Kind::SecurityGroup => (&account.allowed_security_group_ids, value.to_owned()),
        Kind::Vpc => (&account.allowed_vpc_ids, value.to_owned()),
        Kind::Image => (&account.allowed_image_ids, value.to_owned()),
        Kind::CapacityReservation => (&account.allowed_capacity_reservation_ids, value.to_owned()),
        Kind::PlacementGroup => (&account.allowed_placement_groups, value.to_owned()),
        Kind::Subnet => (&account.allowed_vpc_ids, vpc_of(value)),
        Kind::WorkloadPolicy | Kind::InlinePolicy => unreachable!("not generated"),
    };
    let owner_id = OWNERS.iter().find(|owner_id| (0..3).any(|number| value == id(kind, owner_id, number)));
    match owner_id {
        Some(&"a") => made_by_keelson,
        Some(&"f") if kind == Kind::Image && account.allowed_image_owners.iter().any(|owner| owner == GOLDEN) => true,
        Some(&"f") => list.iter().any(|entry| *entry == listed || entry.ends_with("f*")),
        _ => false,
    }
}

fn owner(tenant: &str) -> Owner {
    Owner { uid: format!("uid-{tenant}"), cluster: format!("team-{tenant}/demo"), ..Owner::default() }
}

/// All attributes in a graph: names of the resources, and their contents.
fn facts(spec: &EksClusterSpec, tenant: &str) -> Vec<String> {
    let graph = expand::cluster(&ClusterInput {
        spec,
        cluster_name: "demo",
        owner: &owner(tenant),
        account: &AccountSettings::default(),
        zones: &["eu-west-1a".into(), "eu-west-1b".into(), "eu-west-1c".into()],
        missing_services: &std::collections::BTreeSet::new(),
        node_role: &NodeRole::default(),
        nodes: Nodes::Ready,
        node_groups_left: &[],
        owned: &[],
        tag_keys: &[],
        used_roles: &[],
        removes: None,
        volumes_since: None,
        instances_since: None,
        versions: &Versions::default(),
        intervals: Intervals::default(),
    });
    let nodes = graph.unwrap().nodes().to_vec();
    nodes.iter().flat_map(|node| node.facts().into_iter().map(|(_, value)| value)).collect()
}

fn decide(lists: &Allowlists, named: &[super::named::ResourceReference]) -> Result<(), Refusal> {
    let undecided = lists.check(named)?;
    lists.check_owned(&undecided, &made_by_a(&lists.subnets_to_look_up(&undecided)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_spec_may_refer_to_resources_of_another_tenant(
        of_cluster in cluster_spec(),
        of_group in node_group_spec(),
        account in account(),
    ) {
        let account: AwsAccountSpec = serde_json::from_value(account).unwrap();
        let lists = Allowlists::of("shared", &account, "team-a");
        let cluster: EksClusterSpec = serde_json::from_value(of_cluster).unwrap();
        let group: NodeGroupSpec = serde_json::from_value(of_group).unwrap();
        for named in [by_cluster(&cluster), by_node_group(&group)] {
            let allowed = named.iter().all(|one| is_allowed(one.kind, &one.value, &account));
            let decided = decide(&lists, &named);
            prop_assert_eq!(decided.is_ok(), allowed, "{:?} {:?} {:?}", named, decided, account);
        }
        if decide(&lists, &by_cluster(&cluster)).is_ok() {
            let kinds = [Kind::Role, Kind::KmsKey, Kind::Vpc, Kind::Subnet, Kind::SecurityGroup];
            let others: Vec<_> = kinds.iter().flat_map(|kind| (0..3).map(|n| id(*kind, "b", n))).collect();
            for fact in facts(&cluster, "a") {
                prop_assert!(!others.iter().any(|other| fact.contains(other)), "{fact}");
            }
        }
    }

    #[test]
    fn tenants_with_equal_specs_get_different_role_names(of_cluster in cluster_spec()) {
        let spec: EksClusterSpec = serde_json::from_value(of_cluster).unwrap();
        let role_names = |tenant| -> BTreeSet<String> {
            facts(&spec, tenant).into_iter().filter(|fact| fact.starts_with("keelson-")).collect()
        };
        let (a, b) = (role_names("a"), role_names("b"));
        prop_assert!(!a.is_empty() && a.is_disjoint(&b));
    }
}
