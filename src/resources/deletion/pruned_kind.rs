//! The kinds of resources that [`super::prune`] can delete, with their rows in the table of kinds. Pure.

use crate::engine::Key;
use crate::resources::eks::{access_entry, addon, fargate_profile, pod_identity_association};
use crate::resources::graph::kind::{Area, Kind};

/// Deletes access entries.
pub const ACCESS_ENTRIES: Kind =
    Kind::new("accessEntryPruning", "access entries that are not listed", Area::ControlPlane).with_actions(&[
        "eks:DeleteAccessEntry",
        "eks:DescribeAccessEntry",
        "eks:ListAccessEntries",
        "eks:TagResource",
        "eks:UntagResource",
    ]);
/// Deletes add-ons.
pub const ADDONS: Kind = Kind::new("addonPruning", "add-ons that are not listed", Area::Addons).with_actions(&[
    "eks:DeleteAddon",
    "eks:DescribeAddon",
    "eks:ListAddons",
    "eks:TagResource",
    "eks:UntagResource",
]);
/// Deletes pod identity associations.
pub const POD_IDENTITIES: Kind =
    Kind::new("podIdentityPruning", "pod identities that are not listed", Area::ControlPlane).with_actions(&[
        "eks:DeletePodIdentityAssociation",
        "eks:DescribePodIdentityAssociation",
        "eks:ListPodIdentityAssociations",
        "eks:TagResource",
        "eks:UntagResource",
    ]);
/// Deletes Fargate profiles.
pub const FARGATE_PROFILES: Kind =
    Kind::new("fargateProfilePruning", "Fargate profiles that are not listed", Area::ControlPlane).with_actions(&[
        "eks:DeleteFargateProfile",
        "eks:DescribeFargateProfile",
        "eks:ListFargateProfiles",
        "eks:TagResource",
        "eks:UntagResource",
    ]);

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
