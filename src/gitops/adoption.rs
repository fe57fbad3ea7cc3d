//! Whether Git has adopted an object, and what of it is still ours then.
//!
//! May not enter: a client, and which agent. Pure.
//!
//! What is ours of an object stands in its `managedFields`, so nothing has to be remembered to let go of it once: after a crash it is
//! seen again what is left to give up.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Map, Value, json};

use super::object::{Object, ObjectId};

/// The name under which all that Keelson applies is ours.
pub const FIELD_MANAGER: &str = "keelson";

/// Labels, or annotations.
pub type MetadataMap = BTreeMap<String, String>;

/// How objects of an agent show that Git has adopted them, and what stays ours all the same.
#[derive(Debug, Clone, Copy)]
pub struct AdoptionMarker {
    /// Whether an object with these labels and annotations is one that the agent applies from Git.
    pub adopted: fn(labels: &MetadataMap, annotations: &MetadataMap) -> bool,
    /// Fields, as JSON pointers, that keep an object from being deleted when its file leaves Git. They stay ours as long as Git does not
    /// set them to something else: `flux bootstrap`, for one, writes none of them.
    pub retained: &'static [&'static str],
}

/// What is applied to let go of an object that Git has adopted: its identity, and of the kept fields those that are still ours.
/// All else that is only ours goes, and what is Git's as well stays as Git has it. `None`: there is nothing left to give up.
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

/// Whether something was applied by us.
pub fn is_applied_by_keelson(entry: &ManagedFieldsEntry) -> bool {
    let subresource = entry.subresource.as_deref().unwrap_or_default();
    entry.manager.as_deref() == Some(FIELD_MANAGER)
        && entry.operation.as_deref() == Some("Apply")
        && subresource.is_empty()
}

/// The fields of a set in the form of `managedFields`, as JSON pointers; items of lists keep their keys as these are written there.
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

/// Sets a field of an object that may lack those above it.
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
    fn all_is_given_up_but_what_keeps_it_from_being_deleted() {
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
    fn what_git_sets_otherwise_is_no_longer_ours_and_is_not_taken_back() {
        let mut fields = retained_fields();
        fields["f:spec"] = json!({"f:path": {}});
        let left = release_patch(&object(), RETAINED, &[entry("keelson", &fields)]).unwrap();
        assert_eq!(left.body["metadata"]["annotations"]["agent.example/prune"], "disabled");
        assert_eq!(left.body.get("spec"), None);
    }

    #[test]
    fn it_is_let_go_of_once() {
        assert!(release_patch(&object(), RETAINED, &[entry("keelson", &retained_fields())]).is_none());
        assert!(
            release_patch(&object(), RETAINED, &[entry("kustomize-controller", &json!({"f:spec": {"f:path": {}}}))])
                .is_none()
        );
        assert!(release_patch(&object(), RETAINED, &[]).is_none());
    }

    #[test]
    fn writes_of_others_and_of_a_status_are_not_ours() {
        let mut of_status = entry("keelson", &json!({"f:status": {"f:ready": {}}}));
        of_status.subresource = Some("status".into());
        let mut by_hand = entry("keelson", &json!({"f:spec": {"f:path": {}}}));
        by_hand.operation = Some("Update".into());
        assert!(release_patch(&object(), RETAINED, &[of_status, by_hand]).is_none());
    }
}
