//! An access entry and its policy associations: which principal may use the cluster's API, with which rights.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/access-entries.html>.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_eks::types::{AccessScope, AccessScopeType};

use super::cluster;
use crate::api::access::{AccessEntry as DesiredEntry, AccessScope as DesiredScope, EntryType, ScopeType};
use crate::aws::Service;
use crate::aws::tags::Tags;
use crate::engine::{Change, Class, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, arn, changed_tags, changes_field};
use crate::resources::deletion::pruning;
use crate::resources::graph::kind::{Area, InCluster, Kind};
use crate::resources::graph::ownership::{self, untagged};
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("accessEntry", "access entry", Area::ControlPlane)
    .in_cluster(InCluster {
        parameter: Some("principalArn"),
        arn_type: "access-entry",
        pruning: Some(("CreateAccessEntry", &pruning::ACCESS_ENTRIES)),
    })
    .after_nodes()
    .with_actions(&[
        "eks:AssociateAccessPolicy",
        "eks:CreateAccessEntry",
        "eks:DeleteAccessEntry",
        "eks:DescribeAccessEntry",
        "eks:DisassociateAccessPolicy",
        "eks:ListAssociatedAccessPolicies",
        "eks:TagResource",
        "eks:UntagResource",
        "eks:UpdateAccessEntry",
    ]);

const TYPE: &str = "type";
const USERNAME: &str = "username";

/// An access entry from the spec. In a cluster owned by the object, Keelson manages every listed entry.
pub struct AccessEntry {
    cluster: String,
    wanted: DesiredEntry,
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of an access entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// As EKS names it.
    kind: String,
    username: String,
    groups: BTreeSet<String>,
    /// Scope by policy ARN, formatted for messages.
    policies: BTreeMap<String, String>,
    tags: Tags,
    /// The entry has no owner tag, but the spec lists it in a cluster that this object owns: it gets our tags.
    untagged: bool,
}

/// The key in the graph.
pub fn key(principal: &str) -> Key {
    KIND.named(principal)
}

impl AccessEntry {
    /// Creates the resource for an entry of the cluster.
    pub fn new(context: &ResourceContext<'_>, wanted: &DesiredEntry) -> Self {
        let tags = context.tags(&key(&wanted.principal_arn));
        Self { cluster: context.cluster_name.into(), wanted: wanted.clone(), tags, intervals: context.intervals }
    }

    fn policies(&self) -> impl Iterator<Item = (&str, &DesiredScope)> {
        self.wanted.policies.iter().flatten().map(|policy| (policy.policy_arn.as_str(), &policy.scope))
    }

    /// Policies that the entry has but the spec does not list. If the spec sets `policies` (even to `[]`), the list is
    /// complete.
    fn extra_policies<'s>(&self, observed: &'s Detail) -> Vec<(&'s str, &'s str)> {
        let Some(listed) = &self.wanted.policies else { return Vec::new() };
        let current = observed.policies.iter().map(|(arn, scope)| (arn.as_str(), scope.as_str()));
        current.filter(|(arn, _)| listed.iter().all(|policy| policy.policy_arn != *arn)).collect()
    }

    async fn list_policies(&self, cloud: &Cloud) -> Result<BTreeMap<String, String>, Failure> {
        let principal = &self.wanted.principal_arn;
        let mut policies = BTreeMap::new();
        let mut next = None;
        loop {
            let request = cloud
                .aws
                .eks
                .list_associated_access_policies()
                .cluster_name(&self.cluster)
                .principal_arn(principal)
                .set_next_token(next);
            let answer =
                cloud.aws.call(Service::Eks, "ListAssociatedAccessPolicies", principal, request.send()).await?;
            for policy in answer.associated_access_policies() {
                let scope = policy.access_scope().map(format_scope).unwrap_or_default();
                policies.insert(policy.policy_arn().unwrap_or_default().to_owned(), scope);
            }
            next = answer.next_token;
            if next.is_none() {
                return Ok(policies);
            }
        }
    }
}

fn policy_field(arn: &str) -> String {
    format!("policies[{arn}]")
}

fn format_scope(scope: &AccessScope) -> String {
    match scope.r#type() {
        Some(AccessScopeType::Namespace) => {
            let sorted: BTreeSet<_> = scope.namespaces().iter().cloned().collect();
            format!("Namespace {}", sorted.into_iter().collect::<Vec<_>>().join(", "))
        }
        _ => "Cluster".into(),
    }
}

fn scope(wanted: &DesiredScope) -> AccessScope {
    match wanted.type_ {
        ScopeType::Cluster => AccessScope::builder().r#type(AccessScopeType::Cluster).build(),
        ScopeType::Namespace => AccessScope::builder()
            .r#type(AccessScopeType::Namespace)
            .set_namespaces(Some(wanted.namespaces.clone()))
            .build(),
    }
}

#[async_trait]
impl Resource for AccessEntry {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.wanted.principal_arn)
    }

    fn after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn inside(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn deleted_with(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let policies: Vec<_> = self
            .policies()
            .map(|(arn, wanted)| {
                format!("{} ({})", arn.rsplit('/').next().unwrap_or(arn), format_scope(&scope(wanted)))
            })
            .collect();
        let mut facts = Vec::new();
        if self.wanted.type_ != EntryType::Standard {
            facts.push((TYPE, self.wanted.type_.in_eks().to_owned()));
        }
        if let Some(username) = &self.wanted.username {
            facts.push((USERNAME, username.clone()));
        }
        if !policies.is_empty() {
            facts.push(("policies", policies.join(", ")));
        }
        if let Some(groups) = &self.wanted.kubernetes_groups {
            facts.push(("kubernetesGroups", groups.join(", ")));
        }
        facts
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_eks(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let mut changes = ownership::tag_changes_of_listed(&self.tags, &observed.detail.tags, observed.detail.untagged);
        let (kind, current) = (self.wanted.type_.in_eks(), &observed.detail.kind);
        if current != kind {
            let why = format!(
                "EKS does not change the type: delete the entry (aws eks delete-access-entry --cluster-name {} --principal-arn {}), so \
                 that Keelson creates it; or take it off the list, and list it again with its type",
                self.cluster, self.wanted.principal_arn
            );
            changes.push(Change::forbidden(TYPE, current, kind, why));
        }
        if let Some(wanted) = self.wanted.username.as_ref().filter(|wanted| **wanted != observed.detail.username) {
            changes.push(Change::in_place(USERNAME, &observed.detail.username, wanted));
        }
        for (arn, wanted) in self.policies() {
            let (wanted, current) = (format_scope(&scope(wanted)), observed.detail.policies.get(arn));
            if current != Some(&wanted) {
                changes.push(Change::in_place(policy_field(arn), current.cloned().unwrap_or_default(), wanted));
            }
        }
        for (arn, current) in self.extra_policies(&observed.detail) {
            changes.push(Change::in_place(policy_field(arn), current, ""));
        }
        if let Some(groups) = &self.wanted.kubernetes_groups {
            let wanted: BTreeSet<_> = groups.iter().cloned().collect();
            if wanted != observed.detail.groups {
                let text = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
                changes.push(Change::in_place("kubernetesGroups", text(&observed.detail.groups), text(&wanted)));
            }
        }
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        _: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        if cluster::has_no_access_entries(refs) {
            return Ok(Presence::Absent);
        }
        let principal = &self.wanted.principal_arn;
        let request = cloud.aws.eks.describe_access_entry().cluster_name(&self.cluster).principal_arn(principal);
        let answer = match cloud.aws.call(Service::Eks, "DescribeAccessEntry", principal, request.send()).await {
            Err(error) if error.class() == Class::NotFound => return Ok(Presence::Absent),
            other => other?,
        };
        let Some(entry) = answer.access_entry else { return Ok(Presence::Absent) };
        let detail = Detail {
            kind: entry.r#type().unwrap_or("STANDARD").to_owned(),
            username: entry.username().unwrap_or_default().to_owned(),
            groups: entry.kubernetes_groups().iter().cloned().collect(),
            policies: self.list_policies(cloud).await?,
            untagged: untagged(cloud, entry.tags()),
            tags: Tags::from_eks(entry.tags()),
        };
        let arn = entry.access_entry_arn().unwrap_or_default();
        let tags = detail.tags.clone();
        let observed = Observation::ready(principal, "available", detail).output("arn", arn);
        Ok(ownership::presence_of_listed(cloud, &tags, observed, || {
            format!("access entry {principal} of cluster {}", self.cluster)
        }))
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let principal = &self.wanted.principal_arn;
        if cluster::has_no_access_entries(refs) {
            let message = format!("access entry {principal} waits for the cluster's authentication mode to be changed");
            return Err(Failure::new(Class::Busy, message));
        }
        let groups = self.wanted.kubernetes_groups.clone().unwrap_or_default();
        let DesiredEntry { type_, username, .. } = &self.wanted;
        let request = cloud
            .aws
            .eks
            .create_access_entry()
            .cluster_name(&self.cluster)
            .principal_arn(principal)
            .set_type((*type_ != EntryType::Standard).then(|| type_.in_eks().to_owned()))
            .set_username(username.clone())
            .set_kubernetes_groups(self.wanted.kubernetes_groups.clone())
            .set_tags(Some(self.tags.to_eks()));
        let answer = cloud.aws.call(Service::Eks, "CreateAccessEntry", principal, request.send()).await;
        let answer = match answer {
            // The entry exists already, created by hand or by EKS for the cluster's creator: the next observation picks
            // it up.
            Err(error) if error.class() == Class::Conflict => {
                return Err(Failure::of(Class::NoChange, error));
            }
            other => other?,
        };
        let created = answer.access_entry;
        let detail = Detail {
            kind: type_.in_eks().to_owned(),
            username: created.as_ref().and_then(|entry| entry.username.clone()).unwrap_or_default(),
            groups: groups.into_iter().collect(),
            policies: BTreeMap::new(),
            tags: self.tags.clone(),
            untagged: false,
        };
        let arn = created.and_then(|entry| entry.access_entry_arn).unwrap_or_default();
        Ok(Observation::ready(principal, "available", detail).output("arn", arn))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let principal = &self.wanted.principal_arn;
        let mut detail = observed.detail.clone();
        // Tags first: the operator's IAM policy allows changes only to tagged entries.
        cloud.tag_eks(arn(observed), &mut detail.tags, changed_tags(changes)).await?;
        let changed = |field: &str| changes_field(changes, field);
        let username = self.wanted.username.as_ref().filter(|_| changed(USERNAME));
        let groups = self.wanted.kubernetes_groups.as_ref().filter(|_| changed("kubernetesGroups"));
        if username.is_some() || groups.is_some() {
            let request = cloud
                .aws
                .eks
                .update_access_entry()
                .cluster_name(&self.cluster)
                .principal_arn(principal)
                .set_username(username.cloned())
                .set_kubernetes_groups(groups.cloned());
            cloud.aws.call(Service::Eks, "UpdateAccessEntry", principal, request.send()).await?;
            detail.username = username.cloned().unwrap_or(detail.username);
            detail.groups = groups.map_or(detail.groups, |groups| groups.iter().cloned().collect());
        }
        for (arn, wanted) in self.policies() {
            if !changes_field(changes, &policy_field(arn)) {
                continue;
            }
            // Associating again replaces the scope.
            let request = cloud
                .aws
                .eks
                .associate_access_policy()
                .cluster_name(&self.cluster)
                .principal_arn(principal)
                .policy_arn(arn)
                .access_scope(scope(wanted));
            cloud.aws.call(Service::Eks, "AssociateAccessPolicy", principal, request.send()).await?;
            detail.policies.insert(arn.to_owned(), format_scope(&scope(wanted)));
        }
        // Last, so that the principal never loses a policy that it keeps.
        for (arn, _) in self.extra_policies(&observed.detail) {
            let request = cloud
                .aws
                .eks
                .disassociate_access_policy()
                .cluster_name(&self.cluster)
                .principal_arn(principal)
                .policy_arn(arn);
            cloud.aws.call(Service::Eks, "DisassociateAccessPolicy", principal, request.send()).await?;
            detail.policies.remove(arn);
        }
        Ok(Observation { detail, ..observed.clone() })
    }

    async fn delete(&self, cloud: &Cloud, _: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let principal = &self.wanted.principal_arn;
        let request = cloud.aws.eks.delete_access_entry().cluster_name(&self.cluster).principal_arn(principal);
        cloud.aws.call(Service::Eks, "DeleteAccessEntry", principal, request.send()).await?;
        Ok(Presence::Absent)
    }
}

#[cfg(test)]
#[path = "access_entry_tests.rs"]
mod tests;
