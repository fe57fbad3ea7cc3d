//! `keelson suspend` and `keelson resume`: set `spec.suspend` of an EksCluster. I/O: the management cluster's API.

use anyhow::Context as _;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::approve::pending_plans::Kind;
use super::connection::{InNamespace, found};
use super::field_managers::{MANAGER, applier};
use super::output::{Changed, print_changed, say};
use crate::api::EksCluster;

/// Flags of `keelson suspend` and `keelson resume`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The EksCluster; its NodeGroups are suspended and resumed with it.
    name: String,
    /// Format: the EksCluster; `name`: only its name. What was done is then shown on standard error.
    #[arg(short, long, value_enum)]
    output: Option<Changed>,
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
        say(args.output, &format!("{}: already {what}\n", place()))?;
        return print_changed(&now, args.output);
    }
    // This object, and no later one of its name. The operator writes its status meanwhile, so its version may be another.
    let metadata = json!({"uid": now.uid()});
    let patch = Patch::Merge(json!({"metadata": metadata, "spec": {"suspend": suspend}}));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let changed = api.patch(&args.name, &params, &patch).await.with_context(place)?;
    say(args.output, &format!("{}: {what}\n", place()))?;
    if let Some(manager) = applier(&now.metadata, &["spec", "suspend"]) {
        crate::cli::note(&format!(
            "note: {manager} applies spec.suspend of this object and will set it back: change it at its source, too"
        ));
    }
    print_changed(&changed, args.output)
}
