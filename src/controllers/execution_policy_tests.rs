//! Policies, approvals and drift, as a person meets them.

use serde_json::json;

use super::*;
use crate::engine::{Action, Change, Goal, Item};

fn agree_to(
    policy: &ExecutionPolicy,
    plan: &Plan,
    ahead: &[(Key, Step)],
    annotation: Option<&str>,
    previous: Option<&PlanStatus>,
) -> Agreed {
    let approvals = Approvals { annotation: annotation.map(str::to_owned), ..Approvals::default() };
    agree_by(policy, plan, ahead, &approvals, previous)
}

fn agree_by(
    policy: &ExecutionPolicy,
    plan: &Plan,
    ahead: &[(Key, Step)],
    approvals: &Approvals,
    previous: Option<&PlanStatus>,
) -> Agreed {
    let (subject, facts) = (Subject::default(), Facts::new());
    let proposal = Proposal { subject: &subject, plan, ahead, facts: &facts };
    agree(policy, proposal, approvals, previous)
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
        asked: "a".into(),
        plan,
        approved_elsewhere: &[],
        known: &[],
        synced: None,
    }
}

/// Status as it stands after `agreed` was written.
fn kept(agreed: &Agreed) -> PlanStatus {
    PlanStatus {
        approved: agreed.approved.clone(),
        approval: agreed.approval.clone(),
        approval_uid: agreed.approval_uid.clone(),
        approved_hash: agreed.approved_hash.clone(),
        ..PlanStatus::default()
    }
}

fn held(key: &str, step: &Step) -> Plan {
    plan(vec![item(key, Verdict::Held(step.clone(), HoldReason::Approval))])
}

#[test]
fn an_approval_is_of_one_plan_and_is_used_once() {
    let step = update("logging", "", "api");
    let waiting = held("cluster", &step);
    let policy = input(ChangePolicy::Approval, None).policy();
    let nobody = agree_to(&policy, &waiting, &[], None, None);
    assert!(!nobody.is_new && nobody.approved.is_empty() && nobody.hash.len() == 16);
    assert!(!agree_to(&policy, &waiting, &[], Some("00000000"), None).is_new, "another plan's");
    let hash = nobody.hash.clone();
    let agreed = agree_to(&policy, &waiting, &[], Some(&hash), None);
    assert!(agreed.is_new && agreed.approved.len() == 1 && agreed.approved_hash == hash);
    // The next reconcile carries it out.
    let status = kept(&agreed);
    let policy = input(ChangePolicy::Approval, Some(&status)).policy();
    assert_eq!(policy.holds(&Key::single("cluster"), &step), None);
    let done = agree_to(&policy, &plan(vec![item("cluster", Verdict::Settled)]), &[], Some(&hash), Some(&status));
    assert!(done.approved.is_empty() && done.hash.is_empty());
    // The same difference comes back: the old annotation does not count again, another text does.
    let status = kept(&done);
    let policy = input(ChangePolicy::Approval, Some(&status)).policy();
    assert_eq!(policy.holds(&Key::single("cluster"), &step), Some(HoldReason::Approval));
    assert!(!agree_to(&policy, &waiting, &[], Some(&hash), Some(&status)).is_new);
    assert!(agree_to(&policy, &waiting, &[], Some(&format!("{hash}/2")), Some(&status)).is_new);
    // And so does taking it away and setting it again.
    let away = agree_to(&policy, &waiting, &[], None, Some(&status));
    assert!(agree_to(&policy, &waiting, &[], Some(&hash), Some(&kept(&away))).is_new);
}

#[test]
fn an_approval_object_counts_once_and_annotations_only_where_they_may() {
    let step = update("logging", "", "api");
    let waiting = held("cluster", &step);
    let policy = input(ChangePolicy::Approval, None).policy();
    let hash = agree_to(&policy, &waiting, &[], None, None).hash;
    let annotated = Approvals { annotation: Some(hash.clone()), only_objects: true, ..Approvals::default() };
    assert!(!agree_by(&policy, &waiting, &[], &annotated, None).is_new, "annotations do not count");
    let object = |uid: &str| ApprovalObject { uid: uid.into(), hash: hash.clone() };
    let one = Approvals { objects: vec![object("one")], ..annotated };
    let agreed = agree_by(&policy, &waiting, &[], &one, None);
    assert!(agreed.is_new && agreed.approved_hash == hash);
    assert_eq!((agreed.approval_uid.as_deref(), agreed.approval.as_deref()), (Some("one"), None));
    let status = kept(&agreed);
    assert!(!agree_by(&policy, &waiting, &[], &one, Some(&status)).is_new, "it was used");
    let two = Approvals { objects: vec![object("two")], ..one };
    assert!(agree_by(&policy, &waiting, &[], &two, Some(&status)).is_new);
    let other = ApprovalObject { uid: "three".into(), hash: "0".repeat(16) };
    let foreign = Approvals { objects: vec![other], ..Approvals::default() };
    assert!(!agree_by(&policy, &waiting, &[], &foreign, None).is_new, "of another plan");
}

#[test]
fn an_upgrade_is_approved_as_a_whole() {
    let first = update("version", "1.32", "1.33");
    let ahead = vec![
        (Key::single("cluster"), update("version", "1.33", "1.34")),
        (Key::named("nodeGroup", "web"), update("version", "1.32", "1.34")),
    ];
    let waiting = held("cluster", &first);
    let policy = input(ChangePolicy::Approval, None).policy();
    let hash = agree_to(&policy, &waiting, &ahead, None, None).hash;
    // Whether the first step is in the plan already or still ahead makes no other plan of it.
    let all: Vec<_> = [(Key::single("cluster"), first)].into_iter().chain(ahead.clone()).collect();
    let nothing_yet = plan(vec![item("cluster", Verdict::Settled)]);
    assert_eq!(agree_to(&policy, &nothing_yet, &all, None, None).hash, hash);
    let status = kept(&agree_to(&policy, &waiting, &ahead, Some(&hash), None));
    assert_eq!(status.approved.len(), 3);
    // Between two steps nothing is in the plan, and what is ahead stays approved.
    let policy = input(ChangePolicy::Approval, Some(&status)).policy();
    let left = agree_to(&policy, &nothing_yet, &ahead, Some(&hash), Some(&status));
    assert_eq!(left.approved.len(), 2);
    // The node group takes its part from there.
    let elsewhere: Vec<_> = left.approved.into_iter().filter(|step| step.resource == "nodeGroup/web").collect();
    let group = Input { approved_elsewhere: &elsewhere, ..input(ChangePolicy::Approval, None) }.policy();
    let key = Key::named("nodeGroup", "web");
    assert_eq!(group.holds(&key, &update("version", "1.32", "1.34")), None);
    assert_eq!(group.holds(&key, &update("scaling.max", "3", "9")), Some(HoldReason::Approval));
}

#[test]
fn what_a_person_reads_while_a_plan_waits() {
    let agreed = Agreed { hash: "3f9a1c20".into(), ..Agreed::default() };
    let message = |annotation: Option<&str>, only_objects| {
        let approvals = Approvals { annotation: annotation.map(str::to_owned), only_objects, ..Approvals::default() };
        waits(&agreed, "0 to create, 1 to update, 0 to delete", "demo -n team", &approvals)
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
fn the_digest_is_of_what_is_asked_of_aws() {
    let spec = json!({"region": "eu-west-1", "version": "1.34", "changePolicy": "Automatic", "suspend": false});
    let account = AccountSettings::default();
    let of = |spec: &Value| wanted(spec, &account, &());
    let mut policy = spec.clone();
    policy["changePolicy"] = "Approval".into();
    policy["suspend"] = true.into();
    assert_eq!(of(&spec), of(&policy));
    let mut version = spec.clone();
    version["version"] = "1.35".into();
    assert_ne!(of(&spec), of(&version));
    let boundary = AccountSettings { permissions_boundary: Some("arn".into()), ..AccountSettings::default() };
    assert_ne!(of(&spec), wanted(&spec, &boundary, &()));
    assert_ne!(of(&spec), wanted(&spec, &account, &["arn"]));
}

#[test]
fn drift_is_kept_with_when_it_was_noticed() {
    let mut left = item("cluster", Verdict::Settled);
    left.drift.push(Change::in_place("logging", "[]", "[api]"));
    let gone = item(
        "natGateway/a",
        Verdict::Held(Step { action: Action::Create, changes: vec![], reason: None }, HoldReason::Drift),
    );
    let first = drift(&plan(vec![left.clone(), gone]), &[], at(100));
    let told: Vec<_> =
        first.iter().map(|d| (d.resource.as_str(), d.field.as_str(), d.wanted.as_str(), d.seen.as_str())).collect();
    assert_eq!(told, [("cluster", "logging", "[api]", "[]"), ("natGateway/a", "", "", "it is gone")]);
    let later = drift(&plan(vec![left]), &first, at(200));
    assert_eq!(later, first[..1]);
    let busy = drift(&plan(vec![item("cluster", Verdict::NotObserved(None))]), &first, at(300));
    assert_eq!(busy, first[..1], "what is not compared now is as it was");
    // It is known after an edit of something else, too.
    let report = Input { drift: DriftPolicy::Report, known: &first, ..input(ChangePolicy::Automatic, None) };
    let policy = report.policy();
    assert!(policy.ignores_drift(&Key::single("cluster"), &Change::in_place("logging", "[]", "[api]")));
    assert!(
        !policy.ignores_drift(&Key::single("cluster"), &Change::in_place("logging", "[]", "[audit]")),
        "an edit of it"
    );
    assert!(policy.ignores_deletion(&Key::named("natGateway", "a")));
}

#[test]
fn aws_matches_when_nothing_but_drift_is_left() {
    let settled = || item("vpc", Verdict::Settled);
    assert_eq!(synced(&plan(vec![settled()]), "new", Some("old")).as_deref(), Some("new"));
    let pending = plan(vec![settled(), item("cluster", Verdict::NotObserved(None))]);
    assert_eq!(synced(&pending, "old", Some("old")).as_deref(), Some("old"));
    assert_eq!(synced(&pending, "new", Some("old")), None, "an edit is under way");
    let mut forbidden = settled();
    forbidden.forbidden.push(Change::forbidden("cidr", "a", "b", "never"));
    assert_eq!(synced(&plan(vec![forbidden]), "new", None), None);
}

#[test]
fn a_look_without_versions_takes_a_change_by_hand_for_no_edit() {
    let now = |known, edited, synced| asked("now".into(), known, edited, synced);
    assert_eq!(now(true, false, Some("before")), "now");
    assert_eq!(now(false, false, Some("before")), "before");
    assert_eq!(now(false, true, Some("before")), "now");
    assert_eq!(now(false, false, None), "now");
}
