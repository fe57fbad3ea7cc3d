//! Conditions of EksClusters and NodeGroups, as checks of waves ask for them. Pure.
//!
//! `lastTransitionTime` changes with the status only, so it says how long an object has had its condition, also across restarts of the
//! operator, and when the condition changed and changed back between two runs.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::ObjectMeta;

use crate::api::conditions;
use crate::api::fleet_rollout_check::{CheckedKind, ConditionCheck};
use crate::api::{EksCluster, NodeGroup};
use crate::rollout::Outcome;

/// Whether a cluster, or each of its NodeGroups, has the condition. `unreadable`: NodeGroups that may be its own.
pub fn outcome(
    check: &ConditionCheck,
    cluster: &EksCluster,
    groups: &[Arc<NodeGroup>],
    unreadable: &[String],
) -> Outcome {
    match check.kind {
        CheckedKind::EksCluster => {
            let status = cluster.status.as_ref();
            let all = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
            let observed = status.and_then(|status| status.observed_generation);
            since(check, &cluster.metadata, observed, all).map_or_else(std::convert::identity, Outcome::Holds)
        }
        CheckedKind::NodeGroup => of_groups(check, groups, unreadable),
    }
}

fn of_groups(check: &ConditionCheck, groups: &[Arc<NodeGroup>], unreadable: &[String]) -> Outcome {
    if let Some(group) = unreadable.first() {
        return Outcome::Error(group.clone());
    }
    // Nothing of a suspended one is observed: it has left, as a suspended cluster leaves its wave.
    let counted: Vec<&Arc<NodeGroup>> = groups.iter().filter(|group| !group.spec.suspend).collect();
    let mut holds_since: Option<Timestamp> = None;
    let mut error = None;
    for group in &counted {
        let status = group.status.as_ref();
        let all = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
        let observed = status.and_then(|status| status.observed_generation);
        let of_group = |why: String| format!("node group {}: {why}", group.node_group_name());
        match since(check, &group.metadata, observed, all) {
            Ok(since) => holds_since = holds_since.max(Some(since)),
            // What is known to be bad counts before what is not known.
            Err(Outcome::Failed(why)) => return Outcome::Failed(of_group(why)),
            Err(Outcome::Error(why)) => error = error.or_else(|| Some(Outcome::Error(of_group(why)))),
            Err(other) => error = error.or(Some(other)),
        }
    }
    match (error, holds_since) {
        (Some(error), _) => error,
        (None, Some(since)) => Outcome::Holds(since),
        (None, None) => Outcome::Error("it has no NodeGroup that is not suspended".to_owned()),
    }
}

/// Since when an object has the condition.
///
/// # Errors
/// It does not have it, or that is not known.
fn since(
    check: &ConditionCheck,
    metadata: &ObjectMeta,
    observed: Option<i64>,
    all: &[Condition],
) -> Result<Timestamp, Outcome> {
    let type_ = check.type_;
    if observed.is_none() || observed != metadata.generation {
        return Err(Outcome::Error(format!("{type_} is not known: the status does not describe the present spec yet")));
    }
    let Some(found) = conditions::get(all, type_) else {
        return Err(Outcome::Error(format!("it has no condition {type_}")));
    };
    let Condition { status, reason, message, last_transition_time, .. } = found;
    let describe = || {
        let message = if message.is_empty() { String::new() } else { format!(": {message}") };
        format!("{type_} is {status}: {reason}{message}")
    };
    match status.as_str() {
        status if status == check.status.as_str() => Ok(last_transition_time.0),
        "True" | "False" => Err(Outcome::Failed(describe())),
        _ => Err(Outcome::Error(describe())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn condition(type_: &str, status: &str, since: &str) -> Value {
        json!({"type": type_, "status": status, "reason": "Drifted", "message": "m", "lastTransitionTime": since})
    }

    fn cluster(observed: i64, conditions: &[Value]) -> EksCluster {
        serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "namespace": "team", "generation": 3},
            "spec": {"region": "eu-west-1", "version": "1.34"},
            "status": {"observedGeneration": observed, "conditions": conditions},
        }))
        .unwrap()
    }

    fn group(name: &str, suspend: bool, conditions: &[Value]) -> Arc<NodeGroup> {
        let object = json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup",
            "metadata": {"name": name, "namespace": "team", "generation": 1},
            "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}, "suspend": suspend},
            "status": {"observedGeneration": 1, "conditions": conditions},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn check(check: Value) -> ConditionCheck {
        serde_json::from_value(check).unwrap()
    }

    fn at(time: &str) -> Outcome {
        Outcome::Holds(time.parse().unwrap())
    }

    const EARLY: &str = "2026-11-20T00:00:00Z";
    const LATE: &str = "2026-11-28T00:00:00Z";

    #[test]
    fn condition_holds_since_its_last_transition_and_what_is_not_known_is_an_error() {
        let error = |why: &str| Outcome::Error(why.to_owned());
        let stale = "InSync is not known: the status does not describe the present spec yet";
        let table = [
            ("True", 3, vec![condition("InSync", "True", LATE)], at(LATE)),
            (
                "True",
                3,
                vec![condition("InSync", "False", LATE)],
                Outcome::Failed("InSync is False: Drifted: m".into()),
            ),
            ("False", 3, vec![condition("InSync", "False", EARLY)], at(EARLY)),
            ("False", 3, vec![condition("InSync", "True", LATE)], Outcome::Failed("InSync is True: Drifted: m".into())),
            ("True", 3, vec![condition("InSync", "Unknown", LATE)], error("InSync is Unknown: Drifted: m")),
            ("True", 3, vec![condition("Ready", "True", LATE)], error("it has no condition InSync")),
            ("False", 3, vec![], error("it has no condition InSync")),
            // The spec was edited, and nobody has looked at it since.
            ("True", 2, vec![condition("InSync", "True", LATE)], error(stale)),
        ];
        for (status, observed, conditions, expected) in table {
            let check = check(json!({"type": "InSync", "status": status}));
            let cluster = cluster(observed, &conditions);
            assert_eq!(outcome(&check, &cluster, &[], &[]), expected, "{status} {observed} {conditions:?}");
        }
    }

    #[test]
    fn cluster_without_a_status_is_not_known() {
        let mut cluster = cluster(3, &[]);
        cluster.status = None;
        let check = check(json!({"type": "InSync", "status": "False"}));
        assert!(matches!(outcome(&check, &cluster, &[], &[]), Outcome::Error(_)));
    }

    #[test]
    fn every_node_group_must_have_the_condition_and_a_suspended_one_does_not_count() {
        let ready = |status: &str, since: &str| [condition("NodesReady", status, since)];
        let of = |groups: &[Arc<NodeGroup>], unreadable: &[String]| {
            let check = check(json!({"kind": "NodeGroup", "type": "NodesReady"}));
            outcome(&check, &cluster(3, &[]), groups, unreadable)
        };
        let (a, b) = (group("a", false, &ready("True", EARLY)), group("b", false, &ready("True", LATE)));
        assert_eq!(of(&[a.clone(), b.clone()], &[]), at(LATE), "the one that has it for the shortest time");
        assert_eq!(of(&[a.clone(), group("c", true, &ready("False", LATE))], &[]), at(EARLY));
        let bad = group("bad", false, &ready("False", LATE));
        let without = group("new", false, &[]);
        let failed = Outcome::Failed("node group bad: NodesReady is False: Drifted: m".into());
        assert_eq!(of(&[without.clone(), bad, b], &[]), failed);
        let missing = Outcome::Error("node group new: it has no condition NodesReady".into());
        assert_eq!(of(&[a.clone(), without], &[]), missing);
        let none = Outcome::Error("it has no NodeGroup that is not suspended".into());
        assert_eq!(of(&[], &[]), none);
        assert_eq!(of(&[group("c", true, &ready("True", LATE))], &[]), none);
        assert_eq!(
            of(&[a], &["NodeGroup x (unreadable: bad)".into()]),
            Outcome::Error("NodeGroup x (unreadable: bad)".into())
        );
    }
}
