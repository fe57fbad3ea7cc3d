//! How AWS services and common controllers mark resources as a cluster's, and which of them may be swept. Pure.
//!
//! | Who | Marks | With |
//! |---|---|---|
//! | EKS | its cluster security group | the tag `aws:eks:cluster-name`: only AWS can write keys with the prefix `aws:`
//! |
//! | Amazon VPC CNI | interfaces of nodes | the tags `cluster.k8s.amazonaws.com/name`, `node.k8s.amazonaws.com/instance_id` and `createdAt`, and the description `aws-K8S-INSTANCE` |
//! | AWS Load Balancer Controller | security groups | the tags `elbv2.k8s.aws/cluster` and `.../resource`, and a
//! description that starts with `[k8s]` |
//! | Kubernetes cloud provider | security groups of load balancers | the tag `kubernetes.io/cluster/NAME=owned` and the
//! name `k8s-elb-...` |
//!
//! Terraform modules, kops and users write `kubernetes.io/cluster/NAME=owned` as well: that tag counts only in our VPC.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{IpPermission, NetworkInterfaceStatus, UserIdGroupPair};
use jiff::Timestamp;

use crate::aws::snapshots::network_attributes::Permission;
use crate::aws::snapshots::{NetworkInterface, SecurityGroup};
use crate::aws::tags::{OWNER, Tags};
use crate::engine::Mark;

const INSTANCE: &str = "node.k8s.amazonaws.com/instance_id";
const CREATED: &str = "node.k8s.amazonaws.com/createdAt";
const CNI_CLUSTER: &str = "cluster.k8s.amazonaws.com/name";
const EKS_CLUSTER: &str = "aws:eks:cluster-name";
const LOAD_BALANCER_CLUSTER: &str = "elbv2.k8s.aws/cluster";
/// Tags in which the load balancer controller states a group's purpose.
const LOAD_BALANCER_RESOURCES: [&str; 3] =
    ["elbv2.k8s.aws/resource", "ingress.k8s.aws/resource", "service.k8s.aws/resource"];

/// Who owns the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A VPC that Keelson created for the cluster: everything marked in it came with the cluster.
    Own,
    /// A VPC of somebody else.
    External,
}

fn mark(by: &'static str, name: Option<&str>) -> Mark {
    Mark { by, name: name.map(str::to_owned), reserved: by == "EKS" }
}

fn is_owned(tags: &Tags, cluster: &str) -> bool {
    tags.get(&format!("kubernetes.io/cluster/{cluster}")) == Some("owned")
}

/// What marks a security group as the cluster's.
pub fn group_mark(group: &SecurityGroup, cluster: &str, network: Network) -> Option<Mark> {
    let has = |tag: &str| group.tags.get(tag) == Some(cluster);
    if has(EKS_CLUSTER) {
        return Some(mark("EKS", Some(cluster)));
    }
    let has_all_marks = LOAD_BALANCER_RESOURCES.iter().any(|tag| group.tags.get(tag).is_some())
        && group.description.starts_with("[k8s]");
    if has(LOAD_BALANCER_CLUSTER) && (network == Network::Own || has_all_marks) {
        return Some(mark("AWS Load Balancer Controller", Some(cluster)));
    }
    let of_provider = group.name.starts_with("k8s-elb-") && is_owned(&group.tags, cluster);
    (network == Network::Own && of_provider).then(|| mark("Kubernetes' cloud provider", Some(cluster)))
}

/// Whether a security group carries the cluster's name at all, for whatever reason.
pub fn names_cluster(tags: &Tags, cluster: &str) -> bool {
    let named = [EKS_CLUSTER, LOAD_BALANCER_CLUSTER, CNI_CLUSTER];
    named.iter().any(|tag| tags.get(tag) == Some(cluster)) || is_owned(tags, cluster)
}

/// What marks a network interface as the cluster's.
pub fn interface_mark(interface: &NetworkInterface, cluster: &str, network: Network) -> Option<Mark> {
    let tags = &interface.tags;
    if tags.get(EKS_CLUSTER) == Some(cluster) {
        return Some(mark("EKS", Some(cluster)));
    }
    let name = tags.get(CNI_CLUSTER);
    let described = instance(interface).is_some_and(|id| interface.description == format!("aws-K8S-{id}"));
    match network {
        Network::Own => {
            let of_node = instance(interface).is_some() && name.is_none();
            let of_pod = tags.get("eks:eni:owner").is_some() && is_owned(tags, cluster);
            (name == Some(cluster) || of_node || of_pod).then(|| mark("Amazon VPC CNI", name))
        }
        Network::External => {
            let has_all_marks = name == Some(cluster) && described && created_at(interface).is_some();
            has_all_marks.then(|| mark("Amazon VPC CNI", name))
        }
    }
}

/// The node that an interface was created for.
pub fn instance(interface: &NetworkInterface) -> Option<&str> {
    interface.tags.get(INSTANCE).filter(|id| id.starts_with("i-"))
}

/// When the VPC CNI created an interface.
pub fn created_at(interface: &NetworkInterface) -> Option<Timestamp> {
    interface.tags.get(CREATED)?.parse().ok()
}

/// The cluster's resources in a VPC, by whether they can be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// Interfaces that are not in use.
    pub interfaces: Vec<(&'a NetworkInterface, Mark)>,
    /// Interfaces in use whose node is gone: they will be released.
    pub releasing: Vec<&'a NetworkInterface>,
    /// Security groups that are neither used nor referenced by anything that stays.
    pub groups: Vec<(&'a SecurityGroup, Mark)>,
    /// Security groups that something blocks that stays.
    pub blocked: Vec<&'a SecurityGroup>,
    /// Resources that carry the cluster's name without proof of ownership.
    pub unproven_groups: Vec<&'a SecurityGroup>,
    /// The same for interfaces.
    pub unproven_interfaces: Vec<&'a NetworkInterface>,
}

/// What to search for, and where.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// Who owns the network.
    pub network: Network,
    /// The account: in a shared VPC, resources of other accounts are not ours.
    pub account: &'a str,
    /// Groups that the spec names.
    pub spared: &'a [String],
    /// Instances that exist and are not terminating.
    pub live_instances: &'a BTreeSet<String>,
    /// What an existing network contained before the cluster.
    pub baseline: Option<&'a crate::engine::sweep::Baseline>,
}

impl Search<'_> {
    fn is_in_other_account(&self, owner: Option<&str>) -> bool {
        owner.is_some_and(|owner| owner != self.account)
    }

    /// Whether it was created after the cluster, as far as is known.
    fn is_new(&self, mark: &Mark, id: &str, at: Option<Timestamp>) -> bool {
        if self.network == Network::Own {
            return true;
        }
        self.baseline.is_some_and(|baseline| match at {
            _ if mark.reserved => true,
            Some(at) => at >= baseline.since,
            None => baseline.before.as_ref().is_some_and(|before| !before.contains(id)),
        })
    }

    /// Classifies the resources in the VPC.
    pub fn classify<'a>(&self, interfaces: &'a [NetworkInterface], groups: &'a [SecurityGroup]) -> Found<'a> {
        let mut found = Found::default();
        for interface in interfaces.iter().filter(|one| !one.requester_managed) {
            let mark = interface_mark(interface, self.cluster, self.network)
                .filter(|mark| self.is_new(mark, &interface.id, created_at(interface)))
                .filter(|_| !self.is_in_other_account(interface.owner_id.as_deref()));
            let available = interface.status == Some(NetworkInterfaceStatus::Available);
            let is_live = instance(interface).is_some_and(|id| self.live_instances.contains(id));
            match mark {
                // Its node still exists, so it is not a leftover.
                Some(_) if is_live && (available || self.network == Network::External) => {
                    found.unproven_interfaces.push(interface);
                }
                Some(mark) if available => found.interfaces.push((interface, mark)),
                Some(_) => found.releasing.push(interface),
                None if available && names_cluster(&interface.tags, self.cluster) => {
                    found.unproven_interfaces.push(interface);
                }
                None => {}
            }
        }
        let mut marked = Vec::new();
        for group in groups.iter().filter(|group| group.name != "default") {
            let mark = group_mark(group, self.cluster, self.network)
                .filter(|mark| self.is_new(mark, &group.id, None))
                .filter(|mark| mark.reserved || group.tags.get(OWNER).is_none())
                .filter(|_| !self.is_in_other_account(group.owner_id.as_deref()) && !self.spared.contains(&group.id));
            match mark {
                Some(mark) => marked.push((group, mark)),
                None if names_cluster(&group.tags, self.cluster) => found.unproven_groups.push(group),
                None => {}
            }
        }
        let deletable_ids: BTreeSet<&str> =
            found.interfaces.iter().map(|(interface, _)| interface.id.as_str()).collect();
        let remaining = interfaces.iter().filter(|interface| !deletable_ids.contains(interface.id.as_str()));
        let used: BTreeSet<&str> =
            remaining.flat_map(|interface| interface.security_group_ids.iter().map(String::as_str)).collect();
        (found.groups, found.blocked) = split_deletable(marked, groups, &used);
        found
    }
}

/// The marked groups that can be deleted together: not used, and referenced only by each other. The rest is blocked.
fn split_deletable<'a>(
    mut marked: Vec<(&'a SecurityGroup, Mark)>,
    all: &[SecurityGroup],
    used: &BTreeSet<&str>,
) -> (Vec<(&'a SecurityGroup, Mark)>, Vec<&'a SecurityGroup>) {
    let mut blocked = Vec::new();
    loop {
        let candidates: BTreeSet<&str> = marked.iter().map(|(group, _)| group.id.as_str()).collect();
        let is_deletable = |group: &SecurityGroup| {
            let remaining = |other: &&SecurityGroup| !candidates.contains(other.id.as_str());
            !used.contains(group.id.as_str()) && !all.iter().filter(remaining).any(|other| other.refers_to(&group.id))
        };
        let (deletable, blocked_now): (Vec<_>, Vec<_>) = marked.into_iter().partition(|(group, _)| is_deletable(group));
        marked = deletable;
        if blocked_now.is_empty() {
            return (marked, blocked);
        }
        blocked.extend(blocked_now.into_iter().map(|(group, _)| group));
    }
}

/// The parts of `rules` that reference groups of `swept_ids` other than `own`.
pub(super) fn rules_between(rules: &[Permission], own: &str, swept_ids: &[&str]) -> Vec<IpPermission> {
    let part = |rule: &Permission| {
        let named = rule.group_ids.iter().filter(|id| id.as_str() != own && swept_ids.contains(&id.as_str()));
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

#[cfg(test)]
#[path = "marks_tests.rs"]
mod tests;
