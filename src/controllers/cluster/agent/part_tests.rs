//! How much of the agent's step may run, by window, approval and record.

use jiff::tz::TimeZone;
use serde_json::json;

use super::*;
use crate::agents::flux::Version;
use crate::engine::execution_policy::AllowedSteps;
use crate::engine::{Action, Change};

const OLD: &str = "v2.7.5";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn gitops(path: &str) -> GitOps {
    let source = json!({"git": {"url": "https://example.com/fleet", "ref": {"branch": "main"}}});
    serde_json::from_value(json!({"flux": {"path": path, "source": source}})).unwrap()
}

/// The status of an agent that an older Keelson brought to `version`, at clusters/demo.
fn status(version: &str) -> EksClusterStatus {
    let mut applied = steps::desired(Some(&gitops("clusters/demo")), None, false).fields;
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
    let wave = &WaveState::Free;
    AgentPart::of(&Input { gitops: Some(&gitops), previous, policy, window, wave, has_api: true, now: at(now) })
}

fn verdict(part: &AgentPart) -> &Verdict {
    &part.item.as_ref().unwrap().verdict
}

/// The status after a pass.
fn status_after(part: &AgentPart, previous: &EksClusterStatus, reached: bool) -> EksClusterStatus {
    let mut next = previous.clone();
    part.keep(next.gitops.as_mut(), reached);
    next
}

fn version_on_record(status: &EksClusterStatus) -> String {
    steps::applied(status).unwrap()["flux.version"].clone()
}

#[test]
fn outside_a_window_the_agent_keeps_its_version_and_status_names_the_next_window() {
    let previous = status(OLD);
    let part = part("clusters/demo", &previous, &ExecutionPolicy::default(), &closed(), 100);
    assert_eq!((part.waits, part.version.as_deref(), part.next), (false, Some(OLD), Some(at(10_000))));
    assert!(matches!(verdict(&part), Verdict::Pending(_, waits) if matches!(waits[..], [WaitingOn::Gate(..)])));
    let after = status_after(&part, &previous, true);
    assert_eq!(version_on_record(&after), OLD);
    let gitops = after.gitops.unwrap();
    let upgrade = gitops.upgrade.unwrap();
    assert_eq!(gitops.bundled_version.as_deref(), Some(Version::NEWEST.as_str()));
    assert_eq!((upgrade.from.as_str(), upgrade.to.as_str()), (OLD, Version::NEWEST.as_str()));
    assert_eq!(upgrade.next_window.as_deref(), Some("1970-01-01T02:46:40+00:00"));
    let condition = part.with_upgrade_note(ConditionValue::true_(crate::api::Reason::Available, "applied main@sha1:1"));
    insta::assert_snapshot!(condition.message, @"applied main@sha1:1; upgrade v2.7.5 -> v2.9.5, bundled with this Keelson: the next maintenance window opens 1970-01-01T02:46:40+00:00");
}

#[test]
fn other_edits_apply_at_once_at_the_current_version() {
    let previous = status(OLD);
    let part = part("clusters/other", &previous, &ExecutionPolicy::default(), &closed(), 100);
    assert_eq!((part.waits, part.version.as_deref()), (false, Some(OLD)));
    assert!(matches!(verdict(&part), Verdict::Waiting { action: Action::Update, .. }));
    let after = status_after(&part, &previous, true);
    let applied = steps::applied(&after).unwrap();
    assert_eq!((applied["flux.path"].as_str(), applied["flux.version"].as_str()), ("clusters/other", OLD));
}

#[test]
fn an_upgrade_starts_once_recorded_in_status_and_finishes_after_its_window() {
    let (previous, policy, open) = (status(OLD), ExecutionPolicy::default(), WindowState::Always);
    let first = part("clusters/demo", &previous, &policy, &open, 100);
    assert_eq!((first.version.as_deref(), first.next), (Some(OLD), Some(at(100))), "not before it is on record");
    let started = status_after(&first, &previous, false);
    let second = part("clusters/demo", &started, &policy, &open, 101);
    assert_eq!(second.version.as_deref(), Some(Version::NEWEST.as_str()));
    // The window closes after some of it is applied.
    let mut moved = started.clone();
    moved.gitops.as_mut().unwrap().version = Some(Version::NEWEST.as_str().into());
    let late = part("clusters/demo", &moved, &policy, &closed(), 5000);
    assert_eq!(late.version.as_deref(), Some(Version::NEWEST.as_str()));
    let done = status_after(&late, &moved, true);
    assert_eq!(version_on_record(&done), Version::NEWEST.as_str());
    let settled = part("clusters/demo", &done, &policy, &closed(), 5001);
    assert_eq!((settled.step.clone(), settled.next), (None, None));
    assert_eq!(status_after(&settled, &done, true).gitops.unwrap().upgrade, None);
}

#[test]
fn an_upgrade_that_missed_its_window_waits_for_the_next() {
    let (previous, policy) = (status(OLD), ExecutionPolicy::default());
    let started = status_after(&part("clusters/demo", &previous, &policy, &WindowState::Always, 100), &previous, false);
    let soon = part("clusters/demo", &started, &policy, &closed(), 200);
    assert_eq!(soon.version.as_deref(), Some(Version::NEWEST.as_str()));
    let late = part("clusters/demo", &started, &policy, &closed(), 1000);
    assert_eq!(late.version.as_deref(), Some(OLD));
    assert_eq!(status_after(&late, &started, true).gitops.unwrap().upgrade.unwrap().started_at, None);
}

#[test]
fn the_record_of_an_ended_downgrade_starts_no_upgrade_outside_a_window() {
    let mut previous = status(OLD);
    let ended = AgentUpgradeStatus {
        from: Version::NEWEST.as_str().into(),
        to: OLD.into(),
        message: None,
        next_window: None,
        started_at: Some(Time(at(90))),
    };
    previous.gitops.as_mut().unwrap().upgrade = Some(ended);
    let part = part("clusters/demo", &previous, &ExecutionPolicy::default(), &closed(), 100);
    assert_eq!((part.version.as_deref(), part.next), (Some(OLD), Some(at(10_000))));
    assert_eq!(status_after(&part, &previous, true).gitops.unwrap().upgrade.unwrap().started_at, None);
}

#[test]
fn an_upgrade_waits_for_its_wave_after_its_window_and_other_edits_do_not() {
    let (previous, policy, open) = (status(OLD), ExecutionPolicy::default(), WindowState::Always);
    let wave = &WaveState::Held { halted: false, message: "FleetRollout main: wave prod is not open yet".into() };
    let gitops = gitops("clusters/other");
    let held = |window: &WindowState| {
        let now = at(100);
        AgentPart::of(&Input {
            gitops: Some(&gitops),
            previous: &previous,
            policy: &policy,
            window,
            wave,
            has_api: true,
            now,
        })
    };
    let part = held(&open);
    assert_eq!((part.waits, part.version.as_deref(), part.next), (false, Some(OLD), None));
    assert!(part.turn.is_upgrade && !part.turn.is_held && !part.turn.in_progress);
    assert!(held(&closed()).turn.is_held, "it does not ask outside its window");
    let after = status_after(&part, &previous, true);
    assert_eq!(
        (version_on_record(&after).as_str(), steps::applied(&after).unwrap()["flux.path"].as_str()),
        (OLD, "clusters/other")
    );
    let upgrade = after.gitops.unwrap().upgrade.unwrap();
    assert_eq!(upgrade.started_at, None);
    assert!(upgrade.message.unwrap().contains("wave prod is not open yet"));
}

#[test]
fn a_first_installation_waits_for_no_window() {
    let part = part("clusters/demo", &EksClusterStatus::default(), &ExecutionPolicy::default(), &closed(), 100);
    assert_eq!((part.waits, part.version.as_deref()), (false, Some(Version::NEWEST.as_str())));
    assert!(matches!(verdict(&part), Verdict::Waiting { action: Action::Create, .. }));
}

#[test]
fn a_version_of_a_newer_keelson_waits_for_approval_while_the_agent_is_maintained() {
    let (previous, open) = (status(OLD), WindowState::Always);
    let nobody = ExecutionPolicy { allowed: AllowedSteps::Only(Default::default()), ..ExecutionPolicy::default() };
    let pending = part("clusters/demo", &previous, &nobody, &open, 100);
    assert!(matches!(verdict(&pending), Verdict::Held(_, HoldReason::Approval)));
    assert_eq!((pending.waits, pending.version.as_deref()), (false, Some(OLD)));
    let approved = nobody.ids(&steps::key(), pending.step.as_ref().unwrap());
    let approved = approved.into_iter().map(|id| (steps::key(), id)).collect();
    let policy = ExecutionPolicy { allowed: AllowedSteps::Only(approved), ..nobody };
    // Approved, it still waits for its window.
    let waiting = part("clusters/demo", &previous, &policy, &closed(), 100);
    assert!(matches!(verdict(&waiting), Verdict::Pending(..)));
    assert_eq!(waiting.version.as_deref(), Some(OLD));
    let started = status_after(&part("clusters/demo", &previous, &policy, &open, 100), &previous, false);
    assert_eq!(part("clusters/demo", &started, &policy, &open, 101).version.as_deref(), Some(Version::NEWEST.as_str()));
}

#[test]
fn observe_holds_the_agent_step() {
    let nothing = ExecutionPolicy { allowed: AllowedSteps::None, ..ExecutionPolicy::default() };
    let pending = part("clusters/demo", &status(OLD), &nothing, &WindowState::Always, 100);
    assert!(matches!(verdict(&pending), Verdict::Held(_, HoldReason::Observe)));
    assert_eq!(pending.version.as_deref(), Some(OLD));
}

#[test]
fn on_hold_only_an_upgrade_in_progress_goes_on() {
    let open = WindowState::Always;
    let on_hold = ExecutionPolicy { on_hold: true, ..ExecutionPolicy::default() };
    // Nothing is left to do, an edit, an upgrade that has not started.
    let settled = status(Version::NEWEST.as_str());
    for (path, previous, waits) in
        [("clusters/demo", &settled, false), ("clusters/other", &settled, true), ("clusters/demo", &status(OLD), false)]
    {
        let held = part(path, previous, &on_hold, &open, 100);
        assert_eq!((held.on_hold, held.waits), (true, waits), "{path}");
        assert!(!part(path, previous, &ExecutionPolicy::default(), &open, 100).on_hold, "{path}");
    }
    let previous = status(OLD);
    let first = part("clusters/demo", &previous, &ExecutionPolicy::default(), &open, 100);
    let started = status_after(&first, &previous, false);
    let going_on = part("clusters/demo", &started, &on_hold, &open, 101);
    assert_eq!((going_on.on_hold, going_on.version.as_deref()), (false, Some(Version::NEWEST.as_str())));
}

#[test]
fn an_approval_covers_exact_values() {
    let change = |to: &str| Change::in_place("flux.path", "", to);
    let step = |to| Step { action: Action::Create, changes: vec![change(to)], reason: None };
    let none = ExecutionPolicy { allowed: AllowedSteps::Only(Default::default()), ..ExecutionPolicy::default() };
    let approved = none.ids(&steps::key(), &step("a")).into_iter().map(|id| (steps::key(), id)).collect();
    let policy = ExecutionPolicy { allowed: AllowedSteps::Only(approved), ..none };
    assert_eq!(policy.holds(&steps::key(), &step("a")), None);
    assert_eq!(policy.holds(&steps::key(), &step("b")), Some(HoldReason::Approval));
    // An edit without approval is held as a whole: nothing is written to the cluster.
    let edited = part("clusters/other", &status(Version::NEWEST.as_str()), &policy, &WindowState::Always, 100);
    assert!(edited.waits && matches!(verdict(&edited), Verdict::Held(_, HoldReason::Approval)));
}

#[test]
fn an_agent_owned_by_git_has_gits_version_on_record() {
    let mut previous = status("v2.9.5");
    let gitops = previous.gitops.as_mut().unwrap();
    (gitops.adopted, gitops.version) = (true, Some(OLD.into()));
    let of_git = part("clusters/demo", &previous, &ExecutionPolicy::default(), &WindowState::Always, 100);
    let after = status_after(&of_git, &previous, true);
    assert_eq!(version_on_record(&after), OLD);
    assert_eq!(part("clusters/demo", &after, &ExecutionPolicy::default(), &WindowState::Always, 101).step, None);
}

#[test]
fn a_replaced_agent_starts_at_its_own_version_although_git_adopted_the_previous_one() {
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
    // Status keeps the previous agent until the first pass of the new one ends.
    assert_eq!(version_on_record(&status_after(&switched, &previous, true)), Version::NEWEST.as_str());
}
