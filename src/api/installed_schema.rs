//! What the CRDs of a management cluster lack of this version's: fields, and values of enums. The API server rejects a
//! status that has them, and drops them from a spec. Pure.
//!
//! This version's are in `schema_parts.txt`: building the schemas costs more than all else that the operator does at its
//! start. `tests/crds.rs` compares that file with the types, and writes it with `UPDATE_CRDS=1`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{GROUP, crds};

/// Name of the file, beside this one.
pub const FILE: &str = "src/api/schema_parts.txt";
const OURS: &str = include_str!("schema_parts.txt");

/// The parts of this version's schemas, one in each line: kinds, fields and values of enums, such as `NodeGroup`, `NodeGroup
/// spec.taints[].effect` and `NodeGroup spec.taints[].effect "NoSchedule"`. A part follows what contains it.
///
/// # Errors
/// A schema cannot be serialised.
pub fn parts() -> Result<String, serde_json::Error> {
    let mut found = Parts::default();
    for crd in crds::all() {
        let schema = crd.spec.versions.first().and_then(|version| version.schema.as_ref());
        let schema = serde_json::to_value(schema.and_then(|schema| schema.open_api_v3_schema.as_ref()))?;
        found.add_kind(&crd.spec.names.kind, &schema);
    }
    Ok(found.parts.iter().map(|part| format!("{part}\n")).collect())
}

/// What the API server's OpenAPI document of the group lacks, such as `EksCluster status.gitops.url`; of what is missing as
/// a whole, only that. Empty, too, if that is no such document.
pub fn missing_parts(document: &Value) -> Vec<String> {
    let Some(schemas) = document.pointer("/components/schemas").and_then(Value::as_object) else { return Vec::new() };
    let mut theirs = Parts::default();
    for schema in schemas.values() {
        let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
        let ours = kinds.into_iter().flatten().filter(|one| one["group"] == GROUP);
        for kind in ours.filter_map(|one| one["kind"].as_str()) {
            theirs.add_kind(kind, schema);
        }
    }
    let mut missing: Vec<String> = Vec::new();
    for part in OURS.lines().filter(|part| !theirs.accepts(part)) {
        if !missing.iter().any(|larger| is_within(part, larger)) {
            missing.push(part.to_owned());
        }
    }
    missing
}

/// Whether a part is one of, or in, a larger one.
fn is_within(part: &str, larger: &str) -> bool {
    part.strip_prefix(larger).is_some_and(|rest| rest.starts_with(['.', '[', ' ']))
}

/// The parts of some schemas.
#[derive(Default)]
struct Parts {
    parts: BTreeSet<String>,
    /// Fields that accept unknown fields.
    open: BTreeSet<String>,
    /// Fields that accept only some values.
    enums: BTreeSet<String>,
}

impl Parts {
    fn add_kind(&mut self, kind: &str, schema: &Value) {
        self.parts.insert(kind.to_owned());
        for part in ["spec", "status"] {
            if let Some(schema) = schema.pointer(&format!("/properties/{part}")) {
                self.add(format!("{kind} {part}"), schema);
            }
        }
    }

    fn add(&mut self, path: String, schema: &Value) {
        for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            self.add(format!("{path}.{name}"), field);
        }
        for (part, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
            if let Some(schema) = schema.get(part).filter(|schema| schema.is_object()) {
                self.add(format!("{path}{suffix}"), schema);
            }
        }
        if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
            self.open.insert(path.clone());
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            self.parts.extend(values.iter().filter(|value| !value.is_null()).map(|value| format!("{path} {value}")));
            self.enums.insert(path.clone());
        }
        self.parts.insert(path);
    }

    fn accepts(&self, part: &str) -> bool {
        let has_no_enum = || {
            let field = part.rsplit_once(" \"").map(|(field, _)| field);
            field.is_some_and(|field| self.parts.contains(field) && !self.enums.contains(field))
        };
        self.parts.contains(part) || has_no_enum() || self.open.iter().any(|open| is_within(part, open))
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
