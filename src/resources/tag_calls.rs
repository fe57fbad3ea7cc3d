//! Writes and removes tags, in all services, and with them the ownership of a resource. I/O: tags of EC2, EKS,
//! IAM, CloudWatch Logs, SQS and EventBridge.
//!
//! A released resource keeps the tag that names its former object and loses the others.

use async_trait::async_trait;

use super::cloud::{Cloud, arn};
use crate::aws::Service;
use crate::aws::tags::{REMOVED_ON_RELEASE, Tags};
use crate::engine::{Failure, MarkOwner, Observation};

/// How to tag a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handle {
    /// By its EC2 id.
    Ec2,
    /// A role, by name.
    Role(String),
    /// An OIDC provider, by ARN.
    OidcProvider(String),
    /// An EKS resource, by ARN.
    Eks(String),
    /// A log group, by ARN.
    LogGroup(String),
    /// A queue, by its URL.
    Queue(String),
    /// A rule of EventBridge, by ARN.
    EventRule(String),
}

/// The ownership tags of a resource, and how to write them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerTags {
    handle: Handle,
    id: String,
    tags: Tags,
}

impl OwnerTags {
    /// Those among `tags` of the resource `id`.
    pub fn new(handle: Handle, id: &str, tags: &Tags) -> Self {
        Self { handle, id: id.to_owned(), tags: tags.ownership() }
    }

    /// Those of an EC2 resource.
    pub fn in_ec2<T>(observed: &Observation<T>, tags: &Tags) -> Self {
        Self::new(Handle::Ec2, &observed.id, tags)
    }

    /// Those of an EKS resource.
    pub fn in_eks<T>(observed: &Observation<T>, tags: &Tags) -> Self {
        Self::new(Handle::Eks(arn(observed).to_owned()), &observed.id, tags)
    }
}

#[async_trait]
impl MarkOwner for Cloud {
    type Marker = OwnerTags;

    async fn mark(&self, marker: &OwnerTags) -> Result<(), Failure> {
        self.set_tags(&marker.handle, &marker.id, &marker.tags).await
    }

    async fn unmark(&self, marker: &OwnerTags) -> Result<(), Failure> {
        self.remove_tags(&marker.handle, &marker.id, REMOVED_ON_RELEASE.map(str::to_owned).into()).await
    }
}

impl Cloud {
    /// Applies `tags` to an EC2 resource, and updates `observed`, its tags so far.
    pub async fn tag_ec2(&self, id: &str, observed: &mut Tags, tags: Tags) -> Result<(), Failure> {
        self.tag(&Handle::Ec2, id, observed, tags).await
    }

    /// Applies `tags` to an EKS resource, and updates `observed`, its tags so far.
    pub async fn tag_eks(&self, arn: &str, observed: &mut Tags, tags: Tags) -> Result<(), Failure> {
        self.tag(&Handle::Eks(arn.to_owned()), arn, observed, tags).await
    }

    /// Applies `tags` to the resource `id`, and updates `observed`, its tags so far.
    pub async fn tag(&self, handle: &Handle, id: &str, observed: &mut Tags, tags: Tags) -> Result<(), Failure> {
        let removed: Vec<String> = tags.removed().map(str::to_owned).collect();
        if !removed.is_empty() {
            self.remove_tags(handle, id, removed).await?;
        }
        if !tags.is_empty() {
            self.set_tags(handle, id, &tags).await?;
        }
        observed.apply(tags);
        Ok(())
    }

    async fn set_tags(&self, handle: &Handle, id: &str, tags: &Tags) -> Result<(), Failure> {
        let aws = &self.aws;
        match handle {
            Handle::Ec2 => {
                let request = aws.ec2.create_tags().resources(id).set_tags(Some(tags.to_ec2()));
                aws.call(Service::Ec2, "CreateTags", id, request.send()).await.map(drop)?;
            }
            Handle::Eks(arn) => {
                let request = aws.eks.tag_resource().resource_arn(arn).set_tags(Some(tags.to_eks()));
                aws.call(Service::Eks, "TagResource", arn, request.send()).await.map(drop)?;
            }
            Handle::LogGroup(arn) => {
                let request = aws.logs().tag_resource().resource_arn(arn).set_tags(Some(tags.to_eks()));
                aws.call(Service::Logs, "TagResource", arn, request.send()).await.map(drop)?;
            }
            Handle::Queue(url) => {
                let request = aws.sqs().tag_queue().queue_url(url).set_tags(Some(tags.to_eks()));
                aws.call(Service::Sqs, "TagQueue", id, request.send()).await.map(drop)?;
            }
            Handle::EventRule(arn) => {
                let request = aws.events().tag_resource().resource_arn(arn).set_tags(Some(tags.to_events()));
                aws.call(Service::Events, "TagResource", id, request.send()).await.map(drop)?;
            }
            Handle::Role(name) => {
                let request = aws.iam.tag_role().role_name(name).set_tags(Some(tags.to_iam()));
                aws.call(Service::Iam, "TagRole", name, request.send()).await.map(drop)?;
            }
            Handle::OidcProvider(arn) => {
                let request = aws.iam.tag_open_id_connect_provider().open_id_connect_provider_arn(arn);
                let request = request.set_tags(Some(tags.to_iam()));
                aws.call(Service::Iam, "TagOpenIDConnectProvider", arn, request.send()).await.map(drop)?;
            }
        }
        Ok(())
    }

    async fn remove_tags(&self, handle: &Handle, id: &str, keys: Vec<String>) -> Result<(), Failure> {
        let aws = &self.aws;
        match handle {
            Handle::Ec2 => {
                // Without values, so that any value matches.
                let keys = keys.into_iter().map(|key| aws_sdk_ec2::types::Tag::builder().key(key).build());
                let request = aws.ec2.delete_tags().resources(id).set_tags(Some(keys.collect()));
                aws.call(Service::Ec2, "DeleteTags", id, request.send()).await.map(drop)?;
            }
            Handle::Eks(arn) => {
                let request = aws.eks.untag_resource().resource_arn(arn).set_tag_keys(Some(keys));
                aws.call(Service::Eks, "UntagResource", arn, request.send()).await.map(drop)?;
            }
            Handle::LogGroup(arn) => {
                let request = aws.logs().untag_resource().resource_arn(arn).set_tag_keys(Some(keys));
                aws.call(Service::Logs, "UntagResource", arn, request.send()).await.map(drop)?;
            }
            Handle::Queue(url) => {
                let request = aws.sqs().untag_queue().queue_url(url).set_tag_keys(Some(keys));
                aws.call(Service::Sqs, "UntagQueue", id, request.send()).await.map(drop)?;
            }
            Handle::EventRule(arn) => {
                let request = aws.events().untag_resource().resource_arn(arn).set_tag_keys(Some(keys));
                aws.call(Service::Events, "UntagResource", id, request.send()).await.map(drop)?;
            }
            Handle::Role(name) => {
                let request = aws.iam.untag_role().role_name(name).set_tag_keys(Some(keys));
                aws.call(Service::Iam, "UntagRole", name, request.send()).await.map(drop)?;
            }
            Handle::OidcProvider(arn) => {
                let request = aws.iam.untag_open_id_connect_provider().open_id_connect_provider_arn(arn);
                let request = request.set_tag_keys(Some(keys));
                aws.call(Service::Iam, "UntagOpenIDConnectProvider", arn, request.send()).await.map(drop)?;
            }
        }
        Ok(())
    }
}
