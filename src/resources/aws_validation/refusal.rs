//! Decides whether AWS meets a requirement, and what to report if not. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::ami::{self, AmiType};
use super::claims::{Requirement, RequirementKind};
use crate::api::KubernetesVersion;
use crate::aws::snapshots::named::{InstanceType, NamedRole, Template};
use crate::aws::snapshots::{AddonOffer, Address, Subnet};
use crate::resources::network::existing_subnets::Network;
use crate::upgrade::addon_versions::numbers;

/// Most valid values in one message.
const MAX_NAMED: usize = 8;

/// Fields that admission rejects changes of.
const IMMUTABLE: [&str; 5] =
    ["spec.roleArn", "spec.amiType", "spec.instanceTypes", "spec.subnets.ids", "spec.network.existing.vpcId"];

/// What was read for a requirement.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Could not be determined.
    Unknown,
    /// The Kubernetes versions that EKS offers.
    Versions(Vec<String>),
    /// The role with that name.
    Role(Option<NamedRole>),
    /// ARN of the user with that name.
    User(Option<String>),
    /// Whether the policy exists.
    Policy(bool),
    /// All versions of the add-on.
    Addon(Arc<Vec<AddonOffer>>),
    /// The security groups of a VPC.
    SecurityGroups {
        /// The VPC.
        vpc: String,
        /// Their ids.
        ids: BTreeSet<String>,
    },
    /// The VPC does not exist yet.
    NoVpc,
    /// The Elastic IP addresses.
    Addresses {
        /// Those that exist.
        found: Vec<Address>,
        /// Allocation ids that the cluster's own NAT gateways use.
        used_by_ours: BTreeSet<String>,
    },
    /// Those of the subnets that exist.
    Subnets(Vec<Subnet>),
    /// The launch template.
    Template(Template),
    /// The subnets of nodes, with what they are judged by.
    Network(Network),
    /// The families of the instance types.
    Instances {
        /// All types of those families.
        offered: Vec<InstanceType>,
        /// Zones where the nodes run; empty: not known.
        zones: BTreeSet<String>,
        /// The launch template names the AMI.
        has_image: bool,
    },
}

/// What is wrong, with field, value and valid values; `None` if nothing is known to be wrong.
pub fn find_problem(requirement: &Requirement, fact: &Fact, region: &str) -> Option<String> {
    let why = match (&requirement.kind, fact) {
        (RequirementKind::Version(version), Fact::Versions(offered)) => {
            let existing = offered.is_empty() || offered.contains(version);
            (!existing).then(|| {
                format!("EKS does not offer Kubernetes {version} in {region}; it offers {}", offered.join(", "))
            })
        }
        (RequirementKind::Role { arn, service }, Fact::Role(found)) => role(arn, *service, found.as_ref()),
        (RequirementKind::User(arn), Fact::User(found)) => principal("user", arn, found.as_deref(), false),
        (RequirementKind::Policy(arn), Fact::Policy(existing)) => {
            (!existing).then(|| format!("IAM policy {arn} does not exist: create it, or use an existing one"))
        }
        (RequirementKind::Addon { name, version, kubernetes }, Fact::Addon(offers)) => {
            addon(name, version.as_deref(), kubernetes.as_deref(), offers, region)
        }
        (RequirementKind::SecurityGroups { ids, .. }, Fact::SecurityGroups { vpc, ids: existing }) => {
            let missing: Vec<_> = ids.iter().filter(|id| !existing.contains(*id)).cloned().collect();
            let why =
                || format!("security group {} does not exist in {vpc}, the VPC of the subnets", missing.join(", "));
            (!missing.is_empty()).then(why)
        }
        (RequirementKind::GroupsOfOwnVpc { ids, .. }, Fact::SecurityGroups { vpc, ids: existing }) => {
            let missing: Vec<_> = ids.iter().filter(|id| !existing.contains(*id)).cloned().collect();
            let why = || format!("security group {} does not exist in {vpc}, the cluster's VPC", missing.join(", "));
            (!missing.is_empty()).then(why)
        }
        (RequirementKind::GroupsOfOwnVpc { .. }, Fact::NoVpc) => Some(
            "security groups must be in the VPC that Keelson creates for the cluster, which does not exist yet: leave the field out, \
             create the groups in status.network.vpcId once it is there, and list them then"
                .to_owned(),
        ),
        (RequirementKind::Addresses { ids, .. }, Fact::Addresses { found, used_by_ours }) => {
            ids.iter().find_map(|id| address(id, found.iter().find(|one| one.allocation_id == *id), used_by_ours, region))
        }
        (RequirementKind::Vpc { id, .. }, Fact::Subnets(found)) => {
            let others: BTreeSet<_> = found.iter().map(|one| one.vpc_id.as_str()).filter(|vpc| vpc != id).collect();
            let others: Vec<_> = others.into_iter().collect();
            (!others.is_empty()).then(|| format!("the subnets of subnetIds are in {}, not in {id}", others.join(", ")))
        }
        (RequirementKind::Subnets(ids), Fact::Subnets(found)) => {
            let missing: Vec<_> = ids.iter().filter(|id| found.iter().all(|one| one.id != **id)).cloned().collect();
            (!missing.is_empty())
                .then(|| format!("subnet {} does not exist in this account and region", missing.join(", ")))
        }
        (RequirementKind::Template { id, version }, Fact::Template(Template::Missing(why))) => {
            Some(format!("version {version} of launch template {id} does not exist: {why}"))
        }
        (RequirementKind::PrivateSubnets(_), Fact::Network(network)) => {
            let public = network.subnets.iter().filter(|subnet| network.is_public(subnet));
            let public: Vec<_> = public.map(|subnet| subnet.id.clone()).collect();
            (!public.is_empty()).then(|| {
                format!(
                    "Fargate runs in private subnets only, and a route of {} leads to an internet gateway: add a profile under a new \
                     name with others, and remove this one",
                    public.join(", ")
                )
            })
        }
        (RequirementKind::NodeSubnets { nodes, has_template, .. }, Fact::Network(network)) => {
            node_subnets(network, *nodes, *has_template)
        }
        (RequirementKind::OwnImage { template, ami_type, release }, fact) => {
            let has_image = match fact {
                Fact::Template(Template::Found { has_image, .. }) => *has_image,
                _ if template.is_some() => return None,
                _ => false,
            };
            own_image(has_image, ami_type.as_deref(), release.as_deref())
        }
        (RequirementKind::AmiType { name, kubernetes }, _) => ami_type(name, kubernetes),
        (RequirementKind::Instances { types, ami_type, efa, .. }, Fact::Instances { offered, zones, has_image }) => {
            let ami_type = ami_type.as_deref().or((!has_image).then_some(ami::DEFAULT));
            let types = Types { types, offered, region };
            let found = types.find_unknown().or_else(|| types.find_unsupported(ami_type));
            let found = found.or_else(|| types.find_without_efa().filter(|_| *efa));
            found.or_else(|| types.find_unavailable(zones))
        }
        (RequirementKind::Key(arn), _) => {
            let of = arn.split(':').nth(3).unwrap_or_default();
            (of != region)
                .then(|| format!("the KMS key is in {of}, and the cluster in {region}: name a key in {region}"))
        }
        _ => None,
    };
    let is_immutable = IMMUTABLE.contains(&requirement.field.as_str());
    let advice = if is_immutable {
        "; the field is immutable: create a new object with another value instead of this one"
    } else {
        ""
    };
    why.map(|why| format!("{}: {why}{advice}", requirement.field))
}

/// Whether a NAT gateway can use an address.
fn address(id: &str, found: Option<&Address>, used_by_ours: &BTreeSet<String>, region: &str) -> Option<String> {
    let Some(address) = found else {
        return Some(format!("address {id} does not exist in this account and region: allocate it, or list another"));
    };
    if let Some(group) = address.border_group.as_deref().filter(|group| *group != region) {
        return Some(format!(
            "address {id} is of network border group {group}, and the NAT gateways are in {region}: list one of {region}"
        ));
    }
    let user = address.network_interface_id.as_deref().unwrap_or("an instance");
    (address.association_id.is_some() && !used_by_ours.contains(id))
        .then(|| format!("address {id} is associated with {user} already: disassociate it there, or list another"))
}

fn role(arn: &str, service: Option<&'static str>, found: Option<&NamedRole>) -> Option<String> {
    if let Some(why) = principal("role", arn, found.map(|role| role.arn.as_str()), service.is_some()) {
        return Some(why);
    }
    let (role, service) = found.zip(service)?;
    (!trusts(&role.trust_policy, service)).then(|| {
        format!(
            "the trust policy of role {arn} does not allow {service} to assume it (sts:AssumeRole): allow that \
             in the policy, or name another role"
        )
    })
}

/// Checks that a role or user exists with that ARN. `show_arn`: the message includes the real ARN. It does not for the
/// principal of an access entry, which no allowlist of the account covers: nobody learns the paths of other roles and
/// users.
fn principal(kind: &str, arn: &str, found: Option<&str>, show_arn: bool) -> Option<String> {
    match found {
        None => Some(format!("IAM {kind} {arn} does not exist: create it, or use an existing one")),
        Some(found) if found != arn && show_arn => {
            Some(format!("{arn} is not the ARN of that {kind}: its ARN is {found}"))
        }
        Some(found) if found != arn => {
            Some(format!("{arn} is not the ARN of the {kind} with that name: its path differs"))
        }
        Some(_) => None,
    }
}

/// Whether a trust policy allows a service to assume the role. A policy that cannot be parsed is left to AWS.
fn trusts(policy: &str, service: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<Value>(policy) else { return true };
    let list = |value: &Value| match value {
        Value::Array(items) => items.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    list(&policy["Statement"]).iter().any(|statement| {
        let allows = statement["Effect"] == "Allow";
        let of_service = list(&statement["Principal"]["Service"]);
        // Some partitions append a suffix to the service name.
        let names = |name: &Value| name.as_str().is_some_and(|name| name == "*" || name.starts_with(service));
        allows
            && (statement["Principal"] == "*"
                || statement.get("NotPrincipal").is_some()
                || of_service.iter().any(names))
    })
}

fn addon(
    name: &str,
    version: Option<&str>,
    kubernetes: Option<&str>,
    offers: &[AddonOffer],
    region: &str,
) -> Option<String> {
    if offers.is_empty() {
        return Some(format!(
            "EKS offers no add-on {name} in {region}: `aws eks describe-addon-versions` lists the available ones"
        ));
    }
    let fits = |offer: &&AddonOffer| kubernetes.is_none_or(|kubernetes| offer.for_kubernetes(kubernetes).is_some());
    let mut existing: Vec<&str> = offers.iter().filter(fits).map(|offer| offer.info.version.as_str()).collect();
    let on = kubernetes.map(|kubernetes| format!(" for Kubernetes {kubernetes}")).unwrap_or_default();
    if existing.is_empty() {
        return Some(format!("EKS offers no version of add-on {name}{on}"));
    }
    let version = version?;
    if existing.contains(&version) {
        return None;
    }
    existing.sort_by_key(|version| std::cmp::Reverse(numbers(version)));
    existing.dedup();
    existing.truncate(MAX_NAMED);
    Some(format!("EKS offers no version {version} of add-on {name}{on}; the newest are {}", existing.join(", ")))
}

/// What keeps nodes from being launched or from joining in their subnets.
fn node_subnets(network: &Network, nodes: i32, has_template: bool) -> Option<String> {
    let subnets = &network.subnets;
    if let Some(one) = subnets.iter().find(|one| one.on_outpost || network.is_in_wavelength_zone(one)) {
        return Some(format!(
            "{} is on an Outpost or in a Wavelength Zone, and EKS has no managed node groups there: create a new NodeGroup in other subnets",
            one.id
        ));
    }
    // A launch template can give nodes addresses, or a proxy.
    let why = subnets.iter().find_map(|one| network.why_no_nodes(one)).filter(|_| !has_template);
    why.or_else(|| {
        let free: i32 = subnets.iter().map(|one| one.free_addresses).sum();
        (free < nodes).then(|| {
            let ids: Vec<_> = subnets.iter().map(|one| one.id.as_str()).collect();
            let ids = ids.join(", ");
            format!(
                "{nodes} nodes do not fit into {ids}, with {free} free addresses: create a new NodeGroup in larger subnets, or lower spec.scaling"
            )
        })
    })
}

/// EKS takes the AMI from the launch template or chooses it, not both.
fn own_image(has_image: bool, ami_type: Option<&str>, release: Option<&str>) -> Option<String> {
    match (has_image, ami_type, release) {
        (false, Some(ami::CUSTOM), _) => Some(format!(
            "amiType is {}, and no launch template names an AMI: set launchTemplate.version to one with an AMI, or create a \
             new NodeGroup without amiType",
            ami::CUSTOM
        )),
        (true, Some(name), _) if name != ami::CUSTOM => Some(format!(
            "the launch template names an AMI, and amiType is {name}: set launchTemplate.version to one without an AMI, or \
             create a new NodeGroup without amiType"
        )),
        (true, _, Some(release)) => Some(format!(
            "the launch template names an AMI, and releaseVersion is {release}: set releaseVersion: Latest, or \
             launchTemplate.version to one without an AMI"
        )),
        _ => None,
    }
}

fn ami_type(name: &str, kubernetes: &str) -> Option<String> {
    if name == ami::CUSTOM {
        return None;
    }
    let Some(found) = AmiType::parse(name) else {
        return Some(format!("EKS has no AMI type {name}; valid types are {}", ami::known_types()));
    };
    let (last, kubernetes) = found.last.zip(kubernetes.parse::<KubernetesVersion>().ok())?;
    (kubernetes > last).then(|| {
        format!(
            "{name} has no AMIs for Kubernetes {kubernetes}, the last supported version is {last}: use an AMI type \
             of Amazon Linux 2023 or Bottlerocket, such as {}",
            if found.architecture == "arm64" { "AL2023_ARM_64_STANDARD" } else { ami::DEFAULT }
        )
    })
}

/// The instance types of the spec, and EC2's data about their families.
struct Types<'a> {
    types: &'a [String],
    offered: &'a [InstanceType],
    region: &'a str,
}

impl Types<'_> {
    fn find(&self, name: &str) -> Option<&InstanceType> {
        self.offered.iter().find(|one| one.name == name)
    }

    fn find_unknown(&self) -> Option<String> {
        let unknown = self.types.iter().find(|name| self.find(name).is_none())?;
        let family = unknown.split_once('.').map_or(unknown.as_str(), |(family, _)| family);
        let prefix = format!("{family}.");
        let existing: Vec<_> =
            self.offered.iter().map(|one| one.name.as_str()).filter(|name| name.starts_with(&prefix)).collect();
        let existing = match existing.as_slice() {
            [] => format!("it offers none of family {family}"),
            names => format!("of family {family} it offers {}", names.join(", ")),
        };
        Some(format!("EC2 offers no instance type {unknown} in {}; {existing}", self.region))
    }

    /// The first type that the AMI type does not support.
    fn find_unsupported(&self, ami_type: Option<&str>) -> Option<String> {
        let name = ami_type?;
        let ami = AmiType::parse(name)?;
        let found = self.types.iter().filter_map(|name| self.find(name));
        for one in found {
            if !one.architectures.is_empty() && !one.architectures.contains(ami.architecture) {
                let is: Vec<_> = one.architectures.iter().map(String::as_str).collect();
                let is = is.join(", ");
                return Some(format!(
                    "{} is {is}, and the AMI type {name} (spec.amiType; {} by default) is {}: set an AMI type for \
                     {is}, or instance types of {}",
                    one.name,
                    ami::DEFAULT,
                    ami.architecture,
                    ami.architecture
                ));
            }
            if let Some(accelerator) = ami.accelerator
                && !accelerator.is_in(&one.accelerators)
            {
                return Some(format!(
                    "{} has no accelerator that the AMI type {name} (spec.amiType) supports ({accelerator:?}): set \
                     instance types with one, or another AMI type",
                    one.name
                ));
            }
        }
        None
    }

    /// The first type that takes no Elastic Fabric Adapter.
    fn find_without_efa(&self) -> Option<String> {
        let found = self.types.iter().filter_map(|name| self.find(name)).find(|one| one.efa_cards == 0)?;
        Some(format!("{} takes no Elastic Fabric Adapter, which node.efa asks for", found.name))
    }

    /// Zones of the nodes where none of the types is offered: launching there fails, and with it the node group.
    fn find_unavailable(&self, zones: &BTreeSet<String>) -> Option<String> {
        let offered: BTreeSet<_> =
            self.types.iter().filter_map(|name| self.find(name)).flat_map(|one| one.zones.iter().cloned()).collect();
        let zones: BTreeSet<_> = zones.difference(&offered).cloned().collect();
        if zones.is_empty() || offered.is_empty() {
            return None;
        }
        let list = |zones: &BTreeSet<String>| zones.iter().cloned().collect::<Vec<_>>().join(", ");
        Some(format!(
            "EC2 does not offer {} in {}, where the subnets are (spec.subnets); it offers them in {}",
            self.types.join(", "),
            list(&zones),
            list(&offered)
        ))
    }
}
