//! The roles that an add-on uses through EKS Pod Identity. I/O: EKS.

use std::collections::BTreeSet;

use aws_sdk_eks::types::AddonPodIdentityAssociations;

use super::addon::Addon;
use crate::aws::Service;
use crate::engine::{Class, Failure, Refs};
use crate::resources::cloud::Cloud;
use crate::resources::iam::workload_role;

impl Addon {
    /// The role that it gets through pod identity; `None`: not managed, or not known yet.
    pub(crate) fn pod_role<'r>(&'r self, refs: &'r Refs) -> Option<&'r str> {
        let created = || workload_role::arn(refs, &workload_role::key_of_addon(&self.wanted.name)).ok();
        let created = self.wanted.pod_identity_role.as_ref().and_then(|_| created());
        self.wanted.pod_identity_role_arn.as_deref().or(created)
    }

    /// The service accounts that get the role, as the add-on's own configuration lists them. `None`: no role is managed.
    pub(super) async fn pod_identity(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        version: &str,
    ) -> Result<Option<Vec<AddonPodIdentityAssociations>>, Failure> {
        if self.wanted.pod_identity_role.is_some() {
            workload_role::arn(refs, &workload_role::key_of_addon(&self.wanted.name))?;
        }
        let Some(role) = self.pod_role(refs) else { return Ok(None) };
        let name = &self.wanted.name;
        let request = cloud.aws.eks.describe_addon_configuration().addon_name(name).addon_version(version);
        let answer = cloud.aws.call(Service::Eks, "DescribeAddonConfiguration", name, request.send()).await?;
        let accounts = answer.pod_identity_configuration().iter().filter_map(|one| one.service_account());
        let associations = accounts
            .map(|account| AddonPodIdentityAssociations::builder().service_account(account).role_arn(role).build())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::of(Class::Invalid, error))?;
        if associations.is_empty() {
            return Err(Failure::invalid(format!(
                "add-on {name} {version} has no service account that takes a role by pod identity: \
                 remove podIdentityRole and podIdentityRoleArn, or use serviceAccountRoleArn"
            )));
        }
        Ok(Some(associations))
    }

    /// The roles that the add-on uses through pod identity: DescribeAddon returns only the association ids.
    pub(super) async fn pod_identity_roles(
        &self,
        cloud: &Cloud,
        addon: &aws_sdk_eks::types::Addon,
    ) -> Result<BTreeSet<String>, Failure> {
        let mut roles = BTreeSet::new();
        for arn in addon.pod_identity_associations() {
            let id = arn.rsplit('/').next().unwrap_or(arn);
            let request =
                cloud.aws.eks.describe_pod_identity_association().cluster_name(&self.cluster).association_id(id);
            let name = &self.wanted.name;
            match cloud.aws.call(Service::Eks, "DescribePodIdentityAssociation", name, request.send()).await {
                Err(error) if error.class() == Class::NotFound => {}
                other => {
                    let association = other?.association;
                    roles.extend(association.and_then(|association| association.role_arn));
                }
            }
        }
        Ok(roles)
    }
}
