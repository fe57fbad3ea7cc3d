//! The views: each is a template, and the values in it, computed from the fleet as a viewer may see it. Every value is escaped by the
//! templates. Pure.

mod accounts;
mod badge;
mod cluster;
mod command;
mod fleet;
mod network;
mod node_group;
mod rollout;
mod schedule;
mod table;
mod upgrade;

use askama::Template;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::fleet::Fleet;
use super::id::{Id, Kind};
use super::query::Query;
use super::viewer::Viewer;
use super::watch;
use crate::cli::time::{format_between, format_time};

/// What all views are computed from.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub fleet: &'a Fleet,
    pub viewer: &'a Viewer,
    pub now: Timestamp,
    pub zone: &'a TimeZone,
    pub management: &'a str,
}

impl Context<'_> {
    /// How long ago that was, such as `9 min 20 s`; empty if unknown.
    fn elapsed(&self, since: Option<Timestamp>) -> String {
        since.map(|since| format_between(since, self.now)).unwrap_or_default()
    }

    /// The time of day, with the date unless that is today.
    fn time(&self, at: Timestamp) -> String {
        format_time(at, self.now, self.zone)
    }

    fn frame(&self, title: &str, events: String, section: &'static str) -> Frame {
        let failures = self.fleet.failures();
        let warnings = failures.map(|(name, message, since)| {
            format!("{name} cannot be read since {}, and are shown as they were then: {message}", self.time(since))
        });
        let mut warnings: Vec<String> = warnings.collect();
        let is_listed = self.fleet.source(Kind::EksCluster.as_str()).is_listed;
        if !is_listed && warnings.is_empty() {
            warnings.push("The objects are being read.".to_owned());
        }
        let hint = if self.fleet.source(watch::EVENTS).failure.is_some() { " Timelines may lack events." } else { "" };
        Frame {
            title: title.to_owned(),
            events,
            section,
            warnings,
            at: self.time(self.now),
            management: format!("{}.{hint}", self.management),
        }
    }
}

/// What all pages have.
struct Frame {
    title: String,
    /// Where the script hears of changes.
    events: String,
    /// The section that is marked as the present one.
    section: &'static str,
    warnings: Vec<String>,
    /// When it was rendered.
    at: String,
    management: String,
}

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
        Kind::EksCluster => render(&cluster::Page::new(context, id)?),
        Kind::NodeGroup => render(&node_group::Page::new(context, id)?),
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

/// Leads from the first address, which has a token, to the page.
#[derive(Template)]
#[template(path = "welcome.html")]
struct Welcome;

pub fn welcome() -> String {
    render(&Welcome)
}

/// Nothing that a template prints can fail.
fn render(template: &impl Template) -> String {
    template
        .render()
        .unwrap_or_else(|error| format!("This page could not be rendered: {}", error.to_string().replace('<', "")))
}
