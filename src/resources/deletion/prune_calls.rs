//! The EKS calls of [`super::prune`]: list, describe and delete. I/O: EKS.

use super::prune::{Decision, Found, Pruning};
use super::prune_limits::is_core;
use super::pruned_kind::PrunedKind;
use crate::api::addons::PruneCoreAddons;
use crate::aws::tags::Tags;
use crate::aws::{AwsError, Service};
use crate::engine::{AllowedTarget, Class, Failure};
use crate::resources::cloud::Cloud;
use crate::resources::eks::{access_entry, addon};

/// Name in the spec, and id in EKS.
type Named = (String, String);

impl Pruning {
    /// Everything of the kind in the cluster.
    pub(crate) async fn list(&self, cloud: &Cloud) -> Result<Vec<Named>, Failure> {
        let mut all = Vec::new();
        let mut next = None;
        loop {
            let (page, more) = self.page(cloud, next).await?;
            all.extend(page);
            next = more;
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    async fn page(&self, cloud: &Cloud, next: Option<String>) -> Result<(Vec<Named>, Option<String>), AwsError> {
        let (aws, name) = (&cloud.aws, &self.cluster);
        let same = |names: &[String]| names.iter().map(|name| (name.clone(), name.clone())).collect();
        Ok(match self.kind {
            PrunedKind::AccessEntries => {
                let request = aws.eks.list_access_entries().cluster_name(name).set_next_token(next);
                let answer = aws.call(Service::Eks, "ListAccessEntries", name, request.send()).await?;
                (same(answer.access_entries()), answer.next_token)
            }
            PrunedKind::Addons => {
                let request = aws.eks.list_addons().cluster_name(name).set_next_token(next);
                let answer = aws.call(Service::Eks, "ListAddons", name, request.send()).await?;
                (same(answer.addons()), answer.next_token)
            }
            PrunedKind::FargateProfiles => {
                let request = aws.eks.list_fargate_profiles().cluster_name(name).set_next_token(next);
                let answer = aws.call(Service::Eks, "ListFargateProfiles", name, request.send()).await?;
                (same(answer.fargate_profile_names()), answer.next_token)
            }
            PrunedKind::PodIdentities => {
                let request = aws.eks.list_pod_identity_associations().cluster_name(name).set_next_token(next);
                let answer = aws.call(Service::Eks, "ListPodIdentityAssociations", name, request.send()).await?;
                // Associations with an owner belong to an add-on.
                let own = answer.associations().iter().filter(|one| one.owner_arn().is_none());
                let named = own.filter_map(|one| {
                    let name = format!("{}/{}", one.namespace()?, one.service_account()?);
                    Some((name, one.association_id()?.to_owned()))
                });
                (named.collect(), answer.next_token)
            }
        })
    }

    /// Decides about a resource that the spec does not list.
    pub(crate) async fn decide(&self, cloud: &Cloud, name: &str, id: &str) -> Result<Decision, Failure> {
        let found = match self.describe(cloud, name, id).await {
            Err(error) if error.class() == Class::NotFound => return Ok(Decision::NotFound),
            other => other?,
        };
        let Some(found) = found else { return Ok(Decision::Keep) };
        let ours = found.tags.is_owned_by(&cloud.owner.uid);
        // A resource of another object is never changed.
        let unowned = found.tags.owner().is_none();
        let prunes = matches!(self.kind, PrunedKind::AccessEntries | PrunedKind::Addons);
        Ok(if ours || prunes && unowned { Decision::Delete(found) } else { Decision::Keep })
    }

    /// `None` if EKS created it for its own use, or the operator needs it.
    async fn describe(&self, cloud: &Cloud, name: &str, id: &str) -> Result<Option<Found>, AwsError> {
        let (aws, cluster) = (&cloud.aws, &self.cluster);
        let found = |arn: Option<&str>, tags, what: &str, deleting| {
            let (name, id, arn) = (name.into(), id.into(), arn.unwrap_or_default().into());
            Some(Found { name, id, arn, tags: Tags::from_eks(tags), what: what.into(), deleting })
        };
        Ok(match self.kind {
            PrunedKind::AccessEntries => {
                if is_service_role(id) || is_caller(id, &aws.caller_arn) {
                    return Ok(None);
                }
                let request = aws.eks.describe_access_entry().cluster_name(cluster).principal_arn(id);
                let answer = aws.call(Service::Eks, "DescribeAccessEntry", name, request.send()).await?;
                let Some(entry) = answer.access_entry else { return Ok(None) };
                // All other types are for nodes: EKS creates their entries with node groups, profiles and pools. Those that the
                // spec listed carry their key.
                let listed = access_entry::key(id).to_string();
                let was_listed = Tags::from_eks(entry.tags()).resource() == Some(&listed);
                if entry.r#type() != Some("STANDARD") && !was_listed {
                    return Ok(None);
                }
                found(entry.access_entry_arn(), entry.tags(), "present", false)
            }
            PrunedKind::Addons => {
                let request = aws.eks.describe_addon().cluster_name(cluster).addon_name(id);
                let answer = aws.call(Service::Eks, "DescribeAddon", name, request.send()).await?;
                let Some(addon) = answer.addon else { return Ok(None) };
                let deleting = addon.status().is_some_and(|status| status.as_str() == "DELETING");
                found(addon.addon_arn(), addon.tags(), addon.addon_version().unwrap_or("present"), deleting)
            }
            PrunedKind::FargateProfiles => {
                let request = aws.eks.describe_fargate_profile().cluster_name(cluster).fargate_profile_name(id);
                let answer = aws.call(Service::Eks, "DescribeFargateProfile", name, request.send()).await?;
                let Some(profile) = answer.fargate_profile else { return Ok(None) };
                let deleting = profile.status().is_some_and(|status| status.as_str() == "DELETING");
                found(profile.fargate_profile_arn(), profile.tags(), "present", deleting)
            }
            PrunedKind::PodIdentities => {
                let request = aws.eks.describe_pod_identity_association().cluster_name(cluster).association_id(id);
                let answer = aws.call(Service::Eks, "DescribePodIdentityAssociation", name, request.send()).await?;
                let Some(one) = answer.association else { return Ok(None) };
                found(one.association_arn(), one.tags(), one.role_arn().unwrap_or("present"), false)
            }
        })
    }

    /// Deletes one resource. If it is not ours, it gets our tags first: the operator's IAM policy allows deletion only
    /// of tagged resources.
    pub(crate) async fn delete_one(
        &self,
        cloud: &Cloud,
        found: &Found,
        allowed: &AllowedTarget,
    ) -> Result<(), Failure> {
        let (aws, cluster, name, id) = (&cloud.aws, &self.cluster, &found.name, allowed.id());
        if !found.tags.is_owned_by(&cloud.owner.uid) {
            cloud.tag_eks(&found.arn, &mut found.tags.clone(), self.tags.ownership()).await?;
        }
        match self.kind {
            PrunedKind::AccessEntries => {
                let request = aws.eks.delete_access_entry().cluster_name(cluster).principal_arn(id);
                aws.call(Service::Eks, "DeleteAccessEntry", name, request.send()).await?;
            }
            PrunedKind::Addons => {
                // EKS then only stops to manage it.
                let preserves = self.core == PruneCoreAddons::Preserve && is_core(id)
                    || found.tags.get(addon::PRESERVE) == Some("true");
                let request = aws.eks.delete_addon().cluster_name(cluster).addon_name(id);
                let request = request.set_preserve(preserves.then_some(true));
                aws.call(Service::Eks, "DeleteAddon", name, request.send()).await?;
            }
            PrunedKind::FargateProfiles => {
                let request = aws.eks.delete_fargate_profile().cluster_name(cluster).fargate_profile_name(id);
                aws.call(Service::Eks, "DeleteFargateProfile", name, request.send()).await?;
            }
            PrunedKind::PodIdentities => {
                let request = aws.eks.delete_pod_identity_association().cluster_name(cluster).association_id(id);
                aws.call(Service::Eks, "DeletePodIdentityAssociation", name, request.send()).await?;
            }
        }
        Ok(())
    }
}

/// A service-linked role.
pub(crate) fn is_service_role(principal: &str) -> bool {
    principal.contains(":role/aws-service-role/")
}

/// Whether the principal is the operator's own identity. The ARN of a role session omits the role's path.
fn is_caller(principal: &str, caller: &str) -> bool {
    let role = |arn: &str| {
        let mut parts = arn.splitn(6, ':');
        let (account, resource) = (parts.nth(4)?.to_owned(), parts.next()?.to_owned());
        let name = match resource.strip_prefix("assumed-role/") {
            Some(session) => session.split('/').next()?,
            None => resource.strip_prefix("role/")?.rsplit('/').next()?,
        };
        Some((account, name.to_owned()))
    };
    principal == caller || role(principal).is_some_and(|one| Some(one) == role(caller))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operator_recognizes_its_own_entry_in_any_session() {
        let session = "arn:aws:sts::123456789012:assumed-role/keelson/keelson-1";
        for (principal, caller, is) in [
            ("arn:aws:iam::123456789012:role/keelson", session, true),
            ("arn:aws:iam::123456789012:role/platform/keelson", session, true),
            ("arn:aws:iam::123456789012:role/keelson-2", session, false),
            ("arn:aws:iam::210987654321:role/keelson", session, false),
            ("arn:aws:iam::123456789012:user/keelson", session, false),
            ("arn:aws:iam::123456789012:user/ann", "arn:aws:iam::123456789012:user/ann", true),
            ("arn:aws:iam::123456789012:user/ann", "arn:aws:iam::123456789012:user/bob", false),
        ] {
            assert_eq!(is_caller(principal, caller), is, "{principal} {caller}");
        }
    }

    #[test]
    fn service_linked_role_is_recognized_by_its_path() {
        assert!(is_service_role(
            "arn:aws:iam::123456789012:role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS"
        ));
        assert!(!is_service_role("arn:aws:iam::123456789012:role/admins"));
    }
}
