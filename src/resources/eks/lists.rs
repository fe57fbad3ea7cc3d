//! Reads EKS lists: all pages, and the details of each item, which may be deleted in between.

use aws_sdk_eks::types::{AccessEntry, Addon, FargateProfile, Nodegroup, PodIdentityAssociation};

use crate::aws::{AwsError, Service, Session};
use crate::engine::{Class, Failure};

/// Reads all pages of an EKS list. Arguments: session, resource name for messages, action, request without a token,
/// field of the response. Returns the first error from the enclosing function.
macro_rules! all_pages {
    ($aws:expr, $name:expr, $action:literal, $request:expr, $items:ident) => {{
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let request = $request.set_next_token(next);
            let answer = $aws.call(crate::aws::Service::Eks, $action, $name, request.send()).await?;
            all.extend(answer.$items().iter().cloned());
            next = answer.next_token;
            if next.is_none() {
                break all;
            }
        }
    }};
}
pub(crate) use all_pages;

/// The details of a listed item; `None` if it was deleted after the list was read.
pub(crate) fn if_exists<T>(answer: Result<T, AwsError>) -> Result<Option<T>, AwsError> {
    match answer {
        Err(error) if error.class() == Class::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Why a resource with a name of ours was not created. That it exists already is no failure: an attempt whose response was lost
/// created it, or somebody else, and the next observation shows its owner.
///
/// The name is what makes these creates safe to repeat, so they send no client token of ours, and the SDK gives each call its own. EKS
/// answers a token with the result of its first call for 24 hours, also when that was deleted meanwhile: one that is derived from the
/// request would never create the resource again. See
/// <https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCapability.html>.
pub(crate) fn create_failure(error: AwsError) -> Failure {
    if error.class() == Class::Conflict { Failure::of(Class::NoChange, error) } else { error.into() }
}

/// Names of the region's clusters.
///
/// # Errors
/// The errors of ListClusters.
pub(crate) async fn cluster_names(aws: &Session) -> Result<Vec<String>, AwsError> {
    Ok(all_pages!(aws, &aws.region, "ListClusters", aws.eks.list_clusters(), clusters))
}

/// The cluster's add-ons.
///
/// # Errors
/// The error of the first read that fails, as for all lists below.
pub(crate) async fn addons(aws: &Session, cluster: &str) -> Result<Vec<Addon>, AwsError> {
    let mut found = Vec::new();
    for name in all_pages!(aws, cluster, "ListAddons", aws.eks.list_addons().cluster_name(cluster), addons) {
        let request = aws.eks.describe_addon().cluster_name(cluster).addon_name(&name);
        let answer = if_exists(aws.call(Service::Eks, "DescribeAddon", &name, request.send()).await)?;
        found.extend(answer.and_then(|answer| answer.addon));
    }
    Ok(found)
}

/// The cluster's access entries.
pub(crate) async fn access_entries(aws: &Session, cluster: &str) -> Result<Vec<AccessEntry>, AwsError> {
    let list = || aws.eks.list_access_entries().cluster_name(cluster);
    let mut found = Vec::new();
    for principal in all_pages!(aws, cluster, "ListAccessEntries", list(), access_entries) {
        let request = aws.eks.describe_access_entry().cluster_name(cluster).principal_arn(&principal);
        let answer = if_exists(aws.call(Service::Eks, "DescribeAccessEntry", &principal, request.send()).await)?;
        found.extend(answer.and_then(|answer| answer.access_entry));
    }
    Ok(found)
}

/// The cluster's pod identity associations without an owner: those with one belong to an add-on.
pub(crate) async fn pod_identities(aws: &Session, cluster: &str) -> Result<Vec<PodIdentityAssociation>, AwsError> {
    let mut all = all_pod_identities(aws, cluster).await?;
    all.retain(|one| one.owner_arn().is_none());
    Ok(all)
}

/// The cluster's pod identity associations, those of add-ons included.
pub(crate) async fn all_pod_identities(aws: &Session, cluster: &str) -> Result<Vec<PodIdentityAssociation>, AwsError> {
    let list = || aws.eks.list_pod_identity_associations().cluster_name(cluster);
    let mut found = Vec::new();
    for one in all_pages!(aws, cluster, "ListPodIdentityAssociations", list(), associations) {
        let Some(id) = one.association_id() else { continue };
        let request = aws.eks.describe_pod_identity_association().cluster_name(cluster).association_id(id);
        let answer = if_exists(aws.call(Service::Eks, "DescribePodIdentityAssociation", id, request.send()).await)?;
        found.extend(answer.and_then(|answer| answer.association));
    }
    Ok(found)
}

/// The cluster's Fargate profiles.
pub(crate) async fn fargate_profiles(aws: &Session, cluster: &str) -> Result<Vec<FargateProfile>, AwsError> {
    let list = || aws.eks.list_fargate_profiles().cluster_name(cluster);
    let mut found = Vec::new();
    for name in all_pages!(aws, cluster, "ListFargateProfiles", list(), fargate_profile_names) {
        let request = aws.eks.describe_fargate_profile().cluster_name(cluster).fargate_profile_name(&name);
        let answer = if_exists(aws.call(Service::Eks, "DescribeFargateProfile", &name, request.send()).await)?;
        found.extend(answer.and_then(|answer| answer.fargate_profile));
    }
    Ok(found)
}

/// Names of the cluster's node groups.
pub(crate) async fn node_group_names(aws: &Session, cluster: &str) -> Result<Vec<String>, AwsError> {
    Ok(all_pages!(aws, cluster, "ListNodegroups", aws.eks.list_nodegroups().cluster_name(cluster), nodegroups))
}

/// The same; none if the cluster does not exist.
pub(crate) async fn node_group_names_if_any(aws: &Session, cluster: &str) -> Result<Vec<String>, AwsError> {
    match node_group_names(aws, cluster).await {
        Err(error) if error.class() == Class::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// The node group of that name, if it exists.
pub(crate) async fn node_group(aws: &Session, cluster: &str, name: &str) -> Result<Option<Nodegroup>, AwsError> {
    let request = aws.eks.describe_nodegroup().cluster_name(cluster).nodegroup_name(name);
    let answer = if_exists(aws.call(Service::Eks, "DescribeNodegroup", name, request.send()).await)?;
    Ok(answer.and_then(|answer| answer.nodegroup))
}
