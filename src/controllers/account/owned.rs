//! Whether what an object names was made by objects of its namespace, where the account's allowlists alone do not say. I/O: the
//! stores of the management cluster, and AWS through [`crate::resources`].

use std::collections::BTreeSet;
use std::time::Duration;

use kube::ResourceExt;

use super::allowlist::Allowlists;
use super::named::Named;
use super::{Grant, Refusal};
use crate::api::EksCluster;
use crate::aws::{MaxStaleness, Session};
use crate::controllers::context::Context;
use crate::engine::Failure;
use crate::resources::made_by::find_owned_resources;

/// Why an object may not go on.
#[derive(Debug)]
pub enum Denied {
    /// It names what it may not.
    Refused(Refusal),
    /// It could not be seen whose it is.
    Unseen(Failure),
}

/// Says what the account's allowlists alone can say of `named`: before any call. Returns what depends on who made it.
///
/// # Errors
/// The first that the object may not name. Without an AwsAccount there are no allowlists: the whole installation is one tenant.
pub fn check<'n>(grant: &Grant, named: &'n [Named]) -> Result<Vec<&'n Named>, Refusal> {
    grant.allowlists.as_ref().map_or_else(|| Ok(Vec::new()), |lists| lists.check(named))
}

/// Decides the rest before the first write: `undecided` is what [`check`] returned. `max_age`: how old a read may be that shows
/// it as the namespace's own; before something is refused it is read anew.
///
/// # Errors
/// The first that is somebody else's, or that AWS could not be asked.
pub async fn check_owned(
    ctx: &Context,
    aws: &Session,
    grant: &Grant,
    namespace: &str,
    undecided: &[&Named],
    max_age: Duration,
) -> Result<(), Denied> {
    let Some(lists) = grant.allowlists.as_ref().filter(|_| !undecided.is_empty()) else { return Ok(()) };
    let own = Own::of(ctx, namespace);
    match decide(lists, aws, &own, undecided, MaxStaleness::within(max_age)).await {
        Err(Denied::Refused(_)) => decide(lists, aws, &own, undecided, MaxStaleness::now()).await,
        other => other,
    }
}

async fn decide(
    lists: &Allowlists,
    aws: &Session,
    own: &Own,
    undecided: &[&Named],
    fresh: MaxStaleness,
) -> Result<(), Denied> {
    let subnets = lists.subnets_to_look_up(undecided);
    let mut made = find_owned_resources(aws, &own.uids, &subnets, fresh).await.map_err(Denied::Unseen)?;
    made.security_groups.extend(own.security_groups.iter().cloned());
    lists.check_owned(undecided, &made).map_err(Denied::Refused)
}

/// What is known of the EksClusters of a namespace without AWS.
struct Own {
    /// What they make carries these as owner, and the API server alone gives them.
    uids: BTreeSet<String>,
    /// Those that EKS made for them: EKS puts none of the cluster's tags on them. They stand in status, which tenants cannot write.
    security_groups: BTreeSet<String>,
}

impl Own {
    fn of(ctx: &Context, namespace: &str) -> Self {
        let clusters = ctx.clusters.state_filter(|cluster| cluster.metadata.namespace.as_deref() == Some(namespace));
        let group = |cluster: &EksCluster| cluster.status.as_ref()?.network.as_ref()?.cluster_security_group_id.clone();
        Self {
            uids: clusters.iter().filter_map(|cluster| cluster.uid()).collect(),
            security_groups: clusters.iter().filter_map(|cluster| group(cluster)).collect(),
        }
    }
}
