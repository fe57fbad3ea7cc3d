//! An EKS managed node group.
//!
//! Follows <https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateNodegroup.html>. Its size belongs to whoever scales
//! it: `desired` is only what it begins with.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eks::types::{
    AmiTypes, CapacityTypes, Issue, NodeRepairConfig, NodegroupIssueCode, NodegroupScalingConfig, NodegroupStatus,
    NodegroupUpdateConfig, NodegroupUpdateStrategies, Taint, TaintEffect,
};
use jiff::Timestamp;

use super::cloud::{Cloud, Intervals, Making, changes_tags, not_yet, tag_changes};
use crate::api::node_group::{CapacityType, NodeGroupSpec, TaintEffect as WantedEffect, UpdateStrategy};
use crate::aws::Service;
use crate::aws::tags::{Ownership, Tags};
use crate::aws::tokens::client_token;
use crate::engine::{Action, Change, Class, Failure, Key, Look, Observed, Phase, Presence, Refs, Resource, Rest};

/// A managed node group, with what its cluster says resolved.
pub struct NodeGroup {
    cluster: String,
    name: String,
    spec: Box<NodeGroupSpec>,
    subnet_ids: Vec<String>,
    role_arn: String,
    tags: Tags,
    intervals: Intervals,
}

/// What is seen of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    version: String,
    min: i32,
    max: i32,
    instance_types: Vec<String>,
    capacity: String,
    tags: Tags,
}

/// Its name in the graph.
pub fn key(name: &str) -> Key {
    Key::named("nodeGroup", name)
}

/// The gate that opens when the cluster can take nodes.
pub fn cluster_gate() -> Key {
    Key::single("cluster")
}

impl NodeGroup {
    /// A node group of the cluster, in `subnet_ids`, whose nodes take on `role_arn`.
    pub fn new(
        making: &Making<'_>,
        name: &str,
        spec: &NodeGroupSpec,
        subnet_ids: Vec<String>,
        role_arn: String,
    ) -> Self {
        Self {
            cluster: making.cluster_name.into(),
            name: name.into(),
            spec: Box::new(spec.clone()),
            subnet_ids,
            role_arn,
            tags: making.tags(&key(name)),
            intervals: making.intervals,
        }
    }

    fn scaling(&self) -> NodegroupScalingConfig {
        let scaling = &self.spec.scaling;
        NodegroupScalingConfig::builder()
            .min_size(scaling.min)
            .max_size(scaling.max)
            .desired_size(scaling.initial())
            .build()
    }

    fn taints(&self) -> Option<Vec<Taint>> {
        let taint = |taint: &crate::api::node_group::Taint| {
            let effect = match taint.effect {
                WantedEffect::NoSchedule => TaintEffect::NoSchedule,
                WantedEffect::PreferNoSchedule => TaintEffect::PreferNoSchedule,
                WantedEffect::NoExecute => TaintEffect::NoExecute,
            };
            Taint::builder().key(&taint.key).set_value(taint.value.clone()).effect(effect).build()
        };
        self.spec.taints.as_ref().map(|taints| taints.iter().map(taint).collect())
    }

    fn update_config(&self) -> Option<NodegroupUpdateConfig> {
        let update = self.spec.update.as_ref()?;
        let strategy = update.strategy.map(|strategy| match strategy {
            UpdateStrategy::Default => NodegroupUpdateStrategies::Default,
            UpdateStrategy::Minimal => NodegroupUpdateStrategies::Minimal,
        });
        if update.max_unavailable.is_none() && update.max_unavailable_percentage.is_none() && strategy.is_none() {
            return None;
        }
        let config = NodegroupUpdateConfig::builder()
            .set_max_unavailable(update.max_unavailable)
            .set_max_unavailable_percentage(update.max_unavailable_percentage)
            .set_update_strategy(strategy);
        Some(config.build())
    }

    fn capacity(&self) -> CapacityTypes {
        match self.spec.capacity_type {
            CapacityType::OnDemand => CapacityTypes::OnDemand,
            CapacityType::Spot => CapacityTypes::Spot,
        }
    }

    fn observed(&self, group: &aws_sdk_eks::types::Nodegroup) -> Observed<Seen> {
        let status = group.status().map_or("CREATING", NodegroupStatus::as_str);
        let since = group.created_at().and_then(|at| Timestamp::from_second(at.secs()).ok());
        let issues = group.health().map_or(&[][..], |health| health.issues());
        let told: Vec<String> = issues.iter().map(tell).collect();
        let busy = |action, since| Phase::Busy { action, since, note: told.join("; ") };
        let phase = match group.status() {
            Some(NodegroupStatus::Active | NodegroupStatus::Degraded) => Phase::Ready,
            Some(NodegroupStatus::Updating) => busy(Action::Update, None),
            Some(NodegroupStatus::Deleting) => busy(Action::Delete, None),
            Some(NodegroupStatus::CreateFailed | NodegroupStatus::DeleteFailed) => Phase::Failed {
                reason: format!("{status}: {}", told.join("; ")),
                class: issues.iter().map(class).find(|class| *class != Class::Unknown).unwrap_or(Class::Unknown),
                // IAM refused by rate, not on the merits: the cure AWS names is to make it again.
                make_again: issues.iter().any(throttled),
            },
            _ => busy(Action::Create, since),
        };
        let scaling = group.scaling_config();
        let groups = group.resources().map_or(&[][..], |resources| resources.auto_scaling_groups());
        let groups: Vec<_> = groups.iter().filter_map(|group| group.name()).collect();
        let detail = Seen {
            version: group.version().unwrap_or_default().into(),
            min: scaling.and_then(|s| s.min_size()).unwrap_or_default(),
            max: scaling.and_then(|s| s.max_size()).unwrap_or_default(),
            instance_types: group.instance_types().to_vec(),
            capacity: group.capacity_type().map_or(String::new(), |capacity| capacity.as_str().to_owned()),
            tags: Tags::from_eks(group.tags()),
        };
        let desired = scaling.and_then(|s| s.desired_size()).unwrap_or_default();
        Observed::ready(&self.name, status, detail.clone())
            .phase(phase)
            .output("arn", group.nodegroup_arn().unwrap_or_default())
            .output("version", &detail.version)
            .output("releaseVersion", group.release_version().unwrap_or_default())
            .output("desired", desired.to_string())
            .output("min", detail.min.to_string())
            .output("max", detail.max.to_string())
            .output("instanceTypes", detail.instance_types.join(","))
            .output("capacityType", &detail.capacity)
            .output("autoScalingGroups", serde_json::Value::from(groups).to_string())
            .output("healthIssues", health_issues(issues))
    }
}

fn tell(issue: &Issue) -> String {
    format!("{}: {}", issue.code().map_or("", NodegroupIssueCode::as_str), issue.message().unwrap_or_default())
}

/// What kind of trouble the issue is, where a person's way out depends on it.
fn class(issue: &Issue) -> Class {
    match issue.code().map(NodegroupIssueCode::as_str) {
        Some("InsufficientInstanceCapacity" | "AsgInstanceLaunchFailures") => Class::Capacity,
        Some("InstanceLimitExceeded" | "VcpuLimitExceeded") => Class::Quota,
        Some("AccessDenied") => Class::Denied,
        _ => Class::Unknown,
    }
}

fn throttled(issue: &Issue) -> bool {
    issue.code().is_some_and(|code| code.as_str() == "IamThrottling")
}

/// As a list of `{code, message, resourceIds}`.
fn health_issues(issues: &[Issue]) -> String {
    let issue = |issue: &Issue| {
        serde_json::json!({
            "code": issue.code().map_or("", NodegroupIssueCode::as_str),
            "message": issue.message(),
            "resourceIds": issue.resource_ids(),
        })
    };
    serde_json::Value::from_iter(issues.iter().map(issue)).to_string()
}

#[async_trait]
impl Resource for NodeGroup {
    type Cloud = Cloud;
    type Seen = Seen;

    fn key(&self) -> Key {
        key(&self.name)
    }

    fn after(&self) -> Vec<Key> {
        vec![cluster_gate()]
    }

    /// The gate is about what may be made; what is there may go whenever it is to.
    fn holds(&self) -> Vec<Key> {
        Vec::new()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let scaling = &self.spec.scaling;
        vec![
            ("instanceTypes", self.spec.instance_types.join(", ")),
            ("scaling", format!("{}..{}, begins with {}", scaling.min, scaling.max, scaling.initial())),
        ]
    }

    /// 88 to 201 s, as measured by others.
    fn expected(&self, action: Action) -> Duration {
        Duration::from_secs(match action {
            Action::Create => 130,
            Action::Update => 600,
            Action::Delete => 180,
        })
    }

    fn rest(&self) -> Rest {
        self.intervals.single()
    }

    fn diff(&self, seen: &Observed<Seen>, _: &Refs) -> Vec<Change> {
        let there = &seen.detail;
        let mut changes = tag_changes(&self.tags, &there.tags);
        let mut differs = |field: &str, from: String, to: String| {
            if from != to {
                changes.push(not_yet(field, from, to));
            }
        };
        let spec = &self.spec;
        if let Some(version) = &spec.version {
            differs("version", there.version.clone(), version.clone());
        }
        differs("scaling.min", there.min.to_string(), spec.scaling.min.to_string());
        differs("scaling.max", there.max.to_string(), spec.scaling.max.to_string());
        differs("instanceTypes", there.instance_types.join(", "), spec.instance_types.join(", "));
        differs("capacityType", there.capacity.clone(), self.capacity().as_str().into());
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        _: &Look,
        _: Option<&Observed<Seen>>,
    ) -> Result<Presence<Seen>, Failure> {
        let request = cloud.aws.eks.describe_nodegroup().cluster_name(&self.cluster).nodegroup_name(&self.name);
        let answer = match cloud.aws.call(Service::Eks, "DescribeNodegroup", &self.name, request.send()).await {
            Err(error) if error.class() == Class::Gone => return Ok(Presence::Absent),
            other => other?,
        };
        let Some(group) = answer.nodegroup else { return Ok(Presence::Absent) };
        let foreign =
            |whose: String| Presence::Foreign(format!("node group {} of cluster {} {whose}", self.name, self.cluster));
        Ok(match Ownership::of(&Tags::from_eks(group.tags()), &cloud.owner.uid) {
            Ownership::Ours => Presence::Ours(self.observed(&group)),
            Ownership::Nobody => foreign("exists and was not made by Keelson".into()),
            Ownership::Other { owner, .. } => foreign(format!("belongs to another NodeGroup (UID {owner})")),
        })
    }

    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observed<Seen>, Failure> {
        let spec = &self.spec;
        let step = format!("nodeGroup {spec:?} {} {:?}", self.role_arn, self.subnet_ids);
        let request = cloud
            .aws
            .eks
            .create_nodegroup()
            .cluster_name(&self.cluster)
            .nodegroup_name(&self.name)
            .node_role(&self.role_arn)
            .set_subnets(Some(self.subnet_ids.clone()))
            .set_instance_types(Some(spec.instance_types.clone()))
            .capacity_type(self.capacity())
            .set_ami_type(spec.ami_type.as_deref().map(AmiTypes::from))
            .set_disk_size(spec.disk_size_gib)
            .scaling_config(self.scaling())
            .set_labels(spec.labels.as_ref().map(|labels| labels.clone().into_iter().collect()))
            .set_taints(self.taints())
            .set_update_config(self.update_config())
            .set_node_repair_config(
                spec.repair.as_ref().map(|repair| NodeRepairConfig::builder().enabled(repair.enabled).build()),
            )
            .set_version(spec.version.clone())
            .client_request_token(client_token(&cloud.owner.uid, 0, &step))
            .set_tags(Some(self.tags.to_eks()));
        let answer = cloud.aws.call(Service::Eks, "CreateNodegroup", &self.name, request.send()).await?;
        let group = answer.nodegroup.unwrap_or_else(|| aws_sdk_eks::types::Nodegroup::builder().build());
        Ok(self.observed(&group))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        seen: &Observed<Seen>,
        changes: &[Change],
    ) -> Result<Observed<Seen>, Failure> {
        let mut detail = seen.detail.clone();
        if changes_tags(changes) {
            let arn = seen.outputs.get("arn").map_or("", String::as_str);
            cloud.tag_eks(arn, &self.tags, &detail.tags).await?;
            detail.tags = self.tags.clone();
        }
        Ok(Observed { detail, ..seen.clone() })
    }

    async fn delete(&self, cloud: &Cloud, seen: &Observed<Seen>) -> Result<Presence<Seen>, Failure> {
        let request = cloud.aws.eks.delete_nodegroup().cluster_name(&self.cluster).nodegroup_name(&self.name);
        cloud.aws.call(Service::Eks, "DeleteNodegroup", &self.name, request.send()).await?;
        let phase = Phase::Busy { action: Action::Delete, since: None, note: String::new() };
        Ok(Presence::Ours(Observed { state: "DELETING".into(), ..seen.clone() }.phase(phase)))
    }
}
