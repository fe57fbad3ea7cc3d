//! The cluster's network: its own VPC, or existing subnets. No I/O.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SpecError;
use super::flow_logs::FlowLogs;
use super::rules;
use super::schema;

/// Exactly one of `vpc`, `existing`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one_of(&["vpc", "existing"]))]
#[x_kube(validation = rules::network_kind_immutable())]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// A VPC that is created for this cluster and deleted with it. It cannot be added or removed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<Vpc>,
    /// Existing subnets. Keelson creates and changes nothing in their network; a deletion takes only what controllers of
    /// this cluster left there and marked as theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<ExistingNetwork>,
}

/// The kind of a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NetworkKind<'a> {
    Vpc(&'a Vpc),
    Existing(&'a ExistingNetwork),
}

impl Network {
    /// The one member that is set.
    pub fn kind(&self) -> Result<NetworkKind<'_>, SpecError> {
        match (&self.vpc, &self.existing) {
            (Some(vpc), None) => Ok(NetworkKind::Vpc(vpc)),
            (None, Some(existing)) => Ok(NetworkKind::Existing(existing)),
            _ => Err(SpecError::new("spec.network", "exactly one of vpc, existing must be set")),
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self { vpc: Some(Vpc::default()), existing: None }
    }
}

/// The cluster's own VPC.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::zones_or_count())]
#[x_kube(validation = rules::zones_immutable())]
#[x_kube(validation = rules::nat_needs_public_subnets())]
#[x_kube(validation = rules::address_for_each_nat_gateway())]
#[x_kube(validation = rules::pod_ranges_outside_vpc())]
#[x_kube(validation = rules::pod_ranges_that_ec2_adds())]
#[serde(rename_all = "camelCase")]
pub struct Vpc {
    /// IPv4 range of the VPC, a /16 to a /24, which is divided into the subnets. Immutable.
    #[serde(default = "default_cidr")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = rules::vpc_cidr())]
    #[x_kube(validation = rules::immutable("the VPC's range cannot change: put the old one back, or create a new EksCluster with the other value, move the workloads, and delete this one"))]
    pub cidr: String,
    /// Number of availability zones with subnets, 2 to 6. With `zones`, leave it out. Immutable.
    #[serde(default = "default_zone_count")]
    #[schemars(schema_with = "schema::small_number")]
    #[x_kube(validation = rules::zone_count())]
    pub zone_count: u8,
    /// The availability zones by name, such as `eu-west-1a`, instead of a count. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6), inner(length(max = 32)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules::zones())]
    #[x_kube(validation = rules::two_zones())]
    #[x_kube(validation = rules::unique())]
    pub zones: Option<Vec<String>>,
    /// NAT gateways for the private subnets: `Single` (one for all zones), `PerZone` (one in each: no cross-zone
    /// traffic, and a failed zone does not affect the others) or `None`. Gateways that are no longer desired are
    /// deleted with their addresses and routes.
    #[serde(default)]
    pub nat: Nat,
    /// Allocation ids of existing Elastic IP addresses for the NAT gateways, one for each: for `Single` one, for `PerZone` one for each
    /// zone, in the order of the zones' names. Absent: Keelson allocates them. Keelson never releases or changes an address that is
    /// listed here. A NAT gateway keeps its address: to change it, set `nat: None` first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 6), inner(length(max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules::allocation_ids())]
    #[x_kube(validation = rules::unique())]
    pub nat_addresses: Vec<String>,
    /// Creates public subnets for load balancers, NAT gateways and public nodes. It can be enabled later, but not
    /// disabled.
    #[serde(default = "schema::default_true")]
    #[x_kube(validation = rules::public_subnets_not_removed())]
    pub public_subnets: bool,
    /// VPC endpoints by short service name, such as `s3`, `dynamodb` (gateway) or `ecr.api`, `sts` (interface). `private` stands for
    /// those of a cluster without internet access: `autoscaling`, `ec2`, `ecr.api`, `ecr.dkr`, `eks`, `eks-auth`,
    /// `elasticloadbalancing`, `logs`, `s3`, `ssm`, `sts`, without those that the region does not have. Endpoints that Keelson created are deleted when they are no longer listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 40), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::aws_names())]
    pub endpoints: Vec<String>,
    /// Further IPv4 ranges of the VPC for Pods, each a /16 to a /24, with a subnet for Pods in each zone. EC2 adds ranges of 100.64.0.0/10
    /// or public ones to any VPC, and private ones only beside a `cidr` of the same private range. The subnets have the tag
    /// `kubernetes.io/role/cni`, by which the VPC CNI finds them. Ranges can be added later, but not removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), inner(length(max = 18)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::pod_cidrs())]
    pub pod_cidrs: Vec<String>,
    /// Additional security groups of the control plane's network interfaces; absent: not managed. They must be in the VPC that Keelson
    /// creates, so they can be listed once `status.network.vpcId` is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::security_group_ids())]
    pub security_group_ids: Option<Vec<String>>,
    /// Flow logs of the VPC. EC2 cannot change a flow log: with other settings a new one is created and the earlier one deleted, in the
    /// other order if both have the same destination. Without this field, the flow log that Keelson created is deleted; what it
    /// recorded stays where it was delivered to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_logs: Option<FlowLogs>,
}

fn default_cidr() -> String {
    "10.0.0.0/16".to_owned()
}

fn default_zone_count() -> u8 {
    3
}

impl Default for Vpc {
    fn default() -> Self {
        Self {
            cidr: default_cidr(),
            zone_count: default_zone_count(),
            zones: None,
            nat: Nat::default(),
            public_subnets: true,
            nat_addresses: Vec::new(),
            endpoints: Vec::new(),
            pod_cidrs: Vec::new(),
            security_group_ids: None,
            flow_logs: None,
        }
    }
}

/// How availability zones are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zones<'a> {
    /// This many; Keelson selects them.
    Count(u8),
    /// These.
    Named(&'a [String]),
}

impl Vpc {
    /// The named zones, or the number of zones.
    pub fn zones(&self) -> Zones<'_> {
        match &self.zones {
            Some(names) => Zones::Named(names),
            None => Zones::Count(self.zone_count),
        }
    }
}

/// NAT gateways of a VPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Nat {
    #[default]
    Single,
    PerZone,
    None,
}

/// Existing subnets: exactly one of `subnetIds`, `subnetSelector`, `subnets`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one_of(&["subnetIds", "subnetSelector", "subnets"]))]
#[x_kube(validation = rules::selector_needs_vpc())]
#[x_kube(validation = rules::vpc_id_immutable())]
#[serde(rename_all = "camelCase")]
pub struct ExistingNetwork {
    /// The VPC of the subnets. Required with `subnetSelector` and `subnets`; with `subnetIds` it is checked. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = rules::vpc_id())]
    pub vpc_id: Option<String>,
    /// Ids of the subnets, in at least two availability zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::subnet_ids())]
    #[x_kube(validation = rules::two_subnets())]
    pub subnet_ids: Option<Vec<String>>,
    /// Selects subnets of `vpcId` by tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_selector: Option<SubnetSelector>,
    /// Subnets of `vpcId`, each by its id, its range or its zone, in at least two availability zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules::two_subnets())]
    pub subnets: Option<Vec<SubnetReference>>,
    /// Additional security groups of the control plane's network interfaces; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::security_group_ids())]
    pub security_group_ids: Option<Vec<String>>,
}

/// Selects subnets by tags.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubnetSelector {
    /// Tags and values that a subnet must all have.
    #[schemars(schema_with = "schema::tag_selector")]
    #[x_kube(validation = rules::tag_keys())]
    #[x_kube(validation = rules::tag_values())]
    pub tags: BTreeMap<String, String>,
}

/// One subnet of a VPC: exactly one of `id`, `cidr`, `zone`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one_of(&["id", "cidr", "zone"]))]
#[serde(rename_all = "camelCase")]
pub struct SubnetReference {
    /// Id of the subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = rules::subnet_id())]
    pub id: Option<String>,
    /// IPv4 range of the subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = rules::subnet_range())]
    pub cidr: Option<String>,
    /// The availability zone in which it is the only subnet of the VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = rules::zone())]
    pub zone: Option<String>,
}

/// How existing subnets are specified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingSubnets<'a> {
    Ids(&'a [String]),
    Tagged { vpc_id: &'a str, tags: &'a BTreeMap<String, String> },
    Listed { vpc_id: &'a str, subnets: &'a [SubnetReference] },
}

impl ExistingNetwork {
    /// The subnets' ids, the tags that select them, or what identifies each.
    pub fn subnets(&self) -> Result<ExistingSubnets<'_>, SpecError> {
        match (&self.subnet_ids, &self.subnet_selector, &self.subnets, &self.vpc_id) {
            (Some(ids), None, None, _) => Ok(ExistingSubnets::Ids(ids)),
            (None, Some(selector), None, Some(vpc_id)) => Ok(ExistingSubnets::Tagged { vpc_id, tags: &selector.tags }),
            (None, None, Some(subnets), Some(vpc_id)) => Ok(ExistingSubnets::Listed { vpc_id, subnets }),
            _ => Err(SpecError::new(
                "spec.network.existing",
                "exactly one of subnetIds, subnetSelector, subnets must be set, and vpcId with subnetSelector and subnets",
            )),
        }
    }
}

/// Addresses of Pods and Services.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::service_cidr_is_ipv4())]
#[x_kube(validation = rules::immutable_member("serviceCidr", "the range of Services cannot change: put the old one back, or create a new EksCluster with the other value, move the workloads, and delete this one"))]
#[serde(rename_all = "camelCase")]
pub struct KubernetesNetwork {
    /// Address family of Pods and Services: `IPv4` or `IPv6`. With IPv6, a VPC that Keelson creates gets a range of Amazon's and an
    /// egress-only internet gateway, and the role that it creates for nodes may assign such addresses; subnets of an existing network
    /// must have IPv6 ranges, and the role of nodes that has a `roleArn` must permit it. Immutable.
    #[serde(default)]
    #[x_kube(validation = rules::immutable("the address family cannot change: put the old one back, or create a new EksCluster with the other value, move the workloads, and delete this one"))]
    pub ip_family: IpFamily,
    /// IPv4 range of Services, a /12 to a /24 inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, outside the VPC's
    /// range; absent: EKS chooses. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18))]
    #[x_kube(validation = rules::service_cidr())]
    pub service_cidr: Option<String>,
}

/// Address family of Pods and Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum IpFamily {
    #[default]
    IPv4,
    IPv6,
}
