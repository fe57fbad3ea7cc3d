//! The GitOpsReady condition, as an agent's observation determines it. Pure.

use crate::api::conditions::Reason;
use crate::api::stable_text::stable;
use crate::workload::error::bounded;

/// Conditions may hold more, but a message should fit on one screen.
const LONGEST: usize = 1024;

/// Status, reason and message of the GitOpsReady condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub ready: bool,
    pub reason: Reason,
    pub message: String,
}

impl Verdict {
    pub fn not_ready(reason: Reason, message: impl AsRef<str>) -> Self {
        Self { ready: false, reason, message: bounded(&stable(message.as_ref()), LONGEST) }
    }

    /// The agent is still applying the revision it fetched.
    pub fn waiting(message: impl AsRef<str>) -> Self {
        Self::not_ready(Reason::WaitingForSync, message)
    }

    /// The same, with a note at the end of the message.
    pub fn with_note(mut self, note: Option<String>) -> Self {
        if let Some(note) = note {
            self.message = bounded(&format!("{}; {note}", self.message), LONGEST);
        }
        self
    }

    pub fn ready(message: impl AsRef<str>) -> Self {
        Self { ready: true, reason: Reason::Available, message: bounded(message.as_ref(), LONGEST) }
    }
}
