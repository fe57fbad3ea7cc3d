//! What the CRDs of a management cluster lack of this version's: fields, and values of enums. The API server rejects a
//! status that has them, and drops them from a spec. Pure.

use serde_json::Value;

use super::{GROUP, crds};

/// What the API server's OpenAPI document of the group lacks, such as `EksCluster status.gitops.url`. Empty, too, if
/// that is no such document.
pub fn missing_parts(document: &Value) -> Vec<String> {
    let Some(schemas) = document.pointer("/components/schemas").and_then(Value::as_object) else { return Vec::new() };
    let mut missing = Vec::new();
    for crd in crds::all() {
        let kind = crd.spec.names.kind.as_str();
        let ours = crd.spec.versions.first().and_then(|version| version.schema.as_ref());
        let ours = serde_json::to_value(ours.and_then(|schema| schema.open_api_v3_schema.as_ref())).unwrap_or_default();
        let Some(theirs) = schemas.values().find(|schema| is_of(schema, kind)) else {
            missing.push(kind.to_owned());
            continue;
        };
        for part in ["spec", "status"] {
            match (ours.pointer(&format!("/properties/{part}")), theirs.pointer(&format!("/properties/{part}"))) {
                (Some(ours), Some(theirs)) => compare(ours, theirs, &format!("{kind} {part}"), &mut missing),
                (Some(_), None) => missing.push(format!("{kind} {part}")),
                (None, _) => {}
            }
        }
    }
    missing
}

fn is_of(schema: &Value, kind: &str) -> bool {
    let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
    let is_kind = |one: &Value| one["group"] == GROUP && one["kind"] == kind;
    kinds.is_some_and(|kinds| kinds.iter().any(is_kind))
}

fn compare(ours: &Value, theirs: &Value, path: &str, missing: &mut Vec<String>) {
    let accepts_all = theirs.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    for (name, field) in ours.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{path}.{name}");
        match theirs.pointer("/properties").and_then(|fields| fields.get(name)) {
            Some(theirs) => compare(field, theirs, &path, missing),
            None if accepts_all => {}
            None => missing.push(path),
        }
    }
    for (part, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let (Some(ours), Some(theirs)) = (ours.get(part), theirs.get(part)) {
            compare(ours, theirs, &format!("{path}{suffix}"), missing);
        }
    }
    let values = |of: &Value| of.get("enum").and_then(Value::as_array).cloned();
    if let (Some(ours), Some(theirs)) = (values(ours), values(theirs)) {
        let lacking = ours.iter().filter(|value| !value.is_null() && !theirs.contains(value));
        missing.extend(lacking.map(|value| format!("{path} {value}")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The document that the API server has of this version's CRDs.
    fn document() -> Value {
        let mut schemas = serde_json::Map::new();
        for crd in crds::all() {
            let kind = crd.spec.names.kind.clone();
            let schema = crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.clone());
            let mut schema = serde_json::to_value(schema).unwrap();
            let of = json!([{"group": GROUP, "kind": kind, "version": "v1alpha1"}]);
            schema["x-kubernetes-group-version-kind"] = of;
            schemas.insert(format!("dev.keelson.v1alpha1.{kind}"), schema);
        }
        json!({"components": {"schemas": schemas}})
    }

    fn remove(document: &mut Value, kind: &str, path: &str, name: &str) {
        let parent = format!("/components/schemas/dev.keelson.v1alpha1.{kind}/properties{path}");
        document.pointer_mut(&parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    }

    #[test]
    fn fields_values_and_kinds_that_are_missing_are_named() {
        let mut older = document();
        assert_eq!(missing_parts(&older), Vec::<String>::new());
        remove(&mut older, "EksCluster", "/status/properties", "synced");
        remove(&mut older, "EksCluster", "/status/properties/resources/items/properties", "updateAttempts");
        remove(&mut older, "NodeGroup", "/spec/properties", "suspend");
        older["components"]["schemas"].as_object_mut().unwrap().remove("dev.keelson.v1alpha1.PlanApproval");
        let policy = "/components/schemas/dev.keelson.v1alpha1.EksCluster/properties/spec/properties/driftPolicy/enum";
        older.pointer_mut(policy).unwrap().as_array_mut().unwrap().retain(|value| value != "Report");
        let mut missing = missing_parts(&older);
        missing.sort();
        assert_eq!(
            missing,
            [
                "EksCluster spec.driftPolicy \"Report\"",
                "EksCluster status.resources[].updateAttempts",
                "EksCluster status.synced",
                "NodeGroup spec.suspend",
                "PlanApproval",
            ]
        );
    }

    #[test]
    fn newer_crds_and_other_documents_lack_nothing() {
        let mut newer = document();
        let fields = "/components/schemas/dev.keelson.v1alpha1.NodeGroup/properties/status/properties";
        newer.pointer_mut(fields).unwrap()["ofALaterVersion"] = json!({"type": "string"});
        assert_eq!(missing_parts(&newer), Vec::<String>::new());
        assert_eq!(missing_parts(&json!({"metadata": {}, "items": []})), Vec::<String>::new());
    }
}
