//! Whether an add-on can run on Fargate, without nodes. Pure.
//!
//! EKS annotates CoreDNS Pods for EC2 unless the configuration sets `computeType: Fargate`. With that, a profile that
//! selects the Pods by namespace and labels is enough. See
//! <https://docs.aws.amazon.com/eks/latest/userguide/fargate-getting-started.html>.

use std::collections::BTreeMap;

use super::fargate_profile;
use crate::api::EksClusterSpec;
use crate::api::addons::{Addon, FargateSelector};
use crate::engine::Key;

/// The only add-on that supports it.
const COREDNS: &str = "coredns";
/// The namespace and the labels of its Pods.
const NAMESPACE: &str = "kube-system";
const LABELS: [(&str, &str); 2] = [("k8s-app", "kube-dns"), ("eks.amazonaws.com/component", COREDNS)];

/// How to run CoreDNS without nodes.
pub const ADVICE: &str = "to run CoreDNS on Fargate, set configuration: {computeType: Fargate} of the add-on \
                          coredns, and list a Fargate profile whose selectors choose namespace kube-system";

/// The profile that the add-on runs on; `None` if it needs nodes.
pub fn profile(spec: &EksClusterSpec, addon: &Addon) -> Option<Key> {
    let compute_type = addon.configuration.as_ref()?.get("computeType")?.as_str()?;
    if addon.name != COREDNS || !compute_type.eq_ignore_ascii_case("fargate") {
        return None;
    }
    let chooses = |selector: &FargateSelector| is_like(&selector.namespace, NAMESPACE) && has_labels(&selector.labels);
    let found = spec.fargate_profiles.iter().find(|profile| profile.selectors.iter().any(chooses))?;
    Some(fargate_profile::key(&found.name))
}

fn has_labels(wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| LABELS.iter().any(|(has, is)| has == key && is_like(value, is)))
}

/// Whether `text` matches `pattern`, in which `*` stands for any characters and `?` for one.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| is_like(rest, &text[at..]))
        }
        Some(first) => text.chars().next().is_some_and(|char| {
            (first == '?' || first == char) && is_like(&pattern[first.len_utf8()..], &text[char.len_utf8()..])
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn runs_on(addon: Value, selectors: Value) -> Option<String> {
        let spec = json!({
            "region": "eu-west-1", "version": "1.34",
            "fargateProfiles": [{"name": "batch", "selectors": [{"namespace": "batch"}]}, {"name": "system", "selectors": selectors}],
        });
        let spec: EksClusterSpec = serde_json::from_value(spec).unwrap();
        profile(&spec, &serde_json::from_value(addon).unwrap()).map(|key| key.name().to_owned())
    }

    #[test]
    fn coredns_runs_on_fargate_with_compute_type_and_matching_profile() {
        let coredns = json!({"name": "coredns", "configuration": {"computeType": "Fargate"}});
        let system = Some("system".to_owned());
        for selectors in [
            json!([{"namespace": "kube-system"}]),
            json!([{"namespace": "kube-*", "labels": {"k8s-app": "kube-dns"}}]),
            json!([{"namespace": "other"}, {"namespace": "*", "labels": {"k8s-app": "kube-???"}}]),
        ] {
            assert_eq!(runs_on(coredns.clone(), selectors.clone()), system, "{selectors}");
        }
        for selectors in [
            json!([{"namespace": "default"}]),
            json!([{"namespace": "kube-system", "labels": {"k8s-app": "other"}}]),
            json!([{"namespace": "kube-system", "labels": {"team": "x"}}]),
        ] {
            assert_eq!(runs_on(coredns.clone(), selectors.clone()), None, "{selectors}");
        }
    }

    #[test]
    fn other_addons_and_coredns_without_compute_type_need_nodes() {
        let all = json!([{"namespace": "*"}]);
        for addon in [
            json!({"name": "coredns"}),
            json!({"name": "coredns", "configuration": {"computeType": "ec2"}}),
            json!({"name": "metrics-server", "configuration": {"computeType": "Fargate"}}),
        ] {
            assert_eq!(runs_on(addon.clone(), all.clone()), None, "{addon}");
        }
    }
}
