//! What is waited for, and until when that counts as progress. One table for every kind of wait; past its deadline an object is
//! `Stalled` with what is waited for, since when, how long such waits take, and what to do. It is tried, and looked at, as before:
//! what goes on afterwards is Stalled no more. Since when stands in status, so that another process goes on counting. Pure.
//!
//! What is waited for is collected in [`super::waiting_on`].

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{ConditionValue, Overall};
use super::progress::rough;
use crate::api::Reason;
use crate::api::conditions::bounded;
use crate::api::status::{MAX_WAITS, WaitStatus};
use crate::engine::failure::span;

/// Longest text of what is waited for; the API's limit.
const LONGEST_ON: usize = 512;

/// A kind of wait: who brings it about, and how long that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// AWS is at work on a resource, or carries out an operation. Holds how long that takes, as it was learned.
    Aws(Duration),
    /// A call fails for a reason that should pass: throttling, an outage, something in use.
    Call,
    /// A change was made, and AWS does not show it.
    Change,
    /// The management cluster's API, or the next reconcile.
    Management,
    /// Nodes for add-ons to run on.
    Nodes,
    /// Nodes that are to join, counted anew with each that does.
    Joining,
    /// Nodes that are replaced, counted anew with each that is.
    Replacing,
    /// A NodeGroup's cluster: its network and control plane.
    Cluster,
    /// A version that the control plane does not have, and that its EksCluster may not ask for.
    ControlPlaneVersion,
    /// NodeGroups that are deleted before their cluster.
    NodeGroups,
    /// The GitOps agent: its installation, source and first sync; or that a sync succeeds again.
    Agent,
    /// An API server that does not answer.
    Unreachable,
    /// A step of an upgrade.
    Upgrade,
    /// That something becomes healthy.
    Health,
    /// Anything else that is done in AWS.
    Other,
    /// Nothing goes on before a person acts.
    Person,
    /// It ends at a time that is known, or is owned by another object, or by a person who knows of it: a window, a soak, an approval.
    Planned,
}

/// So many times the usual time is believed to be progress.
const TIMES: u32 = 4;
/// Nothing is called too long before this: AWS has slow days.
const FLOOR: Duration = Duration::from_secs(600);

impl Kind {
    /// How long such waits take. `None`: they have no deadline.
    pub fn usual(self) -> Option<Duration> {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        match self {
            Self::Aws(expected) => Some(expected),
            Self::Call | Self::Change | Self::Management | Self::Unreachable => minutes(1),
            Self::Joining | Self::Nodes | Self::Agent | Self::Health => minutes(5),
            Self::NodeGroups => minutes(10),
            Self::Replacing | Self::Cluster | Self::Upgrade | Self::Other => minutes(15),
            Self::ControlPlaneVersion => minutes(6 * 60),
            Self::Person => Some(Duration::ZERO),
            Self::Planned => None,
        }
    }

    /// How long such a wait may last. `scale`: for tests, which cannot wait as long as people.
    pub fn limit(self, scale: f64) -> Option<Duration> {
        match (self, self.usual()?) {
            (Self::Person, _) => Some(Duration::ZERO),
            (_, usual) => Some(usual.saturating_mul(TIMES).max(FLOOR).mul_f64(scale)),
        }
    }
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// What, and how far it is: as long as it is the same text, it is the same wait.
    pub on: String,
    /// Its kind.
    pub kind: Kind,
    /// Since when, where AWS or the engine knows.
    pub since: Option<Timestamp>,
    /// What the conditions say of it until it takes too long.
    pub reason: Reason,
    /// What is known of it, for people; may be empty.
    pub says: String,
    /// What to do when it takes too long.
    pub advice: String,
}

impl Wait {
    /// One that has no deadline.
    pub fn planned(on: impl Into<String>) -> Self {
        let (says, advice) = (String::new(), String::new());
        Self { on: on.into(), kind: Kind::Planned, since: None, reason: Reason::Pending, says, advice }
    }

    /// What a person reads once it takes too long.
    fn overdue(&self, since: Timestamp) -> String {
        let Self { on, kind, says, advice, .. } = self;
        let verb = match kind {
            Kind::Call | Kind::Change | Kind::Management | Kind::Unreachable => "passes within",
            _ => "takes",
        };
        let usual = kind.usual().filter(|usual| !usual.is_zero());
        let usual = usual.map(|usual| format!(", which usually {verb} {}", rough(usual))).unwrap_or_default();
        let says = if says.is_empty() { String::new() } else { format!(" ({says})") };
        format!("{on} since {since}{usual}{says}: {advice}")
    }
}

/// The reason of a wait that takes too long: what went wrong where that is known.
fn reason(of: Reason) -> Reason {
    match of {
        Reason::Creating | Reason::Updating | Reason::Deleting | Reason::Upgrading | Reason::Pending => Reason::Timeout,
        Reason::WaitingForCluster | Reason::WaitingForNodes | Reason::WaitingForSync => Reason::Timeout,
        Reason::Available | Reason::OutsideMaintenanceWindow => Reason::Timeout,
        other => other,
    }
}

/// What waits come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Where the object stands, those taken in that take too long.
    pub overall: Overall,
    /// For status.
    pub waits: Vec<WaitStatus>,
    /// When the next takes too long.
    pub next: Option<Timestamp>,
}

/// Judges what is waited for. `previous`: those of the last status.
pub fn judge(previous: &[WaitStatus], waits: &[Wait], overall: Overall, scale: f64, now: Timestamp) -> Judged {
    let (mut kept, mut late, mut next) = (Vec::new(), None, None);
    if matches!(overall, Overall::Suspended(_)) {
        return Judged { overall, waits: kept, next };
    }
    for wait in waits {
        let Some(limit) = wait.kind.limit(scale) else { continue };
        let on = bounded(&wait.on, LONGEST_ON);
        let known = whole_seconds(wait.since.unwrap_or(now));
        let (since, deadline) = match previous.iter().find(|before| before.on == on) {
            Some(before) if before.since.0 <= known => (before.since.0, before.deadline.0),
            _ => (known, round_up(known.saturating_add(span(limit)).unwrap_or(Timestamp::MAX))),
        };
        if now >= deadline {
            late.get_or_insert_with(|| ConditionValue::false_(reason(wait.reason), wait.overdue(since)));
        } else {
            next = Some(next.map_or(deadline, |next: Timestamp| next.min(deadline)));
        }
        if kept.len() < MAX_WAITS {
            kept.push(WaitStatus { on, since: Time(since), deadline: Time(deadline) });
        }
    }
    let overall = match (overall, late) {
        (Overall::Ready(_) | Overall::Reconciling(_), Some(says)) => Overall::Stalled(says),
        (other, _) => other,
    };
    Judged { overall, waits: kept, next }
}

/// As the API server keeps times.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn round_up(at: Timestamp) -> Timestamp {
    let whole = whole_seconds(at);
    if whole < at { whole.saturating_add(jiff::SignedDuration::from_secs(1)).unwrap_or(whole) } else { whole }
}

#[cfg(test)]
#[path = "waits_tests.rs"]
mod tests;
