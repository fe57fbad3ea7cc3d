//! The launch template of a node group: the user's, or the one that Keelson created, of which the node group has a version. I/O: EC2.

use aws_sdk_eks::types::LaunchTemplateSpecification;

use super::changes::Replacement;
use super::observed_node_group::OwnTemplate;
use super::template_changes::NextTemplate;
use super::{Detail, NodeGroup, template_changes};
use crate::api::node_group::{CapacityType, LaunchTemplate};
use crate::aws::{AwsError, MaxStaleness, Service};
use crate::engine::{Class, Failure, Key, Observation, Refs};
use crate::resources::cloud::Cloud;
use crate::resources::eks::launch_template;
use crate::resources::eks::lists::create_failure;
use crate::resources::eks::node_template::versions::{self, EnsuredVersion};

/// What a launch template sets itself.
#[derive(Default)]
pub(super) struct Template {
    pub(super) has_image: bool,
    pub(super) has_instance_type: bool,
}

impl NodeGroup {
    pub(super) fn launch_template(&self) -> Option<LaunchTemplateSpecification> {
        let LaunchTemplate { id, name: _, version } = self.spec.launch_template.as_ref()?;
        Some(LaunchTemplateSpecification::builder().set_id(id.clone()).set_version(version.clone()).build())
    }

    /// What the launch template sets itself: EKS rejects a request that sets it as well.
    pub(super) async fn template(&self, cloud: &Cloud) -> Result<Template, Failure> {
        let Some(wanted) = &self.spec.launch_template else {
            // The template of a Capacity Block names its instance type.
            let has_instance_type = self.spec.node.is_some() && self.spec.capacity_type == CapacityType::CapacityBlock;
            return Ok(Template { has_image: self.has_own_image(), has_instance_type });
        };
        let LaunchTemplate { id, name, version } = wanted;
        let Some(id) = id else {
            let name = name.as_deref().unwrap_or_default();
            return Err(Failure::new(Class::Busy, format!("the id of launch template {name} is not known yet")));
        };
        let version = version.as_deref().unwrap_or("$Default");
        let request = cloud.aws.ec2.describe_launch_template_versions().launch_template_id(id).versions(version);
        let answer = cloud.aws.call(Service::Ec2, "DescribeLaunchTemplateVersions", id, request.send());
        let answer = answer.await.map_err(|error| match error.class() {
            // In a create, NotFound would mean that a dependency is not visible yet.
            Class::NotFound => Failure::of(Class::Invalid, error),
            _ => Failure::from(error),
        })?;
        let data = answer.launch_template_versions().first().and_then(|version| version.launch_template_data());
        Ok(Template {
            has_image: data.is_some_and(|data| data.image_id().is_some()),
            has_instance_type: data.is_some_and(|data| data.instance_type().is_some()),
        })
    }

    /// The key of the launch template that Keelson creates for it.
    pub(super) fn own_template_key(&self) -> Option<Key> {
        self.has_own_template.then(|| launch_template::key(&self.name))
    }

    /// The id of the launch template that Keelson created for it.
    pub(super) fn own_template<'r>(&self, refs: &'r Refs) -> Option<&'r str> {
        refs.get(&self.own_template_key()?)
    }

    /// Whether the spec names the AMI: EKS takes neither an AMI type nor a version beside it.
    pub(super) fn has_own_image(&self) -> bool {
        self.spec.node.as_ref().is_some_and(|node| node.image_id.is_some())
    }

    /// A version of Keelson's launch template with the desired contents, or why EC2 makes none. `current`: the node group now.
    pub(super) async fn own_version(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        current: &Detail,
    ) -> Result<Result<LaunchTemplateSpecification, Failure>, Failure> {
        let Some(content) = template_changes::desired(&self.target, current) else {
            let message = format!("node group {}: its cluster is not observed yet", self.name);
            return Err(Failure::new(Class::Busy, message));
        };
        let staleness = MaxStaleness::within(self.intervals.rare());
        let content = launch_template::resolve(&cloud.aws, content, &self.spec.instance_types, staleness).await?;
        let id = refs.id(&launch_template::key(&self.name))?;
        let used = current.launch_template.as_ref().map(|template| template.version.as_str());
        Ok(match versions::ensure(cloud, id, &content, used).await? {
            EnsuredVersion::Version(version) => {
                Ok(LaunchTemplateSpecification::builder().id(id).version(version).build())
            }
            EnsuredVersion::StoredDifferently(failure) => Err(failure),
        })
    }

    /// The launch template of an update; `None`: the node group keeps its version.
    pub(super) async fn next_template(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        nodes: &Replacement,
        observed: &Observation<Detail>,
    ) -> Result<Option<LaunchTemplateSpecification>, Failure> {
        match &nodes.launch_template {
            None => Ok(None),
            Some(NextTemplate::Version(template)) => Ok(Some(template.clone())),
            Some(NextTemplate::Contents(_)) => {
                // Versions are deleted meanwhile: never the one that the node group has by now.
                let current = self.read_current(cloud, observed).await?;
                let next = match self.own_version(cloud, refs, &current).await? {
                    Ok(next) => next,
                    // What EC2 makes of the contents keeps nobody from a new Kubernetes version or AMI release.
                    Err(_)
                        if nodes.version.is_some()
                            || nodes.release.as_ref().is_some_and(|one| *one != current.release) =>
                    {
                        return Ok(None);
                    }
                    Err(failure) => return Err(failure),
                };
                let has = current.launch_template.as_ref().map(|template| template.version.as_str());
                if next.version() != has {
                    return Ok(Some(next));
                }
                // EC2 did not show the version when it was read: nodes are not replaced for that.
                if nodes.version.is_none() {
                    let message = format!("node group {} has the desired version of its launch template", self.name);
                    return Err(Failure::new(Class::NoChange, message));
                }
                Ok(None)
            }
        }
    }

    /// Reads what the node group's version of Keelson's launch template sets. Versions never change, so each is read once.
    pub(super) async fn read_template(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        detail: &mut Detail,
        last: Option<&Detail>,
    ) -> Result<(), Failure> {
        if self.spec.node.as_ref().is_some_and(|node| node.efa) {
            let staleness = MaxStaleness::within(self.intervals.rare());
            let cards = launch_template::efa_cards(&cloud.aws, &self.spec.instance_types, staleness).await;
            detail.efa_cards = cards.ok().or_else(|| last.and_then(|last| last.efa_cards));
        }
        let (Some(own), Some(has)) = (self.own_template(refs), &detail.launch_template) else { return Ok(()) };
        if own != has.id {
            return Ok(());
        }
        let known = last.filter(|last| last.launch_template.as_ref() == Some(has)).map(|last| &last.own_template);
        detail.own_template = match known {
            Some(known @ OwnTemplate::Contents(_)) => known.clone(),
            _ => match versions::read(&cloud.aws, own, &has.version).await? {
                Some(content) => OwnTemplate::Contents(Box::new(content)),
                None => OwnTemplate::VersionGone,
            },
        };
        Ok(())
    }

    /// EKS may not see for some seconds what was just created in EC2.
    pub(super) fn maybe_not_visible(&self, error: AwsError) -> Failure {
        let message = error.message.to_lowercase();
        let is_missing = ["not exist", "not found", "not be found"].iter().any(|text| message.contains(text));
        if self.has_own_template && error.class() == Class::Invalid && message.contains("launch template") && is_missing
        {
            return Failure::of(Class::NotYetVisible, error);
        }
        create_failure(error)
    }
}
