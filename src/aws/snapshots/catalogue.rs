//! What AWS offers: zones, and versions of add-ons. Pure.

use aws_sdk_ec2::types::AvailabilityZone;
pub use aws_sdk_ec2::types::AvailabilityZoneState;
use aws_sdk_eks::types::AddonVersionInfo;

/// An availability zone that the account may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    pub name: String,
    /// `use1-az3`: EKS refuses some zones by id, and the names differ by account.
    pub id: String,
    pub state: Option<AvailabilityZoneState>,
}

impl From<&AvailabilityZone> for Zone {
    fn from(zone: &AvailabilityZone) -> Self {
        Zone {
            name: zone.zone_name().unwrap_or_default().to_owned(),
            id: zone.zone_id().unwrap_or_default().to_owned(),
            state: zone.state().cloned(),
        }
    }
}

/// A version of an add-on that runs on the Kubernetes version asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddonVersion {
    pub version: String,
    /// EKS's choice for that Kubernetes version.
    pub default: bool,
    pub requires_configuration: bool,
    pub requires_iam_permissions: bool,
    /// `ec2`, `fargate`, `auto`, `hybrid`.
    pub compute_types: Vec<String>,
}

impl AddonVersion {
    pub(super) fn of(info: &AddonVersionInfo, kubernetes_version: &str) -> Option<Self> {
        let mut compatible =
            info.compatibilities().iter().filter(|c| c.cluster_version() == Some(kubernetes_version)).peekable();
        compatible.peek()?;
        Some(AddonVersion {
            version: info.addon_version()?.to_owned(),
            default: compatible.any(|c| c.default_version()),
            requires_configuration: info.requires_configuration(),
            requires_iam_permissions: info.requires_iam_permissions(),
            compute_types: info.compute_types().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_eks::types::Compatibility;

    use super::*;

    #[test]
    fn a_version_counts_only_for_the_kubernetes_versions_it_runs_on() {
        let compatible =
            |version: &str, default| Compatibility::builder().cluster_version(version).default_version(default).build();
        let info = AddonVersionInfo::builder()
            .addon_version("v1.20.5-eksbuild.1")
            .compatibilities(compatible("1.33", true))
            .compatibilities(compatible("1.34", false))
            .build();
        assert!(AddonVersion::of(&info, "1.33").is_some_and(|version| version.default));
        assert!(AddonVersion::of(&info, "1.34").is_some_and(|version| !version.default));
        assert_eq!(AddonVersion::of(&info, "1.35"), None);
    }
}
