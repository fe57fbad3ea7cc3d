//! A FleetRollout: its releases, each with its waves as lanes. Pure.

use askama::Template;

use super::badge::Badge;
use super::checks::{self, CheckRow};
use super::cluster_page::{EventRow, Fact, event_rows};
use super::command::{Command, capital};
use super::context::{Context, Frame};
use crate::api::FleetRollout;
use crate::api::fleet_rollout::Gate;
use crate::api::fleet_rollout_status::{ReleaseState, ReleaseStatus, TicketStatus, WaveState, WaveStatus};
use crate::api::listing::counted;
use crate::page::fleet::{FleetObject, Opened};
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
    /// The card of a rollout; `None`: it cannot be decoded.
    pub fn new(kept: &FleetObject<FleetRollout>, context: &Context<'_>) -> Option<Self> {
        let Opened { object, row } = kept.open()?;
        let status = object.status.clone().unwrap_or_default();
        Some(Self {
            name: row.id.name.clone(),
            href: row.id.path(),
            badge: Badge::new(row.state),
            message: row.message.clone(),
            releases: status.releases.iter().take(1).map(|one| release(one, &object, context)).collect(),
        })
    }
}

impl Page {
    /// The page of a rollout; `None`: it does not exist.
    pub fn new(context: &Context<'_>, id: &Id) -> Option<Self> {
        let Opened { object, row } = context.fleet.rollouts.get(&id.place())?.open()?;
        let status = object.status.clone().unwrap_or_default();
        Some(Self {
            frame: context.frame(&id.name, "/events".to_owned(), "fleet"),
            badge: Badge::new(row.state),
            members: counted(status.members, "cluster"),
            message: row.message.clone(),
            releases: status.releases.iter().map(|one| release(one, &object, context)).collect(),
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
    let tickets: Vec<&TicketStatus> = of.tickets.iter().filter(may_see).collect();
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
        tickets: tickets.into_iter().take(MAX_TICKETS).map(|one| ticket(one, of.gate, context)).collect(),
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
    let row = context.fleet.row(&id);
    let state = row.map_or(State::Unknown, |row| row.state);
    Ticket {
        cluster: of.cluster.clone(),
        href: id.path(),
        badge: Badge::new(state),
        elapsed: context.elapsed(Some(of.since.0)),
        detail: match (gate, row) {
            (Gate::Agent, Some(row)) => row.agent_transition.clone(),
            (Gate::Revision, Some(row)) => row.revision_transition.clone(),
            _ => String::new(),
        },
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

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use serde_json::{Value, json};

    use super::*;
    use crate::page::fleet::Fleet;
    use crate::page::tests::now;
    use crate::page::viewer::Viewer;

    /// The lanes of a rollout with these waves and tickets.
    fn lanes(waves: Value, tickets: Value, viewer: &Viewer) -> Vec<Lane> {
        let release = json!({"gate": "ControlPlane", "target": "1.36", "state": "Progressing", "since": "2026-11-30T23:00:00Z",
            "waves": waves, "tickets": tickets});
        let rollout: FleetRollout = serde_json::from_value(json!({
            "metadata": {"name": "main"}, "spec": {"clusterSelector": {}, "waves": [{"name": "canary"}, {"name": "prod"}]},
            "status": {"members": 4, "releases": [release]},
        }))
        .unwrap();
        let mut fleet = Fleet::default();
        fleet.apply(rollout, now());
        let context = Context { fleet: &fleet, viewer, now: now(), zone: &TimeZone::UTC, management: "m" };
        let mut page = Page::new(&context, &Id::new(Kind::FleetRollout, "", "main")).unwrap();
        page.releases.remove(0).lanes
    }

    fn ticket_of(cluster: &str, wave: &str) -> Value {
        json!({"cluster": cluster, "uid": cluster, "id": "control-plane/1.36", "wave": wave, "since": "2026-11-30T23:56:00Z"})
    }

    /// The clusters in each lane.
    fn clusters(lanes: &[Lane]) -> Vec<(&str, Vec<&str>)> {
        let of_lane =
            lanes.iter().map(|lane| (lane.name.as_str(), lane.tickets.iter().map(|one| one.cluster.as_str())));
        of_lane.map(|(name, tickets)| (name, tickets.collect())).collect()
    }

    #[test]
    fn cluster_is_in_the_lane_of_its_wave_and_moves_with_it() {
        let wave = |name: &str, state: &str| json!({"name": name, "state": state, "members": 2});
        let everything = Viewer::of_everything();
        let before = lanes(
            json!([wave("canary", "Progressing"), wave("prod", "Pending")]),
            json!([ticket_of("team-a/apple", "canary"), ticket_of("team-b/banana", "canary")]),
            &everything,
        );
        assert_eq!(clusters(&before), [("canary", vec!["team-a/apple", "team-b/banana"]), ("prod", vec![])]);
        assert_eq!(
            (before[0].badge.text.as_str(), before[1].badge.text.as_str()),
            ("in progress", "waits for earlier waves")
        );
        let tickets = json!([ticket_of("team-a/apple", "prod"), ticket_of("team-b/banana", "canary")]);
        let waves = json!([wave("canary", "Soaking"), wave("prod", "Progressing")]);
        let after = lanes(waves.clone(), tickets.clone(), &everything);
        assert_eq!(clusters(&after), [("canary", vec!["team-b/banana"]), ("prod", vec!["team-a/apple"])]);
        let moved = &after[1].tickets[0];
        assert_eq!((moved.href.as_str(), moved.elapsed.as_str()), ("/clusters/team-a/apple", "4 min"));
        // Who may not see a cluster sees the wave without it.
        let mut viewer = Viewer::with_rights(|kind| kind == Kind::FleetRollout);
        viewer.allow(Kind::EksCluster, "team-b");
        let shown = lanes(waves, tickets, &viewer);
        assert_eq!(clusters(&shown), [("canary", vec!["team-b/banana"]), ("prod", vec![])]);
    }

    #[test]
    fn bar_has_what_is_done_then_what_fails_then_what_is_on_its_way() {
        let parts_of =
            |members: i32, at_target: i32, failed: i32, in_progress: i32| -> Vec<(&'static str, String, String)> {
                let wave = json!([{"name": "canary", "state": "Progressing", "members": members, "atTarget": at_target,
                "failed": failed, "inProgress": in_progress}]);
                lanes(wave, json!([]), &Viewer::of_everything()).remove(0).parts
            };
        let part = |class: &'static str, left: &str, width: &str| (class, left.to_owned(), width.to_owned());
        let expected =
            [part("ready", "0.00", "37.50"), part("failing", "37.50", "12.50"), part("progressing", "50.00", "25.00")];
        assert_eq!(parts_of(8, 3, 1, 2), expected);
        assert_eq!(parts_of(2, 2, 0, 1), [part("ready", "0.00", "100.00")], "never wider than the lane");
        assert!(parts_of(0, 0, 0, 0).is_empty());
    }
}
