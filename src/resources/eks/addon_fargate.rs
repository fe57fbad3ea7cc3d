//! Whether an add-on can run on Fargate, without nodes. Pure.
//!
//! EKS annotates CoreDNS Pods for EC2 unless the configuration sets `computeType: Fargate`. With that, a profile that
//! selects the Pods by namespace and labels is enough. See
//! <https://docs.aws.amazon.com/eks/latest/userguide/fargate-getting-started.html>.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fargate_profile;
use crate::api::EksClusterSpec;
use crate::api::addons::{Addon, FargateSelector};
use crate::engine::Key;

/// The only add-on whose Pods EKS keeps off Fargate by default.
pub(super) const COREDNS: &str = "coredns";
/// The namespace and the labels of its Pods.
const NAMESPACE: &str = "kube-system";
/// The field of its configuration.
pub(super) const COMPUTE_TYPE: &str = "computeType";
/// Other add-ons that need nodes, and whose Pods are in the same namespace, with labels of their own.
const OTHERS: [&str; 4] = ["aws-ebs-csi-driver", "aws-efs-csi-driver", "metrics-server", "snapshot-controller"];
const LABELS: [(&str, &str); 2] = [("k8s-app", "kube-dns"), ("eks.amazonaws.com/component", COREDNS)];

/// How to run CoreDNS without nodes.
pub const ADVICE: &str = "to run add-ons on Fargate, list a Fargate profile whose selectors choose namespace \
                          kube-system without labels";

/// The profile that the add-on runs on; `None` if it needs nodes. `only_fargate`: the cluster has no nodes, and none are
/// expected.
pub fn profile(spec: &EksClusterSpec, addon: &Addon, only_fargate: bool) -> Option<Key> {
    let compute_type = addon.configuration.as_ref().and_then(|values| values.get(COMPUTE_TYPE)?.as_str());
    let on_fargate = compute_type.map_or(only_fargate, |wanted| wanted.eq_ignore_ascii_case("fargate"));
    let chooses = |selector: &FargateSelector| match addon.name.as_str() {
        COREDNS => on_fargate && is_like(&selector.namespace, NAMESPACE) && has_labels(&selector.labels),
        name if OTHERS.contains(&name) => {
            only_fargate && is_like(&selector.namespace, NAMESPACE) && selector.labels.is_empty()
        }
        _ => only_fargate && selector.namespace == "*" && selector.labels.is_empty(),
    };
    let found = spec.fargate_profiles.iter().find(|profile| profile.selectors.iter().any(chooses))?;
    Some(fargate_profile::key(&found.name))
}

/// The settings with which the add-on is created: on Fargate, CoreDNS must be set up for it.
pub(super) fn configuration(addon: &Addon, profile: Option<&Key>) -> Option<Map<String, Value>> {
    let mut values = addon.configuration.clone();
    if profile.is_some() && addon.name == COREDNS {
        values.get_or_insert_default().entry(COMPUTE_TYPE).or_insert_with(|| "Fargate".into());
    }
    values
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
    use serde_json::json;

    fn runs_on(addon: Value, selectors: Value) -> Option<String> {
        runs_in(addon, selectors, false)
    }

    fn runs_in(addon: Value, selectors: Value, only_fargate: bool) -> Option<String> {
        let spec = json!({
            "region": "eu-west-1", "version": "1.34",
            "fargateProfiles": [{"name": "batch", "selectors": [{"namespace": "batch"}]}, {"name": "system", "selectors": selectors}],
        });
        let spec: EksClusterSpec = serde_json::from_value(spec).unwrap();
        profile(&spec, &serde_json::from_value(addon).unwrap(), only_fargate).map(|key| key.name().to_owned())
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
    fn without_nodes_addons_run_on_a_profile_that_chooses_their_pods() {
        let system = Some("system".to_owned());
        let all = json!([{"namespace": "kube-system"}]);
        let labelled = json!([{"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}]);
        for (addon, selectors, expected) in [
            (json!({"name": "coredns"}), &all, &system),
            (json!({"name": "coredns"}), &labelled, &system),
            (json!({"name": "coredns", "configuration": {"replicaCount": 3}}), &all, &system),
            (json!({"name": "coredns", "configuration": {"computeType": "ec2"}}), &all, &None),
            (json!({"name": "metrics-server"}), &all, &system),
            (json!({"name": "metrics-server"}), &labelled, &None),
            (json!({"name": "amazon-cloudwatch-observability"}), &all, &None),
            (json!({"name": "amazon-cloudwatch-observability"}), &json!([{"namespace": "*"}]), &system),
        ] {
            assert_eq!(runs_in(addon.clone(), selectors.clone(), true), *expected, "{addon} {selectors}");
        }
    }

    #[test]
    fn coredns_is_created_for_fargate_and_other_addons_as_specified() {
        let of = |addon: Value, on_fargate: bool| {
            let profile = on_fargate.then(|| fargate_profile::key("system"));
            configuration(&serde_json::from_value(addon).unwrap(), profile.as_ref()).map(Value::Object)
        };
        assert_eq!(of(json!({"name": "coredns"}), true), Some(json!({"computeType": "Fargate"})));
        let more = json!({"name": "coredns", "configuration": {"replicaCount": 3}});
        assert_eq!(of(more.clone(), true), Some(json!({"replicaCount": 3, "computeType": "Fargate"})));
        assert_eq!(of(more, false), Some(json!({"replicaCount": 3})));
        assert_eq!((of(json!({"name": "coredns"}), false), of(json!({"name": "metrics-server"}), true)), (None, None));
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
