//! Whether what AWS shows bears a claim out, and what to tell a person if not. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::ami::{self, AmiType};
use super::claims::{Claim, What};
use crate::api::KubernetesVersion;
use crate::aws::snapshots::named::{InstanceType, NamedRole, Template};
use crate::aws::snapshots::{AddonOffer, Subnet};
use crate::upgrade::addons::numbers;

/// Most valid values that a message names.
const MOST_NAMED: usize = 8;

/// Fields that admission lets nobody change.
const FIXED: [&str; 5] =
    ["spec.roleArn", "spec.amiType", "spec.instanceTypes", "spec.subnets.ids", "spec.network.existing.vpcId"];

/// What was read for a claim.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Nothing: it is not to be known.
    Unknown,
    /// The Kubernetes versions on offer.
    Versions(Vec<String>),
    /// The role of that name.
    Role(Option<NamedRole>),
    /// ARN of the user of that name.
    User(Option<String>),
    /// Whether there is the policy.
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
    /// Those of the subnets that are there.
    Subnets(Vec<Subnet>),
    /// The launch template.
    Template(Template),
    /// The families of the instance types.
    Instances {
        /// All types of those families.
        offered: Vec<InstanceType>,
        /// Zones where the nodes are to be; empty: not known.
        zones: BTreeSet<String>,
        /// The launch template names the AMI.
        has_image: bool,
    },
}

/// What is wrong, with the field, its value and what is valid; `None`: nothing that is known.
pub fn refusal(claim: &Claim, fact: &Fact, region: &str) -> Option<String> {
    let why = match (&claim.what, fact) {
        (What::Version(version), Fact::Versions(offered)) => {
            let there = offered.is_empty() || offered.contains(version);
            (!there).then(|| format!("EKS has no Kubernetes {version} in {region}; it has {}", offered.join(", ")))
        }
        (What::Role { arn, service }, Fact::Role(found)) => role(arn, *service, found.as_ref()),
        (What::User(arn), Fact::User(found)) => principal("user", arn, found.as_deref(), false),
        (What::Policy(arn), Fact::Policy(there)) => {
            (!there).then(|| format!("there is no IAM policy {arn}: create it, or name one that is there"))
        }
        (What::Addon { name, version, kubernetes }, Fact::Addon(offers)) => {
            addon(name, version.as_deref(), kubernetes.as_deref(), offers, region)
        }
        (What::SecurityGroups { ids, .. }, Fact::SecurityGroups { vpc, ids: there }) => {
            let missing: Vec<_> = ids.iter().filter(|id| !there.contains(*id)).cloned().collect();
            let why = || format!("there is no security group {} in {vpc}, the VPC of the subnets", missing.join(", "));
            (!missing.is_empty()).then(why)
        }
        (What::Vpc { id, .. }, Fact::Subnets(found)) => {
            let others: BTreeSet<_> = found.iter().map(|one| one.vpc_id.as_str()).filter(|vpc| vpc != id).collect();
            let others: Vec<_> = others.into_iter().collect();
            (!others.is_empty()).then(|| format!("the subnets of subnetIds are in {}, not in {id}", others.join(", ")))
        }
        (What::Subnets(ids), Fact::Subnets(found)) => {
            let missing: Vec<_> = ids.iter().filter(|id| found.iter().all(|one| one.id != **id)).cloned().collect();
            (!missing.is_empty())
                .then(|| format!("there is no subnet {} in this account and region", missing.join(", ")))
        }
        (What::Template { id, version }, Fact::Template(Template::Missing(why))) => {
            Some(format!("version {version} of launch template {id} is not there: {why}"))
        }
        (What::AmiType { name, kubernetes }, _) => ami_type(name, kubernetes),
        (What::Instances { types, ami_type, .. }, Fact::Instances { offered, zones, has_image }) => {
            let ami_type = ami_type.as_deref().or((!has_image).then_some(ami::DEFAULT));
            let of_types = Types { types, offered, region };
            of_types.unknown().or_else(|| of_types.misfit(ami_type)).or_else(|| of_types.elsewhere(zones))
        }
        _ => None,
    };
    let is_fixed = FIXED.contains(&claim.field.as_str());
    let anew = if is_fixed {
        "; the field cannot change: write another value into a new object instead of this one"
    } else {
        ""
    };
    why.map(|why| format!("{}: {why}{anew}", claim.field))
}

fn role(arn: &str, service: Option<&'static str>, found: Option<&NamedRole>) -> Option<String> {
    if let Some(why) = principal("role", arn, found.map(|role| role.arn.as_str()), service.is_some()) {
        return Some(why);
    }
    let (role, service) = found.zip(service)?;
    (!trusts(&role.trust_policy, service)).then(|| {
        format!("the trust policy of role {arn} does not let {service} take it on (sts:AssumeRole): allow that there, or name another role")
    })
}

/// A role or user that must be there, under that ARN. `whole`: its ARN is told. That of a principal of an access entry, which no
/// allowlist of the account holds, is not: nobody learns the path of others' roles and users.
fn principal(kind: &str, arn: &str, found: Option<&str>, whole: bool) -> Option<String> {
    match found {
        None => Some(format!("there is no IAM {kind} {arn}: create it, or name one that is there")),
        Some(found) if found != arn && whole => Some(format!("{arn} is not the ARN of that {kind}, which is {found}")),
        Some(found) if found != arn => {
            Some(format!("{arn} is not the ARN of the {kind} of that name: its path is another"))
        }
        Some(_) => None,
    }
}

/// Whether a trust policy lets a service take on the role. One that cannot be read is left to AWS.
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
        // Some partitions write the service with a suffix of their own.
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
            "EKS offers no add-on {name} in {region}: `aws eks describe-addon-versions` lists those there are"
        ));
    }
    let fits = |offer: &&AddonOffer| kubernetes.is_none_or(|kubernetes| offer.for_kubernetes(kubernetes).is_some());
    let mut there: Vec<&str> = offers.iter().filter(fits).map(|offer| offer.info.version.as_str()).collect();
    let on = kubernetes.map(|kubernetes| format!(" for Kubernetes {kubernetes}")).unwrap_or_default();
    if there.is_empty() {
        return Some(format!("EKS offers no version of add-on {name}{on}"));
    }
    let version = version?;
    if there.contains(&version) {
        return None;
    }
    there.sort_by_key(|version| std::cmp::Reverse(numbers(version)));
    there.dedup();
    there.truncate(MOST_NAMED);
    Some(format!("EKS offers no version {version} of add-on {name}{on}; the newest are {}", there.join(", ")))
}

fn ami_type(name: &str, kubernetes: &str) -> Option<String> {
    if name == ami::CUSTOM {
        return None;
    }
    let Some(found) = AmiType::parse(name) else {
        return Some(format!("EKS has no AMI type {name}; it has {}", ami::known()));
    };
    let (last, kubernetes) = found.last.zip(kubernetes.parse::<KubernetesVersion>().ok())?;
    (kubernetes > last).then(|| {
        format!(
            "{name} has no AMIs for Kubernetes {kubernetes}, its last is {last}: take an AMI type of Amazon Linux 2023 or \
             Bottlerocket, such as {}",
            if found.architecture == "arm64" { "AL2023_ARM_64_STANDARD" } else { ami::DEFAULT }
        )
    })
}

/// Instance types that are asked for, with what EC2 says of their families.
struct Types<'a> {
    types: &'a [String],
    offered: &'a [InstanceType],
    region: &'a str,
}

impl Types<'_> {
    fn of(&self, name: &str) -> Option<&InstanceType> {
        self.offered.iter().find(|one| one.name == name)
    }

    fn unknown(&self) -> Option<String> {
        let unknown = self.types.iter().find(|name| self.of(name).is_none())?;
        let family = unknown.split_once('.').map_or(unknown.as_str(), |(family, _)| family);
        let prefix = format!("{family}.");
        let there: Vec<_> =
            self.offered.iter().map(|one| one.name.as_str()).filter(|name| name.starts_with(&prefix)).collect();
        let there = match there.as_slice() {
            [] => format!("it has none of family {family}"),
            names => format!("of family {family} it has {}", names.join(", ")),
        };
        Some(format!("EC2 has no instance type {unknown} in {}; {there}", self.region))
    }

    /// Types on which the AMI type does not run.
    fn misfit(&self, ami_type: Option<&str>) -> Option<String> {
        let name = ami_type?;
        let ami = AmiType::parse(name)?;
        let found = self.types.iter().filter_map(|name| self.of(name));
        for one in found {
            if !one.architectures.is_empty() && !one.architectures.contains(ami.architecture) {
                let is: Vec<_> = one.architectures.iter().map(String::as_str).collect();
                let is = is.join(", ");
                return Some(format!(
                    "{} is {is}, and the AMI type {name} (spec.amiType; {} where none is named) is {}: name an AMI type for {is}, \
                     or instance types of {}",
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
                    "{} has no accelerator that the AMI type {name} (spec.amiType) is for ({accelerator:?}): name instance types \
                     that have one, or another AMI type",
                    one.name
                ));
            }
        }
        None
    }

    /// None of the types is offered where the nodes are to be.
    fn elsewhere(&self, zones: &BTreeSet<String>) -> Option<String> {
        let offered: BTreeSet<_> =
            self.types.iter().filter_map(|name| self.of(name)).flat_map(|one| one.zones.iter().cloned()).collect();
        if zones.is_empty() || offered.is_empty() || zones.iter().any(|zone| offered.contains(zone)) {
            return None;
        }
        let list = |zones: &BTreeSet<String>| zones.iter().cloned().collect::<Vec<_>>().join(", ");
        Some(format!(
            "EC2 does not offer {} in {}, where the subnets are (spec.subnets); it does in {}",
            self.types.join(", "),
            list(zones),
            list(&offered)
        ))
    }
}
