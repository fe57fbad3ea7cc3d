//! Versions of add-ons: how they compare, which one is installed, which one an add-on should have at a Kubernetes
//! version, and the update order. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/updating-an-add-on.html>.

use std::cmp::Reverse;

use super::observation::ObservedAddon;
use crate::api::KubernetesVersion;
use crate::api::addons::AddonVersion;
use crate::api::upgrade::FollowPolicy;

/// Add-ons that are updated one after the other, in this order; all others follow concurrently.
const IN_ORDER: [&str; 3] = ["vpc-cni", "kube-proxy", "coredns"];

/// An add-on version that EKS offers for a Kubernetes version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedVersion {
    /// As EKS writes it, for example `v1.11.4-eksbuild.2`.
    pub version: String,
    /// Whether it is EKS's default for that Kubernetes version.
    pub default: bool,
}

/// The add-on version that the spec requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DesiredVersion {
    Default,
    Latest,
    Exact(String),
}

impl From<AddonVersion<'_>> for DesiredVersion {
    fn from(version: AddonVersion<'_>) -> Self {
        match version {
            AddonVersion::Default => Self::Default,
            AddonVersion::Latest => Self::Latest,
            AddonVersion::Exact(exact) => Self::Exact(exact.to_owned()),
        }
    }
}

/// `v1.11.4-eksbuild.2` as [1, 11, 4, 2], for comparison.
pub fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn newest<'a>(offers: impl Iterator<Item = &'a OfferedVersion>) -> Option<&'a OfferedVersion> {
    offers.max_by_key(|offer| numbers(&offer.version))
}

fn find<'a>(offers: &'a [OfferedVersion], version: &str) -> Option<&'a OfferedVersion> {
    offers.iter().find(|offer| offer.version == version)
}

/// The version to install, from those offered for the cluster's Kubernetes version. An error says what to write
/// instead.
pub fn choose(wanted: &DesiredVersion, offered: &[OfferedVersion]) -> Result<String, String> {
    let newest = newest(offered.iter());
    let chosen = match wanted {
        DesiredVersion::Default => offered.iter().find(|offer| offer.default).or(newest),
        DesiredVersion::Latest => newest,
        DesiredVersion::Exact(exact) => find(offered, exact),
    };
    match (chosen, wanted) {
        (Some(offer), _) => Ok(offer.version.clone()),
        (None, DesiredVersion::Exact(exact)) if !offered.is_empty() => {
            Err(format!("there is no version {exact}; the newest are {}", newest_names(offered)))
        }
        (None, _) => Err("EKS offers no add-on of that name: see `aws eks describe-addon-versions`".into()),
    }
}

/// The five newest, for a message.
fn newest_names(offered: &[OfferedVersion]) -> String {
    let mut names: Vec<_> = offered.iter().map(|offer| offer.version.as_str()).collect();
    names.sort_by_key(|name| Reverse(numbers(name)));
    names.truncate(5);
    names.join(", ")
}

/// The version to choose from `offers` for an add-on at `installed`. It is not lower than `installed` while `installed`
/// or a newer version is offered; only if all offered versions are lower, one of them is chosen.
fn choose_not_lower(wanted: &DesiredVersion, installed: &str, offers: &[OfferedVersion]) -> Option<String> {
    let chosen = choose(wanted, offers).ok()?;
    let is = numbers(installed);
    if numbers(&chosen) >= is || matches!(wanted, DesiredVersion::Exact(_)) {
        return Some(chosen);
    }
    if find(offers, installed).is_some() {
        return Some(installed.to_owned());
    }
    let newer = offers.iter().filter(|offer| numbers(&offer.version) > is);
    Some(newer.min_by_key(|offer| numbers(&offer.version)).map_or(chosen, |offer| offer.version.clone()))
}

/// Whether the operator updates an add-on at all: it is in the spec, and Default or Latest only under `Follow`.
fn is_updatable(addon: &ObservedAddon, policy: FollowPolicy) -> bool {
    match addon.wanted {
        None => false,
        Some(DesiredVersion::Exact(_)) => true,
        Some(DesiredVersion::Default | DesiredVersion::Latest) => policy == FollowPolicy::Follow,
    }
}

/// The version for an add-on while the control plane is at `minor`; `None`: no change. If the control plane goes on to
/// `next`, a version that must be replaced right before that is not chosen: [`before`] then finds one that runs on
/// both.
pub fn steady(
    addon: &ObservedAddon,
    policy: FollowPolicy,
    minor: KubernetesVersion,
    next: Option<KubernetesVersion>,
) -> Option<String> {
    let wanted = addon.wanted.as_ref().filter(|_| is_updatable(addon, policy))?;
    let offers = addon.offered.get(&minor)?;
    let chosen = choose_not_lower(wanted, &addon.installed, offers).filter(|chosen| *chosen != addon.installed)?;
    let at_next = next.and_then(|next| addon.offered.get(&next)).map_or(&[][..], Vec::as_slice);
    let is_undone =
        find(at_next, &chosen).is_none() && offers.iter().any(|offer| find(at_next, &offer.version).is_some());
    (!is_undone || matches!(wanted, DesiredVersion::Exact(_))).then_some(chosen)
}

/// The version an add-on needs before the control plane moves from `from` to `to`; `None`: no change, or no version
/// runs on both and the add-on is updated afterwards.
pub fn before(
    addon: &ObservedAddon,
    policy: FollowPolicy,
    from: KubernetesVersion,
    to: KubernetesVersion,
) -> Option<String> {
    let (at_from, at_to) = (addon.offered.get(&from)?, addon.offered.get(&to)?);
    let keeps_exact = match &addon.wanted {
        Some(DesiredVersion::Exact(exact)) => !is_offered_later(addon, exact, from, to),
        _ => false,
    };
    if find(at_to, &addon.installed).is_some() || !is_updatable(addon, policy) || keeps_exact {
        return None;
    }
    // EKS's default for the target version, else its default for the current version, else the newest.
    let both = |offers: &[OfferedVersion], other: &[OfferedVersion]| -> Vec<OfferedVersion> {
        offers.iter().filter(|offer| find(other, &offer.version).is_some()).cloned().collect()
    };
    let mut offers = both(at_to, at_from);
    if !offers.iter().any(|offer| offer.default) {
        offers = both(at_from, at_to);
    }
    let wanted =
        if addon.wanted == Some(DesiredVersion::Latest) { DesiredVersion::Latest } else { DesiredVersion::Default };
    choose_not_lower(&wanted, &addon.installed, &offers).filter(|chosen| *chosen != addon.installed)
}

/// Whether an exact version is not offered yet, but is at this step or a later one: until then another version may be
/// installed.
fn is_offered_later(addon: &ObservedAddon, exact: &str, from: KubernetesVersion, to: KubernetesVersion) -> bool {
    let ahead = |minor: KubernetesVersion| if to > from { minor >= to } else { minor == to };
    let has = |offers: &Vec<OfferedVersion>| find(offers, exact).is_some();
    !addon.offered.get(&from).is_some_and(has)
        && addon.offered.iter().any(|(minor, offers)| ahead(*minor) && has(offers))
}

/// The newest versions that EKS offers for a Kubernetes version instead of the requested exact one; `None`: that one is
/// offered or installed, or nothing is known.
pub fn not_offered(addon: &ObservedAddon, minor: KubernetesVersion) -> Option<String> {
    let Some(DesiredVersion::Exact(exact)) = &addon.wanted else { return None };
    let offers = addon.offered.get(&minor)?;
    (*exact != addon.installed && find(offers, exact).is_none()).then(|| newest_names(offers))
}

/// Why an add-on blocks a control plane step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// EKS offers no version of it for the target version.
    NotOffered,
    /// It is at an exact version that does not run there.
    Exact {
        /// The exact version in the spec.
        version: String,
        /// A version that runs on both, if any.
        instead: Option<String>,
    },
    /// It is updated manually (`spec.upgrade.addons: Manual`), and its version does not run there.
    Manual {
        /// A version that runs on both, if any.
        instead: Option<String>,
    },
}

/// Why an add-on in the spec blocks a control plane step, after all possible earlier updates.
pub fn obstacle(
    addon: &ObservedAddon,
    policy: FollowPolicy,
    from: KubernetesVersion,
    to: KubernetesVersion,
) -> Option<Obstacle> {
    let wanted = addon.wanted.as_ref()?;
    let at_to = addon.offered.get(&to)?;
    if find(at_to, &addon.installed).is_some() {
        return None;
    }
    if at_to.is_empty() {
        return Some(Obstacle::NotOffered);
    }
    let at_from = addon.offered.get(&from).map_or(&[][..], Vec::as_slice);
    let on_both = || newest(at_to.iter().filter(|offer| find(at_from, &offer.version).is_some()));
    let instead = || on_both().map(|offer| offer.version.clone());
    match wanted {
        DesiredVersion::Exact(exact) if is_offered_later(addon, exact, from, to) => None,
        DesiredVersion::Exact(exact) => Some(Obstacle::Exact { version: exact.clone(), instead: instead() }),
        DesiredVersion::Default | DesiredVersion::Latest if policy == FollowPolicy::Manual => {
            Some(Obstacle::Manual { instead: instead() })
        }
        DesiredVersion::Default | DesiredVersion::Latest => None,
    }
}

/// The turn in which an add-on is updated: those of a turn run concurrently, after all earlier turns.
pub fn turn(name: &str) -> usize {
    IN_ORDER.iter().position(|first| *first == name).unwrap_or(IN_ORDER.len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::upgrade::observation::AddonState;

    const FOLLOW: FollowPolicy = FollowPolicy::Follow;
    const MANUAL: FollowPolicy = FollowPolicy::Manual;

    fn minor(text: &str) -> KubernetesVersion {
        text.parse().unwrap()
    }

    /// `v1 v2* v3`: the star marks EKS's default.
    fn offers(text: &str) -> Vec<OfferedVersion> {
        let offer =
            |word: &str| OfferedVersion { version: word.trim_end_matches('*').into(), default: word.ends_with('*') };
        text.split_whitespace().map(offer).collect()
    }

    fn wanted(text: &str) -> DesiredVersion {
        match text {
            "Default" => DesiredVersion::Default,
            "Latest" => DesiredVersion::Latest,
            exact => DesiredVersion::Exact(exact.into()),
        }
    }

    fn addon(installed: &str, requested: &str, at_33: &str, at_34: &str) -> ObservedAddon {
        let offered = BTreeMap::from([(minor("1.33"), offers(at_33)), (minor("1.34"), offers(at_34))]);
        let (name, installed) = ("coredns".into(), installed.into());
        ObservedAddon { name, installed, wanted: Some(wanted(requested)), state: AddonState::Settled, offered }
    }

    #[test]
    fn versions_compare_as_numbers() {
        let ascending = ["v1.9.3-eksbuild.5", "v1.11.4-eksbuild.2", "v1.11.4-eksbuild.24", "v1.12.0-eksbuild.1"];
        assert!(ascending.windows(2).all(|pair| numbers(pair[0]) < numbers(pair[1])));
    }

    #[test]
    fn default_is_from_eks_and_latest_is_the_highest_version() {
        let offered = offers("v1.9.3-eksbuild.5 v1.11.4-eksbuild.2* v1.11.4-eksbuild.14");
        assert_eq!(choose(&DesiredVersion::Default, &offered).unwrap(), "v1.11.4-eksbuild.2");
        assert_eq!(choose(&DesiredVersion::Latest, &offered).unwrap(), "v1.11.4-eksbuild.14");
        assert_eq!(choose(&wanted("v1.9.3-eksbuild.5"), &offered).unwrap(), "v1.9.3-eksbuild.5");
    }

    #[test]
    fn unavailable_version_is_rejected_with_available_ones() {
        let why = choose(&wanted("v3"), &offers("v1.9.3-eksbuild.5 v1.11.4-eksbuild.2")).unwrap_err();
        assert!(why.contains("v1.11.4-eksbuild.2, v1.9.3-eksbuild.5"), "{why}");
        assert!(choose(&DesiredVersion::Default, &[]).unwrap_err().contains("no add-on of that name"));
    }

    #[test]
    fn steady_addon_is_raised_to_the_requested_version_and_not_lowered() {
        let table = [
            // installed, requested, offered at 1.33, target
            ("v1", "Default", "v1 v2* v3", Some("v2")),
            ("v1", "Latest", "v1 v2* v3", Some("v3")),
            ("v2", "Default", "v1 v2* v3", None),
            ("v3", "Default", "v1 v2* v3", None),
            // Installed manually and newer than EKS's default; no longer offered: the next higher version, else the
            // default.
            ("v3", "Default", "v1 v2* v4 v5", Some("v4")),
            ("v9", "Default", "v1 v2*", Some("v2")),
            ("v9", "Latest", "v1 v2*", Some("v2")),
            // An exact version is a decision of the user.
            ("v3", "v1", "v1 v2* v3", Some("v1")),
            ("v3", "v7", "v1 v2* v3", None),
            ("v3", "Default", "", None),
        ];
        for (installed, requested, at_33, target) in table {
            let addon = addon(installed, requested, at_33, "");
            let chosen = steady(&addon, FOLLOW, minor("1.33"), None);
            assert_eq!(chosen.as_deref(), target, "{installed} at {requested} of {at_33:?}");
        }
        let unknown = addon("v1", "Default", "v1 v2*", "v3*");
        assert_eq!(steady(&unknown, FOLLOW, minor("1.35"), None), None, "no conclusion without data");
        assert_eq!(steady(&unknown, MANUAL, minor("1.33"), None), None);
        assert_eq!(steady(&ObservedAddon { wanted: None, ..unknown }, FOLLOW, minor("1.33"), None), None);
    }

    #[test]
    fn addon_is_not_updated_to_a_version_that_the_next_step_replaces() {
        let table = [
            // installed, offered at 1.33, at 1.34, target
            ("v1", "v1 v2*", "v2 v3*", Some("v2")),
            ("v1", "v1 v2*", "v1* v3", None),
            ("v1", "v1 v2*", "v3*", Some("v2")),
            ("v0", "v1 v2*", "v1 v3*", None),
        ];
        for (installed, at_33, at_34, target) in table {
            let addon = addon(installed, "Default", at_33, at_34);
            let chosen = steady(&addon, FOLLOW, minor("1.33"), Some(minor("1.34")));
            assert_eq!(chosen.as_deref(), target, "{installed} of {at_33:?} and {at_34:?}");
        }
    }

    #[test]
    fn incompatible_addon_is_updated_before_the_step_if_a_version_runs_on_both() {
        let table = [
            // installed, requested, offered at 1.33, at 1.34, target
            ("v1", "Default", "v1* v2 v3", "v2 v3* v4", Some("v3")),
            ("v1", "Default", "v1 v2* v3", "v2 v3 v4*", Some("v2")),
            ("v1", "Default", "v1* v2 v3", "v2 v3 v4*", Some("v3")),
            ("v1", "Latest", "v1* v2 v3", "v2* v3 v4", Some("v3")),
            ("v2", "Default", "v1* v2 v3", "v2 v3*", None),
            ("v1", "Default", "v1*", "v3*", None),
            // Exact: unchanged, unless it is offered from this step on and another version must bridge until then.
            ("v1", "v1", "v1* v2", "v2 v3*", None),
            ("v1", "v3", "v1* v2", "v2 v3*", Some("v2")),
            ("v1", "v9", "v1* v2", "v2 v3*", None),
        ];
        for (installed, requested, at_33, at_34, target) in table {
            let addon = addon(installed, requested, at_33, at_34);
            let chosen = before(&addon, FOLLOW, minor("1.33"), minor("1.34"));
            assert_eq!(chosen.as_deref(), target, "{installed} at {requested} of {at_33:?} and {at_34:?}");
        }
        assert_eq!(before(&addon("v1", "Default", "v1 v2", "v2"), MANUAL, minor("1.33"), minor("1.34")), None);
    }

    #[test]
    fn addon_that_cannot_be_updated_and_is_incompatible_is_an_obstacle() {
        let instead = |version: &str| Some(version.to_owned());
        let exact = |version: &str, instead| Some(Obstacle::Exact { version: version.into(), instead });
        let table = [
            (addon("v1", "v1", "v1* v2", "v2 v3*"), FOLLOW, exact("v1", instead("v2"))),
            (addon("v1", "v1", "v1*", "v3*"), FOLLOW, exact("v1", None)),
            (addon("v1", "v3", "v1*", "v3*"), FOLLOW, None),
            (addon("v1", "Default", "v1* v2", "v2"), MANUAL, Some(Obstacle::Manual { instead: instead("v2") })),
            (addon("v1", "Default", "v1*", "v3*"), FOLLOW, None),
            (addon("v1", "Default", "v1*", ""), FOLLOW, Some(Obstacle::NotOffered)),
            (addon("v1", "Default", "v1*", "v1*"), MANUAL, None),
        ];
        for (addon, policy, expected) in table {
            assert_eq!(obstacle(&addon, policy, minor("1.33"), minor("1.34")), expected, "{addon:?}");
        }
    }

    #[test]
    fn update_order_is_network_proxy_dns_rest() {
        let mut names = ["aws-ebs-csi-driver", "coredns", "kube-proxy", "vpc-cni"];
        names.sort_by_key(|name| turn(name));
        assert_eq!(names, ["vpc-cni", "kube-proxy", "coredns", "aws-ebs-csi-driver"]);
        assert_eq!(turn("aws-ebs-csi-driver"), turn("metrics-server"));
    }
}
