//! The conditions of a running node group, as the user reads them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::waiting::waits;
use super::*;
use crate::engine::Class;
use crate::engine::failure::RetryState;
use crate::engine::memory::AppliedChanges;
use crate::engine::{
    Action, Block, Change, FailedOperation, Failure, Item, Observation, Operation, Presence, Step, Verdict, WaitingOn,
};
use crate::resources::eks::node_group as resource;
use crate::workload::budgets::{BlockedBy, BlockedPod};
use crate::workload::nodes::{Count, Kubelets};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn key() -> Key {
    Key::named("nodeGroup", "web")
}

/// The input of a case: three nodes at 1.33, everything in sync.
struct Case {
    verdict: Verdict,
    observed: Observation<resource::Detail>,
    scaling: serde_json::Value,
    target: Target,
    nodes: NodesObservation,
}

#[test]
fn nodes_of_a_deletion_that_waits_are_observed() {
    use crate::api::conditions::get;
    let exists = ConditionValue::true_(Reason::Available, "exists");
    let overall = Overall::Stalled(ConditionValue::false_(Reason::WaitingForApproval, "held"));
    let issue = HealthIssue { code: "Ec2SubnetNotFound".into(), message: None, resource_ids: Vec::new() };
    for (issues, status, reason) in [(&[][..], "True", "Available"), (&[issue][..], "False", "Degraded")] {
        let all = while_held(&[], Some(2), (&exists, issues), &overall, at(1000));
        let nodes = get(&all, ConditionType::NodesReady).unwrap();
        assert_eq!((nodes.status.as_str(), nodes.reason.as_str()), (status, reason));
        assert_eq!(get(&all, ConditionType::Stalled).unwrap().reason, "WaitingForApproval");
    }
}

impl Case {
    fn new() -> Self {
        let detail =
            resource::Detail { version: "1.33".into(), release: "1.33.7-20260923".into(), ..Default::default() };
        let kubelets = [("v1.33.7-eks-1".to_owned(), Kubelets { nodes: 3, example: "a".into() })];
        let count = Count { total: 3, ready: 3, cordoned: 0, kubelets: kubelets.into() };
        Self {
            verdict: Verdict::Settled,
            observed: Observation::ready("web", "ACTIVE", detail).output("desired", "3"),
            scaling: json!({"min": 2, "max": 5}),
            target: Target { replace: true, ..Target::default() },
            nodes: NodesObservation { count: Some(count), guarded: Vec::new() },
        }
    }

    fn format_status(self) -> String {
        self.with(|input| {
            let (status, _) = status(input);
            let line = |c: &Condition| format!("  {:<12} {:<6} {:<25} {}", c.type_, c.status, c.reason, c.message);
            let lines: Vec<_> = status.conditions.iter().filter(|c| !c.message.is_empty()).map(line).collect();
            format!("{}\n  readyNodes {:?}", lines.join("\n"), status.ready_nodes)
        })
    }

    /// `on (kind)` of each wait.
    fn waits(self) -> Vec<String> {
        self.with(|input| {
            let (_, overall) = status(input);
            waits(input, &overall).iter().map(|wait| format!("{} ({:?})", wait.on, wait.kind)).collect()
        })
    }

    fn with<R>(self, of: impl FnOnce(&Input<'_>) -> R) -> R {
        let Self { verdict, observed, scaling, target, nodes } = self;
        let spec = serde_json::from_value(json!({"clusterRef": {"name": "demo"}, "scaling": scaling})).unwrap();
        let mut memory = Memory::new(at(0), Duration::ZERO, []);
        memory.record_observation(&key(), Presence::Ours(observed.map(|detail| Arc::new(detail) as _)), at(1));
        let changes = vec![Change::in_place("version", "1.33", "1.34")];
        memory.entry(&key()).applied = Some(AppliedChanges { changes, at: at(900), times: 1 });
        let plan = Plan {
            goal: Goal::Present,
            items: vec![Item { key: key(), verdict, forbidden: Vec::new(), drift: Vec::new() }],
        };
        of(&Input {
            previous: &NodeGroupStatus::default(),
            generation: Some(3),
            key: &key(),
            plan: &plan,
            shown: PlanStatus::default(),
            drift: Vec::new(),
            synced: None,
            waits: "",
            approved: false,
            violations: &[],
            memory: &memory,
            spec: &spec,
            replacing: None,
            target: &target,
            on_hold: false,
            nodes: &nodes,
            now: at(1000),
        })
    }
}

fn updating(kind: &str) -> Case {
    let operation = Operation { id: "u-1".into(), kind: kind.into(), since: Some(at(900)) };
    let verdict = Verdict::Waiting {
        action: Action::Update,
        since: at(900),
        until: at(1500),
        note: String::new(),
        operation: Some(operation.clone()),
    };
    let base = Case::new();
    Case { verdict, observed: base.observed.running(operation), ..base }
}

#[test]
fn conditions_of_a_running_node_group() {
    let mixed = || {
        let of = |nodes| Kubelets { nodes, example: "a".into() };
        let kubelets = [("v1.33.7-eks-1".to_owned(), of(2)), ("v1.34.4-eks-1".to_owned(), of(2))];
        NodesObservation {
            count: Some(Count { total: 4, ready: 3, cordoned: 1, kubelets: kubelets.into() }),
            ..NodesObservation::default()
        }
    };
    let stuck = || {
        let failure = Failure::new(Class::EvictionBlocked, "EKS update u-1 failed: PodEvictionFailure");
        let failed = RetryState::after(None, failure.clone(), at(990), 0);
        let step = Step { action: Action::Update, changes: Vec::new(), reason: None };
        let mut base = Case::new();
        base.observed.failed_operation =
            Some(FailedOperation { id: "u-1".into(), kind: "VersionUpdate".into(), failure: failure.clone() });
        base.nodes.guarded = {
            let by = BlockedBy::Budget { name: "shop/db".into(), never: true };
            vec![BlockedPod { pod: "shop/db-0".into(), node: "n1".into(), by }]
        };
        let waits = Verdict::Pending(step, vec![WaitingOn::Retry(failed)]);
        (Case { verdict: waits, ..base }, Verdict::Blocked(Block::Failed(Class::EvictionBlocked, failure.message)))
    };
    let (pending, blocked) = stuck();
    let target_held = |held| Target { replace: false, on_hold: Some(held), ..Target::default() };
    let newer = |mut case: Case| {
        case.observed.detail.newest_release = Some("1.33.7-20261106".into());
        case
    };
    let refused = |mut case: Case| {
        case.observed.detail.pending_release = Some(("1.33.8-20261201".into(), "it is not valid".into()));
        case
    };
    let rejected_release = || {
        let changes = vec![Change::in_place("releaseVersion", "1.33.7-20260923", "1.33.8-20261201")];
        let failed = RetryState::after(None, Failure::new(Class::NoChange, "it is not valid"), at(999), 0);
        let step = Step { action: Action::Update, changes, reason: None };
        Verdict::Pending(step, vec![WaitingOn::Retry(failed)])
    };
    let own_image = |mut case: Case| {
        case.observed = case.observed.output("amiType", "CUSTOM").output("version", "1.33");
        case
    };
    let follows = Target { version: Some("1.34".into()), replace: true, ..Target::default() };
    let outside = Target { next_window: Some("the next opens 2026-12-05T02:00:00+01:00".into()), ..Target::default() };
    let cases = [
        ("a release that EKS has just refused", Case { verdict: rejected_release(), ..Case::new() }),
        ("a release that EKS does not accept yet", refused(Case::new())),
        ("a custom AMI that does not follow", own_image(Case { target: follows, ..Case::new() })),
        ("matches the spec", Case::new()),
        ("nodes unknown", Case { nodes: NodesObservation::default(), ..Case::new() }),
        ("settings change", updating("ConfigUpdate")),
        ("nodes are replaced", Case { nodes: mixed(), ..updating("VersionUpdate") }),
        ("nodes are replaced, and unknown", Case { nodes: NodesObservation::default(), ..updating("VersionUpdate") }),
        ("pods are not evicted", pending),
        ("pods are not evicted: blocked", Case { verdict: blocked, ..stuck().0 }),
        (
            "version ahead of the control plane",
            Case {
                target: target_held(UpdateHold::ControlPlane("version 1.35 waits for the control plane".into())),
                ..Case::new()
            },
        ),
        (
            "outside a window",
            Case { target: target_held(UpdateHold::Window("version 1.34 waits for a window".into())), ..Case::new() },
        ),
        ("newer release outside a window", newer(Case { target: outside, ..Case::new() })),
        ("kubectl scale", Case { scaling: json!({"min": 2, "max": 5, "desired": 5}), ..Case::new() }),
    ];
    let text = cases.map(|(name, case)| format!("{name}\n{}", case.format_status())).join("\n");
    insta::assert_snapshot!(text);
}

#[test]
fn node_waits_restart_with_each_joined_or_replaced_node() {
    let of = |nodes| Kubelets { nodes, example: "a".into() };
    let nodes = |total, ready, old, new| {
        let kubelets = [("v1.33.7-eks-1".to_owned(), of(old)), ("v1.34.4-eks-1".to_owned(), of(new))];
        let kubelets = kubelets.into_iter().filter(|(_, kubelets)| kubelets.nodes > 0).collect();
        NodesObservation { count: Some(Count { total, ready, cordoned: 0, kubelets }), ..NodesObservation::default() }
    };
    assert_eq!(Case::new().waits(), [""; 0]);
    let missing = Case { nodes: nodes(2, 1, 2, 0), ..Case::new() };
    assert_eq!(missing.waits(), ["1 of 3 nodes are Ready (Joining)"]);
    let replaced = Case { nodes: nodes(4, 4, 1, 3), ..updating("VersionUpdate") };
    let on = "node group web: updating, update u-1: 1 on v1.33.7-eks-1, 3 on v1.34.4-eks-1 (Replacing)";
    assert_eq!(replaced.waits(), [on]);
    // The progress is unknown: the deadline covers the whole group.
    let unknown = Case { nodes: NodesObservation::default(), ..updating("VersionUpdate") };
    assert_eq!(unknown.waits(), ["node group web: updating, update u-1 (Aws(900s))"]);
    let target = Target { on_hold: Some(UpdateHold::ControlPlane("1.35".into())), ..Target::default() };
    let ahead = Case { target, ..Case::new() };
    assert_eq!(ahead.waits(), ["waiting for a version of the control plane (ControlPlaneVersion)"]);
}
