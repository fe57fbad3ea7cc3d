//! What AWS offers: zones, Kubernetes versions and add-on versions. Pure.

pub use aws_sdk_ec2::types::AvailabilityZoneState;
use aws_sdk_ec2::types::{AvailabilityZone, AvailabilityZoneOptInStatus};
use aws_sdk_eks::types::{AddonVersionInfo, ClusterVersionInformation};
use jiff::Timestamp;

/// An availability zone available to the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    pub name: String,
    /// `use1-az3`: EKS does not support some zone ids, and zone names differ by account.
    pub id: String,
    pub state: Option<AvailabilityZoneState>,
    /// `availability-zone`, `local-zone` or `wavelength-zone`.
    pub kind: String,
    /// Whether the account uses it.
    pub opted_in: OptedIn,
}

/// Whether an account opted in to a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptedIn {
    /// It did, or need not.
    Yes,
    No,
}

impl From<&AvailabilityZone> for Zone {
    fn from(zone: &AvailabilityZone) -> Self {
        Zone {
            name: zone.zone_name().unwrap_or_default().to_owned(),
            id: zone.zone_id().unwrap_or_default().to_owned(),
            state: zone.state().cloned(),
            kind: zone.zone_type().unwrap_or_default().to_owned(),
            opted_in: match zone.opt_in_status() {
                Some(AvailabilityZoneOptInStatus::NotOptedIn) => OptedIn::No,
                _ => OptedIn::Yes,
            },
        }
    }
}

/// A Kubernetes version that EKS offers in the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterVersion {
    /// For example `1.34`.
    pub version: String,
    /// End of standard support.
    pub standard_ends: Option<Timestamp>,
    /// End of extended support.
    pub extended_ends: Option<Timestamp>,
}

impl ClusterVersion {
    pub(super) fn of(info: &ClusterVersionInformation) -> Option<Self> {
        let time = |time: Option<&aws_smithy_types::DateTime>| Timestamp::from_second(time?.secs()).ok();
        Some(ClusterVersion {
            version: info.cluster_version()?.to_owned(),
            standard_ends: time(info.end_of_standard_support_date()),
            extended_ends: time(info.end_of_extended_support_date()),
        })
    }
}

/// A version of an add-on, and the Kubernetes versions it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddonOffer {
    pub info: AddonVersion,
    /// The Kubernetes versions it runs on, and whether it is EKS's default there.
    pub runs_on: Vec<(String, bool)>,
}

impl AddonOffer {
    pub(super) fn of(info: &AddonVersionInfo) -> Option<Self> {
        let compatible = info.compatibilities().iter();
        let runs_on = compatible.filter_map(|c| Some((c.cluster_version()?.to_owned(), c.default_version())));
        Some(AddonOffer {
            info: AddonVersion {
                version: info.addon_version()?.to_owned(),
                default: false,
                requires_configuration: info.requires_configuration(),
                requires_iam_permissions: info.requires_iam_permissions(),
                compute_types: info.compute_types().to_vec(),
            },
            runs_on: runs_on.collect(),
        })
    }

    /// The offer for one Kubernetes version; `None`: it does not run there.
    pub fn for_kubernetes(&self, version: &str) -> Option<AddonVersion> {
        let mut there = self.runs_on.iter().filter(|(on, _)| on == version).peekable();
        there.peek()?;
        Some(AddonVersion { default: there.any(|(_, default)| *default), ..self.info.clone() })
    }
}

/// A version of an add-on that runs on the requested Kubernetes version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddonVersion {
    pub version: String,
    /// EKS's default for that Kubernetes version.
    pub default: bool,
    pub requires_configuration: bool,
    pub requires_iam_permissions: bool,
    /// `ec2`, `fargate`, `auto`, `hybrid`.
    pub compute_types: Vec<String>,
}

#[cfg(test)]
mod tests {
    use aws_sdk_eks::types::Compatibility;

    use super::*;

    #[test]
    fn addon_version_is_offered_only_for_its_kubernetes_versions() {
        let compatible =
            |version: &str, default| Compatibility::builder().cluster_version(version).default_version(default).build();
        let info = AddonVersionInfo::builder()
            .addon_version("v1.20.5-eksbuild.1")
            .compatibilities(compatible("1.33", true))
            .compatibilities(compatible("1.34", false))
            .build();
        let offer = AddonOffer::of(&info).unwrap();
        assert!(offer.for_kubernetes("1.33").is_some_and(|version| version.default));
        assert!(offer.for_kubernetes("1.34").is_some_and(|version| !version.default));
        assert_eq!(offer.for_kubernetes("1.35"), None);
    }
}
