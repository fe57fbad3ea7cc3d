//! `keelson doctor`: checks an account and a region before a first cluster, or the surroundings of one that exists.
//! Reads only. I/O: AWS, the management cluster's API, the source of the GitOps agent, the cluster's endpoint.

mod examine;
mod needs;
mod reach;
mod report;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use kube::Api;
use kube::api::ListParams;

use super::connection::InNamespace;
use super::plan;
use super::plan::manifest::Manifest;
use crate::agents::validate::SourcePolicy;
use crate::api::{AwsAccount, EksCluster, NodeGroup};
use crate::resources::account_checks::Outcome;
use crate::workload::proxy::Proxy;
use report::Report;

/// Flags of `keelson doctor`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson doctor demo -n team-a
  keelson doctor -f cluster.yaml --live -o json")]
pub struct Args {
    /// The EksCluster in the management cluster of KUBECONFIG, with its NodeGroups and AwsAccount.
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    name: Option<String>,
    /// A manifest instead: YAML documents of EksCluster, NodeGroup and AwsAccount; `-` reads standard input.
    #[arg(short, long)]
    filename: Option<PathBuf>,
    /// With a manifest: also check AWS and the agent's source, read-only, with the credentials of the environment, or the
    /// AwsAccount in the file. Without it only the manifest is checked.
    #[arg(long)]
    live: bool,
    /// Format of the report.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
    /// Allow http:// and loopback Git sources, like the operator's flag of the same name.
    #[arg(long, env = "KEELSON_ALLOW_HTTP_GIT")]
    allow_http_git: bool,
    #[command(flatten)]
    place: InNamespace,
}

/// Format of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Prints the report.
///
/// # Errors
/// A check failed, or nothing could be checked.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let reports = super::block_on(reports(args))?;
    match args.output {
        Format::Text => super::print(&report::text(&reports))?,
        Format::Json => super::print(&format!("{}\n", serde_json::to_string_pretty(&reports)?))?,
    }
    match reports.iter().map(|report| report.count(Outcome::Failed)).sum() {
        0 => Ok(()),
        1 => bail!("one check failed"),
        failed => bail!("{failed} checks failed"),
    }
}

async fn reports(args: &Args) -> anyhow::Result<Vec<Report>> {
    let (manifest, live) = match (&args.filename, &args.name) {
        (Some(path), _) => (Manifest::parse(&super::read(path)?)?, args.live),
        (None, Some(name)) => (from_api(name, &args.place).await?, true),
        (None, None) => bail!("name an EksCluster, or a manifest with -f"),
    };
    let sources = SourcePolicy { allow_http: args.allow_http_git };
    let variable = |name: &str| std::env::var(name).ok();
    let proxy = Proxy::of(None, variable).map_err(anyhow::Error::msg)?;
    let mut reports = Vec::new();
    for wanted in plan::wanted(&manifest, sources)? {
        reports.push(examine::examine(&wanted, live, proxy.as_ref()).await);
    }
    Ok(reports)
}

/// The object with what refers to it.
async fn from_api(name: &str, place: &InNamespace) -> anyhow::Result<Manifest> {
    let (client, namespace) = place.client().await?;
    let clusters = Api::<EksCluster>::namespaced(client.clone(), &namespace);
    let cluster = clusters.get(name).await.with_context(|| format!("EksCluster {namespace}/{name}"))?;
    let groups = Api::<NodeGroup>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await;
    let account = cluster.spec.account_name().to_owned();
    let found = Api::<AwsAccount>::all(client).get_opt(&account).await;
    let groups = groups.with_context(|| format!("NodeGroups of {namespace}"))?.items;
    let accounts = found.with_context(|| format!("AwsAccount {account}"))?.into_iter().collect();
    Ok(Manifest::of(vec![cluster], groups, accounts))
}
