//! The kinds of resources that [`super::prune`] can delete. Pure.

use super::pruning::{ACCESS_ENTRIES, ADDONS, FARGATE_PROFILES, POD_IDENTITIES};
use crate::engine::Key;
use crate::resources::eks::{access_entry, addon, fargate_profile, pod_identity_association};
use crate::resources::graph::kind::Kind;

/// The kinds of resources that can be pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrunedKind {
    /// If `access.prune` is set.
    AccessEntries,
    /// If `pruneAddons` is set.
    Addons,
    /// Those with our tag.
    PodIdentities,
    /// Those with our tag.
    FargateProfiles,
}

impl PrunedKind {
    pub(crate) const ALL: [Self; 4] = [Self::AccessEntries, Self::Addons, Self::PodIdentities, Self::FargateProfiles];

    fn row(self) -> &'static Kind {
        match self {
            Self::AccessEntries => &ACCESS_ENTRIES,
            Self::Addons => &ADDONS,
            Self::PodIdentities => &POD_IDENTITIES,
            Self::FargateProfiles => &FARGATE_PROFILES,
        }
    }

    /// The key in the graph.
    pub fn key(self) -> Key {
        self.row().key()
    }

    /// The graph kind of the listed resources.
    pub(crate) fn listed(self) -> &'static str {
        match self {
            Self::AccessEntries => access_entry::KIND.name,
            Self::Addons => addon::KIND.name,
            Self::PodIdentities => pod_identity_association::KIND.name,
            Self::FargateProfiles => fargate_profile::KIND.name,
        }
    }

    /// The list in the spec.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::AccessEntries => "access.entries",
            Self::Addons => "addons",
            Self::PodIdentities => "podIdentities",
            Self::FargateProfiles => "fargateProfiles",
        }
    }

    /// Whether EKS deletes it asynchronously.
    pub(crate) fn is_deleted_asynchronously(self) -> bool {
        matches!(self, Self::Addons | Self::FargateProfiles)
    }
}
