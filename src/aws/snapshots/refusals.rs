//! AMI releases that SSM lists and EKS rejected: EKS accepts them some time after publication, for a region at once. A
//! hint: a process without it makes one extra call. Pure except for the clock.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// AMI type and release.
type Release = (String, String);

/// The rejected releases, with time and EKS's reason.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<HashMap<Release, (Instant, String)>>);

impl Refusals {
    /// Records that a release was rejected.
    pub fn record(&self, ami_type: &str, release: &str, why: impl Into<String>) {
        let mut rejected = self.0.lock();
        // Only the newest release of a type is ever requested.
        rejected.retain(|(of, _), _| of != ami_type);
        rejected.insert((ami_type.to_owned(), release.to_owned()), (Instant::now(), why.into()));
    }

    /// Why a release was rejected, unless that is longer ago than `within`.
    pub fn why(&self, ami_type: &str, release: &str, within: Duration) -> Option<String> {
        let rejected = self.0.lock();
        let (at, why) = rejected.get(&(ami_type.to_owned(), release.to_owned()))?;
        (at.elapsed() < within).then(|| why.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejection_applies_to_one_release_and_expires() {
        let (refusals, hour) = (Refusals::default(), Duration::from_secs(3600));
        refusals.record("AL2023_x86_64_STANDARD", "1.34.5-20261201", "not valid");
        let why = |ami_type: &str, release: &str, within| refusals.why(ami_type, release, within);
        assert_eq!(why("AL2023_x86_64_STANDARD", "1.34.5-20261201", hour).as_deref(), Some("not valid"));
        assert_eq!(why("AL2023_x86_64_STANDARD", "1.34.5-20261201", Duration::ZERO), None);
        assert_eq!(why("AL2023_x86_64_STANDARD", "1.34.6-20261215", hour), None);
        assert_eq!(why("AL2023_ARM_64_STANDARD", "1.34.5-20261201", hour), None);
        refusals.record("AL2023_x86_64_STANDARD", "1.34.6-20261215", "not valid");
        assert_eq!(why("AL2023_x86_64_STANDARD", "1.34.5-20261201", hour), None, "a newer one came");
    }
}
