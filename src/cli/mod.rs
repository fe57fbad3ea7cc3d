//! The command line's verbs, each a thin face of the other folders.
//!
//! May not enter: decisions. I/O: files and standard output.

mod controller;
mod crds;
mod plan;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// EKS clusters from Git: an operator that creates, upgrades and bootstraps them.
#[derive(Parser)]
#[command(name = "keelson", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the operator against the Kubernetes API of KUBECONFIG, or of the cluster it runs in.
    Controller(controller::Args),
    /// Print the CustomResourceDefinitions.
    Crds,
    /// Print what would be done for a manifest: from nothing, or with --live from what is in AWS.
    Plan(plan::Args),
}

/// Parses the command line and runs the verb.
pub fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Controller(args) => controller::run(args),
        Verb::Crds => crds::print(),
        Verb::Plan(args) => plan::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output; being cut off by `head` is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
