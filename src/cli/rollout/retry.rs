//! `keelson rollout retry`. I/O: the management cluster's API and the terminal.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use super::decision::{self, Halted};
use super::{say, write_annotation};
use crate::api::{FleetRollout, RETRY_ANNOTATION};
use crate::cli::confirm;
use crate::cli::connection::Connection;
use crate::cli::output::Changed;
use crate::cli::plan::style::{self, styled};
use crate::cli::terminal::one_line;
use crate::cli::time::format_between;

/// How often an object that changes meanwhile is read again.
const MAX_ATTEMPTS: usize = 20;

/// Flags of `keelson rollout retry`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson rollout retry main             # shows what failed, and asks
  keelson rollout retry main 1.36 --yes")]
pub struct Args {
    /// The FleetRollout.
    name: String,
    /// The version whose releases have halted: of control planes, of node groups, or both [default: the only one].
    target: Option<String>,
    /// Continue without asking.
    #[arg(short, long)]
    yes: bool,
    /// Format: the FleetRollout; `name`: only its name. What is continued is then shown on standard error.
    #[arg(short, long, value_enum)]
    output: Option<Changed>,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let client = args.connection.client().await?;
    let api = Api::<FleetRollout>::all(client.clone());
    let mut confirmed: Option<Halted> = None;
    for _ in 0..MAX_ATTEMPTS {
        let found = api.get_opt(&args.name).await.with_context(|| format!("FleetRollout {}", args.name))?;
        let rollout = found.with_context(|| format!("FleetRollout {} does not exist", args.name))?;
        let halted = decision::halted(&rollout, args.target.as_deref())?;
        let now = Timestamp::now();
        match &confirmed {
            Some(before) if *before != halted => {
                bail!(
                    "it has halted for another reason meanwhile, and nothing was continued: review it, and retry again"
                )
            }
            Some(_) => {}
            None => {
                say(args.output, &show(&args.name, &halted, now))?;
                let instead = "review what failed, and continue with --yes";
                if !args.yes && !confirm::ask("Continue?", instead)? {
                    bail!("not continued");
                }
                confirmed = Some(halted.clone());
            }
        }
        let handled = rollout.status.as_ref().and_then(|status| status.last_handled_retry.as_deref());
        let value = halted.value(handled, now);
        if let Some(written) = write_annotation::annotate(&client, &rollout, RETRY_ANNOTATION, &value).await? {
            say(args.output, &format!("FleetRollout {}: {} continue\n", written.name_any(), halted.describe()))?;
            return write_annotation::print(&written, args.output);
        }
    }
    bail!("the FleetRollout changes faster than it can be annotated: try again")
}

/// What failed, and what follows.
pub fn show(name: &str, of: &Halted, now: Timestamp) -> String {
    let title = format!("FleetRollout {name}: {} have halted, and are to continue", of.describe());
    let mut out = format!("{}\n", styled(style::heading(), one_line(&title)));
    for (gate, halt) in &of.halts {
        let since = format_between(halt.since.0, now);
        let line = one_line(&format!("{}, wave {}, {since} ago: {}", gate.describe(), halt.wave, halt.message));
        let _ = writeln!(out, "  {}", styled(style::of_sign("!"), line));
    }
    out.push_str(
        "  Clusters begin again. Failures until now no longer count, and the wave still waits until its clusters are healthy.\n",
    );
    out
}
