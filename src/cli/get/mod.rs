//! `keelson get`: a table of clusters with their node groups, the tree of one cluster's resources, or either of them
//! live. I/O: the management cluster's API and the terminal.

mod progress_bars;
mod rows;
mod tree;

#[cfg(test)]
pub use {rows::table, tree::text as tree};

use anyhow::Context as _;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::Value;

use super::approve::pending_plans::{Kind, Target};
use super::connection::{self, Scope};
use super::output::{self, Format, Structured};
use super::subject::{self, Subject};
use crate::api::{EksCluster, NodeGroup};

/// Flags of `keelson get`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson get                        # the clusters of the namespace, each with its node groups
  keelson get -A -o wide
  keelson get demo                   # its resources in AWS, with their state
  keelson get -w                     # progress bars on a terminal, lines in a pipe
  keelson get -A -o name -l env=prod | xargs -n1 echo")]
pub struct Args {
    /// The EksCluster whose resources are shown as a tree; or nodegroup/NAME. Without it: a table of all.
    name: Option<Target>,
    /// Only EksClusters with these labels, such as env=prod; with their NodeGroups.
    #[arg(short = 'l', long, conflicts_with = "name")]
    selector: Option<String>,
    /// Show changes as they happen, until interrupted.
    #[arg(short, long, conflicts_with = "output")]
    watch: bool,
    /// Format: `json` and `yaml` print the EksClusters and NodeGroups, `name` their names, `wide` more columns.
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    scope: Scope,
}

/// Runs the command.
///
/// # Errors
/// The objects cannot be read.
pub fn run(args: &Args) -> anyhow::Result<()> {
    super::block_on(get(args))
}

async fn get(args: &Args) -> anyhow::Result<()> {
    let (client, namespace) = args.scope.client().await?;
    if args.name.is_some() && namespace.is_none() {
        anyhow::bail!("a name and --all-namespaces exclude each other: pass -n");
    }
    let namespace = namespace.as_deref();
    if args.watch {
        return progress_bars::watch(&client, namespace, args.name.as_ref(), args.selector.as_deref()).await;
    }
    let selected = args.selector.as_deref().map_or_else(ListParams::default, |text| ListParams::default().labels(text));
    let clusters = connection::api::<EksCluster>(&client, namespace).list(&selected).await.context("EksClusters")?;
    let groups = connection::api::<NodeGroup>(&client, namespace).list(&ListParams::default()).await;
    let (mut clusters, mut groups) = (clusters.items, groups.context("NodeGroups")?.items);
    if args.selector.is_some() {
        groups.retain(|group| clusters.iter().any(|cluster| is_of(group, cluster)));
    }
    if let Some(target) = &args.name {
        clusters.retain(|cluster| target.kind == Kind::EksCluster && cluster.name_any() == target.name);
        groups.retain(|group| match target.kind {
            Kind::EksCluster => group.spec.cluster_ref.name == target.name,
            Kind::NodeGroup => group.name_any() == target.name,
        });
        let is_missing = if target.kind == Kind::EksCluster { clusters.is_empty() } else { groups.is_empty() };
        if is_missing {
            let namespace = namespace.unwrap_or_default();
            return Err(connection::missing(target.kind, namespace, &target.name));
        }
    }
    let now = Timestamp::now();
    let subjects = || subject::sorted(&clusters, &groups);
    let is_document = matches!(args.output, Some(Format::Json | Format::Yaml));
    let print = if is_document { crate::cli::print_document } else { crate::cli::print };
    print(&match args.output {
        Some(Format::Json) => output::format(&objects(&clusters, &groups)?, Structured::Json)?,
        Some(Format::Yaml) => output::format(&objects(&clusters, &groups)?, Structured::Yaml)?,
        Some(Format::Name) => names(&clusters, &groups),
        None if args.name.is_some() => tree::text(&subjects(), now),
        of => rows::table(&subjects(), of == Some(Format::Wide), namespace.is_none(), now),
    })
}

fn is_of(group: &NodeGroup, cluster: &EksCluster) -> bool {
    group.namespace() == cluster.namespace() && group.spec.cluster_ref.name == cluster.name_any()
}

fn objects(clusters: &[EksCluster], groups: &[NodeGroup]) -> anyhow::Result<Value> {
    let all = clusters.iter().map(output::object).chain(groups.iter().map(output::object));
    Ok(output::list(all.collect::<Result<_, _>>()?))
}

fn names(clusters: &[EksCluster], groups: &[NodeGroup]) -> String {
    let all = clusters.iter().map(output::name).chain(groups.iter().map(output::name));
    all.map(|name| format!("{name}\n")).collect()
}

/// The clusters with one of the labels, and their node groups, among `all`.
fn selected(all: Vec<Subject>, clusters: &[(String, String)]) -> Vec<Subject> {
    let of = |one: &Subject| {
        let cluster = one.cluster.clone().unwrap_or_else(|| one.name().to_owned());
        clusters.contains(&(one.namespace().to_owned(), cluster))
    };
    all.into_iter().filter(of).collect()
}
