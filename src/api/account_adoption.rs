//! AwsAccount's `adoption`: which existing clusters may be adopted, and by which namespaces. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Whether EksClusters with `adoptionPolicy: Adopt` may adopt existing clusters in the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum AccountAdoptionPolicy {
    #[default]
    Forbid,
    Allow,
}

/// Which existing clusters may be adopted, and by which namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountAdoption {
    /// `Forbid`: an EksCluster with `adoptionPolicy: Adopt` is rejected. `Allow`: it may adopt the clusters in
    /// `clusterNames`, with their node groups, add-ons, access entries, pod identities and OIDC provider.
    #[serde(default)]
    pub policy: AccountAdoptionPolicy,
    /// Names in EKS of the clusters that may be adopted; `*` matches any characters; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 100)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::cluster_name_patterns())]
    pub cluster_names: Option<Vec<String>>,
    /// Namespaces that may adopt, among those in `allowedNamespaces`; absent: all of those. Only a namespace that is
    /// listed here may adopt what another namespace retained in AWS with `deletionPolicy: Retain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules::namespace_names())]
    pub namespaces: Option<Vec<String>>,
}

impl AccountAdoption {
    /// Whether objects of `namespace` may adopt the EKS cluster `cluster_name`.
    pub fn allows(&self, namespace: &str, cluster_name: &str) -> bool {
        let named = |patterns: &Vec<String>| patterns.iter().any(|pattern| matches_pattern(pattern, cluster_name));
        self.policy == AccountAdoptionPolicy::Allow
            && (self.namespaces.is_none() || self.lists_namespace(namespace))
            && self.cluster_names.as_ref().is_none_or(named)
    }

    /// Whether `namespace` is listed by name: it may adopt what other namespaces retained.
    pub fn lists_namespace(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_some_and(|listed| listed.iter().any(|name| name == namespace))
    }
}

/// Whether `name` matches `pattern`, in which `*` matches any number of characters.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = rest.split('*').collect();
    let Some((last, middle)) = parts.split_last() else { return true };
    for part in middle {
        // The first match leaves the most for the remaining parts.
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adoption(names: Option<&[&str]>, namespaces: Option<&[&str]>) -> AccountAdoption {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        AccountAdoption {
            policy: AccountAdoptionPolicy::Allow,
            cluster_names: names.map(owned),
            namespaces: namespaces.map(owned),
        }
    }

    #[test]
    fn nothing_may_be_adopted_by_default() {
        assert!(!AccountAdoption::default().allows("team", "legacy"));
        let forbidden = AccountAdoption { policy: AccountAdoptionPolicy::Forbid, ..adoption(None, Some(&["team"])) };
        assert!(!forbidden.allows("team", "legacy"));
    }

    #[test]
    fn absent_lists_allow_all_and_present_lists_only_their_entries() {
        assert!(adoption(None, None).allows("team", "any"));
        let listed = adoption(Some(&["legacy-*", "old"]), Some(&["team"]));
        for (namespace, cluster, allowed) in [
            ("team", "legacy-1", true),
            ("team", "old", true),
            ("team", "older", false),
            ("team", "shop", false),
            ("other", "legacy-1", false),
        ] {
            assert_eq!(listed.allows(namespace, cluster), allowed, "{namespace} {cluster}");
        }
    }

    #[test]
    fn only_a_listed_namespace_may_adopt_what_others_retained() {
        assert!(!adoption(None, None).lists_namespace("team"));
        assert!(adoption(None, Some(&["team"])).lists_namespace("team"));
        assert!(!adoption(None, Some(&["other"])).lists_namespace("team"));
    }

    #[test]
    fn pattern_matches_the_whole_name() {
        for (pattern, name, matches) in [
            ("*", "anything", true),
            ("*", "", true),
            ("legacy-*", "legacy-", true),
            ("legacy-*", "my-legacy-1", false),
            ("*-legacy", "my-legacy", true),
            ("*-legacy", "my-legacy-1", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a**b", "ab", true),
            ("shop", "Shop", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), matches, "{pattern} {name}");
        }
    }
}
