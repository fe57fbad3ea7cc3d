//! Checks of a wave of a FleetRollout: what must be good before later waves begin, and what was found. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conditions::{ConditionStatus, ConditionType};
use super::rules;
use super::schema;

/// Maximum number of clusters in the status of a check.
pub const MAX_CLUSTERS: usize = 10;

/// Something that must be good from when the clusters of a wave have the version until their soak ends. One kind must be
/// set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one_of(&["prometheus", "job", "condition"]))]
#[serde(rename_all = "camelCase")]
pub struct WaveCheck {
    /// Name of the check.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::check_name())]
    pub name: String,
    /// A query of a Prometheus server, or of one with the same HTTP API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusCheck>,
    /// A Job that must succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobCheck>,
    /// A condition that all objects of the wave must have throughout its soak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<ConditionCheck>,
}

/// A PromQL query, and the values that are good. It must return one number: a scalar, or a vector of one sample. No data, `NaN`, an
/// infinite value and a server that does not answer are errors, and an error is never good.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::min_or_max())]
#[serde(rename_all = "camelCase")]
pub struct PrometheusCheck {
    /// Address of the server, such as `http://prometheus.monitoring:9090`. A path is kept: `/api/v1/query` follows it. Redirects are
    /// not followed.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::prometheus_address())]
    pub address: String,
    /// The query. With `${CLUSTER_NAME}` (the name in EKS), `${CLUSTER_NAMESPACE}`, `${AWS_REGION}`, `${AWS_ACCOUNT_ID}` or
    /// `${KUBERNETES_VERSION}` it is run for each cluster of the wave, otherwise once for the wave.
    #[schemars(length(min = 1, max = 4096))]
    #[x_kube(validation = rules::query_facts())]
    pub query: String,
    /// The lowest value that is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::number")]
    pub min: Option<Threshold>,
    /// The highest value that is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::number")]
    pub max: Option<Threshold>,
    /// How often the query is run, at least every `5s`.
    #[serde(default = "default_interval")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::check_interval())]
    pub interval: String,
    /// How long one query may take, from `1s` to `1m`; then it is an error.
    #[serde(default = "default_timeout")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::check_timeout())]
    pub timeout: String,
    /// How many consecutive results may fail; with one more the release halts.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub failure_limit: i32,
    /// How many consecutive results may be errors; with one more the release halts.
    #[serde(default = "default_error_limit")]
    #[schemars(range(min = 0, max = 1000))]
    pub error_limit: i32,
    /// The certificate authorities that the server's certificate must be signed by, as PEM; absent: those of the operator's image, or
    /// the key `ca.crt` of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub certificate_authority: Option<String>,
    /// Credentials for the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<CheckSecretReference>,
}

fn default_interval() -> String {
    "1m".to_owned()
}

fn default_timeout() -> String {
    "10s".to_owned()
}

fn default_error_limit() -> i32 {
    4
}

/// A Secret with credentials for a Prometheus server. Its label `keelson.dev/use` must allow `prometheus`, and the operator must be allowed
/// to read it. Its keys: `token` (a bearer token), or `username` and `password`; `ca.crt`; `header.NAME` for each further
/// header, such as `header.X-Scope-OrgID`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckSecretReference {
    /// Namespace of the Secret.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace_name())]
    pub namespace: String,
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
}

/// A Job that runs once, when the clusters of the wave have the version, and must succeed. Its containers have the variables
/// `KEELSON_ROLLOUT`, `KEELSON_WAVE`, `KEELSON_GATE`, `KEELSON_TARGET` and `KEELSON_CLUSTERS`. It may run more than once: the operator may
/// have been restarted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobCheck {
    /// The CronJob whose `jobTemplate` is used, as with `kubectl create job --from`. It is usually suspended.
    pub cron_job: CheckCronJob,
    /// How long the Job may take; then it has failed.
    #[serde(default = "default_job_timeout")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::at_least_a_second())]
    pub timeout: String,
    /// How long after a Job that failed, or was lost, another one is run, if the limits allow it: at least `5s`.
    #[serde(default = "default_interval")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::check_interval())]
    pub interval: String,
    /// How many consecutive Jobs may fail; with one more the release halts.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub failure_limit: i32,
    /// How many consecutive Jobs may be lost or not be created; with one more the release halts.
    #[serde(default = "default_error_limit")]
    #[schemars(range(min = 0, max = 1000))]
    pub error_limit: i32,
}

fn default_job_timeout() -> String {
    "30m".to_owned()
}

/// A CronJob. Its Jobs run in its namespace, where the operator must be allowed to create them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckCronJob {
    /// Namespace of the CronJob.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace_name())]
    pub namespace: String,
    /// Name of the CronJob.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
}

/// A condition in the status of Keelson's own objects. All of them must have had it, without interruption, for as long as the soak of the wave.
/// One that is absent or `Unknown`, and a status that describes an earlier spec, are errors, and an error is never good.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::condition_of_kind(
    CheckedKind::EksCluster.condition_types(),
    CheckedKind::NodeGroup.condition_types()
))]
#[serde(rename_all = "camelCase")]
pub struct ConditionCheck {
    /// The objects: the `EksCluster`s of the wave, or the `NodeGroup`s of its clusters, apart from suspended ones.
    #[serde(default)]
    pub kind: CheckedKind,
    /// Type of the condition: `Ready`, `Reconciling`, `Stalled`, `InSync` or `Upgrading`; of an EksCluster also `NetworkReady`, `ControlPlaneReady`,
    /// `AddonsReady`, `GitOpsReady` and `Available`; of a NodeGroup also `NodesReady`.
    #[serde(rename = "type")]
    pub type_: ConditionType,
    /// The status that is good: `"True"` or `"False"`.
    #[serde(default)]
    pub status: CheckedStatus,
    /// How often the objects are observed, at least every `5s`. A condition that changes in between and back begins its time anew.
    #[serde(default = "default_interval")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::check_interval())]
    pub interval: String,
    /// How many consecutive results may fail; with one more the release halts.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub failure_limit: i32,
    /// How many consecutive results may be errors; with one more the release halts.
    #[serde(default = "default_error_limit")]
    #[schemars(range(min = 0, max = 1000))]
    pub error_limit: i32,
}

/// The kind of objects whose condition is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum CheckedKind {
    #[default]
    EksCluster,
    NodeGroup,
}

impl CheckedKind {
    /// The conditions that objects of the kind have.
    pub const fn condition_types(self) -> &'static [ConditionType] {
        use ConditionType::{
            AddonsReady, Available, ControlPlaneReady, GitOpsReady, InSync, NetworkReady, NodesReady, Ready,
            Reconciling, Stalled, Upgrading,
        };
        match self {
            Self::EksCluster => &[
                Ready,
                Reconciling,
                Stalled,
                NetworkReady,
                ControlPlaneReady,
                AddonsReady,
                GitOpsReady,
                InSync,
                Upgrading,
                Available,
            ],
            Self::NodeGroup => &[Ready, Reconciling, Stalled, NodesReady, InSync, Upgrading],
        }
    }

    /// The kind as written in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EksCluster => "EksCluster",
            Self::NodeGroup => "NodeGroup",
        }
    }
}

/// The status that a condition must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum CheckedStatus {
    #[default]
    True,
    False,
}

impl CheckedStatus {
    /// The status as written in conditions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => ConditionStatus::True.as_str(),
            Self::False => ConditionStatus::False.as_str(),
        }
    }
}

/// A number with which results are compared.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Threshold(pub f64);

impl PartialEq for Threshold {
    fn eq(&self, other: &Self) -> bool {
        self.0.total_cmp(&other.0).is_eq()
    }
}

impl Eq for Threshold {}

/// What was found of a check of a wave.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// Name of the check.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The last result; of a check of each cluster, the worst one.
    pub state: CheckState,
    /// The value of that result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub value: Option<String>,
    /// The cluster of that result, by namespace and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub cluster: Option<String>,
    /// Consecutive results that failed.
    #[serde(default)]
    pub failures: i32,
    /// Consecutive results that were errors.
    #[serde(default)]
    pub errors: i32,
    /// When this result was requested. Results that change nothing are recorded every ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_at: Option<Time>,
    /// Since when all objects have the condition, of a check by condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
    /// Clusters whose last result is not Passed, those with the most failures first; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub clusters: Vec<ClusterCheckStatus>,
    /// Digest of the check as it was in the spec: results of an earlier one do not count.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub definition: String,
    /// Digest of the clusters that the result is about.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub covered: String,
}

/// A cluster whose result of a check is not Passed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCheckStatus {
    /// Namespace and name of the cluster.
    #[schemars(length(max = 320))]
    pub cluster: String,
    /// The last result.
    pub state: CheckState,
    /// Consecutive results that failed.
    #[serde(default)]
    pub failures: i32,
    /// Consecutive results that were errors.
    #[serde(default)]
    pub errors: i32,
    /// What was found.
    #[schemars(length(max = 256))]
    pub message: String,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum CheckState {
    /// There is none yet.
    Pending,
    /// It is good.
    Passed,
    /// It is not good.
    Failed,
    /// Nothing is known: the wave waits for another result.
    Error,
}

impl CheckStatus {
    /// A check without a result.
    pub fn pending(name: &str, definition: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: CheckState::Pending,
            value: None,
            cluster: None,
            failures: 0,
            errors: 0,
            last_run_at: None,
            since: None,
            message: None,
            clusters: Vec::new(),
            definition: definition.to_owned(),
            covered: String::new(),
        }
    }
}
