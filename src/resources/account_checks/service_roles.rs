//! Service-linked roles of EKS. EKS creates them with the first cluster, node group and Fargate profile of an account,
//! if the caller may:
//! <https://docs.aws.amazon.com/eks/latest/userguide/using-service-linked-roles.html>.

use super::Finding;
use crate::aws::{AwsError, MaxStaleness, Session};

const CHECK: &str = "service role";

/// A service that has a role of its own in the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRole {
    /// `eks.amazonaws.com`.
    pub service: &'static str,
    pub role: &'static str,
}

/// For the control plane.
pub const CLUSTER: ServiceRole = ServiceRole { service: "eks.amazonaws.com", role: "AWSServiceRoleForAmazonEKS" };
/// For managed node groups.
pub const NODE_GROUP: ServiceRole =
    ServiceRole { service: "eks-nodegroup.amazonaws.com", role: "AWSServiceRoleForAmazonEKSNodegroup" };
/// For Fargate profiles.
pub const FARGATE: ServiceRole =
    ServiceRole { service: "eks-fargate.amazonaws.com", role: "AWSServiceRoleForAmazonEKSForFargate" };
/// For node groups of spot instances: EC2 makes it.
pub const SPOT: ServiceRole = ServiceRole { service: "spot.amazonaws.com", role: "AWSServiceRoleForEC2Spot" };

/// Whether the role exists.
///
/// # Errors
/// AWS could not be asked.
pub async fn exists(aws: &Session, of: ServiceRole) -> Result<bool, AwsError> {
    Ok(aws.snapshots.named_role(of.role, MaxStaleness::now()).await?.is_some())
}

/// The finding for one role. `may_create`: whether the operator may create service-linked roles of the service; `None`:
/// unknown.
pub fn judge(of: ServiceRole, exists: bool, may_create: Option<bool>) -> Finding {
    let ServiceRole { service, role } = of;
    let create = format!("create it: `aws iam create-service-linked-role --aws-service-name {service}`");
    match (exists, may_create) {
        (true, _) => Finding::passed(CHECK, format!("{role} exists")),
        // The policies of deploy/ do not allow it: EKS does not create this role.
        (false, _) if of == SPOT => {
            Finding::warning(CHECK, format!("{role} does not exist, and spot instances need it"), create)
        }
        (false, Some(true)) => {
            Finding::passed(CHECK, format!("{role} does not exist yet: AWS creates it when it is needed"))
        }
        (false, Some(false)) => Finding::failed(
            CHECK,
            format!("{role} does not exist, and the operator may not have AWS create it"),
            format!("{create}, or allow iam:CreateServiceLinkedRole"),
        ),
        (false, None) => {
            Finding::warning(CHECK, format!("{role} does not exist yet: AWS creates it, if the operator may"), create)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn missing_role_is_a_failure_only_if_nobody_creates_it() {
        for (role, exists, may_create, outcome) in [
            (CLUSTER, true, None, Outcome::Passed),
            (CLUSTER, false, Some(true), Outcome::Passed),
            (CLUSTER, false, Some(false), Outcome::Failed),
            (CLUSTER, false, None, Outcome::Warning),
            (SPOT, false, Some(true), Outcome::Warning),
            (SPOT, true, Some(false), Outcome::Passed),
        ] {
            assert_eq!(judge(role, exists, may_create).outcome, outcome, "{role:?} {exists} {may_create:?}");
        }
    }
}
