//! The version skew that Kubernetes supports between kubelets and their control plane. Pure.
//!
//! See <https://kubernetes.io/releases/version-skew-policy/#kubelet>.

use crate::api::KubernetesVersion;

/// The last kubelet minor that may be only 2 minors behind.
const LAST_OF_TWO: KubernetesVersion = KubernetesVersion { major: 1, minor: 24 };

/// How a kubelet violates the version skew policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    /// The kubelet is newer than the control plane.
    Newer,
    /// The kubelet is too old.
    TooOld,
}

/// How many minors a kubelet of that version may be behind its control plane.
pub fn allowed(kubelet: KubernetesVersion) -> u16 {
    if kubelet <= LAST_OF_TWO { 2 } else { 3 }
}

/// How a kubelet violates the version skew policy; `None`: it does not.
pub fn breaks(control_plane: KubernetesVersion, kubelet: KubernetesVersion) -> Option<Skew> {
    match control_plane.minors_ahead_of(kubelet) {
        Some(behind) if behind < 0 => Some(Skew::Newer),
        Some(behind) if behind <= i32::from(allowed(kubelet)) => None,
        // Another major is not compatible.
        _ if kubelet > control_plane => Some(Skew::Newer),
        _ => Some(Skew::TooOld),
    }
}

/// The oldest kubelet that a control plane supports.
pub fn oldest_with(control_plane: KubernetesVersion) -> KubernetesVersion {
    let minors = (0..=control_plane.minor).map(|minor| KubernetesVersion { minor, ..control_plane });
    minors.into_iter().find(|kubelet| breaks(control_plane, *kubelet).is_none()).unwrap_or(control_plane)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> KubernetesVersion {
        text.parse().unwrap()
    }

    #[test]
    fn kubelet_may_be_three_minors_behind_and_two_up_to_1_24() {
        let table = [
            ("1.34", "1.34", None),
            ("1.34", "1.31", None),
            ("1.35", "1.31", Some(Skew::TooOld)),
            ("1.33", "1.34", Some(Skew::Newer)),
            ("1.26", "1.24", None),
            ("1.27", "1.24", Some(Skew::TooOld)),
            ("1.28", "1.25", None),
            ("1.29", "1.25", Some(Skew::TooOld)),
            ("2.0", "1.34", Some(Skew::TooOld)),
            ("1.34", "2.0", Some(Skew::Newer)),
        ];
        for (control_plane, kubelet, skew) in table {
            assert_eq!(breaks(version(control_plane), version(kubelet)), skew, "{kubelet} below {control_plane}");
        }
    }

    #[test]
    fn oldest_supported_kubelet_is_correct() {
        for (control_plane, oldest) in [("1.35", "1.32"), ("1.28", "1.25"), ("1.27", "1.25"), ("1.26", "1.24")] {
            assert_eq!(oldest_with(version(control_plane)), version(oldest), "{control_plane}");
        }
    }
}
