//! The EKS control plane.
//!
//! Follows <https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html>. Created without EKS's
//! self-managed add-ons, which would conflict with the EKS add-ons.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eks::types::ClusterStatus;
use jiff::Timestamp;

use super::cluster_diff::{self, Detail, Part};
use super::health_issues;
use super::kubernetes_api;
use super::offered_versions;
use super::updates::{self, UpdateTarget};
use crate::api::cluster::{AutoMode, EksClusterSpec};
use crate::api::network::Network;
use crate::aws::errors::health::{Reported, Subject, explain};
use crate::aws::tags::Tags;
use crate::aws::{MaxStaleness, Service, snapshots};
use crate::engine::{
    Action, Change, Class, Failure, Goal, Key, MarkOwner, Observation, ObserveOptions, Phase, PollPolicy, Presence,
    Recreate, Refs, Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext};
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::graph::{ownership, proof};
use crate::resources::iam::role::{self, Purpose};
use crate::resources::tag_calls::{Handle, OwnerTags};

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("cluster", "control plane", Area::ControlPlane)
    .by_name(|aws, name| Box::pin(kubernetes_api::find(aws, name)))
    .with_actions(&[
        "ec2:DeleteTags",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeVpcs",
        "eks:AssociateEncryptionConfig",
        "eks:CreateCluster",
        "eks:DeleteCluster",
        "eks:DescribeCluster",
        "eks:DescribeUpdate",
        "eks:ListUpdates",
        "eks:TagResource",
        "eks:UntagResource",
        "eks:UpdateClusterConfig",
        "eks:UpdateClusterVersion",
        "iam:GetAccountAuthorizationDetails",
    ]);

/// The control plane of a cluster.
pub struct Cluster {
    pub(crate) name: String,
    pub(crate) spec: Box<EksClusterSpec>,
    /// The version to be at now; `None` keeps the current one.
    pub(crate) version: Option<String>,
    /// The resources that provide the subnets: own subnets, or the existing network.
    network: Vec<Key>,
    /// The log group, if Keelson creates it: otherwise EKS does, which takes no tags for it.
    pub(crate) tags: Tags,
    intervals: Intervals,
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

/// The output that lists subnets: of an existing network those to use, of the cluster those that it has.
pub const SUBNET_IDS: &str = "subnetIds";

/// The output with the id of the security group that EKS created for the cluster.
const SECURITY_GROUP: &str = "securityGroupId";

/// The output with EKS's health issues: a list, only if there are any.
pub const HEALTH_ISSUES: &str = "healthIssues";

/// The output with the authentication mode, in EKS's notation.
const AUTHENTICATION: &str = "authenticationMode";

/// Whether the cluster's current mode supports no access entries: EKS then refuses even to describe one.
pub fn has_no_access_entries(refs: &Refs) -> bool {
    refs.output(&key(), AUTHENTICATION) == Some(cluster_diff::CONFIG_MAP)
}

impl Cluster {
    /// The control plane of `spec`, in the subnets that `network` provides. `version` is the version to be at now, a
    /// step towards the spec's; `None` keeps the current one.
    pub fn new(
        context: &ResourceContext<'_>,
        spec: &EksClusterSpec,
        network: Vec<Key>,
        version: Option<String>,
    ) -> Self {
        let spec = EksClusterSpec { gitops: None, addons: Vec::new(), ..spec.clone() };
        Self {
            name: context.cluster_name.into(),
            spec: Box::new(spec),
            network,
            version,
            tags: context.tags(&key()),
            intervals: context.intervals,
        }
    }

    pub(crate) fn subnet_ids(&self, refs: &Refs) -> Result<Vec<String>, Failure> {
        let mut ids = Vec::new();
        for key in &self.network {
            match refs.output(key, SUBNET_IDS) {
                Some(several) => ids.extend(several.split(',').map(str::to_owned)),
                None => ids.push(refs.id(key)?.to_owned()),
            }
        }
        Ok(ids)
    }

    pub(crate) fn network(&self) -> &[Key] {
        &self.network
    }

    pub(crate) fn security_groups(&self) -> Option<Vec<String>> {
        let Network { vpc, existing } = &self.spec.network;
        let of_existing = existing.as_ref().and_then(|network| network.security_group_ids.clone());
        of_existing.or_else(|| vpc.as_ref().and_then(|network| network.security_group_ids.clone()))
    }

    pub(crate) fn to_observation(&self, cluster: &aws_sdk_eks::types::Cluster) -> Observation<Detail> {
        let status = cluster.status().map_or("CREATING", ClusterStatus::as_str);
        let since = cluster.created_at().and_then(|at| Timestamp::from_second(at.secs()).ok());
        let busy = |action, since| Phase::Busy { action, since, note: String::new() };
        let issues = issues(cluster);
        let phase = match cluster.status() {
            Some(ClusterStatus::Active) => Phase::Ready,
            // The endpoint stays usable, but EKS accepts no other update meanwhile.
            Some(ClusterStatus::Updating) => busy(Action::Update, None),
            Some(ClusterStatus::Deleting) => busy(Action::Delete, None),
            Some(ClusterStatus::Failed) => failed(&issues),
            _ => busy(Action::Create, since),
        };
        let vpc = cluster.resources_vpc_config();
        let services = cluster.kubernetes_network_config();
        let mut observed = Observation::ready(&self.name, status, cluster_diff::to_detail(cluster)).phase(phase);
        if !issues.is_empty() {
            observed = observed.output(HEALTH_ISSUES, health_issues::to_json(&issues));
            observed.issue_code = health_issues::first_code(&issues);
        }
        let outputs = [
            ("arn", cluster.arn()),
            ("endpoint", cluster.endpoint()),
            ("certificateAuthority", cluster.certificate_authority().and_then(|ca| ca.data())),
            ("oidcIssuer", cluster.identity().and_then(|i| i.oidc()).and_then(|oidc| oidc.issuer())),
            ("version", cluster.version()),
            ("platformVersion", cluster.platform_version()),
            (AUTHENTICATION, cluster.access_config().and_then(|a| a.authentication_mode()).map(|mode| mode.as_str())),
            (SECURITY_GROUP, vpc.and_then(|vpc| vpc.cluster_security_group_id())),
            ("vpcId", vpc.and_then(|vpc| vpc.vpc_id())),
            ("serviceCidr", services.and_then(|n| n.service_ipv4_cidr().or(n.service_ipv6_cidr()))),
        ];
        for (name, value) in outputs {
            if let Some(value) = value {
                observed = observed.output(name, value);
            }
        }
        if let Some(vpc) = vpc {
            observed = observed.output(SUBNET_IDS, vpc.subnet_ids().join(","));
        }
        if let Some(since) = since {
            observed = observed.output("createdAt", since.to_string());
        }
        observed
    }
}

/// Whether EKS Auto Mode is to create nodes whose role Keelson creates.
pub fn creates_node_role(spec: &EksClusterSpec) -> bool {
    let needs_role = |auto: &AutoMode| auto.enabled && !auto.node_pools.is_empty() && auto.node_role_arn.is_none();
    spec.auto_mode.as_ref().is_some_and(needs_role)
}

fn issues(cluster: &aws_sdk_eks::types::Cluster) -> Vec<Reported> {
    cluster.health().map(|found| health_issues::reported(found.issues())).unwrap_or_default()
}

/// The phase of a cluster that EKS failed.
fn failed(issues: &[Reported]) -> Phase {
    let reason = if issues.is_empty() { "EKS gives no reason".into() } else { explain(Subject::Cluster, issues) };
    Phase::Failed { reason, class: Class::Unknown, recreate: Recreate::Never }
}

#[async_trait]
impl Resource for Cluster {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key()
    }

    fn after(&self) -> Vec<Key> {
        let auto_node = creates_node_role(&self.spec).then(|| role::key(Purpose::AutoNode));
        let others = [role::key(Purpose::Cluster)].into_iter().chain(auto_node);
        self.network.iter().cloned().chain(others).collect()
    }

    fn deletable_while(&self, _: Action) -> bool {
        false
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let access = match (self.spec.endpoint_access.public, self.spec.endpoint_access.private) {
            (true, true) => "public and private",
            (true, false) => "public",
            _ => "private",
        };
        vec![("version", self.spec.version.clone()), ("endpoint", access.into())]
    }

    /// 8 to 13 min to create, according to published measurements.
    fn expected(&self, action: Action) -> Duration {
        Duration::from_secs(match action {
            Action::Create => 560,
            Action::Update => 480,
            Action::Adopt | Action::Release => 1,
            Action::Delete => 180,
        })
    }

    /// According to published measurements. Updates that change the API servers replace them one by one.
    fn expected_operation(&self, kind: &str) -> Duration {
        Duration::from_secs(match kind {
            "VersionUpdate" | "VersionRollback" => 510,
            "AssociateEncryptionConfig" => 900,
            updates::ASSOCIATION | updates::DISASSOCIATION => 1020,
            "EndpointAccessUpdate"
            | "VpcConfigUpdate"
            | "AccessConfigUpdate"
            | "AutoModeUpdate"
            | "ControlPlaneComponentConfigUpdate"
            | "RemoteNetworkConfigUpdate" => 300,
            // AWS: within 10 minutes.
            "ControlPlaneEgressUpdate" => 600,
            _ => 120,
        })
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.single()
    }

    /// Anybody can choose its name, and its tags prove nothing.
    fn records_create(&self) -> bool {
        true
    }

    fn excluded_ids(&self) -> Vec<String> {
        self.security_groups().unwrap_or_default()
    }

    fn irreplaceable(&self) -> Option<String> {
        Some(format!(
            "cluster {} was deleted outside Keelson, with everything that ran in it, and is not recreated \
             automatically: delete this EksCluster to remove what is left, and apply it again",
            self.name
        ))
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_eks(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        self.differences(&observed.detail, refs)
    }

    /// Tags together with one type of change: EKS accepts only one update at a time.
    fn batch(&self, changes: &[Change]) -> Vec<Change> {
        Part::batch(changes)
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.eks.describe_cluster().name(&self.name);
        let answer = match cloud.aws.call(Service::Eks, "DescribeCluster", &self.name, request.send()).await {
            Err(error) if error.class() == Class::NotFound => {
                if options.goal == Goal::Present {
                    // Checked before the network is created for it.
                    offered_versions::check_offered(cloud, &self.spec.version).await?;
                }
                return Ok(Presence::Absent);
            }
            other => other?,
        };
        let Some(cluster) = answer.cluster else { return Ok(Presence::Absent) };
        let observed = self.to_observation(&cluster);
        let what = || format!("cluster {} in account {}, {}", self.name, cloud.aws.account_id, cloud.aws.region);
        let proven = cloud.proves(options.recorded);
        let is_ours = observed.detail.tags.is_owned_by(&cloud.owner.uid);
        if options.goal == Goal::Deleted && !(is_ours && proven) {
            return self.presence_of_others(cloud, options, &observed).await;
        }
        if !proven && is_ours {
            return Ok(Presence::Foreign(proof::describe_unproven(&cloud.owner, &self.name)));
        }
        match ownership::presence(cloud, &observed.detail.tags.clone(), observed, what) {
            Presence::Ours(observed) => Ok(Presence::Ours(
                updates::follow(cloud, UpdateTarget::Cluster(&self.name), observed, options, last).await?,
            )),
            Presence::Unowned(observed) => {
                if options.goal == Goal::Present {
                    // Checked before anything is created that the cluster cannot use.
                    self.check_adoptable(cloud, options, &observed).await?;
                }
                Ok(Presence::Unowned(
                    updates::follow(cloud, UpdateTarget::Cluster(&self.name), observed, options, last).await?,
                ))
            }
            other => Ok(other),
        }
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        self.create_in_valid_zones(cloud, refs).await
    }

    async fn update(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        self.change(cloud, refs, observed, changes).await
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        if observed.detail.deletion_protection {
            // The object is being deleted, and its deletionPolicy deletes the cluster: lift EKS's deletion protection
            // first.
            return self.lift_protection(cloud, observed).await.map(Presence::Ours);
        }
        let request = cloud.aws.eks.delete_cluster().name(&self.name);
        cloud.aws.call(Service::Eks, "DeleteCluster", &self.name, request.send()).await?;
        let deleting = Observation { state: "DELETING".into(), ..observed.clone() };
        let phase = Phase::Busy { action: Action::Delete, since: None, note: String::new() };
        Ok(Presence::Ours(deleting.phase(phase)))
    }

    async fn release(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<(), Failure> {
        // First the security group that EKS created: it has the cluster's tags.
        let groups = cloud.aws.snapshots.security_groups(MaxStaleness::now()).await?;
        let made_by_eks = |group: &&snapshots::SecurityGroup| Some(&group.id) == observed.outputs.get(SECURITY_GROUP);
        if let Some(group) = groups.iter().find(made_by_eks).filter(|group| group.tags.is_owned_by(&cloud.owner.uid)) {
            cloud.unmark(&OwnerTags::new(Handle::Ec2, &group.id, &self.tags)).await?;
        }
        cloud.unmark(&OwnerTags::in_eks(observed, &self.tags)).await
    }
}
