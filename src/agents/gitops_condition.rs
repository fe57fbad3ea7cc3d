//! The GitOpsReady condition, as an agent's observation determines it. Pure.

use crate::api::conditions::Reason;
use crate::api::listing::first_and_count;
use crate::api::stable_text::stable;
use crate::workload::error::{ApplyFailure, bounded};

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

/// The verdict if objects could not be applied, which takes precedence over what is observed; `None`: all were.
pub fn rejected(not_applied: &[ApplyFailure]) -> Option<Verdict> {
    let first = not_applied.first()?;
    Some(Verdict::not_ready(Reason::SyncFailed, first_and_count(first, not_applied.len() - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::object::ObjectId;

    #[test]
    fn rejected_objects_are_reported_with_the_first_reason() {
        let id = ObjectId {
            api_version: "v1".into(),
            kind: "ServiceAccount".into(),
            namespace: Some("flux-system".into()),
            name: "source-controller".into(),
        };
        let refused = ApplyFailure { object: id, why: "admission webhook \"policy\" denied the request".into() };
        assert_eq!(rejected(&[]), None);
        let verdict = rejected(&[refused.clone(), refused]).unwrap();
        assert_eq!(verdict.reason, Reason::SyncFailed);
        insta::assert_snapshot!(verdict.message, @r#"applying ServiceAccount flux-system/source-controller failed: admission webhook "policy" denied the request (and 1 more)"#);
    }
}
