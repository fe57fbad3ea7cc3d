//! `keelson version`: the versions of this command line, of the operator in the management cluster, and of its CRDs. I/O:
//! the management cluster's API.

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde::Serialize;

use super::connection::Connection;
use super::output::{self, Structured};
use crate::api::GROUP;
use crate::controllers::runtime::{installation, installed_crds};

/// Flags of `keelson version`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson version
  keelson version --client
  keelson version -o json

Reading the operator's version needs the Role keelson-version of deploy/rbac-users.yaml.")]
pub struct Args {
    /// Only the version of this command line, without access to a cluster.
    #[arg(long)]
    client: bool,
    /// Format.
    #[arg(short, long, value_enum)]
    output: Option<Structured>,
    /// Namespace of the operator: its ConfigMap holds the version.
    #[arg(long, default_value = "keelson-system")]
    operator_namespace: String,
    #[command(flatten)]
    connection: Connection,
}

/// The versions.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<Operator>,
}

/// The operator of a management cluster.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Operator {
    /// Absent: an operator that does not record it, or none has ever led.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    installation_id: Option<String>,
    /// Versions of the API that the cluster serves.
    api_versions: Vec<String>,
    /// What the installed CRDs lack of this command line's version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing_in_crds: Vec<String>,
}

const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// Runs the command.
///
/// # Errors
/// The management cluster cannot be read; the version of the client is printed before.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let found = if args.client { Ok(None) } else { super::block_on(operator(args)).map(Some) };
    let (operator, error) = match found {
        Ok(operator) => (operator, None),
        Err(error) => (None, Some(error)),
    };
    let versions = Versions { client: CLIENT, operator };
    match args.output {
        Some(format) => output::print(&versions, format)?,
        None => super::print(&text(&versions))?,
    }
    error.map_or(Ok(()), Err)
}

async fn operator(args: &Args) -> anyhow::Result<Operator> {
    let client = args.connection.client().await?;
    let namespace = args.operator_namespace.clone();
    let api = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
    let name = "keelson-installation";
    let place = || format!("the operator's version: ConfigMap {namespace}/{name} (--operator-namespace)");
    let found = api.get_opt(name).await.with_context(place)?;
    let mut data = found.and_then(|found| found.data).unwrap_or_default();
    Ok(Operator {
        version: data.remove(installation::VERSION),
        installation_id: data.remove(installation::ID),
        api_versions: served(&client).await?,
        // Not installed is said by the versions.
        missing_in_crds: installed_crds::missing(&client).await.unwrap_or_default(),
        namespace,
    })
}

/// The versions of the API that the cluster serves; none: the CRDs are not installed.
async fn served(client: &Client) -> anyhow::Result<Vec<String>> {
    let groups = client.list_api_groups().await.context("API groups")?.groups;
    let group = groups.into_iter().find(|group| group.name == GROUP);
    Ok(group.into_iter().flat_map(|group| group.versions).map(|version| version.group_version).collect())
}

fn text(of: &Versions) -> String {
    let mut text = format!("client    {}\n", of.client);
    let Some(operator) = &of.operator else { return text };
    let place = format!("namespace {}", operator.namespace);
    let id = operator.installation_id.as_ref().map(|id| format!(", installation {id}")).unwrap_or_default();
    let version = operator.version.as_deref().unwrap_or("unknown: none has led here, or it is older than 0.1.0");
    text.push_str(&format!("operator  {version} ({place}{id})\n"));
    let served = if operator.api_versions.is_empty() {
        "not served: the CRDs are not installed".to_owned()
    } else {
        operator.api_versions.join(", ")
    };
    text.push_str(&format!("API       {served}\n"));
    if let Some(older) = installed_crds::describe(operator.missing_in_crds.clone()) {
        text.push_str(&format!("CRDs      {older}\n"));
    }
    if operator.version.as_deref().is_some_and(|version| version != of.client) {
        text.push_str("note: client and operator differ: use the same version of both\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_what_is_missing() {
        let operator = |version: Option<&str>, served: &[&str]| Versions {
            client: "0.1.0",
            operator: Some(Operator {
                version: version.map(str::to_owned),
                namespace: "keelson-system".into(),
                installation_id: version.map(|_| "prod".to_owned()),
                api_versions: served.iter().map(|text| (*text).to_owned()).collect(),
                missing_in_crds: if served.is_empty() {
                    vec!["EksCluster status.synced".to_owned()]
                } else {
                    Vec::new()
                },
            }),
        };
        let table = [
            text(&Versions { client: "0.1.0", operator: None }),
            text(&operator(Some("0.1.0"), &["keelson.dev/v1alpha1"])),
            text(&operator(Some("0.2.0"), &["keelson.dev/v1alpha1"])),
            text(&operator(None, &[])),
        ];
        insta::assert_snapshot!(table.join("---\n"));
    }
}
