//! The states that EKS reports of control planes, add-ons, Fargate profiles and node groups, and the types of its updates, as far as
//! something depends on them. Pure.
//!
//! Observations and status keep EKS's own text, so that a state which EKS adds is shown as it is. Outside of `src/resources` and
//! `src/aws` only this file knows the texts; `tests/architecture.rs` rejects them elsewhere.

/// A state in the life of something in EKS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleState {
    /// It is being created.
    Creating,
    /// Its creation failed.
    CreateFailed,
    /// It works.
    Active,
    /// It works, and is being updated.
    Updating,
    /// It works partly.
    Degraded,
    /// Another state: on nothing of it depends what Keelson does.
    Other,
}

impl LifecycleState {
    /// The state with EKS's text.
    pub fn parse(text: &str) -> Self {
        match text {
            "CREATING" => Self::Creating,
            "CREATE_FAILED" => Self::CreateFailed,
            "ACTIVE" => Self::Active,
            "UPDATING" => Self::Updating,
            "DEGRADED" => Self::Degraded,
            _ => Self::Other,
        }
    }

    /// Whether a control plane in this state answers: during an update it does, too.
    pub fn has_api(self) -> bool {
        matches!(self, Self::Active | Self::Updating)
    }
}

/// Whether something in that state works completely, and is not being changed.
pub fn is_active(text: &str) -> bool {
    LifecycleState::parse(text) == LifecycleState::Active
}

/// Whether an update of that type changes the Kubernetes version of a control plane, or replaces the nodes of a node group.
pub fn is_version_update(kind: &str) -> bool {
    matches!(kind, "VersionUpdate" | "VersionRollback")
}

#[cfg(test)]
mod tests {
    use aws_sdk_eks::types::{AddonStatus, ClusterStatus, UpdateType};

    use super::*;

    #[test]
    fn texts_are_those_of_eks() {
        for (text, state) in [
            (ClusterStatus::Creating.as_str(), LifecycleState::Creating),
            (ClusterStatus::Active.as_str(), LifecycleState::Active),
            (ClusterStatus::Updating.as_str(), LifecycleState::Updating),
            (AddonStatus::CreateFailed.as_str(), LifecycleState::CreateFailed),
            (AddonStatus::Degraded.as_str(), LifecycleState::Degraded),
            (ClusterStatus::Deleting.as_str(), LifecycleState::Other),
            ("a new one", LifecycleState::Other),
        ] {
            assert_eq!(LifecycleState::parse(text), state, "{text}");
        }
        assert!(is_version_update(UpdateType::VersionUpdate.as_str()));
        assert!(!is_version_update(UpdateType::AddonUpdate.as_str()));
    }
}
