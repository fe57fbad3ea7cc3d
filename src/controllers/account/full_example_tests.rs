//! No field of the example that shows all of them names a resource unchecked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::named::{by_cluster, by_node_group};

/// Every id and ARN in the example that shows all fields is checked, except those that give no access to what they
/// name.
#[test]
fn every_id_and_arn_of_the_full_example_is_checked() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/full.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let mut found = BTreeMap::new();
    let mut checked = BTreeSet::new();
    for document in &documents {
        let spec = document["spec"].clone();
        match document["kind"].as_str() {
            Some("EksCluster") => {
                checked.extend(by_cluster(&serde_json::from_value(spec.clone()).unwrap()).into_iter().map(|n| n.value));
                collect_names("spec", &spec, &mut found);
            }
            Some("NodeGroup") => {
                checked
                    .extend(by_node_group(&serde_json::from_value(spec.clone()).unwrap()).into_iter().map(|n| n.value));
                collect_names("spec", &spec, &mut found);
            }
            _ => {}
        }
    }
    // The policy of a bucket says from whom it takes flow logs. An account allows a policy document as a whole, or not at
    // all. For an instance of IAM Identity Center the operator's role needs permissions that no policy in deploy/ has.
    let is_exempt = |path: &str| {
        path.starts_with("spec.access.entries")
            || path.contains("].role.policy.")
            || path == "spec.network.vpc.flowLogs.s3.bucketArn"
            || path.ends_with("awsIdc.idcInstanceArn")
    };
    let unchecked: Vec<_> =
        found.iter().filter(|(path, value)| !is_exempt(path) && !checked.contains(*value)).collect();
    assert!(unchecked.is_empty() && checked.len() >= 6, "{unchecked:?} {checked:?}");
}

/// The ids and ARNs in a document, by path.
fn collect_names(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| collect_names(&format!("{path}.{name}"), value, found))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| collect_names(&format!("{path}[{at}]"), item, found));
        }
        Value::String(text) => {
            let is_name = ["arn:", "vpc-0", "subnet-", "sg-", "lt-", "eipalloc-", "ami-", "cr-"]
                .iter()
                .any(|p| text.starts_with(p));
            if is_name {
                found.insert(path.to_owned(), text.clone());
            }
        }
        _ => {}
    }
}
