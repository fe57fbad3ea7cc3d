//! What to do about a hook while the workload cluster in which its Job runs does not answer. Pure.
//!
//! It is no failure of the hook: the Job may run, or have ended. So the hook waits, and status says for what, until its timeout has passed
//! since its Job was created, or since the cluster did not answer where the Job should have been created. Then it has failed. Its Job is
//! deleted before another try, as soon as the cluster answers; the Job's own deadline ends it otherwise.
//!
//! The time runs only while the hook is tried: what keeps its step from beginning is no failure of it.

use jiff::SignedDuration;

use super::entry::{self, Notice};
use super::next_action::{Action, HookHold, Question, Record, timeout_from};
use crate::api::hook::{Hook, HookState, HookStatus};

impl<'a> Question<'a> {
    /// The action while the cluster of the Job does not answer. `why`: its error; `again`: when it is asked again.
    pub fn unanswered(&self, hook: &Hook, why: &str, again: SignedDuration) -> Action<'a> {
        let at = self.current(hook);
        let new = || entry::new(hook, self.moment, HookState::Pending);
        let entry = at.map_or_else(new, |at| self.entries[at].clone());
        if let Some(record) = self.skipped(hook, at, &entry) {
            return Action::Record(record);
        }
        let record = |entry: HookStatus, notice: Option<Notice>| {
            Action::Record(Record { delete: None, entries: self.with(at, entry), notice })
        };
        let (since, late) = match entry.state {
            HookState::Failed | HookState::Lost => {
                let (what, before) =
                    (format!("{} failed", entry.describe()), entry.message.as_deref().unwrap_or_default());
                let now = if before.ends_with(why) { String::new() } else { format!("; now: {why}") };
                return self.failed(hook, &entry, &what, &format!("{before}{now}"));
            }
            HookState::Running => (&entry.started_at, "the Job did not end"),
            _ => (&entry.waiting_since, "the Job was not created"),
        };
        let Some(since) = since.as_ref().map(|time| time.0) else {
            return record(entry::waiting(entry, self.now), None);
        };
        let until = timeout_from(hook, since);
        if self.now >= until {
            let message = format!("{late} within {}, as far as is known: {why}", hook.timeout);
            let (failed, notice) = entry::failed_to_start(entry, &message, self.now);
            return record(failed, Some(notice));
        }
        let skip = self.skip_advice(hook, &entry);
        let message = format!(
            "{}: {why}; it is tried until {until}, then the hook has failed; to go on at once, {skip}",
            entry.describe()
        );
        let left = until.duration_since(self.now).max(SignedDuration::from_secs(1));
        Action::Held(HookHold { failed: false, message, again: again.min(left) })
    }
}

/// The entries, of which those that are not tried no longer wait for an answer: the next time that the cluster does not answer, all their
/// time is left. `is_tried`: whether an entry is tried now.
pub fn without_interrupted_waits(entries: Vec<HookStatus>, is_tried: impl Fn(&HookStatus) -> bool) -> Vec<HookStatus> {
    let continued = |entry: HookStatus| match entry::is_waiting(&entry) && !is_tried(&entry) {
        true => entry::not_waiting(entry),
        false => entry,
    };
    entries.into_iter().map(continued).collect()
}

#[cfg(test)]
#[path = "unanswered_tests.rs"]
mod tests;
