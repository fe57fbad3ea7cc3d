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

use super::approve::pending_plans::Kind;
use super::connection::{InNamespace, found};
use super::errors;
use super::output::{self, Structured};
use super::plan;
use super::plan::manifest::{Manifest, describe_missing};
use crate::agents::validate_source::SourcePolicy;
use crate::api::{AwsAccount, EksCluster, NodeGroup};
use crate::controllers::runtime::apply::describe_error;
use crate::controllers::runtime::installed_crds;
use crate::resources::account_checks::{Finding, Outcome};
use crate::workload::proxy::Proxy;
use report::Report;

/// The check of the files by themselves.
const MANIFEST: &str = "manifest";

/// Flags of `keelson doctor`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson doctor demo -n team-a
  keelson doctor -f account.yaml -f cluster.yaml --live
  keelson doctor -f clusters/ --live -o json")]
pub struct Args {
    /// The EksCluster in the management cluster of KUBECONFIG, with its NodeGroups and AwsAccount.
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    name: Option<String>,
    /// Manifests instead: files with YAML documents of EksCluster, NodeGroup and AwsAccount, or folders with such files; `-`
    /// reads standard input.
    #[arg(short, long, num_args = 1.., value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// With manifests: also check AWS and the agent's source, read-only, with the credentials of the environment, or the
    /// AwsAccount in the files. Without it only the manifests are checked.
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
    Yaml,
}

impl Format {
    /// The format for programs; `None`: for people.
    fn structured(self) -> Option<Structured> {
        match self {
            Self::Text => None,
            Self::Json => Some(Structured::Json),
            Self::Yaml => Some(Structured::Yaml),
        }
    }
}

/// Prints the report.
///
/// # Errors
/// A check failed, or nothing could be checked.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let reports = match super::block_on(reports(args)) {
        Ok(reports) => reports,
        // A program expects a report.
        Err(error) if args.output.structured().is_some() && !args.filename.is_empty() => vec![of_manifest(&error)],
        Err(error) => return Err(error),
    };
    match args.output.structured() {
        None => {
            let not_asked = !args.filename.is_empty() && !args.live;
            let hint = if not_asked { "AWS was not asked: add --live to check it, too\n" } else { "" };
            super::print(&format!("{}{hint}", report::text(&reports)))?;
        }
        Some(format) => output::print(&reports, format)?,
    }
    match reports.iter().map(|report| report.count(Outcome::Failed)).sum() {
        0 => Ok(()),
        1 => bail!("one check failed"),
        failed => bail!("{failed} checks failed"),
    }
}

/// The report on a manifest that cannot be examined.
fn of_manifest(error: &anyhow::Error) -> Report {
    let finding = Finding::failed(MANIFEST, errors::format_error(error), "correct what the message names");
    Report { object: "the manifest".to_owned(), about: String::new(), findings: vec![finding] }
}

/// The reports on clusters that NodeGroups of the files refer to, and that are in none of them.
fn missing(manifest: &Manifest) -> Vec<Report> {
    let report = |(namespace, name): (String, String)| {
        let message = describe_missing(&namespace, &name);
        let finding = Finding::failed(MANIFEST, message, "add its file, or correct spec.clusterRef of the NodeGroup");
        let object = format!("EksCluster {namespace}/{name}");
        Report { object, about: "not in the files".to_owned(), findings: vec![finding] }
    };
    manifest.missing_clusters().into_iter().map(report).collect()
}

async fn reports(args: &Args) -> anyhow::Result<Vec<Report>> {
    let mut of_api = None;
    let is_of_files = !args.filename.is_empty();
    let (manifest, live) = match &args.name {
        _ if is_of_files => (plan::read_files(&args.filename, None)?, args.live),
        Some(name) => {
            let (client, namespace) = args.place.client().await?;
            of_api = Some(check_crds(&client).await);
            (from_api(name, &client, &namespace).await?, true)
        }
        None => bail!("name an EksCluster, or a manifest with -f"),
    };
    let sources = SourcePolicy { allow_http: args.allow_http_git };
    let variable = |name: &str| std::env::var(name).ok();
    let proxy = Proxy::of(None, variable).map_err(anyhow::Error::msg)?;
    let mut reports = if is_of_files { missing(&manifest) } else { Vec::new() };
    if manifest.clusters.is_empty() && !reports.is_empty() {
        return Ok(reports);
    }
    for wanted in plan::manifest_clusters(&manifest, sources)? {
        let mut report = examine::examine(&wanted, live, proxy.as_ref()).await;
        report.findings.splice(0..0, of_api.clone());
        reports.push(report);
    }
    Ok(reports)
}

/// Whether the installed CRDs have all fields of this version.
async fn check_crds(client: &Client) -> Finding {
    const CRDS: &str = "CRDs";
    match installed_crds::missing(client).await {
        Ok(missing) => match installed_crds::describe(missing) {
            None => Finding::passed(CRDS, format!("have all fields of version {}", env!("CARGO_PKG_VERSION"))),
            Some(older) => Finding::failed(CRDS, older, "upgrade the CRDs first (docs/upgrading-keelson.md)"),
        },
        Err(error) => Finding::warning(
            CRDS,
            format!("could not be compared with version {}: {}", env!("CARGO_PKG_VERSION"), describe_error(&error)),
            "use a user who may read /openapi/v3, as Kubernetes allows to everybody who is authenticated",
        ),
    }
}

/// The object with what refers to it.
async fn from_api(name: &str, client: &Client, namespace: &str) -> anyhow::Result<Manifest> {
    let clusters = Api::<EksCluster>::namespaced(client.clone(), namespace);
    let cluster = found(clusters.get(name).await, Kind::EksCluster, namespace, name)?;
    let groups = Api::<NodeGroup>::namespaced(client.clone(), namespace).list(&ListParams::default()).await;
    let account = cluster.spec.account_name().to_owned();
    let of_account = Api::<AwsAccount>::all(client.clone()).get_opt(&account).await;
    let groups = groups.with_context(|| format!("NodeGroups of {namespace}"))?.items;
    let accounts = of_account.with_context(|| format!("AwsAccount {account}"))?.into_iter().collect();
    Ok(Manifest::of(vec![cluster], groups, accounts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_group_without_its_cluster_fails() {
        let group = "apiVersion: keelson.dev/v1alpha1\nkind: NodeGroup\nmetadata: {name: g}\nspec:\n  clusterRef: {name: \
                     demo}\n  scaling: {min: 1, max: 2}\n";
        let reports = missing(&Manifest::parse(group).unwrap());
        assert_eq!(reports.len(), 1);
        assert_eq!((reports[0].object.as_str(), reports[0].count(Outcome::Failed)), ("EksCluster default/demo", 1));
        assert!(reports[0].findings[0].message.contains("to which a NodeGroup refers, is not in the files"));
    }

    #[test]
    fn manifest_that_is_refused_is_a_finding() {
        let error = Manifest::parse("apiVersion: keelson.dev/v1\nkind: EksCluster").err().expect("is refused");
        let json = serde_json::to_value(of_manifest(&error)).unwrap();
        assert_eq!(
            (&json["findings"][0]["check"], &json["findings"][0]["outcome"]),
            (&"manifest".into(), &"failed".into())
        );
        assert!(json["findings"][0]["message"].as_str().unwrap().contains("keelson.dev/v1"));
    }
}
