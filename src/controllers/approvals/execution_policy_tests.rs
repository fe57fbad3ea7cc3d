//! Change policies, approvals and drift policies.

use serde_json::json;

use super::*;
use crate::engine::{Action, Change, Goal, Item};

fn accept_annotation(
    policy: &ExecutionPolicy,
    plan: &Plan,
    ahead: &[(Key, Step)],
    annotation: Option<&str>,
    previous: Option<&PlanStatus>,
) -> PlanApprovalState {
    let approvals = Approvals { annotation: annotation.map(str::to_owned), ..Approvals::default() };
    accept_approvals(policy, plan, ahead, &approvals, previous)
}

fn accept_approvals(
    policy: &ExecutionPolicy,
    plan: &Plan,
    ahead: &[(Key, Step)],
    approvals: &Approvals,
    previous: Option<&PlanStatus>,
) -> PlanApprovalState {
    let (subject, facts) = (Subject::default(), Facts::new());
    let proposal = Proposal { subject: &subject, plan, ahead, facts: &facts };
    accept_approval(policy, proposal, approvals, previous)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn update(field: &str, from: &str, to: &str) -> Step {
    Step { action: Action::Update, changes: vec![Change::in_place(field, from, to)], reason: None }
}

fn item(key: &str, verdict: Verdict) -> Item {
    Item { key: Key::parse(key), verdict, forbidden: Vec::new(), drift: Vec::new() }
}

fn plan(items: Vec<Item>) -> Plan {
    Plan { goal: Goal::Present, items }
}

fn input(change: ChangePolicy, plan: Option<&PlanStatus>) -> Input<'_> {
    Input {
        change,
        drift: DriftPolicy::Correct,
        wanted: "w".into(),
        target: "a".into(),
        plan,
        approved_elsewhere: &[],
        known: &[],
        synced: None,
        on_hold: false,
    }
}

/// The plan status after `approval_state` was written.
fn status_after(approval_state: &PlanApprovalState) -> PlanStatus {
    PlanStatus {
        approved: approval_state.approved.clone(),
        approval: approval_state.approval.clone(),
        approval_uid: approval_state.approval_uid.clone(),
        approved_hash: approval_state.approved_hash.clone(),
        ..PlanStatus::default()
    }
}

fn held(key: &str, step: &Step) -> Plan {
    plan(vec![item(key, Verdict::Held(step.clone(), HoldReason::Approval))])
}

#[test]
fn approval_covers_one_plan_and_is_used_once() {
    let step = update("logging", "", "api");
    let waiting = held("cluster", &step);
    let policy = input(ChangePolicy::Approval, None).policy();
    let unapproved = accept_annotation(&policy, &waiting, &[], None, None);
    assert!(!unapproved.is_new && unapproved.approved.is_empty() && unapproved.hash.len() == 16);
    assert!(!accept_annotation(&policy, &waiting, &[], Some("00000000"), None).is_new, "approval of another plan");
    let hash = unapproved.hash.clone();
    let approval_state = accept_annotation(&policy, &waiting, &[], Some(&hash), None);
    assert!(approval_state.is_new && approval_state.approved.len() == 1 && approval_state.approved_hash == hash);
    // The next reconcile applies it.
    let status = status_after(&approval_state);
    let policy = input(ChangePolicy::Approval, Some(&status)).policy();
    assert_eq!(policy.holds(&Key::single("cluster"), &step), None);
    let done =
        accept_annotation(&policy, &plan(vec![item("cluster", Verdict::Settled)]), &[], Some(&hash), Some(&status));
    assert!(done.approved.is_empty() && done.hash.is_empty());
    // The same difference recurs: the old annotation does not count again, a different text does.
    let status = status_after(&done);
    let policy = input(ChangePolicy::Approval, Some(&status)).policy();
    assert_eq!(policy.holds(&Key::single("cluster"), &step), Some(HoldReason::Approval));
    assert!(!accept_annotation(&policy, &waiting, &[], Some(&hash), Some(&status)).is_new);
    assert!(accept_annotation(&policy, &waiting, &[], Some(&format!("{hash}/2")), Some(&status)).is_new);
    // Removing the annotation and setting it again counts, too.
    let removed = accept_annotation(&policy, &waiting, &[], None, Some(&status));
    assert!(accept_annotation(&policy, &waiting, &[], Some(&hash), Some(&status_after(&removed))).is_new);
}

#[test]
fn approval_object_counts_once_and_annotations_only_where_allowed() {
    let step = update("logging", "", "api");
    let waiting = held("cluster", &step);
    let policy = input(ChangePolicy::Approval, None).policy();
    let hash = accept_annotation(&policy, &waiting, &[], None, None).hash;
    let annotated = Approvals { annotation: Some(hash.clone()), only_objects: true, ..Approvals::default() };
    assert!(!accept_approvals(&policy, &waiting, &[], &annotated, None).is_new, "annotations do not count");
    let object = |uid: &str| ApprovalObject { uid: uid.into(), hash: hash.clone() };
    let one = Approvals { objects: vec![object("one")], ..annotated };
    let approval_state = accept_approvals(&policy, &waiting, &[], &one, None);
    assert!(approval_state.is_new && approval_state.approved_hash == hash);
    assert_eq!((approval_state.approval_uid.as_deref(), approval_state.approval.as_deref()), (Some("one"), None));
    let status = status_after(&approval_state);
    assert!(!accept_approvals(&policy, &waiting, &[], &one, Some(&status)).is_new, "already used");
    let two = Approvals { objects: vec![object("two")], ..one };
    assert!(accept_approvals(&policy, &waiting, &[], &two, Some(&status)).is_new);
    let other = ApprovalObject { uid: "three".into(), hash: "0".repeat(16) };
    let foreign = Approvals { objects: vec![other], ..Approvals::default() };
    assert!(!accept_approvals(&policy, &waiting, &[], &foreign, None).is_new, "approval of another plan");
}

#[test]
fn upgrade_is_approved_as_a_whole() {
    let first = update("version", "1.32", "1.33");
    let ahead = vec![
        (Key::single("cluster"), update("version", "1.33", "1.34")),
        (Key::named("nodeGroup", "web"), update("version", "1.32", "1.34")),
    ];
    let waiting = held("cluster", &first);
    let policy = input(ChangePolicy::Approval, None).policy();
    let hash = accept_annotation(&policy, &waiting, &ahead, None, None).hash;
    // The hash does not depend on whether the first step is in the plan or still ahead.
    let all: Vec<_> = [(Key::single("cluster"), first)].into_iter().chain(ahead.clone()).collect();
    let nothing_yet = plan(vec![item("cluster", Verdict::Settled)]);
    assert_eq!(accept_annotation(&policy, &nothing_yet, &all, None, None).hash, hash);
    let status = status_after(&accept_annotation(&policy, &waiting, &ahead, Some(&hash), None));
    assert_eq!(status.approved.len(), 3);
    // Between two steps the plan is empty, and the steps ahead stay approved.
    let policy = input(ChangePolicy::Approval, Some(&status)).policy();
    let remaining = accept_annotation(&policy, &nothing_yet, &ahead, Some(&hash), Some(&status));
    assert_eq!(remaining.approved.len(), 2);
    // The node group uses its part of the approval.
    let node_group_steps: Vec<_> =
        remaining.approved.into_iter().filter(|step| step.resource == "nodeGroup/web").collect();
    let group = Input { approved_elsewhere: &node_group_steps, ..input(ChangePolicy::Approval, None) }.policy();
    let key = Key::named("nodeGroup", "web");
    assert_eq!(group.holds(&key, &update("version", "1.32", "1.34")), None);
    assert_eq!(group.holds(&key, &update("scaling.max", "3", "9")), Some(HoldReason::Approval));
}

#[test]
fn message_of_a_plan_that_waits_for_approval() {
    let approval_state = PlanApprovalState { hash: "3f9a1c20".into(), ..PlanApprovalState::default() };
    let message = |annotation: Option<&str>, only_objects| {
        let approvals = Approvals { annotation: annotation.map(str::to_owned), only_objects, ..Approvals::default() };
        describe_pending_plan(&approval_state, "0 to create, 1 to update, 0 to delete", "demo -n team", &approvals)
    };
    let messages = [
        message(None, false),
        message(Some("11112222"), false),
        message(Some("3f9a1c20"), false),
        message(None, true),
        message(Some("3f9a1c20"), true),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn digest_covers_only_the_desired_state_of_aws() {
    let spec = json!({"region": "eu-west-1", "version": "1.34", "changePolicy": "Automatic", "suspend": false});
    let account = AccountSettings::default();
    let of = |spec: &Value| desired_digest(spec, &account, &());
    let mut policy = spec.clone();
    policy["changePolicy"] = "Approval".into();
    policy["suspend"] = true.into();
    assert_eq!(of(&spec), of(&policy));
    let mut version = spec.clone();
    version["version"] = "1.35".into();
    assert_ne!(of(&spec), of(&version));
    let boundary = AccountSettings { permissions_boundary: Some("arn".into()), ..AccountSettings::default() };
    assert_ne!(of(&spec), desired_digest(&spec, &boundary, &()));
    assert_ne!(of(&spec), desired_digest(&spec, &account, &["arn"]));
}

#[test]
fn drift_keeps_the_time_of_its_first_observation() {
    let mut remaining = item("cluster", Verdict::Settled);
    remaining.drift.push(Change::in_place("logging", "[]", "[api]"));
    let missing = item(
        "natGateway/a",
        Verdict::Held(Step { action: Action::Create, changes: vec![], reason: None }, HoldReason::Drift),
    );
    let first = drift(&plan(vec![remaining.clone(), missing]), &[], at(100));
    let entries: Vec<_> =
        first.iter().map(|d| (d.resource.as_str(), d.field.as_str(), d.wanted.as_str(), d.seen.as_str())).collect();
    assert_eq!(entries, [("cluster", "logging", "[api]", "[]"), ("natGateway/a", "", "", "deleted")]);
    let later = drift(&plan(vec![remaining]), &first, at(200));
    assert_eq!(later, first[..1]);
    let busy = drift(&plan(vec![item("cluster", Verdict::NotObserved(None))]), &first, at(300));
    assert_eq!(busy, first[..1], "known drift stays while it is not compared");
    // It stays known after an edit of another field.
    let report = Input { drift: DriftPolicy::Report, known: &first, ..input(ChangePolicy::Automatic, None) };
    let policy = report.policy();
    assert!(policy.ignores_drift(&Key::single("cluster"), &Change::in_place("logging", "[]", "[api]")));
    assert!(
        !policy.ignores_drift(&Key::single("cluster"), &Change::in_place("logging", "[]", "[audit]")),
        "an edit of the field"
    );
    assert!(policy.ignores_deletion(&Key::named("natGateway", "a")));
}

#[test]
fn target_is_synced_when_only_drift_remains() {
    let settled = || item("vpc", Verdict::Settled);
    assert_eq!(update_synced(&plan(vec![settled()]), "new", Some("old")).as_deref(), Some("new"));
    let pending = plan(vec![settled(), item("cluster", Verdict::NotObserved(None))]);
    assert_eq!(update_synced(&pending, "old", Some("old")).as_deref(), Some("old"));
    assert_eq!(update_synced(&pending, "new", Some("old")), None, "an edit is in progress");
    let mut forbidden = settled();
    forbidden.forbidden.push(Change::forbidden("cidr", "a", "b", "never"));
    assert_eq!(update_synced(&plan(vec![forbidden]), "new", None), None);
}

#[test]
fn manual_change_is_no_edit_while_versions_are_unknown() {
    let now = |known, edited, synced| current_target("now".into(), known, edited, synced);
    assert_eq!(now(true, false, Some("before")), "now");
    assert_eq!(now(false, false, Some("before")), "before");
    assert_eq!(now(false, true, Some("before")), "now");
    assert_eq!(now(false, false, None), "now");
}
