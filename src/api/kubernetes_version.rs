//! A Kubernetes minor version ("1.34"), compared as numbers. No I/O.

use std::fmt;
use std::str::FromStr;

/// A Kubernetes version as in EKS: major and minor.
///
/// ```
/// use keelson::api::KubernetesVersion;
/// let nine: KubernetesVersion = "1.9".parse().unwrap();
/// let ten: KubernetesVersion = "1.10".parse().unwrap();
/// assert!(nine < ten);
/// assert_eq!(ten.minors_ahead_of(nine), Some(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion {
    /// The major version.
    pub major: u16,
    /// The minor version; EKS upgrades one at a time.
    pub minor: u16,
}

impl KubernetesVersion {
    /// The next minor version.
    pub fn next(self) -> Self {
        Self { minor: self.minor + 1, ..self }
    }

    /// How many minor versions this is ahead of `other` (negative: behind); `None` for different majors.
    pub fn minors_ahead_of(self, other: Self) -> Option<i32> {
        (self.major == other.major).then(|| i32::from(self.minor) - i32::from(other.minor))
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Text that is not a Kubernetes version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a Kubernetes version; write major and minor only, like \"1.34\"")]
pub struct InvalidVersion(String);

impl FromStr for KubernetesVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let canonical = part == "0" || !part.starts_with('0');
            (digits && canonical).then(|| part.parse::<u16>().ok()).flatten()
        };
        text.split_once('.')
            .and_then(|(major, minor)| Some(Self { major: number(major)?, minor: number(minor)? }))
            .ok_or_else(|| InvalidVersion(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_has_major_and_minor_only() {
        for bad in ["", "1", "1.", ".34", "v1.34", "1.34.2", "1.034", "+1.34", "1.99999"] {
            assert!(bad.parse::<KubernetesVersion>().is_err(), "{bad:?}");
        }
        let version: KubernetesVersion = "1.34".parse().unwrap();
        assert_eq!(version.to_string(), "1.34");
        assert_eq!(version.next().to_string(), "1.35");
    }
}
