//! `keelson status`: what an object is doing, since when, until when, what is in the way, what a user can do. I/O: the
//! management cluster's API and the terminal.

pub mod hook_advice;
#[cfg(test)]
mod node_group_tests;
pub mod overview;
pub mod print;
pub mod problems;
#[cfg(test)]
mod status_tests;

use std::io::IsTerminal as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::Client;

use super::approve::pending_plans::{Kind, Target};
use super::connection::{self, InNamespace};
use super::events::{self, EventLine};
use super::output::Changed;
use super::screen::Screen;
use super::subject::Subject;
use super::watching::Watched;
use overview::Overview;

/// Events that are shown.
const MAX_EVENTS: usize = 5;
/// How often the times on a terminal are updated.
const TICK: Duration = Duration::from_secs(1);

/// Flags of `keelson status`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  keelson status demo
  keelson status demo -w             # on a terminal the screen is updated, in a pipe each change is a line
  keelson status nodegroup/demo-spot -n team-a
  keelson status demo -o json | jq .until
  keelson status demo -o name        # the cluster and its node groups, for other commands")]
pub struct Args {
    /// The EksCluster, including its NodeGroups; or nodegroup/NAME for a single one.
    name: Target,
    /// Show changes as they happen, until interrupted or the object is deleted.
    #[arg(short, long)]
    watch: bool,
    /// Format: the same answer for programs; `name`: only the names of the objects.
    #[arg(short, long, value_enum, conflicts_with = "watch")]
    output: Option<Changed>,
    #[command(flatten)]
    place: InNamespace,
}

/// Runs the command.
///
/// # Errors
/// The object cannot be read.
pub fn run(args: &Args) -> anyhow::Result<()> {
    super::block_on(status(args))
}

async fn status(args: &Args) -> anyhow::Result<()> {
    let (client, namespace) = args.place.client().await?;
    let mut watched = Watched::start(&client, Some(&namespace));
    watched.ready().await?;
    if args.watch {
        return watch(args, &client, &namespace, &mut watched).await;
    }
    let of = current(&watched, args, &namespace)?;
    let answer = answer(&of, recent_events(&client, &namespace, &of).await?, Timestamp::now());
    match args.output {
        Some(format) => format.print(&answer, &names(&of)),
        None => super::print(&print::text(&answer, Timestamp::now(), &TimeZone::system())),
    }
}

/// The object that the user named, followed by its node groups.
fn current(watched: &Watched, args: &Args, namespace: &str) -> anyhow::Result<Vec<Subject>> {
    let Target { kind, name } = &args.name;
    let found = watched.subjects(Some(&args.name));
    // NodeGroups may refer to a cluster that does not exist.
    if found.first().is_none_or(|first| first.kind != *kind) {
        return Err(connection::missing(kind, namespace, name));
    }
    Ok(found)
}

/// `ekscluster.keelson.dev/demo`, one a line.
fn names(of: &[Subject]) -> String {
    of.iter().map(|one| format!("{}/{}\n", one.kind.type_name(), one.name())).collect()
}

fn answer(of: &[Subject], events: Vec<EventLine>, now: Timestamp) -> Overview {
    overview::overview(&of[0], &of[1..], events, now)
}

/// The last events, newest first.
async fn recent_events(client: &Client, namespace: &str, of: &[Subject]) -> anyhow::Result<Vec<EventLine>> {
    let names: Vec<(Kind, String)> = of.iter().map(|one| (one.kind, one.name().to_owned())).collect();
    let found = match events::read(client, Some(namespace), Some(&names)).await {
        Ok(found) => found,
        // Somebody may read clusters and not events.
        Err(error) if is_forbidden(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(found.iter().rev().take(MAX_EVENTS).map(EventLine::from).collect())
}

fn is_forbidden(error: &anyhow::Error) -> bool {
    let status = error.chain().find_map(|cause| cause.downcast_ref::<kube::Error>());
    matches!(status, Some(kube::Error::Api(status)) if status.code == 403)
}

async fn watch(args: &Args, client: &Client, namespace: &str, watched: &mut Watched) -> anyhow::Result<()> {
    let is_terminal = std::io::stdout().is_terminal();
    let zone = TimeZone::system();
    let mut of = current(watched, args, namespace)?;
    let mut events = recent_events(client, namespace, &of).await?;
    let mut shown = String::new();
    let mut screen = Screen::default();
    loop {
        let now = Timestamp::now();
        let answer = answer(&of, events.clone(), now);
        if is_terminal {
            screen.draw(&print::text(&answer, now, &zone))?;
        } else {
            let line = print::line(&answer, now, &zone);
            // Only the time differs if nothing changed.
            let is_new = line.split_once(' ').map(|(_, rest)| rest) != shown.split_once(' ').map(|(_, rest)| rest);
            if is_new {
                super::print(&format!("{line}\n"))?;
            }
            shown = line;
        }
        tokio::select! {
            change = watched.changed() => {
                change?;
                of = match current(watched, args, namespace) {
                    Ok(of) => of,
                    Err(_) => return super::print(&format!("{} {} is deleted\n", args.name.kind, args.name.name)),
                };
                events = recent_events(client, namespace, &of).await?;
            }
            () = tokio::time::sleep(TICK), if is_terminal => {}
        }
    }
}
