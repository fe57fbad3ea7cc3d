//! The log group to which EKS writes the control plane's logs, `/aws/eks/<cluster>/cluster`: it gets retention and tags once the cluster
//! exists, and is deleted after it.
//!
//! EKS creates it with the first log type, keeps its logs for ever, and creates it again as long as the cluster exists. It stays when
//! the cluster is deleted. See <https://docs.aws.amazon.com/eks/latest/userguide/control-plane-logs.html>.
//!
//! Its name is the cluster's, so it belongs to whoever has the cluster of that name: nothing is created or changed before the cluster is
//! this object's, and nothing is deleted while a cluster of that name exists. One without an owner tag is this cluster's if it is not
//! older than the cluster. An older one may hold logs of an earlier cluster of that name: it needs adoption.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{cluster, kubernetes_api};
use crate::api::log_group::LogGroup as DesiredLogGroup;
use crate::api::policy::DeletionPolicy;
use crate::aws::tags::{CLUSTER, Ownership, Tags};
use crate::aws::{AwsError, Service, Session};
use crate::engine::{
    Change, Class, Failure, Goal, Key, MarkOwner as _, Observation, ObserveOptions, PollPolicy, Presence, Refs,
    Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, changed_tags, changes_field};
use crate::resources::graph::adoption::describe_foreign;
use crate::resources::graph::kind::{Area, Kind, NamedResource};
use crate::resources::graph::ownership::tag_changes_of_listed;
use crate::resources::graph::proof;
use crate::resources::iam::role::ignore_not_found;
use crate::resources::tag_calls::{Handle, OwnerTags};

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("logGroup", "log group", Area::ControlPlane)
    .by_name(|aws, cluster| Box::pin(find(aws, cluster)))
    .kept_when_removed()
    .after_nodes()
    .with_actions(&[
        "eks:DescribeCluster",
        "logs:AssociateKmsKey",
        "logs:CreateLogGroup",
        "logs:DeleteLogGroup",
        "logs:DescribeLogGroups",
        "logs:ListTagsForResource",
        "logs:PutRetentionPolicy",
        "logs:TagResource",
        "logs:UntagResource",
    ]);

const RETENTION: &str = "logGroup.retentionDays";
const KMS_KEY: &str = "logGroup.kmsKeyArn";

/// The log group of a cluster.
pub struct LogGroup {
    cluster: String,
    name: String,
    /// `None` for one of an earlier spec: it is released with the cluster.
    wanted: Option<DesiredLogGroup>,
    tags: Tags,
    intervals: Intervals,
}

/// A log group as CloudWatch describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// `None`: it keeps its logs for ever.
    pub retention_days: Option<i32>,
    /// The ARN of its key, if it has one.
    pub kms_key_arn: Option<String>,
    /// The size of the logs in it.
    pub stored_bytes: i64,
    pub(crate) created: Option<Timestamp>,
    pub(crate) tags: Tags,
    /// It is ours, and EKS created it without our tags.
    pub(crate) untagged: bool,
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

/// Its name, which EKS derives from the cluster's.
pub fn name(cluster: &str) -> String {
    format!("/aws/eks/{cluster}/cluster")
}

fn arn(aws: &Session, name: &str) -> String {
    format!("arn:{}:logs:{}:{}:log-group:{name}", aws.partition, aws.region, aws.account_id)
}

/// How to tag the log group with that name.
fn handle(aws: &Session, name: &str) -> Handle {
    Handle::LogGroup(arn(aws, name))
}

/// The log group of the cluster with that name, without its tags; `None` if it does not exist.
///
/// # Errors
/// Those of the read.
pub async fn describe(aws: &Session, cluster: &str) -> Result<Option<Detail>, AwsError> {
    let name = name(cluster);
    let logs = aws.logs();
    // The first page has it: names are sorted, and none with this prefix is shorter.
    let request = logs.describe_log_groups().log_group_name_prefix(&name);
    let answer = aws.call(Service::Logs, "DescribeLogGroups", &name, request.send()).await?;
    let found = answer.log_groups().iter().find(|group| group.log_group_name() == Some(name.as_str()));
    Ok(found.map(|group| Detail {
        retention_days: group.retention_in_days(),
        kms_key_arn: group.kms_key_id().map(str::to_owned),
        stored_bytes: group.stored_bytes().unwrap_or_default(),
        created: group.creation_time().and_then(|at| Timestamp::from_millisecond(at).ok()),
        ..Detail::default()
    }))
}

/// The tags of the log group with that name; `None` if it does not exist.
async fn read_tags(aws: &Session, name: &str) -> Result<Option<Tags>, AwsError> {
    let (logs, arn) = (aws.logs(), arn(aws, name));
    let request = logs.list_tags_for_resource().resource_arn(&arn);
    match aws.call(Service::Logs, "ListTagsForResource", name, request.send()).await {
        Err(error) if error.is_not_found() => Ok(None),
        other => Ok(Some(Tags::from_eks(other?.tags()))),
    }
}

/// The log group of the cluster; `None` if it does not exist, or may not be read.
async fn find(aws: &Session, cluster: &str) -> Result<Option<NamedResource>, AwsError> {
    let name = name(cluster);
    match describe(aws, cluster).await {
        Err(error) if error.class() == Class::Denied => Ok(None),
        Err(error) => Err(error),
        Ok(None) => Ok(None),
        Ok(Some(_)) => Ok(read_tags(aws, &name).await?.map(|tags| (name.clone(), handle(aws, &name), tags))),
    }
}

impl LogGroup {
    /// The log group that the spec asks for (`wanted`), or that an earlier spec did.
    pub fn new(context: &ResourceContext<'_>, wanted: Option<&DesiredLogGroup>) -> Self {
        Self {
            cluster: context.cluster_name.to_owned(),
            name: name(context.cluster_name),
            wanted: wanted.cloned(),
            tags: context.tags(&key()),
            intervals: context.intervals,
        }
    }

    /// With its tags; `None` if it does not exist.
    async fn read(&self, cloud: &Cloud) -> Result<Option<Detail>, Failure> {
        let Some(found) = describe(&cloud.aws, &self.cluster).await? else { return Ok(None) };
        Ok(read_tags(&cloud.aws, &self.name).await?.map(|tags| Detail { tags, ..found }))
    }

    fn to_observation(&self, detail: Detail) -> Observation<Detail> {
        Observation::ready(&self.name, "available", detail)
    }

    fn describe_earlier(&self) -> String {
        let name = &self.name;
        format!(
            "log group {name} was there before the cluster and has no owner tag, so it may hold logs of an earlier \
             cluster of this name: delete it if nobody needs them (aws logs delete-log-group --log-group-name {name}), \
             remove spec.logGroup, or, to adopt it with its logs, set adoptionPolicy: Adopt on the EksCluster; its \
             AwsAccount has to allow that (spec.adoption), which whoever owns the AWS account decides"
        )
    }
}

/// Whether it exists only since the cluster does, which exists since `cluster`: nobody else writes to it then.
fn is_since_cluster(found: &Detail, cluster: Option<&str>) -> bool {
    let since = cluster.and_then(|text| text.parse::<Timestamp>().ok());
    since.is_some() && found.created >= since
}

/// Whether EKS created it for the cluster that exists since `cluster`, and no object has had it.
fn is_of_cluster(found: &Detail, cluster: Option<&str>) -> bool {
    found.tags.get(CLUSTER).is_none() && is_since_cluster(found, cluster)
}

fn days(days: Option<i32>) -> String {
    days.map_or_else(|| "never".to_owned(), |days| days.to_string())
}

#[async_trait]
impl Resource for LogGroup {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key()
    }

    /// Before, the name is anybody's.
    fn after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    /// Whether EKS created it depends on the cluster's age.
    fn observed_after(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn holds(&self) -> Vec<Key> {
        Vec::new()
    }

    /// While the cluster exists, EKS creates it again.
    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn is_retained(&self) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.deletion_policy == DeletionPolicy::Retain)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let Some(wanted) = &self.wanted else { return vec![("name", self.name.clone())] };
        let key = wanted.kms_key_arn.iter().map(|arn| ("kmsKeyArn", arn.clone()));
        let facts = [("name", self.name.clone()), ("retentionDays", wanted.retention_days.to_string())];
        facts.into_iter().chain(key).collect()
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    /// Anybody can choose its name, and its tags prove nothing.
    fn records_create(&self) -> bool {
        true
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        let arn = observed.outputs.get("arn").cloned().unwrap_or_default();
        Some(OwnerTags::new(Handle::LogGroup(arn), &observed.id, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let current = &observed.detail;
        let Some(wanted) = &self.wanted else { return Vec::new() };
        let mut changes = tag_changes_of_listed(&self.tags, &current.tags, current.untagged);
        let retention = Some(i32::from(wanted.retention_days));
        if current.retention_days != retention {
            changes.push(Change::in_place(RETENTION, days(current.retention_days), days(retention)));
        }
        if let Some(key) = wanted.kms_key_arn.as_ref().filter(|key| current.kms_key_arn.as_ref() != Some(*key)) {
            changes.push(Change::in_place(KMS_KEY, current.kms_key_arn.clone().unwrap_or_default(), key));
        }
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let Some(found) = self.read(cloud).await? else { return Ok(Presence::Absent) };
        let created_at = refs.output(&cluster::key(), "createdAt");
        let is_of_cluster = is_of_cluster(&found, created_at);
        let names_us = found.tags.get(CLUSTER).is_none_or(|cluster| cluster == cloud.owner.cluster);
        let was_ours = options.recorded && names_us && created_at.is_some();
        let owner = Ownership::of(&found.tags, &cloud.owner.uid);
        // An operator that ended after it wrote the tags could not record that.
        let proven = cloud.proves(options.recorded) || (names_us && is_since_cluster(&found, created_at));
        let observed = self.to_observation(found).output("arn", arn(&cloud.aws, &self.name));
        let tags = observed.detail.tags.clone();
        Ok(match owner {
            Ownership::Ours if proven => Presence::Ours(observed),
            // What is not proven to be ours stays.
            _ if options.goal != Goal::Present => Presence::Absent,
            Ownership::Ours => Presence::Foreign(proof::describe_unproven(&cloud.owner, &self.name)),
            Ownership::Unowned if cloud.adoption.allows(&cloud.owner, &tags) => Presence::Unowned(observed),
            Ownership::Unowned if is_of_cluster || was_ours => {
                let detail = Detail { untagged: true, ..observed.detail.clone() };
                Presence::Ours(Observation { detail, ..observed })
            }
            Ownership::Unowned => Presence::Foreign(self.describe_earlier()),
            Ownership::Other { .. } => {
                let what = format!("log group {}", self.name);
                Presence::Foreign(describe_foreign(&what, &tags, &cloud.owner, &cloud.existing))
            }
        })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let Some(wanted) = &self.wanted else {
            return Err(Failure::invalid(format!("{} is of an earlier spec: it is not created", self.key())));
        };
        let logs = cloud.aws.logs();
        let request = logs
            .create_log_group()
            .log_group_name(&self.name)
            .set_kms_key_id(wanted.kms_key_arn.clone())
            .set_tags(Some(self.tags.to_eks()));
        match cloud.aws.call(Service::Logs, "CreateLogGroup", &self.name, request.send()).await {
            // Created by EKS since it was observed, or by an attempt whose response was lost.
            Err(error) if error.class() == Class::Conflict => {
                let found = self.read(cloud).await?;
                let created_at = refs.output(&cluster::key(), "createdAt");
                let of_cluster = found.filter(|found| is_of_cluster(found, created_at));
                let Some(detail) = of_cluster.filter(|found| found.tags.owner().is_none()) else {
                    // The next observation shows the owner.
                    return Err(Failure::new(Class::NoChange, error.to_string()));
                };
                let observed = self.to_observation(Detail { untagged: true, ..detail });
                return Ok(observed.output("arn", arn(&cloud.aws, &self.name)));
            }
            other => other?,
        };
        let (kms_key_arn, tags) = (wanted.kms_key_arn.clone(), self.tags.clone());
        let detail = Detail { kms_key_arn, tags, ..Detail::default() };
        Ok(self.to_observation(detail).output("arn", arn(&cloud.aws, &self.name)))
    }

    /// Only to the one that was observed, because the calls name it by a name that anybody can take, and a retention deletes logs. Tags
    /// first: the operator's IAM policy allows changes only to what carries them.
    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let tags = read_tags(&cloud.aws, &self.name).await?;
        if tags.as_ref().map(Tags::owner) != Some(observed.detail.tags.owner()) {
            let message = format!("log group {} was deleted or created again since it was observed", self.name);
            return Err(Failure::new(Class::NoChange, message));
        }
        let mut detail = observed.detail.clone();
        cloud.tag(&handle(&cloud.aws, &self.name), &self.name, &mut detail.tags, changed_tags(changes)).await?;
        detail.untagged = detail.untagged && !detail.tags.is_owned_by(&cloud.owner.uid);
        let (logs, name) = (cloud.aws.logs(), &self.name);
        if let Some(wanted) = &self.wanted {
            if changes_field(changes, RETENTION) {
                let days = i32::from(wanted.retention_days);
                let request = logs.put_retention_policy().log_group_name(name).retention_in_days(days);
                cloud.aws.call(Service::Logs, "PutRetentionPolicy", name, request.send()).await?;
                detail.retention_days = Some(days);
            }
            if changes_field(changes, KMS_KEY) {
                let request = logs.associate_kms_key().log_group_name(name).set_kms_key_id(wanted.kms_key_arn.clone());
                cloud.aws.call(Service::Logs, "AssociateKmsKey", name, request.send()).await?;
                detail.kms_key_arn.clone_from(&wanted.kms_key_arn);
            }
        }
        Ok(Observation { detail, ..observed.clone() })
    }

    /// Its tags are read again: since it was observed, somebody may have deleted it and EKS created another one, which is not proven
    /// to be ours. A cluster that has the name by now writes its logs there, and is not ours: it keeps them.
    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let tags = read_tags(&cloud.aws, &self.name).await?;
        if !tags.is_some_and(|tags| tags.is_owned_by(&cloud.owner.uid)) {
            return Ok(Presence::Absent);
        }
        if kubernetes_api::tags(&cloud.aws, &self.cluster).await?.is_some() {
            if let Some(marker) = self.marker(observed) {
                cloud.unmark(&marker).await?;
            }
        } else {
            let logs = cloud.aws.logs();
            let request = logs.delete_log_group().log_group_name(&self.name);
            let deleted = cloud.aws.call(Service::Logs, "DeleteLogGroup", &self.name, request.send()).await;
            ignore_not_found(deleted)?;
        }
        Ok(Presence::Absent)
    }
}

#[cfg(test)]
#[path = "log_group_tests.rs"]
mod tests;
