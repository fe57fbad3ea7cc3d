//! `keelson import`: manifests for clusters that exist in AWS, or that eksctl, Terraform or Cluster API describe. I/O: files, reads from AWS, standard
//! output and standard error.

mod adopted;
mod capa;
mod converted;
mod defaults;
mod eksctl;
mod live;
mod next_steps;
mod object_names;
mod object_placement;
mod section;
mod terraform;
mod write_manifest;

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use live::ImportSelection;
use object_placement::ObjectPlacement;

use crate::api::KubernetesVersion;

/// Flags of `keelson import`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson import --name demo --region eu-west-1 > demo.yaml
  keelson import --all --region eu-west-1 -n team-a
  keelson import --eksctl cluster.yaml
  keelson import --eksctl cluster.yaml --version 1.35 --self-managed-as-managed
  terraform show -json | keelson import --terraform - > demo.yaml
  keelson import --capa objects.yaml --account-id 123456789012")]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["eksctl", "terraform", "capa", "name", "all"])))]
pub struct Args {
    /// An eksctl ClusterConfig (eksctl.io/v1alpha5) to convert, without access to AWS; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["terraform", "capa", "name", "all"])]
    eksctl: Option<PathBuf>,
    /// A state of Terraform or OpenTofu whose clusters to adopt unchanged, without access to AWS: what `terraform show -json` prints, a
    /// state file, or a directory that has one; `-` reads standard input. Nothing is executed.
    #[arg(long, value_name = "STATE", conflicts_with_all = ["capa", "all"])]
    terraform: Option<PathBuf>,
    /// Objects of Cluster API for AWS whose clusters to adopt unchanged, without access to AWS: as `kubectl get -o yaml` prints them, with
    /// their status; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    capa: Option<PathBuf>,
    /// A cluster to adopt unchanged, by its name in EKS: AWS is read with the credentials of the environment, unless the cluster is in a
    /// file (--terraform, --capa).
    #[arg(long, conflicts_with = "all")]
    name: Option<String>,
    /// Every cluster of the region that Keelson does not own yet.
    #[arg(long)]
    all: bool,
    /// The id of the AWS account of clusters of Cluster API, if no ARN in the file has it.
    #[arg(long, value_name = "ID")]
    account_id: Option<String>,
    /// The region of the clusters to adopt.
    #[arg(long, env = "AWS_REGION")]
    region: Option<String>,
    /// Namespace of the objects; without it, none is written, and `kubectl apply -n` decides.
    #[arg(short, long)]
    namespace: Option<String>,
    /// The AwsAccount that the cluster refers to; without it, the AwsAccount named `default`.
    #[arg(long, value_name = "NAME")]
    account_ref: Option<String>,
    /// The Kubernetes version of the cluster to create from an eksctl file, in place of `metadata.version`; without
    /// both, EKS's default when this version of Keelson was released.
    #[arg(long, value_name = "VERSION")]
    version: Option<KubernetesVersion>,
    /// Convert `nodeGroups` of an eksctl file, which are self-managed nodes, to managed node groups.
    #[arg(long)]
    self_managed_as_managed: bool,
}

/// Writes the manifest.
pub fn run(args: Args) -> anyhow::Result<()> {
    let Args {
        eksctl,
        terraform,
        capa,
        name,
        all: _,
        account_id,
        region,
        namespace,
        account_ref,
        version,
        self_managed_as_managed,
    } = args;
    let placing = ObjectPlacement { namespace, account_ref };
    if let Some(id) = &account_id {
        if capa.is_none() {
            bail!("--account-id is for objects of Cluster API: name their file with --capa");
        }
        if id.len() != 12 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            bail!("--account-id must have 12 digits: {id}");
        }
    }
    if let Some(path) = eksctl {
        return eksctl::run(&path, &placing, &eksctl::Options { version, self_managed_as_managed });
    }
    // clap's `requires` does not hold beside an argument that conflicts with what is required.
    if version.is_some() || self_managed_as_managed {
        bail!("--version and --self-managed-as-managed are for an eksctl file: name it with --eksctl");
    }
    if let Some(path) = terraform {
        return terraform::run(&path, name.as_deref(), &placing);
    }
    if let Some(path) = capa {
        return capa::run(&path, &placing, &capa::Options { name, account_id });
    }
    let region =
        region.filter(|region| !region.is_empty()).context("--region is missing: name the clusters' region")?;
    let which = name.as_deref().map_or(ImportSelection::All, ImportSelection::Named);
    live::run(&region, &which, &placing)
}
