//! The spec to delete by, when the written one is invalid. Pure.

use crate::api::EksClusterSpec;
use crate::api::network::{Network, Vpc};
use crate::engine::Key;
use crate::resources::network::subnet;

/// The smallest spec whose graph holds what was found: for a spec that became invalid.
pub(super) fn of(spec: &EksClusterSpec, owned: &[Key]) -> EksClusterSpec {
    let mut zones: Vec<String> = owned
        .iter()
        .filter(|key| subnet::KIND.is_of(key))
        .filter_map(|key| Some(key.name().split_once('/')?.1.to_owned()))
        .collect();
    zones.sort();
    zones.dedup();
    let existing = spec.network.existing.clone().filter(|existing| zones.is_empty() && existing.subnets().is_ok());
    let network = match existing {
        Some(existing) => Network { vpc: None, existing: Some(existing) },
        None => {
            let zones =
                if zones.is_empty() { ["a", "b"].map(|zone| format!("{}{zone}", spec.region)).to_vec() } else { zones };
            Network { vpc: Some(Vpc { zones: Some(zones), ..Vpc::default() }), existing: None }
        }
    };
    let least = EksClusterSpec {
        network,
        addons: Vec::new(),
        gitops: None,
        pod_identities: Vec::new(),
        fargate_profiles: Vec::new(),
        capabilities: Vec::new(),
        ..spec.clone()
    };
    EksClusterSpec {
        access: crate::api::access::Access::default(),
        kubernetes_network: crate::api::network::KubernetesNetwork::default(),
        ..least
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_invalid_spec_is_replaced_by_the_found_resources() {
        let spec: EksClusterSpec = serde_json::from_value(json!({
            "region": "eu-west-1", "version": "1.34",
            "network": {"vpc": {"cidr": "nonsense"}, "existing": {}},
            "addons": [{"name": "coredns"}],
        }))
        .unwrap();
        let owned = ["vpc", "subnet/private/eu-west-1b", "subnet/public/eu-west-1b", "subnet/private/eu-west-1a"]
            .map(Key::parse);
        let bare = of(&spec, &owned);
        let vpc = bare.network.vpc.unwrap();
        assert_eq!(vpc.zones.unwrap(), ["eu-west-1a", "eu-west-1b"]);
        assert_eq!(vpc.cidr, "10.0.0.0/16");
        assert!(bare.addons.is_empty() && bare.network.existing.is_none());
    }
}
