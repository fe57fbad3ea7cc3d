//! `keelson rollout promote`. I/O: the management cluster's API and the terminal.

use std::fmt::Write as _;

use anyhow::bail;
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::decision::{self, Promotion};
use super::fleet_objects::Fleet;
use super::words::{self, has_word, with_words};
use super::{say, write_annotation};
use crate::api::PROMOTE_ANNOTATION;
use crate::cli::confirm;
use crate::cli::connection::Connection;
use crate::cli::output::Changed;
use crate::cli::plan::style::{self, styled};
use crate::cli::terminal::one_line;

/// How often an object that changes meanwhile is read again.
const MAX_ATTEMPTS: usize = 20;

/// Flags of `keelson rollout promote`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson rollout promote main 1.36/canary       # shows what is skipped, and asks
  keelson rollout promote main --wave canary --yes")]
pub struct Args {
    /// The FleetRollout.
    name: String,
    /// The version and the wave [default of the version: the only one that is rolled out].
    #[arg(value_name = "TARGET/WAVE")]
    what: Option<String>,
    /// The wave.
    #[arg(long)]
    wave: Option<String>,
    /// Promote without asking.
    #[arg(short, long)]
    yes: bool,
    /// Format: the FleetRollout; `name`: only its name. What is skipped is then shown on standard error.
    #[arg(short, long, value_enum)]
    output: Option<Changed>,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let client = args.connection.client().await?;
    let mut is_confirmed = false;
    for _ in 0..MAX_ATTEMPTS {
        let fleet = Fleet::read(&client).await?;
        let rollout = fleet.get(&args.name)?;
        let view = fleet.view(rollout, Timestamp::now());
        let found = decision::promotion(rollout, view.as_ref(), args.what.as_deref(), args.wave.as_deref())?;
        let Promotion { target, wave, .. } = &found;
        let word = format!("{target}/{wave}");
        let annotation = rollout.annotations().get(PROMOTE_ANNOTATION).map(String::as_str);
        if found.is_done || has_word(annotation, &word) {
            return say(
                args.output,
                &format!("FleetRollout {}: wave {wave} has passed already for {target}\n", args.name),
            );
        }
        if !is_confirmed {
            say(args.output, &show(&args.name, &found))?;
            if !args.yes && !confirm::ask("Promote?", "review what is skipped, and promote with --yes")? {
                bail!("not promoted");
            }
            is_confirmed = true;
        }
        let value = with_words(annotation, words::promotions(rollout, view.as_ref()), [word.as_str()]);
        if let Some(written) = write_annotation::annotate(&client, rollout, PROMOTE_ANNOTATION, &value).await? {
            say(args.output, &format!("FleetRollout {}: wave {wave} passes for {target}\n", written.name_any()))?;
            return write_annotation::print(&written, args.output);
        }
    }
    bail!("the FleetRollout changes faster than it can be annotated: try again")
}

/// What is skipped.
pub fn show(name: &str, of: &Promotion) -> String {
    let Promotion { target, wave, skips, has_halted, .. } = of;
    let title = format!("FleetRollout {name}: wave {wave} is to pass for {target} without waiting");
    let mut out = format!("{}\n", styled(style::heading(), one_line(&title)));
    for line in skips {
        let _ = writeln!(out, "  {}", styled(style::of_sign("~"), one_line(line)));
    }
    out.push_str("  The next wave may then begin. This is recorded with the field manager that wrote it, and cannot be undone.\n");
    if *has_halted {
        let _ = writeln!(out, "  The release has halted, and stays so until keelson rollout retry {name} {target}.");
    }
    out
}
