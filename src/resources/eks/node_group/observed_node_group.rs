//! The observed state of a node group, from EKS's description. Pure.

use std::collections::BTreeMap;

use aws_sdk_eks::types::{Nodegroup, NodegroupStatus};
use jiff::Timestamp;

use super::super::health_issues;
use super::repair::Repair;
use super::warm_pool::ObservedWarmPool;
use crate::aws::errors::health::{Subject, explain, failed_class, recreates};
use crate::aws::tags::Tags;
use crate::engine::{Action, Observation, Phase, Recreate};
use crate::resources::eks::node_template::Content;

/// Key and effect, which identify a taint.
pub type TaintId = (String, String);

/// What Keelson observes of a node group, in AWS's notation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detail {
    pub version: String,
    pub release: String,
    /// The newest AMI release for its version, if known.
    pub newest_release: Option<String>,
    /// A newer one that EKS rejects, with the reason.
    pub pending_release: Option<(String, String)>,
    pub min: i32,
    pub max: i32,
    pub desired: i32,
    /// Empty if the launch template sets the type.
    pub instance_types: Vec<String>,
    pub capacity: String,
    pub ami_type: String,
    pub disk_size: Option<i32>,
    pub role_arn: String,
    pub labels: BTreeMap<String, String>,
    /// Values by taint.
    pub taints: BTreeMap<TaintId, String>,
    pub max_unavailable: Option<i32>,
    pub max_unavailable_percentage: Option<i32>,
    pub strategy: Option<String>,
    pub repair: Repair,
    pub warm_pool: ObservedWarmPool,
    pub launch_template: Option<LaunchTemplate>,
    /// The contents of its launch template, if that is the one that Keelson created.
    pub own_template: OwnTemplate,
    /// Network cards of its instance types that take Elastic Fabric Adapters, where the spec asks for them.
    pub efa_cards: Option<i32>,
    /// When it was last modified; part of the token of every update.
    pub modified: Option<Timestamp>,
    pub tags: Tags,
}

/// The launch template of a node group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchTemplate {
    pub id: String,
    pub version: String,
}

/// The version that a node group has of the launch template that Keelson created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OwnTemplate {
    /// It has none, or another one, or it was not read.
    #[default]
    Unknown,
    /// That version does not exist any more.
    VersionGone,
    /// What the version sets.
    Contents(Box<Content>),
}

fn time(at: Option<&aws_smithy_types::DateTime>) -> Option<Timestamp> {
    at.and_then(|at| Timestamp::new(at.secs(), at.subsec_nanos().try_into().ok()?).ok())
}

impl From<&Nodegroup> for Detail {
    fn from(group: &Nodegroup) -> Self {
        let scaling = group.scaling_config();
        let update = group.update_config();
        let taint = |taint: &aws_sdk_eks::types::Taint| {
            let effect = taint.effect().map_or("", |effect| effect.as_str());
            let id = (taint.key().unwrap_or_default().to_owned(), effect.to_owned());
            (id, taint.value().unwrap_or_default().to_owned())
        };
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            version: text(group.version()),
            release: text(group.release_version()),
            newest_release: None,
            pending_release: None,
            min: scaling.and_then(|s| s.min_size()).unwrap_or_default(),
            max: scaling.and_then(|s| s.max_size()).unwrap_or_default(),
            desired: scaling.and_then(|s| s.desired_size()).unwrap_or_default(),
            instance_types: group.instance_types().to_vec(),
            capacity: text(group.capacity_type().map(|capacity| capacity.as_str())),
            ami_type: text(group.ami_type().map(|ami_type| ami_type.as_str())),
            disk_size: group.disk_size(),
            role_arn: text(group.node_role()),
            labels: group.labels().map(|labels| labels.clone().into_iter().collect()).unwrap_or_default(),
            taints: group.taints().iter().map(taint).collect(),
            max_unavailable: update.and_then(|u| u.max_unavailable()),
            max_unavailable_percentage: update.and_then(|u| u.max_unavailable_percentage()),
            strategy: update.and_then(|u| u.update_strategy()).map(|strategy| strategy.as_str().to_owned()),
            repair: group.node_repair_config().map(Repair::from).unwrap_or_default(),
            warm_pool: group.warm_pool_config().map(ObservedWarmPool::from).unwrap_or_default(),
            launch_template: group
                .launch_template()
                .map(|template| LaunchTemplate { id: text(template.id()), version: text(template.version()) }),
            own_template: OwnTemplate::Unknown,
            efa_cards: None,
            modified: time(group.modified_at()),
            tags: Tags::from_eks(group.tags()),
        }
    }
}

/// Why the node group failed, and what to do. Keelson does not delete one by itself: some of its nodes may run workloads.
fn failure(status: &str, explained: &str) -> String {
    let explained = explained.trim_end_matches('.');
    if status != NodegroupStatus::CreateFailed.as_str() {
        return format!("{status}: {explained}.");
    }
    format!(
        "{status}: {explained}. EKS does not finish it any more: once the cause is removed, delete this NodeGroup and apply it \
         again"
    )
}

/// Converts EKS's description to an observation.
pub fn to_observation(name: &str, group: &Nodegroup, newest_release: Option<String>) -> Observation<Detail> {
    let status = group.status().map_or("CREATING", NodegroupStatus::as_str);
    let issues = group.health().map(|found| health_issues::reported(found.issues())).unwrap_or_default();
    let explained = explain(Subject::NodeGroup, &issues);
    let busy = |action, since| Phase::Busy { action, since, note: explained.trim_end_matches('.').to_owned() };
    let phase = match group.status() {
        Some(NodegroupStatus::Active | NodegroupStatus::Degraded) => Phase::Ready,
        Some(NodegroupStatus::Updating) => busy(Action::Update, None),
        Some(NodegroupStatus::Deleting) => busy(Action::Delete, None),
        Some(NodegroupStatus::CreateFailed | NodegroupStatus::DeleteFailed) => Phase::Failed {
            reason: failure(status, &explained),
            class: failed_class(Subject::NodeGroup, &issues),
            // Throttled, not denied: AWS's documented fix is to recreate the group.
            recreate: if recreates(Subject::NodeGroup, &issues) { Recreate::Now } else { Recreate::Never },
        },
        _ => busy(Action::Create, time(group.created_at())),
    };
    let detail = Detail { newest_release, ..Detail::from(group) };
    let groups = group.resources().map_or(&[][..], |resources| resources.auto_scaling_groups());
    let groups: Vec<_> = groups.iter().filter_map(|group| group.name()).collect();
    let observed = Observation::ready(name, status, detail.clone())
        .phase(phase)
        .output("arn", group.nodegroup_arn().unwrap_or_default())
        .output("version", &detail.version)
        .output("releaseVersion", &detail.release)
        .output("newestRelease", detail.newest_release.as_deref().unwrap_or_default())
        .output("amiType", &detail.ami_type)
        .output("desired", detail.desired.to_string())
        .output("min", detail.min.to_string())
        .output("max", detail.max.to_string())
        .output("instanceTypes", detail.instance_types.join(","))
        .output("capacityType", &detail.capacity)
        .output("launchTemplateVersion", detail.launch_template.map(|template| template.version).unwrap_or_default())
        .output("autoScalingGroups", serde_json::Value::from(groups).to_string())
        .output("healthIssues", health_issues::to_json(&issues));
    Observation { issue_code: health_issues::first_code(&issues), ..observed }
}
