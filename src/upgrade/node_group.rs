//! What a NodeGroup makes of the version that its cluster tells the node groups. Pure.

use crate::api::KubernetesVersion;
use crate::api::upgrade::FollowPolicy;

/// The version that a node group is to go to now; `None`: it stays as it is.
///
/// `control_plane` is the lower of the versions that it has and that it is to have: nothing goes to where it does not stay.
/// `told` is what the cluster tells ([`super::Targets::node_groups`]). A version of its own is gone to by itself once the
/// control plane has reached it; until then the node group goes along where the cluster must take it along. Never lower.
pub fn target(
    is_at: KubernetesVersion,
    own: Option<KubernetesVersion>,
    policy: FollowPolicy,
    control_plane: KubernetesVersion,
    told: Option<KubernetesVersion>,
) -> Option<KubernetesVersion> {
    // What was told before the control plane went back is not above it any more.
    let told = told.filter(|told| *told <= control_plane);
    let to = match own {
        Some(own) if own <= control_plane => Some(own),
        Some(_) => told,
        None => told.filter(|_| policy == FollowPolicy::Follow),
    };
    to.filter(|to| *to > is_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_version_goes_before_what_the_cluster_tells_and_nothing_is_lowered() {
        use FollowPolicy::{Follow, Manual};
        let table = [
            // at, own, policy, control plane, told, goes to
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
        for (at, own, policy, control_plane, told, goes_to) in table {
            let to = target(version(at), own.map(version), policy, version(control_plane), told.map(version));
            assert_eq!(to, goes_to.map(version), "at {at}, own {own:?}, {policy:?}, told {told:?} at {control_plane}");
        }
    }
}
