//! Decides whether an object may refer to a resource it did not create: a role, policy, VPC, subnet, security group,
//! KMS key, launch template, image, capacity reservation, placement group, Elastic IP address. Pure.
//!
//! An object may refer to resources created by objects of its namespace, and to those in the AwsAccount's allowlists.
//! What the lists alone decide is decided before any call ([`Allowlists::check`]); the ownership of the rest must be
//! read from AWS ([`Allowlists::check_owned`]).

use super::named::{Kind, ResourceReference};
use super::refusal::Refusal;
use crate::api::{AwsAccountSpec, Reason};
use crate::aws::Arn;
use crate::aws::snapshots::named::ImageOwner;
use crate::resources::iam::role::{NAME_PREFIX, Purpose};
use crate::resources::inventory::owned_resources::OwnedResources;

/// The foreign resources of an account that objects of one namespace may refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowlists {
    account: String,
    account_id: String,
    namespace: String,
    roles: Vec<String>,
    policies: Vec<String>,
    workload_policies: Vec<String>,
    /// Whether documents of the object's own are allowed, within a boundary for the roles of Pods.
    inline_policies: bool,
    vpcs: Vec<String>,
    security_groups: Vec<String>,
    kms_keys: Vec<String>,
    launch_templates: Vec<String>,
    image_owners: Vec<String>,
    images: Vec<String>,
    capacity_reservations: Vec<String>,
    placement_groups: Vec<String>,
    elastic_ips: Vec<String>,
}

impl Allowlists {
    /// The allowlists of the AwsAccount `account`, for objects of `namespace`.
    pub fn of(account: &str, spec: &AwsAccountSpec, namespace: &str) -> Self {
        Self {
            account: account.to_owned(),
            account_id: spec.account_id.clone(),
            namespace: namespace.to_owned(),
            roles: spec.allowed_role_arns.clone(),
            policies: spec.allowed_policy_arns.clone(),
            workload_policies: spec.allowed_workload_policies.clone(),
            inline_policies: spec.allow_inline_policies && spec.workload_permissions_boundary_arn.is_some(),
            vpcs: spec.allowed_vpc_ids.clone(),
            security_groups: spec.allowed_security_group_ids.clone(),
            kms_keys: spec.allowed_kms_key_arns.clone(),
            launch_templates: spec.allowed_launch_template_ids.clone(),
            image_owners: spec.allowed_image_owners.clone(),
            images: spec.allowed_image_ids.clone(),
            capacity_reservations: spec.allowed_capacity_reservation_ids.clone(),
            placement_groups: spec.allowed_placement_groups.clone(),
            elastic_ips: spec.allowed_elastic_ip_allocation_ids.clone(),
        }
    }

    /// Decides by the lists alone, and returns the references that depend on ownership.
    ///
    /// # Errors
    /// The first reference that is not listed and cannot have been created by an object of the namespace.
    pub fn check<'n>(&self, named: &'n [ResourceReference]) -> Result<Vec<&'n ResourceReference>, Refusal> {
        let mut undecided = Vec::new();
        for one in named {
            match self.decide_by_lists(one) {
                ListDecision::Allowed => {}
                ListDecision::IfOwned => undecided.push(one),
                ListDecision::Refused => return Err(self.refusal(one)),
            }
        }
        Ok(undecided)
    }

    /// The subnets whose VPC must be looked up: none if no VPC is listed, as only subnets of the namespace are allowed
    /// then.
    pub fn subnets_to_look_up(&self, undecided: &[&ResourceReference]) -> Vec<String> {
        let subnets = undecided.iter().filter(|one| one.kind == Kind::Subnet && !self.vpcs.is_empty());
        subnets.map(|one| one.value.clone()).collect()
    }

    /// The images whose owner must be looked up.
    pub fn images_to_look_up(&self, undecided: &[&ResourceReference]) -> Vec<String> {
        undecided.iter().filter(|one| one.kind == Kind::Image).map(|one| one.value.clone()).collect()
    }

    /// Decides the rest by ownership.
    ///
    /// # Errors
    /// The first resource with another owner. A missing resource is refused with the same message, which reveals
    /// nothing about it.
    pub fn check_owned(&self, undecided: &[&ResourceReference], owned: &OwnedResources) -> Result<(), Refusal> {
        match undecided.iter().find(|one| !self.is_owned_or_listed(one, owned)) {
            Some(foreign) => Err(self.refusal(foreign)),
            None => Ok(()),
        }
    }

    /// Whether the account lists the VPC as one that objects use and do not own. An account that lists all VPCs has
    /// one tenant.
    pub fn lists_shared_vpc(&self, id: &str) -> bool {
        self.vpcs.iter().all(|pattern| pattern != ANY) && lists(&self.vpcs, id)
    }

    /// Decides about a launch template that is named by its name; `id`: that of the template with this name.
    ///
    /// # Errors
    /// It is not listed. A missing one is refused with the same message, which reveals nothing about it.
    pub fn check_template_name(&self, name: &str, id: Option<&str>) -> Result<(), Refusal> {
        let is_listed = self.launch_templates.iter().any(|pattern| pattern == ANY)
            || id.is_some_and(|id| lists(&self.launch_templates, id));
        if is_listed {
            return Ok(());
        }
        let named =
            ResourceReference { field: TEMPLATE_NAME.into(), kind: Kind::LaunchTemplate, value: name.to_owned() };
        Err(self.refusal(&named))
    }

    /// Whether NodeGroups may attach the policy to the role of their nodes.
    pub fn allows_policy(&self, arn: &str) -> bool {
        lists(&self.policies, arn) || is_of_node_role(arn)
    }

    fn decide_by_lists(&self, one: &ResourceReference) -> ListDecision {
        let value = one.value.as_str();
        let (list, can_be_own) = match one.kind {
            Kind::Role => (&self.roles, self.may_be_made_by_keelson(value)),
            Kind::Policy if is_of_node_role(value) => return ListDecision::Allowed,
            Kind::Policy => (&self.policies, false),
            Kind::WorkloadPolicy => (&self.workload_policies, false),
            Kind::InlinePolicy if self.inline_policies => return ListDecision::Allowed,
            Kind::InlinePolicy => return ListDecision::Refused,
            Kind::Vpc => (&self.vpcs, true),
            Kind::SecurityGroup => (&self.security_groups, true),
            Kind::KmsKey => (&self.kms_keys, false),
            Kind::LaunchTemplate => (&self.launch_templates, false),
            Kind::Image if self.image_owners.iter().any(|owner| owner == ANY) => return ListDecision::Allowed,
            Kind::Image => (&self.images, !self.image_owners.is_empty()),
            Kind::CapacityReservation => (&self.capacity_reservations, false),
            Kind::PlacementGroup => (&self.placement_groups, false),
            Kind::ElasticIp => (&self.elastic_ips, false),
            // The lists contain VPCs: only one that lists all of them decides about a subnet.
            Kind::Subnet if self.vpcs.iter().any(|pattern| pattern == ANY) => return ListDecision::Allowed,
            Kind::Subnet => return ListDecision::IfOwned,
        };
        match (lists(list, value), can_be_own) {
            (true, _) => ListDecision::Allowed,
            (false, true) => ListDecision::IfOwned,
            (false, false) => ListDecision::Refused,
        }
    }

    fn is_owned_or_listed(&self, one: &ResourceReference, owned: &OwnedResources) -> bool {
        let value = &one.value;
        match one.kind {
            Kind::Role => owned.roles.contains(value),
            Kind::Vpc => owned.vpcs.contains(value),
            Kind::SecurityGroup => owned.security_groups.contains(value),
            Kind::Subnet => {
                let listed = owned.vpc_of_subnet.get(value).is_some_and(|vpc| lists(&self.vpcs, vpc));
                listed || owned.subnets.contains(value)
            }
            Kind::Image => owned.image_owners.get(value).is_some_and(|owner| self.trusts(owner)),
            Kind::Policy
            | Kind::KmsKey
            | Kind::LaunchTemplate
            | Kind::CapacityReservation
            | Kind::PlacementGroup
            | Kind::ElasticIp
            | Kind::WorkloadPolicy
            | Kind::InlinePolicy => false,
        }
    }

    /// Whether every AMI of the owner may be named.
    fn trusts(&self, owner: &ImageOwner) -> bool {
        let names = [Some(owner.account.as_str()), owner.alias.as_deref()];
        self.image_owners.iter().any(|trusted| names.contains(&Some(trusted.as_str())))
    }

    /// Decides by name and account; only the tag shows the owner.
    fn may_be_made_by_keelson(&self, arn: &str) -> bool {
        Arn::parse(arn).is_some_and(|arn| arn.account == self.account_id && arn.name().starts_with(NAME_PREFIX))
    }

    fn refusal(&self, one: &ResourceReference) -> Refusal {
        let ResourceReference { field, kind, value } = one;
        let (account, namespace) = (&self.account, &self.namespace);
        let (what, list) = match kind {
            Kind::Role => ("a role that Keelson created for this namespace", "allowedRoleArns"),
            Kind::Policy => ("a policy that Keelson itself attaches to node roles", "allowedPolicyArns"),
            Kind::WorkloadPolicy => ("a policy that this namespace may use", "allowedWorkloadPolicies"),
            Kind::InlinePolicy => return refuse_inline_policy(field, &format!("AwsAccount {account:?}")),
            Kind::Vpc => ("a VPC that Keelson created for this namespace", "allowedVpcIds"),
            Kind::Subnet => ("a subnet that Keelson created for this namespace", "allowedVpcIds"),
            Kind::SecurityGroup => ("a security group that was created for this namespace", "allowedSecurityGroupIds"),
            Kind::KmsKey => ("a KMS key that this namespace may use", "allowedKmsKeyArns"),
            Kind::LaunchTemplate => ("a launch template that this namespace may use", "allowedLaunchTemplateIds"),
            Kind::Image => ("an AMI that this namespace may use", "allowedImageIds"),
            Kind::CapacityReservation => {
                ("a capacity reservation that this namespace may use", "allowedCapacityReservationIds")
            }
            Kind::PlacementGroup => ("a placement group that this namespace may use", "allowedPlacementGroups"),
            Kind::ElasticIp => ("an address that this namespace may use", "allowedElasticIpAllocationIds"),
        };
        let listed = match kind {
            Kind::Subnet => format!("nor in a VPC listed in {list} of AwsAccount {account:?}"),
            Kind::Image => format!(
                "neither by its owner, if EC2 shows one (allowedImageOwners: [{}]), nor listed in {list} of AwsAccount {account:?}",
                self.image_owners.join(", ")
            ),
            _ => format!("nor listed in {list} of AwsAccount {account:?}"),
        };
        let instead = if IMMUTABLE.contains(&field.as_ref()) {
            "or delete this object and create it again with another value, as the field is immutable"
        } else {
            "or use another"
        };
        let message = format!(
            "{field}: {value} is not {what} ({namespace}), {listed}: the owner of the AwsAccount has to add it there, {instead}"
        );
        Refusal::new(Reason::AccessDenied, message)
    }
}

/// The refusal of a policy document of the object's own, which only a boundary limits.
pub(super) fn refuse_inline_policy(field: &str, account: &str) -> Refusal {
    let message = format!(
        "{field}: {account} does not allow policy documents of an object's own: its owner has to set allowInlinePolicies and \
         workloadPermissionsBoundaryArn, or use policyArns or policies"
    );
    Refusal::new(Reason::AccessDenied, message)
}

/// Fields that admission makes immutable once set.
const IMMUTABLE: [&str; 6] = [
    "spec.roleArn",
    "spec.secretsEncryption.kmsKeyArn",
    "spec.network.existing.vpcId",
    "spec.subnets.ids",
    "spec.launchTemplate.id",
    TEMPLATE_NAME,
];

/// The field that names a launch template by its name.
pub const TEMPLATE_NAME: &str = "spec.launchTemplate.name";

/// The decision by the lists alone.
enum ListDecision {
    Allowed,
    /// Depends on the owner.
    IfOwned,
    Refused,
}

/// The pattern that matches any value.
const ANY: &str = "*";

fn lists(patterns: &[String], value: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, value))
}

/// Whether the policy is one of AWS's that every node role has. Policies of cluster roles are not among them.
fn is_of_node_role(arn: &str) -> bool {
    let of_aws = Arn::parse(arn).filter(|arn| (arn.service, arn.region, arn.account) == ("iam", "", "aws"));
    let name = of_aws.and_then(|arn| arn.resource.strip_prefix("policy/"));
    name.is_some_and(|name| Purpose::Node.policies().contains(&name))
}

/// Whether the whole value matches; `*` matches any characters, including none, `/` and `:`.
pub fn matches(pattern: &str, value: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = value.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
#[path = "allowlist_image_tests.rs"]
mod image_tests;
#[cfg(test)]
#[path = "allowlist_tests.rs"]
mod tests;
