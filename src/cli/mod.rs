//! The commands of the command line, each a thin layer over the other folders.
//!
//! Not allowed here: decisions. I/O: files and standard output.

mod approve;
mod cluster_page;
mod confirm;
pub(crate) mod connection;
mod controller;
mod crds;
mod doctor;
pub(crate) mod errors;
mod estimate;
pub(crate) mod events;
mod field_managers;
mod files;
mod get;
mod import;
mod kubeconfig;
mod notify;
mod output;
pub(crate) mod plan;
mod reading;
mod recover;
mod reference;
mod relocate;
mod request_reconcile;
pub(crate) mod rollout;
mod runtime;
mod screen;
pub(crate) mod status;
pub(crate) mod subject;
mod suspend;
mod table;
mod terminal;
pub(crate) mod time;
mod ui;
mod version;
pub(crate) mod watching;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use files::{note, print, print_document, read};
use runtime::block_on;

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
    #[command(after_help = "Examples:\n  keelson controller --leader-election=false --log-level keelson=debug")]
    Controller(Box<controller::Args>),
    /// Print the CustomResourceDefinitions.
    #[command(after_help = "Examples:\n  keelson crds | kubectl apply --server-side -f -")]
    Crds,
    /// Preview the plan of manifests: from nothing, or with --live from what is in AWS.
    Plan(plan::Args),
    /// List clusters with their node groups, or show the resources of one as a tree.
    Get(get::Args),
    /// Show what a cluster is doing, since when, until when, what is in the way, and what you can do.
    Status(status::Args),
    /// List what the operator reported of clusters and node groups.
    Events(events::Args),
    /// Show the plans of a cluster and its node groups that wait for approval, ask for confirmation, and approve
    /// them.
    Approve(approve::Args),
    /// Show FleetRollouts with their waves and clusters, and approve, retry or promote a wave.
    Rollout(rollout::Args),
    /// Compare a cluster and its node groups with AWS now; with --wait, also wait for the result.
    Reconcile(request_reconcile::Args),
    /// Stop all changes to a cluster, until it is resumed.
    #[command(after_help = "Examples:\n  keelson suspend demo -n team-a")]
    Suspend(suspend::Args),
    /// Let Keelson change a suspended cluster again.
    #[command(after_help = "Examples:\n  keelson resume demo -n team-a")]
    Resume(suspend::Args),
    /// Write a kubeconfig of a cluster, which gets its tokens from `aws eks get-token`.
    Kubeconfig(kubeconfig::Args),
    /// Check an account and a region before a first cluster: credentials, permissions, quotas, zones, the agent's
    /// source. Nothing is written.
    Doctor(doctor::Args),
    /// Write the manifest of existing clusters: from AWS, a state of Terraform or objects of Cluster API, or from an eksctl ClusterConfig.
    Import(import::Args),
    /// Compare what carries Keelson's tags in AWS with the existing objects, and let objects take over what earlier
    /// objects of the same names owned, as after a restore. Only tags are written.
    Recover(recover::Args),
    /// Move EksClusters with their NodeGroups, AwsAccounts and Secrets to another management cluster. Only tags are
    /// written.
    Move(relocate::Args),
    /// Open a page in the browser that shows the fleet, what needs a person first, and follows changes. It changes nothing.
    Ui(ui::Args),
    /// Print the versions of this command line, of the operator, and of the API.
    Version(version::Args),
    /// Print the completion script of a shell.
    Completion(reference::CompletionArgs),
    /// Write the man pages.
    Man(reference::ManArgs),
}

/// The definition of the command line.
fn command() -> clap::Command {
    Cli::command()
}

/// The definition under the name that the user calls: a plugin is called through kubectl.
fn command_as_called() -> clap::Command {
    let called = std::env::args_os().next();
    let name = called.as_deref().map(Path::new).and_then(Path::file_stem);
    let is_plugin = name.is_some_and(|name| name == "kubectl-keelson");
    if is_plugin { command().bin_name("kubectl keelson") } else { command().bin_name("keelson") }
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let parsed = command_as_called().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let verb = match parsed {
        Ok(cli) => cli.verb,
        Err(error) => {
            let _ = error.print();
            // Clap's own code is 2, which here means that a plan has changes.
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(verb) {
        Ok(code) => code,
        Err(error) => {
            note(&format!("keelson: {}", errors::format_error(&error)));
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Plan(args) => return plan::run(&args),
        Verb::Controller(args) => controller::run(*args),
        Verb::Crds => crds::print(),
        Verb::Get(args) => get::run(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Events(args) => events::run(&args),
        Verb::Approve(args) => approve::run(&args),
        Verb::Rollout(args) => rollout::run(&args),
        Verb::Reconcile(args) => request_reconcile::run(&args),
        Verb::Suspend(args) => suspend::run(&args, true),
        Verb::Resume(args) => suspend::run(&args, false),
        Verb::Kubeconfig(args) => kubeconfig::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Import(args) => import::run(args),
        Verb::Recover(args) => recover::run(&args),
        Verb::Move(args) => relocate::run(&args),
        Verb::Ui(args) => ui::run(&args),
        Verb::Version(args) => version::run(&args),
        Verb::Completion(args) => reference::completion(&args, command()),
        Verb::Man(args) => reference::man(&args, command()),
    }?;
    Ok(ExitCode::SUCCESS)
}
