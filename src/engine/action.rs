//! What is done with a resource, and the goal of a graph. Pure.

/// An action on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Create it.
    Create,
    /// Update it in place.
    Update,
    /// Adopt it unchanged.
    Adopt,
    /// Delete it.
    Delete,
    /// Release it unchanged.
    Release,
}

impl Action {
    /// Name in status and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Create => "Create",
            Action::Update => "Update",
            Action::Adopt => "Adopt",
            Action::Delete => "Delete",
            Action::Release => "Release",
        }
    }
}

/// The goal of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// All resources exist as desired.
    Present,
    /// All owned resources are deleted.
    Deleted,
    /// All owned resources are retained and released from ownership.
    Retained,
}
