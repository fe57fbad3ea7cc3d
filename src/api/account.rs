//! AwsAccount: an AWS account, its credentials and who may use it. No I/O.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::account_adoption::AccountAdoption;
use super::rules;
use super::schema;
use super::status_cluster::WaitStatus;
use super::workload_role::WorkloadPolicy;

/// Name of the AwsAccount of objects without `accountRef`.
pub const DEFAULT_ACCOUNT: &str = "default";

/// An AWS account, its credentials and who may use it.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "keelson.dev",
    version = "v1alpha1",
    kind = "AwsAccount",
    plural = "awsaccounts",
    printcolumn(name = "Account", type_ = "string", json_path = ".spec.accountId", description = "AWS account"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether everything in the spec exists and is ready"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Reason of the Ready condition"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was created"
    ),
    printcolumn(
        name = "Role",
        type_ = "string",
        json_path = ".spec.roleArn",
        description = "Role to assume",
        priority = 1
    ),
    derive = "PartialEq",
    status = "AwsAccountStatus",
    doc = "An AWS account, its credentials and who may use it.",
    category = "keelson"
)]
#[x_kube(validation = rules::role_is_in_account())]
#[x_kube(validation = rules::external_id_needs_role())]
#[x_kube(validation = rules::inline_policies_need_boundary())]
#[serde(rename_all = "camelCase")]
pub struct AwsAccountSpec {
    /// Account id of 12 digits; checked with GetCallerIdentity before any write. Immutable.
    #[schemars(length(max = 12))]
    #[x_kube(validation = rules::account_id())]
    #[x_kube(validation = rules::immutable("the account cannot change, as clusters were created in it: create another AwsAccount for another account"))]
    pub account_id: String,
    /// ARN of the IAM role to assume with the operator's credentials; absent: those are used directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::role_arn())]
    pub role_arn: Option<String>,
    /// External id for AssumeRole; the role's trust policy should require it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224))]
    #[x_kube(validation = rules::external_id())]
    pub external_id: Option<String>,
    /// Namespaces whose objects may reference this account; `["*"]`: all; absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::allowed_namespaces())]
    pub allowed_namespaces: Vec<String>,
    /// AWS regions that objects may use; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(max = 32)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::regions())]
    pub allowed_regions: Option<Vec<String>>,
    /// Existing clusters that EksClusters with `adoptionPolicy: Adopt` may adopt; by default none.
    #[serde(default)]
    pub adoption: AccountAdoption,
    /// ARN of the IAM policy that is the permissions boundary of every role that Keelson creates. The shipped IAM
    /// policies require one (deploy/iam-boundary.json).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::policy_arn())]
    pub permissions_boundary_arn: Option<String>,
    /// ARN of the IAM policy that is the permissions boundary of the roles that Keelson creates for Pods; absent:
    /// `permissionsBoundaryArn`. The shipped IAM policies require one (deploy/iam-workload-boundary.json).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules::policy_arn())]
    pub workload_permissions_boundary_arn: Option<String>,
    /// Names of Keelson's policies that roles for Pods may have (docs/how-to/workload-roles.md); `["*"]`: all; absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::workload_policy_names(&WorkloadPolicy::ALL.map(WorkloadPolicy::as_str)))]
    pub allowed_workload_policies: Vec<String>,
    /// Whether objects may write policy documents of their own into the roles of their Pods. Only
    /// `workloadPermissionsBoundaryArn` limits what such a document allows, so it must be set.
    #[serde(default)]
    pub allow_inline_policies: bool,
    /// ARNs of IAM roles that objects may reference, besides those that Keelson created for clusters of their
    /// namespace; `*` matches any characters, `["*"]` allows any role; absent: no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 700)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::role_patterns())]
    pub allowed_role_arns: Vec<String>,
    /// ARNs of IAM policies that NodeGroups may add to the node role, and that roles for Pods may have, besides those that
    /// Keelson always attaches to nodes; `*` matches any characters, `["*"]` allows any policy; absent: no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 700)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::policy_patterns())]
    pub allowed_policy_arns: Vec<String>,
    /// Ids of VPCs whose subnets objects may reference, besides those that Keelson created for clusters of their
    /// namespace; `["*"]` allows any VPC; absent: no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::vpc_patterns())]
    pub allowed_vpc_ids: Vec<String>,
    /// Ids of security groups that objects may reference, besides those that Keelson and EKS created for clusters of
    /// their namespace; `["*"]` allows any security group; absent: no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::security_group_patterns())]
    pub allowed_security_group_ids: Vec<String>,
    /// ARNs of KMS keys that objects may reference; `*` matches any characters, `["*"]` allows any key; absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::key_patterns())]
    pub allowed_kms_key_arns: Vec<String>,
    /// Ids of launch templates that NodeGroups may reference, with all their contents: security groups, keys, images,
    /// user data; `["*"]` allows any launch template; absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::launch_template_patterns())]
    pub allowed_launch_template_ids: Vec<String>,
    /// Owners whose AMIs NodeGroups may name: `amazon` for those that EC2 marks as Amazon's (of EKS, Bottlerocket), `aws-marketplace`, or
    /// the id of an account; `["*"]`: any AMI; `[]`: none. The account's own id allows every private AMI in it.
    #[serde(default = "default_image_owners")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 16)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules::image_owners())]
    pub allowed_image_owners: Vec<String>,
    /// Ids of AMIs that NodeGroups may name, besides those of `allowedImageOwners`; `["*"]` allows any AMI; absent: no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::image_patterns())]
    pub allowed_image_ids: Vec<String>,
    /// Ids of capacity reservations that NodeGroups may name; `["*"]` allows any; absent: none. Instances of NodeGroups that name none use
    /// any open reservation that matches, as EC2 decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::capacity_reservation_patterns())]
    pub allowed_capacity_reservation_ids: Vec<String>,
    /// Names of placement groups that NodeGroups may name; `*` matches any characters, `["*"]` allows any placement group; absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::placement_group_patterns())]
    pub allowed_placement_groups: Vec<String>,
    /// Allocation ids of Elastic IP addresses that objects may use for NAT gateways; `["*"]` allows any address; absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::allocation_patterns())]
    pub allowed_elastic_ip_allocation_ids: Vec<String>,
    /// Path of the IAM roles that Keelson creates, such as `/keelson/`; absent: `/`. Existing roles keep their path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = rules::role_path())]
    pub role_path: Option<String>,
    /// Tags on every resource that Keelson creates in the account; they override an object's own tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::enforced_tags")]
    #[x_kube(validation = rules::tag_keys())]
    #[x_kube(validation = rules::tag_keys_differ_beyond_case())]
    #[x_kube(validation = rules::tag_keys_not_reserved())]
    #[x_kube(validation = rules::tag_values())]
    pub enforced_tags: BTreeMap<String, String>,
    /// Tags on every resource that Keelson creates in the account; an object's own tags override them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::tags")]
    #[x_kube(validation = rules::tag_keys())]
    #[x_kube(validation = rules::tag_keys_differ_beyond_case())]
    #[x_kube(validation = rules::tag_keys_not_reserved())]
    #[x_kube(validation = rules::tag_values())]
    pub tags: BTreeMap<String, String>,
}

/// Their images hold no private disk.
fn default_image_owners() -> Vec<String> {
    vec!["amazon".to_owned()]
}

impl AwsAccountSpec {
    /// Whether objects of `namespace` may reference this account.
    pub fn allows_namespace(&self, namespace: &str) -> bool {
        self.allowed_namespaces.iter().any(|allowed| allowed == "*" || allowed == namespace)
    }

    /// Whether the account may be used in `region`.
    pub fn allows_region(&self, region: &str) -> bool {
        self.allowed_regions.as_ref().is_none_or(|allowed| allowed.iter().any(|name| name == region))
    }
}

/// Observed state of the account.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsAccountStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Standard Kubernetes conditions: Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Operations in progress and their deadlines. At most twenty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub waits: Vec<WaitStatus>,
    /// Account id from GetCallerIdentity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12))]
    pub account_id: Option<String>,
    /// ARN of the operator's identity in the account, from GetCallerIdentity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub caller_arn: Option<String>,
}
