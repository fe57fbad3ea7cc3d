//! What a cluster leaves behind in its VPC: network interfaces of its nodes, security groups of its load balancers.
//!
//! There is nothing of it to make; when the cluster is gone, what carries its name is swept. Interfaces are swept only when
//! nothing uses them (amazon-vpc-cni-k8s#608), and nothing that carries no tag of the cluster is touched.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::{IpPermission, NetworkInterfaceStatus, UserIdGroupPair};

use super::blockers::{self, Part};
use super::cloud::{Cloud, Intervals, Making};
use super::{cluster, subnet};
use crate::api::node_group::SubnetTier;
use crate::aws::snapshots::network::Permission;
use crate::aws::tags::{Ownership, Tags};
use crate::aws::{Fresh, Service, snapshots};
use crate::engine::{Action, Change, Class, Failure, Goal, Key, Look, Observed, Phase, Presence, Refs, Resource, Rest};

/// What the cluster may have left in a VPC.
pub struct Leftovers {
    cluster: String,
    /// What knows the VPC: the VPC of ours, or the existing network.
    network: Key,
    /// What cannot go before they are swept.
    holds: Vec<Key>,
    intervals: Intervals,
}

/// The VPC they are in.
pub type Seen = String;

/// Its name in the graph.
pub fn key() -> Key {
    Key::single("leftovers")
}

impl Leftovers {
    /// What the cluster leaves in the VPC that `network` knows, whose subnets lie in `zones`.
    pub fn new(making: &Making<'_>, network: Key, subnets: &[(SubnetTier, String)]) -> Self {
        let subnets = subnets.iter().map(|(tier, zone)| subnet::key(*tier, zone));
        let ours = network == super::vpc::key();
        let holds = if ours { subnets.chain([network.clone()]).collect() } else { Vec::new() };
        Self { cluster: making.cluster_name.into(), network, holds, intervals: making.intervals }
    }

    fn is_of_cluster(&self, tags: &Tags) -> bool {
        let owned = format!("kubernetes.io/cluster/{}", self.cluster);
        ["cluster.k8s.amazonaws.com/name", "aws:eks:cluster-name", "elbv2.k8s.aws/cluster"]
            .iter()
            .any(|tag| tags.get(tag) == Some(&self.cluster))
            || tags.get(&owned) == Some("owned")
    }

    /// Whether the name is that of a cluster of somebody else's, so that what carries it is theirs.
    async fn is_of_another(&self, cloud: &Cloud) -> Result<bool, Failure> {
        let request = cloud.aws.eks.describe_cluster().name(&self.cluster);
        let there = match cloud.aws.call(Service::Eks, "DescribeCluster", &self.cluster, request.send()).await {
            Err(error) if error.class() == Class::Gone => return Ok(false),
            other => other?.cluster,
        };
        let tags = there.as_ref().and_then(|cluster| cluster.tags());
        match Ownership::of(&Tags::from_eks(tags), &cloud.owner.uid) {
            Ownership::Ours => Err(Failure::new(Class::Busy, format!("cluster {} is not gone yet", self.cluster))),
            Ownership::Nobody | Ownership::Other { .. } => Ok(true),
        }
    }

    async fn interfaces(&self, cloud: &Cloud, vpc: &str) -> Result<Vec<snapshots::NetworkInterface>, Failure> {
        let all = cloud.aws.snapshots.network_interfaces_of_vpc(vpc, Fresh::now()).await?;
        let ours = |interface: &&snapshots::NetworkInterface| {
            // In a VPC of our own, what nodes left is the cluster's, whatever it is called.
            let of_a_node =
                !self.holds.is_empty() && interface.tags.get("node.k8s.amazonaws.com/instance_id").is_some();
            self.is_of_cluster(&interface.tags) || of_a_node
        };
        Ok(all.iter().filter(ours).cloned().collect())
    }
}

#[async_trait]
impl Resource for Leftovers {
    type Cloud = Cloud;
    type Seen = Seen;

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

    fn rest(&self) -> Rest {
        self.intervals.single()
    }

    fn diff(&self, _: &Observed<Seen>, _: &Refs) -> Vec<Change> {
        Vec::new()
    }

    /// While the cluster is to stay there is nothing to look for; when it goes, whatever it left is there until swept.
    async fn observe(
        &self,
        _: &Cloud,
        refs: &Refs,
        look: &Look,
        _: Option<&Observed<Seen>>,
    ) -> Result<Presence<Seen>, Failure> {
        let vpc = refs.output(&self.network, "vpcId").or_else(|| refs.get(&self.network));
        Ok(match (look.goal, vpc) {
            (Goal::Gone, Some(vpc)) => Presence::Ours(Observed::ready("", "to be swept", vpc.to_owned())),
            (Goal::Gone, None) => Presence::Absent,
            (Goal::Present | Goal::Released, _) => Presence::Borrowed(Observed::ready("", "none", String::new())),
        })
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observed<Seen>, Failure> {
        Err(Failure::invalid("leftovers are never made"))
    }

    async fn update(&self, _: &Cloud, _: &Refs, _: &Observed<Seen>, _: &[Change]) -> Result<Observed<Seen>, Failure> {
        Err(Failure::invalid("leftovers are never changed"))
    }

    /// All of it that can go; what cannot yet is tried again, and what holds it is named.
    async fn delete(&self, cloud: &Cloud, seen: &Observed<Seen>) -> Result<Presence<Seen>, Failure> {
        if self.is_of_another(cloud).await? {
            return Ok(Presence::Absent);
        }
        let vpc = &seen.detail;
        let mut in_use = Vec::new();
        let mut failed = None;
        for interface in self.interfaces(cloud, vpc).await? {
            if interface.status != Some(NetworkInterfaceStatus::Available) {
                in_use.push(interface.id);
                continue;
            }
            let request = cloud.aws.ec2.delete_network_interface().network_interface_id(&interface.id);
            let answer = cloud.aws.call(Service::Ec2, "DeleteNetworkInterface", &interface.id, request.send()).await;
            failed = failed.or(gone_is_fine(answer).err());
        }
        failed = failed.or(self.sweep_groups(cloud, vpc).await?);
        if let Some(failure) = failed {
            return Err(failure);
        }
        if in_use.is_empty() {
            return Ok(Presence::Absent);
        }
        let note = format!("network interfaces still in use: {}", in_use.join(", "));
        Ok(Presence::Ours(seen.clone().phase(Phase::Busy { action: Action::Delete, since: None, note })))
    }
}

impl Leftovers {
    /// Deletes the cluster's groups. Those whose rules name each other would hold each other for ever, so such rules go first;
    /// a rule of somebody else's group that names one of them is theirs to remove. Returns the first failure.
    async fn sweep_groups(&self, cloud: &Cloud, vpc: &str) -> Result<Option<Failure>, Failure> {
        let all = cloud.aws.snapshots.security_groups_of_vpc(vpc, Fresh::now()).await?;
        let doomed: Vec<_> =
            all.iter().filter(|group| group.name != "default" && self.is_of_cluster(&group.tags)).collect();
        let ids: Vec<&str> = doomed.iter().map(|group| group.id.as_str()).collect();
        let mut failed = None;
        for group in &doomed {
            failed = failed.or(revoke(cloud, group, &ids).await.err());
        }
        for group in &doomed {
            let request = cloud.aws.ec2.delete_security_group().group_id(&group.id);
            let answer = cloud.aws.call(Service::Ec2, "DeleteSecurityGroup", &group.id, request.send()).await;
            if let Err(failure) = gone_is_fine(answer) {
                let failure = blockers::named(cloud, vpc, Part::SecurityGroup(&group.id), failure).await;
                failed.get_or_insert(failure);
            }
        }
        Ok(failed)
    }
}

/// Takes the rules out of a group that name others of `doomed`.
async fn revoke(cloud: &Cloud, group: &snapshots::SecurityGroup, doomed: &[&str]) -> Result<(), Failure> {
    let [ingress, egress] = [&group.ingress, &group.egress].map(|rules| naming(rules, &group.id, doomed));
    if !ingress.is_empty() {
        let request =
            cloud.aws.ec2.revoke_security_group_ingress().group_id(&group.id).set_ip_permissions(Some(ingress));
        let answer = cloud.aws.call(Service::Ec2, "RevokeSecurityGroupIngress", &group.id, request.send()).await;
        gone_is_fine(answer)?;
    }
    if !egress.is_empty() {
        let request = cloud.aws.ec2.revoke_security_group_egress().group_id(&group.id).set_ip_permissions(Some(egress));
        let answer = cloud.aws.call(Service::Ec2, "RevokeSecurityGroupEgress", &group.id, request.send()).await;
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
        Err(error) if error.class() != Class::Gone => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rules_among_what_is_swept_are_taken_out() {
        let rule = |ports: (i32, i32), groups: &[&str]| Permission {
            protocol: "tcp".into(),
            from_port: Some(ports.0),
            to_port: Some(ports.1),
            cidrs: vec!["10.0.0.0/16".into()],
            ipv6_cidrs: Vec::new(),
            group_ids: groups.iter().map(|id| (*id).to_owned()).collect(),
        };
        let rules = [rule((80, 80), &["sg-1", "sg-2", "sg-foreign"]), rule((443, 443), &["sg-1"]), rule((22, 22), &[])];
        let found = naming(&rules, "sg-1", &["sg-1", "sg-2"]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].from_port(), found[0].ip_ranges().len()), (Some(80), 0));
        let pairs: Vec<_> = found[0].user_id_group_pairs().iter().filter_map(|pair| pair.group_id()).collect();
        assert_eq!(pairs, ["sg-2"]);
    }
}
