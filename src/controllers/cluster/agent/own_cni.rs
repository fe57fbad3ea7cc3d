//! Clusters that bring their own CNI: none of EKS's is installed in them, so the agent has to install one from Git, on
//! the host network. Pure.

use crate::agents::host_network::ApiAddress;
use crate::api::EksClusterSpec;
use crate::api::addons::VPC_CNI;
use crate::controllers::cluster::status::facts::Facts;
use crate::engine::Memory;

/// Whether Pods of the namespace have no network until Git has installed a CNI. Keelson creates clusters without EKS's
/// self-managed add-ons. Nodes of Auto Mode and of Fargate bring a CNI, and Fargate has no host network.
fn is_own_cni(spec: &EksClusterSpec, namespace: &str) -> bool {
    let is_listed = spec.addons.iter().any(|addon| addon.name == VPC_CNI);
    let mut selectors = spec.fargate_profiles.iter().flat_map(|profile| &profile.selectors);
    let is_on_fargate = selectors.any(|selector| matches(&selector.namespace, namespace));
    !is_listed && !spec.has_auto_mode() && !is_on_fargate
}

/// Whether a Fargate pattern matches: `*` any characters, `?` one.
fn matches(pattern: &str, text: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, first) => first.is_none(),
        (Some('*'), first) => {
            matches(&pattern[1..], text) || first.is_some_and(|c| matches(pattern, &text[c.len_utf8()..]))
        }
        (Some(wanted), Some(first)) => {
            (wanted == '?' || wanted == first) && matches(&pattern[wanted.len_utf8()..], &text[first.len_utf8()..])
        }
        (Some(_), None) => false,
    }
}

/// The API server's address, if the agent may need the host network.
pub fn api_address(spec: &EksClusterSpec, namespace: &str, memory: &Memory) -> Option<ApiAddress> {
    let endpoint = Facts(memory).of_cluster("endpoint").filter(|_| is_own_cni(spec, namespace))?;
    ApiAddress::of_endpoint(&endpoint)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn cluster_without_a_cni_of_aws_brings_its_own() {
        let of = |fields: Value| {
            let mut spec = json!({"region": "eu-west-1", "version": "1.34"});
            spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            is_own_cni(&serde_json::from_value(spec).unwrap(), "flux-system")
        };
        let without = || json!([{"name": "kube-proxy"}, {"name": "coredns"}]);
        let profile = |namespace: &str| json!([{"name": "a", "selectors": [{"namespace": namespace}]}]);
        assert!(!of(json!({})), "vpc-cni is a default");
        assert!(of(json!({"addons": []})) && of(json!({"addons": without()})));
        assert!(!of(json!({"addons": without(), "autoMode": {"nodePools": ["system"]}})));
        assert!(of(json!({"addons": without(), "fargateProfiles": profile("batch-*")})));
        for namespace in ["flux-system", "flux-*", "*system", "flux?system", "*"] {
            assert!(!of(json!({"addons": without(), "fargateProfiles": profile(namespace)})), "{namespace}");
        }
    }
}
