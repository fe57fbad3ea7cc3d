//! `keelson rollout approve`. I/O: the management cluster's API and the terminal.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::decision::{self, Approval, Waiting};
use super::fleet_objects::Fleet;
use super::words::{self, has_word, with_words};
use super::{say, write_annotation};
use crate::api::listing::counted;
use crate::api::{APPROVE_ANNOTATION, FleetRollout};
use crate::cli::confirm;
use crate::cli::connection::Connection;
use crate::cli::output::Changed;
use crate::cli::plan::style::{self, styled};
use crate::cli::terminal::one_line;

/// How often objects that change meanwhile are read again.
const MAX_ATTEMPTS: usize = 20;
/// Pause while the operator notes which clusters wait.
const PAUSE: Duration = Duration::from_millis(500);
/// Clusters that are listed.
const MAX_CLUSTERS: usize = 50;

/// Flags of `keelson rollout approve`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson rollout approve main                 # shows the clusters that wait, and asks
  keelson rollout approve main --wave everybody --yes
  keelson rollout approve main --hash 3f9a1c20d4e5b678 -o name")]
pub struct Args {
    /// The FleetRollout.
    name: String,
    /// Approve only the clusters of this wave.
    #[arg(long)]
    wave: Option<String>,
    /// Approve only this hash, without asking.
    #[arg(long)]
    hash: Option<String>,
    /// Approve what is shown, without asking.
    #[arg(short, long)]
    yes: bool,
    /// Format: the FleetRollout; `name`: only its name. What is approved is then shown on standard error.
    #[arg(short, long, value_enum)]
    output: Option<Changed>,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let client = args.connection.client().await?;
    let mut confirmed: Option<Vec<String>> = None;
    let mut unsettled = String::new();
    for _ in 0..MAX_ATTEMPTS {
        let fleet = Fleet::read(&client).await?;
        let rollout = fleet.get(&args.name)?;
        let view = fleet.view(rollout, Timestamp::now());
        let all = match decision::waiting(rollout, view.as_ref(), args.wave.as_deref(), args.hash.as_deref())? {
            Waiting::For(all) => all,
            Waiting::Unsettled(wave) => {
                unsettled = wave;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let annotation = rollout.annotations().get(APPROVE_ANNOTATION).map(String::as_str);
        let new: Vec<&Approval> = all.iter().filter(|one| !has_word(annotation, &one.hash)).collect();
        let hashes: Vec<String> = new.iter().map(|one| one.hash.clone()).collect();
        match &confirmed {
            // What was confirmed is exactly what is approved.
            Some(before) if *before != hashes => bail!(
                "the clusters that wait have changed meanwhile, and nothing was approved: review them, and approve again"
            ),
            Some(_) => {}
            None if new.is_empty() => return say(args.output, &nothing_waits(rollout, &all)),
            None => {
                say(args.output, &show(&args.name, &new))?;
                let asks = !args.yes && args.hash.is_none();
                let instead =
                    "review the clusters, and approve them with --hash HASH, or everything that waits with --yes";
                if asks && !confirm::ask("Approve?", instead)? {
                    bail!("not approved");
                }
                confirmed = Some(hashes.clone());
            }
        }
        let counts = words::approvals(rollout, view.as_ref());
        let value = with_words(annotation, counts, hashes.iter().map(String::as_str));
        if let Some(written) = write_annotation::annotate(&client, rollout, APPROVE_ANNOTATION, &value).await? {
            let lines: String = new.iter().map(|one| format!("approved: {}\n", title(&args.name, one))).collect();
            say(args.output, &lines)?;
            return write_annotation::print(&written, args.output);
        }
    }
    if unsettled.is_empty() {
        bail!("the FleetRollout changes faster than it can be approved: try again");
    }
    bail!(
        "the clusters of wave {unsettled} that wait are not those that the hash in its status covers: they change right now, \
         or the operator does not run (keelson version): try again"
    )
}

/// `FleetRollout main: control planes to 1.36, wave everybody, hash 3f9a1c20d4e5b678`.
fn title(name: &str, of: &Approval) -> String {
    let Approval { gate, target, wave, hash, .. } = of;
    format!("FleetRollout {name}: {} to {target}, wave {wave}, hash {hash}", gate.describe())
}

/// The clusters that each hash covers.
pub fn show(name: &str, all: &[&Approval]) -> String {
    let mut out = String::new();
    for one in all {
        let _ = writeln!(out, "{}", styled(style::heading(), one_line(&title(name, one))));
        let Some(clusters) = &one.clusters else {
            out.push_str("  its clusters cannot be listed: the hash covers those that the operator sees\n");
            continue;
        };
        let _ = writeln!(out, "  {} may then begin:", counted(clusters.len(), "cluster"));
        for (cluster, version) in clusters.iter().take(MAX_CLUSTERS) {
            let line = one_line(&format!("{cluster}  {version} -> {}", one.target));
            let _ = writeln!(out, "  {}", styled(style::of_sign("~"), format!("~ {line}")));
        }
        if clusters.len() > MAX_CLUSTERS {
            let _ =
                writeln!(out, "  and {} more (keelson rollout status {name} -o json)", clusters.len() - MAX_CLUSTERS);
        }
    }
    out
}

fn nothing_waits(rollout: &FleetRollout, given: &[Approval]) -> String {
    let name = rollout.name_any();
    if given.is_empty() {
        return format!("FleetRollout {name}: nothing waits for an approval\n");
    }
    let line = |one: &Approval| format!("{}: approved, and not yet processed by the operator\n", title(&name, one));
    given.iter().map(line).collect()
}
