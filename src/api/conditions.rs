//! Condition types and reasons of the API, and how a condition is set. Pure.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stable_text::stable;

/// Condition types. `Ready`, `Reconciling` and `Stalled` follow kstatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum ConditionType {
    Ready,
    Reconciling,
    Stalled,
    NetworkReady,
    ControlPlaneReady,
    AddonsReady,
    GitOpsReady,
    NodesReady,
    InSync,
    Upgrading,
    /// The cluster can be used, even while changes are in progress.
    Available,
}

impl ConditionType {
    /// The type as written in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::NetworkReady => "NetworkReady",
            Self::ControlPlaneReady => "ControlPlaneReady",
            Self::AddonsReady => "AddonsReady",
            Self::GitOpsReady => "GitOpsReady",
            Self::NodesReady => "NodesReady",
            Self::InSync => "InSync",
            Self::Upgrading => "Upgrading",
            Self::Available => "Available",
        }
    }
}

/// Reasons of conditions: few, so that users and alerts can match them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    Creating,
    Updating,
    Deleting,
    Upgrading,
    Available,
    /// The controller has not observed the object yet.
    Pending,
    /// Nothing remains to be done.
    Reconciled,
    /// AWS matches the spec.
    Synced,
    /// AWS differs from the spec.
    Drifted,
    /// `changePolicy: Observe`: differences are only reported.
    Observed,
    /// Waits for the cluster.
    WaitingForCluster,
    /// Waits for nodes.
    WaitingForNodes,
    /// The agent has not applied the newest revision yet.
    WaitingForSync,
    WaitingForApproval,
    /// An annotation `hold.keelson.dev/NAME` keeps it from beginning.
    OnHold,
    OutsideMaintenanceWindow,
    UpgradeBlocked,
    /// An upgrade waits for its wave of a FleetRollout.
    WaitingForWave,
    /// Its FleetRollout has halted.
    WaveHalted,
    /// A hook runs.
    WaitingForHook,
    /// A hook failed.
    HookFailed,
    NotOwned,
    QuotaExceeded,
    InsufficientCapacity,
    AccessDenied,
    CredentialsUnavailable,
    InvalidSpec,
    /// AWS rejected the creation, or the resource failed.
    Failed,
    /// Works, but AWS reports a health issue.
    Degraded,
    DeletionBlocked,
    SyncFailed,
    /// AWS support of the version ends soon.
    SupportEnding,
    AgentUnreachable,
    AwsError,
    Throttled,
    /// An operation exceeded its deadline.
    Timeout,
    Suspended,
    /// Not requested by the spec.
    NotRequested,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 38] = [
        Self::Creating,
        Self::Updating,
        Self::Deleting,
        Self::Upgrading,
        Self::Available,
        Self::Pending,
        Self::Reconciled,
        Self::Synced,
        Self::Drifted,
        Self::Observed,
        Self::WaitingForCluster,
        Self::WaitingForNodes,
        Self::WaitingForSync,
        Self::WaitingForApproval,
        Self::OnHold,
        Self::OutsideMaintenanceWindow,
        Self::UpgradeBlocked,
        Self::WaitingForWave,
        Self::WaveHalted,
        Self::WaitingForHook,
        Self::HookFailed,
        Self::NotOwned,
        Self::QuotaExceeded,
        Self::InsufficientCapacity,
        Self::AccessDenied,
        Self::CredentialsUnavailable,
        Self::InvalidSpec,
        Self::Failed,
        Self::Degraded,
        Self::DeletionBlocked,
        Self::SyncFailed,
        Self::SupportEnding,
        Self::AgentUnreachable,
        Self::AwsError,
        Self::Throttled,
        Self::Timeout,
        Self::Suspended,
        Self::NotRequested,
    ];

    /// The reason of that text; `None`: of another version, or not of ours.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// The reason as written in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "Creating",
            Self::Updating => "Updating",
            Self::Deleting => "Deleting",
            Self::Upgrading => "Upgrading",
            Self::Available => "Available",
            Self::Pending => "Pending",
            Self::Reconciled => "Reconciled",
            Self::Synced => "Synced",
            Self::Drifted => "Drifted",
            Self::Observed => "Observed",
            Self::WaitingForCluster => "WaitingForCluster",
            Self::WaitingForNodes => "WaitingForNodes",
            Self::WaitingForSync => "WaitingForSync",
            Self::WaitingForApproval => "WaitingForApproval",
            Self::OnHold => "OnHold",
            Self::OutsideMaintenanceWindow => "OutsideMaintenanceWindow",
            Self::UpgradeBlocked => "UpgradeBlocked",
            Self::WaitingForWave => "WaitingForWave",
            Self::WaveHalted => "WaveHalted",
            Self::WaitingForHook => "WaitingForHook",
            Self::HookFailed => "HookFailed",
            Self::NotOwned => "NotOwned",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::InsufficientCapacity => "InsufficientCapacity",
            Self::AccessDenied => "AccessDenied",
            Self::CredentialsUnavailable => "CredentialsUnavailable",
            Self::InvalidSpec => "InvalidSpec",
            Self::Failed => "Failed",
            Self::Degraded => "Degraded",
            Self::DeletionBlocked => "DeletionBlocked",
            Self::SyncFailed => "SyncFailed",
            Self::SupportEnding => "SupportEnding",
            Self::AgentUnreachable => "AgentUnreachable",
            Self::AwsError => "AwsError",
            Self::Throttled => "Throttled",
            Self::Timeout => "Timeout",
            Self::Suspended => "Suspended",
            Self::NotRequested => "NotRequested",
        }
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

impl ConditionStatus {
    /// The status as written in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Longest message of a condition, in characters; far below the API server's limit, so that status stays small.
pub const MAX_MESSAGE: usize = 2048;

/// Sets a condition. `lastTransitionTime` changes only with its status.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let mut desired = Condition {
        type_: type_.as_str().to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        message: bounded(&stable(message), MAX_MESSAGE),
        observed_generation: generation,
        last_transition_time: Time(now),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == desired.type_) {
        Some(present) => {
            if present.status == desired.status {
                desired.last_transition_time = present.last_transition_time.clone();
            }
            *present = desired;
        }
        None => conditions.push(desired),
    }
}

/// Removes a condition that no longer applies.
pub fn remove(conditions: &mut Vec<Condition>, type_: ConditionType) {
    conditions.retain(|condition| condition.type_ != type_.as_str());
}

/// The condition of that type.
pub fn get(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.as_str())
}

/// Whether the condition of that type exists and is True.
pub fn is_true(conditions: &[Condition], type_: ConditionType) -> bool {
    get(conditions, type_).is_some_and(|condition| condition.status == "True")
}

/// `text`, cut to at most `max` characters with an ellipsis.
pub fn bounded(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn transition_time_changes_only_with_the_status() {
        let mut conditions = Vec::new();
        let mut ready = |status: bool, reason, now| {
            set(&mut conditions, ConditionType::Ready, status.into(), reason, "m", Some(1), at(now));
            assert_eq!(conditions.len(), 1);
            conditions[0].last_transition_time.0.as_second()
        };
        assert_eq!(ready(false, Reason::Creating, 10), 10);
        assert_eq!(ready(false, Reason::Throttled, 20), 10);
        assert_eq!(ready(true, Reason::Available, 30), 30);
        assert_eq!(conditions[0].reason, "Available");
    }

    #[test]
    fn volatile_parts_of_a_message_do_not_change_the_condition() {
        let failed = |path: u32, now| {
            let message = format!("stat /tmp/kustomization-{path}/clusters/demo: no such file or directory");
            let mut conditions = Vec::new();
            set(
                &mut conditions,
                ConditionType::Ready,
                ConditionStatus::False,
                Reason::SyncFailed,
                &message,
                Some(1),
                at(now),
            );
            conditions
        };
        let mut conditions = failed(30_584_681, 10);
        let before = conditions.clone();
        let message = "stat /tmp/kustomization-77777/clusters/demo: no such file or directory";
        set(
            &mut conditions,
            ConditionType::Ready,
            ConditionStatus::False,
            Reason::SyncFailed,
            message,
            Some(1),
            at(20),
        );
        assert_eq!(conditions, before, "status is written once");
    }

    #[test]
    fn every_reason_is_parsed_from_its_text() {
        let parsed: Vec<_> = Reason::ALL.iter().filter_map(|reason| Reason::parse(reason.as_str())).collect();
        assert_eq!(parsed, Reason::ALL);
        // A new variant has to be added to ALL.
        assert_eq!(Reason::NotRequested as usize + 1, Reason::ALL.len());
        assert_eq!(Reason::parse("Unheard"), None);
    }

    #[test]
    fn long_message_is_cut_between_characters() {
        assert_eq!(bounded("äöü", 3), "äöü");
        assert_eq!(bounded("äöüß", 3), "äö…");
    }
}
