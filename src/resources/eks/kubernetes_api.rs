//! Finds the Kubernetes API of an owned cluster by asking EKS directly, for work that comes before the reconcile of its
//! graph.

use aws_sdk_eks::types::ClusterStatus;

use crate::aws::tags::{Ownership, Tags};
use crate::aws::{AwsError, Service, Session};
use crate::engine::{Class, Failure};
use crate::resources::cloud::Cloud;
use crate::resources::eks::lists::if_exists;
use crate::resources::graph::kind::NamedResource;
use crate::resources::tag_calls::Handle;

/// What a client needs to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// The cluster's ARN, from EKS.
    pub arn: String,
    /// Its URL.
    pub endpoint: String,
    /// PEM in base64.
    pub certificate_authority: String,
}

/// The API of the cluster `name`; `None` if it cannot be used: the cluster does not exist, is not owned by the object,
/// was never ready or is being deleted.
///
/// # Errors
/// EKS could not be read.
pub async fn api(cloud: &Cloud, name: &str) -> Result<Option<Api>, Failure> {
    let request = cloud.aws.eks.describe_cluster().name(name);
    let cluster = match cloud.aws.call(Service::Eks, "DescribeCluster", name, request.send()).await {
        Err(error) if error.class() == Class::NotFound => return Ok(None),
        other => other?.cluster,
    };
    Ok(cluster.and_then(|cluster| {
        let ours = Ownership::of(&Tags::from_eks(cluster.tags()), &cloud.owner.uid) == Ownership::Ours;
        let usable = matches!(cluster.status(), Some(ClusterStatus::Active | ClusterStatus::Updating));
        let endpoint = cluster.endpoint().filter(|_| ours && usable)?.to_owned();
        let certificate_authority = cluster.certificate_authority().and_then(|ca| ca.data())?.to_owned();
        Some(Api { arn: cluster.arn()?.to_owned(), endpoint, certificate_authority })
    }))
}

/// The cluster with that name, whoever owns it, freshly read; `None` if it does not exist.
///
/// # Errors
/// EKS could not be read.
pub async fn find(aws: &Session, name: &str) -> Result<Option<NamedResource>, AwsError> {
    let request = aws.eks.describe_cluster().name(name);
    let answer = if_exists(aws.call(Service::Eks, "DescribeCluster", name, request.send()).await)?;
    Ok(answer.and_then(|answer| answer.cluster).map(|cluster| {
        let handle = Handle::Eks(cluster.arn().unwrap_or_default().to_owned());
        (name.to_owned(), handle, Tags::from_eks(cluster.tags()))
    }))
}

/// The tags of the cluster with that name, whoever owns it, freshly read; `None` if it does not exist.
///
/// # Errors
/// EKS could not be read.
pub async fn tags(aws: &Session, name: &str) -> Result<Option<Tags>, AwsError> {
    let request = aws.eks.describe_cluster().name(name);
    let answer = if_exists(aws.call(Service::Eks, "DescribeCluster", name, request.send()).await)?;
    Ok(answer.and_then(|answer| answer.cluster).map(|cluster| Tags::from_eks(cluster.tags())))
}
