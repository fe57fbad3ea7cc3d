//! How to reach a workload cluster's API, and the cluster facts that are published to workloads. No I/O except for
//! credentials.

use kube::ResourceExt as _;

use crate::agents::Verdict;
use crate::agents::shared_input::{Facts, KarpenterFacts};
use crate::api::node_group::SubnetTier;
use crate::api::{EksCluster, Reason};
use crate::aws::Session;
use crate::controllers::cluster::status::facts::Facts as ClusterFacts;
use crate::controllers::context::Context;
use crate::engine::Memory;
use crate::resources::iam::oidc_provider;
use crate::resources::iam::role::{self, Purpose};
use crate::resources::karpenter::queue;
use crate::workload::client::{Access, Location};
use crate::workload::token::StsEndpoint;

/// The facts that manifests in Git may refer to.
pub fn facts(memory: &Memory, cluster: &EksCluster, session: &Session) -> Facts {
    let (observed, cluster_name) = (ClusterFacts(memory), cluster.cluster_name());
    let karpenter = cluster.spec.karpenter.as_ref().map(|wanted| {
        let subnets = observed.subnet_ids(SubnetTier::Private);
        let terms: Vec<_> = subnets.into_iter().map(|id| serde_json::json!({"id": id})).collect();
        // Karpenter acts on what these name, so each is proven to be the object's: anybody can take a name.
        let role = observed.node_role_arn().filter(|_| observed.is_proven(&role::key(Purpose::Node)));
        let queue = queue::key(&cluster_name);
        let has_queue = wanted.interruption_queue && observed.is_proven(&queue);
        KarpenterFacts {
            node_role_name: role.and_then(|arn| arn.rsplit('/').next().map(str::to_owned)),
            subnet_selector_terms: (!terms.is_empty()).then(|| serde_json::Value::Array(terms).to_string()),
            interruption_queue: if has_queue { queue.name().to_owned() } else { String::new() },
        }
    });
    Facts {
        cluster_name,
        aws_region: session.region.to_string(),
        aws_account_id: session.account_id.to_string(),
        vpc_id: observed.vpc_id(),
        private_subnet_ids: observed.subnet_ids(SubnetTier::Private),
        public_subnet_ids: observed.subnet_ids(SubnetTier::Public),
        pod_subnet_ids: observed.pod_subnets().into_iter().map(|subnet| subnet.id).collect(),
        pod_subnet_zones: observed.pod_subnets().into_iter().map(|subnet| subnet.zone).collect(),
        oidc_issuer: observed.of_cluster("oidcIssuer"),
        oidc_provider_arn: observed.output(&oidc_provider::key(), "arn"),
        cluster_endpoint: observed.of_cluster("endpoint"),
        cluster_security_group_id: observed.of_cluster("securityGroupId"),
        node_role_arn: observed.node_role_arn(),
        kubernetes_version: observed.of_cluster("version"),
        karpenter,
    }
}

/// Access to the API of a cluster that its own reconcile has located.
pub async fn access_of(ctx: &Context, cluster: &EksCluster, session: &Session) -> Option<Access> {
    let location = ctx.workloads.location(&cluster.uid()?)?;
    access_at(ctx, cluster, session, location).await
}

/// Access to the API at a known location.
pub async fn access_at(
    ctx: &Context,
    cluster: &EksCluster,
    session: &Session,
    Location { arn, endpoint, certificate_authority }: Location,
) -> Option<Access> {
    let region = session.region.to_string();
    let sts = StsEndpoint::of_region(&region, ctx.settings.sts_endpoint.as_deref()).ok()?;
    let credentials = session.credentials().await.ok()?;
    let cluster_name = cluster.cluster_name();
    let account_id = session.account_id.to_string();
    Some(Access { cluster_name, account_id, region, arn, endpoint, certificate_authority, sts, credentials })
}

/// Records where the cluster's API is, for readers outside the cluster's own reconcile.
pub fn locate(ctx: &Context, cluster: &EksCluster, memory: &Memory) {
    let observed = ClusterFacts(memory);
    if let (true, Some(uid), Some(location)) = (observed.has_api(), cluster.uid(), location(observed)) {
        ctx.workloads.locate(&uid, location);
    }
}

/// From this process's last DescribeCluster, never from status, which may be outdated.
fn location(observed: ClusterFacts<'_>) -> Option<Location> {
    Some(Location {
        arn: observed.of_cluster("arn")?,
        endpoint: observed.of_cluster("endpoint")?,
        certificate_authority: observed.of_cluster("certificateAuthority")?,
    })
}

/// Access to the cluster's API, once the API exists.
pub async fn access(
    memory: &Memory,
    cluster_name: &str,
    session: &Session,
    sts: Option<&str>,
) -> Result<Option<Access>, Verdict> {
    let Some(Location { arn, endpoint, certificate_authority }) = location(ClusterFacts(memory)) else {
        return Ok(None);
    };
    let region = session.region.to_string();
    let sts = StsEndpoint::of_region(&region, sts)
        .map_err(|error| Verdict::not_ready(Reason::CredentialsUnavailable, error.to_string()))?;
    let credentials = session
        .credentials()
        .await
        .map_err(|error| Verdict::not_ready(Reason::CredentialsUnavailable, error.to_string()))?;
    Ok(Some(Access {
        cluster_name: cluster_name.to_owned(),
        account_id: session.account_id.to_string(),
        region,
        arn,
        endpoint,
        certificate_authority,
        sts,
        credentials,
    }))
}
