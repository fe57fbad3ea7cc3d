//! Who applies a field of an object again and again, such as a GitOps agent of the management cluster. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

/// The field manager of this command line.
pub const MANAGER: &str = "keelson-cli";
/// Annotation of client-side apply.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Who applies the field of that path, and will set it back when this command line changes it.
pub fn applier<'a>(metadata: &'a ObjectMeta, path: &[&str]) -> Option<&'a str> {
    let all = metadata.managed_fields.as_deref().unwrap_or_default();
    let applies = |entry: &&ManagedFieldsEntry| {
        let fields =
            entry.fields_v1.as_ref().map(|fields| path.iter().fold(&fields.0, |at, name| &at[format!("f:{name}")]));
        let owns = fields.is_some_and(|field| !field.is_null());
        owns && entry.operation.as_deref() == Some("Apply") && entry.manager.as_deref() != Some(MANAGER)
    };
    if let Some(entry) = all.iter().find(applies) {
        return entry.manager.as_deref();
    }
    let applied: Value = serde_json::from_str(metadata.annotations.as_ref()?.get(LAST_APPLIED)?).ok()?;
    let field = path.iter().fold(&applied, |at, name| &at[*name]);
    (!field.is_null()).then_some("a manifest")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SUSPEND: [&str; 2] = ["spec", "suspend"];

    fn managed(manager: &str, fields: Value) -> ObjectMeta {
        serde_json::from_value(
            json!({"managedFields": [{"manager": manager, "operation": "Apply", "fieldsV1": fields}]}),
        )
        .unwrap()
    }

    #[test]
    fn who_sets_the_field_back_is_named() {
        let of = |manager: &str, field: &str| managed(manager, json!({"f:spec": {field: {}}}));
        assert_eq!(applier(&of("from-git", "f:suspend"), &SUSPEND), Some("from-git"));
        assert_eq!(applier(&of("from-git", "f:region"), &SUSPEND), None);
        assert_eq!(applier(&of(MANAGER, "f:suspend"), &SUSPEND), None);
        let mut applied = of(MANAGER, "f:suspend");
        let manifest = json!({"spec": {"suspend": true}}).to_string();
        applied.annotations = Some([(LAST_APPLIED.to_owned(), manifest)].into());
        assert_eq!(applier(&applied, &SUSPEND), Some("a manifest"));
        let annotation = managed("from-git", json!({"f:metadata": {"f:annotations": {"f:keelson.dev/retry": {}}}}));
        assert_eq!(applier(&annotation, &["metadata", "annotations", "keelson.dev/retry"]), Some("from-git"));
        assert_eq!(applier(&annotation, &["metadata", "annotations", "keelson.dev/approve"]), None);
    }
}
