//! What a cluster leaves behind in its VPC: network interfaces of its nodes, and security groups of its load balancers.
//! Keelson creates none of it. Deleting the cluster sweeps what [`super::marks`] recognises (amazon-vpc-cni-k8s#608). In an
//! existing network only what appeared after the cluster: the [`Baseline`] in `status.resources` says what was before.
//! A late or lost one excludes more, never less. What is not swept is reported and blocks nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::Filter;
use aws_sdk_eks::types::ClusterStatus;
use jiff::Timestamp;

use super::blockers::{self, Part};
use super::marks::{self, Found, Network, Search, rules_between};
use crate::aws::tags::{Ownership, Tags};
use crate::aws::{MaxStaleness, Service, snapshots};
use crate::engine::sweep::Baseline;
use crate::engine::{
    Action, AllowedTarget, Change, CheckedSweep, Class, Failure, Goal, Key, Mark, Observation, ObserveOptions,
    PollPolicy, Presence, Proof, Refs, Resource, Scope, Sweep, Target,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext};
use crate::resources::eks::cluster;
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::iam::role::ignore_not_found;
use crate::resources::network::vpc;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("leftovers", "leftovers", Area::Network).without_resource().with_actions(&[
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteSecurityGroup",
    "ec2:DescribeInstances",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:RevokeSecurityGroupEgress",
    "ec2:RevokeSecurityGroupIngress",
    "eks:DescribeCluster",
]);

/// What the cluster may have left behind in a VPC.
pub struct Leftovers {
    cluster: String,
    owner: String,
    /// The resource that provides the VPC: our VPC, or the existing network.
    network: Key,
    /// External security groups that the spec names.
    spared: Vec<String>,
    /// Resources that can only be deleted after the sweep.
    holds: Vec<Key>,
    intervals: Intervals,
}

/// The VPC to sweep, and what it contained before the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    vpc: String,
    baseline: Option<Baseline>,
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

/// Whether a baseline belongs to that VPC: its ids include the VPC's.
fn is_for_vpc(baseline: &Baseline, vpc: &str) -> bool {
    baseline.before.as_ref().is_none_or(|before| before.contains(vpc))
}

impl Leftovers {
    /// Creates the resource for the VPC of `network`, with its `subnets`. `spared` lists external security groups.
    pub fn new(context: &ResourceContext<'_>, network: Key, subnets: Vec<Key>, spared: &[String]) -> Self {
        let ours = network == vpc::key();
        let holds = if ours { subnets.into_iter().chain([network.clone()]).collect() } else { Vec::new() };
        let (cluster, owner) = (context.cluster_name.into(), context.owner.uid.clone());
        Self { cluster, owner, network, spared: spared.to_vec(), holds, intervals: context.intervals }
    }

    fn network_kind(&self) -> Network {
        if self.network == vpc::key() { Network::Own } else { Network::External }
    }

    /// Whether the cluster with this name belongs to another owner, so that resources with its name are not ours.
    async fn is_of_another_owner(&self, cloud: &Cloud) -> Result<bool, Failure> {
        let request = cloud.aws.eks.describe_cluster().name(&self.cluster);
        let current = match cloud.aws.call(Service::Eks, "DescribeCluster", &self.cluster, request.send()).await {
            Err(error) if error.class() == Class::NotFound => return Ok(false),
            other => other?.cluster,
        };
        let tags = current.as_ref().and_then(|cluster| cluster.tags());
        let deleting = current.as_ref().and_then(|cluster| cluster.status()) == Some(&ClusterStatus::Deleting);
        match Ownership::of(&Tags::from_eks(tags), &cloud.owner.uid) {
            // Tagged as ours but not recorded as ours; a recorded one would be deleting.
            Ownership::Ours if self.network_kind() == Network::External && !deleting => Ok(true),
            Ownership::Ours => Err(Failure::new(Class::Busy, format!("cluster {} is not deleted yet", self.cluster))),
            Ownership::Unowned | Ownership::Other { .. } => Ok(true),
        }
    }

    /// What carries the cluster's name in an existing network before the cluster exists.
    async fn take_baseline(&self, cloud: &Cloud, vpc: &str) -> Result<Baseline, Failure> {
        let now = Timestamp::now();
        let groups = cloud.aws.snapshots.security_groups_of_vpc(vpc, MaxStaleness::now()).await?;
        let named = groups.iter().filter(|group| marks::names_cluster(&group.tags, &self.cluster));
        Ok(Baseline::new(now, named.map(|group| group.id.clone()).chain([vpc.to_owned()])))
    }

    fn target(&self, vpc: &str, id: &str, what: String, mark: Mark, at: Option<Timestamp>) -> Target {
        let proof = match self.network_kind() {
            Network::Own => Proof::InOwnedContainer { container: (self.network.clone(), vpc.to_owned()), mark },
            Network::External => Proof::AppearedLater { mark, at },
        };
        Target { id: id.to_owned(), key: None, what, proof, in_use: false, referred_to_by: Vec::new() }
    }

    /// The targets, in the order of deletion.
    fn targets(&self, vpc: &str, found: &Found<'_>, groups: &[snapshots::SecurityGroup]) -> Vec<Target> {
        let interfaces = found.interfaces.iter().map(|(interface, mark)| {
            let what = format!("network interface {}", interface.id);
            self.target(vpc, &interface.id, what, mark.clone(), marks::created_at(interface))
        });
        let of_groups = found.groups.iter().map(|(group, mark)| {
            let referring = groups.iter().filter(|other| other.id != group.id && other.refers_to(&group.id));
            let referred_to_by = referring.map(|other| other.id.clone()).collect();
            let what = format!("security group {}", group.id);
            Target { referred_to_by, ..self.target(vpc, &group.id, what, mark.clone(), None) }
        });
        interfaces.chain(of_groups).collect()
    }
}

#[async_trait]
impl Resource for Leftovers {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key()
    }

    fn after(&self) -> Vec<Key> {
        vec![self.network.clone()]
    }

    fn observed_after(&self) -> Option<Key> {
        Some(self.network.clone())
    }

    fn holds(&self) -> Vec<Key> {
        self.holds.clone()
    }

    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(30)
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.single()
    }

    fn sweep_scope(&self) -> Option<Scope> {
        let (name, owner) = (self.cluster.clone(), self.owner.clone());
        Some(Scope { subject: cluster::key(), name, owner, prunes: false })
    }

    fn excluded_ids(&self) -> Vec<String> {
        self.spared.clone()
    }

    fn diff(&self, _: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        Vec::new()
    }

    /// Until deletion, only the baseline is read. On deletion, leftovers count as existing until swept.
    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let vpc = refs.output(&self.network, "vpcId").or_else(|| refs.get(&self.network));
        // After an edit, the record of another VPC does not apply to this one.
        let recorded = options.recorded_id.as_deref().and_then(Baseline::parse);
        let recorded = recorded.filter(|baseline| vpc.is_some_and(|vpc| is_for_vpc(baseline, vpc)));
        let known = |vpc: &str, baseline: Baseline| {
            let id = baseline.to_string();
            Presence::Ours(Observation::ready(id, "", Detail { vpc: vpc.to_owned(), baseline: Some(baseline) }))
        };
        Ok(match (options.goal, vpc, self.network_kind()) {
            (Goal::Deleted, Some(vpc), Network::Own) => {
                let observed = Detail { vpc: vpc.to_owned(), baseline: None };
                Presence::Ours(Observation::ready(vpc, "to be swept", observed))
            }
            (Goal::Deleted, Some(vpc), Network::External) => {
                known(vpc, recorded.unwrap_or_else(|| Baseline::unknown(Timestamp::now())))
            }
            (Goal::Deleted, None, _) => Presence::Absent,
            (Goal::Present, Some(vpc), Network::External) => match recorded {
                Some(baseline) => known(vpc, baseline),
                None => known(vpc, self.take_baseline(cloud, vpc).await?),
            },
            (Goal::Present | Goal::Retained, ..) => {
                Presence::External(Observation::ready("", "none", Detail::default()))
            }
        })
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid("leftovers are never created"))
    }

    async fn update(
        &self,
        _: &Cloud,
        _: &Refs,
        _: &Observation<Detail>,
        _: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid("leftovers are never changed"))
    }

    async fn delete(&self, _: &Cloud, _: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        Err(Failure::invalid("leftovers are deleted by a sweep"))
    }

    async fn list_sweep(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Sweep, Failure> {
        if self.is_of_another_owner(cloud).await? {
            return Ok(Sweep::default());
        }
        let Detail { vpc, baseline } = &observed.detail;
        let reads = &cloud.aws.snapshots;
        let interfaces = reads.network_interfaces_of_vpc(vpc, MaxStaleness::now()).await?;
        let groups = reads.security_groups_of_vpc(vpc, MaxStaleness::now()).await?;
        let nodes: BTreeSet<&str> = interfaces.iter().filter_map(marks::instance).collect();
        let search = Search {
            cluster: &self.cluster,
            network: self.network_kind(),
            account: &cloud.aws.account_id,
            spared: &self.spared,
            live_instances: &live_instances(cloud, &nodes).await?,
            baseline: baseline.as_ref(),
        };
        let found = search.classify(&interfaces, &groups);
        let in_use: Vec<_> = found.releasing.iter().map(|interface| interface.id.clone()).collect();
        let pending = (!in_use.is_empty()).then(|| format!("network interfaces still in use: {}", in_use.join(", ")));
        let targets = self.targets(vpc, &found, &groups);
        Ok(match self.network_kind() {
            // They block the deletion of the VPC.
            Network::Own => {
                let blocked = match found.blocked.first().filter(|_| pending.is_none()) {
                    Some(group) => Some(blocked_failure(cloud, vpc, &group.id).await),
                    None => None,
                };
                Sweep { targets, pending, blocked, skipped: Vec::new() }
            }
            Network::External => {
                let groups = found.blocked.iter().chain(&found.unproven_groups);
                let groups =
                    groups.filter(|one| !self.spared.contains(&one.id)).map(|one| blockers::describe_group(one));
                let interfaces = found.unproven_interfaces.iter().map(|one| blockers::describe_interface(one));
                // While interfaces are being released, the groups that they use are not reported yet.
                let left = if pending.is_some() { Vec::new() } else { groups.chain(interfaces).collect() };
                Sweep { targets, pending, blocked: None, skipped: left }
            }
        })
    }

    /// Interfaces first: they use the groups. Rules that reference other swept groups are revoked before any group is
    /// deleted: groups that reference each other would block each other forever.
    async fn sweep(
        &self,
        cloud: &Cloud,
        observed: &Observation<Detail>,
        _: Action,
        swept: &CheckedSweep,
    ) -> Result<Presence<Detail>, Failure> {
        let vpc = &observed.detail.vpc;
        let (groups, interfaces): (Vec<_>, Vec<_>) =
            swept.allowed.iter().partition(|allowed| allowed.id().starts_with("sg-"));
        let mut failed = None;
        for interface in interfaces {
            failed = failed.or(delete_interface(cloud, interface).await.err());
        }
        let all = cloud.aws.snapshots.security_groups_of_vpc(vpc, MaxStaleness::any()).await?;
        for group in &groups {
            if let Some(current) = all.iter().find(|one| one.id == group.id()) {
                failed = failed.or(revoke_rules_among(cloud, group, current, &groups).await.err());
            }
        }
        for group in &groups {
            if let Err(failure) = delete_group(cloud, group).await {
                let part = Part::SecurityGroup(group.id());
                failed = failed.or(Some(blockers::with_blockers(cloud, vpc, part, failure).await));
            }
        }
        if let Some(failure) = failed.or_else(|| swept.blocked.clone()) {
            return Err(failure);
        }
        match &swept.pending {
            None => Ok(Presence::Absent),
            Some(note) => Err(Failure::new(Class::Busy, note.clone())),
        }
    }
}

/// The instances that exist and are not terminating.
async fn live_instances(cloud: &Cloud, ids: &BTreeSet<&str>) -> Result<BTreeSet<String>, Failure> {
    const MAX_FILTER_VALUES: usize = 200;
    let mut live = BTreeSet::new();
    let ids: Vec<&str> = ids.iter().copied().collect();
    for chunk in ids.chunks(MAX_FILTER_VALUES) {
        let filter_by = |name: &str, values: &[&str]| {
            Filter::builder().name(name).set_values(Some(values.iter().map(|id| (*id).to_owned()).collect())).build()
        };
        // With a filter instead of ids, EC2 does not reject the request for one terminated instance.
        let states = filter_by("instance-state-name", &["pending", "running", "stopping", "stopped"]);
        let mut next = None;
        loop {
            let request = cloud.aws.ec2.describe_instances().filters(filter_by("instance-id", chunk));
            let request = request.filters(states.clone()).set_next_token(next);
            let answer = cloud.aws.call(Service::Ec2, "DescribeInstances", "nodes", request.send()).await?;
            let instances = answer.reservations().iter().flat_map(|reservation| reservation.instances());
            live.extend(instances.filter_map(|instance| instance.instance_id().map(str::to_owned)));
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
    }
    Ok(live)
}

async fn blocked_failure(cloud: &Cloud, vpc: &str, group: &str) -> Failure {
    let message = format!("security group {group} cannot be deleted: it has dependents.");
    blockers::with_blockers(cloud, vpc, Part::SecurityGroup(group), Failure::new(Class::Busy, message)).await
}

async fn delete_interface(cloud: &Cloud, interface: &AllowedTarget) -> Result<(), Failure> {
    let request = cloud.aws.ec2.delete_network_interface().network_interface_id(interface.id());
    ignore_not_found(cloud.aws.call(Service::Ec2, "DeleteNetworkInterface", interface.id(), request.send()).await)
}

async fn delete_group(cloud: &Cloud, group: &AllowedTarget) -> Result<(), Failure> {
    let request = cloud.aws.ec2.delete_security_group().group_id(group.id());
    ignore_not_found(cloud.aws.call(Service::Ec2, "DeleteSecurityGroup", group.id(), request.send()).await)
}

/// Revokes the rules of a group that reference others of `groups`: all of them are deleted.
async fn revoke_rules_among(
    cloud: &Cloud,
    group: &AllowedTarget,
    current: &snapshots::SecurityGroup,
    groups: &[&AllowedTarget],
) -> Result<(), Failure> {
    let ids: Vec<&str> = groups.iter().map(|group| group.id()).collect();
    let [ingress, egress] = [&current.ingress, &current.egress].map(|rules| rules_between(rules, group.id(), &ids));
    if !ingress.is_empty() {
        let request =
            cloud.aws.ec2.revoke_security_group_ingress().group_id(group.id()).set_ip_permissions(Some(ingress));
        let answer = cloud.aws.call(Service::Ec2, "RevokeSecurityGroupIngress", group.id(), request.send()).await;
        ignore_not_found(answer)?;
    }
    if !egress.is_empty() {
        let request =
            cloud.aws.ec2.revoke_security_group_egress().group_id(group.id()).set_ip_permissions(Some(egress));
        let answer = cloud.aws.call(Service::Ec2, "RevokeSecurityGroupEgress", group.id(), request.send()).await;
        ignore_not_found(answer)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "leftovers_tests.rs"]
mod tests;
