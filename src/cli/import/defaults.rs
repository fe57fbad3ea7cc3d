//! Removes from an object what the API server adds by default, except for the fields that users want to see. Pure.

use anyhow::Context as _;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::api::{EksCluster, NodeGroup};

/// Fields that are written even with their default: who can reach the cluster, and what it contains.
const SHOWN: [&str; 10] = [
    "access",
    "endpointAccess",
    "public",
    "publicCidrs",
    "private",
    "authenticationMode",
    "oidcProvider",
    "addons",
    "version",
    "capacityType",
];

/// Removes defaults from an EksCluster or a NodeGroup.
pub fn remove_defaults(object: &mut Value) -> anyhow::Result<()> {
    let crd = match object["kind"].as_str() {
        Some("EksCluster") => EksCluster::crd(),
        _ => NodeGroup::crd(),
    };
    let schema = serde_json::to_value(crd)?;
    let spec = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    without(spec, object.get_mut("spec").context("the object has no spec")?);
    // Public access is disabled, so the list has no effect.
    if let Some(access) = object.pointer_mut("/spec/endpointAccess").and_then(Value::as_object_mut)
        && access.get("public") == Some(&Value::Bool(false))
    {
        access.remove("publicCidrs");
    }
    Ok(())
}

fn without(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let Some(known) = schema["properties"].as_object() else { return };
            for (name, schema) in known {
                let Some(value) = fields.get_mut(name) else { continue };
                let default = &schema["default"];
                let is_default = !default.is_null() && value == default;
                if !is_default || SHOWN.contains(&name.as_str()) {
                    without(schema, value);
                }
                let says_nothing = !default.is_null() && *value == Value::Object(Default::default());
                if (is_default || says_nothing) && !SHOWN.contains(&name.as_str()) {
                    fields.remove(name);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| without(&schema["items"], item)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_are_removed_except_important_fields() {
        let mut object = json!({"kind": "EksCluster", "spec": {
            "region": "eu-west-1", "version": "1.34", "changePolicy": "Automatic", "adoptionPolicy": "Adopt", "suspend": false,
            "network": {"existing": {"subnetIds": ["subnet-1"]}},
            "endpointAccess": {"public": true, "publicCidrs": ["0.0.0.0/0"], "private": true},
            "kubernetesNetwork": {"ipFamily": "IPv4", "serviceCidr": "172.20.0.0/16"},
            "access": {"authenticationMode": "Api", "prune": false},
            "addons": [{"name": "coredns", "version": "Default", "conflicts": "Preserve"}],
            "upgrade": {"insights": "Block", "soak": "0s", "nodeGroups": "Follow", "addons": "Follow", "unreadableNodes": "Block",
                "allowRollback": false},
        }});
        remove_defaults(&mut object).unwrap();
        let expected = json!({
            "region": "eu-west-1", "version": "1.34", "adoptionPolicy": "Adopt",
            "network": {"existing": {"subnetIds": ["subnet-1"]}},
            "endpointAccess": {"public": true, "publicCidrs": ["0.0.0.0/0"], "private": true},
            "kubernetesNetwork": {"serviceCidr": "172.20.0.0/16"},
            "access": {"authenticationMode": "Api"},
            "addons": [{"name": "coredns", "version": "Default"}],
        });
        assert_eq!(object["spec"], expected);
    }

    #[test]
    fn a_private_endpoint_has_no_public_ranges() {
        let mut object = json!({"kind": "EksCluster", "spec": {
            "endpointAccess": {"public": false, "publicCidrs": ["0.0.0.0/0"], "private": true},
        }});
        remove_defaults(&mut object).unwrap();
        assert_eq!(object["spec"]["endpointAccess"], json!({"public": false, "private": true}));
    }
}
