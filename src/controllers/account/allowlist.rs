//! Whether an object may name what it did not make: a role, policy, VPC, subnet, security group, KMS key, launch template. Pure.
//!
//! An object may name what objects of its namespace made, and what the AwsAccount's allowlists name. What can be said by the lists
//! alone is said before any call ([`Allowlists::check`]); whose the rest is has to be read ([`Allowlists::check_owned`]).

use super::Refusal;
use super::named::{Kind, Named};
use crate::api::{AwsAccountSpec, Reason};
use crate::resources::made_by::OwnedResources;
use crate::resources::role::{NAME_PREFIX, Purpose};

/// What the objects of one namespace may name in an account that they did not make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowlists {
    account: String,
    account_id: String,
    namespace: String,
    roles: Vec<String>,
    policies: Vec<String>,
    vpcs: Vec<String>,
    security_groups: Vec<String>,
    kms_keys: Vec<String>,
    launch_templates: Vec<String>,
}

impl Allowlists {
    /// Those of the AwsAccount `account`, for objects of `namespace`.
    pub fn of(account: &str, spec: &AwsAccountSpec, namespace: &str) -> Self {
        Self {
            account: account.to_owned(),
            account_id: spec.account_id.clone(),
            namespace: namespace.to_owned(),
            roles: spec.allowed_role_arns.clone(),
            policies: spec.allowed_policy_arns.clone(),
            vpcs: spec.allowed_vpc_ids.clone(),
            security_groups: spec.allowed_security_group_ids.clone(),
            kms_keys: spec.allowed_kms_key_arns.clone(),
            launch_templates: spec.allowed_launch_template_ids.clone(),
        }
    }

    /// Says what the lists alone can say, and returns what depends on who made it.
    ///
    /// # Errors
    /// The first that the lists do not name and that no object of the namespace can have made.
    pub fn check<'n>(&self, named: &'n [Named]) -> Result<Vec<&'n Named>, Refusal> {
        let mut undecided = Vec::new();
        for one in named {
            match self.judge(one) {
                Judgement::Allowed => {}
                Judgement::IfMadeHere => undecided.push(one),
                Judgement::Refused => return Err(self.refusal(one)),
            }
        }
        Ok(undecided)
    }

    /// The subnets whose VPC has to be known: none where no VPC is listed, as then only subnets of the namespace's own will do.
    pub fn subnets_to_look_up(&self, undecided: &[&Named]) -> Vec<String> {
        let subnets = undecided.iter().filter(|one| one.kind == Kind::Subnet && !self.vpcs.is_empty());
        subnets.map(|one| one.value.clone()).collect()
    }

    /// Decides the rest by what objects of the namespace made.
    ///
    /// # Errors
    /// The first that is somebody else's. What is not there at all is refused in the same words: they tell nothing of it.
    pub fn check_owned(&self, undecided: &[&Named], made: &OwnedResources) -> Result<(), Refusal> {
        match undecided.iter().find(|one| !self.is_owned_or_listed(one, made)) {
            Some(foreign) => Err(self.refusal(foreign)),
            None => Ok(()),
        }
    }

    /// Whether the account names the VPC as one that objects use and do not own. Where it names all of them, it has one tenant.
    pub fn lends_vpc(&self, id: &str) -> bool {
        self.vpcs.iter().all(|pattern| pattern != ANY) && lists(&self.vpcs, id)
    }

    /// Whether NodeGroups may add the policy to the role of their nodes.
    pub fn allows_policy(&self, arn: &str) -> bool {
        lists(&self.policies, arn) || is_of_node_role(arn)
    }

    fn judge(&self, one: &Named) -> Judgement {
        let value = one.value.as_str();
        let (list, can_be_own) = match one.kind {
            Kind::Role => (&self.roles, self.may_be_made_by_keelson(value)),
            Kind::Policy if is_of_node_role(value) => return Judgement::Allowed,
            Kind::Policy => (&self.policies, false),
            Kind::Vpc => (&self.vpcs, true),
            Kind::SecurityGroup => (&self.security_groups, true),
            Kind::KmsKey => (&self.kms_keys, false),
            Kind::LaunchTemplate => (&self.launch_templates, false),
            // The lists name VPCs: only one that names all of them says something of a subnet.
            Kind::Subnet if self.vpcs.iter().any(|pattern| pattern == ANY) => return Judgement::Allowed,
            Kind::Subnet => return Judgement::IfMadeHere,
        };
        match (lists(list, value), can_be_own) {
            (true, _) => Judgement::Allowed,
            (false, true) => Judgement::IfMadeHere,
            (false, false) => Judgement::Refused,
        }
    }

    fn is_owned_or_listed(&self, one: &Named, made: &OwnedResources) -> bool {
        let value = &one.value;
        match one.kind {
            Kind::Role => made.roles.contains(value),
            Kind::Vpc => made.vpcs.contains(value),
            Kind::SecurityGroup => made.security_groups.contains(value),
            Kind::Subnet => {
                let listed = made.vpc_of_subnet.get(value).is_some_and(|vpc| lists(&self.vpcs, vpc));
                listed || made.subnets.contains(value)
            }
            Kind::Policy | Kind::KmsKey | Kind::LaunchTemplate => false,
        }
    }

    /// By its name and account: whose it is says only its tag.
    fn may_be_made_by_keelson(&self, arn: &str) -> bool {
        let name = arn.rsplit('/').next().unwrap_or_default();
        arn.split(':').nth(4) == Some(&self.account_id) && name.starts_with(NAME_PREFIX)
    }

    fn refusal(&self, one: &Named) -> Refusal {
        let Named { field, kind, value } = one;
        let (account, namespace) = (&self.account, &self.namespace);
        let (what, list) = match kind {
            Kind::Role => ("a role that Keelson made for this namespace", "allowedRoleArns"),
            Kind::Policy => ("a policy that Keelson itself attaches to node roles", "allowedPolicyArns"),
            Kind::Vpc => ("a VPC that Keelson made for this namespace", "allowedVpcIds"),
            Kind::Subnet => ("a subnet that Keelson made for this namespace", "allowedVpcIds"),
            Kind::SecurityGroup => ("a security group that was made for this namespace", "allowedSecurityGroupIds"),
            Kind::KmsKey => ("a KMS key that this namespace may use", "allowedKmsKeyArns"),
            Kind::LaunchTemplate => ("a launch template that this namespace may use", "allowedLaunchTemplateIds"),
        };
        let listed = match kind {
            Kind::Subnet => format!("nor in a VPC that {list} of AwsAccount {account:?} lists"),
            _ => format!("nor listed in {list} of AwsAccount {account:?}"),
        };
        let instead = if FIXED.contains(&field.as_ref()) {
            "or delete this object and create it again with another, as it cannot be changed"
        } else {
            "or name another"
        };
        let message = format!(
            "{field}: {value} is not {what} ({namespace}), {listed}: whoever owns the AwsAccount has to add it there, {instead}"
        );
        Refusal::new(Reason::AccessDenied, message)
    }
}

/// Fields that admission lets nobody change once they are set.
const FIXED: [&str; 5] = [
    "spec.roleArn",
    "spec.secretsEncryption.kmsKeyArn",
    "spec.network.existing.vpcId",
    "spec.subnets.ids",
    "spec.launchTemplate.id",
];

/// What the lists alone say.
enum Judgement {
    Allowed,
    /// It depends on who made it.
    IfMadeHere,
    Refused,
}

/// The pattern that any value matches.
const ANY: &str = "*";

fn lists(patterns: &[String], value: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, value))
}

/// Whether the policy is one of AWS's that every node role has. Those of cluster roles are not among them.
fn is_of_node_role(arn: &str) -> bool {
    let name = arn.split_once(":iam::aws:policy/").map(|(partition, name)| (partition.starts_with("arn:aws"), name));
    name.is_some_and(|(of_aws, name)| of_aws && Purpose::Node.policies().contains(&name))
}

/// Whether the whole value matches; `*` stands for any characters, also for none and for `/` and `:`.
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
#[path = "allowlist_tests.rs"]
mod tests;
