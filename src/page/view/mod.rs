//! The views: each is a template, and the values in it, computed from the fleet as a viewer may see it. Every value is escaped by the
//! templates. Pure.

mod accounts;
mod badge;
mod checks;
mod cluster_page;
mod cluster_table;
mod command;
mod context;
mod fleet;
mod hooks;
mod layers;
mod network_diagram;
mod node_group_page;
mod plan_graph;
mod rollout;
mod schedule;
mod support;
mod upgrade;

use askama::Template;

pub use context::Context;

use super::id::{Id, Kind};
use super::query::Query;

/// All objects: what needs a person, rollouts, and the table of clusters.
pub fn fleet(context: &Context<'_>, query: &Query) -> String {
    render(&fleet::Page::new(context, query))
}

/// All AwsAccounts.
pub fn accounts(context: &Context<'_>) -> String {
    render(&accounts::Page::new(context))
}

/// One object; `None`: it does not exist.
pub fn object(context: &Context<'_>, id: &Id) -> Option<String> {
    if let Some(row) = context.fleet.unreadable().find(|row| row.id == *id) {
        return Some(message(&format!("{} {} cannot be read", id.kind.as_str(), id.title()), &row.message));
    }
    Some(match id.kind {
        Kind::EksCluster => render(&cluster_page::Page::new(context, id)?),
        Kind::NodeGroup => render(&node_group_page::Page::new(context, id)?),
        Kind::AwsAccount => render(&accounts::AccountPage::new(context, id)?),
        Kind::FleetRollout => render(&rollout::Page::new(context, id)?),
    })
}

/// A page that says something, for somebody who may not see more.
#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    title: &'a str,
    text: &'a str,
}

pub fn message(title: &str, text: &str) -> String {
    render(&Message { title, text })
}

/// Leads on to a path of the page: from the first address, which has a token, and from a link on another site, with which a browser sends
/// no strict cookie.
#[derive(Template)]
#[template(path = "welcome.html")]
struct Welcome<'a> {
    path: &'a str,
}

pub fn welcome(path: &str) -> String {
    render(&Welcome { path })
}

/// The form for a token, in a cluster. `next`: the path to go on to. `problem`: empty, or what was wrong with the last one.
#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    next: &'a str,
    problem: &'a str,
}

pub fn sign_in(next: &str, problem: &str) -> String {
    render(&SignIn { next, problem })
}

/// Asks whether to sign out.
#[derive(Template)]
#[template(path = "sign_out.html")]
struct SignOut;

pub fn sign_out() -> String {
    render(&SignOut)
}

/// Nothing that a template prints can fail.
fn render(template: &impl Template) -> String {
    template
        .render()
        .unwrap_or_else(|error| format!("This page could not be rendered: {}", error.to_string().replace('<', "")))
}
