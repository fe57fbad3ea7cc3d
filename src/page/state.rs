//! The state of an object at a glance: what needs a person comes first, and what is held is not shown as healthy. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::fleet_rollout_status::ReleaseState;
use crate::api::{ConditionType, Reason};
use crate::cli::subject::Subject;

/// State of an object, the most urgent first. Each has a shape and a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// A rollout has stopped.
    Halted,
    /// A person must change something.
    Blocked,
    /// A person must approve.
    Approval,
    /// Something fails, and Keelson tries again.
    Failing,
    /// It works, and something deserves attention.
    Warning,
    /// The operator has not reported it.
    Unknown,
    Progressing,
    /// Somebody stopped it: suspended, on hold, or only observed.
    Held,
    Ready,
}

impl State {
    /// All states, in their order.
    pub const ALL: [Self; 9] = [
        Self::Halted,
        Self::Blocked,
        Self::Approval,
        Self::Failing,
        Self::Warning,
        Self::Unknown,
        Self::Progressing,
        Self::Held,
        Self::Ready,
    ];

    /// Its name in addresses and in the style sheet, and the name of its shape.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Halted => "halted",
            Self::Blocked => "blocked",
            Self::Approval => "approval",
            Self::Failing => "failing",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Progressing => "progressing",
            Self::Held => "held",
            Self::Ready => "ready",
        }
    }

    /// For people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Halted => "Halted",
            Self::Blocked => "Blocked",
            Self::Approval => "Needs approval",
            Self::Failing => "Failing",
            Self::Warning => "Warning",
            Self::Unknown => "Unknown",
            Self::Progressing => "In progress",
            Self::Held => "Held",
            Self::Ready => "Ready",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether a person has to do something, `since` that time.
    pub fn requires_intervention(self, since: Option<Timestamp>, now: Timestamp) -> bool {
        match self {
            Self::Halted | Self::Blocked | Self::Approval => true,
            Self::Failing => since.is_none_or(|since| now.duration_since(since) >= FAILING_FOR),
            Self::Warning | Self::Unknown | Self::Progressing | Self::Held | Self::Ready => false,
        }
    }

    /// The state of a release of a FleetRollout.
    pub fn of_release(state: ReleaseState) -> Self {
        match state {
            ReleaseState::Halted => Self::Halted,
            ReleaseState::WaitingForApproval => Self::Approval,
            ReleaseState::Blocked => Self::Blocked,
            ReleaseState::Suspended => Self::Held,
            ReleaseState::Progressing | ReleaseState::Soaking => Self::Progressing,
            ReleaseState::Completed => Self::Ready,
        }
    }

    /// The state of an EksCluster or NodeGroup. `has_problems`: something is in its way.
    pub fn of_subject(subject: &Subject, has_problems: bool) -> Self {
        let reason = Reason::parse(subject.reason());
        let is_upgrade_blocked =
            subject.conditions.iter().any(|condition| condition.reason == Reason::UpgradeBlocked.as_str());
        let is_ready = subject.is_true(ConditionType::Ready);
        if subject.condition(ConditionType::Ready).is_none() {
            return Self::Unknown;
        }
        match reason {
            Some(reason) if is_hold(reason) => Self::Held,
            _ if subject.waits_for_approval() => Self::Approval,
            _ if subject.is_true(ConditionType::Stalled) || is_upgrade_blocked => Self::Blocked,
            Some(
                Reason::NotOwned
                | Reason::DeletionBlocked
                | Reason::InvalidSpec
                | Reason::WaveHalted
                | Reason::HookFailed,
            ) if !is_ready => Self::Blocked,
            Some(reason) if !is_ready && is_failure(reason) => Self::Failing,
            // A reason of another version.
            None if !is_ready => Self::Failing,
            _ if !is_ready => Self::Progressing,
            _ if !subject.holds.is_empty() => Self::Held,
            _ if has_problems => Self::Warning,
            _ => Self::Ready,
        }
    }
}

/// Whether a reason says that somebody stopped it: then it is not shown as healthy, whatever the status of its condition. The operator
/// leaves `Ready` True when a ready cluster is suspended, and `Stalled` is False then.
pub fn is_hold(reason: Reason) -> bool {
    matches!(reason, Reason::Suspended | Reason::Observed | Reason::OnHold)
}

/// Something that fails needs a person after this time: most failures end by themselves before.
pub const FAILING_FOR: SignedDuration = SignedDuration::from_mins(10);

/// Whether a reason of a Ready condition that is not True is a failure, rather than work or a wait.
pub fn is_failure(reason: Reason) -> bool {
    match reason {
        Reason::NotOwned
        | Reason::QuotaExceeded
        | Reason::InsufficientCapacity
        | Reason::AccessDenied
        | Reason::CredentialsUnavailable
        | Reason::InvalidSpec
        | Reason::Failed
        | Reason::Degraded
        | Reason::DeletionBlocked
        | Reason::SyncFailed
        | Reason::AgentUnreachable
        | Reason::AwsError
        | Reason::Throttled
        | Reason::Timeout
        | Reason::UpgradeBlocked
        | Reason::HookFailed
        | Reason::WaveHalted => true,
        Reason::Creating
        | Reason::WaitingForHook
        | Reason::Updating
        | Reason::Deleting
        | Reason::Upgrading
        | Reason::Available
        | Reason::Pending
        | Reason::Reconciled
        | Reason::Synced
        | Reason::Drifted
        | Reason::Observed
        | Reason::WaitingForCluster
        | Reason::WaitingForNodes
        | Reason::WaitingForSync
        | Reason::WaitingForApproval
        | Reason::OnHold
        | Reason::OutsideMaintenanceWindow
        | Reason::WaitingForWave
        | Reason::SupportEnding
        | Reason::Suspended
        | Reason::NotRequested => false,
    }
}
