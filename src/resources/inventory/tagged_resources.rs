//! Reads everything with an owner tag in an account, region and cluster, from which a recovery selects. I/O: reads of
//! EC2, IAM, EKS, CloudWatch Logs, SQS and EventBridge.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_eks::types::{AccessEntry, Addon, Capability, Cluster, FargateProfile, PodIdentityAssociation};
use futures::future::BoxFuture;

use super::account_lists::AccountLists;
use crate::aws::tags::{CLUSTER, Tags};
use crate::aws::{AwsError, MaxStaleness, Service, Session};
use crate::engine::Failure;
use crate::resources::cloud::Owner;
use crate::resources::deletion::occupants;
use crate::resources::eks::lists::{self, if_exists};
use crate::resources::eks::{
    access_entry, addon, capability, cluster, fargate_profile, identity_provider, launch_template, node_group,
    pod_identity_association,
};
use crate::resources::graph::kind::Kind;
use crate::resources::graph::kinds;
use crate::resources::graph::located::Located;
use crate::resources::iam::{oidc_provider, role, role_name};
use crate::resources::network::vpc;
use crate::resources::recovery::takeover::{ControlPlane, Inventory, Location, TaggedResource};
use crate::resources::tag_calls::Handle;

fn to_tagged(one: &dyn Located, kind: &Kind) -> TaggedResource {
    let location = match one.vpc() {
        _ if kind.name == vpc::KIND.name => Location::Itself,
        Some(vpc) => Location::Vpc(vpc.to_owned()),
        None if one.is_in_use() => Location::Itself,
        None => Location::Unused,
    };
    TaggedResource { id: one.id().to_owned(), handle: Handle::Ec2, tags: one.tags().clone(), location }
}

/// Everything in EC2, and every role, that carries an owner tag.
///
/// # Errors
/// The error of the first read that fails: a partial inventory is useless.
pub async fn in_account(aws: &Session, staleness: MaxStaleness) -> Result<Vec<TaggedResource>, Failure> {
    let all = AccountLists::read(aws, staleness).await?;
    let of_kind = |kind: &'static Kind| all.of(kind).into_iter().map(move |one| to_tagged(one, kind));
    let mut found: Vec<TaggedResource> = kinds::ALL.iter().copied().flat_map(of_kind).collect();
    found.extend(all.roles.iter().map(|role| TaggedResource {
        // As the role resource records it: for a role with a path, the name alone is ambiguous.
        id: if role.arn.ends_with(&format!(":role/{}", role.name)) { role.name.clone() } else { role.arn.clone() },
        handle: Handle::Role(role.name.clone()),
        tags: role.tags.clone(),
        location: Location::Itself,
    }));
    Ok(found)
}

/// The cluster with that name and everything in it that carries an owner tag, except node groups; `None` if it does not
/// exist.
///
/// # Errors
/// The error of the first read that fails.
pub async fn in_cluster(aws: &Session, name: &str) -> Result<Option<(ControlPlane, Vec<TaggedResource>)>, Failure> {
    let request = aws.eks.describe_cluster().name(name);
    let answer = if_exists(aws.call(Service::Eks, "DescribeCluster", name, request.send()).await)?;
    let Some(cluster) = answer.and_then(|answer| answer.cluster) else { return Ok(None) };
    let reader = Reader { aws, name };
    let mut found = vec![reader.found(name, cluster.arn(), Tags::from_eks(cluster.tags()))];
    for (_, read) in IN_CLUSTER {
        found.extend(read(&reader, &cluster).await?);
    }
    found.extend(reader.oidc_provider(&cluster).await?);
    found.extend(found_by_name(aws, name).await?);
    found.retain(|one| one.tags.owner().is_some());
    let vpc = cluster.resources_vpc_config();
    let control_plane = ControlPlane {
        tags: Tags::from_eks(cluster.tags()),
        vpc: vpc.and_then(|vpc| vpc.vpc_id()).map(str::to_owned),
        role_arn: cluster.role_arn().map(str::to_owned),
        role_description: None,
        security_group: vpc.and_then(|vpc| vpc.cluster_security_group_id()).map(str::to_owned),
    };
    Ok(Some((control_plane, found)))
}

/// Everything that an EksCluster can select from for a takeover, freshly read.
///
/// # Errors
/// The error of the first read that fails.
pub async fn of_cluster(aws: &Session, cluster_name: &str, owner: &Owner) -> Result<Inventory, Failure> {
    let (mut found, in_eks) = futures::try_join!(in_account(aws, MaxStaleness::now()), in_cluster(aws, cluster_name))?;
    let control_plane = match in_eks {
        Some((control_plane, more)) => {
            found.extend(more);
            let role_description = role_description(aws, control_plane.role_arn.as_deref()).await?;
            Some(ControlPlane { role_description, ..control_plane })
        }
        None => {
            found.extend(oidc_providers(aws).await?);
            found.extend(found_by_name(aws, cluster_name).await?);
            None
        }
    };
    let of_node_groups = [node_group::KIND.name, launch_template::KIND.name];
    found.retain(|one| one.key().is_none_or(|key| !of_node_groups.contains(&key.kind())));
    let role_descriptions = role_descriptions(aws, cluster_name, &found).await?;
    let mut vpcs_in_use = BTreeSet::new();
    let vpcs =
        found.iter().filter(|one| one.key() == Some(vpc::key()) && one.tags.get(CLUSTER) == Some(&owner.cluster));
    for one in vpcs.filter(|_| control_plane.is_none()) {
        if occupants::is_in_use(aws, &one.id).await? {
            vpcs_in_use.insert(one.id.clone());
        }
    }
    let cluster_name = cluster_name.to_owned();
    let own_network = false;
    Ok(Inventory { cluster_name, control_plane, own_network, found, role_descriptions, vpcs_in_use, untagged: None })
}

/// The descriptions of the roles whose names match those that Keelson gives to the cluster's roles.
async fn role_descriptions(
    aws: &Session,
    cluster_name: &str,
    found: &[TaggedResource],
) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = BTreeMap::new();
    for one in found {
        if let Handle::Role(name) = &one.handle
            && role_name::may_be_of(name, cluster_name)
            && let Some(text) = role_description(aws, Some(name)).await?
        {
            all.insert(name.clone(), text);
        }
    }
    Ok(all)
}

/// The description of the role, if its name matches Keelson's scheme.
async fn role_description(aws: &Session, arn: Option<&str>) -> Result<Option<String>, Failure> {
    let name = arn.map(|arn| arn.rsplit('/').next().unwrap_or(arn));
    let Some(name) = name.filter(|name| name.starts_with(role::NAME_PREFIX)) else { return Ok(None) };
    let request = aws.iam.get_role().role_name(name);
    let answer = if_exists(aws.call(Service::Iam, "GetRole", name, request.send()).await)?;
    Ok(answer.and_then(|answer| answer.role).and_then(|role| role.description))
}

/// What a NodeGroup can take over: the node groups with its names, and the launch templates that have their names after them.
///
/// # Errors
/// The error of the read.
pub async fn of_node_group(
    aws: &Session,
    cluster_name: &str,
    first: &str,
    is_candidate: impl Fn(&str) -> bool,
) -> Result<Inventory, Failure> {
    let listed = lists::node_group_names_if_any(aws, cluster_name).await?;
    let (mut found, mut untagged) = (Vec::new(), None);
    for name in std::iter::once(first).chain(listed.iter().map(String::as_str).filter(|name| *name != first)) {
        if !is_candidate(name) {
            continue;
        }
        let group = Reader { aws, name: cluster_name }.node_group(name).await?;
        untagged = untagged.or(group.as_ref().map(|one| format!("{} exists", one.id)));
        found.extend(group.filter(|one| one.key() == Some(node_group::key(name))));
        let template = launch_template::find(aws, cluster_name, name).await?;
        let location = Location::Cluster(cluster_name.to_owned());
        found.extend(template.map(|(id, tags)| TaggedResource { id, handle: Handle::Ec2, tags, location }));
    }
    Ok(Inventory { cluster_name: cluster_name.to_owned(), found, untagged, ..Inventory::default() })
}

/// The node groups of a cluster that carry an owner tag; requires permission to list them.
///
/// # Errors
/// The error of the first read that fails.
pub async fn node_groups(aws: &Session, cluster_name: &str) -> Result<Vec<TaggedResource>, Failure> {
    let mut found = Vec::new();
    for name in lists::node_group_names(aws, cluster_name).await? {
        found.extend(Reader { aws, name: cluster_name }.node_group(&name).await?);
    }
    found.retain(|one: &TaggedResource| one.tags.owner().is_some());
    Ok(found)
}

/// EKS's providers in the region that carry an owner tag: after a cluster is deleted, no issuer leads to the provider's
/// name.
///
/// # Errors
/// The error of the first read that fails.
pub async fn oidc_providers(aws: &Session) -> Result<Vec<TaggedResource>, Failure> {
    let of_region = format!("oidc-provider/oidc.eks.{}.", aws.region);
    let mut found = Vec::new();
    for arn in aws.snapshots.oidc_providers(MaxStaleness::now()).await?.iter().filter(|arn| arn.contains(&of_region)) {
        found.extend(provider(aws, arn).await?);
    }
    Ok(found)
}

/// What has a name that follows from the cluster's and carries an owner tag, but for the cluster itself, which is read with what is in it.
async fn found_by_name(aws: &Session, cluster_name: &str) -> Result<Vec<TaggedResource>, Failure> {
    let others = kinds::ALL.iter().filter(|kind| kind.name != cluster::KIND.name);
    let found = futures::future::try_join_all(others.map(|kind| kind.find_named(aws, cluster_name))).await?;
    let owned = found.into_iter().flatten().filter(|(_, _, tags)| tags.owner().is_some());
    Ok(owned.map(|(id, handle, tags)| TaggedResource { id, handle, tags, location: Location::Itself }).collect())
}

async fn provider(aws: &Session, arn: &str) -> Result<Option<TaggedResource>, Failure> {
    let tags = oidc_provider::tags_of(aws, arn).await?.filter(|tags| tags.owner().is_some());
    Ok(tags.map(|tags| TaggedResource {
        id: arn.to_owned(),
        handle: Handle::OidcProvider(arn.to_owned()),
        tags,
        location: Location::Itself,
    }))
}

/// Reads those of a kind in a cluster.
type ReadInCluster = for<'a> fn(&'a Reader<'a>, &'a Cluster) -> BoxFuture<'a, Result<Vec<TaggedResource>, AwsError>>;

/// How each kind is read that EKS lists in a cluster. Node groups are those of other objects, which read them themselves.
static IN_CLUSTER: &[(&Kind, ReadInCluster)] = &[
    (&addon::KIND, |reader, _| Box::pin(reader.addons())),
    (&access_entry::KIND, |reader, cluster| Box::pin(reader.access_entries(cluster))),
    (&pod_identity_association::KIND, |reader, _| Box::pin(reader.pod_identities())),
    (&fargate_profile::KIND, |reader, _| Box::pin(reader.fargate_profiles())),
    (&identity_provider::KIND, |reader, _| Box::pin(reader.identity_providers())),
    (&capability::KIND, |reader, _| Box::pin(reader.capabilities())),
];

struct Reader<'a> {
    aws: &'a Session,
    /// The cluster's name.
    name: &'a str,
}

impl Reader<'_> {
    fn found(&self, id: &str, arn: Option<&str>, tags: Tags) -> TaggedResource {
        let handle = Handle::Eks(arn.unwrap_or_default().to_owned());
        TaggedResource { id: id.to_owned(), handle, tags, location: Location::Cluster(self.name.to_owned()) }
    }

    async fn addons(&self) -> Result<Vec<TaggedResource>, AwsError> {
        let all = lists::addons(self.aws, self.name).await?;
        let found =
            |one: &Addon| self.found(one.addon_name().unwrap_or_default(), one.addon_arn(), Tags::from_eks(one.tags()));
        Ok(all.iter().map(found).collect())
    }

    async fn access_entries(&self, of: &Cluster) -> Result<Vec<TaggedResource>, AwsError> {
        let mode = of.access_config().and_then(|access| access.authentication_mode()).map(|mode| mode.as_str());
        if mode == Some(crate::resources::eks::cluster_diff::CONFIG_MAP) {
            return Ok(Vec::new());
        }
        let all = lists::access_entries(self.aws, self.name).await?;
        let found = |one: &AccessEntry| {
            self.found(one.principal_arn().unwrap_or_default(), one.access_entry_arn(), Tags::from_eks(one.tags()))
        };
        Ok(all.iter().map(found).collect())
    }

    async fn pod_identities(&self) -> Result<Vec<TaggedResource>, AwsError> {
        let all = lists::pod_identities(self.aws, self.name).await?;
        let found = |one: &PodIdentityAssociation| {
            self.found(one.association_id().unwrap_or_default(), one.association_arn(), Tags::from_eks(one.tags()))
        };
        Ok(all.iter().map(found).collect())
    }

    async fn fargate_profiles(&self) -> Result<Vec<TaggedResource>, AwsError> {
        let all = lists::fargate_profiles(self.aws, self.name).await?;
        let found = |one: &FargateProfile| {
            let (name, tags) = (one.fargate_profile_name().unwrap_or_default(), Tags::from_eks(one.tags()));
            self.found(name, one.fargate_profile_arn(), tags)
        };
        Ok(all.iter().map(found).collect())
    }

    async fn capabilities(&self) -> Result<Vec<TaggedResource>, AwsError> {
        let all = capability::list(self.aws, self.name).await?;
        let found = |one: &Capability| {
            self.found(one.capability_name().unwrap_or_default(), one.arn(), Tags::from_eks(one.tags()))
        };
        Ok(all.iter().map(found).collect())
    }

    async fn identity_providers(&self) -> Result<Vec<TaggedResource>, AwsError> {
        let mut found = Vec::new();
        for name in identity_provider::names(self.aws, self.name).await? {
            let config = identity_provider::describe(self.aws, self.name, &name).await?;
            found.extend(
                config.map(|one| self.found(&name, one.identity_provider_config_arn(), Tags::from_eks(one.tags()))),
            );
        }
        Ok(found)
    }

    async fn oidc_provider(&self, cluster: &Cluster) -> Result<Option<TaggedResource>, Failure> {
        let issuer = cluster.identity().and_then(|identity| identity.oidc()).and_then(|oidc| oidc.issuer());
        match issuer.filter(|issuer| !issuer.is_empty()) {
            Some(issuer) => provider(self.aws, &oidc_provider::arn(self.aws, issuer)).await,
            None => Ok(None),
        }
    }

    async fn node_group(&self, name: &str) -> Result<Option<TaggedResource>, AwsError> {
        let group = lists::node_group(self.aws, self.name, name).await?;
        Ok(group.map(|group| self.found(name, group.nodegroup_arn(), Tags::from_eks(group.tags()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_that_eks_lists_in_a_cluster_is_read() {
        let in_eks = kinds::ALL.iter().filter(|kind| kind.in_eks().is_some()).map(|kind| kind.name);
        let of_cluster: BTreeSet<&str> = in_eks.filter(|name| *name != node_group::KIND.name).collect();
        let read: BTreeSet<&str> = IN_CLUSTER.iter().map(|(kind, _)| kind.name).collect();
        assert_eq!(read, of_cluster, "`keelson recover` does not find those of a kind that is missing here");
    }
}
