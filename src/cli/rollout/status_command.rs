//! `keelson rollout status`. I/O: the management cluster's API and the terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::ResourceExt as _;
use serde_json::json;

use super::fleet_objects::Fleet;
use super::overview::{self, Overview};
use super::print_status::{self, Reading};
use crate::cli::connection::Connection;
use crate::cli::output::{self, Changed};
use crate::cli::screen::Screen;
use crate::cli::time::format_time;
use crate::cli::watching::Watched;
use crate::controllers::rollout::member::members;

/// How often the times on a terminal are updated.
const TICK: Duration = Duration::from_secs(1);

/// Flags of `keelson rollout status`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson rollout status                # all FleetRollouts
  keelson rollout status main -w        # on a terminal the screen is updated, in a pipe each change is a line
  keelson rollout status main -o json | jq '.releases[0].waves[].clusters'")]
pub struct Args {
    /// The FleetRollout. Without it: all of them.
    name: Option<String>,
    /// Show changes as they happen, until interrupted or the object is deleted.
    #[arg(short, long)]
    watch: bool,
    /// Format: the same answer for programs; without a name, as a list. `name`: only the names of the FleetRollouts.
    #[arg(short, long, value_enum, conflicts_with = "watch")]
    output: Option<Changed>,
    #[command(flatten)]
    connection: Connection,
}

/// Runs the command.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let client = args.connection.client().await?;
    if args.watch {
        return watch(args, Watched::start_fleet(&client)).await;
    }
    let fleet = Fleet::read(&client).await?;
    if fleet.members.is_none() {
        crate::cli::note("note: you may not list EksClusters and NodeGroups of all namespaces: they are not shown");
    }
    let now = Timestamp::now();
    let answer = answer(&fleet, args.name.as_deref(), now)?;
    match (args.output, &args.name) {
        (Some(format), Some(_)) => format.print(&answer[0], &names(&fleet, args.name.as_deref())),
        (Some(format), None) => format.print(&json!({"items": answer}), &names(&fleet, None)),
        (None, _) => crate::cli::print(&print_status::text(&answer, Reading { now, zone: &TimeZone::system() })),
    }
}

/// The answer for the FleetRollout of that name, or for all.
fn answer(fleet: &Fleet, name: Option<&str>, now: Timestamp) -> anyhow::Result<Vec<Overview>> {
    let chosen = match name {
        Some(name) => vec![fleet.get(name)?],
        None => fleet.rollouts.iter().collect(),
    };
    Ok(chosen.into_iter().map(|rollout| overview::overview(rollout, fleet.view(rollout, now).as_ref())).collect())
}

/// `fleetrollout.keelson.dev/main`, one a line: of that name, or all.
fn names(fleet: &Fleet, name: Option<&str>) -> String {
    let chosen = fleet.rollouts.iter().filter(|one| name.is_none_or(|name| one.name_any() == name));
    chosen.map(|rollout| format!("{}\n", output::name(rollout))).collect()
}

async fn watch(args: &Args, mut watched: Watched) -> anyhow::Result<()> {
    watched.ready().await?;
    let (zone, name) = (TimeZone::system(), args.name.as_deref());
    let is_terminal = std::io::stdout().is_terminal();
    let mut screen = Screen::default();
    let mut lines: Vec<String> = Vec::new();
    let mut was_there = false;
    loop {
        let now = Timestamp::now();
        let (clusters, groups) = watched.objects();
        let fleet = Fleet::of(watched.rollouts(), Some(members(&clusters, groups)));
        let is_there = name.is_none_or(|name| fleet.rollouts.iter().any(|one| one.name_any() == name));
        if was_there && !is_there {
            return crate::cli::print(&format!("FleetRollout {} is deleted\n", name.unwrap_or_default()));
        }
        was_there = is_there;
        let all = answer(&fleet, name, now)?;
        if is_terminal {
            screen.draw(&print_status::text(&all, Reading { now, zone: &zone }))?;
        } else {
            let new: Vec<String> = all.iter().map(print_status::line).collect();
            for line in new.iter().filter(|line| !lines.contains(line)) {
                crate::cli::print(&format!("{} {line}\n", format_time(now, now, &zone)))?;
            }
            lines = new;
        }
        tokio::select! {
            change = watched.changed() => change?,
            () = tokio::time::sleep(TICK), if is_terminal => {}
        }
    }
}
