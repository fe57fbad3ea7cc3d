//! Everything that EKS knows of one cluster, and the spec that changes nothing of it: for the manifest of a cluster
//! that others created. [`read`] does the I/O; [`cluster_spec`] and [`node_group_spec`] are pure.
//!
//! Users run this with their own credentials; the operator never does.

pub mod cluster_spec;
pub mod described;
pub mod node_group_spec;
pub mod read;

use std::collections::BTreeMap;

use aws_sdk_eks::types::{
    AccessEntry, Addon, AssociatedAccessPolicy, Capability, Cluster, FargateProfile, Nodegroup,
    OidcIdentityProviderConfig, PodIdentityAssociation,
};

pub use read::{clusters, read};

use crate::resources::eks::log_group;

/// A cluster with everything in it.
#[derive(Clone, Debug)]
pub struct Inventory {
    pub(super) cluster: Cluster,
    pub(super) addons: Vec<FoundAddon>,
    pub(super) access_entries: Vec<FoundEntry>,
    pub(super) pod_identities: Vec<PodIdentityAssociation>,
    pub(super) fargate_profiles: Vec<FargateProfile>,
    pub(super) node_groups: Vec<Nodegroup>,
    /// Tags of the Auto Scaling groups of each node group, without those of EKS.
    pub(super) group_tags: BTreeMap<String, BTreeMap<String, String>>,
    /// The log group of the control plane.
    pub(super) log_group: Option<log_group::Detail>,
    pub(super) capabilities: Vec<Capability>,
    /// The OIDC identity provider whose tokens it accepts.
    pub(super) identity_provider: Option<OidcIdentityProviderConfig>,
    /// Whether an IAM OIDC provider for its issuer exists.
    pub(super) oidc_provider: bool,
    /// Ids of its subnets that no longer exist in EC2.
    pub(super) subnets_gone: Vec<String>,
    /// Ids of its instances that belong to no managed node group or Auto Mode.
    pub(super) other_instances: Vec<String>,
}

/// An add-on with data that DescribeAddon does not return.
#[derive(Clone, Debug)]
pub(super) struct FoundAddon {
    pub addon: Addon,
    /// Whether it has the version that EKS installs by default.
    pub is_default: bool,
    /// Its roles through pod identity.
    pub pod_identity_roles: Vec<String>,
}

/// An access entry with its policies.
#[derive(Clone, Debug)]
pub(super) struct FoundEntry {
    pub entry: AccessEntry,
    pub policies: Vec<AssociatedAccessPolicy>,
}

/// A setting in AWS that the spec does not cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The setting.
    pub what: String,
    /// Why the spec does not cover it.
    pub why: String,
}

impl Note {
    fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into() }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not managed: {} because {}", self.what, self.why)
    }
}

impl Inventory {
    /// The name in EKS.
    pub fn name(&self) -> &str {
        self.cluster.name().unwrap_or_default()
    }

    /// Its ARN.
    pub fn arn(&self) -> &str {
        self.cluster.arn().unwrap_or_default()
    }

    /// The id of its VPC.
    pub fn vpc(&self) -> Option<&str> {
        self.cluster.resources_vpc_config()?.vpc_id()
    }

    /// The Keelson object that already owns it, if any.
    pub fn owner(&self) -> Option<String> {
        let tags = crate::aws::tags::Tags::from_eks(self.cluster.tags());
        let owner = tags.owner()?.to_owned();
        Some(tags.get(crate::aws::tags::CLUSTER).map_or(owner.clone(), |name| format!("{name} (UID {owner})")))
    }
}

#[cfg(test)]
pub use cluster_fixture::odd;
pub mod account_lists;
#[cfg(test)]
mod cluster_fixture;
pub mod owned_resources;
pub mod survey;
pub mod tagged_resources;
#[cfg(test)]
mod tests;
pub mod zones;
