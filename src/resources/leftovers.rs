//! What a cluster leaves behind in its VPC: network interfaces of its nodes, security groups of its load balancers.
//!
//! There is nothing of it to make; when the cluster is gone, what [`super::marks`] recognises as its own is swept
//! (amazon-vpc-cni-k8s#608). In a network of others that is only what appeared after the cluster: what carried its name before
//! is written down when the network is first seen, as the [`Baseline`] in `status.resources`. A baseline that is taken late, or
//! was lost, excludes more and never less. What is not swept there is named, and keeps nobody from deleting.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::{Filter, IpPermission, UserIdGroupPair};
use aws_sdk_eks::types::ClusterStatus;
use jiff::Timestamp;

use super::blockers::{self, Part};
use super::cloud::{Cloud, Intervals, ResourceContext};
use super::marks::{self, Found, Network, Search};
use super::{cluster, subnet};
use crate::api::node_group::SubnetTier;
use crate::aws::snapshots::network::Permission;
use crate::aws::tags::{Ownership, Tags};
use crate::aws::{MaxStaleness, Service, snapshots};
use crate::engine::sweep::Baseline;
use crate::engine::{
    Action, AllowedTarget, Change, CheckedSweep, Class, Failure, Goal, Key, Mark, Observation, ObserveOptions,
    PollPolicy, Presence, Proof, Refs, Resource, Scope, Sweep, Target,
};

/// What the cluster may have left in a VPC.
pub struct Leftovers {
    cluster: String,
    owner: String,
    /// What knows the VPC: the VPC of ours, or the existing network.
    network: Key,
    /// Groups of others that the spec names.
    spared: Vec<String>,
    /// What cannot go before they are swept.
    holds: Vec<Key>,
    intervals: Intervals,
}

/// The VPC they are in, and what was in it before the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    vpc: String,
    baseline: Option<Baseline>,
}

/// Its name in the graph.
pub fn key() -> Key {
    Key::single("leftovers")
}

/// Whether a baseline was taken in that VPC: its id stands among what was there.
fn is_of(baseline: &Baseline, vpc: &str) -> bool {
    baseline.before.as_ref().is_none_or(|before| before.contains(vpc))
}

impl Leftovers {
    /// What the cluster leaves in the VPC that `network` knows, whose subnets lie in `zones`. `spared`: groups of others.
    pub fn new(
        making: &ResourceContext<'_>,
        network: Key,
        subnets: &[(SubnetTier, String)],
        spared: &[String],
    ) -> Self {
        let subnets = subnets.iter().map(|(tier, zone)| subnet::key(*tier, zone));
        let ours = network == super::vpc::key();
        let holds = if ours { subnets.chain([network.clone()]).collect() } else { Vec::new() };
        let (cluster, owner) = (making.cluster_name.into(), making.owner.uid.clone());
        Self { cluster, owner, network, spared: spared.to_vec(), holds, intervals: making.intervals }
    }

    fn whose(&self) -> Network {
        if self.network == super::vpc::key() { Network::Ours } else { Network::Theirs }
    }

    /// Whether the name is that of a cluster of somebody else's, so that what carries it is theirs.
    async fn is_of_another(&self, cloud: &Cloud) -> Result<bool, Failure> {
        let request = cloud.aws.eks.describe_cluster().name(&self.cluster);
        let there = match cloud.aws.call(Service::Eks, "DescribeCluster", &self.cluster, request.send()).await {
            Err(error) if error.class() == Class::NotFound => return Ok(false),
            other => other?.cluster,
        };
        let tags = there.as_ref().and_then(|cluster| cluster.tags());
        let going = there.as_ref().and_then(|cluster| cluster.status()) == Some(&ClusterStatus::Deleting);
        match Ownership::of(&Tags::from_eks(tags), &cloud.owner.uid) {
            // Tagged as ours, and not on record as ours: else it would be on its way out.
            Ownership::Ours if self.whose() == Network::Theirs && !going => Ok(true),
            Ownership::Ours => Err(Failure::new(Class::Busy, format!("cluster {} is not gone yet", self.cluster))),
            Ownership::Unowned | Ownership::Other { .. } => Ok(true),
        }
    }

    /// What carries the cluster's name in a network of others before there is such a cluster.
    async fn baseline(&self, cloud: &Cloud, vpc: &str) -> Result<Baseline, Failure> {
        let now = Timestamp::now();
        let groups = cloud.aws.snapshots.security_groups_of_vpc(vpc, MaxStaleness::now()).await?;
        let named = groups.iter().filter(|group| marks::names_cluster(&group.tags, &self.cluster));
        let named = named.map(|group| group.id.clone());
        Ok(Baseline::new(now, named.chain([vpc.to_owned()])))
    }

    fn target(&self, vpc: &str, id: &str, what: String, mark: Mark, at: Option<Timestamp>) -> Target {
        let proof = match self.whose() {
            Network::Ours => Proof::InOwnedContainer { container: (self.network.clone(), vpc.to_owned()), mark },
            Network::Theirs => Proof::AppearedLater { mark, at },
        };
        Target { id: id.to_owned(), what, proof, in_use: false, referred_to_by: Vec::new() }
    }

    /// The targets, in the order in which they can go.
    fn targets(&self, vpc: &str, found: &Found<'_>, groups: &[snapshots::SecurityGroup]) -> Vec<Target> {
        let interfaces = found.interfaces.iter().map(|(interface, mark)| {
            let what = format!("network interface {}", interface.id);
            self.target(vpc, &interface.id, what, mark.clone(), marks::created(interface))
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

    fn facts(&self) -> Vec<(&'static str, String)> {
        Vec::new()
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

    /// While the cluster is to stay there is nothing to look for but what was there before it; when it goes, whatever it left is
    /// there until swept.
    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let vpc = refs.output(&self.network, "vpcId").or_else(|| refs.get(&self.network));
        // Of another VPC, after an edit, it says nothing of what was in this one.
        let recorded = options.recorded_id.as_deref().and_then(Baseline::parse);
        let recorded = recorded.filter(|baseline| vpc.is_some_and(|vpc| is_of(baseline, vpc)));
        let known = |vpc: &str, baseline: Baseline| {
            let id = baseline.to_string();
            Presence::Ours(Observation::ready(id, "", Detail { vpc: vpc.to_owned(), baseline: Some(baseline) }))
        };
        Ok(match (options.goal, vpc, self.whose()) {
            (Goal::Deleted, Some(vpc), Network::Ours) => {
                let seen = Detail { vpc: vpc.to_owned(), baseline: None };
                Presence::Ours(Observation::ready(vpc, "to be swept", seen))
            }
            (Goal::Deleted, Some(vpc), Network::Theirs) => {
                known(vpc, recorded.unwrap_or_else(|| Baseline::unknown(Timestamp::now())))
            }
            (Goal::Deleted, None, _) => Presence::Absent,
            (Goal::Present, Some(vpc), Network::Theirs) => match recorded {
                Some(baseline) => known(vpc, baseline),
                None => known(vpc, self.baseline(cloud, vpc).await?),
            },
            (Goal::Present | Goal::Retained, ..) => {
                Presence::External(Observation::ready("", "none", Detail::default()))
            }
        })
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid("leftovers are never made"))
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
        Err(Failure::invalid("leftovers are swept"))
    }

    async fn list_sweep(&self, cloud: &Cloud, seen: &Observation<Detail>) -> Result<Sweep, Failure> {
        if self.is_of_another(cloud).await? {
            return Ok(Sweep::default());
        }
        let Detail { vpc, baseline } = &seen.detail;
        let reads = &cloud.aws.snapshots;
        let interfaces = reads.network_interfaces_of_vpc(vpc, MaxStaleness::now()).await?;
        let groups = reads.security_groups_of_vpc(vpc, MaxStaleness::now()).await?;
        let nodes: BTreeSet<&str> = interfaces.iter().filter_map(marks::instance).collect();
        let search = Search {
            cluster: &self.cluster,
            network: self.whose(),
            account: &cloud.aws.account_id,
            spared: &self.spared,
            living: &living(cloud, &nodes).await?,
            baseline: baseline.as_ref(),
        };
        let found = search.sort(&interfaces, &groups);
        let going: Vec<_> = found.going.iter().map(|interface| interface.id.clone()).collect();
        let pending = (!going.is_empty()).then(|| format!("network interfaces still in use: {}", going.join(", ")));
        let targets = self.targets(vpc, &found, &groups);
        Ok(match self.whose() {
            // The VPC cannot go before them.
            Network::Ours => {
                let blocked = match found.held.first().filter(|_| pending.is_none()) {
                    Some(group) => Some(held(cloud, vpc, &group.id).await),
                    None => None,
                };
                Sweep { targets, pending, blocked, skipped: Vec::new() }
            }
            Network::Theirs => {
                let groups =
                    found.held.iter().chain(&found.unproven_groups).filter(|one| !self.spared.contains(&one.id));
                let groups = groups.map(|group| blockers::describe_group(group));
                let interfaces =
                    found.unproven_interfaces.iter().map(|interface| blockers::describe_interface(interface));
                // While something is on its way out, what it holds is no news.
                let left = if pending.is_some() { Vec::new() } else { groups.chain(interfaces).collect() };
                Sweep { targets, pending, blocked: None, skipped: left }
            }
        })
    }

    /// Interfaces first: they use the groups. Groups whose rules name each other would hold each other for ever, so such rules go
    /// before any group.
    async fn sweep(
        &self,
        cloud: &Cloud,
        seen: &Observation<Detail>,
        _: Action,
        swept: &CheckedSweep,
    ) -> Result<Presence<Detail>, Failure> {
        let vpc = &seen.detail.vpc;
        let (groups, interfaces): (Vec<_>, Vec<_>) =
            swept.allowed.iter().partition(|allowed| allowed.id().starts_with("sg-"));
        let mut failed = None;
        for interface in interfaces {
            failed = failed.or(delete_interface(cloud, interface).await.err());
        }
        let all = cloud.aws.snapshots.security_groups_of_vpc(vpc, MaxStaleness::any()).await?;
        for group in &groups {
            if let Some(there) = all.iter().find(|one| one.id == group.id()) {
                failed = failed.or(revoke_rules_among(cloud, group, there, &groups).await.err());
            }
        }
        for group in &groups {
            if let Err(failure) = delete_group(cloud, group).await {
                failed = failed.or(Some(blockers::named(cloud, vpc, Part::SecurityGroup(group.id()), failure).await));
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

/// Of the instances those that are there and not on their way out.
async fn living(cloud: &Cloud, ids: &BTreeSet<&str>) -> Result<BTreeSet<String>, Failure> {
    /// EC2 takes this many values in a filter.
    const MOST: usize = 200;
    let mut living = BTreeSet::new();
    let ids: Vec<&str> = ids.iter().copied().collect();
    for some in ids.chunks(MOST) {
        let by = |name: &str, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            Filter::builder().name(name).set_values(Some(values)).build()
        };
        // A filter, unlike ids, does not make EC2 refuse the question for one that is gone.
        let states = by("instance-state-name", &["pending", "running", "stopping", "stopped"]);
        let mut next = None;
        loop {
            let request = cloud.aws.ec2.describe_instances().filters(by("instance-id", some)).filters(states.clone());
            let request = request.set_next_token(next);
            let answer = cloud.aws.call(Service::Ec2, "DescribeInstances", "nodes", request.send()).await?;
            let instances = answer.reservations().iter().flat_map(|reservation| reservation.instances());
            living.extend(instances.filter_map(|instance| instance.instance_id().map(str::to_owned)));
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
    }
    Ok(living)
}

/// What holds a group that cannot go.
async fn held(cloud: &Cloud, vpc: &str, group: &str) -> Failure {
    let message = format!("security group {group} cannot be deleted: it has dependents.");
    blockers::named(cloud, vpc, Part::SecurityGroup(group), Failure::new(Class::Busy, message)).await
}

async fn delete_interface(cloud: &Cloud, interface: &AllowedTarget) -> Result<(), Failure> {
    let request = cloud.aws.ec2.delete_network_interface().network_interface_id(interface.id());
    gone_is_fine(cloud.aws.call(Service::Ec2, "DeleteNetworkInterface", interface.id(), request.send()).await)
}

async fn delete_group(cloud: &Cloud, group: &AllowedTarget) -> Result<(), Failure> {
    let request = cloud.aws.ec2.delete_security_group().group_id(group.id());
    gone_is_fine(cloud.aws.call(Service::Ec2, "DeleteSecurityGroup", group.id(), request.send()).await)
}

/// Takes the rules out of a group that name others of `groups`: all of them go.
async fn revoke_rules_among(
    cloud: &Cloud,
    group: &AllowedTarget,
    there: &snapshots::SecurityGroup,
    groups: &[&AllowedTarget],
) -> Result<(), Failure> {
    let ids: Vec<&str> = groups.iter().map(|group| group.id()).collect();
    let [ingress, egress] = [&there.ingress, &there.egress].map(|rules| naming(rules, group.id(), &ids));
    if !ingress.is_empty() {
        let request =
            cloud.aws.ec2.revoke_security_group_ingress().group_id(group.id()).set_ip_permissions(Some(ingress));
        let answer = cloud.aws.call(Service::Ec2, "RevokeSecurityGroupIngress", group.id(), request.send()).await;
        gone_is_fine(answer)?;
    }
    if !egress.is_empty() {
        let request =
            cloud.aws.ec2.revoke_security_group_egress().group_id(group.id()).set_ip_permissions(Some(egress));
        let answer = cloud.aws.call(Service::Ec2, "RevokeSecurityGroupEgress", group.id(), request.send()).await;
        gone_is_fine(answer)?;
    }
    Ok(())
}

/// Of `rules`, the parts that name others of `doomed` than `own`.
fn naming(rules: &[Permission], own: &str, doomed: &[&str]) -> Vec<IpPermission> {
    let part = |rule: &Permission| {
        let named = rule.group_ids.iter().filter(|id| id.as_str() != own && doomed.contains(&id.as_str()));
        let pairs: Vec<_> = named.map(|id| UserIdGroupPair::builder().group_id(id).build()).collect();
        (!pairs.is_empty()).then(|| {
            IpPermission::builder()
                .ip_protocol(&rule.protocol)
                .set_from_port(rule.from_port)
                .set_to_port(rule.to_port)
                .set_user_id_group_pairs(Some(pairs))
                .build()
        })
    };
    rules.iter().filter_map(part).collect()
}

fn gone_is_fine<T>(answer: Result<T, crate::aws::AwsError>) -> Result<(), Failure> {
    match answer {
        Err(error) if error.class() != Class::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "leftovers_tests.rs"]
mod tests;
