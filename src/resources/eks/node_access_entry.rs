//! The access entry of the role that Keelson creates for nodes or for Fargate. EKS creates it with the first node group
//! or profile that uses the role, but does not recreate it after the entry or the role was deleted.
//!
//! EKS stores the role's unique id with an entry and does not show it: an entry older than a recreated role has the
//! right ARN but grants no access. So an entry that is older than its role is replaced. See
//! <https://docs.aws.amazon.com/eks/latest/APIReference/API_AccessEntry.html>, `principalArn`.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::access_entry::KIND;
use super::cluster;
use crate::aws::Service;
use crate::aws::tags::Tags;
use crate::engine::{Change, Class, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, arn, changes_field};
use crate::resources::iam::role::{self, Purpose};
use crate::resources::tag_calls::OwnerTags;

/// The minimum age of the role before its entry is created: EKS must see the new role, not the previous one.
const VISIBLE_AFTER: Duration = Duration::from_secs(10);

/// The entry of a role that Keelson created.
pub struct NodeAccessEntry {
    purpose: Purpose,
    cluster: String,
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    kind: String,
    created: Option<Timestamp>,
    tags: Tags,
}

const PRINCIPAL: &str = "principal";
const TYPE: &str = "type";

/// The key in the graph.
pub fn key(purpose: Purpose) -> Key {
    KIND.named(role::key(purpose).to_string())
}

/// The type that EKS gives to the entry, and the prefix of all types that work.
fn types(purpose: Purpose) -> (&'static str, &'static str) {
    match purpose {
        Purpose::Fargate => ("FARGATE_LINUX", "FARGATE"),
        _ => ("EC2_LINUX", "EC2"),
    }
}

impl NodeAccessEntry {
    /// The entry of the cluster's role for nodes or for Fargate.
    pub fn new(context: &ResourceContext<'_>, purpose: Purpose) -> Self {
        let tags = context.tags(&key(purpose));
        Self { purpose, cluster: context.cluster_name.into(), tags, intervals: context.intervals }
    }

    fn role(&self) -> Key {
        role::key(self.purpose)
    }

    fn role_created_at(&self, refs: &Refs) -> Option<Timestamp> {
        refs.output(&self.role(), role::CREATED_AT)?.parse().ok()
    }

    /// Whether EKS sees the current role, as far as is known.
    fn role_is_visible(&self, refs: &Refs) -> Result<(), Failure> {
        let since = self.role_created_at(refs).map(|role| Timestamp::now().duration_since(role).unsigned_abs());
        if since.is_some_and(|since| since < VISIBLE_AFTER) {
            let role = self.role();
            let message = format!("the access entry of {role} waits until EKS can see the newly created role");
            return Err(Failure::new(Class::Busy, message));
        }
        Ok(())
    }

    /// All fields that differ. `role_created_at` is the time of the role's creation to the second, if known. Tags are
    /// not compared: EKS creates the entry without any.
    fn differences(&self, current: &Detail, role_created_at: Option<Timestamp>) -> Vec<Change> {
        let mut changes = Vec::new();
        if let (Some(entry), Some(role)) = (current.created, role_created_at)
            && entry < role
        {
            let from = format!("a role older than the current one, created {role}");
            changes.push(Change::in_place(PRINCIPAL, from, "the current role"));
        }
        let (kind, prefix) = types(self.purpose);
        if !current.kind.starts_with(prefix) {
            changes.push(Change::in_place(TYPE, &current.kind, kind));
        }
        changes
    }

    async fn create_entry(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let principal = refs.need(&self.role(), "arn")?;
        let request = cloud
            .aws
            .eks
            .create_access_entry()
            .cluster_name(&self.cluster)
            .principal_arn(principal)
            // Without tags, as EKS creates it: it is deleted with the cluster, and there is nothing to release.
            .r#type(types(self.purpose).0);
        let answer = cloud.aws.call(Service::Eks, "CreateAccessEntry", principal, request.send()).await;
        let answer = match answer {
            // The entry exists already, created by an attempt whose response was lost or by EKS: the next observation
            // picks it up.
            Err(error) if error.class() == Class::Conflict => {
                return Err(Failure::of(Class::NoChange, error));
            }
            other => other?,
        };
        let Some(entry) = answer.access_entry else {
            return Err(Failure::new(
                Class::NoChange,
                format!("EKS returned no data for the access entry of {principal}"),
            ));
        };
        Ok(to_observation(principal, &entry))
    }
}

fn to_observation(principal: &str, entry: &aws_sdk_eks::types::AccessEntry) -> Observation<Detail> {
    let created = entry.created_at().and_then(|at| Timestamp::new(at.secs(), at.subsec_nanos().try_into().ok()?).ok());
    let kind = entry.r#type().unwrap_or_default().to_owned();
    let detail = Detail { kind, created, tags: Tags::from_eks(entry.tags()) };
    Observation::ready(principal, "available", detail).output("arn", entry.access_entry_arn().unwrap_or_default())
}

#[async_trait]
impl Resource for NodeAccessEntry {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(self.purpose)
    }

    fn after(&self) -> Vec<Key> {
        vec![cluster::key(), self.role()]
    }

    fn inside(&self) -> Option<Key> {
        Some(cluster::key())
    }

    /// The role's ARN identifies the entry.
    fn observed_after(&self) -> Option<Key> {
        Some(self.role())
    }

    fn deleted_with(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("type", types(self.purpose).0.into())]
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        observed.detail.tags.owner().is_some().then(|| OwnerTags::in_eks(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        self.differences(&observed.detail, self.role_created_at(refs))
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let not_observed = |id: &str| Presence::External(Observation::ready(id, "not observed", Detail::default()));
        // While the role does not exist, the record has its ARN.
        let Some(principal) = refs.output(&self.role(), "arn").or(options.recorded_id.as_deref()) else {
            return Ok(not_observed(""));
        };
        if cluster::has_no_access_entries(refs) {
            return Ok(not_observed(principal));
        }
        let request = cloud.aws.eks.describe_access_entry().cluster_name(&self.cluster).principal_arn(principal);
        let answer = match cloud.aws.call(Service::Eks, "DescribeAccessEntry", principal, request.send()).await {
            Err(error) if error.class() == Class::NotFound => return Ok(Presence::Absent),
            // The cluster supports no access entries, which was not observed yet.
            Err(error) if error.class() == Class::Invalid => return Ok(not_observed(principal)),
            other => other?,
        };
        let Some(entry) = answer.access_entry else { return Ok(Presence::Absent) };
        let observed = to_observation(principal, &entry);
        Ok(match observed.detail.tags.owner() {
            Some(owner) if owner != cloud.owner.uid => Presence::External(observed),
            _ => Presence::Ours(observed),
        })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        self.role_is_visible(refs)?;
        self.create_entry(cloud, refs).await
    }

    /// EKS cannot change principal or type: the entry is deleted and recreated. It granted no access anyway.
    async fn update(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        if !changes_field(changes, PRINCIPAL) && !changes_field(changes, TYPE) {
            return Ok(observed.clone());
        }
        self.role_is_visible(refs)?;
        let (principal, mut tags) = (&observed.id, observed.detail.tags.clone());
        // Tags first: the operator's IAM policy allows deletion only of tagged entries.
        let ownership = self.tags.ownership().missing_from(&tags);
        cloud.tag_eks(arn(observed), &mut tags, ownership).await?;
        let request = cloud.aws.eks.delete_access_entry().cluster_name(&self.cluster).principal_arn(principal);
        match cloud.aws.call(Service::Eks, "DeleteAccessEntry", principal, request.send()).await {
            Err(error) if error.class() != Class::NotFound => return Err(error.into()),
            _ => {}
        }
        self.create_entry(cloud, refs).await
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.eks.delete_access_entry().cluster_name(&self.cluster).principal_arn(&observed.id);
        cloud.aws.call(Service::Eks, "DeleteAccessEntry", &observed.id, request.send()).await?;
        Ok(Presence::Absent)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::resources::cloud::Owner;

    #[test]
    fn entry_older_than_its_role_or_of_another_type_is_replaced() {
        let owner = Owner { uid: "uid".into(), cluster: "default/demo".into(), ..Owner::default() };
        let context = ResourceContext {
            owner: &owner,
            cluster_name: "demo",
            user_tags: BTreeMap::new(),
            former_tags: BTreeSet::new(),
            intervals: Intervals::default(),
        };
        let entry = NodeAccessEntry::new(&context, Purpose::Node);
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let role = at("2026-11-28T10:00:00Z");
        let fields = |kind: &str, created: &str, role: Option<Timestamp>| -> Vec<String> {
            let observed = Detail { kind: kind.into(), created: Some(at(created)), tags: Tags::new() };
            entry.differences(&observed, role).into_iter().map(|change| change.field).collect()
        };
        for (kind, created, role, expected) in [
            ("EC2_LINUX", "2026-11-28T10:00:00.5Z", Some(role), vec![]),
            ("EC2_LINUX", "2026-11-28T10:00:00Z", Some(role), vec![]),
            ("EC2_WINDOWS", "2026-11-28T11:00:00Z", Some(role), vec![]),
            ("EC2_LINUX", "2026-11-28T09:59:59.9Z", Some(role), vec!["principal"]),
            ("EC2_LINUX", "2026-11-28T09:00:00Z", None, vec![]),
            ("STANDARD", "2026-11-28T11:00:00Z", Some(role), vec!["type"]),
        ] {
            assert_eq!(fields(kind, created, role), expected, "{kind} {created}");
        }
    }
}
