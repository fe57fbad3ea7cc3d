//! A FleetRollout: its releases, each with its waves as lanes. Pure.

use askama::Template;

use super::badge::Badge;
use super::checks::{self, CheckRow};
use super::cluster::{EventRow, Fact, event_rows};
use super::command::{Command, capital};
use super::context::{Context, Frame};
use crate::api::FleetRollout;
use crate::api::fleet_rollout::Gate;
use crate::api::fleet_rollout_status::{ReleaseState, ReleaseStatus, TicketStatus, WaveState, WaveStatus};
use crate::api::listing::counted;
use crate::page::fleet::Kept;
use crate::page::id::{Id, Kind};
use crate::page::state::State;

/// Clusters of a wave that are listed.
const MAX_TICKETS: usize = 40;
/// Width of a lane's bar, in its own units.
const WIDTH: f64 = 100.0;

#[derive(Template)]
#[template(path = "rollout.html")]
pub struct Page {
    frame: Frame,
    id: Id,
    badge: Badge,
    members: String,
    message: String,
    releases: Vec<Release>,
    events: Vec<EventRow>,
    commands: Vec<Command>,
}

/// A rollout on the landing page: its most urgent release.
pub struct Card {
    pub name: String,
    pub href: String,
    pub badge: Badge,
    pub message: String,
    pub releases: Vec<Release>,
}

/// A version on its way through the waves.
pub struct Release {
    pub title: String,
    pub badge: Badge,
    pub progress: String,
    pub message: String,
    pub elapsed: String,
    /// The whole revision and its source, of gate `Revision`.
    pub facts: Vec<Fact>,
    pub lanes: Vec<Lane>,
    pub commands: Vec<Command>,
}

/// A wave.
pub struct Lane {
    pub name: String,
    pub badge: Badge,
    pub counts: String,
    /// Parts of the bar: class, left edge, width.
    pub parts: Vec<(&'static str, String, String)>,
    pub tickets: Vec<Ticket>,
    pub more_tickets: usize,
    pub checks: Vec<CheckRow>,
}

/// A cluster that is in the middle of its step.
pub struct Ticket {
    pub cluster: String,
    pub href: String,
    pub badge: Badge,
    pub elapsed: String,
    /// From which version to which, of gates `Agent` and `Revision`.
    pub detail: String,
}

impl Card {
    pub fn new(kept: &Kept<FleetRollout>, context: &Context<'_>) -> Self {
        let Kept { object, row } = kept;
        let status = object.status.clone().unwrap_or_default();
        Self {
            name: row.id.name.clone(),
            href: row.id.path(),
            badge: Badge::new(row.state),
            message: row.message.clone(),
            releases: status.releases.iter().take(1).map(|one| release(one, object, context)).collect(),
        }
    }
}

impl Page {
    /// The page of a rollout; `None`: it does not exist.
    pub fn new(context: &Context<'_>, id: &Id) -> Option<Self> {
        let Kept { object, row } = context.fleet.rollouts.get(&id.place())?;
        let status = object.status.clone().unwrap_or_default();
        Some(Self {
            frame: context.frame(&id.name, "/events".to_owned(), "fleet"),
            badge: Badge::new(row.state),
            members: counted(status.members, "cluster"),
            message: row.message.clone(),
            releases: status.releases.iter().map(|one| release(one, object, context)).collect(),
            events: event_rows(context.fleet.events(id), context),
            commands: vec![
                Command::new("See it on a terminal", format!("keelson rollout status {}", id.name)),
                Command::new(
                    "Stop further clusters from beginning, until it is set to false again",
                    format!(
                        "kubectl patch fleetrollout {} --type merge -p '{{\"spec\":{{\"suspend\":true}}}}'",
                        id.name
                    ),
                ),
            ],
            id: id.clone(),
        })
    }
}

fn release(of: &ReleaseStatus, object: &FleetRollout, context: &Context<'_>) -> Release {
    let message = of.halt.as_ref().map(|halt| halt.message.clone()).or_else(|| of.message.clone());
    let since = of.halt.as_ref().map_or(of.since.0, |halt| halt.since.0);
    Release {
        title: format!("{} to {}", capital(of.gate.describe()), of.target),
        badge: Badge::new(State::of_release(of.state)),
        progress: of.progress.clone(),
        message: message.unwrap_or_default(),
        elapsed: context.elapsed(Some(since)),
        facts: facts(of),
        lanes: of.waves.iter().map(|wave| lane(wave, of, object, context)).collect(),
        commands: commands(of, object),
    }
}

fn facts(of: &ReleaseStatus) -> Vec<Fact> {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let mut facts = vec![Fact::new("Revision", text(&of.revision)), Fact::new("Source", text(&of.source))];
    facts.retain(|fact| !fact.value.is_empty());
    facts
}

fn lane(wave: &WaveStatus, of: &ReleaseStatus, object: &FleetRollout, context: &Context<'_>) -> Lane {
    let state = match wave.state {
        WaveState::Pending => State::Unknown,
        WaveState::WaitingForApproval => State::Approval,
        WaveState::Progressing | WaveState::Soaking => State::Progressing,
        WaveState::Failed => State::Halted,
        WaveState::Passed => State::Ready,
    };
    let text = match wave.state {
        WaveState::Pending => "waits for earlier waves",
        WaveState::WaitingForApproval => "needs approval",
        WaveState::Progressing => "in progress",
        WaveState::Soaking => "soaking",
        WaveState::Failed => "failed",
        WaveState::Passed => "passed",
    };
    let may_see = |ticket: &&TicketStatus| {
        ticket.wave == wave.name
            && ticket.cluster.split_once('/').is_some_and(|(namespace, _)| context.viewer.may_see_namespace(namespace))
    };
    let tickets: Vec<Ticket> = of.tickets.iter().filter(may_see).map(|one| ticket(one, of.gate, context)).collect();
    let more_tickets = tickets.len().saturating_sub(MAX_TICKETS);
    let mut counts = format!("{} of {}", wave.at_target, wave.members);
    for (count, what) in [(wave.in_progress, "in progress"), (wave.failed, "failed")] {
        if count > 0 {
            counts += &format!(", {count} {what}");
        }
    }
    Lane {
        name: wave.name.clone(),
        badge: Badge::with_text(state, text),
        counts,
        parts: parts(wave),
        tickets: tickets.into_iter().take(MAX_TICKETS).collect(),
        more_tickets,
        checks: checks::checks(wave, object.spec.waves.iter().find(|one| one.name == wave.name), context),
    }
}

/// How much of the wave has the version, fails, and is on its way.
fn parts(wave: &WaveStatus) -> Vec<(&'static str, String, String)> {
    let all = f64::from(wave.members.max(1));
    let mut left = 0.0;
    let mut parts = Vec::new();
    for (class, count) in [("ready", wave.at_target), ("failing", wave.failed), ("progressing", wave.in_progress)] {
        let width = (f64::from(count.max(0)) / all * WIDTH).min(WIDTH - left);
        if width > 0.0 {
            parts.push((class, format!("{left:.2}"), format!("{width:.2}")));
            left += width;
        }
    }
    parts
}

fn ticket(of: &TicketStatus, gate: Gate, context: &Context<'_>) -> Ticket {
    let (namespace, name) = of.cluster.split_once('/').unwrap_or_default();
    let id = Id::new(Kind::EksCluster, namespace, name);
    let state = context.fleet.row(&id).map_or(State::Unknown, |row| row.state);
    Ticket {
        cluster: of.cluster.clone(),
        href: id.path(),
        badge: Badge::new(state),
        elapsed: context.elapsed(Some(of.since.0)),
        detail: transition(gate, &id, context),
    }
}

/// From which version of the agent, or revision of its source, to which a cluster is on its way, as far as its status has them.
fn transition(gate: Gate, cluster: &Id, context: &Context<'_>) -> String {
    let object = context.fleet.clusters.get(&cluster.place()).map(|kept| &kept.object);
    let gitops = object.and_then(|object| object.status.as_ref()?.gitops.as_ref());
    let Some(gitops) = gitops else { return String::new() };
    match gate {
        Gate::ControlPlane | Gate::NodeGroups => String::new(),
        Gate::Agent => gitops.upgrade.as_ref().map(|one| format!("{} → {}", one.from, one.to)).unwrap_or_default(),
        Gate::Revision => {
            let held = gitops.held_revision.clone().unwrap_or_default();
            let part = |word: &str, revision: Option<String>| revision.map(|revision| format!("{word} {revision}"));
            let parts = [part("allowed", held.allowed), part("wanted", held.wanted)];
            parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
    }
}

/// What a person can do about a release that does not go on by itself.
fn commands(of: &ReleaseStatus, object: &FleetRollout) -> Vec<Command> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    match of.state {
        ReleaseState::Halted => {
            let retry = format!("keelson rollout retry {name} {}", of.target);
            vec![Command::new("Once the cause is removed, let it continue", retry)]
        }
        ReleaseState::WaitingForApproval => {
            let waiting = of.waves.iter().filter(|wave| wave.state == WaveState::WaitingForApproval);
            let approve = |wave: &WaveStatus| {
                let hash = wave.approval_hash.as_deref()?;
                Some(Command::new(
                    &format!("Let wave {} begin", wave.name),
                    format!("keelson rollout approve {name} --hash {hash}"),
                ))
            };
            waiting.filter_map(approve).collect()
        }
        ReleaseState::Blocked
        | ReleaseState::Suspended
        | ReleaseState::Progressing
        | ReleaseState::Soaking
        | ReleaseState::Completed => Vec::new(),
    }
}
