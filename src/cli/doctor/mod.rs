//! `keelson doctor`: checks an account and a region before a first cluster, or the surroundings of one that exists.
//! Reads only. I/O: AWS, the management cluster's API, the source of the GitOps agent, the cluster's endpoint.

mod examine;
mod needs;
mod reach;
mod report;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use kube::api::ListParams;
use kube::{Api, Client};

use super::plan;
use super::plan::manifest::Manifest;
use crate::agents::validate::SourcePolicy;
use crate::api::{AwsAccount, EksCluster, NodeGroup};
use crate::resources::account_checks::Outcome;
use crate::workload::proxy::Proxy;
use report::Report;

/// Flags of `keelson doctor`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The EksCluster in the management cluster of KUBECONFIG, with its NodeGroups and AwsAccount.
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    name: Option<String>,
    /// Namespace of that object [default: that of KUBECONFIG's context].
    #[arg(short, long, conflicts_with = "filename")]
    namespace: Option<String>,
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reports = runtime.block_on(reports(args))?;
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
        (None, Some(name)) => (from_api(name, args.namespace.as_deref()).await?, true),
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
async fn from_api(name: &str, namespace: Option<&str>) -> anyhow::Result<Manifest> {
    let client = Client::try_default().await.context("no Kubernetes API is configured; set KUBECONFIG")?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace()).to_owned();
    let clusters = Api::<EksCluster>::namespaced(client.clone(), &namespace);
    let cluster = clusters.get(name).await.with_context(|| format!("EksCluster {namespace}/{name}"))?;
    let groups = Api::<NodeGroup>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await;
    let account = cluster.spec.account_name().to_owned();
    let found = Api::<AwsAccount>::all(client).get_opt(&account).await;
    Ok(Manifest {
        clusters: vec![cluster],
        groups: groups.with_context(|| format!("NodeGroups of {namespace}"))?.items,
        accounts: found.with_context(|| format!("AwsAccount {account}"))?.into_iter().collect(),
        notes: Vec::new(),
    })
}
