//! The CustomResourceDefinitions, as objects and as the files under `crds/`. No I/O.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt;
use serde_json::json;

use super::{AwsAccount, EksCluster, NodeGroup, PlanApproval};

/// First lines of a generated file.
const HEADER: &str = "# Generated from src/api by `keelson crds`: do not edit.\n";

/// The definitions of all kinds, in the order in which their files sort.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut found = vec![AwsAccount::crd(), EksCluster::crd(), NodeGroup::crd(), PlanApproval::crd()];
    found.iter_mut().for_each(set_default_status);
    found
}

/// An object that no operator has looked at has a status of a generation that never was: kstatus, and with it every health
/// check of Flux, takes a kind without any status for one that is as asked.
fn set_default_status(crd: &mut CustomResourceDefinition) {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(status) = schema.and_then(|root| root.properties.as_mut()?.get_mut("status")) {
            status.default = Some(JSON(json!({"observedGeneration": -1})));
        }
    }
}

/// Name of the file that holds a definition: its plural.
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}.yaml", crd.spec.names.plural)
}

/// A definition as one YAML document, the same bytes every time.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::SerializeError> {
    Ok(format!("{HEADER}{}", serde_saphyr::to_string(crd)?))
}

/// All definitions as one stream of YAML documents.
pub fn all_to_yaml() -> Result<String, serde_saphyr::SerializeError> {
    let documents: Vec<String> = all().iter().map(to_yaml).collect::<Result<_, _>>()?;
    Ok(documents.join("---\n"))
}
