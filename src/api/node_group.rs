//! NodeGroup: one EKS managed node group of an EksCluster. No I/O.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SpecError;
use super::kubernetes_version::{InvalidVersion, KubernetesVersion};
pub use super::launch_template::LaunchTemplate;
use super::node_repair::NodeRepair;
use super::node_template::NodeTemplate;
pub use super::node_update::{MaxUnavailable, NodeUpdate, UpdateStrategy};
use super::policy::{DeletionPolicy, ReplacementPolicy};
use super::reference::ClusterReference;
use super::rules;
use super::schema;
use super::status_cluster::NodeGroupStatus;
pub use super::subnet_tier::SubnetTier;
use super::warm_pool::WarmPool;

/// One EKS managed node group.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "keelson.dev",
    version = "v1alpha1",
    kind = "NodeGroup",
    plural = "nodegroups",
    shortname = "ng",
    category = "keelson",
    namespaced,
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name", description = "The EksCluster it belongs to"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, description = "Whether everything in the spec exists and is ready"),
    printcolumn(name = "Status", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, description = "Reason of the Ready condition"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", description = "Version of the nodes"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.replicas", description = "Desired size in AWS"),
    printcolumn(name = "Min", type_ = "integer", json_path = ".spec.scaling.min", description = "Minimum size"),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.scaling.max", description = "Maximum size"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the object was created"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.instanceTypes[0]", description = "Preferred instance type", priority = 1),
    printcolumn(name = "Capacity", type_ = "string", json_path = ".spec.capacityType", description = "On-demand or spot", priority = 1),
    printcolumn(name = "Release", type_ = "string", json_path = ".status.releaseVersion", description = "AMI release of the nodes", priority = 1),
    validation = rules::node_group_name_fits_eks(),
    validation = rules::node_group_name_immutable(),
    validation = rules::node_group_version_not_lowered(),
    validation = rules::size_owned_by_autoscaler(),
    validation = rules::node_not_added_or_removed(),
    validation = rules::image_not_added_or_removed(),
    validation = rules::replaced_if_other("instanceTypes", "the instance types cannot change: put the old ones back"),
    validation = rules::replaced_if_other("capacityType", "the capacity type cannot change: put the old one back"),
    validation = rules::replaced_if_other("subnets", "the subnets cannot change: put the old value back"),
    validation = rules::replaced_if_other_member("amiType", "the AMI type cannot change: put the old value back"),
    validation = rules::replaced_if_other_member("diskSizeGiB", "the disk size cannot change: put the old value back"),
    validation = rules::replaced_if_other_member("roleArn", "the nodes' role cannot change: put the old value back"),
    validation = rules::replaced_if_other_template(),
    validation = rules::replacement_ends_before_its_policy(),
    derive = "PartialEq",
    status = "NodeGroupStatus",
    scale(spec_replicas_path = ".spec.scaling.desired", status_replicas_path = ".status.replicas"),
    selectable = ".spec.clusterRef.name",
    doc = "One EKS managed node group of an EksCluster."
)]
#[x_kube(validation = rules::replacement_without_capacity_block())]
#[x_kube(validation = rules::excludes_launch_template())]
#[x_kube(validation = rules::excludes_disk_size())]
#[x_kube(validation = rules::launch_template_excludes_disk_size())]
#[x_kube(validation = rules::image_or_ami_type())]
#[x_kube(validation = rules::custom_needs_image())]
#[x_kube(validation = rules::image_has_no_release())]
#[x_kube(validation = rules::node_config_for_al2023())]
#[x_kube(validation = rules::devices_of_linux())]
#[x_kube(validation = rules::reservation_not_for_spot())]
#[x_kube(validation = rules::capacity_block_needs_reservation())]
#[x_kube(validation = rules::capacity_block_has_one_type())]
#[x_kube(validation = rules::capacity_block_in_one_zone())]
#[x_kube(validation = rules::warm_pool_of_on_demand())]
#[x_kube(validation = rules::warm_pool_of_eks_image())]
#[x_kube(validation = rules::warm_pool_of_bottlerocket())]
#[serde(rename_all = "camelCase")]
pub struct NodeGroupSpec {
    /// The EksCluster it belongs to, in the same namespace. Immutable.
    #[x_kube(validation = rules::immutable("a node group cannot move to another cluster: put the old one back, or create a new NodeGroup with the other value and delete this one"))]
    pub cluster_ref: ClusterReference,
    /// Name in EKS; absent: metadata.name. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::eks_name())]
    pub node_group_name: Option<String>,
    /// Kubernetes version of the nodes, such as `1.34`; absent: follows the cluster. It cannot be lower than the nodes'
    /// present version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = rules::kubernetes_version())]
    pub version: Option<String>,
    /// AMI release: `Latest` (the newest of the version at each upgrade), an exact one, or `Pinned` (never changed
    /// automatically).
    #[serde(default = "latest")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::aws_name())]
    pub release_version: String,
    /// AMI type, such as `AL2023_x86_64_STANDARD`; absent: EKS chooses. Immutable, see `replacementPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::aws_name())]
    pub ami_type: Option<String>,
    /// EC2 instance types in order of preference. Immutable, see `replacementPolicy`.
    #[serde(default = "default_instance_types")]
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 32)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules::instance_types())]
    #[x_kube(validation = rules::unique())]
    pub instance_types: Vec<String>,
    /// `OnDemand`, `Spot`, or `CapacityBlock` with `node.capacityReservationId`, or with a launch template that names one.
    /// Immutable, see `replacementPolicy`.
    #[serde(default)]
    pub capacity_type: CapacityType,
    /// Size of each node's root volume in GiB; absent: EKS chooses. Immutable, see `replacementPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "diskSizeGiB")]
    #[schemars(range(min = 1, max = 16384))]
    pub disk_size_gib: Option<i32>,
    /// Number of nodes.
    pub scaling: Scaling,
    /// Subnets of the nodes: a tier of the cluster's subnets, optionally limited to zones, or subnets by id. Immutable,
    /// see `replacementPolicy`.
    #[serde(default)]
    pub subnets: NodeSubnets,
    /// Kubernetes labels of the nodes; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::labels")]
    #[x_kube(validation = rules::label_keys())]
    #[x_kube(validation = rules::label_keys_not_reserved())]
    #[x_kube(validation = rules::label_values())]
    pub labels: Option<BTreeMap<String, String>>,
    /// Kubernetes taints of the nodes; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into(), "effect".into()]))]
    pub taints: Option<Vec<Taint>>,
    /// An EC2 launch template. Its version can change; it cannot be added, removed or replaced later, see
    /// `replacementPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_template: Option<LaunchTemplate>,
    /// A launch template that Keelson creates, with a new version for each change, instead of `launchTemplate`. It cannot be
    /// added or removed later. A change replaces the nodes, as an update within the cluster's maintenance windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeTemplate>,
    /// ARN of the nodes' IAM role; absent: the cluster's node role, which Keelson creates. Immutable, see
    /// `replacementPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::role_arn())]
    pub role_arn: Option<String>,
    /// ARNs of IAM policies to attach to the cluster's node role, which Keelson creates; not with `roleArn`. A policy
    /// that is removed here is detached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 15), inner(length(max = 2048)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::policy_arns())]
    pub additional_role_policies: Vec<String>,
    /// How nodes are replaced; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<NodeUpdate>,
    /// Node auto repair; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<NodeRepair>,
    /// A warm pool, for On-Demand instances with an AMI of EKS; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_pool: Option<WarmPool>,
    /// How an edit of a field is handled that EKS cannot change (instance types, AMI type, capacity type, subnets, role, disk
    /// size, launch template): `Refuse` it, or `MakeBeforeBreak`: create a node group beside the old one, drain that one once
    /// the new nodes are ready, and delete it. Not with Capacity Blocks.
    #[serde(default)]
    pub replacement_policy: ReplacementPolicy,
    /// What happens to the node group when this object is deleted: `Delete` it, or `Retain` it unchanged.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// While true, AWS is not changed; conditions report it.
    #[serde(default)]
    pub suspend: bool,
    /// Tags on the node group; they override the cluster's and the account's `tags`. A tag that is removed here is
    /// removed in AWS.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::tags")]
    #[x_kube(validation = rules::tag_keys())]
    #[x_kube(validation = rules::tag_keys_not_reserved())]
    #[x_kube(validation = rules::tag_values())]
    pub tags: BTreeMap<String, String>,
    /// Tags on the Auto Scaling group that EKS creates for the node group, which does not get `tags`: for the cluster
    /// autoscaler, such as `k8s.io/cluster-autoscaler/node-template/label/KEY`, or for costs. At most 45; instances do not
    /// get them. A key that is removed here is removed in AWS; the keys that EKS sets itself stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::auto_scaling_group_tags")]
    #[x_kube(validation = rules::tag_keys())]
    #[x_kube(validation = rules::auto_scaling_group_tag_keys_not_reserved())]
    #[x_kube(validation = rules::tag_values())]
    pub auto_scaling_group_tags: BTreeMap<String, String>,
}

fn latest() -> String {
    "Latest".to_owned()
}

/// Default instance types.
pub fn default_instance_types() -> Vec<String> {
    vec!["m7i.large".to_owned()]
}

/// Desired AMI release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseVersion<'a> {
    Latest,
    Pinned,
    Exact(&'a str),
}

impl NodeGroupSpec {
    /// Its own version, if set.
    pub fn version(&self) -> Result<Option<KubernetesVersion>, InvalidVersion> {
        self.version.as_deref().map(str::parse).transpose()
    }

    /// The desired AMI release.
    pub fn release_version(&self) -> ReleaseVersion<'_> {
        match self.release_version.as_str() {
            "Latest" => ReleaseVersion::Latest,
            "Pinned" => ReleaseVersion::Pinned,
            exact => ReleaseVersion::Exact(exact),
        }
    }
}

impl NodeGroup {
    /// The name in EKS of the node group in use.
    pub fn node_group_name(&self) -> String {
        let replaced = self.status.as_ref().and_then(|status| status.node_group_name.clone());
        replaced.unwrap_or_else(|| self.first_node_group_name())
    }

    /// The name in EKS of the first node group, which later ones begin with.
    pub fn first_node_group_name(&self) -> String {
        self.spec.node_group_name.clone().unwrap_or_else(|| self.name_any())
    }

    /// The names in EKS of all its node groups: the one in use, and during a replacement the other one.
    pub fn node_group_names(&self) -> Vec<String> {
        let replacement = self.status.as_ref().and_then(|status| status.replacement.as_ref());
        let other = replacement.map(|replacement| replacement.node_group_name.clone());
        std::iter::once(self.node_group_name()).chain(other).collect()
    }
}

/// Purchase option of instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum CapacityType {
    #[default]
    OnDemand,
    Spot,
    CapacityBlock,
}

/// Number of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::min_at_most_max())]
#[x_kube(validation = rules::desired_in_bounds())]
#[x_kube(validation = rules::enforced_size_is_set())]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Minimum number of nodes.
    #[schemars(range(min = 0))]
    pub min: i32,
    /// Maximum number of nodes.
    #[schemars(range(min = 1))]
    pub max: i32,
    /// Number of nodes at creation; absent: `min`. With `desiredPolicy: Initial` an autoscaler owns the size of an
    /// existing node group: later changes of `desired` (also by `kubectl scale`) are rejected, except for removing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub desired: Option<i32>,
    /// Who owns the size after creation: `Initial` (an autoscaler), or `Enforce` (`desired`, which is required then and
    /// which `kubectl scale` sets).
    #[serde(default)]
    pub desired_policy: DesiredPolicy,
}

impl Scaling {
    /// Number of nodes at creation.
    pub fn initial(&self) -> i32 {
        self.desired.unwrap_or(self.min)
    }
}

/// Who owns a node group's size after creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DesiredPolicy {
    #[default]
    Initial,
    Enforce,
}

/// Subnets of nodes: a tier, or subnets by id and by range.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::tier_or_ids())]
#[serde(rename_all = "camelCase")]
pub struct NodeSubnets {
    /// The cluster's `Private` or `Public` subnets; `Private` if none of this, `ids` and `cidrs` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SubnetTier")]
    pub tier: Option<SubnetTier>,
    /// Limits the tier to these availability zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 6), inner(length(max = 32)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::zones())]
    pub zones: Option<Vec<String>>,
    /// Subnets by id, instead of a tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::subnet_ids())]
    pub ids: Option<Vec<String>>,
    /// Subnets of the cluster by their IPv4 range, instead of a tier; may be combined with `ids`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(max = 18)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::subnet_ranges())]
    pub cidrs: Option<Vec<String>>,
}

impl Default for NodeSubnets {
    fn default() -> Self {
        Self { tier: Some(SubnetTier::Private), zones: None, ids: None, cidrs: None }
    }
}

/// How a node group's subnets are specified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeSubnetsKind<'a> {
    /// The subnets of a tier, optionally limited to zones.
    Tier { tier: SubnetTier, zones: Option<&'a [String]> },
    /// Subnets by id, and subnets of the cluster by range.
    Listed { ids: &'a [String], cidrs: &'a [String] },
}

impl NodeSubnets {
    /// The tier and zones, or the ids and ranges.
    pub fn kind(&self) -> Result<NodeSubnetsKind<'_>, SpecError> {
        let Self { tier, zones, ids, cidrs } = self;
        if ids.is_none() && cidrs.is_none() {
            let tier = tier.unwrap_or(SubnetTier::Private);
            return Ok(NodeSubnetsKind::Tier { tier, zones: zones.as_deref() });
        }
        if tier.is_some() || zones.is_some() {
            return Err(SpecError::new("spec.subnets", "ids and cidrs cannot be combined with tier or zones"));
        }
        let (ids, cidrs) = (ids.as_deref().unwrap_or_default(), cidrs.as_deref().unwrap_or_default());
        Ok(NodeSubnetsKind::Listed { ids, cidrs })
    }
}

/// A Kubernetes taint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// Key of the taint.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label_key())]
    pub key: String,
    /// Value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = rules::label_value())]
    pub value: Option<String>,
    /// Effect on Pods that do not tolerate the taint: `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: TaintEffect,
}

/// Effect of a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}
