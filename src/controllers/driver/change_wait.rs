//! What a change waits for, other than AWS's work, and how it ends. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::Reason;
use crate::api::conditions::{self, ConditionType};
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::waits::{Kind, Wait};

/// The wait for the soak after a step of an upgrade: the condition's reason is `Upgrading` meanwhile.
pub const SOAKING: &str = "Soaking";

/// How a change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// The object is Ready, and nothing of its spec waits.
    Ready,
    /// `changePolicy: Observe`: nothing is changed.
    Observed,
    /// The object is suspended: resuming it is another edit.
    Suspended,
    /// The object is gone.
    Deleted,
    /// The next edit, or the deletion, came first.
    Superseded,
    /// The same, and the object was Stalled: why.
    Failed(Blocker),
}

/// Why an object does not get on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Reason of the condition.
    pub reason: String,
    /// Its message.
    pub message: String,
}

impl ChangeOutcome {
    /// The outcome as spans have it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Observed => "Observed",
            Self::Suspended => "Suspended",
            Self::Deleted => "Deleted",
            Self::Superseded => "Superseded",
            Self::Failed(_) => "Failed",
        }
    }

    /// The outcome of a change that another one follows. `conditions`: those before it.
    pub fn superseded(conditions: &[Condition]) -> Self {
        let stalled = conditions::get(conditions, ConditionType::Stalled).filter(|stalled| stalled.status == "True");
        match stalled.filter(|stalled| is_error(&stalled.reason)) {
            Some(Condition { reason, message, .. }) => {
                Self::Failed(Blocker { reason: reason.clone(), message: message.clone() })
            }
            None => Self::Superseded,
        }
    }
}

/// Whether a change goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Keelson or AWS works on it.
    Working,
    /// It waits, for that reason.
    Waiting(&'static str),
    /// It is complete, with that outcome.
    Complete(ChangeOutcome),
}

/// How far a change is. `waits`: what is waited for. `is_held`: part of the spec waits for a maintenance window, even if
/// the object is Ready. `is_observed`: AWS could be read; a cluster that was Ready stays so for a while when it cannot.
pub fn progress(overall: &Overall, waits: &[Wait], is_held: bool, is_observed: bool) -> Progress {
    match overall {
        Overall::Ready(_) if !is_observed => Progress::Working,
        Overall::Ready(_) if is_held => Progress::Waiting(Reason::OutsideMaintenanceWindow.as_str()),
        Overall::Ready(_) => Progress::Complete(ChangeOutcome::Ready),
        Overall::Observed(_) => Progress::Complete(ChangeOutcome::Observed),
        Overall::Suspended(_) => Progress::Complete(ChangeOutcome::Suspended),
        Overall::Reconciling(ConditionValue { reason: Reason::Upgrading, .. })
            if waits.iter().any(|wait| wait.kind == Kind::Soak) =>
        {
            Progress::Waiting(SOAKING)
        }
        Overall::Reconciling(value) | Overall::Stalled(value) if is_work(value.reason) => Progress::Working,
        Overall::Reconciling(value) | Overall::Stalled(value) => Progress::Waiting(value.reason.as_str()),
    }
}

/// Whether an object with that reason is being worked on.
fn is_work(reason: Reason) -> bool {
    use Reason::{
        Available, Creating, Deleting, NotRequested, Observed, Pending, Reconciled, SupportEnding, Suspended, Synced,
        Updating, Upgrading,
    };
    let is_progress = matches!(reason, Creating | Updating | Deleting | Upgrading | Pending);
    // No reasons of an object that does not get on.
    let is_other =
        matches!(reason, Available | Reconciled | Synced | NotRequested | Observed | Suspended | SupportEnding);
    is_progress || is_other
}

/// Whether a wait for that reason is an error, which somebody has to correct or which a retry may pass.
pub fn is_error(reason: &str) -> bool {
    use Reason::{
        Drifted, OnHold, OutsideMaintenanceWindow, WaitingForApproval, WaitingForCluster, WaitingForHook,
        WaitingForNodes, WaitingForSync, WaitingForWave,
    };
    match Reason::parse(reason) {
        Some(
            Drifted
            | OnHold
            | OutsideMaintenanceWindow
            | WaitingForApproval
            | WaitingForCluster
            | WaitingForNodes
            | WaitingForHook
            | WaitingForSync
            | WaitingForWave,
        ) => false,
        Some(reason) => !is_work(reason),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(reason: Reason) -> ConditionValue {
        ConditionValue::false_(reason, "")
    }

    #[test]
    fn change_ends_when_ready_and_nothing_of_it_waits() {
        let ready = Overall::Ready(ConditionValue::true_(Reason::Available, ""));
        assert_eq!(progress(&ready, &[], false, true), Progress::Complete(ChangeOutcome::Ready));
        assert_eq!(progress(&ready, &[], true, true), Progress::Waiting("OutsideMaintenanceWindow"));
        assert_eq!(progress(&ready, &[], false, false), Progress::Working, "AWS could not be read");
    }

    #[test]
    fn waits_are_distinguished_from_work() {
        let reconciling = |reason| progress(&Overall::Reconciling(value(reason)), &[], false, true);
        assert_eq!(reconciling(Reason::Creating), Progress::Working);
        assert_eq!(reconciling(Reason::Upgrading), Progress::Working);
        assert_eq!(reconciling(Reason::OutsideMaintenanceWindow), Progress::Waiting("OutsideMaintenanceWindow"));
        assert_eq!(reconciling(Reason::Throttled), Progress::Waiting("Throttled"));
        let soak = [Wait { kind: Kind::Soak, ..Wait::planned("soaking for another 5 min") }];
        let soaking = progress(&Overall::Reconciling(value(Reason::Upgrading)), &soak, false, true);
        assert_eq!(soaking, Progress::Waiting(SOAKING));
        let stalled = progress(&Overall::Stalled(value(Reason::WaitingForApproval)), &[], false, true);
        assert_eq!(stalled, Progress::Waiting("WaitingForApproval"));
    }

    #[test]
    fn only_waits_that_somebody_has_to_correct_are_errors() {
        for reason in [Reason::Failed, Reason::AccessDenied, Reason::UpgradeBlocked, Reason::DeletionBlocked] {
            assert!(is_error(reason.as_str()), "{reason:?}");
        }
        for reason in ["OutsideMaintenanceWindow", "WaitingForApproval", "WaitingForNodes", SOAKING, "Creating"] {
            assert!(!is_error(reason), "{reason}");
        }
    }

    #[test]
    fn superseded_change_of_a_stalled_object_failed() {
        let stalled = |status: &str, reason: &str| -> Vec<Condition> {
            let condition = json!({"type": "Stalled", "status": status, "reason": reason, "message": "why",
                                   "lastTransitionTime": "2026-11-21T10:00:00Z"});
            vec![serde_json::from_value(condition).unwrap()]
        };
        let failed = Blocker { reason: "Failed".into(), message: "why".into() };
        assert_eq!(ChangeOutcome::superseded(&stalled("True", "Failed")), ChangeOutcome::Failed(failed));
        for conditions in [stalled("False", "Failed"), stalled("True", "WaitingForApproval"), Vec::new()] {
            assert_eq!(ChangeOutcome::superseded(&conditions), ChangeOutcome::Superseded);
        }
    }
}
