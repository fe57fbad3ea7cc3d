//! `keelson import`: manifests for what others described. I/O: files, standard output and standard error.

mod eksctl;
mod names;
mod write;

use std::path::PathBuf;

/// Flags of `keelson import`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// An eksctl ClusterConfig (eksctl.io/v1alpha5) to convert, without access to AWS; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    eksctl: PathBuf,
    /// Namespace of the objects; absent: none is written, and `kubectl apply -n` decides.
    #[arg(short, long)]
    namespace: Option<String>,
    /// The AwsAccount that the cluster refers to; absent: the operator's own credentials.
    #[arg(long, value_name = "NAME")]
    account_ref: Option<String>,
}

/// What all objects that are written have in common.
#[derive(Clone, Debug, Default)]
pub struct Placing {
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// `spec.accountRef.name` of the cluster.
    pub account_ref: Option<String>,
}

/// Writes the manifest.
pub fn run(args: Args) -> anyhow::Result<()> {
    let Args { eksctl, namespace, account_ref } = args;
    eksctl::run(&eksctl, &Placing { namespace, account_ref })
}
