//! A flow log of the VPC: records of its traffic, which EC2 delivers to a bucket or to a log group.
//!
//! EC2 cannot change a flow log. Its key contains its settings: with others it is another one, which is created before the earlier one is
//! deleted; with the same destination, after it. See <https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-basics.html>.

use async_trait::async_trait;
use aws_sdk_ec2::types::{self as sdk, FlowLogsResourceType, LogDestinationType, ResourceType, TrafficType};
use sha2::{Digest, Sha256};

use super::{vpc, vpc_endpoint};
use crate::api::flow_logs::{Destination, FlowLogs, Traffic};
use crate::api::{SpecError, network};
use crate::aws::snapshots::{self, OWNED_RESOURCES, Snapshots};
use crate::aws::{AwsError, MaxStaleness, Service, Session, tags::Tags};
use crate::engine::{
    Change, Class, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Recreate, Refs, Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, Tagged, changed_tags, max_staleness, tag_changes};
use crate::resources::deletion::removals;
use crate::resources::eks::cluster;
use crate::resources::graph::kind::{Area, Kind, Removal};
use crate::resources::graph::located::{Located, listed};
use crate::resources::graph::proof::{Owned, SearchResult, find};
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("flowLog", "flow log", Area::Network)
    .in_ec2(|aws, age| listed(list(aws, age)))
    .removed_by(Removal {
        field: "network.vpc.flowLogs",
        can_coexist: |one, other| destination_of(one) != destination_of(other),
        delete: |aws, _, id| Box::pin(delete_flow_log(aws, id)),
    })
    .after_nodes()
    .serving_vpc()
    .with_actions(&[
        "ec2:CreateFlowLogs",
        "ec2:CreateTags",
        "ec2:DeleteFlowLogs",
        "ec2:DeleteTags",
        "ec2:DescribeFlowLogs",
    ]);

const EXISTS_CODE: &str = "FlowLogAlreadyExists";

/// A flow log of the VPC.
pub struct FlowLog {
    key: Key,
    /// `None` for one of an earlier spec: it is deleted with the cluster.
    wanted: Option<Settings>,
    /// Whether one with the same destination is removed first.
    waits_for_removal: bool,
    tags: Tags,
    intervals: Intervals,
}

/// What a flow log records, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    to: Target,
    traffic: TrafficType,
    aggregation_seconds: i32,
    /// `None`: EC2's default.
    format: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// The ARN of a bucket or of a folder in it.
    S3(String),
    /// The name of a log group and the role's ARN.
    CloudWatchLogs(String, String),
}

/// A flow log as EC2 lists it.
#[derive(Debug)]
struct Listed {
    id: String,
    /// The VPC, subnet or network interface that it is of.
    of: String,
    settings: Settings,
    /// `ACTIVE`.
    state: String,
    /// Why EC2 cannot deliver, if so.
    delivery_error: Option<String>,
    tags: Tags,
}

/// What Keelson observes of a flow log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    settings: Settings,
    tags: Tags,
}

/// The first digits of a hash.
fn digest(parts: &[&str]) -> String {
    Sha256::digest(parts.join("\n")).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn destination_of(key: &Key) -> &str {
    key.name().split('/').next().unwrap_or_default()
}

/// The flow log of the spec and, if the cluster is deleted (`removed` is `None`), those of earlier specs. `owned` exist, and those of
/// `removed` that the spec no longer asks for are removed now.
pub(crate) fn all(
    context: &ResourceContext<'_>,
    spec: &network::Vpc,
    owned: &[Key],
    removed: Option<&[Owned]>,
) -> Result<Vec<FlowLog>, SpecError> {
    let wanted = spec.flow_logs.as_ref().map(Settings::of).transpose()?;
    let new = |key: Key, wanted: Option<Settings>| FlowLog {
        waits_for_removal: removed.is_some_and(|existing| removals::must_wait_for_removal(&key, existing)),
        tags: context.tags(&key),
        intervals: context.intervals,
        key,
        wanted,
    };
    let mut all: Vec<FlowLog> = wanted.into_iter().map(|settings| new(settings.key(), Some(settings))).collect();
    let earlier = owned.iter().filter(|key| KIND.is_of(key) && removed.is_none());
    let earlier: Vec<Key> = earlier.filter(|key| all.iter().all(|one| one.key != **key)).cloned().collect();
    all.extend(earlier.into_iter().map(|key| new(key, None)));
    Ok(all)
}

impl Settings {
    fn of(spec: &FlowLogs) -> Result<Self, SpecError> {
        Ok(Self {
            to: match spec.destination()? {
                Destination::S3(s3) => Target::S3(s3.arn()),
                Destination::CloudWatchLogs(group) => {
                    Target::CloudWatchLogs(group.arn().unwrap_or(group.name()).to_owned(), group.role_arn.clone())
                }
            },
            traffic: match spec.traffic {
                Traffic::All => TrafficType::All,
                Traffic::Accepted => TrafficType::Accept,
                Traffic::Rejected => TrafficType::Reject,
            },
            aggregation_seconds: spec.aggregation_seconds.into(),
            format: spec.format.clone(),
        })
    }

    /// The key in the graph: a hash of the destination, and one of everything.
    fn key(&self) -> Key {
        let (name, destination, role) = match &self.to {
            Target::S3(arn) => ("s3", arn.as_str(), ""),
            Target::CloudWatchLogs(_, role) => ("logs", self.to.log_group(), role.as_str()),
        };
        let seconds = self.aggregation_seconds.to_string();
        let format = self.format.as_deref().unwrap_or_default();
        let all = digest(&[destination, role, self.traffic.as_str(), &seconds, format]);
        KIND.named(format!("{name}-{}/{all}", digest(&[destination])))
    }
}

impl Target {
    /// The name of the log group; the spec may have its ARN.
    fn log_group(&self) -> &str {
        match self {
            Target::S3(_) => "",
            Target::CloudWatchLogs(group, _) => group.rsplit(":log-group:").next().unwrap_or(group),
        }
    }

    fn format(&self) -> String {
        match self {
            Target::S3(arn) => arn.clone(),
            Target::CloudWatchLogs(..) => format!("log group {}", self.log_group()),
        }
    }
}

impl From<&sdk::FlowLog> for Listed {
    fn from(log: &sdk::FlowLog) -> Self {
        let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let to = match log.log_destination_type() {
            Some(LogDestinationType::S3) => Target::S3(owned(log.log_destination()).trim_end_matches('/').to_owned()),
            _ => {
                let group = log.log_group_name().or(log.log_destination());
                Target::CloudWatchLogs(owned(group), owned(log.deliver_logs_permission_arn()))
            }
        };
        let settings = Settings {
            to,
            traffic: log.traffic_type().cloned().unwrap_or(TrafficType::All),
            aggregation_seconds: log.max_aggregation_interval().unwrap_or(600),
            format: log.log_format().map(str::to_owned),
        };
        let has_failed = log.deliver_logs_status() == Some("FAILED");
        Listed {
            id: owned(log.flow_log_id()),
            of: owned(log.resource_id()),
            settings,
            state: owned(log.flow_log_status()),
            delivery_error: has_failed.then(|| log.deliver_logs_error_message().unwrap_or("unknown error").to_owned()),
            tags: Tags::from_ec2(log.tags()),
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
        Some(&self.of)
    }
}

async fn read(reads: Snapshots) -> Result<Vec<Listed>, AwsError> {
    let Snapshots { caller, ec2, .. } = &reads;
    snapshots::pages(caller, Service::Ec2, "DescribeFlowLogs", |token| async move {
        let request = ec2.describe_flow_logs().set_filter(Some(snapshots::owned())).set_next_token(token);
        let page = caller.call(Service::Ec2, "DescribeFlowLogs", OWNED_RESOURCES, request.send()).await?;
        Ok((page.flow_logs().iter().map(Listed::from).collect(), page.next_token))
    })
    .await
}

/// Those with an owner tag.
async fn list(aws: &Session, staleness: MaxStaleness) -> snapshots::List<Listed> {
    aws.snapshots.list(staleness, read).await
}

fn to_observation(log: &Listed) -> Observation<Detail> {
    let detail = Detail { settings: log.settings.clone(), tags: log.tags.clone() };
    let observed = Observation::ready(&log.id, &log.state, detail);
    // The other errors of a delivery pass without a change here: EC2 limits the rate, or has an error of its own.
    match log.delivery_error.as_deref().filter(|error| error.starts_with("Access")) {
        Some(error) => observed.phase(Phase::Failed {
            reason: format!("EC2 cannot deliver to {}: {error}", log.settings.to.format()),
            class: Class::Denied,
            recreate: Recreate::Never,
        }),
        None => observed,
    }
}

#[async_trait]
impl Resource for FlowLog {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        self.key.clone()
    }

    fn after(&self) -> Vec<Key> {
        let removal = self.waits_for_removal.then(removals::key);
        [vpc::key()].into_iter().chain(removal).collect()
    }

    fn holds(&self) -> Vec<Key> {
        vec![vpc::key()]
    }

    /// It records traffic to the end.
    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    /// A flow log of our VPC with our tags is ours.
    fn observed_after(&self) -> Option<Key> {
        Some(vpc::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let Some(wanted) = &self.wanted else { return Vec::new() };
        vec![
            ("to", wanted.to.format()),
            ("traffic", wanted.traffic.as_str().to_lowercase()),
            ("aggregationSeconds", wanted.aggregation_seconds.to_string()),
        ]
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    fn records_intent(&self) -> bool {
        true
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_ec2(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let mut changes = tag_changes(&self.tags, &observed.detail.tags);
        if let Some(wanted) = &self.wanted {
            let current = &observed.detail.settings;
            // EC2 fills in its default format.
            let format = wanted.format.as_ref().and(current.format.clone());
            if (Settings { format, ..current.clone() }).key() != self.key {
                let why = "EC2 cannot change a flow log, and somebody tagged another one as this: delete it by hand";
                let (from, to) = (current.to.format(), wanted.to.format());
                changes.push(Change::forbidden("network.vpc.flowLogs", from, to, why));
            }
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
        let logs = list(&cloud.aws, max_staleness(options)).await?;
        Ok(match find(cloud, &logs, &self.key, options, refs) {
            SearchResult::Ours(log) => Presence::Ours(to_observation(log)),
            other => other.not_ours(),
        })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let Some(wanted) = &self.wanted else {
            return Err(Failure::invalid(format!("{} is of an earlier spec: it is not created", self.key)));
        };
        let vpc = refs.id(&vpc::key())?;
        let request = cloud
            .aws
            .ec2
            .create_flow_logs()
            .resource_type(FlowLogsResourceType::Vpc)
            .resource_ids(vpc)
            .traffic_type(wanted.traffic.clone())
            .max_aggregation_interval(wanted.aggregation_seconds)
            .set_log_format(wanted.format.clone())
            .tag_specifications(self.tags.to_ec2_specification(ResourceType::VpcFlowLog));
        let request = match &wanted.to {
            Target::S3(arn) => request.log_destination_type(LogDestinationType::S3).log_destination(arn),
            Target::CloudWatchLogs(group, role) => {
                let request =
                    request.log_destination_type(LogDestinationType::CloudWatchLogs).deliver_logs_permission_arn(role);
                if group.starts_with("arn:") { request.log_destination(group) } else { request.log_group_name(group) }
            }
        };
        let name = self.key.to_string();
        let answer = match cloud.aws.call(Service::Ec2, "CreateFlowLogs", &name, request.send()).await {
            // Created by an attempt whose response was lost: the next observation finds it. Or created by others.
            Err(error) if error.code.as_deref() == Some(EXISTS_CODE) => {
                let logs = list(&cloud.aws, MaxStaleness::now()).await?;
                let is_this =
                    |log: &Listed| log.tags.is_owned_by(&cloud.owner.uid) && log.tags.resource() == Some(&name);
                let class = if logs.iter().any(is_this) { Class::NoChange } else { Class::Conflict };
                return Err(Failure::of(class, error));
            }
            answer => answer?,
        };
        if let Some((class, message)) = vpc_endpoint::refusal(answer.unsuccessful.unwrap_or_default()) {
            return Err(cloud.aws.failure(Service::Ec2, "CreateFlowLogs", &name, class, message).into());
        }
        let id = answer.flow_log_ids.and_then(|ids| ids.into_iter().next()).unwrap_or_default();
        let detail = Detail { settings: wanted.clone(), tags: self.tags.clone() };
        Ok(Observation::ready(id, "ACTIVE", detail))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut detail = observed.detail.clone();
        cloud.tag_ec2(&observed.id, &mut detail.tags, changed_tags(changes)).await?;
        Ok(Observation { detail, ..observed.clone() })
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        delete_flow_log(&cloud.aws, &observed.id).await?;
        Ok(Presence::Absent)
    }
}

/// Deletes one. EC2 answers 200 for a deletion that it refuses, and says so in the answer; one that no longer exists is no error.
async fn delete_flow_log(aws: &Session, id: &str) -> Result<(), AwsError> {
    let request = aws.ec2.delete_flow_logs().flow_log_ids(id);
    let answer = aws.call(Service::Ec2, "DeleteFlowLogs", id, request.send()).await?;
    match vpc_endpoint::refusal(answer.unsuccessful.unwrap_or_default()) {
        None | Some((Class::NotFound, _)) => Ok(()),
        Some((class, message)) => Err(aws.failure(Service::Ec2, "DeleteFlowLogs", id, class, message)),
    }
}

#[cfg(test)]
#[path = "flow_log_tests.rs"]
mod tests;
