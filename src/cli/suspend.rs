//! `keelson suspend` and `keelson resume`: set `spec.suspend` of an EksCluster. I/O: the management cluster's API.

use anyhow::Context as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::approve::waiting::Kind;
use super::connection::{InNamespace, found};
use crate::api::EksCluster;

/// The field manager of this command line.
pub const MANAGER: &str = "keelson-cli";

/// Flags of `keelson suspend` and `keelson resume`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The EksCluster; its NodeGroups are suspended and resumed with it.
    name: String,
    #[command(flatten)]
    place: InNamespace,
}

/// Runs the command.
///
/// # Errors
/// The object cannot be changed.
pub fn run(args: &Args, suspend: bool) -> anyhow::Result<()> {
    super::block_on(set(args, suspend))
}

async fn set(args: &Args, suspend: bool) -> anyhow::Result<()> {
    let (client, namespace) = args.place.client().await?;
    let api = Api::<EksCluster>::namespaced(client, &namespace);
    let place = || format!("EksCluster {namespace}/{}", args.name);
    let now = found(api.get(&args.name).await, Kind::EksCluster, &namespace, &args.name)?;
    let what = if suspend { "suspended" } else { "resumed" };
    if now.spec.suspend == suspend {
        return super::print(&format!("{}: already {what}\n", place()));
    }
    // This object, and no later one of its name. The operator writes its status meanwhile, so its version may be another.
    let metadata = json!({"uid": now.uid()});
    let patch = Patch::Merge(json!({"metadata": metadata, "spec": {"suspend": suspend}}));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(&args.name, &params, &patch).await.with_context(place)?;
    super::print(&format!("{}: {what}\n", place()))?;
    if let Some(manager) = applies_suspend(&now) {
        crate::cli::note(&format!(
            "note: {manager} applies spec.suspend of this object and will set it back: change it at its source, too"
        ));
    }
    Ok(())
}

/// Annotation of client-side apply.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Who applies the field `spec.suspend` again and again, such as a GitOps agent of the management cluster.
fn applies_suspend(cluster: &EksCluster) -> Option<&str> {
    let all = cluster.metadata.managed_fields.as_deref().unwrap_or_default();
    let applies = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0["f:spec"]["f:suspend"]);
        let owns = fields.is_some_and(|field| !field.is_null());
        owns && entry.operation.as_deref() == Some("Apply") && entry.manager.as_deref() != Some(MANAGER)
    };
    if let Some(entry) = all.iter().find(applies) {
        return entry.manager.as_deref();
    }
    let applied: Value = serde_json::from_str(cluster.annotations().get(LAST_APPLIED)?).ok()?;
    (!applied["spec"]["suspend"].is_null()).then_some("a manifest")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn managed(manager: &str, field: &str) -> EksCluster {
        serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "managedFields": [
                {"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {field: {}}}},
            ]},
            "spec": {"region": "eu-west-1", "version": "1.34"},
        }))
        .unwrap()
    }

    #[test]
    fn who_sets_the_field_back_is_named() {
        assert_eq!(applies_suspend(&managed("from-git", "f:suspend")), Some("from-git"));
        assert_eq!(applies_suspend(&managed("from-git", "f:region")), None);
        assert_eq!(applies_suspend(&managed(MANAGER, "f:suspend")), None);
        let mut applied = managed(MANAGER, "f:suspend");
        applied.annotations_mut().insert(LAST_APPLIED.into(), json!({"spec": {"suspend": true}}).to_string());
        assert_eq!(applies_suspend(&applied), Some("a manifest"));
    }
}
