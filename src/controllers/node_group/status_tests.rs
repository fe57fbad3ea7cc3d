//! The conditions of a node group that runs, as a person reads them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::engine::failure::Failed;
use crate::engine::memory::Applied;
use crate::engine::{
    Action, Block, Change, FailedOperation, Failure, Item, Observed, Operation, Presence, Step, Verdict, WaitingOn,
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
    seen: Observed<resource::Seen>,
    scaling: serde_json::Value,
    target: Target,
    nodes: Seen,
}

impl Case {
    fn new() -> Self {
        let detail = resource::Seen { version: "1.33".into(), release: "1.33.7-20260923".into(), ..Default::default() };
        let kubelets = [("v1.33.7-eks-1".to_owned(), Kubelets { nodes: 3, example: "a".into() })];
        let count = Count { total: 3, ready: 3, cordoned: 0, kubelets: kubelets.into() };
        Self {
            verdict: Verdict::Settled,
            seen: Observed::ready("web", "ACTIVE", detail).output("desired", "3"),
            scaling: json!({"min": 2, "max": 5}),
            target: Target { replace: true, ..Target::default() },
            nodes: Seen { count: Some(count), guarded: Vec::new() },
        }
    }

    fn told(self) -> String {
        let Self { verdict, seen, scaling, target, nodes } = self;
        let spec = serde_json::from_value(json!({"clusterRef": {"name": "demo"}, "scaling": scaling})).unwrap();
        let mut memory = Memory::new(at(0), Duration::ZERO, []);
        memory.saw(&key(), Presence::Ours(seen.map(|detail| Arc::new(detail) as _)), at(1));
        let changes = vec![Change::in_place("version", "1.33", "1.34")];
        memory.entry(&key()).applied = Some(Applied { changes, at: at(900), times: 1 });
        let plan = Plan {
            goal: Goal::Present,
            items: vec![Item { key: key(), verdict, forbidden: Vec::new(), drift: Vec::new() }],
        };
        let (status, _) = status(&Input {
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
        });
        let line = |c: &Condition| format!("  {:<12} {:<6} {:<25} {}", c.type_, c.status, c.reason, c.message);
        let told: Vec<_> = status.conditions.iter().filter(|c| !c.message.is_empty()).map(line).collect();
        format!("{}\n  readyNodes {:?}", told.join("\n"), status.ready_nodes)
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
        Seen { count: Some(Count { total: 4, ready: 3, cordoned: 1, kubelets: kubelets.into() }), ..Seen::default() }
    };
    let stuck = || {
        let failure = Failure::new(Class::Obstructed, "EKS update u-1 failed: PodEvictionFailure");
        let failed = Failed::after(None, failure.clone(), at(990), 0);
        let step = Step { action: Action::Update, changes: Vec::new(), reason: None };
        let mut base = Case::new();
        base.seen.failed_operation =
            Some(FailedOperation { id: "u-1".into(), kind: "VersionUpdate".into(), failure: failure.clone() });
        base.nodes.guarded =
            vec![Guarded { pod: "shop/db-0".into(), node: "n1".into(), budget: "shop/db".into(), never: true }];
        let waits = Verdict::Pending(step, vec![WaitingOn::Retry(failed)]);
        (Case { verdict: waits, ..base }, Verdict::Blocked(Block::Failed(Class::Obstructed, failure.message)))
    };
    let (pending, blocked) = stuck();
    let held = |held| Target { replace: false, held: Some(held), ..Target::default() };
    let newer = |mut case: Case| {
        case.seen.detail.newest_release = Some("1.33.7-20261106".into());
        case
    };
    let cases = [
        ("as asked", Case::new()),
        ("nodes not known", Case { nodes: Seen::default(), ..Case::new() }),
        ("settings change", updating("ConfigUpdate")),
        ("nodes are replaced", Case { nodes: mixed(), ..updating("VersionUpdate") }),
        ("nodes are replaced, and not known", Case { nodes: Seen::default(), ..updating("VersionUpdate") }),
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
