//! The AwsAccounts, and one of them with its clusters. Pure.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;

use super::badge::Badge;
use super::cluster_page::{EventRow, Fact, event_rows};
use super::cluster_table::grouped;
use super::command::Command;
use super::context::{Context, Frame};
use crate::page::fleet::{FleetObject, Opened};
use crate::page::id::{Id, Kind};
use crate::page::query::Query;
use crate::page::row::Row;
use crate::page::state::State;

#[derive(Template)]
#[template(path = "accounts.html")]
pub struct Page {
    frame: Frame,
    accounts: Vec<AccountRow>,
    /// Whether the viewer may see AwsAccounts.
    sees_all: bool,
}

/// An account in the list.
struct AccountRow {
    name: String,
    href: String,
    account: String,
    badge: Badge,
    message: String,
    clusters: String,
    regions: String,
    states: Vec<StateCount>,
}

/// How many clusters are in a state.
struct StateCount {
    badge: Badge,
    count: String,
    href: String,
}

/// One account.
#[derive(Template)]
#[template(path = "account.html")]
pub struct AccountPage {
    frame: Frame,
    id: Id,
    badge: Badge,
    message: String,
    facts: Vec<Fact>,
    states: Vec<StateCount>,
    clusters: String,
    table: String,
    events: Vec<EventRow>,
    commands: Vec<Command>,
}

/// The clusters of each account that the viewer may see, by the name of its AwsAccount.
fn clusters_by_account<'a>(context: &Context<'a>) -> BTreeMap<&'a str, Vec<&'a Row>> {
    let mut all: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for kept in context.fleet.clusters.values().filter(|kept| context.viewer.may_see(&kept.row.id)) {
        all.entry(&kept.row.account_name).or_default().push(&kept.row);
    }
    all
}

fn states(rows: &[&Row], account: &str) -> Vec<StateCount> {
    let mut counts: BTreeMap<State, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.state).or_default() += 1;
    }
    let query = Query { account: account.to_owned(), page: 1, ..Query::default() };
    let count = |(state, count)| StateCount {
        badge: Badge::new(state),
        count: grouped(count),
        href: query.with_state(state).href(),
    };
    counts.into_iter().map(count).collect()
}

impl Page {
    pub fn new(context: &Context<'_>) -> Self {
        let clusters = clusters_by_account(context);
        let accounts = context.fleet.accounts.values().filter(|kept| context.viewer.may_see(&kept.row.id));
        let mut rows: Vec<&FleetObject<_>> = accounts.collect();
        rows.sort_by_key(|kept| kept.row.state);
        let row = |kept: &&FleetObject<crate::api::AwsAccount>| {
            let row = &kept.row;
            let of_account = clusters.get(row.id.name.as_str()).map(Vec::as_slice).unwrap_or_default();
            let regions: BTreeSet<&str> = of_account.iter().map(|row| row.region.as_str()).collect();
            AccountRow {
                name: row.id.name.clone(),
                href: row.id.path(),
                account: row.account.clone(),
                badge: Badge::new(row.state),
                message: if row.state == State::Ready {
                    String::new()
                } else {
                    format!("{}: {}", row.reason, row.message)
                },
                clusters: grouped(of_account.len()),
                regions: regions.into_iter().collect::<Vec<_>>().join(", "),
                states: states(of_account, &row.id.name),
            }
        };
        Self {
            frame: context.frame("Accounts", "/events".to_owned(), "accounts"),
            accounts: rows.iter().map(row).collect(),
            sees_all: context.viewer.may_see(&Id::new(Kind::AwsAccount, "", "")),
        }
    }
}

impl AccountPage {
    /// The page of an account; `None`: it does not exist.
    pub fn new(context: &Context<'_>, id: &Id) -> Option<Self> {
        let Opened { object, row } = context.fleet.accounts.get(&id.place())?.open()?;
        let all = clusters_by_account(context);
        let clusters = all.get(id.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        let spec = &object.spec;
        let caller = object.status.as_ref().and_then(|status| status.caller_arn.clone());
        let regions = spec.allowed_regions.as_ref().map_or_else(|| "all".to_owned(), |regions| regions.join(", "));
        let mut facts = vec![
            Fact::new("AWS account", spec.account_id.clone()),
            Fact::new("Role", spec.role_arn.clone().unwrap_or_default()),
            Fact::new("Identity", caller.unwrap_or_default()),
            Fact::new("Namespaces", spec.allowed_namespaces.join(", ")),
            Fact::new("Regions", regions),
        ];
        facts.retain(|fact| !fact.value.is_empty());
        let example = clusters.iter().find(|row| row.state != State::Ready).or(clusters.first());
        let doctor = example.map(|row| {
            let command = format!("keelson doctor {} -n {}", row.id.name, row.id.namespace);
            Command::new("Check its credentials, permissions and quotas with one of its clusters", command)
        });
        Some(Self {
            frame: context.frame(&id.name, "/events".to_owned(), "accounts"),
            badge: Badge::new(row.state),
            message: if row.state == State::Ready { String::new() } else { format!("{}: {}", row.reason, row.message) },
            facts,
            states: states(clusters, &id.name),
            clusters: grouped(clusters.len()),
            table: Query { account: id.name.clone(), page: 1, ..Query::default() }.href(),
            events: event_rows(context.fleet.events(id), context),
            commands: doctor.into_iter().collect(),
            id: id.clone(),
        })
    }
}
