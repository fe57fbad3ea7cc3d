//! Hooks: Jobs of the user's that run at points of a cluster's life, and what status says of them. No I/O.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job_source::JobSource;
use super::rules;

/// Annotation with the hooks to pass without success, as `NAME` or `NAME/ANY`, separated by commas. Each value counts once for
/// each hook that it names: at the point that the hook has reached, or else at the next one.
pub const SKIP_HOOK_ANNOTATION: &str = "keelson.dev/skip-hook";
/// Label of a hook's Job: the hook's name.
pub const HOOK_LABEL: &str = "keelson.dev/hook";
/// Label of a hook's Job: the name of its EksCluster.
pub const CLUSTER_LABEL: &str = "keelson.dev/cluster";
/// Namespace of the workload cluster in which Jobs run unless a hook names another one: every cluster has it.
const DEFAULT_NAMESPACE: &str = "default";
/// Maximum entries of `status.hooks`.
pub const MAX_HOOK_STATUS: usize = 100;

/// A Job that runs at points of the cluster's life.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::hook_job_in_own_namespace())]
#[x_kube(validation = rules::hook_in_workload_needs_a_cluster())]
#[x_kube(validation = rules::hook_namespace_in_workload())]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// Name of the hook.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = rules::hook_name())]
    pub name: String,
    /// When it runs: `BeforeCreate` and `AfterCreate` (the cluster is Ready for the first time), `BeforeUpgrade` and `AfterUpgrade`
    /// (once for each edit of `version`), `BeforeControlPlane` and `AfterControlPlane` (each minor version), `BeforeNodeGroups` and
    /// `AfterNodeGroups` (node groups that follow the control plane), `BeforeDelete`. What follows the point waits for it.
    #[schemars(length(min = 1, max = 9), extend("x-kubernetes-list-type" = "set"))]
    pub at: Vec<HookPoint>,
    /// Where the Job runs: `Management` (in the namespace of this object; its author must be allowed to create Jobs there) or `Workload`
    /// (in the EKS cluster itself, so not at `BeforeCreate`).
    #[serde(default, rename = "in")]
    pub in_: HookCluster,
    /// With `in: Workload`, the namespace of the EKS cluster in which the Job runs, and in which its CronJob is; absent: `default`. It must
    /// exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace_name())]
    pub namespace: Option<String>,
    /// The Job: the template of a CronJob at the place where it runs, or one of its own.
    pub job: JobSource,
    /// How long the Job may take, such as `30m`; then it is deleted, and the hook has failed.
    #[serde(default = "default_timeout")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::at_least_a_second())]
    pub timeout: String,
    /// What a failure means: `Stop` (what follows does not begin until the hook succeeds or is skipped) or `Continue` (it is
    /// reported, and ignored).
    #[serde(default)]
    pub on_failure: HookFailurePolicy,
}

impl Hook {
    /// Where its Jobs run.
    pub fn place(&self) -> HookPlace {
        match self.in_ {
            HookCluster::Management => HookPlace::Management,
            HookCluster::Workload => HookPlace::Workload {
                namespace: self.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            },
        }
    }
}

fn default_timeout() -> String {
    "30m".to_owned()
}

/// A point of a cluster's life: `BeforeCreate`, `AfterCreate`, `BeforeUpgrade`, `AfterUpgrade`, `BeforeControlPlane`, `AfterControlPlane`,
/// `BeforeNodeGroups`, `AfterNodeGroups` or `BeforeDelete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum HookPoint {
    BeforeCreate,
    AfterCreate,
    BeforeUpgrade,
    AfterUpgrade,
    BeforeControlPlane,
    AfterControlPlane,
    BeforeNodeGroups,
    AfterNodeGroups,
    BeforeDelete,
}

impl HookPoint {
    /// All points.
    pub const ALL: [Self; 9] = [
        Self::BeforeCreate,
        Self::AfterCreate,
        Self::BeforeUpgrade,
        Self::AfterUpgrade,
        Self::BeforeControlPlane,
        Self::AfterControlPlane,
        Self::BeforeNodeGroups,
        Self::AfterNodeGroups,
        Self::BeforeDelete,
    ];

    /// The point as written in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeCreate => "BeforeCreate",
            Self::AfterCreate => "AfterCreate",
            Self::BeforeUpgrade => "BeforeUpgrade",
            Self::AfterUpgrade => "AfterUpgrade",
            Self::BeforeControlPlane => "BeforeControlPlane",
            Self::AfterControlPlane => "AfterControlPlane",
            Self::BeforeNodeGroups => "BeforeNodeGroups",
            Self::AfterNodeGroups => "AfterNodeGroups",
            Self::BeforeDelete => "BeforeDelete",
        }
    }

    /// The point after the same step; `None`: this is one, or there is none.
    pub const fn after(self) -> Option<Self> {
        match self {
            Self::BeforeCreate => Some(Self::AfterCreate),
            Self::BeforeUpgrade => Some(Self::AfterUpgrade),
            Self::BeforeControlPlane => Some(Self::AfterControlPlane),
            Self::BeforeNodeGroups => Some(Self::AfterNodeGroups),
            Self::AfterCreate
            | Self::AfterUpgrade
            | Self::AfterControlPlane
            | Self::AfterNodeGroups
            | Self::BeforeDelete => None,
        }
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The cluster in which the Job of a hook runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum HookCluster {
    #[default]
    Management,
    Workload,
}

impl HookCluster {
    /// Whether it is the management cluster.
    pub fn is_management(&self) -> bool {
        *self == Self::Management
    }
}

/// Where the Jobs of a hook are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookPlace {
    /// In the EksCluster's namespace of the management cluster.
    Management,
    /// In the EKS cluster.
    Workload {
        /// The namespace there.
        namespace: String,
    },
}

/// What the failure of a hook means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum HookFailurePolicy {
    #[default]
    Stop,
    Continue,
}

/// A hook at one point, for one step.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    /// Name of the hook.
    #[schemars(length(max = 40))]
    pub name: String,
    /// The point.
    pub at: HookPoint,
    /// The step before or after which it runs: `1.33->1.34` of the control plane or of an upgrade, `1.34` of node groups, `create` or
    /// `delete`.
    #[schemars(length(max = 32))]
    pub step: String,
    /// `Pending` (its point has not come), `Intended` (its Job is about to be created), `Running`, `Succeeded`, `Failed`, `Lost` (the
    /// Job was gone before its result was recorded) or `Skipped`.
    pub state: HookState,
    /// Number of the try, counted from 1.
    pub attempt: i32,
    /// The cluster of the Job, as in the spec when it was about to be created.
    #[serde(default, rename = "in", skip_serializing_if = "HookCluster::is_management")]
    pub in_: HookCluster,
    /// Namespace of the Job, if it is in the EKS cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Name of the Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub job: Option<String>,
    /// UID of the Job, until Keelson has deleted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// When the Job was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Since when the Job is not created because the API server of the EKS cluster does not answer: the timeout runs from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Time>,
    /// When its end was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Why it failed, or why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// Digest of the template and the timeout: a failed hook is tried again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub template_digest: Option<String>,
    /// Value of the annotation `keelson.dev/reconcile-at` at this try: a failed hook is tried again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reconcile_at: Option<String>,
    /// Value of the annotation `keelson.dev/skip-hook` that skipped it, while it is there: it counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub skipped_by: Option<String>,
    /// Whether the step is over: the entry no longer counts, and is dropped when there are many.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

/// State of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum HookState {
    Pending,
    Intended,
    Running,
    Succeeded,
    Failed,
    Lost,
    Skipped,
}

impl HookState {
    /// The state as written in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Intended => "Intended",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Lost => "Lost",
            Self::Skipped => "Skipped",
        }
    }

    /// Whether nothing of it runs any more.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Lost | Self::Skipped)
    }
}

impl HookStatus {
    /// The entry in a message: `hook backup (BeforeControlPlane, 1.33->1.34)`.
    pub fn describe(&self) -> String {
        format!("hook {} ({}, {})", self.name, self.at, self.step)
    }

    /// Where its Job is, or is about to be.
    pub fn place(&self) -> HookPlace {
        match (self.in_, &self.namespace) {
            (HookCluster::Workload, Some(namespace)) => HookPlace::Workload { namespace: namespace.clone() },
            (HookCluster::Workload, None) => HookPlace::Workload { namespace: DEFAULT_NAMESPACE.to_owned() },
            (HookCluster::Management, _) => HookPlace::Management,
        }
    }

    /// Its Job in a message: the name, and where it is if that is not the EksCluster's namespace.
    pub fn describe_job(&self) -> String {
        let job = self.job.as_deref().unwrap_or_default();
        match self.place() {
            HookPlace::Management => job.to_owned(),
            HookPlace::Workload { namespace } => format!("{namespace}/{job} of the workload cluster"),
        }
    }
}
