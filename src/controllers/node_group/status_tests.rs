//! The conditions of a node group that runs, as a person reads them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::waiting::waits;
use super::*;
use crate::engine::failure::RetryState;
use crate::engine::memory::AppliedChanges;
use crate::engine::{
    Action, Block, Change, FailedOperation, Failure, Item, Observation, Operation, Presence, Step, Verdict, WaitingOn,
};
use crate::gitops::budgets::Guarded;
use crate::gitops::nodes::{Count, Kubelets};
use crate::resources::node_group as resource;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn key() -> Key {
    Key::named("nodeGroup", "web")
}

/// What a case is made of: three nodes at 1.33, all as asked.
struct Case {
    verdict: Verdict,
    seen: Observation<resource::Detail>,
    scaling: serde_json::Value,
    target: Target,
    nodes: NodesObservation,
}

impl Case {
    fn new() -> Self {
        let detail =
            resource::Detail { version: "1.33".into(), release: "1.33.7-20260923".into(), ..Default::default() };
        let kubelets = [("v1.33.7-eks-1".to_owned(), Kubelets { nodes: 3, example: "a".into() })];
        let count = Count { total: 3, ready: 3, cordoned: 0, kubelets: kubelets.into() };
        Self {
            verdict: Verdict::Settled,
            seen: Observation::ready("web", "ACTIVE", detail).output("desired", "3"),
            scaling: json!({"min": 2, "max": 5}),
            target: Target { replace: true, ..Target::default() },
            nodes: NodesObservation { count: Some(count), guarded: Vec::new() },
        }
    }

    fn told(self) -> String {
        self.with(|input| {
            let (status, _) = status(input);
            let line = |c: &Condition| format!("  {:<12} {:<6} {:<25} {}", c.type_, c.status, c.reason, c.message);
            let told: Vec<_> = status.conditions.iter().filter(|c| !c.message.is_empty()).map(line).collect();
            format!("{}\n  readyNodes {:?}", told.join("\n"), status.ready_nodes)
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
        let Self { verdict, seen, scaling, target, nodes } = self;
        let spec = serde_json::from_value(json!({"clusterRef": {"name": "demo"}, "scaling": scaling})).unwrap();
        let mut memory = Memory::new(at(0), Duration::ZERO, []);
        memory.record_observation(&key(), Presence::Ours(seen.map(|detail| Arc::new(detail) as _)), at(1));
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
            target: &target,
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
    Case { verdict, seen: base.seen.running(operation), ..base }
}

#[test]
fn what_a_person_reads_of_a_running_node_group() {
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
        base.seen.failed_operation =
            Some(FailedOperation { id: "u-1".into(), kind: "VersionUpdate".into(), failure: failure.clone() });
        base.nodes.guarded =
            vec![Guarded { pod: "shop/db-0".into(), node: "n1".into(), budget: "shop/db".into(), never: true }];
        let waits = Verdict::Pending(step, vec![WaitingOn::Retry(failed)]);
        (Case { verdict: waits, ..base }, Verdict::Blocked(Block::Failed(Class::EvictionBlocked, failure.message)))
    };
    let (pending, blocked) = stuck();
    let held = |held| Target { replace: false, held: Some(held), ..Target::default() };
    let newer = |mut case: Case| {
        case.seen.detail.newest_release = Some("1.33.7-20261106".into());
        case
    };
    let refused = |mut case: Case| {
        case.seen.detail.pending_release = Some(("1.33.8-20261201".into(), "it is not valid".into()));
        case
    };
    let asked_in_vain = || {
        let changes = vec![Change::in_place("releaseVersion", "1.33.7-20260923", "1.33.8-20261201")];
        let failed = RetryState::after(None, Failure::new(Class::NoChange, "it is not valid"), at(999), 0);
        let step = Step { action: Action::Update, changes, reason: None };
        Verdict::Pending(step, vec![WaitingOn::Retry(failed)])
    };
    let own_image = |mut case: Case| {
        case.seen = case.seen.output("amiType", "CUSTOM").output("version", "1.33");
        case
    };
    let follows = Target { version: Some("1.34".into()), replace: true, ..Target::default() };
    let cases = [
        ("a release that EKS has just refused", Case { verdict: asked_in_vain(), ..Case::new() }),
        ("a release that EKS does not take yet", refused(Case::new())),
        ("an AMI of one's own that does not follow", own_image(Case { target: follows, ..Case::new() })),
        ("as asked", Case::new()),
        ("nodes not known", Case { nodes: NodesObservation::default(), ..Case::new() }),
        ("settings change", updating("ConfigUpdate")),
        ("nodes are replaced", Case { nodes: mixed(), ..updating("VersionUpdate") }),
        ("nodes are replaced, and not known", Case { nodes: NodesObservation::default(), ..updating("VersionUpdate") }),
        ("pods stay", pending),
        ("pods stay: blocked", Case { verdict: blocked, ..stuck().0 }),
        (
            "version ahead of the control plane",
            Case { target: held(Held::ControlPlane("version 1.35 waits for the control plane".into())), ..Case::new() },
        ),
        (
            "outside a window",
            Case { target: held(Held::Window("version 1.34 waits for a window".into())), ..Case::new() },
        ),
        ("newer release outside a window", newer(Case { target: Target::default(), ..Case::new() })),
        ("kubectl scale", Case { scaling: json!({"min": 2, "max": 5, "desired": 5}), ..Case::new() }),
    ];
    let told = cases.map(|(name, case)| format!("{name}\n{}", case.told())).join("\n");
    insta::assert_snapshot!(told);
}

#[test]
fn nodes_that_do_not_join_or_are_not_replaced_are_waited_for_from_the_last_one_that_was() {
    let of = |nodes| Kubelets { nodes, example: "a".into() };
    let seen = |total, ready, old, new| {
        let kubelets = [("v1.33.7-eks-1".to_owned(), of(old)), ("v1.34.4-eks-1".to_owned(), of(new))];
        let kubelets = kubelets.into_iter().filter(|(_, kubelets)| kubelets.nodes > 0).collect();
        NodesObservation { count: Some(Count { total, ready, cordoned: 0, kubelets }), ..NodesObservation::default() }
    };
    assert_eq!(Case::new().waits(), [""; 0]);
    let missing = Case { nodes: seen(2, 1, 2, 0), ..Case::new() };
    assert_eq!(missing.waits(), ["1 of 3 nodes are Ready (Joining)"]);
    let replaced = Case { nodes: seen(4, 4, 1, 3), ..updating("VersionUpdate") };
    let on = "node group web: updating, update u-1: 1 on v1.33.7-eks-1, 3 on v1.34.4-eks-1 (Replacing)";
    assert_eq!(replaced.waits(), [on]);
    // Nobody knows how far it is: all of it has its time.
    let unknown = Case { nodes: NodesObservation::default(), ..updating("VersionUpdate") };
    assert_eq!(unknown.waits(), ["node group web: updating, update u-1 (Aws(900s))"]);
    let target = Target { held: Some(Held::ControlPlane("1.35".into())), ..Target::default() };
    let ahead = Case { target, ..Case::new() };
    assert_eq!(ahead.waits(), ["waiting for a version of the control plane (ControlPlaneVersion)"]);
}
