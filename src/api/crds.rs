//! The CustomResourceDefinitions as objects and as the files in `crds/`. No I/O.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt;
use serde_json::json;

use super::{AwsAccount, EksCluster, NodeGroup, PlanApproval};

/// First line of a generated file.
const HEADER: &str = "# Generated from src/api by `keelson crds`: do not edit.\n";

/// The definitions of all kinds, in the order of their files.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut found = vec![AwsAccount::crd(), EksCluster::crd(), NodeGroup::crd(), PlanApproval::crd()];
    found.iter_mut().for_each(set_default_status);
    found
}

/// Sets a default status with `observedGeneration: -1`, so that kstatus, and health checks of Flux, treat a new object
/// as in progress: they treat an object without any status as ready.
fn set_default_status(crd: &mut CustomResourceDefinition) {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(status) = schema.and_then(|root| root.properties.as_mut()?.get_mut("status")) {
            status.default = Some(JSON(json!({"observedGeneration": -1})));
        }
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
