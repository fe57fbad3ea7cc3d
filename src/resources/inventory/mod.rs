//! What EKS has of one cluster, as a whole, and the spec that changes nothing of it: for a manifest of a cluster that somebody
//! else made. [`read`] does the I/O; [`cluster`] and [`node_group`] are pure.
//!
//! A person reads with credentials of their own: the operator never does this.

pub mod cluster;
pub mod node_group;
mod read;

use aws_sdk_eks::types::{
    AccessEntry, Addon, AssociatedAccessPolicy, Cluster, FargateProfile, Nodegroup, PodIdentityAssociation,
};

pub use read::{clusters, read};

/// A cluster with all that is in it.
#[derive(Clone, Debug)]
pub struct Inventory {
    pub(super) cluster: Cluster,
    pub(super) addons: Vec<FoundAddon>,
    pub(super) access_entries: Vec<FoundEntry>,
    pub(super) pod_identities: Vec<PodIdentityAssociation>,
    pub(super) fargate_profiles: Vec<FargateProfile>,
    pub(super) node_groups: Vec<Nodegroup>,
    /// OIDC providers for people, as `type name`.
    pub(super) identity_providers: Vec<String>,
    /// There is an IAM OIDC provider of its issuer.
    pub(super) oidc_provider: bool,
    /// Ids of those of its subnets that EC2 does not know any more.
    pub(super) subnets_gone: Vec<String>,
    /// Ids of its instances that no node group, nor EKS, made.
    pub(super) other_instances: Vec<String>,
}

/// An add-on with what it does not tell itself.
#[derive(Clone, Debug)]
pub(super) struct FoundAddon {
    pub addon: Addon,
    /// It has the version that EKS installs by default.
    pub is_default: bool,
    /// The roles that it gets by pod identity.
    pub pod_identity_roles: Vec<String>,
}

/// An access entry with its policies.
#[derive(Clone, Debug)]
pub(super) struct FoundEntry {
    pub entry: AccessEntry,
    pub policies: Vec<AssociatedAccessPolicy>,
}

/// Something that AWS has and that the spec does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is.
    pub what: String,
    /// Why the spec does not say it.
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
    /// Its name in EKS.
    pub fn name(&self) -> &str {
        self.cluster.name().unwrap_or_default()
    }

    /// Its ARN.
    pub fn arn(&self) -> &str {
        self.cluster.arn().unwrap_or_default()
    }

    /// The object of Keelson's that it belongs to already, if any.
    pub fn owner(&self) -> Option<String> {
        let tags = crate::aws::tags::Tags::from_eks(self.cluster.tags());
        let owner = tags.owner()?.to_owned();
        Some(tags.get(crate::aws::tags::CLUSTER).map_or(owner.clone(), |name| format!("{name} (UID {owner})")))
    }
}

#[cfg(test)]
pub use fixture::odd;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
