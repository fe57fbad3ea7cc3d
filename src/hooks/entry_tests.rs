//! Entries and hooks for tests, and tests of how an entry changes.

use super::*;
use crate::api::hook::{HookPlace, HookPoint};
use serde_json::json;

pub fn hook(name: &str, at: &[HookPoint]) -> Hook {
    let template = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "x"}]}}}});
    serde_json::from_value(json!({"name": name, "at": at, "job": {"template": template}, "timeout": "10m"})).unwrap()
}

pub fn entry(name: &str, at: HookPoint, step: &str, state: HookState) -> HookStatus {
    HookStatus { attempt: 1, ..new(&hook(name, &[at]), &Moment::new(at, step), state) }
}

#[test]
fn long_value_of_an_annotation_is_equal_to_itself() {
    let long = "x".repeat(300);
    let pending = entry("a", HookPoint::BeforeCreate, "create", HookState::Pending);
    let tried = intended(pending.clone(), ("job".into(), HookPlace::Management), "d", Some(&long));
    assert_eq!(tried.reconcile_at, Some(cut(&long)));
    let skipped = skipped(pending, &long, Timestamp::from_second(1).unwrap());
    assert_eq!(skipped.skipped_by, Some("x".repeat(256)));
}

#[test]
fn lost_job_has_no_uid_and_is_no_success() {
    let now = Timestamp::from_second(1).unwrap();
    let running =
        HookStatus { uid: Some("u".into()), ..entry("a", HookPoint::BeforeCreate, "create", HookState::Running) };
    let (lost, notice) = ended(running.clone(), &JobOutcome::Lost("gone".into()), now).unwrap();
    assert_eq!((lost.state, lost.uid, lost.message.as_deref()), (HookState::Lost, None, Some("gone")));
    assert_eq!(notice, Notice::Failed("hook a (BeforeCreate, create): gone".into()));
    assert_eq!(ended(running, &JobOutcome::Running, now), None);
}
