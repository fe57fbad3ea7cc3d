//! What no longer counts: Jobs that are deleted, and entries that are dropped. Pure.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::entry;
use crate::api::hook::{Hook, HookStatus, MAX_HOOK_STATUS};

/// How long a Job stays after its end was recorded, so that people can read its log.
const KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Entries of past steps that are shown.
const MAX_CLOSED: usize = 20;

/// The indices of entries whose Jobs are deleted now: their end was recorded a while ago, or their hook or step is gone.
pub fn jobs_to_delete(hooks: &[Hook], entries: &[HookStatus], now: Timestamp) -> Vec<usize> {
    let is_due = |entry: &HookStatus| {
        let is_old = entry.finished_at.as_ref().is_some_and(|time| now.duration_since(time.0) >= KEPT);
        let is_unwanted = entry.closed || !hooks.iter().any(|hook| hook.name == entry.name);
        entry.uid.is_some() && (is_old || is_unwanted && !entry.state.is_finished())
    };
    entries.iter().enumerate().filter(|(_, entry)| is_due(entry)).map(|(index, _)| index).collect()
}

/// The entries without those that are not needed. One that has a Job stays until that is deleted. Skips that are still in the
/// annotation stay: each counts once.
pub fn without_removed(hooks: &[Hook], entries: &[HookStatus], skip: Option<&str>) -> Vec<HookStatus> {
    let skips = skip.into_iter().flat_map(|skip| skip.split(','));
    let skips: BTreeSet<String> = skips.map(|value| entry::cut(value.trim())).collect();
    let is_wanted = |entry: &HookStatus| {
        let is_known = hooks.iter().any(|hook| hook.name == entry.name && hook.at.contains(&entry.at));
        is_known || entry.uid.is_some() || entry.state.is_finished()
    };
    let forgotten = |mut entry: HookStatus| {
        let is_there = entry.skipped_by.as_deref().is_some_and(|by| skips.contains(by));
        entry.skipped_by = entry.skipped_by.filter(|_| is_there);
        entry
    };
    let all: Vec<HookStatus> = entries.iter().filter(|entry| is_wanted(entry)).cloned().map(forgotten).collect();
    let is_kept = |entry: &HookStatus| entry.uid.is_some() || entry.skipped_by.is_some();
    let mut surplus = all.iter().filter(|entry| entry.closed).count().saturating_sub(MAX_CLOSED);
    surplus = surplus.max(all.len().saturating_sub(MAX_HOOK_STATUS));
    let mut left = Vec::new();
    for entry in all {
        if surplus > 0 && entry.closed && !is_kept(&entry) {
            surplus -= 1;
        } else {
            left.push(entry);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::hook::{HookPoint, HookState};
    use crate::hooks::entry::tests::{entry, hook};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn job_stays_for_a_while_and_goes_with_its_hook() {
        let hooks = [hook("a", &[HookPoint::BeforeCreate])];
        let with = |state, finished: Option<i64>, name: &str| HookStatus {
            uid: Some("u".into()),
            finished_at: finished.map(|second| Time(at(second))),
            ..entry(name, HookPoint::BeforeCreate, "create", state)
        };
        let deleted = |entry: HookStatus, now| !jobs_to_delete(&hooks, &[entry], at(now)).is_empty();
        assert!(!deleted(with(HookState::Succeeded, Some(0), "a"), 3599));
        assert!(deleted(with(HookState::Succeeded, Some(0), "a"), 3600));
        assert!(!deleted(with(HookState::Running, None, "a"), 9999));
        assert!(deleted(with(HookState::Running, None, "removed"), 1), "the hook was removed");
        assert!(!deleted(with(HookState::Failed, Some(0), "removed"), 1), "its log can be read");
    }

    #[test]
    fn few_past_entries_stay_and_a_skip_counts_while_it_is_there() {
        let hooks = [hook("a", &[HookPoint::BeforeCreate])];
        let past = HookStatus {
            closed: true,
            ..entry("a", HookPoint::BeforeControlPlane, "1.33->1.34", HookState::Succeeded)
        };
        let skip = HookStatus { skipped_by: Some("a/1".into()), state: HookState::Skipped, ..past.clone() };
        let all: Vec<_> = std::iter::once(skip).chain(std::iter::repeat_n(past, 30)).collect();
        let left = without_removed(&hooks, &all, Some("b, a/1"));
        assert_eq!(left.len(), MAX_CLOSED);
        assert_eq!(left[0].skipped_by.as_deref(), Some("a/1"));
        assert_eq!(without_removed(&hooks, &all, None)[0].skipped_by, None, "the annotation was removed");
        let long = format!("a/{}", "x".repeat(300));
        let cut = HookStatus { skipped_by: Some(long.chars().take(256).collect()), ..all[0].clone() };
        let kept = without_removed(&hooks, std::slice::from_ref(&cut), Some(&format!("b, {long}")));
        assert_eq!(kept, [cut], "a long value is still there");
        let pending = entry("removed", HookPoint::AfterCreate, "create", HookState::Pending);
        assert_eq!(without_removed(&hooks, &[pending], None), []);
    }
}
