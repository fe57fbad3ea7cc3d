//! EksCluster: one EKS cluster with its network, roles, add-ons and GitOps agent. No I/O.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::{Access, PodIdentity};
use super::account::DEFAULT_ACCOUNT;
use super::addons::{Addon, FargateProfile, PruneCoreAddons, default_addons};
use super::capability::Capability;
use super::control_plane_settings::ControlPlane;
use super::gitops::GitOps;
use super::hook::Hook;
use super::karpenter::{self, Karpenter};
use super::kubernetes_version::{InvalidVersion, KubernetesVersion};
use super::log_group::LogGroup;
use super::network::{KubernetesNetwork, Network};
use super::policy::{AdoptionPolicy, ChangePolicy, DeletionPolicy, DriftPolicy};
use super::reference::{AccountReference, SecretReference};
use super::registration::{self, Registration, Registry};
use super::remote_networks::RemoteNetworks;
use super::rules;
use super::schema;
use super::status_cluster::EksClusterStatus;
use super::upgrade::Upgrade;

/// One EKS cluster with its network, roles, add-ons and GitOps agent.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "keelson.dev",
    version = "v1alpha1",
    kind = "EksCluster",
    plural = "eksclusters",
    shortname = "ekc",
    category = "keelson",
    namespaced,
    selectable = ".spec.accountRef.name",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, description = "Whether everything in the spec exists and is ready"),
    printcolumn(name = "Status", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, description = "Reason of the Ready condition"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", description = "Version of the control plane"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.version", description = "Desired version"),
    printcolumn(name = "GitOps", type_ = "string", json_path = ".status.gitops.revision", description = "Last applied revision, short"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the object was created"),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region", description = "AWS region", priority = 1),
    printcolumn(name = "Account", type_ = "string", json_path = ".status.accountId", description = "AWS account", priority = 1),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint", description = "Address of the Kubernetes API", priority = 1),
    validation = rules::cluster_name_fits_eks(),
    validation = rules::cluster_name_immutable(),
    validation = rules::cluster_version_not_lowered(),
    validation = rules::cluster_rollback_by_one(),
    validation = rules::encryption_only_added(),
    validation = rules::nat_gateways_keep_their_address(),
    validation = rules::pod_ranges_not_removed(),
    derive = "PartialEq",
    status = "EksClusterStatus",
    doc = "One EKS cluster with its network, roles, add-ons and GitOps agent."
)]
#[x_kube(validation = rules::account_immutable())]
#[x_kube(validation = rules::immutable_member("roleArn", "the cluster's role cannot change: put the old value back, or create a new EksCluster with the other value, move the workloads, and delete this one"))]
#[x_kube(validation = rules::key_in_region())]
#[x_kube(validation = rules::log_group_key_in_region())]
#[x_kube(validation = rules::zones_in_region())]
#[x_kube(validation = rules::service_cidr_outside_vpc())]
#[x_kube(validation = rules::service_cidr_outside_pod_ranges())]
#[x_kube(validation = rules::pod_ranges_are_for_ipv4())]
#[x_kube(validation = rules::sync_period_needs_a_tier())]
#[x_kube(validation = rules::remote_networks_outside_vpc())]
#[x_kube(validation = rules::remote_networks_outside_services())]
#[x_kube(validation = rules::remote_networks_need_entries())]
#[x_kube(validation = rules::remote_networks_are_ipv4())]
#[x_kube(validation = karpenter::needs_entries())]
#[x_kube(validation = karpenter::has_its_own_identity())]
#[x_kube(validation = rules::capabilities_need_entries())]
#[x_kube(validation = registration::needs_a_registry())]
#[serde(rename_all = "camelCase")]
pub struct EksClusterSpec {
    /// The AwsAccount of the cluster; absent: the AwsAccount named `default`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_ref: Option<AccountReference>,
    /// AWS region. Immutable.
    #[schemars(length(max = 32))]
    #[x_kube(validation = rules::region())]
    #[x_kube(validation = rules::immutable("the region cannot change: put the old one back, or create a new EksCluster with the other value, move the workloads, and delete this one"))]
    pub region: String,
    /// Name in EKS; absent: metadata.name. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = rules::eks_name())]
    pub cluster_name: Option<String>,
    /// Desired Kubernetes version, such as `1.34`; upgrades go one minor version at a time. A version below the control
    /// plane's requires `upgrade.allowRollback`.
    #[schemars(length(max = 8))]
    #[x_kube(validation = rules::kubernetes_version())]
    pub version: String,
    /// Tags on every resource of this cluster; they override the account's `tags`. A tag that is removed here is
    /// removed in AWS.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::tags")]
    #[x_kube(validation = rules::tag_keys())]
    #[x_kube(validation = rules::tag_keys_differ_beyond_case())]
    #[x_kube(validation = rules::tag_keys_not_reserved())]
    #[x_kube(validation = rules::tag_values())]
    pub tags: BTreeMap<String, String>,

    /// When a plan is applied to AWS: `Automatic` (at once), `Approval` (once a PlanApproval or, unless the
    /// operator requires PlanApprovals, the annotation `keelson.dev/approve` has its hash) or `Observe` (never; the plan is only reported).
    #[serde(default)]
    pub change_policy: ChangePolicy,
    /// How drift in AWS is handled: `Correct` it, or only `Report` it.
    #[serde(default)]
    pub drift_policy: DriftPolicy,
    /// What happens in AWS when this object is deleted: `Delete` everything that Keelson owns, with what
    /// controllers of the cluster left, or `Retain` it without the owner tags.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How an existing cluster of that name that Keelson does not own is handled: `Refuse` (this object is stalled), or
    /// `Adopt` (takes it over and changes only what this spec names), if the AwsAccount's `adoption` allows it.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// While true, neither AWS nor the workload cluster is changed, except tags when the cluster is recovered or moved;
    /// conditions report it.
    #[serde(default)]
    pub suspend: bool,

    /// The cluster's network: exactly one of `vpc` (created for it) and `existing`. The choice is immutable.
    #[serde(default)]
    pub network: Network,
    /// Addresses of Pods and Services.
    #[serde(default)]
    pub kubernetes_network: KubernetesNetwork,
    /// Access to the Kubernetes API endpoint.
    #[serde(default)]
    pub endpoint_access: EndpointAccess,
    /// Control plane logs to send to CloudWatch, such as `api`, `audit`, `authenticator`; `[]`: none; absent: not
    /// managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::aws_names())]
    pub logging: Option<Vec<String>>,
    /// The log group of these logs, whose retention, key and tags Keelson sets once the cluster exists, and which it deletes after the
    /// cluster; absent: not managed. EKS creates it with the first log type, without an end of retention, and leaves it when the cluster
    /// is deleted; if EKS has not created one, Keelson does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_group: Option<LogGroup>,
    /// Encrypts Kubernetes Secrets with your own KMS key. It can be added, but not changed or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_encryption: Option<SecretsEncryption>,
    /// ARN of the cluster's IAM role; absent: Keelson creates one. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::role_arn())]
    pub role_arn: Option<String>,
    /// What AWS does at the end of a version's standard support: `Standard` (upgrades the cluster) or `Extended` (keeps
    /// the version at a higher price); absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SupportType")]
    pub support_type: Option<SupportType>,
    /// Provisioned control plane; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_scaling: Option<ControlPlaneScaling>,
    /// Settings of the Kubernetes control plane; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlane>,
    /// Networks of hybrid nodes, outside AWS; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_networks: Option<RemoteNetworks>,
    /// Lets AWS shift traffic away from an impaired zone; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zonal_shift: Option<bool>,
    /// The EBS volumes that the EBS CSI driver created for the cluster's PersistentVolumeClaims.
    #[serde(default)]
    pub persistent_volumes: PersistentVolumes,
    /// EKS deletion protection. `true` is lifted when this object is deleted with `deletionPolicy: Delete`. Absent: not
    /// managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_protection: Option<bool>,
    /// EKS Auto Mode; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_mode: Option<AutoMode>,

    /// Access to the Kubernetes API by IAM principals.
    #[serde(default)]
    pub access: Access,
    /// Creates an IAM OIDC provider for the cluster's service accounts (IRSA); `false` deletes the one that Keelson
    /// created.
    #[serde(default = "schema::default_true")]
    pub oidc_provider: bool,
    /// IAM roles of service accounts, with EKS Pod Identity. Associations that Keelson created are deleted when they
    /// are no longer listed; others are left unchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["namespace".into(), "serviceAccount".into()]))]
    pub pod_identities: Vec<PodIdentity>,
    /// EKS add-ons by name; absent: vpc-cni, kube-proxy, coredns and eks-pod-identity-agent, each at EKS's default
    /// version.
    #[serde(default = "default_addons")]
    // Not a map: defaults would stay in it after a server-side apply with fewer items.
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules::unique_names())]
    pub addons: Vec<Addon>,
    /// Deletes add-ons that are not listed; `false` leaves them unchanged.
    #[serde(default)]
    pub prune_addons: bool,
    /// What `pruneAddons` does with `vpc-cni`, `kube-proxy` and `coredns`, without which the cluster has no network: `Keep`
    /// them, `Preserve` their software, which EKS then no longer manages, or `Delete` them with their software.
    #[serde(default)]
    pub prune_core_addons: PruneCoreAddons,
    /// Fargate profiles by name, in the cluster's private subnets. Profiles that Keelson created are deleted when they
    /// are no longer listed; others are left unchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub fargate_profiles: Vec<FargateProfile>,
    /// What Karpenter needs in AWS; absent: nothing. The AwsAccount must list `Karpenter` in `allowedWorkloadPolicies`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub karpenter: Option<Karpenter>,
    /// EKS Capabilities by name: Argo CD, ACK and kro, which EKS runs outside the cluster. One that Keelson created is deleted when it is
    /// no longer listed, and its objects in the cluster stay; others are left unchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = rules::one_capability_of_each_type())]
    pub capabilities: Vec<Capability>,

    /// How upgrades are carried out.
    #[serde(default)]
    pub upgrade: Upgrade,
    /// Jobs that run at points of the cluster's life: what follows the point waits for them. They run in the order of the list, in the
    /// management cluster (the operator needs permission to run Jobs in this namespace) or in the EKS cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    // Not a map: defaults would stay in it after a server-side apply with fewer items.
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules::unique_names())]
    pub hooks: Vec<Hook>,
    /// The GitOps agent of the cluster, at most one of `flux` and `argocd`; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gitops: Option<GitOps>,
    /// Secret in this namespace that Keelson writes a kubeconfig to (key `kubeconfig`), with an exec plugin (`aws eks
    /// get-token`) and without a token; absent: none. Keelson needs a Role for it, and never overwrites a Secret of others. It
    /// deletes the Secret with this object, or when the field no longer names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_kubeconfig_to_secret_ref: Option<SecretReference>,
    /// `ArgoCd` registers the cluster in the Argo CD of the management cluster, by a cluster Secret with AWS authentication and without a
    /// token, and keeps it up to date; absent: not registered. The operator needs `--argocd-namespace`. It deletes the Secret when the
    /// field is removed, and before anything of a deleted cluster is deleted in AWS. With `Observe` it writes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Registry")]
    pub register_with: Option<Registry>,
    /// How `registerWith` registers the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
}

impl EksClusterSpec {
    /// The desired version.
    pub fn version(&self) -> Result<KubernetesVersion, InvalidVersion> {
        self.version.parse()
    }

    /// Whether EKS Auto Mode is to be on.
    pub fn has_auto_mode(&self) -> bool {
        self.auto_mode.as_ref().is_some_and(|auto| auto.enabled)
    }

    /// Name of its AwsAccount.
    pub fn account_name(&self) -> &str {
        self.account_ref.as_ref().map_or(DEFAULT_ACCOUNT, |reference| &reference.name)
    }
}

impl EksCluster {
    /// The cluster's name in EKS.
    pub fn cluster_name(&self) -> String {
        self.spec.cluster_name.clone().unwrap_or_else(|| self.name_any())
    }
}

/// Access to the Kubernetes API endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::endpoint_reachable())]
#[serde(rename_all = "camelCase")]
pub struct EndpointAccess {
    /// Access from the internet, limited to `publicCidrs`.
    #[serde(default = "schema::default_true")]
    pub public: bool,
    /// CIDR ranges that may access the public endpoint; at most 40.
    #[serde(default = "anywhere")]
    // Not a set: defaults would stay in it after a server-side apply with fewer items.
    #[schemars(length(max = 40), inner(length(max = 43)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules::public_cidrs())]
    #[x_kube(validation = rules::public_cidrs_are_public())]
    #[x_kube(validation = rules::unique())]
    pub public_cidrs: Vec<String>,
    /// Access from inside the VPC.
    #[serde(default = "schema::default_true")]
    pub private: bool,
}

fn anywhere() -> Vec<String> {
    vec!["0.0.0.0/0".to_owned()]
}

impl Default for EndpointAccess {
    fn default() -> Self {
        Self { public: true, public_cidrs: anywhere(), private: true }
    }
}

/// Encryption of Kubernetes Secrets with a KMS key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretsEncryption {
    /// ARN of a symmetric KMS key in the cluster's region.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::key_arn())]
    pub kms_key_arn: String,
}

/// What AWS does at the end of standard support.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum SupportType {
    Standard,
    Extended,
}

/// Provisioned control plane.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneScaling {
    /// EKS tier, such as `standard` or `tier-xl`.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::aws_name())]
    pub tier: String,
}

/// EBS volumes of PersistentVolumeClaims.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersistentVolumes {
    /// What happens to the volumes that are left when the cluster is deleted with `deletionPolicy: Delete`: `Retain` them
    /// (events name them), or `Delete` those that are not in use, with their data. Snapshots are always retained.
    #[serde(default = "retain")]
    pub deletion_policy: DeletionPolicy,
}

fn retain() -> DeletionPolicy {
    DeletionPolicy::Retain
}

impl Default for PersistentVolumes {
    fn default() -> Self {
        Self { deletion_policy: retain() }
    }
}

/// EKS Auto Mode.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::auto_mode_off_has_no_pools())]
#[x_kube(validation = rules::auto_mode_role_needs_pools())]
#[serde(rename_all = "camelCase")]
pub struct AutoMode {
    /// `false` switches Auto Mode off: EKS terminates its instances and deletes its load balancers, and leaves its volumes.
    #[serde(default = "schema::default_true")]
    pub enabled: bool,
    /// Built-in node pools, such as `general-purpose` and `system`.
    #[serde(default)]
    #[schemars(length(max = 10), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::aws_names())]
    pub node_pools: Vec<String>,
    /// ARN of the IAM role of the nodes of these pools; absent: Keelson creates one. EKS cannot change it while Auto Mode is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::role_arn())]
    pub node_role_arn: Option<String>,
}
