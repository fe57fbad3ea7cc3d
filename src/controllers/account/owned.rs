//! Checks whether referenced resources were created by objects of the same namespace, where the account's allowlists
//! alone do not decide. I/O: the stores of the management cluster, and AWS through [`crate::resources`].

use std::collections::BTreeSet;
use std::time::Duration;

use kube::ResourceExt;

use super::allowlist::Allowlists;
use super::allowlist::refuse_inline_policy;
use super::authorization::Grant;
use super::named::{Kind, ResourceReference};
use super::refusal::Refusal;
use crate::api::EksCluster;
use crate::aws::{MaxStaleness, Session};
use crate::controllers::context::Context;
use crate::controllers::reconcile_error::ValidateError;
use crate::engine::Failure;
use crate::resources::inventory::owned_resources::{OwnedResources, find_image_owners, find_owned_resources};

/// Why an object is refused.
#[derive(Debug)]
pub enum Denied {
    /// It refers to a resource that it may not use.
    Refused(Refusal),
    /// The owner could not be read.
    Unreadable(Failure),
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => f.write_str(&refusal.message),
            Self::Unreadable(failure) => f.write_str(&failure.message),
        }
    }
}

impl std::error::Error for Denied {}

impl From<Denied> for ValidateError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Refused(refusal) => Self::Refused(refusal),
            Denied::Unreadable(failure) => Self::Aws(failure),
        }
    }
}

/// Decides about `named` by the account's allowlists alone, before any call. Returns the references that depend on
/// ownership.
///
/// # Errors
/// The first reference that is not allowed. Without an AwsAccount there are no allowlists: the whole installation is
/// one tenant. But then nothing limits the roles of Pods, so that an author of manifests could write any permission.
pub fn check<'n>(grant: &Grant, named: &'n [ResourceReference]) -> Result<Vec<&'n ResourceReference>, Refusal> {
    if let Some(lists) = &grant.allowlists {
        return lists.check(named);
    }
    match named.iter().find(|one| one.kind == Kind::InlinePolicy) {
        Some(one) => Err(refuse_inline_policy(&one.field, "the operator's own account, without an AwsAccount,")),
        None => Ok(Vec::new()),
    }
}

/// Decides the rest before the first write: `undecided` is the result of [`check`]. `max_age`: maximum age of a cached
/// read that shows ownership; before a refusal, it is read again.
///
/// # Errors
/// The first resource with another owner, or that AWS could not be read.
pub async fn check_owned(
    ctx: &Context,
    aws: &Session,
    grant: &Grant,
    namespace: &str,
    undecided: &[&ResourceReference],
    max_age: Duration,
) -> Result<(), Denied> {
    let Some(lists) = grant.allowlists.as_ref().filter(|_| !undecided.is_empty()) else { return Ok(()) };
    let own = NamespaceResources::of(ctx, namespace);
    match decide(lists, aws, &own, undecided, MaxStaleness::within(max_age)).await {
        Err(Denied::Refused(_)) => decide(lists, aws, &own, undecided, MaxStaleness::now()).await,
        other => other,
    }
}

/// The same for the AMIs alone, which EC2 decides without the management cluster.
///
/// # Errors
/// The first AMI that is not allowed, or that EC2 could not be read.
pub async fn check_images(aws: &Session, grant: &Grant, named: &[ResourceReference]) -> Result<(), Denied> {
    let Some(lists) = &grant.allowlists else { return Ok(()) };
    let undecided = lists.check(named).map_err(Denied::Refused)?;
    let images: Vec<&ResourceReference> = undecided.into_iter().filter(|one| one.kind == Kind::Image).collect();
    let ids = lists.images_to_look_up(&images);
    let image_owners = find_image_owners(aws, &ids, MaxStaleness::now()).await.map_err(Denied::Unreadable)?;
    let owned = OwnedResources { image_owners, ..OwnedResources::default() };
    lists.check_owned(&images, &owned).map_err(Denied::Refused)
}

async fn decide(
    lists: &Allowlists,
    aws: &Session,
    own: &NamespaceResources,
    undecided: &[&ResourceReference],
    max_staleness: MaxStaleness,
) -> Result<(), Denied> {
    let (subnets, images) = (lists.subnets_to_look_up(undecided), lists.images_to_look_up(undecided));
    let mut made = OwnedResources::default();
    if images.len() < undecided.len() {
        made = find_owned_resources(aws, &own.uids, &subnets, max_staleness).await.map_err(Denied::Unreadable)?;
    }
    made.image_owners = find_image_owners(aws, &images, max_staleness).await.map_err(Denied::Unreadable)?;
    made.security_groups.extend(own.security_groups.iter().cloned());
    lists.check_owned(undecided, &made).map_err(Denied::Refused)
}

/// What is known about a namespace's EksClusters without AWS.
struct NamespaceResources {
    /// Their UIDs, which only the API server assigns; resources they create carry one as owner tag.
    uids: BTreeSet<String>,
    /// The security groups that EKS created for them, without the cluster's tags. They are in status, which tenants
    /// cannot write.
    security_groups: BTreeSet<String>,
}

impl NamespaceResources {
    fn of(ctx: &Context, namespace: &str) -> Self {
        let clusters = ctx.clusters.state_filter(|cluster| cluster.metadata.namespace.as_deref() == Some(namespace));
        let group = |cluster: &EksCluster| cluster.status.as_ref()?.network.as_ref()?.cluster_security_group_id.clone();
        Self {
            uids: clusters.iter().filter_map(|cluster| cluster.uid()).collect(),
            security_groups: clusters.iter().filter_map(|cluster| group(cluster)).collect(),
        }
    }
}
