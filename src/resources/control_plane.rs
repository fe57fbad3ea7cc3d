//! Where the Kubernetes API of a cluster of ours is, asked of EKS directly: for what must be done before its graph is at work.

use aws_sdk_eks::types::ClusterStatus;

use super::cloud::Cloud;
use crate::aws::Service;
use crate::aws::tags::{Ownership, Tags};
use crate::engine::{Class, Failure};

/// What it takes to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// The cluster's ARN, as EKS answered.
    pub arn: String,
    /// Its URL.
    pub endpoint: String,
    /// PEM in base64.
    pub certificate_authority: String,
}

/// The API of the cluster called `name`; `None` when there is none to talk to: no cluster, one that is not ours, one that
/// never was ready or is being deleted.
///
/// # Errors
/// When EKS could not be asked.
pub async fn api(cloud: &Cloud, name: &str) -> Result<Option<Api>, Failure> {
    let request = cloud.aws.eks.describe_cluster().name(name);
    let cluster = match cloud.aws.call(Service::Eks, "DescribeCluster", name, request.send()).await {
        Err(error) if error.class() == Class::NotFound => return Ok(None),
        other => other?.cluster,
    };
    Ok(cluster.and_then(|cluster| {
        let ours = Ownership::of(&Tags::from_eks(cluster.tags()), &cloud.owner.uid) == Ownership::Ours;
        let there = matches!(cluster.status(), Some(ClusterStatus::Active | ClusterStatus::Updating));
        let endpoint = cluster.endpoint().filter(|_| ours && there)?.to_owned();
        let certificate_authority = cluster.certificate_authority().and_then(|ca| ca.data())?.to_owned();
        Some(Api { arn: cluster.arn()?.to_owned(), endpoint, certificate_authority })
    }))
}
