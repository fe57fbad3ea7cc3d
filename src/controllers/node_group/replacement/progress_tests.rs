//! What the graph, status and the passes over the nodes make of a decision.

use serde_json::json;

use super::*;
use crate::controllers::node_group::replacement::node_group_names::Group;
use crate::engine::execution_policy::{AllowedSteps, Approved};
use crate::workload::eviction::Drained;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn group(name: &str, digest: &str) -> Group {
    Group { name: name.into(), digest: digest.into() }
}

fn replacing(step: Step, in_use_stays: bool) -> DecidedReplacement {
    let pair = Pair { in_use: group("web", "old"), other: Some(group("web-new", "new")) };
    DecidedReplacement { decision: Decision { pair, step, in_use_stays }, reading: None, leaving_size: 3 }
}

fn read(step: Step, found: Result<Drained, String>) -> DecidedReplacement {
    let order = Order { owner: "uid".into(), stays: "web-new".into(), leaves: "web".into(), writes: true, evict: None };
    DecidedReplacement { reading: Some(PassResult { at: at(100), order, result: found }), ..replacing(step, false) }
}

fn blocked_pod() -> BlockedPod {
    let by = BlockedBy::Budget { name: "shop/cart".into(), never: false };
    BlockedPod { pod: "shop/cart-0".into(), node: "node-1".into(), by }
}

fn spec(update: serde_json::Value) -> NodeGroupSpec {
    let spec = json!({"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}, "update": update});
    serde_json::from_value(spec).unwrap()
}

#[test]
fn only_a_drained_node_group_is_not_in_use() {
    let in_use = |step| match replacing(step, false).beside("new", false) {
        (main, SecondNodeGroup::Replaced { name, nodes: 3, not_yet: None, is_outdated: false, in_use }) => {
            assert_eq!((main.as_str(), name.as_str()), ("web-new", "web"));
            in_use.is_some()
        }
        other => panic!("{other:?}"),
    };
    for step in [
        Step::Observe,
        Step::Create(None),
        Step::AwaitGroup,
        Step::ReadNodes,
        Step::AwaitNodes { ready: 0, needed: 2 },
        Step::Drain(None),
        Step::Drain(Some("waits".into())),
        Step::Unaccounted { size: 2 },
        Step::NameTaken,
        Step::AwaitDeletion,
    ] {
        assert!(in_use(step.clone()), "{step:?}");
    }
    assert!(!in_use(Step::Delete) && !in_use(Step::DeleteTemplate));
}

#[test]
fn outside_a_window_the_node_group_in_use_is_managed_and_an_approval_covers_both_steps() {
    let waits = || Step::Create(Some("waits".into()));
    let planned = replacing(waits(), false).beside("new", false);
    assert_eq!(planned, ("web".into(), SecondNodeGroup::Planned { name: "web-new".into(), why: "waits".into() }));
    let (main, beside) = replacing(waits(), false).beside("new", true);
    assert!(
        main == "web-new" && matches!(beside, SecondNodeGroup::Replaced { not_yet: Some(_), .. }),
        "{main} {beside:?}"
    );
    // The spec describes neither.
    let (main, beside) = replacing(Step::ReadNodes, true).beside("third", false);
    assert!(
        main == "web" && matches!(beside, SecondNodeGroup::Replaced { is_outdated: true, .. }),
        "{main} {beside:?}"
    );
}

#[test]
fn status_names_the_pods_that_block_and_the_node_group_that_leaves() {
    let found = Drained { leaving: 2, pods: 1, blocked: vec![blocked_pod()], ..Drained::default() };
    let status = read(Step::Drain(None), Ok(found)).status(None, (None, None), at(100)).unwrap();
    assert_eq!((status.step, status.leaves.as_str()), (ReplacementStep::Draining, "web"));
    assert_eq!(status.draining_since, Some(Time(at(100))));
    assert_eq!(status.blocked_pods[0].budget, "shop/cart");
    let text = "node group web is drained: 2 nodes, 1 Pod left; blocked by: pod shop/cart-0 on node-1: its \
                PodDisruptionBudget shop/cart allows no eviction now";
    assert_eq!(status.message, text);
    let later = replacing(Step::ReadNodes, false).status(Some(&status), (None, None), at(200)).unwrap();
    assert_eq!(
        (later.began.clone(), later.draining_since.clone()),
        (status.began.clone(), status.draining_since.clone())
    );
    let back = replacing(Step::ReadNodes, true).status(Some(&status), (None, None), at(200)).unwrap();
    assert_eq!((back.leaves.as_str(), back.draining_since), ("web-new", None), "of another drain");
    let error = read(Step::ReadNodes, Err("no route".into())).status(None, (None, None), at(100)).unwrap();
    assert!(error.message.contains("nothing is drained or deleted: no route"), "{}", error.message);
}

#[test]
fn nodes_are_written_to_only_when_the_deletion_may_run_and_pods_deleted_only_on_request() {
    let order =
        |step, update, policy: &ExecutionPolicy| replacing(step, false).order("uid".into(), &spec(update), policy);
    let all = ExecutionPolicy::default();
    let evict = |step, policy| order(step, json!({}), policy).map(|order| order.evict);
    assert_eq!(evict(Step::ReadNodes, &all), Some(None));
    assert_eq!(evict(Step::Drain(Some("waits".into())), &all), Some(None));
    assert_eq!(evict(Step::Unaccounted { size: 2 }, &all), Some(None));
    assert_eq!((evict(Step::Create(None), &all), evict(Step::NameTaken, &all)), (None, None));
    let gently = Eviction { at_once: MaxUnavailable::Nodes(1), force: false };
    assert_eq!(evict(Step::Drain(None), &all), Some(Some(gently)));
    let unapproved = ExecutionPolicy { allowed: AllowedSteps::Only(Approved::new()), ..ExecutionPolicy::default() };
    assert_eq!(evict(Step::Drain(None), &unapproved), Some(None));
    let writes = |step, policy| order(step, json!({}), policy).unwrap().writes;
    assert!(writes(Step::AwaitNodes { ready: 0, needed: 1 }, &all));
    assert!(!writes(Step::AwaitNodes { ready: 0, needed: 1 }, &unapproved) && !writes(Step::Drain(None), &unapproved));
    let observing = ExecutionPolicy { allowed: AllowedSteps::None, ..ExecutionPolicy::default() };
    assert!(!writes(Step::ReadNodes, &observing));
    let update = json!({"force": true, "maxUnavailable": 2});
    let forced = order(Step::Drain(None), update, &all).unwrap().evict;
    assert_eq!(forced, Some(Eviction { at_once: MaxUnavailable::Nodes(2), force: true }));
}

#[test]
fn nodes_that_the_cluster_does_not_show_and_a_name_that_is_taken_are_named() {
    let unaccounted = replacing(Step::Unaccounted { size: 3 }, false);
    let text = unaccounted.message();
    assert!(
        text.contains("node group web has 3 nodes") && text.contains("nodegroup=web: nothing is deleted"),
        "{text}"
    );
    assert_eq!(unaccounted.status(None, (None, None), at(100)).unwrap().step, ReplacementStep::AwaitingNodes);
    let taken = replacing(Step::NameTaken, false);
    assert!(taken.message().contains("node group web-new exists in EKS and belongs to another owner"));
    assert_eq!(taken.status(None, (None, None), at(100)).unwrap().step, ReplacementStep::Waiting);
}

#[test]
fn plan_without_a_reading_shows_the_drain_first() {
    let spec = |more: serde_json::Value| -> NodeGroupSpec {
        let mut spec = json!({"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    };
    let recorded = Pair { in_use: group("web", "old"), other: None };
    let policy = json!({"replacementPolicy": "MakeBeforeBreak"});
    let (main, beside) = preview(&spec(policy.clone()), "web", &recorded, true);
    assert!(main.starts_with("web-"), "{main}");
    assert!(matches!(beside, SecondNodeGroup::Replaced { in_use: Some(_), .. }), "{beside:?}");
    assert_eq!(preview(&spec(json!({})), "web", &recorded, true), ("web".into(), SecondNodeGroup::Nothing), "refused");
    assert_eq!(
        preview(&spec(policy), "web", &recorded, false),
        ("web".into(), SecondNodeGroup::Nothing),
        "nothing exists"
    );
}
