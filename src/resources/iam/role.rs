//! The roles of the cluster, its nodes, its Fargate Pods and Flux, with their policies. See `cluster-iam-role.html`,
//! `create-node-role.html` and `pod-execution-role.html` in the EKS user guide.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::principal_tags;
use super::role_calls;
pub(crate) use super::role_calls::ignore_not_found;
use super::role_diff::{ACTIONS, Detail, partition_of};
use super::role_name;
pub use super::role_name::{NAME_PREFIX, description, is_named_for};
use crate::aws::partitions::{self, Partition};
use crate::aws::snapshots;
use crate::aws::tags::Tags;
use crate::engine::{
    Change, Class, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Refs, Resource,
};
use crate::resources::cloud::{AccountSettings, Cloud, Intervals, ResourceContext, max_staleness};
use crate::resources::eks::lists;
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::graph::ownership;
use crate::resources::tag_calls::{Handle, OwnerTags};

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("role", "IAM role", Area::ControlPlane).in_iam().after_nodes().with_actions(ACTIONS);

/// Who assumes the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The control plane.
    Cluster,
    /// Nodes of all node groups without their own role.
    Node,
    /// Nodes of EKS Auto Mode.
    AutoNode,
    /// The Fargate Pod execution role: it pulls images.
    Fargate,
    /// Flux's source-controller: it pulls the cluster's source from ECR.
    Source,
}

/// Policies of the cluster role that EKS Auto Mode requires in addition: it creates nodes, volumes and load balancers.
pub(crate) const AUTO_MODE: [&str; 4] = [
    "AmazonEKSComputePolicy",
    "AmazonEKSBlockStoragePolicy",
    "AmazonEKSLoadBalancingPolicy",
    "AmazonEKSNetworkingPolicy",
];

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Purpose::Cluster => "cluster",
            Purpose::Node => "node",
            Purpose::AutoNode => "autoNode",
            Purpose::Fargate => "fargate",
            Purpose::Source => "source",
        }
    }

    /// The purpose of the role with that name in its key.
    pub fn of(name: &str) -> Option<Self> {
        let all = [Purpose::Cluster, Purpose::Node, Purpose::AutoNode, Purpose::Fargate, Purpose::Source];
        all.into_iter().find(|purpose| purpose.as_str() == name)
    }

    fn principal(self, partition: &Partition) -> &'static str {
        match self {
            Purpose::Cluster => "eks.amazonaws.com",
            Purpose::Node | Purpose::AutoNode => partition.ec2_principal,
            Purpose::Fargate => "eks-fargate-pods.amazonaws.com",
            Purpose::Source => "pods.eks.amazonaws.com",
        }
    }

    /// Names of the AWS managed policies that every role of the purpose has.
    pub fn policies(self) -> &'static [&'static str] {
        match self {
            Purpose::Cluster => &["AmazonEKSClusterPolicy"],
            Purpose::Node => {
                &["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonEKS_CNI_Policy"]
            }
            Purpose::AutoNode => &["AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly"],
            Purpose::Fargate => &["AmazonEKSFargatePodExecutionRolePolicy"],
            Purpose::Source => &["AmazonEC2ContainerRegistryPullOnly"],
        }
    }
}

/// The policy of the account with which nodes assign IPv6 addresses to Pods; AWS documents its name and content, see
/// <https://docs.aws.amazon.com/eks/latest/userguide/cni-iam-role.html#cni-iam-role-create-ipv6-policy>.
pub const CNI_IPV6_POLICY: &str = "AmazonEKS_CNI_IPv6_Policy";

/// A role that Keelson creates.
pub struct Role {
    pub(crate) purpose: Purpose,
    partition: &'static Partition,
    pub(crate) name: String,
    auto_mode: bool,
    additional_policies: Vec<String>,
    /// Names of policies of the account, which its administrators created.
    account_policies: Vec<&'static str>,
    /// Policies that stay as they are, attached or not.
    pub(crate) kept_policies: Vec<String>,
    cluster_name: String,
    /// For a node role: names of the node groups that have a NodeGroup.
    node_groups: Option<BTreeSet<String>>,
    pub(crate) permissions_boundary: Option<String>,
    /// The path of a new role: IAM cannot change it.
    path: Option<String>,
    pub(crate) tags: Tags,
    intervals: Intervals,
}

/// The output with the creation time: a role that is recreated with the same name is a different role for everything
/// that refers to it.
pub const CREATED_AT: &str = "createdAt";

/// The key in the graph.
pub fn key(purpose: Purpose) -> Key {
    KIND.named(purpose.as_str())
}

fn name(cluster: &str, uid: &str, purpose: Purpose) -> String {
    role_name::name(cluster, uid, purpose.as_str())
}

impl Role {
    /// A role of the cluster, with policies in addition to those that EKS requires.
    pub fn new(
        context: &ResourceContext<'_>,
        purpose: Purpose,
        additional_policies: &[String],
        account: &AccountSettings,
    ) -> Self {
        Self {
            purpose,
            partition: partitions::of_region(""),
            name: context
                .owner
                .role_name(&key(purpose))
                .unwrap_or_else(|| name(context.cluster_name, &context.owner.uid, purpose)),
            auto_mode: false,
            additional_policies: additional_policies.to_vec(),
            account_policies: Vec::new(),
            kept_policies: Vec::new(),
            cluster_name: context.cluster_name.to_owned(),
            node_groups: None,
            permissions_boundary: account.permissions_boundary.clone(),
            path: account.role_path.clone(),
            tags: principal_tags::of_role(context, &key(purpose)),
            intervals: context.intervals,
        }
    }

    /// For the instances of a region: the name of EC2 depends on its partition.
    pub fn in_region(self, region: &str) -> Self {
        Self { partition: partitions::of_region(region), ..self }
    }

    /// Adds what Auto Mode requires.
    pub fn for_auto_mode(self) -> Self {
        Self { auto_mode: true, ..self }
    }

    /// Adds what the CNI needs to assign IPv6 addresses to Pods. AWS has no managed policy for it.
    #[must_use]
    pub fn for_ipv6(self) -> Self {
        Self { account_policies: vec![CNI_IPV6_POLICY], ..self }
    }

    /// Leaves these policies as they are, attached or not.
    #[must_use]
    pub fn with_kept_policies(self, policies: &[String]) -> Self {
        Self { kept_policies: policies.to_vec(), ..self }
    }

    /// For a node role: sets the EKS names of the node groups of all NodeGroups of the cluster.
    #[must_use]
    pub fn with_node_groups(self, node_groups: &[String]) -> Self {
        Self { node_groups: Some(node_groups.iter().cloned().collect()), ..self }
    }

    /// Node groups of the cluster without a NodeGroup, which may use the role: their object is not restored or moved
    /// yet, or was deleted with Retain. Read only if something would be removed from the role.
    async fn unmanaged_groups(&self, cloud: &Cloud, current: &Detail, arn: &str) -> Result<Vec<String>, Failure> {
        let Some(known) = self.node_groups.as_ref().filter(|_| self.has_extra_policies(current, arn)) else {
            return Ok(Vec::new());
        };
        match lists::node_group_names(&cloud.aws, &self.cluster_name).await {
            Err(error) if error.class() == Class::NotFound => Ok(Vec::new()),
            // The IAM policy of an older Keelson: without this knowledge, nothing is removed.
            Err(error) if error.class() == Class::Denied => Ok(vec![format!("unknown: {error}")]),
            all => Ok(all?.into_iter().filter(|name| !known.contains(name)).collect()),
        }
    }

    /// Names of AWS managed policies.
    fn aws_policies(&self) -> impl Iterator<Item = &'static str> {
        let more: &[&str] = if self.auto_mode { &AUTO_MODE } else { &[] };
        self.purpose.policies().iter().chain(more).copied()
    }

    /// ARNs of all policies, in the partition and account of the role's own ARN.
    pub(crate) fn policies(&self, role: &str) -> Vec<String> {
        let partition = partition_of(role);
        let account = role.split(':').nth(4).unwrap_or_default();
        let of_aws = self.aws_policies().map(|name| format!("arn:{partition}:iam::aws:policy/{name}"));
        let of_account = self.account_policies.iter();
        let of_account = of_account.map(|name| format!("arn:{partition}:iam::{account}:policy/{name}"));
        of_aws.chain(of_account).chain(self.additional_policies.iter().cloned()).collect()
    }

    pub(crate) fn trust(&self) -> String {
        // Auto Mode requires TagSession for the cluster role, and pod identity for every role; it does no harm to the
        // others.
        serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {"Service": self.purpose.principal(self.partition)},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
            }],
        })
        .to_string()
    }

    fn to_observation(&self, arn: &str, detail: Detail) -> Observation<Detail> {
        let complete = self.content(arn).is_complete(&detail);
        let phase = if complete { Phase::Ready } else { Phase::Incomplete };
        Observation::ready(role_calls::recorded_id(&self.name, arn), "available", detail)
            .phase(phase)
            .output("arn", arn)
    }

    fn observation_of(&self, role: &snapshots::Role) -> Observation<Detail> {
        let observed = self.to_observation(&role.arn, Detail::from(role));
        match role.created {
            Some(created) => observed.output(CREATED_AT, created.to_string()),
            None => observed,
        }
    }
}

#[async_trait]
impl Resource for Role {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(self.purpose)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let more = self.additional_policies.iter().map(|arn| arn.rsplit('/').next().unwrap_or(arn).to_owned());
        let ours = self.aws_policies().chain(self.account_policies.iter().copied());
        let policies: Vec<_> = ours.map(str::to_owned).chain(more).collect();
        vec![("name", self.name.clone()), ("policies", policies.join(", "))]
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::new(Handle::Role(self.name.clone()), &observed.id, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        self.differences(&observed.detail, observed.outputs.get("arn").map_or("", String::as_str))
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let roles = cloud.aws.snapshots.roles(max_staleness(options)).await?;
        let Some(role) = role_calls::find(&roles, &self.name) else { return Ok(Presence::Absent) };
        let mut observed = self.observation_of(role);
        observed.detail.unmanaged_groups = self.unmanaged_groups(cloud, &observed.detail, &role.arn).await?;
        Ok(ownership::presence(cloud, &role.tags, observed, || format!("role {}", role.arn)))
    }

    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        let content = self.content(&cloud.aws.partition);
        let (arn, detail) = role_calls::create(cloud, &content, self.path.as_ref(), self.purpose.as_str()).await?;
        Ok(self.to_observation(&arn, detail))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut detail = observed.detail.clone();
        role_calls::change(cloud, &self.content(&cloud.aws.partition), &mut detail, changes).await?;
        let changed = self.to_observation(observed.outputs.get("arn").map_or("", String::as_str), detail);
        Ok(Observation { outputs: observed.outputs.clone(), ..changed })
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let Detail { attached, instance_profiles, .. } = &observed.detail;
        role_calls::delete(&cloud.aws, &self.name, attached, instance_profiles).await?;
        Ok(Presence::Absent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_fit_iam_and_are_unique_per_object() {
        let long = "c".repeat(100);
        for purpose in [Purpose::Cluster, Purpose::Node, Purpose::AutoNode, Purpose::Fargate, Purpose::Source] {
            assert!(name(&long, "uid", purpose).len() <= 64);
        }
        assert_ne!(name("demo", "uid-1", Purpose::Node), name("demo", "uid-2", Purpose::Node));
        assert!(is_named_for(&name("demo", "uid-1", Purpose::Node), "uid-1"));
        assert!(!is_named_for(&name("demo", "uid-2", Purpose::Node), "uid-1"));
        assert!(!is_named_for("theirs", "uid-1"));
    }
}
