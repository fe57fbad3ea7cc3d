//! The commands of the command line, each a thin layer over the other folders.
//!
//! Not allowed here: decisions. I/O: files and standard output.

mod approve;
mod controller;
mod crds;
mod doctor;
mod errors;
mod files;
mod import;
mod plan;
mod reading;
mod recover;
mod relocate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use files::{print, read};

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
    /// Preview the plan of a manifest: from nothing, or with --live from what is in AWS.
    Plan(plan::Args),
    /// Check an account and a region before a first cluster: credentials, permissions, quotas, zones, the agent's
    /// source. Nothing is written.
    Doctor(doctor::Args),
    /// Show the plans of a cluster and its node groups that wait for approval, ask for confirmation, and approve
    /// them.
    Approve(approve::Args),
    /// Compare what carries Keelson's tags in AWS with the existing objects, and let objects take over what earlier
    /// objects of the same names owned, as after a restore. Only tags are written.
    Recover(recover::Args),
    /// Move EksClusters with their NodeGroups, AwsAccounts and Secrets to another management cluster. Only tags are
    /// written.
    Move(relocate::Args),
    /// Write the manifest of existing clusters in AWS, or of an eksctl ClusterConfig.
    Import(import::Args),
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Controller(args) => controller::run(args),
        Verb::Crds => crds::print(),
        Verb::Plan(args) => plan::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Approve(args) => approve::run(&args),
        Verb::Recover(args) => recover::run(&args),
        Verb::Move(args) => relocate::run(&args),
        Verb::Import(args) => import::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson: {}", errors::format_error(&error));
            ExitCode::FAILURE
        }
    }
}
