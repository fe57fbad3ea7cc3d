//! `keelson rollout`: shows the FleetRollouts with their waves and clusters, and writes what a person decides: approvals,
//! retries and promotions. I/O: the management cluster's API and the terminal.

mod approve;
mod decision;
mod fleet_objects;
pub mod overview;
mod print_status;
mod promote;
mod retry;
#[cfg(test)]
mod rollout_tests;
mod status_command;
mod words;
mod write_annotation;

use clap::Subcommand;

use super::output::say;

/// Flags of `keelson rollout`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson rollout status main -w
  keelson rollout approve main --wave everybody
  keelson rollout retry main 1.36
  keelson rollout promote main 1.36/canary")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Show the waves of FleetRollouts: what each cluster is doing, what is in the way, and what you can do.
    Status(status_command::Args),
    /// Show the clusters that wait for an approval, ask for confirmation, and approve exactly these.
    Approve(approve::Args),
    /// Let a release that has halted continue.
    Retry(retry::Args),
    /// Let a wave pass at once, without its soak and its checks, and without the clusters that do not have the version.
    Promote(promote::Args),
}

/// Runs the command.
///
/// # Errors
/// Those of the verb.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.verb {
        Verb::Status(args) => super::block_on(status_command::run(args)),
        Verb::Approve(args) => super::block_on(approve::run(args)),
        Verb::Retry(args) => super::block_on(retry::run(args)),
        Verb::Promote(args) => super::block_on(promote::run(args)),
    }
}
