//! The EventBridge rule that sends interruptions of instances to Karpenter's queue.
//!
//! One rule for all of them: a region has 300 rules by default, and 100 clusters. Events are of the whole region; Karpenter ignores those
//! of instances that are not its own. See <https://karpenter.sh/docs/concepts/disruption/#interruption> and
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/automating_with_eventbridge.html>.

use async_trait::async_trait;
use aws_sdk_eventbridge::types::{RuleState, Target};
use serde_json::{Value, json};

use super::{names, ownership, queue};
use crate::aws::tags::Tags;
use crate::aws::{AwsError, Service, Session};
use crate::engine::{
    Change, Class, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Refs, Resource,
};
use crate::resources::cloud::{
    Cloud, Intervals, ResourceContext, arn as observed_arn, changed_tags, changes_field, tag_changes,
};
use crate::resources::eks::cluster;
use crate::resources::eks::lists::if_exists;
use crate::resources::graph::kind::{Area, Kind, NamedResource, Removal};
use crate::resources::tag_calls::{Handle, OwnerTags};

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("eventRule", "rule for interruptions", Area::ControlPlane)
    .by_name(|aws, cluster| Box::pin(find(aws, cluster)))
    .removed_by(Removal {
        field: "karpenter.interruptionQueue",
        can_coexist: |_, _| true,
        delete: |aws, _, name| Box::pin(delete(aws, name)),
    })
    .found_by_name(|aws, name| Box::pin(tags_of(aws, name)))
    .after_nodes()
    .with_actions(&[
        "events:DeleteRule",
        "events:DescribeRule",
        "events:ListTagsForResource",
        "events:ListTargetsByRule",
        "events:PutRule",
        "events:PutTargets",
        "events:RemoveTargets",
        "events:TagResource",
        "events:UntagResource",
    ]);

/// The events: a spot instance or one in a capacity reservation is interrupted, its risk rises, it changes its state, or AWS Health
/// announces maintenance.
const EVENTS: [&str; 5] = [
    "EC2 Spot Instance Interruption Warning",
    "EC2 Capacity Reservation Instance Interruption Warning",
    "EC2 Instance Rebalance Recommendation",
    "EC2 Instance State-change Notification",
    "AWS Health Event",
];
const TARGET_ID: &str = "karpenter";
const PATTERN: &str = "eventPattern";
const STATE: &str = "state";
const TARGET: &str = "target";

/// The rule of a cluster.
pub struct EventRule {
    name: String,
    queue: Key,
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    pattern: String,
    is_enabled: bool,
    /// The ARN of our target.
    target: Option<String>,
    tags: Tags,
}

/// The key in the graph: its name is that of the rule.
pub fn key(cluster: &str) -> Key {
    KIND.named(names::rule(cluster))
}

fn pattern() -> Value {
    json!({"source": ["aws.ec2", "aws.health"], "detail-type": EVENTS})
}

fn has_pattern(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|found| found == pattern())
}

fn arn(aws: &Session, name: &str) -> String {
    format!("arn:{}:events:{}:{}:rule/{name}", aws.partition, aws.region, aws.account_id)
}

/// The tags of the rule with that name; `None` if it does not exist.
async fn tags_of(aws: &Session, name: &str) -> Result<Option<Tags>, AwsError> {
    let events = aws.events();
    let request = events.list_tags_for_resource().resource_arn(arn(aws, name));
    let answer = if_exists(aws.call(Service::Events, "ListTagsForResource", name, request.send()).await)?;
    Ok(answer.map(|answer| answer.tags().iter().map(|tag| (tag.key(), tag.value())).collect()))
}

/// The name, the handle and the tags of the rule of the cluster; `None` if it does not exist, or may not be read.
///
/// # Errors
/// Those of the reads.
async fn find(aws: &Session, cluster: &str) -> Result<Option<NamedResource>, AwsError> {
    let name = names::rule(cluster);
    match tags_of(aws, &name).await {
        Err(error) if error.class() == Class::Denied => Ok(None),
        Err(error) => Err(error),
        Ok(tags) => Ok(tags.map(|tags| (name.clone(), Handle::EventRule(arn(aws, &name)), tags))),
    }
}

/// The ids and ARNs of its targets.
async fn targets(aws: &Session, name: &str) -> Result<Vec<(String, String)>, AwsError> {
    let events = aws.events();
    // A rule has five targets at most, which one page holds.
    let request = events.list_targets_by_rule().rule(name);
    let answer = if_exists(aws.call(Service::Events, "ListTargetsByRule", name, request.send()).await)?;
    let of = |target: &Target| (target.id().to_owned(), target.arn().to_owned());
    Ok(answer.map(|answer| answer.targets().iter().map(of).collect()).unwrap_or_default())
}

/// Deletes the rule with all its targets: EventBridge deletes none that has some.
async fn delete(aws: &Session, name: &str) -> Result<(), AwsError> {
    let events = aws.events();
    let ids: Vec<String> = targets(aws, name).await?.into_iter().map(|(id, _)| id).collect();
    if !ids.is_empty() {
        let request = events.remove_targets().rule(name).set_ids(Some(ids));
        if_exists(aws.call(Service::Events, "RemoveTargets", name, request.send()).await)?;
    }
    let request = events.delete_rule().name(name);
    if_exists(aws.call(Service::Events, "DeleteRule", name, request.send()).await).map(drop)
}

impl EventRule {
    /// The rule of the cluster.
    pub fn new(context: &ResourceContext<'_>) -> Self {
        let key = key(context.cluster_name);
        let queue = queue::key(context.cluster_name);
        Self { name: key.name().to_owned(), queue, tags: context.tags(&key), intervals: context.intervals }
    }

    /// Without its target, it sends nothing.
    fn to_observation(&self, arn: &str, detail: Detail) -> Observation<Detail> {
        let phase = if detail.target.is_some() { Phase::Ready } else { Phase::Incomplete };
        Observation::ready(&self.name, "available", detail).phase(phase).output("arn", arn)
    }

    async fn put(&self, cloud: &Cloud, tags: Option<&Tags>) -> Result<String, Failure> {
        let events = cloud.aws.events();
        let request = events
            .put_rule()
            .name(&self.name)
            .description("Interruptions of instances, for Karpenter; made by Keelson")
            .event_pattern(pattern().to_string())
            .state(RuleState::Enabled)
            // EventBridge ignores tags in an update.
            .set_tags(tags.map(Tags::to_events));
        let answer = cloud.aws.call(Service::Events, "PutRule", &self.name, request.send()).await?;
        Ok(answer.rule_arn.unwrap_or_default())
    }

    fn owner_tags(&self, observed: &Observation<Detail>) -> OwnerTags {
        OwnerTags::new(Handle::EventRule(observed_arn(observed).to_owned()), &observed.id, &self.tags)
    }

    async fn read(&self, cloud: &Cloud) -> Result<Option<Observation<Detail>>, Failure> {
        let (aws, events) = (&cloud.aws, cloud.aws.events());
        let request = events.describe_rule().name(&self.name);
        let answer = aws.call(Service::Events, "DescribeRule", &self.name, request.send()).await;
        let Some(rule) = if_exists(answer)? else { return Ok(None) };
        let Some(tags) = tags_of(aws, &self.name).await? else { return Ok(None) };
        let target = targets(aws, &self.name).await?.into_iter().find(|(id, _)| id == TARGET_ID).map(|(_, arn)| arn);
        let detail = Detail {
            pattern: rule.event_pattern().unwrap_or_default().to_owned(),
            is_enabled: rule.state() == Some(&RuleState::Enabled),
            target,
            tags,
        };
        Ok(Some(self.to_observation(rule.arn().unwrap_or_default(), detail)))
    }
}

#[async_trait]
impl Resource for EventRule {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        KIND.named(&self.name)
    }

    fn after(&self) -> Vec<Key> {
        vec![cluster::key(), self.queue.clone()]
    }

    fn holds(&self) -> Vec<Key> {
        vec![self.queue.clone()]
    }

    /// Karpenter reads its events until then.
    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("name", self.name.clone()), ("events", EVENTS.join(", "))]
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    /// Anybody can choose its name, and its tags prove nothing.
    fn records_create(&self) -> bool {
        true
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(self.owner_tags(observed))
    }

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        let current = &observed.detail;
        let mut changes = tag_changes(&self.tags, &current.tags);
        if !has_pattern(&current.pattern) {
            changes.push(Change::in_place(PATTERN, &current.pattern, pattern().to_string()));
        }
        if !current.is_enabled {
            changes.push(Change::in_place(STATE, "DISABLED", "ENABLED"));
        }
        if let Some(queue) = refs.output(&self.queue, "arn").filter(|queue| current.target.as_deref() != Some(*queue)) {
            changes.push(Change::in_place(TARGET, current.target.clone().unwrap_or_default(), queue));
        }
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let Some(observed) = self.read(cloud).await? else { return Ok(Presence::Absent) };
        let tags = observed.detail.tags.clone();
        Ok(ownership::presence(cloud, options, &tags, observed, &format!("event rule {}", self.name)))
    }

    /// PutRule overwrites a rule of that name and knows no "only if there is none", so it is read again right before. EventBridge ignores
    /// the tags of a PutRule on a rule that exists: if ours are not there afterwards, somebody created it in between, and it gets no target.
    /// The target follows as an update.
    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        if tags_of(&cloud.aws, &self.name).await?.is_some() {
            let message = format!("event rule {} exists by now: the next observation shows its owner", self.name);
            return Err(Failure::new(Class::NoChange, message));
        }
        let arn = self.put(cloud, Some(&self.tags)).await?;
        // Not visible yet counts as ours: nothing was there.
        let tags = tags_of(&cloud.aws, &self.name).await?.unwrap_or_else(|| self.tags.clone());
        if !tags.is_owned_by(&cloud.owner.uid) {
            let message = format!(
                "event rule {} was created by somebody else at the same time, and has the events of Karpenter now: whoever owns it \
                 has to set its own again",
                self.name
            );
            return Err(Failure::new(Class::Conflict, message));
        }
        let detail = Detail { pattern: pattern().to_string(), is_enabled: true, target: None, tags };
        Ok(self.to_observation(&arn, detail))
    }

    /// Only to what is ours right before; tags first, because the operator's IAM policy allows changes only to what carries them.
    async fn update(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let tags = tags_of(&cloud.aws, &self.name).await?;
        ownership::check_writable(cloud, tags.as_ref(), &format!("event rule {}", self.name))?;
        let mut detail = observed.detail.clone();
        let handle = Handle::EventRule(observed_arn(observed).to_owned());
        cloud.tag(&handle, &self.name, &mut detail.tags, changed_tags(changes)).await?;
        if changes_field(changes, PATTERN) || changes_field(changes, STATE) {
            self.put(cloud, None).await?;
            (detail.pattern, detail.is_enabled) = (pattern().to_string(), true);
        }
        if changes_field(changes, TARGET) {
            let events = cloud.aws.events();
            let queue = refs.need(&self.queue, "arn")?;
            let target = Target::builder().id(TARGET_ID).arn(queue).build();
            let target = target.map_err(|error| Failure::invalid(error.to_string()))?;
            let request = events.put_targets().rule(&self.name).targets(target);
            let answer = cloud.aws.call(Service::Events, "PutTargets", &self.name, request.send()).await?;
            if let Some(failed) = answer.failed_entries().first() {
                let why = failed.error_message().unwrap_or_default();
                let message = format!("EventBridge did not make {queue} a target of rule {}: {why}", self.name);
                return Err(Failure::new(Class::Busy, message));
            }
            detail.target = Some(queue.to_owned());
        }
        Ok(Observation { outputs: observed.outputs.clone(), ..self.to_observation(observed_arn(observed), detail) })
    }

    async fn adopt(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Observation<Detail>, Failure> {
        let tags = tags_of(&cloud.aws, &self.name).await?;
        ownership::adopt(cloud, tags.as_ref(), &self.owner_tags(observed), &format!("event rule {}", self.name))
            .await?;
        Ok(observed.clone())
    }

    async fn release(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<(), Failure> {
        let tags = tags_of(&cloud.aws, &self.name).await?;
        ownership::release(cloud, tags.as_ref(), &self.owner_tags(observed)).await
    }

    async fn delete(&self, cloud: &Cloud, _: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        if ownership::is_still_ours(cloud, tags_of(&cloud.aws, &self.name).await?.as_ref()) {
            delete(&cloud.aws, &self.name).await?;
        }
        Ok(Presence::Absent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_is_compared_regardless_of_notation() {
        let text = pattern().to_string();
        assert!(has_pattern(&text) && has_pattern(&text.replace(',', ", ")));
        assert!(!has_pattern(&text.replace("aws.health", "aws.s3")) && !has_pattern(""));
    }
}
