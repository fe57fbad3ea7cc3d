//! Deadlines of waits. One table covers every kind of wait; past its deadline an object is `Stalled`, with what it
//! waits for, since when, how long such waits usually take, and advice. Retries and polling continue as before, and
//! progress clears `Stalled`. The start is stored in status, so that another process continues counting. Pure.
//!
//! [`super::waiting_on`] collects the waits.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{ConditionValue, Overall};
use super::progress::rough;
use crate::api::Reason;
use crate::api::conditions::bounded;
use crate::api::status_cluster::{MAX_WAITS, WaitStatus};
use crate::api::stored_time::whole_seconds;
use crate::engine::failure::span;

/// Maximum length of a wait's name; the API's limit.
const MAX_ON: usize = 512;

/// A kind of wait: who must act, and how long that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// AWS is changing a resource, or running an operation. Holds the learned duration.
    Aws(Duration),
    /// A call fails with a transient error: throttling, an outage, a resource in use.
    Call,
    /// A change was made, and AWS does not show it.
    Change,
    /// The management cluster's API, or the next reconcile.
    Management,
    /// Nodes for add-ons to run on.
    Nodes,
    /// Nodes to join; restarts with each node that joins.
    Joining,
    /// Nodes to be replaced; restarts with each node that is replaced.
    Replacing,
    /// Pods that a PodDisruptionBudget keeps from being evicted; restarts with each Pod that goes.
    Eviction,
    /// A NodeGroup's cluster: its network and control plane.
    Cluster,
    /// A version that the control plane does not have yet, and that its EksCluster may not request.
    ControlPlaneVersion,
    /// NodeGroups that must be deleted before their cluster.
    NodeGroups,
    /// The GitOps agent: installation, source and first sync; or recovery from a failed sync.
    Agent,
    /// An API server that does not answer.
    Unreachable,
    /// A step of an upgrade.
    Upgrade,
    /// A resource to become healthy.
    Health,
    /// Any other change in AWS.
    Other,
    /// A person must act.
    Person,
    /// The soak after a step of an upgrade, which ends at a known time.
    Soak,
    /// It ends at a known time, or is owned by another object, or by a person who knows about it: a maintenance
    /// window, an approval.
    Planned,
}

/// The deadline is this multiple of the usual duration.
const TOLERANCE: u32 = 4;
/// The minimum deadline: AWS has slow days.
const MIN_DEADLINE: Duration = Duration::from_secs(600);

impl Kind {
    /// The usual duration. `None`: no deadline.
    pub fn usual_duration(self) -> Option<Duration> {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        match self {
            Self::Aws(expected) => Some(expected),
            Self::Call | Self::Change | Self::Management | Self::Unreachable => minutes(1),
            Self::Joining | Self::Nodes | Self::Agent | Self::Health | Self::Eviction => minutes(5),
            Self::NodeGroups => minutes(10),
            Self::Replacing | Self::Cluster | Self::Upgrade | Self::Other => minutes(15),
            Self::ControlPlaneVersion => minutes(6 * 60),
            Self::Person => Some(Duration::ZERO),
            Self::Soak | Self::Planned => None,
        }
    }

    /// The deadline, as a duration. `scale`: for tests, which cannot wait that long.
    pub fn deadline_after(self, scale: f64) -> Option<Duration> {
        match (self, self.usual_duration()?) {
            (Self::Person, _) => Some(Duration::ZERO),
            (_, usual_duration) => Some(usual_duration.saturating_mul(TOLERANCE).max(MIN_DEADLINE).mul_f64(scale)),
        }
    }
}

/// Something an object waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// What, and how far: the same text is the same wait.
    pub on: String,
    /// The kind.
    pub kind: Kind,
    /// The start, if AWS or the engine knows it.
    pub since: Option<Timestamp>,
    /// The condition reason until it is overdue.
    pub reason: Reason,
    /// Details; may be empty.
    pub details: String,
    /// Advice for when it is overdue.
    pub advice: String,
}

impl Wait {
    /// A wait without a deadline.
    pub fn planned(on: impl Into<String>) -> Self {
        let (details, advice) = (String::new(), String::new());
        Self { on: on.into(), kind: Kind::Planned, since: None, reason: Reason::Pending, details, advice }
    }

    /// The message once it is overdue.
    fn overdue(&self, since: Timestamp) -> String {
        let Self { on, kind, details, advice, .. } = self;
        let verb = match kind {
            Kind::Call | Kind::Change | Kind::Management | Kind::Unreachable => "passes within",
            _ => "takes",
        };
        let usual_duration = kind.usual_duration().filter(|usual_duration| !usual_duration.is_zero());
        let usual_duration = usual_duration
            .map(|usual_duration| format!(", which usually {verb} {}", rough(usual_duration)))
            .unwrap_or_default();
        let details = if details.is_empty() { String::new() } else { format!(" ({details})") };
        format!("{on} since {since}{usual_duration}{details}: {advice}")
    }
}

/// The reason of an overdue wait: the specific one if known, otherwise Timeout.
fn overdue_reason(reason: Reason) -> Reason {
    match reason {
        Reason::Creating | Reason::Updating | Reason::Deleting | Reason::Upgrading | Reason::Pending => Reason::Timeout,
        Reason::WaitingForCluster | Reason::WaitingForNodes | Reason::WaitingForSync => Reason::Timeout,
        Reason::Available | Reason::OutsideMaintenanceWindow => Reason::Timeout,
        other => other,
    }
}

/// The result of evaluating waits.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluatedWaits {
    /// The overall state, with overdue waits considered.
    pub overall: Overall,
    /// The waits for status.
    pub waits: Vec<WaitStatus>,
    /// The next deadline.
    pub next: Option<Timestamp>,
}

/// Evaluates waits. `previous`: those of the last status.
pub fn evaluate_waits(
    previous: &[WaitStatus],
    waits: &[Wait],
    overall: Overall,
    scale: f64,
    now: Timestamp,
) -> EvaluatedWaits {
    let (mut statuses, mut overdue_condition, mut next) = (Vec::new(), None, None);
    if matches!(overall, Overall::Suspended(_)) {
        return EvaluatedWaits { overall, waits: statuses, next };
    }
    for wait in waits {
        let Some(deadline_after) = wait.kind.deadline_after(scale) else { continue };
        let on = bounded(&wait.on, MAX_ON);
        let start = whole_seconds(wait.since.unwrap_or(now)).0;
        let (since, deadline) = match previous.iter().find(|before| before.on == on) {
            Some(before) if before.since.0 <= start => (before.since.0, before.deadline.0),
            _ => (start, round_up(start.saturating_add(span(deadline_after)).unwrap_or(Timestamp::MAX))),
        };
        if now >= deadline {
            overdue_condition
                .get_or_insert_with(|| ConditionValue::false_(overdue_reason(wait.reason), wait.overdue(since)));
        } else {
            next = Some(next.map_or(deadline, |next: Timestamp| next.min(deadline)));
        }
        if statuses.len() < MAX_WAITS {
            statuses.push(WaitStatus { on, since: Time(since), deadline: Time(deadline) });
        }
    }
    let overall = match (overall, overdue_condition) {
        (Overall::Ready(_) | Overall::Reconciling(_), Some(overdue)) => Overall::Stalled(overdue),
        (other, _) => other,
    };
    EvaluatedWaits { overall, waits: statuses, next }
}

fn round_up(at: Timestamp) -> Timestamp {
    let whole = whole_seconds(at).0;
    if whole < at { whole.saturating_add(jiff::SignedDuration::from_secs(1)).unwrap_or(whole) } else { whole }
}

#[cfg(test)]
#[path = "waits_tests.rs"]
mod tests;
