//! Writes an annotation on the FleetRollout that was shown. I/O: the management cluster's API.

use anyhow::Context as _;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::api::FleetRollout;
use crate::cli::field_managers::{MANAGER, applier};
use crate::cli::output::{self, Changed};

/// Writes the annotation on exactly the object that was read, and returns it. `None`: it has changed since.
pub async fn annotate(
    client: &Client,
    rollout: &FleetRollout,
    key: &str,
    value: &str,
) -> anyhow::Result<Option<FleetRollout>> {
    let name = rollout.name_any();
    let metadata = json!({
        "uid": rollout.metadata.uid,
        "resourceVersion": rollout.metadata.resource_version,
        "annotations": {key: value},
    });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let api = Api::<FleetRollout>::all(client.clone());
    match api.patch(&name, &params, &Patch::Merge(json!({"metadata": metadata}))).await {
        Ok(written) => {
            if let Some(manager) = applier(&rollout.metadata, &["metadata", "annotations", key]) {
                crate::cli::note(&format!(
                    "note: {manager} applies the annotation {key} of FleetRollout {name} and will set it back: change it at \
                     its source, too"
                ));
            }
            Ok(Some(written))
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error).with_context(|| format!("FleetRollout {name}")),
    }
}

/// Prints the object that was written, for programs.
pub fn print(written: &FleetRollout, format: Option<Changed>) -> anyhow::Result<()> {
    output::print_changed(written, format)
}
