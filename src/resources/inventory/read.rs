//! The reads of EKS, EC2, IAM and CloudWatch Logs that make up an [`Inventory`]. I/O: AWS reads.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Filter;
use aws_sdk_eks::types::{Addon, AssociatedAccessPolicy, Cluster, Nodegroup, OidcIdentityProviderConfig};

use super::{FoundAddon, FoundEntry, Inventory};
use crate::aws::{AwsError, MaxStaleness, Service, Session};
use crate::engine::{Class, Failure};
use crate::resources::eks::auto_scaling_group_tags;
use crate::resources::eks::cluster_diff::CONFIG_MAP;
use crate::resources::eks::lists::{self, all_pages, if_exists};
use crate::resources::eks::log_group;
use crate::resources::eks::{capability, identity_provider};

/// Names of the region's clusters.
///
/// # Errors
/// The errors of ListClusters.
pub async fn clusters(aws: &Session) -> Result<Vec<String>, Failure> {
    Ok(lists::cluster_names(aws).await?)
}

/// Reads a cluster with everything in it.
///
/// # Errors
/// The error of the first read that fails: an inventory is never partial.
pub async fn read(aws: &Session, name: &str) -> Result<Inventory, Failure> {
    let request = aws.eks.describe_cluster().name(name);
    let answer = aws.call(Service::Eks, "DescribeCluster", name, request.send()).await?;
    let Some(cluster) = answer.cluster else {
        return Err(Failure::new(Class::NotFound, format!("EKS returned no data for cluster {name}")));
    };
    let reader = Reader { aws, name };
    let mode = cluster.access_config().and_then(|access| access.authentication_mode()).map(|mode| mode.as_str());
    let has_entries = mode != Some(CONFIG_MAP);
    let node_groups = reader.node_groups().await?;
    Ok(Inventory {
        addons: reader.addons(cluster.version().unwrap_or_default()).await?,
        access_entries: if has_entries { reader.access_entries().await? } else { Vec::new() },
        pod_identities: lists::pod_identities(aws, name).await?,
        fargate_profiles: lists::fargate_profiles(aws, name).await?,
        group_tags: reader.group_tags(&node_groups).await?,
        node_groups,
        log_group: log_group::describe(aws, name).await?,
        capabilities: capability::list(aws, name).await?,
        identity_provider: reader.identity_provider().await?,
        oidc_provider: reader.has_oidc_provider(&cluster).await?,
        subnets_gone: reader.subnets_gone(&cluster).await?,
        other_instances: reader.other_instances().await?,
        cluster,
    })
}

struct Reader<'a> {
    aws: &'a Session,
    name: &'a str,
}

impl Reader<'_> {
    async fn addons(&self, version: &str) -> Result<Vec<FoundAddon>, Failure> {
        let mut found = Vec::new();
        for addon in lists::addons(self.aws, self.name).await? {
            let name = addon.addon_name().unwrap_or_default();
            let offers = self.aws.snapshots.addon_versions(name, version, MaxStaleness::any()).await?;
            let is_default =
                offers.iter().any(|offer| offer.default && Some(offer.version.as_str()) == addon.addon_version());
            let pod_identity_roles = self.pod_identity_roles(&addon).await?;
            found.push(FoundAddon { addon, is_default, pod_identity_roles });
        }
        Ok(found)
    }

    async fn pod_identity_roles(&self, addon: &Addon) -> Result<Vec<String>, AwsError> {
        let mut roles = Vec::new();
        for arn in addon.pod_identity_associations() {
            let id = arn.rsplit('/').next().unwrap_or(arn);
            let request = self.aws.eks.describe_pod_identity_association().cluster_name(self.name).association_id(id);
            let answer =
                if_exists(self.aws.call(Service::Eks, "DescribePodIdentityAssociation", id, request.send()).await)?;
            roles.extend(answer.and_then(|answer| answer.association).and_then(|association| association.role_arn));
        }
        roles.sort();
        roles.dedup();
        Ok(roles)
    }

    async fn access_entries(&self) -> Result<Vec<FoundEntry>, AwsError> {
        let mut found = Vec::new();
        for entry in lists::access_entries(self.aws, self.name).await? {
            let policies = self.policies(entry.principal_arn().unwrap_or_default()).await?;
            found.push(FoundEntry { entry, policies });
        }
        Ok(found)
    }

    async fn policies(&self, principal: &str) -> Result<Vec<AssociatedAccessPolicy>, AwsError> {
        let aws = self.aws;
        let list = || aws.eks.list_associated_access_policies().cluster_name(self.name).principal_arn(principal);
        Ok(all_pages!(aws, principal, "ListAssociatedAccessPolicies", list(), associated_access_policies))
    }

    async fn node_groups(&self) -> Result<Vec<Nodegroup>, AwsError> {
        let mut found = Vec::new();
        for name in lists::node_group_names(self.aws, self.name).await? {
            found.extend(lists::node_group(self.aws, self.name, &name).await?);
        }
        Ok(found)
    }

    async fn group_tags(&self, groups: &[Nodegroup]) -> Result<BTreeMap<String, BTreeMap<String, String>>, AwsError> {
        let mut found = BTreeMap::new();
        for group in groups {
            let of_group = group.resources().map_or(&[][..], |resources| resources.auto_scaling_groups());
            let names: Vec<_> = of_group.iter().filter_map(|one| one.name().map(str::to_owned)).collect();
            if !names.is_empty() {
                let tags = auto_scaling_group_tags::describe(self.aws, &names).await?;
                let name = group.nodegroup_name().unwrap_or_default().to_owned();
                found.insert(name, auto_scaling_group_tags::without_eks(&tags, self.name));
            }
        }
        Ok(found)
    }

    async fn identity_provider(&self) -> Result<Option<OidcIdentityProviderConfig>, AwsError> {
        match identity_provider::names(self.aws, self.name).await?.first() {
            Some(name) => identity_provider::describe(self.aws, self.name, name).await,
            None => Ok(None),
        }
    }

    async fn has_oidc_provider(&self, cluster: &Cluster) -> Result<bool, AwsError> {
        let issuer = cluster.identity().and_then(|identity| identity.oidc()).and_then(|oidc| oidc.issuer());
        let Some(issuer) = issuer else { return Ok(false) };
        let arn = self.aws.iam_arn(&format!("oidc-provider/{}", issuer.trim_start_matches("https://")));
        Ok(self.aws.snapshots.oidc_providers(MaxStaleness::any()).await?.contains(&arn))
    }

    /// With a filter instead of ids, EC2 does not reject the request for one deleted subnet.
    async fn subnets_gone(&self, cluster: &Cluster) -> Result<Vec<String>, AwsError> {
        let requested = cluster.resources_vpc_config().map(|vpc| vpc.subnet_ids().to_vec()).unwrap_or_default();
        let filter = Filter::builder().name("subnet-id").set_values(Some(requested.clone())).build();
        let request = self.aws.ec2.describe_subnets().filters(filter);
        let answer = self.aws.call(Service::Ec2, "DescribeSubnets", self.name, request.send()).await?;
        let existing: Vec<_> = answer.subnets().iter().filter_map(|subnet| subnet.subnet_id()).collect();
        Ok(requested.into_iter().filter(|id| !existing.contains(&id.as_str())).collect())
    }

    /// Instances tagged as the cluster's that neither a node group nor Auto Mode owns.
    async fn other_instances(&self) -> Result<Vec<String>, AwsError> {
        let owned = Filter::builder().name(format!("tag:kubernetes.io/cluster/{}", self.name)).values("owned").build();
        let running = Filter::builder().name("instance-state-name").values("running").values("pending").build();
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let request = self.aws.ec2.describe_instances().filters(owned.clone()).filters(running.clone());
            let request = request.set_next_token(next);
            let answer = self.aws.call(Service::Ec2, "DescribeInstances", self.name, request.send()).await?;
            for instance in answer.reservations().iter().flat_map(|reservation| reservation.instances()) {
                let managed = ["eks:nodegroup-name", "aws:eks:cluster-name", "eks:eks-cluster-name"];
                if !instance.tags().iter().any(|tag| managed.contains(&tag.key().unwrap_or_default())) {
                    found.extend(instance.instance_id().map(str::to_owned));
                }
            }
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(found);
            }
        }
    }
}
