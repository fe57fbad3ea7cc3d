//! A capability of EKS: Argo CD, ACK or kro, which EKS runs outside the cluster. A cluster has one of each type at most.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/capabilities.html>. EKS gives its role an access entry. Its objects in the
//! cluster stay when it is deleted. [`crate::resources::deletion::removals`] deletes one that the spec no longer lists.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eks::types::{Capability as Described, CapabilityDeletePropagationPolicy, CapabilityStatus};
use jiff::Timestamp;

use super::capability_settings::{ROLE, Settings, request};
use super::cluster;
use super::health_issues;
use super::lists::{all_pages, if_exists};
use super::updates::{self, UpdateTarget};
use crate::api::RECONCILE_AT_ANNOTATION;
use crate::api::capability::Capability as DesiredCapability;
use crate::aws::errors::health::{Subject, explain, failed_class};
use crate::aws::tags::Tags;
use crate::aws::{AwsError, Service, Session};
use crate::engine::{
    Action, Change, Class, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Recreate, Refs,
    Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, arn, changed_tags, changes_field, tag_changes};
use crate::resources::graph::kind::{Area, InCluster, Kind, Removal};
use crate::resources::graph::ownership;
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("capability", "capability", Area::ControlPlane)
    .in_cluster(InCluster { parameter: Some("capabilityName"), arn_type: "capability", pruning: None })
    .removed_by(Removal {
        field: "capabilities",
        // One of each type: the key does not say which.
        can_coexist: |_, _| false,
        delete: |aws, cluster, name| Box::pin(delete_capability(aws, cluster, name)),
    })
    .after_nodes()
    .with_actions(&[
        "eks:CreateCapability",
        "eks:DeleteCapability",
        "eks:DescribeCapability",
        "eks:DescribeUpdate",
        "eks:ListCapabilities",
        "eks:ListUpdates",
        "eks:TagResource",
        "eks:UntagResource",
        "eks:UpdateCapability",
    ]);

/// The output with the URL of Argo CD's API server.
const SERVER_URL: &str = "serverUrl";

/// A capability of a cluster.
pub struct Capability {
    cluster: String,
    name: String,
    /// `None` for one of an earlier spec: it is deleted with the cluster.
    wanted: Option<DesiredCapability>,
    /// What removes others first.
    removal: Option<Key>,
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of a capability.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    settings: Settings,
    tags: Tags,
}

/// The key in the graph.
pub fn key(name: &str) -> Key {
    KIND.named(name)
}

fn to_observation(found: &Described) -> Observation<Detail> {
    let status = found.status().map_or("CREATING", CapabilityStatus::as_str);
    let since = found.created_at().and_then(|at| Timestamp::from_second(at.secs()).ok());
    let issues = found.health().map(|health| health_issues::reported(health.issues())).unwrap_or_default();
    let explained = explain(Subject::Capability, &issues).trim_end_matches('.').to_owned();
    let busy = |action, since| Phase::Busy { action, since, note: explained.clone() };
    let failed = |reason, recreate| {
        let class = failed_class(Subject::Capability, &issues);
        Phase::Failed { reason, class, recreate }
    };
    let phase = match found.status() {
        // One that is degraded can be changed: see `observe`.
        Some(CapabilityStatus::Active | CapabilityStatus::Degraded) => Phase::Ready,
        Some(CapabilityStatus::Updating) => busy(Action::Update, None),
        Some(CapabilityStatus::Deleting) => busy(Action::Delete, None),
        Some(CapabilityStatus::CreateFailed) => failed(
            format!(
                "{status}: {explained}; fix the cause, then set the annotation {RECONCILE_AT_ANNOTATION} to a new value: \
                 Keelson recreates the capability"
            ),
            // It never worked.
            Recreate::OnRequest,
        ),
        Some(CapabilityStatus::DeleteFailed) => failed(format!("{status}: {explained}"), Recreate::Never),
        _ => busy(Action::Create, since),
    };
    let url = found.configuration().and_then(|all| all.argo_cd()).and_then(|argo| argo.server_url());
    let detail = Detail { settings: Settings::of(found), tags: Tags::from_eks(found.tags()) };
    let mut observed = Observation::ready(found.capability_name().unwrap_or_default(), status, detail)
        .phase(phase)
        .output("arn", found.arn().unwrap_or_default());
    observed.issue_code = health_issues::first_code(&issues);
    match url {
        Some(url) => observed.output(SERVER_URL, url),
        None => observed,
    }
}

/// Why EKS calls the capability degraded.
fn degraded(found: &Described) -> Phase {
    let issues = found.health().map(|health| health_issues::reported(health.issues())).unwrap_or_default();
    let reason = format!("DEGRADED: {}", explain(Subject::Capability, &issues));
    Phase::Failed { reason, class: failed_class(Subject::Capability, &issues), recreate: Recreate::Never }
}

/// The capability with that name; `None` if it does not exist.
pub(crate) async fn describe(aws: &Session, cluster: &str, name: &str) -> Result<Option<Described>, AwsError> {
    let request = aws.eks.describe_capability().cluster_name(cluster).capability_name(name);
    let answer = if_exists(aws.call(Service::Eks, "DescribeCapability", name, request.send()).await)?;
    Ok(answer.and_then(|answer| answer.capability))
}

/// The cluster's capabilities.
///
/// # Errors
/// The error of the first read that fails.
pub(crate) async fn list(aws: &Session, cluster: &str) -> Result<Vec<Described>, AwsError> {
    let request = || aws.eks.list_capabilities().cluster_name(cluster);
    let mut found = Vec::new();
    for one in all_pages!(aws, cluster, "ListCapabilities", request(), capabilities) {
        found.extend(describe(aws, cluster, one.capability_name().unwrap_or_default()).await?);
    }
    Ok(found)
}

/// Whether EKS deletes it already, and its tags; `None` if it does not exist.
pub(crate) async fn removal_state(aws: &Session, cluster: &str, name: &str) -> Result<Option<(bool, Tags)>, AwsError> {
    let found = describe(aws, cluster, name).await?;
    Ok(found.map(|one| (one.status() == Some(&CapabilityStatus::Deleting), Tags::from_eks(one.tags()))))
}

async fn delete_capability(aws: &Session, cluster: &str, name: &str) -> Result<(), AwsError> {
    let request = aws.eks.delete_capability().cluster_name(cluster).capability_name(name);
    aws.call(Service::Eks, "DeleteCapability", name, request.send()).await.map(drop)
}

impl Capability {
    /// A capability of the spec, which is created after `removal` has removed others.
    pub(crate) fn new(context: &ResourceContext<'_>, wanted: &DesiredCapability, removal: Option<Key>) -> Self {
        Self { wanted: Some(wanted.clone()), removal, ..Self::earlier(context, &wanted.name) }
    }

    /// One of an earlier spec, which is deleted with the cluster.
    pub(crate) fn earlier(context: &ResourceContext<'_>, name: &str) -> Self {
        Self {
            cluster: context.cluster_name.into(),
            name: name.to_owned(),
            wanted: None,
            removal: None,
            tags: context.tags(&key(name)),
            intervals: context.intervals,
        }
    }

    fn target(&self) -> UpdateTarget<'_> {
        UpdateTarget::Capability(&self.cluster, &self.name)
    }
}

#[async_trait]
impl Resource for Capability {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.name)
    }

    fn after(&self) -> Vec<Key> {
        [cluster::key()].iter().chain(&self.removal).cloned().collect()
    }

    fn adopted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn inside(&self) -> Option<Key> {
        Some(cluster::key())
    }

    /// EKS does not delete a cluster that has capabilities.
    fn holds(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn deletable_while(&self, _: Action) -> bool {
        false
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let Some(DesiredCapability { type_, role_arn, .. }) = &self.wanted else { return Vec::new() };
        vec![("type", type_.in_eks().to_owned()), (ROLE, role_arn.clone())]
    }

    fn expected(&self, action: Action) -> Duration {
        Duration::from_secs(match action {
            Action::Create | Action::Delete => 180,
            Action::Update => 60,
            Action::Adopt | Action::Release => 1,
        })
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    /// What is on record is removed when the spec no longer lists it, though the answer to its creation was lost.
    fn records_create(&self) -> bool {
        true
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_eks(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let mut changes = tag_changes(&self.tags, &observed.detail.tags);
        changes.extend(self.wanted.iter().flat_map(|wanted| observed.detail.settings.differences(wanted)));
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let Some(found) = describe(&cloud.aws, &self.cluster, &self.name).await? else { return Ok(Presence::Absent) };
        let observed = to_observation(&found);
        let tags = observed.detail.tags.clone();
        let what = || format!("capability {} of cluster {}", self.name, self.cluster);
        let presence = ownership::presence(cloud, &tags, observed, what);
        let Presence::Ours(observed) = presence else { return Ok(presence) };
        let mut observed = updates::follow(cloud, self.target(), observed, options, last).await?;
        // Otherwise a change of the spec may be the remedy.
        let is_degraded = found.status() == Some(&CapabilityStatus::Degraded) && observed.phase == Phase::Ready;
        if is_degraded && self.diff(&observed, refs).is_empty() {
            observed.phase = degraded(&found);
        }
        Ok(Presence::Ours(observed))
    }

    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        let Some(wanted) = &self.wanted else {
            return Err(Failure::invalid(format!("capability {} is of an earlier spec: it is not created", self.name)));
        };
        let name = &self.name;
        let request = cloud
            .aws
            .eks
            .create_capability()
            .cluster_name(&self.cluster)
            .capability_name(name)
            .r#type(wanted.type_.in_eks().into())
            .role_arn(&wanted.role_arn)
            .set_configuration(request(wanted)?)
            .delete_propagation_policy(CapabilityDeletePropagationPolicy::Retain)
            .set_tags(Some(self.tags.to_eks()));
        let answer = match cloud.aws.call(Service::Eks, "CreateCapability", name, request.send()).await {
            // It exists already, by an attempt whose response was lost or by hand: the next observation picks it up.
            Err(error) if error.class() == Class::Conflict => return Err(self.conflict(cloud, error).await?),
            other => other?,
        };
        let created = answer.capability.unwrap_or_else(|| Described::builder().capability_name(name).build());
        Ok(to_observation(&created))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut detail = observed.detail.clone();
        // Tags first: the operator's IAM policy allows changes only to tagged capabilities.
        cloud.tag_eks(arn(observed), &mut detail.tags, changed_tags(changes)).await?;
        let observed = Observation { detail, ..observed.clone() };
        let Some(wanted) = &self.wanted else { return Ok(observed) };
        let role = changes_field(changes, ROLE).then(|| wanted.role_arn.clone());
        let configuration = observed.detail.settings.update(wanted, changes)?;
        if role.is_none() && configuration.is_none() {
            return Ok(observed);
        }
        let step = format!("{} {role:?} {configuration:?}", Resource::key(self));
        let request = cloud
            .aws
            .eks
            .update_capability()
            .cluster_name(&self.cluster)
            .capability_name(&self.name)
            .set_role_arn(role)
            .set_configuration(configuration)
            .client_request_token(updates::token(cloud, &observed, &step));
        let answer = cloud.aws.call(Service::Eks, "UpdateCapability", &self.name, request.send()).await?;
        Ok(updates::record_start(observed, self.target(), answer.update))
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        delete_capability(&cloud.aws, &self.cluster, &self.name).await?;
        let phase = Phase::Busy { action: Action::Delete, since: None, note: String::new() };
        Ok(Presence::Ours(Observation { state: "DELETING".into(), ..observed.clone() }.phase(phase)))
    }
}

impl Capability {
    /// Why the creation is refused: one of that type exists under another name, or this one was created just now.
    async fn conflict(&self, cloud: &Cloud, error: AwsError) -> Result<Failure, Failure> {
        let kind = self.wanted.as_ref().map_or("", |wanted| wanted.type_.in_eks());
        let of_type = |one: &Described| one.r#type().is_some_and(|found| found.as_str() == kind);
        let all = list(&cloud.aws, &self.cluster).await?;
        let other = all.iter().find(|one| of_type(one) && one.capability_name() != Some(self.name.as_str()));
        let Some(other) = other.and_then(|one| one.capability_name()) else {
            return Ok(Failure::of(Class::NoChange, error));
        };
        let message = format!(
            "cluster {} has the capability {other} of type {kind}, and EKS runs one of each type: list it under that name, with \
             adoptionPolicy: Adopt, or delete it (aws eks delete-capability --cluster-name {} --capability-name {other})",
            self.cluster, self.cluster
        );
        Ok(Failure::new(Class::Conflict, message).caused_by(error))
    }
}
