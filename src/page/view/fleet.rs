//! The landing page: what needs a person, the rollouts, the table of clusters. Pure.

use std::sync::Arc;

use askama::Template;

use super::badge::Badge;
use super::command::Command;
use super::context::{Context, Frame};
use super::rollout::Card;
use super::table::{self, Table};
use crate::page::id::Kind;
use crate::page::query::Query;
use crate::page::row::Row;
use crate::page::state::State;

/// What needs a person, that is listed with its message and its commands.
const MAX_NEEDS: usize = 12;
/// What else needs a person, that is listed by name.
const MAX_OTHERS: usize = 200;
/// Rollouts that are listed.
const MAX_ROLLOUTS: usize = 8;

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

impl Page {
    pub fn new(context: &Context<'_>, query: &Query) -> Self {
        let all = needs(context);
        let (first, others) = all.split_at(all.len().min(MAX_NEEDS));
        let mut rollouts: Vec<_> = context.fleet.rollouts.values().collect();
        rollouts.retain(|kept| context.viewer.may_see(&kept.row.id));
        rollouts.sort_by_key(|kept| kept.row.state);
        let more_rollouts = rollouts.len().saturating_sub(MAX_ROLLOUTS);
        Self {
            frame: context.frame("Fleet", "/events".to_owned(), "fleet"),
            needs: first.iter().map(|row| need(row, context)).collect(),
            other_needs: others.iter().take(MAX_OTHERS).map(|row| need(row, context)).collect(),
            more_needs: others.len().saturating_sub(MAX_OTHERS),
            all_needs: all.len(),
            rollouts: rollouts.into_iter().take(MAX_ROLLOUTS).map(|kept| Card::new(kept, context)).collect(),
            more_rollouts,
            table: table::clusters(context, query),
        }
    }
}

/// All that needs a person, the most urgent and the longest first.
fn needs(context: &Context<'_>) -> Vec<Arc<Row>> {
    let fleet = context.fleet;
    let clusters = fleet.clusters.values().map(|kept| &kept.row);
    let others = fleet.rollouts.values().map(|kept| &kept.row).chain(fleet.accounts.values().map(|kept| &kept.row));
    let others = others.chain(fleet.unreadable());
    let all = clusters.chain(fleet.groups.values().map(|kept| &kept.row)).chain(others);
    let mut found: Vec<Arc<Row>> =
        all.filter(|row| row.requires_intervention(context.now) && context.viewer.may_see(&row.id)).cloned().collect();
    found.sort_by(|a, b| (a.state, a.since, &a.id).cmp(&(b.state, b.since, &b.id)));
    found
}

fn need(row: &Row, context: &Context<'_>) -> Need {
    let mut commands: Vec<Command> = row.actions.iter().map(|action| Command::of_action(action)).collect();
    if commands.is_empty() && row.id.kind == Kind::FleetRollout && row.state != State::Ready {
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
