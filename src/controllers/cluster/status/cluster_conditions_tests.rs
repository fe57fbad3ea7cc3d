//! The conditions of a cluster at every stage of its life, as the user reads them.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::engine::failure::RetryState;
use crate::engine::{
    Action, Block, Change, Class, Failure, HoldReason, Key, Observation, Phase, Presence, Step, Verdict, WaitingOn,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn item(key: &str, verdict: Verdict) -> Item {
    Item { key: Key::parse(key), verdict, forbidden: Vec::new(), drift: Vec::new() }
}

fn create(waits: Vec<WaitingOn>) -> Verdict {
    let step = Step { action: Action::Create, changes: Vec::new(), reason: None };
    if waits.is_empty() { Verdict::Step(step) } else { Verdict::Pending(step, waits) }
}

fn waiting(action: Action, since: i64, until: i64) -> Verdict {
    Verdict::Waiting { action, since: at(since), until: at(until), note: String::new(), operation: None }
}

fn failed(class: Class, message: &str) -> WaitingOn {
    WaitingOn::Retry(RetryState::after(None, Failure::new(class, message), at(990), 0))
}

/// A plan of five resources, one for each condition, with `verdicts` for some of them; the others are settled.
fn plan(goal: Goal, verdicts: Vec<(&str, Verdict)>) -> Plan {
    let keys = ["vpc", "natGateway/eu-west-1a", "role/cluster", "cluster", "addon/coredns"];
    let items = keys.map(|key| {
        let verdict =
            verdicts.iter().find(|(of, _)| *of == key).map_or(Verdict::Settled, |(_, verdict)| verdict.clone());
        item(key, verdict)
    });
    Plan { goal, items: items.into() }
}

fn format_conditions(plan: &Plan, gitops: ConditionValue, stalled: bool) -> String {
    let mut memory = Memory::new(at(0), Duration::ZERO, []);
    memory.record_observation(
        &Key::single("vpc"),
        Presence::Ours(Observation::ready("vpc-1", "available", Arc::new(()) as _)),
        at(1),
    );
    let (all, _) = conditions(&Input {
        previous: &[],
        generation: Some(3),
        plan,
        violations: &[],
        memory: &memory,
        gitops: &gitops,
        gitops_stalled: stalled,
        ready: "Kubernetes 1.34",
        upgrade: None,
        now: at(1000),
    });
    let line =
        |c: &Condition| format!("{:<18}{:<8}{:<18}{}", c.type_, c.status, c.reason, c.message).trim_end().to_owned();
    assert!(all.iter().all(|condition| condition.observed_generation == Some(3)));
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn no_agent() -> ConditionValue {
    ConditionValue::true_(Reason::NotRequested, "the spec requests no agent")
}

#[test]
fn conditions_at_every_stage() {
    let syncing = || ConditionValue::false_(Reason::WaitingForSync, "GitRepository flux-system/flux-system: fetching");
    let missing = || ConditionValue::false_(Reason::InvalidSpec, "Secret team/deploy-key not found");
    let present = |verdicts| plan(Goal::Present, verdicts);
    let cluster_and_role = || vec![WaitingOn::Resource(Key::named("role", "cluster"))];
    let denied = "CreateCluster demo: not authorized to perform eks:CreateCluster";
    let mut forbidden = present(vec![]);
    forbidden.items[3].forbidden.push(Change::forbidden("version", "1.34", "1.33", "it cannot be lowered"));
    let drift =
        Step { action: Action::Update, changes: vec![Change::in_place("logging", "[]", "[api]")], reason: None };
    let unseen_since = |class, since| {
        let failed = RetryState::after(None, Failure::new(class, "DescribeVpcs: what AWS said"), at(since), 0);
        ("vpc", Verdict::NotObserved(Some(failed)))
    };
    let nodes = WaitingOn::Gate(Key::single("nodes"), "waiting for nodes of NodeGroup a".into());
    let cases = [
        (
            "nothing exists yet",
            present(vec![
                ("vpc", create(vec![])),
                ("natGateway/eu-west-1a", create(vec![WaitingOn::Resource(Key::single("vpc"))])),
                ("role/cluster", create(vec![])),
                ("cluster", create(cluster_and_role())),
                ("addon/coredns", create(vec![WaitingOn::Resource(Key::single("cluster"))])),
            ]),
            no_agent(),
            false,
        ),
        (
            "the control plane is being created",
            present(vec![
                ("natGateway/eu-west-1a", waiting(Action::Create, 900, 1010)),
                ("cluster", waiting(Action::Create, 640, 1180)),
                ("addon/coredns", create(vec![WaitingOn::Resource(Key::single("cluster"))])),
            ]),
            no_agent(),
            false,
        ),
        ("only nodes are missing", present(vec![("addon/coredns", create(vec![nodes]))]), syncing(), false),
        ("only the agent is missing", present(vec![]), syncing(), false),
        ("everything is ready", present(vec![]), no_agent(), false),
        ("the Secret was deleted later", present(vec![]), missing(), true),
        (
            "denied while another operation is in progress",
            present(vec![
                ("natGateway/eu-west-1a", waiting(Action::Create, 900, 1010)),
                ("cluster", create(vec![failed(Class::Denied, denied)])),
            ]),
            no_agent(),
            false,
        ),
        (
            "AWS answers 503 now and then",
            present(vec![("cluster", create(vec![failed(Class::Unavailable, "CreateCluster demo: 503")]))]),
            no_agent(),
            false,
        ),
        (
            "another cluster has the name",
            present(vec![("cluster", Verdict::Blocked(Block::Foreign("cluster demo was not made by Keelson".into())))]),
            no_agent(),
            false,
        ),
        ("AWS could not be read just now", present(vec![unseen_since(Class::Throttled, 990)]), no_agent(), false),
        ("AWS could not be read for a while", present(vec![unseen_since(Class::Throttled, 600)]), no_agent(), false),
        ("reading AWS is denied", present(vec![unseen_since(Class::Denied, 990)]), no_agent(), false),
        ("the logging was changed externally", present(vec![("cluster", Verdict::Step(drift))]), no_agent(), false),
        ("the spec requests an impossible change", forbidden, no_agent(), false),
        (
            "deleting, the node groups first",
            plan(
                Goal::Deleted,
                vec![
                    (
                        "cluster",
                        Verdict::Pending(
                            Step { action: Action::Delete, changes: Vec::new(), reason: None },
                            vec![WaitingOn::Gate(Key::single("nodeGroups"), "node groups a to be deleted".into())],
                        ),
                    ),
                    ("addon/coredns", Verdict::DeletedWith(Key::single("cluster"))),
                ],
            ),
            no_agent(),
            false,
        ),
        ("deleted, before the final check", plan(Goal::Deleted, vec![]), no_agent(), false),
    ];
    let table: Vec<String> = cases
        .into_iter()
        .map(|(name, plan, gitops, stalled)| format!("# {name}\n{}", format_conditions(&plan, gitops, stalled)))
        .collect();
    insta::assert_snapshot!(table.join("\n\n"));
}

#[test]
fn ready_reconciling_and_stalled_exclude_each_other() {
    let denied = create(vec![failed(Class::Denied, "denied")]);
    for verdicts in [vec![], vec![("cluster", create(vec![]))], vec![("cluster", denied)]] {
        let text = format_conditions(&plan(Goal::Present, verdicts), no_agent(), false);
        let holds = |kind: &str| text.lines().any(|line| line.starts_with(&format!("{kind:<18}True")));
        let count = ["Ready", "Reconciling", "Stalled"].iter().filter(|kind| holds(kind)).count();
        assert_eq!(count, 1, "{text}");
    }
}

#[test]
fn cluster_whose_agent_is_not_touched_stays_ready() {
    let ready = ConditionValue::true_(Reason::Available, "Kubernetes 1.34");
    for (reason, expected) in [(Reason::Observed, true), (Reason::OnHold, true), (Reason::WaitingForApproval, false)] {
        let found = with_agent(ready.clone(), &ConditionValue::unknown(reason, "m"), false);
        assert_eq!(matches!(found, Overall::Ready(_)), expected, "{reason}");
    }
}

#[test]
fn unobserved_conditions_are_unknown_at_first_and_kept_later() {
    let condition = ConditionValue::false_(Reason::AccessDenied, "AwsAccount \"prod\" does not exist");
    let fresh = unobserved(&[], Some(1), &Overall::Stalled(condition.clone()), at(1));
    let status = |all: &[Condition], kind: &str| all.iter().find(|c| c.type_ == kind).map(|c| c.status.clone());
    assert_eq!(status(&fresh, "NetworkReady").as_deref(), Some("Unknown"));
    assert_eq!(status(&fresh, "Stalled").as_deref(), Some("True"));
    let (observed, _) = conditions(&Input {
        previous: &[],
        generation: Some(1),
        plan: &plan(Goal::Present, vec![]),
        violations: &[],
        memory: &Memory::new(at(0), Duration::ZERO, []),
        gitops: &no_agent(),
        gitops_stalled: false,
        ready: "",
        upgrade: None,
        now: at(1),
    });
    let suspended = unobserved(&observed, Some(2), &Overall::Suspended("spec.suspend is true".into()), at(2));
    assert_eq!(status(&suspended, "NetworkReady").as_deref(), Some("True"));
    let ready = suspended.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", "Suspended"));
}

#[test]
fn observe_is_not_stalled_and_waiting_for_approval_is() {
    let step = || Step { action: Action::Create, changes: Vec::new(), reason: None };
    let waits = || create(vec![WaitingOn::Resource(Key::single("cluster"))]);
    let of = |reason| {
        let verdicts = vec![("cluster", Verdict::Held(step(), reason)), ("addon/coredns", waits())];
        format_conditions(&plan(Goal::Present, verdicts), no_agent(), false)
    };
    let lines = |text: &str| {
        let reads = |line: &str| line.split_whitespace().take(3).map(str::to_owned).collect::<Vec<_>>().join(" ");
        let overall = |line: &&str| ["Ready ", "Reconciling ", "Stalled "].iter().any(|kind| line.starts_with(kind));
        text.lines().filter(overall).map(reads).collect::<Vec<_>>()
    };
    let observed = of(HoldReason::Observe);
    assert_eq!(lines(&observed), ["Ready False Observed", "Reconciling False Observed", "Stalled False Observed"]);
    let approval = of(HoldReason::Approval);
    assert!(lines(&approval)[2].starts_with("Stalled True WaitingForApproval"), "{approval}");
}

#[test]
fn parts_of_a_deletion_that_waits_are_observed_and_the_rest_is_marked() {
    use crate::api::conditions::get;
    let exists = || Observation::ready("id", "available", Arc::new(()) as _);
    let busy = |action| exists().phase(Phase::Busy { action, since: None, note: String::new() });
    let mut memory = Memory::new(at(0), Duration::ZERO, []);
    let deletes =
        || Verdict::Held(Step { action: Action::Delete, changes: Vec::new(), reason: None }, HoldReason::Approval);
    let keys = ["vpc", "natGateway/eu-west-1a", "role/cluster", "cluster", "addon/coredns"];
    let plan = plan(Goal::Deleted, keys.map(|key| (key, deletes())).into());
    for key in keys {
        memory.record_observation(&Key::parse(key), Presence::Ours(exists()), at(1));
    }
    // They were of a failure, and of an upgrade that waited.
    let mut before = Vec::new();
    let mut was = |kind, value: &ConditionValue| set(&mut before, kind, Some(2), value, at(500));
    was(ConditionType::ControlPlaneReady, &ConditionValue::false_(Reason::AccessDenied, "DescribeCluster: denied"));
    was(ConditionType::InSync, &ConditionValue::true_(Reason::Synced, "AWS matches the spec"));
    was(ConditionType::GitOpsReady, &no_agent());
    was(ConditionType::Available, &ConditionValue::true_(Reason::Available, "usable"));
    let overall = Overall::Stalled(ConditionValue::false_(Reason::WaitingForApproval, "too many"));
    let held = |before: &[Condition], memory: &Memory| {
        let all = while_held(before, Some(3), (&plan, memory), &overall, at(1000));
        let kinds = [
            ConditionType::NetworkReady,
            ConditionType::ControlPlaneReady,
            ConditionType::AddonsReady,
            ConditionType::GitOpsReady,
            ConditionType::InSync,
            ConditionType::Available,
        ];
        let line = |kind| {
            let one = get(&all, kind).unwrap();
            format!("{kind} {} {}: {}", one.status, one.reason, one.message)
        };
        (kinds.map(line).join("\n"), all)
    };
    let (text, again) = held(&before, &memory);
    insta::assert_snapshot!(text, @r"
    NetworkReady True Available: exists and is ready; the deletion waits
    ControlPlaneReady True Available: exists and is ready; the deletion waits
    AddonsReady True Available: exists and is ready; the deletion waits
    GitOpsReady True NotRequested: the spec requests no agent
    InSync Unknown WaitingForApproval: not observed while the deletion waits; it was True (Synced): AWS matches the spec
    Available True Available: usable
    ");
    memory.record_observation(&Key::named("natGateway", "eu-west-1a"), Presence::Absent, at(2));
    memory.record_observation(&Key::single("cluster"), Presence::Ours(busy(Action::Update)), at(2));
    let failure = Failure::new(Class::Denied, "DescribeAddon coredns: denied");
    memory.observe_failed(&Key::named("addon", "coredns"), failure, at(2));
    insta::assert_snapshot!(held(&again, &memory).0, @r"
    NetworkReady False Drifted: NAT gateway eu-west-1a does not exist
    ControlPlaneReady False Updating: control plane: updating
    AddonsReady Unknown AccessDenied: add-on coredns: DescribeAddon coredns: denied
    GitOpsReady True NotRequested: the spec requests no agent
    InSync Unknown WaitingForApproval: not observed while the deletion waits; it was True (Synced): AWS matches the spec
    Available True Available: usable
    ");
}
