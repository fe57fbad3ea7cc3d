//! The EC2 launch template of a node group, which `spec.node` asks for: created with its first version before the node group, and
//! deleted after it. Later versions are the node group's: each is part of an update that replaces nodes ([`super::node_template`]).
//!
//! Its name follows from those of cluster and node group, so that it is found again without a record, like the node group itself, and
//! EC2 refuses a second one. See <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplate.html>.

use async_trait::async_trait;
use aws_sdk_ec2::types::{self as sdk, ResourceType};
use sha2::{Digest, Sha256};

use super::node_group::{self, ReplacementPart};
use super::node_template::{Content, differences, versions};
use crate::aws::snapshots::{self, OWNED_RESOURCES, Snapshots};
use crate::aws::tags::Tags;
use crate::aws::{AwsError, MaxStaleness, Service, Session};
use crate::engine::{
    Change, Class, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource, Succession,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, Tagged, changed_tags, max_staleness, tag_changes};
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::graph::located::{Located, listed};
use crate::resources::graph::ownership;
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("launchTemplate", "launch template", Area::ControlPlane)
    .in_ec2(|aws, age| listed(list(aws, age)))
    .with_actions(&[
        "ec2:CreateLaunchTemplate",
        "ec2:CreateTags",
        "ec2:DeleteLaunchTemplate",
        "ec2:DeleteTags",
        "ec2:DescribeInstanceTypeOfferings",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeLaunchTemplates",
    ]);

const EXISTS_CODE: &str = "InvalidLaunchTemplateName.AlreadyExistsException";
/// EC2's longest name, without a hash.
const MAX_NAME: usize = 100;

/// The launch template of a node group.
pub struct LaunchTemplate {
    node_group: String,
    name: String,
    earlier_name: String,
    /// `None`: it was asked for earlier, or what it depends on is not known of the cluster yet.
    content: Option<Content>,
    instance_types: Vec<String>,
    /// A node group has it, and EKS gives it no other one.
    is_used: bool,
    /// The part of its node group in a replacement.
    part: ReplacementPart,
    tags: Tags,
    intervals: Intervals,
}

/// A launch template as EC2 lists it.
#[derive(Debug)]
pub struct Listed {
    id: String,
    name: String,
    tags: Tags,
}

/// Only its tags can differ.
pub type Detail = Tags;

/// The key in the graph.
pub fn key(node_group: &str) -> Key {
    KIND.named(node_group)
}

/// Its name in EC2. A hash tells apart what is equal when cut off, or where the names end.
pub fn name(cluster: &str, node_group: &str) -> String {
    name_with_hash(cluster, node_group, 8)
}

/// The name that earlier versions gave it: a template of the object's own keeps it.
fn earlier_name(cluster: &str, node_group: &str) -> String {
    name_with_hash(cluster, node_group, 4)
}

fn name_with_hash(cluster: &str, node_group: &str, bytes: usize) -> String {
    let hash = Sha256::digest(format!("{cluster}/{node_group}"));
    let hash: String = hash.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect();
    let names: String = format!("{cluster}-{node_group}").chars().take(MAX_NAME).collect();
    format!("keelson-{names}-{hash}")
}

impl LaunchTemplate {
    /// The launch template of the node group with that name.
    pub fn new(
        context: &ResourceContext<'_>,
        node_group: &str,
        content: Option<Content>,
        instance_types: &[String],
        is_used: bool,
    ) -> Self {
        Self {
            node_group: node_group.into(),
            name: name(context.cluster_name, node_group),
            earlier_name: earlier_name(context.cluster_name, node_group),
            content,
            instance_types: instance_types.to_vec(),
            is_used,
            part: ReplacementPart::Described,
            tags: context.tags(&key(node_group)),
            intervals: context.intervals,
        }
    }

    /// The same with the part of its node group in a replacement.
    #[must_use]
    pub fn in_replacement(self, part: ReplacementPart) -> Self {
        Self { part, ..self }
    }

    fn presence(&self, cloud: &Cloud, found: &Listed) -> Presence<Detail> {
        let observed = Observation::ready(&found.id, "available", found.tags.clone());
        ownership::presence(cloud, &found.tags, observed, || format!("launch template {}", self.name))
    }
}

/// The number of network cards on which all these instance types take Elastic Fabric Adapters.
///
/// # Errors
/// The types cannot be read, or one of them takes none.
pub async fn efa_cards(aws: &Session, types: &[String], staleness: MaxStaleness) -> Result<i32, Failure> {
    let mut fewest = None;
    for name in types {
        let family = name.split_once('.').map_or(name.as_str(), |(family, _)| family);
        let offered = aws.snapshots.instance_types(family, staleness).await?;
        let cards = offered.iter().find(|one| one.name == *name).map_or(0, |one| one.efa_cards);
        if cards == 0 {
            let why =
                "takes no Elastic Fabric Adapter: remove node.efa, or create a new NodeGroup of other instance types";
            return Err(Failure::invalid(format!("spec.instanceTypes: {name} {why}")));
        }
        fewest = Some(fewest.map_or(cards, |fewest: i32| fewest.min(cards)));
    }
    Ok(fewest.unwrap_or_default())
}

impl From<&sdk::LaunchTemplate> for Listed {
    fn from(template: &sdk::LaunchTemplate) -> Self {
        let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            id: owned(template.launch_template_id()),
            name: owned(template.launch_template_name()),
            tags: Tags::from_ec2(template.tags()),
        }
    }
}

impl Tagged for Listed {
    fn id(&self) -> &str {
        &self.id
    }
    fn tags(&self) -> &Tags {
        &self.tags
    }
}

impl Located for Listed {
    fn vpc(&self) -> Option<&str> {
        None
    }
    /// As far as this list shows: a node group may have it.
    fn is_in_use(&self) -> bool {
        true
    }
}

/// The one of that name, whoever owns it.
async fn read_by_name(aws: &Session, name: &str) -> Result<Option<Listed>, AwsError> {
    let filter = sdk::Filter::builder().name("launch-template-name").values(name).build();
    let request = aws.ec2.describe_launch_templates().filters(filter);
    let answer = aws.call(Service::Ec2, "DescribeLaunchTemplates", name, request.send()).await?;
    Ok(answer.launch_templates().iter().map(Listed::from).find(|one| one.name == name))
}

/// The id and the tags of the one of the node group, by its names, if it carries an owner tag and that of its resource.
///
/// # Errors
/// Those of the reads.
pub async fn find(aws: &Session, cluster: &str, node_group: &str) -> Result<Option<(String, Tags)>, AwsError> {
    for name in [name(cluster, node_group), earlier_name(cluster, node_group)] {
        let found = read_by_name(aws, &name)
            .await?
            .filter(|one| one.tags.owner().is_some() && one.tags.resource() == Some(&key(node_group).to_string()));
        if let Some(found) = found {
            return Ok(Some((found.id, found.tags)));
        }
    }
    Ok(None)
}

async fn read(reads: Snapshots) -> Result<Vec<Listed>, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    snapshots::pages(caller, Service::Ec2, "DescribeLaunchTemplates", |token| async move {
        let request = ec2.describe_launch_templates().set_filters(Some(snapshots::owned())).set_next_token(token);
        let page = caller.call(Service::Ec2, "DescribeLaunchTemplates", OWNED_RESOURCES, request.send()).await?;
        Ok((page.launch_templates().iter().map(Listed::from).collect(), page.next_token))
    })
    .await
}

/// Those with an owner tag.
async fn list(aws: &Session, staleness: MaxStaleness) -> snapshots::List<Listed> {
    aws.snapshots.list(staleness, read).await
}

#[async_trait]
impl Resource for LaunchTemplate {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.node_group)
    }

    fn after(&self) -> Vec<Key> {
        std::iter::once(node_group::cluster_gate()).chain(self.part.gate()).collect()
    }

    /// After the node group that is replaced, which holds it.
    fn succession(&self) -> Option<Succession> {
        self.part.succession()
    }

    /// The gate blocks creation only, not deletion.
    fn holds(&self) -> Vec<Key> {
        Vec::new()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let name = [("name", self.name.clone())];
        name.into_iter().chain(self.content.iter().flat_map(differences::facts)).collect()
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn irreplaceable(&self) -> Option<String> {
        self.is_used.then(|| {
            format!(
                "launch template {} was deleted, and EKS gives an existing node group no other one: create a new NodeGroup, \
                 and delete this one",
                self.name
            )
        })
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_ec2(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        tag_changes(&self.tags, &observed.detail)
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let owned = list(&cloud.aws, max_staleness(options)).await?;
        let is_earlier = |one: &&Listed| one.name == self.earlier_name && one.tags.is_owned_by(&cloud.owner.uid);
        let is_current = |one: &&Listed| one.name == self.name && one.tags.is_owned_by(&cloud.owner.uid);
        if let Some(found) = owned.iter().find(is_current).or_else(|| owned.iter().find(is_earlier)) {
            return Ok(self.presence(cloud, found));
        }
        // One without an owner tag is not in the list. One of an earlier object of this name may be there though it was deleted
        // since: the list is shared, and can be minutes old.
        Ok(read_by_name(&cloud.aws, &self.name).await?.map_or(Presence::Absent, |found| self.presence(cloud, &found)))
    }

    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        let Some(content) = self.content.clone() else {
            return Err(Failure::new(
                Class::Busy,
                format!("launch template {}: its cluster is not observed yet", self.name),
            ));
        };
        let content =
            resolve(&cloud.aws, content, &self.instance_types, MaxStaleness::within(self.intervals.rare())).await?;
        // The name makes it idempotent: a client token of an earlier attempt would return a template that was deleted since.
        let request = cloud
            .aws
            .ec2
            .create_launch_template()
            .launch_template_name(&self.name)
            .version_description(versions::description(&content))
            .launch_template_data(content.to_request())
            .tag_specifications(self.tags.to_ec2_specification(ResourceType::LaunchTemplate));
        let answer = match cloud.aws.call(Service::Ec2, "CreateLaunchTemplate", &self.name, request.send()).await {
            // Created by an attempt whose response was lost, with other contents: the next observation finds it.
            Err(error) if error.code.as_deref() == Some(EXISTS_CODE) => {
                let found = read_by_name(&cloud.aws, &self.name).await?;
                let is_ours = found.is_some_and(|found| found.tags.is_owned_by(&cloud.owner.uid));
                return Err(Failure::of(if is_ours { Class::NoChange } else { Class::Conflict }, error));
            }
            answer => answer?,
        };
        let id = answer.launch_template.and_then(|template| template.launch_template_id).unwrap_or_default();
        Ok(Observation::ready(id, "available", self.tags.clone()))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut observed = observed.clone();
        cloud.tag_ec2(&observed.id, &mut observed.detail, changed_tags(changes)).await?;
        Ok(observed)
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.ec2.delete_launch_template().launch_template_id(&observed.id);
        cloud.aws.call(Service::Ec2, "DeleteLaunchTemplate", &observed.id, request.send()).await?;
        Ok(Presence::Absent)
    }
}

/// The contents with what only EC2 knows: how many Elastic Fabric Adapters the instance types take.
///
/// # Errors
/// As [`efa_cards`].
pub async fn resolve(
    aws: &Session,
    content: Content,
    instance_types: &[String],
    staleness: MaxStaleness,
) -> Result<Content, Failure> {
    if content.efa != super::node_template::content::Efa::AsManyAsPossible {
        return Ok(content);
    }
    let cards = efa_cards(aws, instance_types, staleness).await?;
    Ok(content.with_cards(cards))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_ec2_and_differ() {
        let long = name(&"c".repeat(100), &"g".repeat(63));
        assert!(long.len() <= 128 && long.starts_with("keelson-ccc"), "{long}");
        assert_ne!(name("a-b", "c"), name("a", "b-c"));
        assert_eq!(name("demo", "workers"), "keelson-demo-workers-aab43a06a3c2c284");
        assert!(name("demo", "workers").starts_with(&earlier_name("demo", "workers")));
    }
}
