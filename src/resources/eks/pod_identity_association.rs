//! A pod identity association: the IAM role for the Pods of a service account.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html>. [`crate::resources::deletion::prune`] deletes associations
//! that the spec no longer lists.

use async_trait::async_trait;
use aws_sdk_eks::types::PodIdentityAssociation as Association;

use super::cluster;
use crate::api::access::PodIdentity as Wanted;
use crate::aws::Service;
use crate::aws::tags::Tags;
use crate::aws::tokens::client_token;
use crate::engine::{Change, Class, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, arn, changed_tags, changes_field};
use crate::resources::deletion::pruning;
use crate::resources::graph::kind::{Area, InCluster, Kind};
use crate::resources::graph::ownership::{self, untagged};
use crate::resources::iam::role::{self, Purpose};
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

/// An association that the spec lists, or that something else in the spec needs. In a cluster that this object owns, it
/// manages all listed associations.
pub struct PodIdentityAssociation {
    cluster: String,
    namespace: String,
    service_account: String,
    role: PodRole,
    tags: Tags,
    intervals: Intervals,
}

/// The role for the Pods.
enum PodRole {
    /// The user's role, by ARN.
    Existing(String),
    /// A role that Keelson creates.
    Created(Purpose),
}

/// What Keelson observes of an association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    role_arn: String,
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
    pub fn new(context: &ResourceContext<'_>, wanted: &Wanted) -> Self {
        let role = PodRole::Existing(wanted.role_arn.clone());
        Self::of(context, &wanted.namespace, &wanted.service_account, role)
    }

    /// Creates the resource for a service account with a role that Keelson creates.
    pub fn with_role_of(
        context: &ResourceContext<'_>,
        namespace: &str,
        service_account: &str,
        purpose: Purpose,
    ) -> Self {
        Self::of(context, namespace, service_account, PodRole::Created(purpose))
    }

    fn of(context: &ResourceContext<'_>, namespace: &str, service_account: &str, role: PodRole) -> Self {
        Self {
            cluster: context.cluster_name.into(),
            namespace: namespace.into(),
            service_account: service_account.into(),
            role,
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
            PodRole::Created(purpose) => refs.need(&role::key(*purpose), "arn"),
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
    let detail = Detail { role_arn, tags: Tags::from_eks(association.tags()), untagged };
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
            PodRole::Created(purpose) => vec![cluster::key(), role::key(*purpose)],
        }
    }

    fn inside(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn deleted_with(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        match &self.role {
            PodRole::Existing(arn) => vec![("roleArn", arn.clone())],
            PodRole::Created(purpose) => vec![("role", role::key(*purpose).to_string())],
        }
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
                 podIdentityRoleArn, and remove the service account from podIdentities",
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
        let step = format!("{} {role_arn}", Resource::key(self));
        let request = cloud
            .aws
            .eks
            .create_pod_identity_association()
            .cluster_name(&self.cluster)
            .namespace(&self.namespace)
            .service_account(&self.service_account)
            .role_arn(role_arn)
            .client_request_token(client_token(&cloud.owner.uid, 0, &step))
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
        if changes_field(changes, "roleArn") {
            let role_arn = self.role_arn(refs)?;
            // Without a client token: the update is idempotent, and with a token a change back and forth would count as
            // a repetition.
            let request = cloud
                .aws
                .eks
                .update_pod_identity_association()
                .cluster_name(&self.cluster)
                .association_id(&observed.id)
                .role_arn(role_arn);
            cloud.aws.call(Service::Eks, "UpdatePodIdentityAssociation", &self.name(), request.send()).await?;
            detail.role_arn = role_arn.into();
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
