//! The CustomResourceDefinitions as objects and as the files in `crds/`. No I/O.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{AwsAccount, EksCluster, FleetRollout, NodeGroup, PlanApproval};

/// First line of a generated file.
const HEADER: &str = "# Generated from src/api by `keelson crds`: do not edit.\n";

/// The definitions of all kinds, in the order of their files.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut found =
        vec![AwsAccount::crd(), EksCluster::crd(), FleetRollout::crd(), NodeGroup::crd(), PlanApproval::crd()];
    for crd in &mut found {
        set_default_status(crd);
        if let Some(spec) = root(crd).and_then(|root| root.properties.as_mut()?.get_mut("spec")) {
            describe_defaults(spec);
        }
    }
    found
}

/// The schema of a definition, which has one version.
fn root(crd: &mut CustomResourceDefinition) -> Option<&mut JSONSchemaProps> {
    crd.spec.versions.first_mut()?.schema.as_mut()?.open_api_v3_schema.as_mut()
}

/// Adds the defaults to the descriptions: `kubectl explain` does not show them.
fn describe_defaults(schema: &mut JSONSchemaProps) {
    for field in schema.properties.iter_mut().flat_map(|fields| fields.values_mut()) {
        let default = field.default.as_ref().and_then(|default| format_default(&default.0));
        if let (Some(description), Some(default)) = (&mut field.description, default) {
            description.push_str(&format!(" Default: {default}."));
        }
        describe_defaults(field);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        describe_defaults(items);
    }
}

/// A default as text; `None`: it is an object or a list of objects, whose fields have their own, or nothing.
fn format_default(default: &Value) -> Option<String> {
    match default {
        Value::Bool(_) | Value::Number(_) => Some(format!("`{default}`")),
        Value::String(text) => Some(format!("`{text}`")),
        Value::Array(items) if !items.is_empty() => {
            let items: Option<Vec<String>> =
                items.iter().filter(|item| !item.is_object()).map(format_default).collect();
            items.filter(|items| !items.is_empty()).map(|items| items.join(", "))
        }
        Value::Array(_) | Value::Object(_) | Value::Null => None,
    }
}

/// Sets a default status with `observedGeneration: -1`, so that kstatus, and health checks of Flux, treat a new object
/// as in progress: they treat an object without any status as ready.
fn set_default_status(crd: &mut CustomResourceDefinition) {
    if let Some(status) = root(crd).and_then(|root| root.properties.as_mut()?.get_mut("status")) {
        status.default = Some(JSON(json!({"observedGeneration": -1})));
    }
}

/// File name of a definition: its plural.
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}.yaml", crd.spec.names.plural)
}

/// A definition as one YAML document; the output is deterministic.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::SerializeError> {
    Ok(format!("{HEADER}{}", serde_saphyr::to_string(crd)?))
}

/// All definitions as a stream of YAML documents.
pub fn all_to_yaml() -> Result<String, serde_saphyr::SerializeError> {
    let documents: Vec<String> = all().iter().map(to_yaml).collect::<Result<_, _>>()?;
    Ok(documents.join("---\n"))
}
