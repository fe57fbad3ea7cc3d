//! The target version of a NodeGroup, derived from the version of its cluster. Pure.

use crate::api::KubernetesVersion;
use crate::api::upgrade::FollowPolicy;

/// The version that a node group must be updated to now; `None`: no update.
///
/// `control_plane` is the lower of the current and the desired control plane version: nodes never go to a version that
/// will be rolled back. `offered` is the version for node groups ([`super::Targets::node_groups`]). A node group moves
/// to its own version as soon as the control plane has reached it; until then it follows where the version skew policy
/// requires it. Never lower.
pub fn target(
    current: KubernetesVersion,
    own: Option<KubernetesVersion>,
    policy: FollowPolicy,
    control_plane: KubernetesVersion,
    offered: Option<KubernetesVersion>,
) -> Option<KubernetesVersion> {
    // A version from before a rollback of the control plane no longer applies.
    let offered = offered.filter(|offered| *offered <= control_plane);
    let to = match own {
        Some(own) if own <= control_plane => Some(own),
        Some(_) => offered,
        None => offered.filter(|_| policy == FollowPolicy::Follow),
    };
    to.filter(|to| *to > current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_version_takes_precedence_and_nothing_is_lowered() {
        use FollowPolicy::{Follow, Manual};
        let table = [
            // at, own, policy, control plane, offered, target
            ("1.31", None, Follow, "1.33", None, None),
            ("1.31", None, Follow, "1.33", Some("1.33"), Some("1.33")),
            ("1.31", None, Manual, "1.33", Some("1.33"), None),
            ("1.33", None, Follow, "1.33", Some("1.33"), None),
            ("1.33", None, Follow, "1.33", Some("1.34"), None),
            ("1.31", Some("1.31"), Follow, "1.33", Some("1.33"), None),
            ("1.31", Some("1.32"), Follow, "1.33", None, Some("1.32")),
            ("1.31", Some("1.32"), Manual, "1.33", None, Some("1.32")),
            ("1.31", Some("1.35"), Follow, "1.33", None, None),
            ("1.31", Some("1.35"), Manual, "1.33", Some("1.33"), Some("1.33")),
            ("1.33", Some("1.31"), Follow, "1.33", None, None),
        ];
        let version = |text: &str| text.parse::<KubernetesVersion>().unwrap();
        for (at, own, policy, control_plane, offered, expected) in table {
            let to = target(version(at), own.map(version), policy, version(control_plane), offered.map(version));
            assert_eq!(
                to,
                expected.map(version),
                "at {at}, own {own:?}, {policy:?}, offered {offered:?} at {control_plane}"
            );
        }
    }
}
