//! Evaluates the CRDs' rules about the previous object (`oldSelf`), as the API server does at an update: against the object
//! as it is in the management cluster. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::rules;

/// What the API server would refuse of the change from `old`, each with its field. `new` has its defaults.
pub fn check_change(schema: &Value, old: &Value, new: &Value) -> Vec<String> {
    let mut new = new.clone();
    // An update keeps the status.
    new["status"] = old["status"].clone();
    if let Some(fields) = new.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    let mut errors = Vec::new();
    check(schema, old, &new, "", &mut errors);
    errors
}

/// A value that is only on one side is no change of it: a rule of the field that contains it decides.
fn check(schema: &Value, old: &Value, new: &Value, path: &str, errors: &mut Vec<String>) {
    for (below, message) in rules::broken_by_change(schema, old, new) {
        let field = format!("{path}{below}");
        let field = field.trim_start_matches('.');
        errors.push(format!("{}: {message}", if field.is_empty() { "the object" } else { field }));
    }
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, new) in after {
                let Some(old) = before.get(name) else { continue };
                let known = &schema["properties"][name];
                let (schema, at) = match known {
                    Value::Null => (&schema["additionalProperties"], format!("{path}[{name}]")),
                    _ if path.is_empty() => (known, name.clone()),
                    _ => (known, format!("{path}.{name}")),
                };
                check(schema, old, new, &at, errors);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            let keys: Vec<&str> = keys.filter_map(Value::as_str).collect();
            if keys.is_empty() {
                // Entries of other lists have no identity.
                return;
            }
            let identity = |item: &Value| keys.iter().map(|key| item[*key].to_string()).collect::<Vec<_>>();
            let before: BTreeMap<_, _> = before.iter().map(|item| (identity(item), item)).collect();
            for (n, new) in after.iter().enumerate() {
                if let Some(old) = before.get(&identity(new)) {
                    check(&schema["items"], old, new, &format!("{path}[{n}]"), errors);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt as _;
    use serde_json::json;

    use super::*;
    use crate::api::EksCluster;

    fn refused(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let old = json!({
            "metadata": {"name": "demo"},
            "spec": {
                "region": "eu-west-1", "version": "1.34", "upgrade": {"allowRollback": false},
                "network": {"vpc": {"cidr": "10.0.0.0/16", "zoneCount": 3}},
                "fargateProfiles": [{"name": "a", "selectors": [{"namespace": "x"}]}],
            },
            "status": {"version": "1.34", "arn": "arn:aws:eks:eu-west-1:1:cluster/demo"},
        });
        let mut new = old.clone();
        new.as_object_mut().unwrap().remove("status");
        change(&mut new);
        let crd = serde_json::to_value(EksCluster::crd()).unwrap();
        check_change(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &old, &new)
    }

    #[test]
    fn change_of_what_cannot_change_is_refused_with_its_field() {
        assert_eq!(refused(|_| ()), Vec::<String>::new());
        let region = refused(|new| new["spec"]["region"] = json!("eu-west-2"));
        assert!(region.len() == 1 && region[0].starts_with("spec.region: the region cannot change"), "{region:?}");
        let cidr = refused(|new| new["spec"]["network"]["vpc"]["cidr"] = json!("10.1.0.0/16"));
        assert!(cidr.len() == 1 && cidr[0].starts_with("spec.network.vpc.cidr: "), "{cidr:?}");
    }

    #[test]
    fn rules_of_the_object_see_its_status() {
        let lower = refused(|new| new["spec"]["version"] = json!("1.33"));
        assert_eq!(lower.len(), 1, "{lower:?}");
        assert!(refused(|new| new["spec"]["version"] = json!("1.35")).is_empty());
    }

    #[test]
    fn entries_of_a_list_are_compared_by_their_names() {
        let other = json!([{"namespace": "y"}]);
        let changed = refused(|new| new["spec"]["fargateProfiles"][0]["selectors"] = other.clone());
        assert!(changed.len() == 1 && changed[0].starts_with("spec.fargateProfiles[0].selectors: "), "{changed:?}");
        let added = refused(|new| {
            let first = new["spec"]["fargateProfiles"][0].clone();
            new["spec"]["fargateProfiles"] = json!([{"name": "b", "selectors": other}, first]);
        });
        assert_eq!(added, Vec::<String>::new());
    }
}
