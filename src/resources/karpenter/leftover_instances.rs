//! Terminates the instances that Karpenter launched and that outlive the cluster: Karpenter is gone by then, and they hold the network.
//!
//! Usually none is left: before the cluster is deleted, Karpenter deletes its NodeClaims with their instances
//! ([`crate::workload`]). An instance of the cluster carries Karpenter's tags with the cluster's name, has an instance profile with
//! the cluster's node role, is in the cluster's VPC, and in an existing network is newer than the object: one of an earlier cluster of
//! that name stays. Nothing is terminated while a cluster of that name exists. I/O: EC2, EKS and IAM.
//!
//! The tags alone prove nothing: a cluster that is not EKS's (kOps, kubeadm) may have the name, and its Karpenter writes the same ones.
//! The role is ours alone, and so are the instances that have it.
//!
//! The tags: <https://karpenter.sh/docs/concepts/nodeclasses/#spectags>.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::{Filter, Instance, InstanceStateName};
use jiff::Timestamp;

use crate::aws::tags::Tags;
use crate::aws::{AwsError, MaxStaleness, Service};
use crate::engine::sweep::Baseline;
use crate::engine::{
    Action, Change, CheckedSweep, Class, Failure, Goal, Key, Mark, Observation, ObserveOptions, PollPolicy, Presence,
    Proof, Refs, Resource, Scope, Sweep, Target,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext};
use crate::resources::deletion::leftovers;
use crate::resources::eks::{cluster, kubernetes_api};
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::iam::role::{self, Purpose, ignore_not_found};
use crate::resources::iam::workload_role;
use crate::resources::network::vpc;

/// Its row in the table of kinds.
pub const KIND: Kind =
    Kind::new("karpenterInstances", "instances of Karpenter", Area::Network).without_resource().with_actions(&[
        "ec2:DescribeInstances",
        "ec2:TerminateInstances",
        "eks:DescribeCluster",
        "iam:GetAccountAuthorizationDetails",
    ]);

/// The tag of every instance that Karpenter launches, and of those of EKS Auto Mode.
const NODE_POOL: &str = "karpenter.sh/nodepool";
/// Begins the tag of what belongs to a cluster; its name follows.
const CLUSTER_PREFIX: &str = "kubernetes.io/cluster/";
/// The tag of instances of Auto Scaling groups, and so of node groups. Karpenter launches its own in none.
const SCALING_GROUP: &str = "aws:autoscaling:groupName";
/// The tag with the cluster's name.
const CLUSTER_NAME: &str = "eks:eks-cluster-name";

/// The instances of one cluster.
pub struct LeftoverInstances {
    cluster: String,
    owner: String,
    /// The name of the cluster's node role.
    node_role: String,
    /// The resource that provides the VPC: our VPC, or the existing network.
    network: Key,
    /// When the object was created.
    since: Timestamp,
    intervals: Intervals,
}

/// An instance of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    id: String,
    launched: Option<Timestamp>,
    is_terminating: bool,
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

fn filter_by(name: impl Into<String>, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// The instance, if it is one that Karpenter launched for the cluster in that VPC, with one of the instance profiles that have the node
/// role. Filters of the request say the same of tags and VPC; this does not depend on them.
fn of_cluster(instance: &Instance, cluster: &str, vpc: &str, profiles: &BTreeSet<String>) -> Option<Found> {
    let tags = Tags::from_ec2(instance.tags());
    let is_owned = tags.get(&format!("{CLUSTER_PREFIX}{cluster}")) == Some("owned");
    let is_named = tags.get(CLUSTER_NAME).is_none_or(|name| name == cluster);
    // EKS terminates those of Auto Mode.
    let is_of_eks = instance.operator().and_then(|operator| operator.managed()).unwrap_or_default();
    let is_of_other = |(key, _): (&str, &str)| key.strip_prefix(CLUSTER_PREFIX).is_some_and(|name| name != cluster);
    // Of a node group, or of another cluster.
    let is_of_others = tags.get(SCALING_GROUP).is_some() || tags.iter().any(is_of_other);
    // A profile's name is unique in its account, whatever its path.
    let profile = instance.iam_instance_profile().and_then(|profile| profile.arn()?.rsplit('/').next());
    let has_role = profile.is_some_and(|name| profiles.contains(name));
    let is_ours = is_owned && is_named && has_role && tags.get(NODE_POOL).is_some() && !is_of_eks && !is_of_others;
    let state = instance.state().and_then(|state| state.name());
    let is_gone = state == Some(&InstanceStateName::Terminated);
    (is_ours && !is_gone && instance.vpc_id() == Some(vpc)).then(|| Found {
        id: instance.instance_id().unwrap_or_default().to_owned(),
        launched: instance.launch_time().and_then(|at| Timestamp::from_second(at.secs()).ok()),
        is_terminating: state == Some(&InstanceStateName::ShuttingDown),
    })
}

impl LeftoverInstances {
    /// Creates the resource for the instances in the VPC of `network` that are newer than `since`.
    pub fn new(context: &ResourceContext<'_>, network: Key, since: Timestamp) -> Self {
        let (cluster, owner) = (context.cluster_name.into(), context.owner.uid.clone());
        let node_role = workload_role::name_of(context, &role::key(Purpose::Node));
        Self { cluster, owner, node_role, network, since, intervals: context.intervals }
    }

    /// The names of the instance profiles with the cluster's node role. Karpenter creates one for each EC2NodeClass.
    async fn profiles(&self, cloud: &Cloud) -> Result<BTreeSet<String>, AwsError> {
        let roles = cloud.aws.snapshots.roles(MaxStaleness::now()).await?;
        let ours = roles.iter().filter(|role| role.name == self.node_role && role.tags.is_owned_by(&self.owner));
        Ok(ours.flat_map(|role| role.instance_profiles.iter().cloned()).collect())
    }

    async fn find(&self, cloud: &Cloud, vpc: &str) -> Result<Vec<Found>, AwsError> {
        let profiles = self.profiles(cloud).await?;
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let request = cloud.aws.ec2.describe_instances().filters(filter_by("vpc-id", vpc));
            let request = request.filters(filter_by(format!("tag:kubernetes.io/cluster/{}", self.cluster), "owned"));
            let request = request.filters(filter_by("tag-key", NODE_POOL)).set_next_token(next);
            let answer = cloud.aws.call(Service::Ec2, "DescribeInstances", &self.cluster, request.send()).await?;
            let instances = answer.reservations().iter().flat_map(|reservation| reservation.instances());
            found.extend(instances.filter_map(|one| of_cluster(one, &self.cluster, vpc, &profiles)));
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// In an existing network, EC2's clock decides, in whole seconds.
    fn is_new(&self, one: &Found) -> bool {
        self.network == vpc::key() || one.launched.is_some_and(|at| at >= self.since)
    }

    fn proof(&self, vpc: &str, one: &Found) -> Proof {
        let mark = Mark { by: "Karpenter", name: Some(self.cluster.clone()), reserved: false };
        if self.network == vpc::key() {
            Proof::InOwnedContainer { container: (self.network.clone(), vpc.to_owned()), mark }
        } else {
            Proof::AppearedLater { mark, at: one.launched }
        }
    }
}

#[async_trait]
impl Resource for LeftoverInstances {
    type Cloud = Cloud;
    /// The VPC.
    type Detail = String;

    fn key(&self) -> Key {
        key()
    }

    fn observed_after(&self) -> Option<Key> {
        Some(self.network.clone())
    }

    /// Their interfaces are swept, and their subnets deleted, after them; and without the role, nothing proves that they are ours.
    fn holds(&self) -> Vec<Key> {
        vec![leftovers::key(), role::key(Purpose::Node)]
    }

    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(60)
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.single()
    }

    fn sweep_scope(&self) -> Option<Scope> {
        let (name, owner) = (self.cluster.clone(), self.owner.clone());
        Some(Scope { subject: cluster::key(), name, owner, prunes: false })
    }

    fn diff(&self, _: &Observation<String>, _: &Refs) -> Vec<Change> {
        Vec::new()
    }

    /// They count as existing until they were swept. The id is the record that the check of a sweep needs.
    async fn observe(
        &self,
        _: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<String>>,
    ) -> Result<Presence<String>, Failure> {
        let vpc = refs.output(&self.network, "vpcId").or_else(|| refs.get(&self.network));
        let id = Baseline::new(self.since, []).to_string();
        Ok(match (options.goal, vpc) {
            (Goal::Deleted, Some(vpc)) => Presence::Ours(Observation::ready(id, "to be swept", vpc.to_owned())),
            (Goal::Deleted, None) => Presence::Absent,
            (Goal::Present | Goal::Retained, _) => Presence::External(Observation::ready("", "none", String::new())),
        })
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<String>, Failure> {
        Err(Failure::invalid("instances of Karpenter are never created"))
    }

    async fn update(
        &self,
        _: &Cloud,
        _: &Refs,
        _: &Observation<String>,
        _: &[Change],
    ) -> Result<Observation<String>, Failure> {
        Err(Failure::invalid("instances of Karpenter are never changed"))
    }

    async fn delete(&self, _: &Cloud, _: &Observation<String>) -> Result<Presence<String>, Failure> {
        Err(Failure::invalid("instances of Karpenter are deleted by a sweep"))
    }

    async fn list_sweep(&self, cloud: &Cloud, observed: &Observation<String>) -> Result<Sweep, Failure> {
        // Then they are its, whoever owns it.
        if kubernetes_api::tags(&cloud.aws, &self.cluster).await?.is_some() {
            return Ok(Sweep::default());
        }
        let vpc = &observed.detail;
        let mut found = self.find(cloud, vpc).await?;
        found.retain(|one| self.is_new(one));
        let (terminating, left): (Vec<_>, Vec<_>) = found.into_iter().partition(|one| one.is_terminating);
        let ids: Vec<_> = terminating.into_iter().map(|one| one.id).collect();
        let targets = left.into_iter().map(|one| {
            let (what, proof) = (format!("instance {} of Karpenter", one.id), self.proof(vpc, &one));
            Target { id: one.id, key: None, what, proof, in_use: false, referred_to_by: Vec::new() }
        });
        let pending = (!ids.is_empty()).then(|| format!("instances of Karpenter are terminating: {}", ids.join(", ")));
        Ok(Sweep { targets: targets.collect(), pending, ..Sweep::default() })
    }

    async fn sweep(
        &self,
        cloud: &Cloud,
        _: &Observation<String>,
        _: Action,
        swept: &CheckedSweep,
    ) -> Result<Presence<String>, Failure> {
        let mut failed = None;
        for instance in &swept.allowed {
            let request = cloud.aws.ec2.terminate_instances().instance_ids(instance.id());
            let answer = cloud.aws.call(Service::Ec2, "TerminateInstances", instance.id(), request.send()).await;
            failed = failed.or(ignore_not_found(answer).err());
        }
        if let Some(failure) = failed {
            return Err(failure);
        }
        let ids: Vec<_> = swept.allowed.iter().map(|instance| instance.id().to_owned()).collect();
        // Until they are gone, their interfaces hold the subnets.
        let note = match (&swept.pending, ids.is_empty()) {
            (None, true) => return Ok(Presence::Absent),
            (Some(note), _) => note.clone(),
            (None, false) => format!("instances of Karpenter are terminating: {}", ids.join(", ")),
        };
        Err(Failure::new(Class::Busy, note))
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{IamInstanceProfile, InstanceState, OperatorResponse, Tag};

    use super::*;

    fn instance(vpc: &str, tags: &[(&str, &str)]) -> aws_sdk_ec2::types::builders::InstanceBuilder {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build()).collect();
        let running = InstanceState::builder().name(InstanceStateName::Running).build();
        let profile = IamInstanceProfile::builder().arn("arn:aws:iam::123456789012:instance-profile/eu/demo_1").build();
        let instance = Instance::builder().instance_id("i-1").vpc_id(vpc).state(running).iam_instance_profile(profile);
        instance.set_tags(Some(tags))
    }

    fn its(instance: &Instance) -> Option<Found> {
        of_cluster(instance, "demo", "vpc-1", &BTreeSet::from(["demo_1".to_owned()]))
    }

    #[test]
    fn only_instances_that_karpenter_launched_for_the_cluster_in_its_vpc_are_its() {
        const OWNED: (&str, &str) = ("kubernetes.io/cluster/demo", "owned");
        const POOL: (&str, &str) = (NODE_POOL, "spot");
        let is_its = |vpc: &str, tags: &[(&str, &str)]| its(&instance(vpc, tags).build()).is_some();
        assert!(is_its("vpc-1", &[OWNED, POOL]) && is_its("vpc-1", &[OWNED, POOL, (CLUSTER_NAME, "demo")]));
        for (vpc, tags) in [
            ("vpc-2", &[OWNED, POOL][..]),
            ("vpc-1", &[OWNED]),
            ("vpc-1", &[POOL]),
            ("vpc-1", &[POOL, ("kubernetes.io/cluster/demo", "shared")]),
            ("vpc-1", &[POOL, ("kubernetes.io/cluster/demo-2", "owned")]),
            ("vpc-1", &[OWNED, POOL, (CLUSTER_NAME, "other")]),
            ("vpc-1", &[OWNED, POOL, (SCALING_GROUP, "eks-nodes")]),
            ("vpc-1", &[OWNED, POOL, ("kubernetes.io/cluster/other", "owned")]),
        ] {
            assert!(!is_its(vpc, tags), "{vpc} {tags:?}");
        }
        let of_eks = OperatorResponse::builder().managed(true).build();
        let of_eks = instance("vpc-1", &[OWNED, POOL]).operator(of_eks).build();
        assert_eq!(its(&of_eks), None, "EKS terminates those of Auto Mode");
        let gone = InstanceState::builder().name(InstanceStateName::Terminated).build();
        assert_eq!(its(&instance("vpc-1", &[OWNED, POOL]).state(gone).build()), None);
    }

    #[test]
    fn instances_of_a_cluster_of_that_name_elsewhere_have_another_role_and_stay() {
        let tags = [("kubernetes.io/cluster/demo", "owned"), (NODE_POOL, "spot"), (CLUSTER_NAME, "demo")];
        let one = instance("vpc-1", &tags).build();
        assert!(its(&one).is_some());
        // That of kOps, no profile, and a node role without any.
        assert_eq!(of_cluster(&one, "demo", "vpc-1", &BTreeSet::from(["nodes.demo".to_owned()])), None);
        assert_eq!(of_cluster(&one, "demo", "vpc-1", &BTreeSet::new()), None);
        let without = instance("vpc-1", &tags).set_iam_instance_profile(None).build();
        assert_eq!(its(&without), None);
    }
}
