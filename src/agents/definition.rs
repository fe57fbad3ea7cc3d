//! CustomResourceDefinitions of a workload cluster: whether one is served, and whether another version of it may be
//! applied.
//!
//! Not allowed here: which definitions. I/O: the workload cluster's API, reads only.

use kube::Client;
use kube::core::params::GetParams;
use serde::Deserialize;
use serde_json::Value;

use super::adoption::{MetadataMap, metadata_map};
use crate::workload::answer;
use crate::workload::error::CallError;
use crate::workload::kept::{first_items, first_strings};
use crate::workload::object::{Object, ObjectId, or_default};

/// The fields of a definition that are needed.
#[derive(Debug, Default, Deserialize)]
pub struct Definition {
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
pub struct Metadata {
    #[serde(default, deserialize_with = "metadata_map")]
    pub labels: MetadataMap,
    #[serde(default, deserialize_with = "metadata_map")]
    pub annotations: MetadataMap,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    #[serde(deserialize_with = "first_items")]
    conditions: Vec<Condition>,
    #[serde(deserialize_with = "first_strings")]
    stored_versions: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Definition {
    /// Reads a definition; `None` if it does not exist.
    pub async fn read(client: &Client, id: &ObjectId) -> Result<Option<Self>, CallError> {
        let request = id.request().get(&id.name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
        match answer::request(client, request).await {
            Ok(definition) => Ok(Some(definition)),
            Err(CallError::NotFound) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Whether it is served.
    pub fn is_established(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == "Established" && condition.status == "True")
    }

    /// Stored versions that the definition to apply lacks: objects stored in them could no longer be read.
    pub fn dropped_stored_versions(&self, wanted: &Object) -> Vec<String> {
        let versions = wanted.body.pointer("/spec/versions").and_then(Value::as_array);
        let names: Vec<_> = versions.into_iter().flatten().filter_map(|version| version["name"].as_str()).collect();
        self.status.stored_versions.iter().filter(|stored| !names.contains(&stored.as_str())).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(status: Value) -> Definition {
        serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap()
    }

    #[test]
    fn definition_is_served_once_established() {
        let status = |status| json!({"conditions": [{"type": "Established", "status": status}]});
        assert!(definition(status("True")).is_established());
        assert!(!definition(status("False")).is_established());
        assert!(!definition(json!(null)).is_established());
    }

    #[test]
    fn stored_version_that_the_new_definition_lacks_is_reported() {
        let wanted = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "a"},
            "spec": {"versions": [{"name": "v1"}, {"name": "v2"}]},
        });
        let wanted = Object::of(wanted).unwrap();
        let dropped_stored_versions =
            |stored: &[&str]| definition(json!({"storedVersions": stored})).dropped_stored_versions(&wanted);
        assert_eq!(dropped_stored_versions(&["v1beta1", "v1"]), ["v1beta1"]);
        assert!(dropped_stored_versions(&["v1"]).is_empty());
        assert!(dropped_stored_versions(&[]).is_empty());
    }
}
