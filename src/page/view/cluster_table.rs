//! The table of clusters: filtered, sorted and cut into pages here, so that a browser never holds ten thousand rows. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::badge::Badge;
use super::context::Context;
use crate::api::conditions::bounded;
use crate::cli::time::{format_age, format_between};
use crate::page::id::Kind;
use crate::page::query::{Query, Sort};
use crate::page::row::Row;
use crate::page::state::State;

/// Rows of a page.
pub const PAGE_SIZE: usize = 100;
/// Longest message in a row.
const MAX_MESSAGE: usize = 100;
/// Values of a filter that can be chosen from a list. Others can be typed as words.
const MAX_OPTIONS: usize = 200;

/// The table, its filter and its pages.
pub struct Table {
    pub query: Query,
    pub sort_value: String,
    pub is_filter: bool,
    pub states: Vec<StateFilter>,
    pub accounts: Vec<ValueOption>,
    pub regions: Vec<ValueOption>,
    pub versions: Vec<ValueOption>,
    pub columns: Vec<Column>,
    pub rows: Vec<TableRow>,
    /// `1-100 of 2,345`.
    pub range: String,
    pub previous: String,
    pub next: String,
    pub total: usize,
    /// Whether the viewer may see the clusters of all namespaces.
    pub sees_all: bool,
}

/// A state, how many clusters have it, and where they are listed.
pub struct StateFilter {
    pub badge: Badge,
    pub count: usize,
    pub href: String,
    pub is_chosen: bool,
}

/// A value of a filter.
pub struct ValueOption {
    pub value: String,
    pub text: String,
    pub is_chosen: bool,
}

/// A heading that sorts.
pub struct Column {
    pub name: &'static str,
    pub text: &'static str,
    pub href: String,
    /// As ARIA writes it; empty: the table is not sorted by it.
    pub sorted: &'static str,
}

/// A cluster.
pub struct TableRow {
    pub href: String,
    pub name: String,
    pub namespace: String,
    pub badge: Badge,
    pub message: String,
    pub age: String,
    pub until: String,
    pub version: String,
    pub target: String,
    pub region: String,
    pub account: String,
    pub groups: String,
    pub nodes: String,
    pub revision: String,
}

/// The table of clusters that the viewer may see.
pub fn clusters(context: &Context<'_>, query: &Query) -> Table {
    let all: Vec<&Row> = context
        .fleet
        .clusters
        .values()
        .map(|kept| &kept.row)
        .chain(context.fleet.unreadable().filter(|row| row.id.kind == Kind::EksCluster))
        .map(|row| &**row)
        .filter(|row| context.viewer.may_see_namespace(&row.id.namespace))
        .collect();
    let filter = query.filter();
    let matching: Vec<&Row> = all.iter().copied().filter(|row| filter(row)).collect();
    let rows: Vec<&Row> =
        matching.iter().copied().filter(|row| query.state.is_none_or(|state| row.state == state)).collect();
    let count = rows.len();
    let pages = count.div_ceil(PAGE_SIZE).max(1);
    let page = query.page.clamp(1, pages);
    let start = (page - 1) * PAGE_SIZE;
    let shown = query.page_of(rows, start, start + PAGE_SIZE);
    let on_page = |page: usize| Query { page, ..query.clone() }.href();
    Table {
        sort_value: query.sort_value(),
        is_filter: query.is_filter(),
        states: states(&matching, query),
        accounts: options(all.iter().map(|row| row.account.as_str()), &query.account),
        regions: options(all.iter().map(|row| row.region.as_str()), &query.region),
        versions: options(all.iter().map(|row| row.version.as_str()), &query.version),
        columns: columns(query),
        range: range(start, shown.len(), count),
        previous: if page > 1 { on_page(page - 1) } else { String::new() },
        next: if page < pages { on_page(page + 1) } else { String::new() },
        rows: shown.iter().map(|row| table_row(row, context)).collect(),
        total: all.len(),
        sees_all: !context.viewer.missing_kinds().contains(&Kind::EksCluster),
        query: query.clone(),
    }
}

/// The states that occur, and the chosen one.
fn states(matching: &[&Row], query: &Query) -> Vec<StateFilter> {
    let mut counts: BTreeMap<State, usize> = BTreeMap::new();
    for row in matching {
        *counts.entry(row.state).or_default() += 1;
    }
    if let Some(state) = query.state {
        counts.entry(state).or_default();
    }
    let filter = |(state, count)| StateFilter {
        badge: Badge::new(state),
        count,
        href: query.with_state(state).href(),
        is_chosen: query.state == Some(state),
    };
    counts.into_iter().map(filter).collect()
}

fn options<'a>(values: impl Iterator<Item = &'a str>, chosen: &str) -> Vec<ValueOption> {
    let values: BTreeSet<&str> = values.filter(|value| !value.is_empty()).collect();
    let mut values: Vec<&str> = values.into_iter().take(MAX_OPTIONS).collect();
    if !chosen.is_empty() && !values.contains(&chosen) {
        values.insert(0, chosen);
    }
    let option =
        |value: &str| ValueOption { value: value.to_owned(), text: value.to_owned(), is_chosen: value == chosen };
    values.into_iter().map(option).collect()
}

fn columns(query: &Query) -> Vec<Column> {
    let column = |(sort, name, text): &(Sort, &'static str, &'static str)| Column {
        name,
        text,
        href: query.sorted_by(*sort).href(),
        sorted: match (query.sort == *sort, query.descending) {
            (true, false) => "ascending",
            (true, true) => "descending",
            (false, _) => "",
        },
    };
    Sort::ALL.iter().map(column).collect()
}

fn range(start: usize, shown: usize, all: usize) -> String {
    match (shown, all) {
        (0, _) => "none".to_owned(),
        (shown, all) if shown == all => format!("all {}", grouped(all)),
        (shown, all) => format!("{}–{} of {}", grouped(start + 1), grouped(start + shown), grouped(all)),
    }
}

/// `12,345`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn table_row(row: &Row, context: &Context<'_>) -> TableRow {
    let is_plain = row.state == State::Ready && !row.is_deleted;
    let message = if row.message.is_empty() { row.reason.clone() } else { format!("{}: {}", row.reason, row.message) };
    let (ready, total) = row.groups;
    let text = if row.is_deleted { "Deleting".to_owned() } else { row.state.label().to_owned() };
    TableRow {
        href: row.id.path(),
        name: row.id.name.clone(),
        namespace: row.id.namespace.clone(),
        badge: Badge::with_text(row.state, text),
        message: if is_plain { String::new() } else { bounded(&message, MAX_MESSAGE) },
        age: format_age(row.since, context.now),
        until: until(row, context),
        version: row.version.clone(),
        target: if row.target == row.version { String::new() } else { row.target.clone() },
        region: row.region.clone(),
        account: row.account.clone(),
        groups: if total == 0 { String::new() } else { format!("{ready}/{total}") },
        nodes: row.nodes.clone(),
        revision: row.revision.clone(),
    }
}

/// `about 5 min`, until what is in progress should end.
fn until(row: &Row, context: &Context<'_>) -> String {
    let until = row.until.filter(|until| *until > context.now);
    until.map(|until| format!("about {}", format_between(context.now, until))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_ranges_are_named() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (start, shown, all, text) in [(0, 0, 0, "none"), (0, 3, 3, "all 3"), (100, 100, 2345, "101–200 of 2,345")]
        {
            assert_eq!(range(start, shown, all), text);
        }
    }
}
