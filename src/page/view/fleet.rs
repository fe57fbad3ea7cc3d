//! The landing page: what needs a person, what hooks hold, the rollouts, the table of clusters. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use jiff::Timestamp;

use super::badge::Badge;
use super::cluster_table::{self, Table};
use super::command::Command;
use super::context::{Context, Frame};
use super::rollout::Card;
use super::support::{self, Ending};
use crate::api::Reason;
use crate::page::id::{Id, Kind};
use crate::page::query::Query;
use crate::page::row::Row;
use crate::page::state::State;

/// What needs a person, that is listed with its message and its commands.
const MAX_NEEDS: usize = 12;
/// What else needs a person, that is listed by name.
const MAX_OTHERS: usize = 200;
/// Clusters held by hooks that are listed.
const MAX_HELD: usize = 6;
/// Rollouts that are listed.
const MAX_ROLLOUTS: usize = 8;
/// Names the FleetRollout in the message of a cluster that it holds.
const ROLLOUT: &str = "FleetRollout ";

#[derive(Template)]
#[template(path = "fleet.html")]
pub struct Page {
    frame: Frame,
    needs: Vec<Need>,
    /// Listed by name.
    other_needs: Vec<Need>,
    /// How many are not listed.
    more_needs: usize,
    /// How many there are.
    all_needs: usize,
    /// Clusters whose hooks run: what follows waits for them.
    held: Vec<Need>,
    more_held: usize,
    all_held: usize,
    rollouts: Vec<Card>,
    more_rollouts: usize,
    table: Table,
}

/// Something that needs a person.
struct Need {
    badge: Badge,
    kind: &'static str,
    title: String,
    href: String,
    reason: String,
    elapsed: String,
    message: String,
    commands: Vec<Command>,
}

/// What a need comes from.
enum Source {
    Object(Arc<Row>),
    Support(Ending),
}

impl Page {
    pub fn new(context: &Context<'_>, query: &Query) -> Self {
        let all = needs(context);
        let (first, others) = all.split_at(all.len().min(MAX_NEEDS));
        let mut needs: Vec<Need> = first.iter().map(|source| need(source, context)).collect();
        keep_first_commands(&mut needs);
        let held = held_by_hooks(context);
        let mut rollouts: Vec<_> = context.fleet.rollouts.values().collect();
        rollouts.retain(|kept| context.viewer.may_see(&kept.row.id));
        rollouts.sort_by_key(|kept| kept.row.state);
        let more_rollouts = rollouts.len().saturating_sub(MAX_ROLLOUTS);
        Self {
            frame: context.frame("Fleet", "/events".to_owned(), "fleet"),
            needs,
            other_needs: others.iter().take(MAX_OTHERS).map(|source| need(source, context)).collect(),
            more_needs: others.len().saturating_sub(MAX_OTHERS),
            all_needs: all.len(),
            more_held: held.len().saturating_sub(MAX_HELD),
            all_held: held.len(),
            held: held.iter().take(MAX_HELD).map(|row| need_of_object(row, context)).collect(),
            rollouts: rollouts.into_iter().take(MAX_ROLLOUTS).filter_map(|kept| Card::new(kept, context)).collect(),
            more_rollouts,
            table: cluster_table::clusters(context, query),
        }
    }
}

/// All that needs a person, the most urgent and the longest first.
fn needs(context: &Context<'_>) -> Vec<Source> {
    let fleet = context.fleet;
    let clusters = fleet.clusters.values().map(|kept| &kept.row);
    let others = fleet.rollouts.values().map(|kept| &kept.row).chain(fleet.accounts.values().map(|kept| &kept.row));
    let others = others.chain(fleet.unreadable());
    let all = clusters.chain(fleet.groups.values().map(|kept| &kept.row)).chain(others);
    let objects = all
        .filter(|row| row.requires_intervention(context.now) && context.viewer.may_see(&row.id))
        .filter(|row| !is_covered_by_rollout(row, context))
        .cloned()
        .map(Source::Object);
    let mut found: Vec<Source> = objects.chain(support::endings(context).into_iter().map(Source::Support)).collect();
    found.sort_by(|a, b| a.urgency().cmp(&b.urgency()));
    found
}

/// Whether a cluster is only held by a rollout that is among the needs itself: the advice is the same for all its clusters.
fn is_covered_by_rollout(row: &Row, context: &Context<'_>) -> bool {
    if row.reason != Reason::WaveHalted.as_str() {
        return false;
    }
    let name = row.message.split_once(ROLLOUT).and_then(|(_, rest)| rest.split([' ', ':', ',']).next());
    let rollout = name.map(|name| Id::new(Kind::FleetRollout, "", name)).filter(|id| context.viewer.may_see(id));
    let rollout = rollout.and_then(|id| context.fleet.row(&id));
    rollout.is_some_and(|rollout| rollout.requires_intervention(context.now))
}

/// The clusters whose hooks run, the longest first.
fn held_by_hooks<'a>(context: &Context<'a>) -> Vec<&'a Arc<Row>> {
    let rows = context.fleet.clusters.values().map(|kept| &kept.row);
    let is_held = |row: &&Arc<Row>| row.reason == Reason::WaitingForHook.as_str() && context.viewer.may_see(&row.id);
    let mut held: Vec<&Arc<Row>> = rows.filter(is_held).collect();
    held.sort_by_key(|row| row.since);
    held
}

impl Source {
    /// By what needs are ordered.
    fn urgency(&self) -> (State, Option<Timestamp>, Option<&Id>) {
        match self {
            Self::Object(row) => (row.state, row.since, Some(&row.id)),
            Self::Support(ending) => (ending.state, None, None),
        }
    }
}

fn need(source: &Source, context: &Context<'_>) -> Need {
    match source {
        Source::Object(row) => need_of_object(row, context),
        Source::Support(ending) => Need {
            badge: Badge::new(ending.state),
            kind: "Support",
            title: format!("Kubernetes {}", ending.version),
            href: ending.href.clone(),
            reason: ending.reason.clone(),
            elapsed: String::new(),
            message: ending.message.clone(),
            commands: Vec::new(),
        },
    }
}

fn need_of_object(row: &Row, context: &Context<'_>) -> Need {
    let mut commands: Vec<Command> = row.actions.iter().map(|action| Command::of_action(action)).collect();
    if row.id.kind == Kind::FleetRollout && row.state != State::Ready {
        commands.push(Command::new("See why", format!("keelson rollout status {}", row.id.name)));
    }
    Need {
        badge: Badge::new(row.state),
        kind: row.id.kind.as_str(),
        title: row.id.title(),
        href: row.id.path(),
        reason: row.reason.clone(),
        elapsed: context.elapsed(row.since),
        message: row.message.clone(),
        commands,
    }
}

/// Removes commands that an earlier need has.
fn keep_first_commands(needs: &mut [Need]) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for need in needs {
        need.commands.retain(|command| command.command.is_empty() || known.insert(command.command.clone()));
    }
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
