//! Whether Git has adopted an object, and which of its fields Keelson still owns.
//!
//! Not allowed here: a client, and which agent. Pure.
//!
//! The fields that Keelson owns are in the object's `managedFields`, so releasing them needs no memory: after a crash
//! they are read again.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde::Deserializer;
use serde_json::{Map, Value, json};

use crate::api::gitops::LABEL_DOMAINS;
use crate::workload::kept::metadata_map_with;
use crate::workload::object::{Object, ObjectId};

/// The field manager of everything that Keelson applies.
pub const FIELD_MANAGER: &str = "keelson";

/// Labels or annotations.
pub type MetadataMap = BTreeMap<String, String>;

/// The first labels or annotations of an object, and all that show whether an agent applies it.
pub fn metadata_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MetadataMap, D::Error> {
    metadata_map_with(deserializer, shows_adoption)
}

fn shows_adoption(key: &str) -> bool {
    LABEL_DOMAINS.iter().any(|domain| key.contains(domain))
}

/// How objects of an agent show that Git has adopted them, and which fields Keelson retains nevertheless.
#[derive(Debug, Clone, Copy)]
pub struct AdoptionMarker {
    /// Whether the agent applies an object with these labels and annotations from Git.
    pub is_adopted: fn(labels: &MetadataMap, annotations: &MetadataMap) -> bool,
    /// Fields, as JSON pointers, that prevent the object's deletion when its file is removed from Git. Keelson retains
    /// them unless Git sets them to another value; `flux bootstrap`, for example, sets none of them.
    pub retained: &'static [&'static str],
}

/// The patch that releases an object that Git has adopted: its identity, and those retained fields that Keelson still
/// owns. Server-side apply removes all other fields that only Keelson owns, and leaves those that Git owns too. `None`:
/// nothing to release.
pub fn release_patch(object: &Object, retained: &[&str], managed: &[ManagedFieldsEntry]) -> Option<Object> {
    let mut owned = Vec::new();
    for entry in managed.iter().filter(|entry| is_applied_by_keelson(entry)) {
        if let Some(fields) = &entry.fields_v1 {
            collect_fields(&fields.0, &mut String::new(), &mut owned);
        }
    }
    if owned.iter().all(|field| retained.contains(&field.as_str())) {
        return None;
    }
    let mut body = identity(&object.id);
    for field in retained.iter().filter(|field| owned.iter().any(|owned| owned == *field)) {
        if let Some(value) = object.body.pointer(field) {
            set(&mut body, field, value.clone());
        }
    }
    Some(Object { id: object.id.clone(), body })
}

/// Whether Keelson applied these fields.
pub fn is_applied_by_keelson(entry: &ManagedFieldsEntry) -> bool {
    let subresource = entry.subresource.as_deref().unwrap_or_default();
    entry.manager.as_deref() == Some(FIELD_MANAGER)
        && entry.operation.as_deref() == Some("Apply")
        && subresource.is_empty()
}

/// The fields of a `managedFields` entry as JSON pointers; list items keep their keys as written there.
fn collect_fields(fields: &Value, path: &mut String, found: &mut Vec<String>) {
    let Some(members) = fields.as_object() else { return };
    for (key, below) in members.iter().filter(|(key, _)| *key != ".") {
        let length = path.len();
        path.push('/');
        path.push_str(&key.strip_prefix("f:").unwrap_or(key).replace('~', "~0").replace('/', "~1"));
        if below.as_object().is_none_or(Map::is_empty) {
            found.push(path.clone());
        } else {
            collect_fields(below, path, found);
        }
        path.truncate(length);
    }
}

fn identity(id: &ObjectId) -> Value {
    let mut body = json!({"apiVersion": id.api_version, "kind": id.kind, "metadata": {"name": id.name}});
    if let Some(namespace) = &id.namespace {
        body["metadata"]["namespace"] = namespace.as_str().into();
    }
    body
}

/// Sets a field, creating missing parents.
fn set(body: &mut Value, pointer: &str, value: Value) {
    let mut place = body;
    for key in pointer.split('/').skip(1) {
        place = &mut place[key.replace("~1", "/").replace("~0", "~")];
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETAINED: &[&str] = &["/metadata/annotations/agent.example~1prune", "/spec/deletionPolicy"];

    fn object() -> Object {
        let body = json!({
            "apiVersion": "example/v1",
            "kind": "Root",
            "metadata": {"name": "a", "namespace": "b", "annotations": {"agent.example/prune": "disabled"}},
            "spec": {"deletionPolicy": "Orphan", "path": "./c", "items": [{"name": "d"}]},
        });
        Object::of(body).unwrap()
    }

    #[test]
    fn adoption_shows_however_many_labels_an_object_has() {
        let needed: Vec<_> = LABEL_DOMAINS.iter().map(|domain| format!("{domain}name")).collect();
        let others = (0..500).map(|number| format!("a-label-{number:03}"));
        // In this order: a map would sort those that are needed to the end or to the start.
        let entries: Vec<_> = others.chain(needed.clone()).map(|key| format!("{key:?}: \"x\"")).collect();
        let text = format!("{{{}}}", entries.join(", "));
        let read = metadata_map(&mut serde_json::Deserializer::from_str(&text)).unwrap();
        assert!(needed.iter().all(|key| read.contains_key(key)) && read.len() < 100, "{read:?}");
    }

    fn entry(manager: &str, fields: &Value) -> ManagedFieldsEntry {
        serde_json::from_value(json!({"manager": manager, "operation": "Apply", "fieldsV1": fields})).unwrap()
    }

    fn retained_fields() -> Value {
        json!({
            "f:metadata": {"f:annotations": {"f:agent.example/prune": {}}},
            "f:spec": {"f:deletionPolicy": {}},
        })
    }

    #[test]
    fn release_keeps_only_the_fields_that_prevent_deletion() {
        let mut fields = retained_fields();
        fields["f:spec"]["f:path"] = json!({});
        fields["f:spec"]["f:items"] = json!({"k:{\"name\":\"d\"}": {".": {}, "f:name": {}}});
        let left =
            release_patch(&object(), RETAINED, &[entry("kustomize-controller", &json!({})), entry("keelson", &fields)]);
        assert_eq!(
            left.unwrap().body,
            json!({
                "apiVersion": "example/v1",
                "kind": "Root",
                "metadata": {"name": "a", "namespace": "b", "annotations": {"agent.example/prune": "disabled"}},
                "spec": {"deletionPolicy": "Orphan"},
            })
        );
    }

    #[test]
    fn field_that_git_changed_is_not_retained() {
        let mut fields = retained_fields();
        fields["f:spec"] = json!({"f:path": {}});
        let left = release_patch(&object(), RETAINED, &[entry("keelson", &fields)]).unwrap();
        assert_eq!(left.body["metadata"]["annotations"]["agent.example/prune"], "disabled");
        assert_eq!(left.body.get("spec"), None);
    }

    #[test]
    fn object_is_released_once() {
        assert!(release_patch(&object(), RETAINED, &[entry("keelson", &retained_fields())]).is_none());
        assert!(
            release_patch(&object(), RETAINED, &[entry("kustomize-controller", &json!({"f:spec": {"f:path": {}}}))])
                .is_none()
        );
        assert!(release_patch(&object(), RETAINED, &[]).is_none());
    }

    #[test]
    fn fields_of_other_managers_and_of_status_are_not_owned() {
        let mut of_status = entry("keelson", &json!({"f:status": {"f:ready": {}}}));
        of_status.subresource = Some("status".into());
        let mut by_hand = entry("keelson", &json!({"f:spec": {"f:path": {}}}));
        by_hand.operation = Some("Update".into());
        assert!(release_patch(&object(), RETAINED, &[of_status, by_hand]).is_none());
    }
}
