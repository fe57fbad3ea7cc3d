//! A pod identity association: the IAM role for the Pods of a service account.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html>. [`crate::resources::deletion::prune`] deletes associations
//! that the spec no longer lists.

use async_trait::async_trait;
use aws_sdk_eks::types::PodIdentityAssociation as Association;

use super::cluster;
use crate::api::access::PodIdentity as DesiredPodIdentity;
use crate::aws::Service;
use crate::aws::tags::Tags;
use crate::engine::{Change, Class, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, arn, changed_tags, changes_field};
use crate::resources::deletion::pruning;
use crate::resources::graph::kind::{Area, InCluster, Kind};
use crate::resources::graph::ownership::{self, untagged};
use crate::resources::iam::workload_role;
use crate::resources::tag_calls::OwnerTags;

/// The row in the table of kinds.
pub const KIND: Kind = Kind::new("podIdentity", "pod identity", Area::ControlPlane)
    .in_cluster(InCluster {
        parameter: None,
        arn_type: "podidentityassociation",
        pruning: Some(("CreatePodIdentityAssociation", &pruning::POD_IDENTITIES)),
    })
    .after_nodes()
    .with_actions(&[
        "eks:CreatePodIdentityAssociation",
        "eks:DeletePodIdentityAssociation",
        "eks:DescribePodIdentityAssociation",
        "eks:ListPodIdentityAssociations",
        "eks:TagResource",
        "eks:UntagResource",
        "eks:UpdatePodIdentityAssociation",
    ]);

const TARGET_ROLE: &str = "targetRoleArn";
const SESSION_TAGS: &str = "disableSessionTags";

/// An association that the spec lists, or that something else in the spec needs. In a cluster that this object owns, it
/// manages all listed associations.
pub struct PodIdentityAssociation {
    cluster: String,
    namespace: String,
    service_account: String,
    role: PodRole,
    /// `None`: not managed.
    target_role_arn: Option<String>,
    /// `None`: not managed.
    disable_session_tags: Option<bool>,
    tags: Tags,
    intervals: Intervals,
}

/// The role for the Pods.
enum PodRole {
    /// The user's role, by ARN.
    Existing(String),
    /// A role that Keelson creates, by its key.
    Created(Key),
}

/// What Keelson observes of an association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    role_arn: String,
    target_role_arn: Option<String>,
    disable_session_tags: bool,
    tags: Tags,
    /// The association has no owner tag, but the spec lists it in a cluster that this object owns: it gets our tags.
    untagged: bool,
}

/// The key in the graph.
pub fn key(namespace: &str, service_account: &str) -> Key {
    KIND.named(format!("{namespace}/{service_account}"))
}

impl PodIdentityAssociation {
    /// Creates the resource for an association from the spec.
    pub fn new(context: &ResourceContext<'_>, wanted: &DesiredPodIdentity) -> Self {
        let DesiredPodIdentity { namespace, service_account, role_arn, role: _, target_role_arn, disable_session_tags } =
            wanted;
        let role = match role_arn {
            Some(arn) => PodRole::Existing(arn.clone()),
            None => PodRole::Created(workload_role::key_of_pods(namespace, service_account)),
        };
        Self {
            target_role_arn: target_role_arn.clone(),
            disable_session_tags: *disable_session_tags,
            ..Self::of(context, namespace, service_account, role)
        }
    }

    /// Creates the resource for a service account with a role that Keelson creates, by its key.
    pub fn with_role_of(context: &ResourceContext<'_>, namespace: &str, service_account: &str, role: Key) -> Self {
        Self::of(context, namespace, service_account, PodRole::Created(role))
    }

    fn of(context: &ResourceContext<'_>, namespace: &str, service_account: &str, role: PodRole) -> Self {
        Self {
            cluster: context.cluster_name.into(),
            namespace: namespace.into(),
            service_account: service_account.into(),
            role,
            target_role_arn: None,
            disable_session_tags: None,
            tags: context.tags(&key(namespace, service_account)),
            intervals: context.intervals,
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.service_account)
    }

    fn role_arn<'a>(&'a self, refs: &'a Refs) -> Result<&'a str, Failure> {
        match &self.role {
            PodRole::Existing(arn) => Ok(arn),
            PodRole::Created(key) => workload_role::arn(refs, key),
        }
    }

    /// Finds the EKS id. A service account has at most one association.
    async fn find(&self, cloud: &Cloud) -> Result<Option<String>, Failure> {
        let request = cloud
            .aws
            .eks
            .list_pod_identity_associations()
            .cluster_name(&self.cluster)
            .namespace(&self.namespace)
            .service_account(&self.service_account);
        let answer = cloud.aws.call(Service::Eks, "ListPodIdentityAssociations", &self.name(), request.send()).await?;
        Ok(answer.associations().iter().find_map(|one| one.association_id().map(str::to_owned)))
    }

    async fn describe(&self, cloud: &Cloud, id: &str) -> Result<Option<Association>, Failure> {
        let request = cloud.aws.eks.describe_pod_identity_association().cluster_name(&self.cluster).association_id(id);
        match cloud.aws.call(Service::Eks, "DescribePodIdentityAssociation", &self.name(), request.send()).await {
            Err(error) if error.class() == Class::NotFound => Ok(None),
            other => Ok(other?.association),
        }
    }
}

fn to_observation(association: &Association, untagged: bool) -> Observation<Detail> {
    let role_arn = association.role_arn().unwrap_or_default().into();
    let detail = Detail {
        role_arn,
        target_role_arn: association.target_role_arn().map(str::to_owned),
        disable_session_tags: association.disable_session_tags().unwrap_or_default(),
        tags: Tags::from_eks(association.tags()),
        untagged,
    };
    let id = association.association_id().unwrap_or_default();
    Observation::ready(id, "available", detail).output("arn", association.association_arn().unwrap_or_default())
}

#[async_trait]
impl Resource for PodIdentityAssociation {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.namespace, &self.service_account)
    }

    fn after(&self) -> Vec<Key> {
        match &self.role {
            PodRole::Existing(_) => vec![cluster::key()],
            PodRole::Created(key) => vec![cluster::key(), key.clone()],
        }
    }

    fn inside(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn deleted_with(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let role = match &self.role {
            PodRole::Existing(arn) => ("roleArn", arn.clone()),
            PodRole::Created(key) => ("role", key.to_string()),
        };
        let target = self.target_role_arn.iter().map(|arn| (TARGET_ROLE, arn.clone()));
        let untagged = self.disable_session_tags.iter().map(|disabled| (SESSION_TAGS, disabled.to_string()));
        [role].into_iter().chain(target).chain(untagged).collect()
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_eks(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        let mut changes = ownership::tag_changes_of_listed(&self.tags, &observed.detail.tags, observed.detail.untagged);
        // If our role does not exist yet, it is created first.
        if let Ok(wanted) = self.role_arn(refs)
            && observed.detail.role_arn != wanted
        {
            changes.push(Change::in_place("roleArn", &observed.detail.role_arn, wanted));
        }
        if let Some(wanted) = &self.target_role_arn
            && observed.detail.target_role_arn.as_ref() != Some(wanted)
        {
            let current = observed.detail.target_role_arn.as_deref().unwrap_or_default();
            changes.push(Change::in_place(TARGET_ROLE, current, wanted));
        }
        if let Some(wanted) = self.disable_session_tags
            && observed.detail.disable_session_tags != wanted
        {
            changes.push(Change::in_place(
                SESSION_TAGS,
                observed.detail.disable_session_tags.to_string(),
                wanted.to_string(),
            ));
        }
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let known = last.map(|last| last.id.clone()).or_else(|| options.recorded_id.clone());
        let mut found = match known {
            Some(id) => self.describe(cloud, &id).await?,
            None => None,
        };
        if found.is_none()
            && let Some(id) = self.find(cloud).await?
        {
            found = self.describe(cloud, &id).await?;
        }
        let Some(association) = found else { return Ok(Presence::Absent) };
        Ok(match association.owner_arn() {
            Some(owner) => Presence::Foreign(format!(
                "the pod identity association of service account {} belongs to {owner}: set the add-on's \
                 podIdentityRole or podIdentityRoleArn, and remove the service account from podIdentities",
                self.name()
            )),
            None => {
                let observed = to_observation(&association, untagged(cloud, association.tags()));
                let what = || format!("the pod identity association of service account {}", self.name());
                ownership::presence_of_listed(cloud, &Tags::from_eks(association.tags()), observed, what)
            }
        })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let role_arn = self.role_arn(refs)?;
        let Self { target_role_arn: target, disable_session_tags: untagged, .. } = self;
        let request = cloud
            .aws
            .eks
            .create_pod_identity_association()
            .cluster_name(&self.cluster)
            .namespace(&self.namespace)
            .service_account(&self.service_account)
            .role_arn(role_arn)
            .set_target_role_arn(target.clone())
            .set_disable_session_tags(*untagged)
            .set_tags(Some(self.tags.to_eks()));
        let answer = cloud.aws.call(Service::Eks, "CreatePodIdentityAssociation", &self.name(), request.send()).await;
        let answer = match answer {
            // The association exists already, created by an attempt whose response was lost or by hand: the next
            // observation picks it up.
            Err(error) if error.class() == Class::Conflict => {
                return Err(Failure::of(Class::NoChange, error));
            }
            other => other?,
        };
        let association = answer.association.unwrap_or_else(|| Association::builder().build());
        Ok(to_observation(&association, false))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut detail = observed.detail.clone();
        // Tags first: the operator's IAM policy allows changes only to tagged associations.
        cloud.tag_eks(arn(observed), &mut detail.tags, changed_tags(changes)).await?;
        if ["roleArn", TARGET_ROLE, SESSION_TAGS].into_iter().any(|field| changes_field(changes, field)) {
            let role_arn = self.role_arn(refs)?;
            // Without a client token: the update is idempotent, and with a token a change back and forth would count as
            // a repetition.
            let request = cloud
                .aws
                .eks
                .update_pod_identity_association()
                .cluster_name(&self.cluster)
                .association_id(&observed.id)
                .role_arn(role_arn)
                .set_target_role_arn(self.target_role_arn.clone())
                .set_disable_session_tags(self.disable_session_tags);
            cloud.aws.call(Service::Eks, "UpdatePodIdentityAssociation", &self.name(), request.send()).await?;
            detail.role_arn = role_arn.into();
            detail.target_role_arn = self.target_role_arn.clone().or(detail.target_role_arn);
            detail.disable_session_tags = self.disable_session_tags.unwrap_or(detail.disable_session_tags);
        }
        Ok(Observation { detail, ..observed.clone() })
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request =
            cloud.aws.eks.delete_pod_identity_association().cluster_name(&self.cluster).association_id(&observed.id);
        cloud.aws.call(Service::Eks, "DeletePodIdentityAssociation", &self.name(), request.send()).await?;
        Ok(Presence::Absent)
    }
}
