//! Tables of requirements and refusals. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::claims::{EKS, NodeLocations, Requirement, RequirementKind, Stage, of_cluster, of_node_group};
use super::own_network::AccountContext;
use super::refusal::{Fact, find_problem};
use crate::api::{EksClusterSpec, NodeGroupSpec};
use crate::aws::snapshots::named::{InstanceType, NamedRole, Template, TemplateRef};
use crate::aws::snapshots::{AddonOffer, AddonVersion};
use crate::resources::cloud::AccountSettings;
use crate::resources::graph::expand::ClusterView;

fn cluster_spec(more: Value) -> EksClusterSpec {
    let mut spec = json!({"region": "eu-west-1", "version": "1.34", "addons": []});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

fn account(boundary: &str) -> AccountSettings {
    AccountSettings { permissions_boundary: Some(boundary.to_owned()), ..AccountSettings::default() }
}

fn group_spec(more: Value) -> NodeGroupSpec {
    let mut spec = json!({"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

fn fields(requirements: &[Requirement]) -> Vec<&str> {
    requirements.iter().map(|requirement| requirement.field.as_str()).collect()
}

const EC2: &str = "ec2.amazonaws.com";
const ROLE: &str = "arn:aws:iam::123456789012:role/own";
const USER: &str = "arn:aws:iam::123456789012:user/ann";

fn around(settings: &AccountSettings) -> AccountContext<'_> {
    AccountContext { settings: Some(settings), ..AccountContext::default() }
}

#[test]
fn new_cluster_checks_all_references_and_edited_cluster_only_editable_ones() {
    let spec = cluster_spec(json!({
        "roleArn": ROLE,
        "network": {"existing": {"subnetIds": ["subnet-a", "subnet-b"], "vpcId": "vpc-a", "securityGroupIds": ["sg-a"]}},
        "addons": [{"name": "vpc-cni", "version": "v1", "serviceAccountRoleArn": ROLE}],
        "podIdentities": [{"namespace": "shop", "serviceAccount": "till", "roleArn": ROLE}],
        "access": {"entries": [{"principalArn": ROLE}, {"principalArn": USER}]},
    }));
    let edited = [
        "spec.network.existing.vpcId",
        "spec.network.existing.securityGroupIds",
        "spec.addons[vpc-cni]",
        "spec.addons[vpc-cni].serviceAccountRoleArn",
        "spec.podIdentities[shop/till].roleArn",
    ];
    // EKS keeps the entry of a deleted principal, so an edited cluster does not check principals.
    let principals = ["spec.access.entries[].principalArn"; 2];
    assert_eq!(fields(&of_cluster(&spec, Stage::Edited, around(&account("arn")))), edited);
    let settings = account("arn:aws:iam::123456789012:policy/boundary");
    let new = of_cluster(&spec, Stage::New, around(&settings));
    assert_eq!(fields(&new)[..3], ["spec.version", "spec.roleArn", "permissionsBoundaryArn of the AwsAccount"]);
    assert_eq!(fields(&new)[3..], [&edited[..], &principals].concat());
    let kubernetes = |stage, adoption: &str| {
        let spec = cluster_spec(json!({"adoptionPolicy": adoption, "addons": [{"name": "coredns"}]}));
        let requirements = of_cluster(&spec, stage, AccountContext::default());
        requirements.iter().find_map(|requirement| match &requirement.kind {
            RequirementKind::Addon { kubernetes, .. } => kubernetes.clone(),
            _ => None,
        })
    };
    assert_eq!(kubernetes(Stage::New, "Refuse").as_deref(), Some("1.34"));
    assert_eq!(kubernetes(Stage::New, "Adopt"), None, "the cluster has another version");
    assert_eq!(kubernetes(Stage::Edited, "Refuse"), None, "the upgrade decides");
}

#[test]
fn new_node_group_checks_all_references_and_edited_group_only_editable_ones() {
    let spec = group_spec(json!({
        "roleArn": ROLE, "amiType": "AL2_x86_64", "launchTemplate": {"id": "lt-1"}, "subnets": {"ids": ["subnet-a"]},
    }));
    let view = ClusterView::default();
    let cluster = cluster_spec(json!({}));
    let new = of_node_group(&spec, Stage::New, &cluster, &view);
    let of_template = ["spec.launchTemplate", "spec.instanceTypes"];
    let all = [
        &["spec.launchTemplate", "spec.amiType", "spec.roleArn", "spec.subnets.ids", "spec.subnets"][..],
        &of_template,
    ];
    assert_eq!(fields(&new), all.concat());
    let RequirementKind::Instances { locations, .. } = &new[6].kind else { panic!("{:?}", new[6]) };
    assert_eq!(*locations, NodeLocations::Subnets(vec!["subnet-a".into()]));
    assert_eq!(fields(&of_node_group(&spec, Stage::Edited, &cluster, &view)), ["spec.launchTemplate"]);
    let china =
        of_node_group(&spec, Stage::New, &EksClusterSpec { region: "cn-north-1".into(), ..cluster.clone() }, &view);
    let RequirementKind::Role { service, .. } = &china[2].kind else { panic!("{:?}", china[2]) };
    assert_eq!(*service, Some("ec2.amazonaws.com.cn"));
    // Its own version is editable.
    let spec = group_spec(json!({"amiType": "AL2_x86_64", "version": "1.33", "additionalRolePolicies": ["arn:p"]}));
    let edited = of_node_group(&spec, Stage::Edited, &cluster, &view);
    assert_eq!(fields(&edited), ["spec.additionalRolePolicies", "spec.amiType"]);
}

fn instance(name: &str, architecture: &str, makers: &[&str], zones: &[&str]) -> InstanceType {
    let set = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>();
    InstanceType {
        vcpus: 2,
        efa_cards: i32::from(name.starts_with("g5")),
        name: name.into(),
        architectures: set(&[architecture]),
        accelerators: set(makers),
        zones: set(zones),
    }
}

/// Types, AMI type, zones of the subnets, and the fragments of the refusal; none if accepted.
#[test]
fn unavailable_and_incompatible_instance_types_are_rejected() {
    let offered = vec![
        instance("m7i.large", "x86_64", &[], &["eu-west-1a", "eu-west-1b"]),
        instance("m7i.xlarge", "x86_64", &[], &["eu-west-1a", "eu-west-1b"]),
        instance("m7g.large", "arm64", &[], &["eu-west-1a"]),
        instance("g5.xlarge", "x86_64", &["NVIDIA"], &["eu-west-1b"]),
        instance("inf2.xlarge", "x86_64", &["AWS"], &["eu-west-1b"]),
    ];
    /// Instance types, AMI type, zones, and the fragments of the refusal.
    type Row<'a> = (&'a [&'a str], Option<&'a str>, &'a [&'a str], &'a [&'a str]);
    let table: [Row<'_>; 16] = [
        (&["m7i.large"], None, &["eu-west-1a"], &[]),
        (&["m7i.large"], None, &[], &[]),
        (&["m7i.lrge"], None, &[], &["no instance type m7i.lrge in eu-west-1", "m7i.large, m7i.xlarge"]),
        (&["m7i.large", "z9.huge"], None, &[], &["no instance type z9.huge", "none of family z9"]),
        (&["m7g.large"], None, &[], &["m7g.large is arm64", "AL2023_x86_64_STANDARD", "AMI type for arm64"]),
        (&["m7g.large"], Some("AL2023_ARM_64_STANDARD"), &["eu-west-1a"], &[]),
        (&["m7i.large"], Some("AL2023_ARM_64_STANDARD"), &[], &["m7i.large is x86_64", "types of arm64"]),
        (&["m7i.large", "m7g.large"], None, &[], &["m7g.large is arm64"]),
        (&["m7i.large"], Some("AL2023_x86_64_NVIDIA"), &[], &["no accelerator", "Nvidia"]),
        (&["g5.xlarge"], Some("AL2023_x86_64_NVIDIA"), &["eu-west-1b"], &[]),
        (&["inf2.xlarge"], Some("AL2023_x86_64_NEURON"), &[], &[]),
        (&["inf2.xlarge"], Some("AL2_x86_64_GPU"), &[], &[]),
        (&["g5.xlarge"], None, &["eu-west-1a"], &["does not offer g5.xlarge in eu-west-1a", "in eu-west-1b"]),
        (&["g5.xlarge"], None, &["eu-west-1a", "eu-west-1b"], &["does not offer g5.xlarge in eu-west-1a,"]),
        // One offered type is enough.
        (&["g5.xlarge", "m7i.large"], None, &["eu-west-1a"], &[]),
        (&["m7g.large"], Some("CUSTOM"), &[], &[]),
    ];
    for (types, ami_type, zones, expected) in table {
        let strings = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let (types, ami_type) = (strings(types), ami_type.map(str::to_owned));
        let kind = instances(types, ami_type);
        let requirement = Requirement { field: "spec.instanceTypes".into(), kind };
        let zones = strings(zones).into_iter().collect();
        let fact = Fact::Instances { offered: offered.clone(), zones, has_image: false };
        check(&requirement, &fact, expected);
    }
    // The template or the spec sets the AMI.
    let fact = Fact::Instances { offered, zones: BTreeSet::new(), has_image: true };
    let field = || "spec.instanceTypes".to_owned();
    check(&Requirement { field: field(), kind: instances(vec!["m7g.large".into()], None) }, &fact, &[]);
    for (name, expected) in [("g5.xlarge", &[][..]), ("m7g.large", &["m7g.large takes no Elastic Fabric Adapter"])] {
        let kind = RequirementKind::Instances {
            types: vec![name.into()],
            ami_type: None,
            locations: NodeLocations::Unknown,
            template: None,
            has_image: true,
            efa: true,
        };
        check(&Requirement { field: field(), kind }, &fact, expected);
    }
}

fn instances(types: Vec<String>, ami_type: Option<String>) -> RequirementKind {
    let (locations, template) = (NodeLocations::Unknown, None);
    RequirementKind::Instances { types, ami_type, locations, template, has_image: false, efa: false }
}

#[test]
fn groups_and_keys_of_the_launch_template_are_checked_also_after_an_edit() {
    let key = "arn:aws:kms:eu-central-1:123456789012:key/1";
    let spec = group_spec(json!({"node": {
        "imageId": "ami-1", "userData": "x", "securityGroupIds": ["sg-1"], "volumes": [{"deviceName": "/dev/xvda", "kmsKeyArn": key}],
    }}));
    let cluster: EksClusterSpec = serde_json::from_value(json!({"region": "eu-west-1", "version": "1.34"})).unwrap();
    let edited = of_node_group(&spec, Stage::Edited, &cluster, &ClusterView::default());
    assert_eq!(fields(&edited), ["spec.node.securityGroupIds", "spec.node.volumes[/dev/xvda].kmsKeyArn"]);
    check(&edited[1], &Fact::Unknown, &["the KMS key is in eu-central-1, and the cluster in eu-west-1"]);
    // An AMI of the spec needs no check of its type.
    let new = of_node_group(&spec, Stage::New, &cluster, &ClusterView::default());
    assert!(!fields(&new).contains(&"spec.launchTemplate"), "{:?}", fields(&new));
}

#[test]
fn subnets_where_nodes_cannot_join_or_do_not_fit_are_refused() {
    use crate::aws::snapshots::{
        RouteTable, Subnet, Zone, catalogue::OptedIn, network_attributes::RouteTableAssociation,
    };
    use crate::aws::tags::Tags;
    use crate::resources::network::existing_subnets::Network;
    let subnet = |free_addresses| Subnet {
        id: "subnet-a".into(),
        vpc_id: "vpc-a".into(),
        state: None,
        zone: "z".into(),
        zone_id: String::new(),
        cidr: String::new(),
        ipv6_cidrs: Vec::new(),
        free_addresses,
        map_public_ip_on_launch: false,
        assign_ipv6_address_on_creation: false,
        on_outpost: false,
        tags: Tags::new(),
    };
    let main = RouteTableAssociation { id: String::new(), subnet_id: None, main: true, state: None };
    let (vpc_id, routes, associations) = ("vpc-a".into(), Vec::new(), vec![main]);
    let isolated = RouteTable { id: "rtb".into(), vpc_id, routes, associations, tags: Tags::new() };
    let network = |free, tables: Option<Vec<RouteTable>>| Network {
        subnets: vec![subnet(free)],
        tables,
        endpoints: Some(Vec::new()),
        ..Network::default()
    };
    let of = |nodes, has_template, network: Network, expected: &[&str]| {
        let kind = RequirementKind::NodeSubnets {
            subnets: vec!["subnet-a".into()],
            private_access: true,
            nodes,
            has_template,
        };
        check(&Requirement { field: "spec.subnets".into(), kind }, &Fact::Network(network), expected);
    };
    of(2, false, network(9, None), &[]);
    of(10, false, network(9, None), &["10 nodes do not fit into subnet-a, with 9 free addresses"]);
    of(2, false, network(9, Some(vec![isolated.clone()])), &["subnet-a has no route out", "ec2, ecr.api, ecr.dkr, s3"]);
    of(2, true, network(9, Some(vec![isolated])), &[]);
    let zone = Zone {
        name: "z".into(),
        id: "z-wl".into(),
        state: None,
        kind: "wavelength-zone".into(),
        opted_in: OptedIn::Yes,
    };
    let edge = Network { zones: [("z".to_owned(), zone)].into(), ..network(9, None) };
    of(2, true, edge, &["in a Wavelength Zone"]);
}

#[test]
fn fargate_profiles_need_a_role_that_fargate_assumes_and_private_subnets() {
    let spec = cluster_spec(json!({"fargateProfiles": [{
        "name": "jobs", "selectors": [{"namespace": "jobs"}], "podExecutionRoleArn": "arn:aws:iam::123456789012:role/pods",
        "subnetIds": ["subnet-1"],
    }]}));
    let found = of_cluster(&spec, Stage::Edited, AccountContext::default());
    let fields: Vec<_> = found.iter().map(|one| one.field.as_str()).collect();
    let [role, subnets] = ["podExecutionRoleArn", "subnetIds"].map(|name| format!("spec.fargateProfiles[jobs].{name}"));
    assert_eq!(fields, [role.as_str(), subnets.as_str(), subnets.as_str()]);
    let kinds = [
        RequirementKind::Role {
            arn: "arn:aws:iam::123456789012:role/pods".into(),
            service: Some("eks-fargate-pods.amazonaws.com"),
        },
        RequirementKind::Subnets(vec!["subnet-1".into()]),
        RequirementKind::PrivateSubnets(vec!["subnet-1".into()]),
    ];
    assert_eq!(found.into_iter().map(|one| one.kind).collect::<Vec<_>>(), kinds);
}

#[test]
fn template_with_an_ami_excludes_other_fields_about_amis() {
    let of = |has_image: Option<bool>, ami_type: Option<&str>, release: Option<&str>, expected: &[&str]| {
        let template = has_image.map(|_| (TemplateRef::Id("lt-1".to_owned()), "1".to_owned()));
        let (ami_type, release) = (ami_type.map(str::to_owned), release.map(str::to_owned));
        let kind = RequirementKind::OwnImage { template, ami_type, release };
        let found =
            |has_image| Fact::Template(Template::Found { id: "lt-1".into(), has_image, has_instance_type: false });
        let fact = has_image.map_or(Fact::Unknown, found);
        check(&Requirement { field: "spec.launchTemplate".into(), kind }, &fact, expected);
    };
    of(None, None, None, &[]);
    of(Some(true), Some("CUSTOM"), None, &[]);
    of(Some(false), Some("AL2023_x86_64_STANDARD"), Some("1.34.1-20261101"), &[]);
    of(Some(true), Some("AL2023_x86_64_STANDARD"), None, &["amiType is AL2023_x86_64_STANDARD", "a new NodeGroup"]);
    of(Some(true), None, Some("1.34.1-20261101"), &["releaseVersion is 1.34.1-20261101"]);
    of(Some(false), Some("CUSTOM"), None, &["no launch template names an AMI"]);
    of(None, Some("CUSTOM"), None, &["no launch template names an AMI"]);
}

#[track_caller]
fn check(requirement: &Requirement, fact: &Fact, expected: &[&str]) {
    match find_problem(requirement, fact, "eu-west-1") {
        None => assert!(expected.is_empty(), "{requirement:?} is not refused"),
        Some(message) => {
            assert!(!expected.is_empty(), "{requirement:?}: {message}");
            assert!(message.starts_with(&format!("{}: ", requirement.field)), "{message}");
            for words in expected {
                assert!(message.contains(words), "{words:?} is not in {message:?}");
            }
        }
    }
}

fn trusting(service: &str) -> NamedRole {
    let trust_policy =
        json!({"Statement": {"Effect": "Allow", "Principal": {"Service": [service]}, "Action": "sts:AssumeRole"}});
    NamedRole { arn: ROLE.into(), trust_policy: trust_policy.to_string() }
}

#[test]
fn missing_resources_are_rejected_and_unknown_ones_are_not() {
    let requirement = |kind| Requirement { field: "spec.x".to_owned(), kind };
    let role = |service| requirement(RequirementKind::Role { arn: ROLE.into(), service });
    let moved = NamedRole { arn: ROLE.replace("role/own", "role/team/own"), ..trusting(EKS) };
    let unreadable = NamedRole { trust_policy: "?".into(), ..trusting(EKS) };
    let user = requirement(RequirementKind::User(USER.into()));
    let policy = requirement(RequirementKind::Policy("arn:aws:iam::aws:policy/X".into()));
    let groups =
        requirement(RequirementKind::SecurityGroups { ids: vec!["sg-a".into()], vpc: None, subnets: Vec::new() });
    let in_vpc = |ids: &[&str]| Fact::SecurityGroups {
        vpc: "vpc-a".into(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
    };
    let template = requirement(RequirementKind::Template { id: TemplateRef::Id("lt-1".into()), version: "9".into() });
    let found = Template::Found { id: "lt-1".into(), has_image: false, has_instance_type: false };
    let version = requirement(RequirementKind::Version("1.63".into()));
    let table: [(&Requirement, Fact, &[&str]); 19] = [
        (&role(None), Fact::Role(None), &["IAM role", ROLE]),
        (&role(None), Fact::Role(Some(trusting(EC2))), &[]),
        (&role(Some(EKS)), Fact::Role(Some(trusting(EKS))), &[]),
        (&role(Some(EKS)), Fact::Role(Some(trusting("eks.amazonaws.com.cn"))), &[]),
        (&role(Some(EKS)), Fact::Role(Some(trusting("pods.eks.amazonaws.com"))), &["trust policy", EKS]),
        (&role(Some(EC2)), Fact::Role(Some(trusting(EKS))), &["trust policy", EC2]),
        (&role(Some(EKS)), Fact::Role(Some(moved)), &["role/team/own"]),
        (&role(Some(EC2)), Fact::Role(Some(unreadable)), &[]),
        (&role(Some(EC2)), Fact::Unknown, &[]),
        (&user, Fact::User(None), &["IAM user", USER]),
        (&user, Fact::User(Some(USER.into())), &[]),
        (&policy, Fact::Policy(false), &["IAM policy arn:aws:iam::aws:policy/X does not exist"]),
        (&policy, Fact::Policy(true), &[]),
        (&groups, in_vpc(&[]), &["security group sg-a does not exist in vpc-a"]),
        (&groups, in_vpc(&["sg-a"]), &[]),
        (&template, Fact::Template(Template::Missing("EC2 says no".into())), &["version 9", "lt-1", "EC2 says no"]),
        (&template, Fact::Template(found), &[]),
        (
            &version,
            Fact::Versions(vec!["1.35".into(), "1.34".into()]),
            &["does not offer Kubernetes 1.63", "1.35, 1.34"],
        ),
        (&version, Fact::Versions(Vec::new()), &[]),
    ];
    for (requirement, fact, expected) in table {
        check(requirement, &fact, expected);
    }
}

#[test]
fn addons_and_ami_types_must_support_the_kubernetes_version() {
    let offer = |version: &str, on: &str| AddonOffer {
        info: AddonVersion {
            version: version.into(),
            default: false,
            requires_configuration: false,
            requires_iam_permissions: false,
            compute_types: Vec::new(),
        },
        runs_on: vec![(on.to_owned(), false)],
    };
    let offers = || Fact::Addon(Arc::new(vec![offer("v1.9", "1.33"), offer("v1.10", "1.34"), offer("v1.11", "1.34")]));
    let addon = |version: Option<&str>, kubernetes: Option<&str>| Requirement {
        field: "spec.addons[vpc-cni]".into(),
        kind: RequirementKind::Addon {
            name: "vpc-cni".into(),
            version: version.map(str::to_owned),
            kubernetes: kubernetes.map(str::to_owned),
        },
    };
    check(&addon(None, Some("1.34")), &Fact::Addon(Arc::default()), &["no add-on vpc-cni in eu-west-1"]);
    check(&addon(None, Some("1.34")), &offers(), &[]);
    check(&addon(None, Some("1.36")), &offers(), &["no version of add-on vpc-cni for Kubernetes 1.36"]);
    check(&addon(Some("v1.10"), Some("1.34")), &offers(), &[]);
    check(&addon(Some("v1.9"), Some("1.34")), &offers(), &["v1.9", "for Kubernetes 1.34", "v1.11, v1.10"]);
    check(&addon(Some("v1.9"), None), &offers(), &[]);
    check(&addon(Some("v9"), None), &offers(), &["no version v9", "v1.11, v1.10, v1.9"]);
    let ami = |name: &str, kubernetes: &str| Requirement {
        field: "spec.amiType".into(),
        kind: RequirementKind::AmiType { name: name.into(), kubernetes: kubernetes.into() },
    };
    check(&ami("AL2_x86_64", "1.32"), &Fact::Unknown, &[]);
    check(
        &ami("AL2_x86_64", "1.33"),
        &Fact::Unknown,
        &["AL2_x86_64", "1.33", "the last supported version is 1.32", "AL2023_x86_64_STANDARD"],
    );
    check(&ami("AL2_ARM_64", "1.34"), &Fact::Unknown, &["AL2023_ARM_64_STANDARD"]);
    check(&ami("AL2023_x86_64", "1.34"), &Fact::Unknown, &["no AMI type AL2023_x86_64;", "BOTTLEROCKET_x86_64"]);
    check(&ami("CUSTOM", "1.34"), &Fact::Unknown, &[]);
}
