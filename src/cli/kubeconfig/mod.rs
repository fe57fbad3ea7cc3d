//! `keelson kubeconfig`: a kubeconfig of a workload cluster, whose credentials `aws eks get-token` makes for each use. It
//! contains no token. I/O: the management cluster's API, standard output, and with `--merge` a kubeconfig file.

mod entries;
mod file;

use std::path::PathBuf;

use kube::Api;

use super::approve::pending_plans::Kind;
use super::connection::{InNamespace, found};
use super::output::{self, Structured};
use crate::api::EksCluster;
use entries::{Entries, Options};

/// Flags of `keelson kubeconfig`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson kubeconfig demo > demo.kubeconfig
  keelson kubeconfig demo --merge    # into ~/.kube/config, and makes it the current context
  keelson kubeconfig demo --merge=demo.kubeconfig --keep-context
  keelson kubeconfig demo --merge --aws-profile prod --role-arn arn:aws:iam::111122223333:role/admin

The IAM principal that `aws` runs as needs access to the cluster: spec.access.entries of the EksCluster.")]
pub struct Args {
    /// The EksCluster.
    name: String,
    /// Merge it into a kubeconfig file, and make it the current context [default file: the first of KUBECONFIG, else
    /// ~/.kube/config].
    #[arg(long, value_name = "FILE", require_equals = true)]
    merge: Option<Option<PathBuf>>,
    /// With --merge: leave the current context as it is.
    #[arg(long, requires = "merge")]
    keep_context: bool,
    /// Name of the context [default: the cluster's name in EKS].
    #[arg(long, value_name = "NAME")]
    context_name: Option<String>,
    /// IAM role that `aws` assumes for the token.
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// Profile of the AWS configuration that `aws` uses.
    #[arg(long, value_name = "PROFILE")]
    aws_profile: Option<String>,
    /// Format of the kubeconfig [default: yaml].
    #[arg(short, long, value_enum, conflicts_with = "merge")]
    output: Option<Structured>,
    #[command(flatten)]
    place: InNamespace,
}

/// Runs the command.
///
/// # Errors
/// The cluster has no endpoint yet, or the file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let cluster = super::block_on(async {
        let (client, namespace) = args.place.client().await?;
        let answer = Api::<EksCluster>::namespaced(client, &namespace).get(&args.name).await;
        found(answer, Kind::EksCluster, &namespace, &args.name)
    })?;
    let options = Options {
        context: args.context_name.clone(),
        role_arn: args.role_arn.clone(),
        profile: args.aws_profile.clone(),
    };
    let entries = Entries::of(&cluster, &options)?;
    let Some(path) = &args.merge else {
        return output::print(&entries.kubeconfig(), args.output.unwrap_or(Structured::Yaml));
    };
    let named = path.is_some();
    let path = path.clone().map_or_else(file::default_path, Ok)?;
    file::merge(&path, &entries, !args.keep_context)?;
    let (context, file) = (&entries.context, path.display());
    // kubectl does not read a file that was named here, unless KUBECONFIG names it too.
    let of_file = if named { format!(" --kubeconfig {file}") } else { String::new() };
    let of_context = if args.keep_context { format!(" --context {context}") } else { String::new() };
    let next = format!("kubectl{of_file}{of_context}");
    crate::cli::note(&format!("context {context} is in {file}: {next} get nodes"));
    Ok(())
}
