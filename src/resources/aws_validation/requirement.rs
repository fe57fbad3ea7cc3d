//! What must be true in AWS before a spec can be applied: the requirements, as data. Pure.

use crate::api::EksClusterSpec;
use crate::api::policy::AdoptionPolicy;
use crate::aws::snapshots::named::TemplateRef;

/// A requirement and the field that implies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Path of the field.
    pub field: String,
    /// What must be true.
    pub kind: RequirementKind,
}

impl Requirement {
    pub(super) fn new(field: impl Into<String>, kind: RequirementKind) -> Self {
        Self { field: field.into(), kind }
    }
}

/// What must be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequirementKind {
    /// EKS offers the Kubernetes version.
    Version(String),
    /// The role exists.
    Role {
        /// Its ARN.
        arn: String,
        /// The service that must be allowed to assume it; `None` skips this check.
        service: Option<&'static str>,
    },
    /// The user with that ARN exists.
    User(String),
    /// The IAM policy with that ARN exists.
    Policy(String),
    /// EKS offers the add-on.
    Addon {
        /// Its name.
        name: String,
        /// The exact version, if the spec sets one.
        version: Option<String>,
        /// The Kubernetes version it must support; `None`: any, because the upgrade chooses the version.
        kubernetes: Option<String>,
    },
    /// The security groups are in the VPC of the subnets.
    SecurityGroups {
        /// Their ids.
        ids: Vec<String>,
        /// The VPC, if the spec sets it.
        vpc: Option<String>,
        /// Ids of the subnets, if the spec sets them.
        subnets: Vec<String>,
    },
    /// The security groups are in the VPC that Keelson creates.
    GroupsOfOwnVpc {
        /// Their ids.
        ids: Vec<String>,
        /// The VPC, once it exists.
        vpc: Option<String>,
    },
    /// The Elastic IP addresses exist in the region, and nothing else uses them.
    Addresses {
        /// Their allocation ids.
        ids: Vec<String>,
        /// The VPC whose NAT gateways may use them already.
        vpc: Option<String>,
    },
    /// The subnets are in the VPC.
    Vpc {
        /// Its id.
        id: String,
        /// Ids of the subnets.
        subnets: Vec<String>,
    },
    /// The subnets exist.
    Subnets(Vec<String>),
    /// No route of the subnets leads to an internet gateway: Fargate refuses public ones.
    PrivateSubnets(Vec<String>),
    /// That version of the launch template exists.
    Template {
        /// Its id or name.
        id: TemplateRef,
        /// A number, or `$Default`.
        version: String,
    },
    /// The AMI type exists and has AMIs for the Kubernetes version.
    AmiType {
        /// The AMI type.
        name: String,
        /// The Kubernetes version of the nodes.
        kubernetes: String,
    },
    /// Nodes can join in the subnets, and these have room for them.
    NodeSubnets {
        /// Ids of the subnets.
        subnets: Vec<String>,
        /// Whether nodes reach the Kubernetes API inside the VPC.
        private_access: bool,
        /// Nodes at the start.
        nodes: i32,
        /// A launch template may set up what the subnets lack.
        has_template: bool,
    },
    /// The launch template and the fields about AMIs agree.
    OwnImage {
        /// The launch template and its version; `None`: there is none.
        template: Option<(TemplateRef, String)>,
        /// The AMI type, if the spec sets one.
        ami_type: Option<String>,
        /// The release, if the spec sets an exact one.
        release: Option<String>,
    },
    /// EC2 offers the instance types where the nodes run, and the AMI type supports them.
    Instances {
        /// The instance types.
        types: Vec<String>,
        /// The AMI type, if the spec sets one.
        ami_type: Option<String>,
        /// Where the nodes run.
        locations: NodeLocations,
        /// The launch template and its version, which may set AMI and instance type itself.
        template: Option<(TemplateRef, String)>,
        /// The spec names the AMI.
        has_image: bool,
        /// They take Elastic Fabric Adapters.
        efa: bool,
    },
    /// The KMS key with that ARN is in the region.
    Key(String),
}

/// Where nodes run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeLocations {
    /// Not known yet.
    Unknown,
    /// In these zones.
    Zones(Vec<String>),
    /// In these subnets.
    Subnets(Vec<String>),
}

impl Stage {
    /// The stage of a node group. A group that may exist already and be adopted with its cluster counts as existing.
    pub fn of_node_group(exists: bool, cluster: &EksClusterSpec) -> Self {
        let may_exist = exists || cluster.adoption_policy == AdoptionPolicy::Adopt;
        if may_exist { Stage::Edited } else { Stage::New }
    }
}

/// Whether the object's resources exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing exists yet.
    New,
    /// It exists and was edited; fields that cannot change were checked before.
    Edited,
}
