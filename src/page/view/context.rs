//! What every view has: the fleet, who looks at it, the time, and the frame around it. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::time::{format_between, format_time};
use crate::page::fleet::{EVENTS, Fleet};
use crate::page::id::Kind;
use crate::page::viewer::Viewer;

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
    pub fn elapsed(&self, since: Option<Timestamp>) -> String {
        since.map(|since| format_between(since, self.now)).unwrap_or_default()
    }

    /// The time of day, with the date unless that is today.
    pub fn time(&self, at: Timestamp) -> String {
        format_time(at, self.now, self.zone)
    }

    pub fn frame(&self, title: &str, events: String, section: &'static str) -> Frame {
        let failures = self.fleet.failures();
        let warnings = failures.map(|(name, message, since)| {
            format!("{name} cannot be read since {}, and are shown as they were then: {message}", self.time(since))
        });
        let mut warnings: Vec<String> = warnings.collect();
        let is_listed = self.fleet.source(Kind::EksCluster.as_str()).is_listed;
        if !is_listed && warnings.is_empty() {
            warnings.push("The objects are being read.".to_owned());
        }
        let hint = if self.fleet.source(EVENTS).failure.is_some() { " Timelines may lack events." } else { "" };
        Frame {
            title: title.to_owned(),
            events,
            section,
            warnings,
            at: self.time(self.now),
            management: format!("{}.{hint}", self.management),
            user: self.viewer.session_user().to_owned(),
        }
    }
}

/// What all pages have.
pub struct Frame {
    pub title: String,
    /// Where the script hears of changes.
    pub events: String,
    /// The section that is marked as the present one.
    pub section: &'static str,
    pub warnings: Vec<String>,
    /// When it was rendered.
    pub at: String,
    pub management: String,
    /// Who can sign out; empty: nobody has signed in on the page.
    pub user: String,
}
