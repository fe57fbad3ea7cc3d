//! The queue from which Karpenter learns that instances are about to be interrupted.
//!
//! Its policy lets EventBridge send, and only for the cluster's rule. See
//! <https://karpenter.sh/docs/concepts/disruption/#interruption> and
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html>.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::json;

use super::{names, ownership};
use crate::aws::tags::Tags;
use crate::aws::{Arn, AwsError, Service, Session};
use crate::engine::{Change, Class, Failure, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource};
use crate::resources::cloud::{
    Cloud, Intervals, ResourceContext, arn as observed_arn, changed_tags, changes_field, tag_changes,
};
use crate::resources::eks::cluster;
use crate::resources::eks::lists::if_exists;
use crate::resources::graph::kind::{Area, Kind, NamedResource, Removal};
use crate::resources::iam::policy_document;
use crate::resources::tag_calls::{Handle, OwnerTags};

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("queue", "interruption queue", Area::ControlPlane)
    .by_name(|aws, cluster| Box::pin(find(aws, cluster)))
    .removed_by(Removal {
        field: "karpenter.interruptionQueue",
        can_coexist: |_, _| true,
        delete: |aws, _, name| Box::pin(delete(aws, name)),
    })
    .found_by_name(|aws, name| Box::pin(tags_of(aws, name)))
    .after_nodes()
    .with_actions(&[
        "sqs:CreateQueue",
        "sqs:DeleteQueue",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
        "sqs:ListQueueTags",
        "sqs:SetQueueAttributes",
        "sqs:TagQueue",
        "sqs:UntagQueue",
    ]);

/// Seconds after which a message is of no use: AWS interrupts an instance two minutes after it says so.
const RETENTION: &str = "300";
const POLICY: &str = "policy";
const URL: &str = "url";

/// The attributes other than the policy, with their names in changes.
static SETTINGS: [(QueueAttributeName, &str, &str); 2] = [
    (QueueAttributeName::MessageRetentionPeriod, "messageRetentionSeconds", RETENTION),
    (QueueAttributeName::SqsManagedSseEnabled, "encrypted", "true"),
];

/// The queue of a cluster.
pub struct Queue {
    name: String,
    /// The name of the rule that may send to it.
    rule: String,
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    attributes: HashMap<QueueAttributeName, String>,
    tags: Tags,
}

/// The key in the graph: its name is that of the queue.
pub fn key(cluster: &str) -> Key {
    KIND.named(names::queue(cluster))
}

/// The URL of the queue with that name; `None` if it does not exist.
async fn url(aws: &Session, name: &str) -> Result<Option<String>, AwsError> {
    let sqs = aws.sqs();
    let request = sqs.get_queue_url().queue_name(name);
    let answer = if_exists(aws.call(Service::Sqs, "GetQueueUrl", name, request.send()).await)?;
    Ok(answer.and_then(|answer| answer.queue_url))
}

async fn read_tags(aws: &Session, name: &str, url: &str) -> Result<Option<Tags>, AwsError> {
    let sqs = aws.sqs();
    let request = sqs.list_queue_tags().queue_url(url);
    let answer = if_exists(aws.call(Service::Sqs, "ListQueueTags", name, request.send()).await)?;
    Ok(answer.map(|answer| Tags::from_eks(answer.tags())))
}

/// The tags of the queue with that name; `None` if it does not exist.
async fn tags_of(aws: &Session, name: &str) -> Result<Option<Tags>, AwsError> {
    match url(aws, name).await? {
        Some(url) => read_tags(aws, name, &url).await,
        None => Ok(None),
    }
}

/// The name, the handle and the tags of the queue of the cluster; `None` if it does not exist, or may not be read.
///
/// # Errors
/// Those of the reads.
async fn find(aws: &Session, cluster: &str) -> Result<Option<NamedResource>, AwsError> {
    let name = names::queue(cluster);
    match url(aws, &name).await {
        Err(error) if error.class() == Class::Denied => Ok(None),
        Err(error) => Err(error),
        Ok(None) => Ok(None),
        Ok(Some(url)) => {
            let tags = read_tags(aws, &name, &url).await?;
            Ok(tags.map(|tags| (name, Handle::Queue(url), tags)))
        }
    }
}

async fn delete(aws: &Session, name: &str) -> Result<(), AwsError> {
    let Some(url) = url(aws, name).await? else { return Ok(()) };
    let sqs = aws.sqs();
    let request = sqs.delete_queue().queue_url(url);
    if_exists(aws.call(Service::Sqs, "DeleteQueue", name, request.send()).await).map(drop)
}

/// The policy of the queue with that ARN, for the rule with that name.
fn policy(queue: &str, rule: &str) -> String {
    let source = Arn::parse(queue)
        .map(|Arn { partition, region, account, .. }| format!("arn:{partition}:events:{region}:{account}:rule/{rule}"));
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue,
                "Condition": {"ArnEquals": {"aws:SourceArn": source}},
            },
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sqs:*",
                "Resource": queue,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    })
    .to_string()
}

impl Queue {
    /// The queue of the cluster.
    pub fn new(context: &ResourceContext<'_>) -> Self {
        let key = key(context.cluster_name);
        Self {
            name: key.name().to_owned(),
            rule: names::rule(context.cluster_name),
            tags: context.tags(&key),
            intervals: context.intervals,
        }
    }

    /// The attributes of the queue with that ARN.
    fn wanted(arn: &str, rule: &str) -> HashMap<QueueAttributeName, String> {
        let settings = SETTINGS.iter().map(|(attribute, _, value)| (attribute.clone(), (*value).to_owned()));
        settings.chain([(QueueAttributeName::Policy, policy(arn, rule))]).collect()
    }

    fn differences(arn: &str, rule: &str, observed: &Detail) -> Vec<Change> {
        let of = |attribute: &QueueAttributeName| observed.attributes.get(attribute).map_or("", String::as_str);
        let settings = SETTINGS.iter().filter(|(attribute, _, wanted)| of(attribute) != *wanted);
        let mut changes: Vec<Change> =
            settings.map(|(attribute, field, wanted)| Change::in_place(*field, of(attribute), *wanted)).collect();
        let (current, wanted) = (of(&QueueAttributeName::Policy), policy(arn, rule));
        if !policy_document::is_equivalent(current, &wanted) {
            changes.push(Change::in_place(POLICY, policy_document::compact(current), wanted));
        }
        changes
    }

    fn to_observation(&self, url: &str, arn: &str, detail: Detail) -> Observation<Detail> {
        Observation::ready(&self.name, "available", detail).output("arn", arn).output(URL, url)
    }

    fn owner_tags(&self, observed: &Observation<Detail>) -> OwnerTags {
        let url = observed.outputs.get(URL).cloned().unwrap_or_default();
        OwnerTags::new(Handle::Queue(url), &observed.id, &self.tags)
    }

    async fn read(&self, cloud: &Cloud, url: &str) -> Result<Option<Observation<Detail>>, Failure> {
        let (aws, sqs) = (&cloud.aws, cloud.aws.sqs());
        let names = SETTINGS.iter().map(|(attribute, ..)| attribute.clone());
        let names = names.chain([QueueAttributeName::Policy, QueueAttributeName::QueueArn]);
        let request = sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.collect()));
        let answer = aws.call(Service::Sqs, "GetQueueAttributes", &self.name, request.send()).await;
        let Some(answer) = if_exists(answer)? else { return Ok(None) };
        let attributes = answer.attributes.unwrap_or_default();
        let Some(tags) = read_tags(aws, &self.name, url).await? else { return Ok(None) };
        let arn = attributes.get(&QueueAttributeName::QueueArn).cloned().unwrap_or_default();
        Ok(Some(self.to_observation(url, &arn, Detail { attributes, tags })))
    }
}

#[async_trait]
impl Resource for Queue {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        KIND.named(&self.name)
    }

    /// Before, the name is anybody's.
    fn after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn holds(&self) -> Vec<Key> {
        Vec::new()
    }

    /// Karpenter reads it until then.
    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("name", self.name.clone())]
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

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let mut changes = tag_changes(&self.tags, &observed.detail.tags);
        changes.extend(Self::differences(observed_arn(observed), &self.rule, &observed.detail));
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let known = last.and_then(|last| last.outputs.get(URL).cloned());
        let found = match known {
            Some(url) => Some(url),
            None => url(&cloud.aws, &self.name).await?,
        };
        let Some(url) = found else { return Ok(Presence::Absent) };
        let Some(observed) = self.read(cloud, &url).await? else { return Ok(Presence::Absent) };
        let tags = observed.detail.tags.clone();
        Ok(ownership::presence(cloud, options, &tags, observed, &format!("queue {}", self.name)))
    }

    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        let (aws, sqs) = (&cloud.aws, cloud.aws.sqs());
        let arn = format!("arn:{}:sqs:{}:{}:{}", aws.partition, aws.region, aws.account_id, self.name);
        let attributes = Self::wanted(&arn, &self.rule);
        let request = sqs.create_queue().queue_name(&self.name).set_attributes(Some(attributes.clone()));
        let request = request.set_tags(Some(self.tags.to_eks()));
        let answer = match aws.call(Service::Sqs, "CreateQueue", &self.name, request.send()).await {
            // One with other attributes: the next observation shows its owner.
            Err(error) if error.class() == Class::Conflict => return Err(Failure::of(Class::NoChange, error)),
            other => other?,
        };
        let url = answer.queue_url.unwrap_or_default();
        // SQS also answers with the queue of others that has the same attributes.
        let tags = read_tags(aws, &self.name, &url).await?.unwrap_or_else(|| self.tags.clone());
        if !tags.is_owned_by(&cloud.owner.uid) {
            let message = format!("queue {} was created by somebody else at the same time", self.name);
            return Err(Failure::new(Class::NoChange, message));
        }
        Ok(self.to_observation(&url, &arn, Detail { attributes, tags }))
    }

    /// Only to what is ours right before; tags first, because the operator's IAM policy allows changes only to what carries them.
    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut detail = observed.detail.clone();
        let url = observed.outputs.get(URL).cloned().unwrap_or_default();
        let tags = read_tags(&cloud.aws, &self.name, &url).await?;
        ownership::check_writable(cloud, tags.as_ref(), &format!("queue {}", self.name))?;
        cloud.tag(&Handle::Queue(url.clone()), &self.name, &mut detail.tags, changed_tags(changes)).await?;
        let fields = SETTINGS.iter().map(|(attribute, field, _)| (attribute.clone(), *field));
        let fields = fields.chain([(QueueAttributeName::Policy, POLICY)]);
        let changed: Vec<QueueAttributeName> =
            fields.filter(|(_, field)| changes_field(changes, field)).map(|(attribute, _)| attribute).collect();
        let mut wanted = Self::wanted(observed_arn(observed), &self.rule);
        wanted.retain(|attribute, _| changed.contains(attribute));
        if !wanted.is_empty() {
            let sqs = cloud.aws.sqs();
            let request = sqs.set_queue_attributes().queue_url(url).set_attributes(Some(wanted.clone()));
            cloud.aws.call(Service::Sqs, "SetQueueAttributes", &self.name, request.send()).await?;
            detail.attributes.extend(wanted);
        }
        Ok(Observation { detail, ..observed.clone() })
    }

    async fn adopt(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Observation<Detail>, Failure> {
        let tags = tags_of(&cloud.aws, &self.name).await?;
        ownership::adopt(cloud, tags.as_ref(), &self.owner_tags(observed), &format!("queue {}", self.name)).await?;
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

    const ARN: &str = "arn:aws-cn:sqs:cn-north-1:123456789012:keelson-demo-karpenter";
    const RULE: &str = "keelson-demo-interruptions";

    #[test]
    fn only_the_rule_of_the_cluster_sends_to_the_queue() {
        let policy = policy(ARN, RULE);
        assert!(
            policy.contains("arn:aws-cn:events:cn-north-1:123456789012:rule/keelson-demo-interruptions"),
            "{policy}"
        );
        assert!(!policy.contains(r#""Allow","Principal":"*""#), "{policy}");
    }

    #[test]
    fn each_attribute_that_differs_is_a_change() {
        let with = |attribute: QueueAttributeName, value: &str| {
            let mut attributes = Queue::wanted(ARN, RULE);
            attributes.insert(attribute, value.to_owned());
            let detail = Detail { attributes, tags: Tags::new() };
            Queue::differences(ARN, RULE, &detail).into_iter().map(|change| change.field).collect::<Vec<_>>()
        };
        // As SQS returns it, with other white space.
        let spaced = policy(ARN, RULE).replace(',', ", ");
        assert_eq!(with(QueueAttributeName::Policy, &spaced), [""; 0]);
        assert_eq!(with(QueueAttributeName::Policy, ""), ["policy"]);
        assert_eq!(with(QueueAttributeName::MessageRetentionPeriod, "60"), ["messageRetentionSeconds"]);
        assert_eq!(with(QueueAttributeName::SqsManagedSseEnabled, "false"), ["encrypted"]);
    }
}
