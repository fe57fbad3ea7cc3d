//! What of the agent's step may be done, by window, approval and what is on record.

use jiff::tz::TimeZone;
use serde_json::json;

use super::*;
use crate::engine::execution_policy::AllowedSteps;
use crate::engine::{Action, Change};
use crate::gitops::flux::Version;

const OLD: &str = "v2.7.5";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn gitops(path: &str) -> GitOps {
    let source = json!({"git": {"url": "https://example.com/fleet", "ref": {"branch": "main"}}});
    serde_json::from_value(json!({"flux": {"path": path, "source": source}})).unwrap()
}

/// An agent that an older Keelson brought to `version`, at clusters/demo.
fn status(version: &str) -> EksClusterStatus {
    let mut applied = steps::wanted(Some(&gitops("clusters/demo")), None, false).fields;
    applied.insert("flux.version".into(), version.into());
    let gitops = GitOpsStatus {
        applied: steps::for_status(&applied),
        version: Some(version.into()),
        agent: Some("flux".into()),
        ..GitOpsStatus::default()
    };
    EksClusterStatus { gitops: Some(gitops), ..EksClusterStatus::default() }
}

fn closed() -> WindowState {
    WindowState::Closed { opens: Some(at(10_000).to_zoned(TimeZone::UTC)) }
}

fn part(
    path: &str,
    previous: &EksClusterStatus,
    policy: &ExecutionPolicy,
    window: &WindowState,
    now: i64,
) -> AgentPart {
    let gitops = gitops(path);
    AgentPart::of(&Input { gitops: Some(&gitops), previous, policy, window, has_api: true, now: at(now) })
}

fn verdict(part: &AgentPart) -> &Verdict {
    &part.item.as_ref().unwrap().verdict
}

/// The status after a pass.
fn kept(part: &AgentPart, previous: &EksClusterStatus, reached: bool) -> EksClusterStatus {
    let mut next = previous.clone();
    part.keep(next.gitops.as_mut(), reached);
    next
}

fn version_on_record(status: &EksClusterStatus) -> String {
    steps::applied(status).unwrap()["flux.version"].clone()
}

#[test]
fn outside_a_window_the_agent_keeps_its_version_and_status_says_until_when() {
    let previous = status(OLD);
    let part = part("clusters/demo", &previous, &ExecutionPolicy::default(), &closed(), 100);
    assert_eq!((part.waits, part.version.as_deref(), part.next), (false, Some(OLD), Some(at(10_000))));
    assert!(matches!(verdict(&part), Verdict::Pending(_, waits) if matches!(waits[..], [WaitingOn::Gate(..)])));
    let after = kept(&part, &previous, true);
    assert_eq!(version_on_record(&after), OLD);
    let gitops = after.gitops.unwrap();
    let upgrade = gitops.upgrade.unwrap();
    assert_eq!(gitops.bundled_version.as_deref(), Some(Version::NEWEST.as_str()));
    assert_eq!((upgrade.from.as_str(), upgrade.to.as_str()), (OLD, Version::NEWEST.as_str()));
    assert_eq!(upgrade.next_window.as_deref(), Some("1970-01-01T02:46:40+00:00"));
    let says = part.noting(ConditionValue::true_(crate::api::Reason::Available, "applied main@sha1:1"));
    insta::assert_snapshot!(says.message, @"applied main@sha1:1; upgrade v2.7.5 -> v2.9.5, bundled with this Keelson: the next maintenance window opens 1970-01-01T02:46:40+00:00");
}

#[test]
fn what_is_edited_beside_goes_at_once_at_the_version_that_is_there() {
    let previous = status(OLD);
    let part = part("clusters/other", &previous, &ExecutionPolicy::default(), &closed(), 100);
    assert_eq!((part.waits, part.version.as_deref()), (false, Some(OLD)));
    assert!(matches!(verdict(&part), Verdict::Waiting { action: Action::Update, .. }));
    let after = kept(&part, &previous, true);
    let applied = steps::applied(&after).unwrap();
    assert_eq!((applied["flux.path"].as_str(), applied["flux.version"].as_str()), ("clusters/other", OLD));
}

#[test]
fn in_a_window_it_begins_once_that_stands_in_status_and_is_finished_after_it() {
    let (previous, policy, open) = (status(OLD), ExecutionPolicy::default(), WindowState::Always);
    let first = part("clusters/demo", &previous, &policy, &open, 100);
    assert_eq!((first.version.as_deref(), first.next), (Some(OLD), Some(at(100))), "not before it is on record");
    let begun = kept(&first, &previous, false);
    let second = part("clusters/demo", &begun, &policy, &open, 101);
    assert_eq!(second.version.as_deref(), Some(Version::NEWEST.as_str()));
    // The window closes, and some of it is there.
    let mut moved = begun.clone();
    moved.gitops.as_mut().unwrap().version = Some(Version::NEWEST.as_str().into());
    let late = part("clusters/demo", &moved, &policy, &closed(), 5000);
    assert_eq!(late.version.as_deref(), Some(Version::NEWEST.as_str()));
    let done = kept(&late, &moved, true);
    assert_eq!(version_on_record(&done), Version::NEWEST.as_str());
    let settled = part("clusters/demo", &done, &policy, &closed(), 5001);
    assert_eq!((settled.step.clone(), settled.next), (None, None));
    assert_eq!(kept(&settled, &done, true).gitops.unwrap().upgrade, None);
}

#[test]
fn one_that_could_not_begin_in_its_window_waits_for_the_next() {
    let (previous, policy) = (status(OLD), ExecutionPolicy::default());
    let begun = kept(&part("clusters/demo", &previous, &policy, &WindowState::Always, 100), &previous, false);
    let soon = part("clusters/demo", &begun, &policy, &closed(), 200);
    assert_eq!(soon.version.as_deref(), Some(Version::NEWEST.as_str()));
    let late = part("clusters/demo", &begun, &policy, &closed(), 1000);
    assert_eq!(late.version.as_deref(), Some(OLD));
    assert_eq!(kept(&late, &begun, true).gitops.unwrap().upgrade.unwrap().started_at, None);
}

#[test]
fn a_first_installation_waits_for_no_window() {
    let part = part("clusters/demo", &EksClusterStatus::default(), &ExecutionPolicy::default(), &closed(), 100);
    assert_eq!((part.waits, part.version.as_deref()), (false, Some(Version::NEWEST.as_str())));
    assert!(matches!(verdict(&part), Verdict::Waiting { action: Action::Create, .. }));
}

#[test]
fn what_a_newer_keelson_brings_waits_for_approval_and_the_agent_is_kept_up_until_then() {
    let (previous, open) = (status(OLD), WindowState::Always);
    let nobody = ExecutionPolicy { allowed: AllowedSteps::Only(Default::default()), ..ExecutionPolicy::default() };
    let held = part("clusters/demo", &previous, &nobody, &open, 100);
    assert!(matches!(verdict(&held), Verdict::Held(_, HoldReason::Approval)));
    assert_eq!((held.waits, held.version.as_deref()), (false, Some(OLD)));
    let approved = nobody.ids(&steps::key(), held.step.as_ref().unwrap());
    let approved = approved.into_iter().map(|id| (steps::key(), id)).collect();
    let policy = ExecutionPolicy { allowed: AllowedSteps::Only(approved), ..nobody };
    // Approved, it waits for its window all the same.
    let waiting = part("clusters/demo", &previous, &policy, &closed(), 100);
    assert!(matches!(verdict(&waiting), Verdict::Pending(..)));
    assert_eq!(waiting.version.as_deref(), Some(OLD));
    let begun = kept(&part("clusters/demo", &previous, &policy, &open, 100), &previous, false);
    assert_eq!(part("clusters/demo", &begun, &policy, &open, 101).version.as_deref(), Some(Version::NEWEST.as_str()));
}

#[test]
fn observe_holds_it_too() {
    let nothing = ExecutionPolicy { allowed: AllowedSteps::None, ..ExecutionPolicy::default() };
    let held = part("clusters/demo", &status(OLD), &nothing, &WindowState::Always, 100);
    assert!(matches!(verdict(&held), Verdict::Held(_, HoldReason::Observe)));
    assert_eq!(held.version.as_deref(), Some(OLD));
}

#[test]
fn an_approved_step_is_of_its_values() {
    let change = |to: &str| Change::in_place("flux.path", "", to);
    let step = |to| Step { action: Action::Create, changes: vec![change(to)], reason: None };
    let none = ExecutionPolicy { allowed: AllowedSteps::Only(Default::default()), ..ExecutionPolicy::default() };
    let approved = none.ids(&steps::key(), &step("a")).into_iter().map(|id| (steps::key(), id)).collect();
    let policy = ExecutionPolicy { allowed: AllowedSteps::Only(approved), ..none };
    assert_eq!(policy.holds(&steps::key(), &step("a")), None);
    assert_eq!(policy.holds(&steps::key(), &step("b")), Some(HoldReason::Approval));
    // An edit that nobody approved is held as a whole: nothing is written to the cluster.
    let edited = part("clusters/other", &status(Version::NEWEST.as_str()), &policy, &WindowState::Always, 100);
    assert!(edited.waits && matches!(verdict(&edited), Verdict::Held(_, HoldReason::Approval)));
}

#[test]
fn what_git_owns_has_the_version_of_git_on_record() {
    let mut previous = status("v2.9.5");
    let gitops = previous.gitops.as_mut().unwrap();
    (gitops.adopted, gitops.version) = (true, Some(OLD.into()));
    let of_git = part("clusters/demo", &previous, &ExecutionPolicy::default(), &WindowState::Always, 100);
    let after = kept(&of_git, &previous, true);
    assert_eq!(version_on_record(&after), OLD);
    assert_eq!(part("clusters/demo", &after, &ExecutionPolicy::default(), &WindowState::Always, 101).step, None);
}

#[test]
fn another_agent_begins_with_a_version_of_its_own_though_git_has_adopted_the_one_before() {
    let before = GitOpsStatus {
        agent: Some("argocd".into()),
        version: Some("v3.2.11".into()),
        adopted: true,
        applied: steps::for_status(&Fields::from([("argocd.version".to_owned(), "v3.2.11".to_owned())])),
        ..GitOpsStatus::default()
    };
    let previous = EksClusterStatus { gitops: Some(before), ..EksClusterStatus::default() };
    let switched = part("clusters/demo", &previous, &ExecutionPolicy::default(), &WindowState::Always, 100);
    assert_eq!((switched.version.as_deref(), switched.waits), (Some(Version::NEWEST.as_str()), false));
    // Status shows the one before until the first pass of the new one is over.
    assert_eq!(version_on_record(&kept(&switched, &previous, true)), Version::NEWEST.as_str());
}
