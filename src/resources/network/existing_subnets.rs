//! Judges subnets that the user provides as EKS, nodes and load balancers judge them. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html> and, for subnets without a route out,
//! <https://docs.aws.amazon.com/eks/latest/userguide/private-clusters.html>.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::listing::{first_and_count, first_few};
use crate::api::network::SubnetReference;
use crate::aws::snapshots::network_attributes::RouteState;
use crate::aws::snapshots::{RouteTable, RouteTarget, Subnet, VpcDns, VpcEndpoint, Zone};
use crate::resources::eks::control_plane_zones::{MIN_ZONES, why_unsuitable};

/// The addresses that EKS needs in each subnet of a new cluster, and those that AWS recommends.
const MIN_ADDRESSES: i32 = 6;
const RECOMMENDED_ADDRESSES: i32 = 16;
/// Without a route out, nodes need endpoints of these services to join, and Pods of some of the others.
const NODES_NEED: [&str; 4] = ["ec2", "ecr.api", "ecr.dkr", "s3"];
const PODS_MAY_NEED: [&str; 6] = ["eks", "eks-auth", "elasticloadbalancing", "logs", "ssm", "sts"];
/// Most subnets named in a message.
const MAX_NAMED: usize = 6;

/// Where the routes of a subnet lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// To an internet gateway.
    Public,
    /// Out of the VPC by a NAT gateway, a transit gateway and the like.
    Private,
    /// Nowhere but inside the VPC.
    Isolated,
    /// Its routes may not be read.
    Unknown,
}

/// What was read of the subnets of a spec.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Those that exist.
    pub subnets: Vec<Subnet>,
    /// The ids that the spec lists; empty if it selects by tags.
    pub requested: Vec<String>,
    /// Whether the spec lists each by its id, range or zone.
    pub is_listed: bool,
    /// Why a range or a zone in that list is no single subnet.
    pub unresolved: Vec<String>,
    /// The zones of the region, by name.
    pub zones: BTreeMap<String, Zone>,
    /// The route tables of the VPC; `None`: they may not be read. The same for the others.
    pub tables: Option<Vec<RouteTable>>,
    /// The endpoints of the VPC.
    pub endpoints: Option<Vec<VpcEndpoint>>,
    /// Its DNS attributes.
    pub dns: Option<VpcDns>,
    /// Whether nodes reach the Kubernetes API inside the VPC.
    pub private_access: bool,
}

impl Network {
    /// Whether the subnets are selected by tags.
    pub fn is_selected(&self) -> bool {
        self.requested.is_empty() && !self.is_listed
    }

    /// The subnets that the list `wanted` refers to, of those of the VPC. `have`: those that the cluster has. If one of them
    /// is the only such one of several, as others added a subnet, it remains; that the list is ambiguous is reported.
    pub fn of_list(vpc_id: &str, all: &[Subnet], wanted: &[SubnetReference], have: &BTreeSet<&str>) -> Self {
        let mut network = Self { is_listed: true, ..Self::default() };
        for one in wanted {
            let SubnetReference { id, cidr, zone } = one;
            if let Some(id) = id {
                network.requested.push(id.clone());
                network.subnets.extend(all.iter().find(|subnet| subnet.id == *id).cloned());
                continue;
            }
            let is_it = |subnet: &&Subnet| {
                cidr.as_ref().is_none_or(|cidr| subnet.cidr == *cidr)
                    && zone.as_ref().is_none_or(|zone| subnet.zone == *zone)
            };
            let what = match (cidr, zone) {
                (Some(cidr), _) => format!("of {cidr}"),
                (None, Some(zone)) => format!("in {zone}"),
                (None, None) => continue,
            };
            match all.iter().filter(is_it).collect::<Vec<_>>()[..] {
                [subnet] => {
                    network.requested.push(subnet.id.clone());
                    network.subnets.push(subnet.clone());
                }
                [] => {
                    network.unresolved.push(format!("{vpc_id} has no subnet {what}: correct it, or name another one"))
                }
                ref several => {
                    let mut of_cluster = several.iter().filter(|subnet| have.contains(subnet.id.as_str()));
                    if let (Some(subnet), None) = (of_cluster.next(), of_cluster.next()) {
                        network.subnets.push((*subnet).clone());
                    }
                    let several = first_few(several.iter().map(|subnet| &subnet.id), MAX_NAMED);
                    let why =
                        format!("{vpc_id} has several subnets {what} ({several}): name one by its id or its cidr");
                    network.unresolved.push(why);
                }
            }
        }
        let mut seen = BTreeSet::new();
        network.subnets.retain(|subnet| seen.insert(subnet.id.clone()));
        network
    }

    /// Listed ids that do not exist.
    pub fn missing(&self) -> Vec<String> {
        let exists = |id: &&String| self.subnets.iter().any(|subnet| subnet.id == **id);
        self.requested.iter().filter(|id| !exists(id)).cloned().collect()
    }

    /// Why EKS takes no control plane in a subnet, if so.
    pub fn why_unsuitable(&self, subnet: &Subnet) -> Option<String> {
        if subnet.on_outpost {
            return Some(format!("{} is on an Outpost", subnet.id));
        }
        let why = why_unsuitable(self.zones.get(&subnet.zone)?)?;
        Some(format!("{} is in {} ({why})", subnet.id, subnet.zone))
    }

    /// Whether a subnet is at the edge of a mobile network, where EKS has no node groups.
    pub fn is_in_wavelength_zone(&self, subnet: &Subnet) -> bool {
        self.zones.get(&subnet.zone).is_some_and(|zone| zone.kind == "wavelength-zone")
    }

    /// Those where EKS takes a control plane.
    pub fn suitable(&self) -> Vec<&Subnet> {
        self.subnets.iter().filter(|subnet| self.why_unsuitable(subnet).is_none()).collect()
    }

    /// Where the routes of a subnet lead: by its own route table, otherwise by the VPC's main one.
    pub fn routing(&self, subnet: &Subnet) -> Routing {
        let Some(tables) = &self.tables else { return Routing::Unknown };
        let Some(table) = table_of(tables, subnet) else { return Routing::Unknown };
        let live = || table.routes.iter().filter(|route| route.state != Some(RouteState::Blackhole));
        if live().any(|route| matches!(route.target, RouteTarget::InternetGateway(_))) {
            return Routing::Public;
        }
        // A firewall's endpoint is a target of the default route, too; that of S3 and DynamoDB is a prefix list.
        let leads_out = live().any(|route| {
            route.target != RouteTarget::Local
                && matches!(route.destination.as_str(), "0.0.0.0/0" | "0.0.0.0/1" | "::/0")
        });
        if leads_out { Routing::Private } else { Routing::Isolated }
    }

    /// Whether instances in a subnet get public addresses from the internet's side: by its routes, as EKS, Fargate and load
    /// balancers judge.
    pub fn is_public(&self, subnet: &Subnet) -> bool {
        match self.routing(subnet) {
            Routing::Public => true,
            Routing::Private | Routing::Isolated => false,
            Routing::Unknown => subnet.map_public_ip_on_launch,
        }
    }

    /// The services of `of` that a subnet reaches through no endpoint.
    fn without_endpoint(&self, subnet: &Subnet, of: &[&'static str]) -> Vec<&'static str> {
        let Some(endpoints) = &self.endpoints else { return Vec::new() };
        let table = self.tables.as_deref().and_then(|tables| table_of(tables, subnet)).map(|table| &table.id);
        let serves = |endpoint: &VpcEndpoint, service: &str| {
            let is_of = endpoint.service_name.ends_with(&format!(".{service}"));
            let is_gateway = !endpoint.route_table_ids.is_empty();
            is_of && (!is_gateway || table.is_some_and(|id| endpoint.route_table_ids.contains(id)))
        };
        of.iter().filter(|service| !endpoints.iter().any(|one| serves(one, service))).copied().collect()
    }

    /// Why nodes cannot work in a subnet, as far as that is certain; with what to do.
    pub fn why_no_nodes(&self, subnet: &Subnet) -> Option<String> {
        let id = &subnet.id;
        match self.routing(subnet) {
            Routing::Public if !subnet.map_public_ip_on_launch && subnet.ipv6_cidrs.is_empty() => Some(format!(
                "{id} is public, as its routes lead to an internet gateway, and gives its instances no public addresses \
                 (EKS: Ec2SubnetInvalidConfiguration): turn on auto-assignment of public IPv4 addresses, or give it a \
                 route table with a route to a NAT gateway instead"
            )),
            Routing::Isolated => {
                let missing = self.without_endpoint(subnet, &NODES_NEED);
                let endpoints =
                    (!missing.is_empty()).then(|| format!("it reaches no endpoint of {}", missing.join(", ")));
                let access = (!self.private_access).then(|| "endpointAccess.private is false".to_owned());
                let why: Vec<_> = endpoints.into_iter().chain(access).collect();
                (!why.is_empty()).then(|| {
                    format!(
                        "{id} has no route out of the VPC, and {}: give it a default route to a NAT gateway, or create \
                         the VPC endpoints of AWS's page on private clusters and set endpointAccess.private: true",
                        why.join(" and ")
                    )
                })
            }
            _ => None,
        }
    }

    /// What will fail for certain, before anything exists; with the field and what to do.
    pub fn find_problem(&self) -> Option<String> {
        let field = match (self.is_selected(), self.is_listed) {
            (true, _) => "subnetSelector",
            (false, true) => "subnets",
            (false, false) => "subnetIds",
        };
        if let Some(why) = self.unresolved.first() {
            return Some(format!("{field}: {why}"));
        }
        let missing = self.missing();
        if !missing.is_empty() {
            return Some(format!("{field}: subnet {} does not exist in this account and region", missing.join(", ")));
        }
        if self.subnets.is_empty() {
            return Some("subnetSelector: no subnet matches the tags of subnetSelector".into());
        }
        let vpcs: BTreeSet<_> = self.subnets.iter().map(|subnet| subnet.vpc_id.as_str()).collect();
        if vpcs.len() > 1 {
            let vpcs: Vec<_> = vpcs.into_iter().collect();
            return Some(format!(
                "{field}: the subnets are in several VPCs ({}): EKS needs a single VPC",
                vpcs.join(", ")
            ));
        }
        let unsuitable: Vec<_> = self.subnets.iter().filter_map(|subnet| self.why_unsuitable(subnet)).collect();
        if !self.is_selected() && !unsuitable.is_empty() {
            let unsuitable = first_few(unsuitable, MAX_NAMED);
            return Some(format!("{field}: {unsuitable}: remove it, and name subnets in other zones"));
        }
        let suitable = self.suitable();
        let zones: BTreeSet<_> = suitable.iter().map(|subnet| subnet.zone.as_str()).collect();
        if zones.len() < MIN_ZONES {
            let zones: Vec<_> = zones.into_iter().collect();
            let left_out = if unsuitable.is_empty() { String::new() } else { format!("; {}", unsuitable.join(", ")) };
            return Some(format!(
                "{field}: the subnets are in one availability zone ({}): EKS needs subnets in at least two{left_out}",
                zones.join(", ")
            ));
        }
        let full = suitable.iter().filter(|subnet| subnet.free_addresses < MIN_ADDRESSES);
        let full: Vec<_> = full.map(|subnet| format!("{} has {}", subnet.id, subnet.free_addresses)).collect();
        if !full.is_empty() {
            let full = full.join(", ");
            return Some(format!("{field}: too few free addresses: {full}; EKS needs {MIN_ADDRESSES} in each"));
        }
        let vpc = vpcs.into_iter().next().unwrap_or_default();
        let missing = self.dns.map(|VpcDns { support, hostnames }| {
            [(!support).then_some("enableDnsSupport"), (!hostnames).then_some("enableDnsHostnames")]
        });
        let missing: Vec<_> = missing.into_iter().flatten().flatten().collect();
        (!missing.is_empty()).then(|| {
            let missing = missing.join(" and ");
            format!(
                "vpcId: nodes cannot register in {vpc}: turn on {missing} of the VPC (aws ec2 modify-vpc-attribute)"
            )
        })
    }

    /// What is likely to fail later, or worth knowing.
    pub fn notices(&self) -> Vec<String> {
        let ids = |subnets: Vec<&Subnet>| first_few(subnets.iter().map(|subnet| &subnet.id), MAX_NAMED);
        let all = || self.subnets.iter();
        let mut notices: Vec<String> = Vec::new();
        if self.is_selected() {
            let left_out: Vec<_> = all().filter_map(|subnet| self.why_unsuitable(subnet)).collect();
            let left_out = first_few(left_out, MAX_NAMED);
            if !left_out.is_empty() {
                notices.push(format!("left out of the control plane: {left_out}"));
            }
        }
        let no_nodes: Vec<_> = all().filter_map(|subnet| self.why_no_nodes(subnet)).collect();
        if let Some(first) = no_nodes.first() {
            let named = first_and_count(first, no_nodes.len() - 1);
            notices.push(format!("nodes will not work in every subnet: {named}"));
        }
        let isolated = all().filter(|one| self.routing(one) == Routing::Isolated && self.why_no_nodes(one).is_none());
        let services: BTreeSet<_> = isolated.flat_map(|one| self.without_endpoint(one, &PODS_MAY_NEED)).collect();
        if !services.is_empty() {
            let services: Vec<_> = services.into_iter().collect();
            notices.push(format!(
                "subnets without a route out reach no endpoint of {}, which Pods may need",
                services.join(", ")
            ));
        }
        for (public, tag, kind) in [
            (true, "kubernetes.io/role/elb", "internet-facing"),
            (false, "kubernetes.io/role/internal-elb", "internal"),
        ] {
            let untagged: Vec<_> =
                all().filter(|one| self.is_public(one) == public && one.tags.get(tag).is_none()).collect();
            if !untagged.is_empty() {
                notices.push(format!("{kind} load balancers do not find {} without the tag {tag}: 1", ids(untagged)));
            }
        }
        let small: Vec<_> =
            self.suitable().into_iter().filter(|one| one.free_addresses < RECOMMENDED_ADDRESSES).collect();
        if !small.is_empty() {
            notices.push(format!("{} has fewer than {RECOMMENDED_ADDRESSES} free addresses", ids(small)));
        }
        notices
    }
}

/// The route table of a subnet.
fn table_of<'t>(tables: &'t [RouteTable], subnet: &Subnet) -> Option<&'t RouteTable> {
    let of_vpc = || tables.iter().filter(|table| table.vpc_id == subnet.vpc_id);
    let has = |table: &&RouteTable, id: Option<&str>| {
        table.associations.iter().any(|one| one.subnet_id.as_deref() == id && (id.is_some() || one.main))
    };
    of_vpc().find(|table| has(table, Some(&subnet.id))).or_else(|| of_vpc().find(|table| has(table, None)))
}

#[cfg(test)]
#[path = "existing_subnets_tests.rs"]
pub(super) mod tests;
