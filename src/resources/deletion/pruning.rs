//! The rows of pruning in the table of kinds. Pure.

use crate::resources::graph::kind::{Area, Kind};

/// Deletes access entries.
pub const ACCESS_ENTRIES: Kind =
    Kind::new("accessEntryPruning", "access entries that are not listed", Area::ControlPlane)
        .without_resource()
        .with_actions(&[
            "eks:DeleteAccessEntry",
            "eks:DescribeAccessEntry",
            "eks:ListAccessEntries",
            "eks:TagResource",
            "eks:UntagResource",
        ]);
/// Deletes add-ons.
pub const ADDONS: Kind = Kind::new("addonPruning", "add-ons that are not listed", Area::Addons)
    .without_resource()
    .with_actions(&["eks:DeleteAddon", "eks:DescribeAddon", "eks:ListAddons", "eks:TagResource", "eks:UntagResource"]);
/// Deletes pod identity associations.
pub const POD_IDENTITIES: Kind =
    Kind::new("podIdentityPruning", "pod identities that are not listed", Area::ControlPlane)
        .without_resource()
        .with_actions(&[
            "eks:DeletePodIdentityAssociation",
            "eks:DescribePodIdentityAssociation",
            "eks:ListPodIdentityAssociations",
            "eks:TagResource",
            "eks:UntagResource",
        ]);
/// Deletes Fargate profiles.
pub const FARGATE_PROFILES: Kind =
    Kind::new("fargateProfilePruning", "Fargate profiles that are not listed", Area::ControlPlane)
        .without_resource()
        .with_actions(&[
            "eks:DeleteFargateProfile",
            "eks:DescribeFargateProfile",
            "eks:ListFargateProfiles",
            "eks:TagResource",
            "eks:UntagResource",
        ]);
