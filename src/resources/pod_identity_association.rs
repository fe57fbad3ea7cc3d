//! A pod identity association: the IAM role that the Pods of a service account get.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/pod-identities.html>. What the spec no longer lists is deleted by
//! [`super::unlisted`].

use async_trait::async_trait;
use aws_sdk_eks::types::PodIdentityAssociation as Association;

use super::cloud::{Cloud, Intervals, Making, arn, changed_tags, changes_field};
use super::cluster;
use super::ownership::{self, untagged};
use crate::api::access::PodIdentity as Wanted;
use crate::aws::Service;
use crate::aws::tags::Tags;
use crate::aws::tokens::client_token;
use crate::engine::{Change, Class, Failure, Key, Look, Observed, Presence, Refs, Resource, Rest};

/// Its kind in the graph.
pub const KIND: &str = "podIdentity";

/// An association that the spec lists. In a cluster of ours, what is listed is ours to keep as listed.
pub struct PodIdentityAssociation {
    cluster: String,
    wanted: Wanted,
    tags: Tags,
    intervals: Intervals,
}

/// What is seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    role_arn: String,
    tags: Tags,
    /// It carries no owner tag and is ours all the same, as the spec lists it in a cluster of ours: it gets our tags.
    untagged: bool,
}

/// Its name in the graph.
pub fn key(namespace: &str, service_account: &str) -> Key {
    Key::named(KIND, format!("{namespace}/{service_account}"))
}

impl PodIdentityAssociation {
    /// An association of the cluster.
    pub fn new(making: &Making<'_>, wanted: &Wanted) -> Self {
        let tags = making.tags(&key(&wanted.namespace, &wanted.service_account));
        Self { cluster: making.cluster_name.into(), wanted: wanted.clone(), tags, intervals: making.intervals }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.wanted.namespace, self.wanted.service_account)
    }

    /// EKS knows it by an id of its own; there is at most one of a service account.
    async fn find(&self, cloud: &Cloud) -> Result<Option<String>, Failure> {
        let request = cloud
            .aws
            .eks
            .list_pod_identity_associations()
            .cluster_name(&self.cluster)
            .namespace(&self.wanted.namespace)
            .service_account(&self.wanted.service_account);
        let answer = cloud.aws.call(Service::Eks, "ListPodIdentityAssociations", &self.name(), request.send()).await?;
        Ok(answer.associations().iter().find_map(|one| one.association_id().map(str::to_owned)))
    }

    async fn describe(&self, cloud: &Cloud, id: &str) -> Result<Option<Association>, Failure> {
        let request = cloud.aws.eks.describe_pod_identity_association().cluster_name(&self.cluster).association_id(id);
        match cloud.aws.call(Service::Eks, "DescribePodIdentityAssociation", &self.name(), request.send()).await {
            Err(error) if error.class() == Class::Gone => Ok(None),
            other => Ok(other?.association),
        }
    }
}

fn observed(association: &Association, untagged: bool) -> Observed<Seen> {
    let role_arn = association.role_arn().unwrap_or_default().into();
    let detail = Seen { role_arn, tags: Tags::from_eks(association.tags()), untagged };
    let id = association.association_id().unwrap_or_default();
    Observed::ready(id, "available", detail).output("arn", association.association_arn().unwrap_or_default())
}

#[async_trait]
impl Resource for PodIdentityAssociation {
    type Cloud = Cloud;
    type Seen = Seen;

    fn key(&self) -> Key {
        key(&self.wanted.namespace, &self.wanted.service_account)
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
        vec![("roleArn", self.wanted.role_arn.clone())]
    }

    fn rest(&self) -> Rest {
        self.intervals.slow()
    }

    fn diff(&self, seen: &Observed<Seen>, _: &Refs) -> Vec<Change> {
        let mut changes = ownership::tag_changes_of_listed(&self.tags, &seen.detail.tags, seen.detail.untagged);
        if seen.detail.role_arn != self.wanted.role_arn {
            changes.push(Change::in_place("roleArn", &seen.detail.role_arn, &self.wanted.role_arn));
        }
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        look: &Look,
        last: Option<&Observed<Seen>>,
    ) -> Result<Presence<Seen>, Failure> {
        let known = last.map(|last| last.id.clone()).or_else(|| look.recorded_id.clone());
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
                let seen = observed(&association, untagged(cloud, association.tags()));
                let what = || format!("the pod identity association of service account {}", self.name());
                ownership::presence_of_listed(cloud, &Tags::from_eks(association.tags()), seen, what)
            }
        })
    }

    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observed<Seen>, Failure> {
        let step = format!("{} {}", Resource::key(self), self.wanted.role_arn);
        let request = cloud
            .aws
            .eks
            .create_pod_identity_association()
            .cluster_name(&self.cluster)
            .namespace(&self.wanted.namespace)
            .service_account(&self.wanted.service_account)
            .role_arn(&self.wanted.role_arn)
            .client_request_token(client_token(&cloud.owner.uid, 0, &step))
            .set_tags(Some(self.tags.to_eks()));
        let answer = cloud.aws.call(Service::Eks, "CreatePodIdentityAssociation", &self.name(), request.send()).await;
        let answer = match answer {
            // There already, by a try whose answer was lost or by hand: the next look takes it up.
            Err(error) if error.class() == Class::Conflict => {
                return Err(Failure::new(Class::NoChange, error.to_string()));
            }
            other => other?,
        };
        let association = answer.association.unwrap_or_else(|| Association::builder().build());
        Ok(observed(&association, false))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        seen: &Observed<Seen>,
        changes: &[Change],
    ) -> Result<Observed<Seen>, Failure> {
        let mut detail = seen.detail.clone();
        // First the tags: the operator's policy lets it change only what carries them.
        cloud.tag_eks(arn(seen), &mut detail.tags, changed_tags(changes)).await?;
        if changes_field(changes, "roleArn") {
            // No token of ours: done twice it is the same, and a token would make the way back and forth again a repetition.
            let request = cloud
                .aws
                .eks
                .update_pod_identity_association()
                .cluster_name(&self.cluster)
                .association_id(&seen.id)
                .role_arn(&self.wanted.role_arn);
            cloud.aws.call(Service::Eks, "UpdatePodIdentityAssociation", &self.name(), request.send()).await?;
            detail.role_arn = self.wanted.role_arn.clone();
        }
        Ok(Observed { detail, ..seen.clone() })
    }

    async fn delete(&self, cloud: &Cloud, seen: &Observed<Seen>) -> Result<Presence<Seen>, Failure> {
        let request =
            cloud.aws.eks.delete_pod_identity_association().cluster_name(&self.cluster).association_id(&seen.id);
        cloud.aws.call(Service::Eks, "DeletePodIdentityAssociation", &self.name(), request.send()).await?;
        Ok(Presence::Absent)
    }

    async fn adopt(&self, cloud: &Cloud, seen: &Observed<Seen>) -> Result<Observed<Seen>, Failure> {
        let mut seen = seen.clone();
        let arn = arn(&seen).to_owned();
        cloud.adopt_eks(&arn, &mut seen.detail.tags, &self.tags).await?;
        Ok(seen)
    }

    async fn release(&self, cloud: &Cloud, seen: &Observed<Seen>) -> Result<(), Failure> {
        cloud.release_eks(seen).await
    }
}
