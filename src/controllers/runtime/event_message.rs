//! A Kubernetes event to publish. Pure.

use crate::api::Reason;

/// An event to publish on one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMessage {
    /// Whether the event type is `Warning`.
    pub warning: bool,
    /// CamelCase reason, such as `Created`.
    pub reason: String,
    /// Machine-readable action.
    pub action: String,
    /// Human-readable description.
    pub note: String,
}

impl EventMessage {
    /// A `Normal` event.
    pub fn normal(reason: &str, note: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.into(), action: reason.into(), note: note.into() }
    }

    /// A `Warning` event.
    pub fn warning(reason: Reason, note: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.as_str().into(), action: "Reconcile".into(), note: note.into() }
    }
}
