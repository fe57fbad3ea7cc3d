//! The Kubernetes versions that EKS offers. I/O: a shared read of EKS.

use std::time::Duration;

use crate::aws::MaxStaleness;
use crate::engine::Failure;
use crate::resources::cloud::Cloud;

/// How long versions are cached: they change a few times a year.
const VERSIONS_MAX_AGE: Duration = Duration::from_secs(6 * 3600);

/// Rejects a Kubernetes version that EKS does not offer in the region.
pub async fn check_offered(cloud: &Cloud, version: &str) -> Result<(), Failure> {
    let offered = cloud.aws.snapshots.cluster_versions(MaxStaleness::within(VERSIONS_MAX_AGE)).await?;
    // An empty list proves nothing.
    let offered: Vec<_> = offered.iter().map(|one| one.version.as_str()).collect();
    if offered.is_empty() || offered.contains(&version) {
        return Ok(());
    }
    let (region, offered) = (&cloud.aws.region, offered.join(", "));
    Err(Failure::invalid(format!(
        "spec.version: EKS does not offer Kubernetes {version} in {region}; it offers {offered}"
    )))
}
