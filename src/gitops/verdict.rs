//! What an agent's observation is condensed to: the GitOpsReady condition. Pure; the agents judge.

use super::error::bounded;
use crate::api::conditions::Reason;
use crate::api::stable_text::stable;

/// Conditions hold more, but a person reads one screen.
const LONGEST: usize = 1024;

/// What the GitOpsReady condition says.
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

    /// The agent is on its way to the revision it saw.
    pub fn waiting(message: impl AsRef<str>) -> Self {
        Self::not_ready(Reason::WaitingForSync, message)
    }

    /// The same, with a word for people at the end.
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
