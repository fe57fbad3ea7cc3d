//! What an upgrade waits for. Windows and soaks end at a known time, NodeGroups upgrade their node groups, and EKS
//! operations are in the plan. Everything else has a deadline. Pure.

use std::sync::Arc;

use crate::api::conditions::{self, ConditionType};
use crate::api::{NodeGroup, Reason};
use crate::controllers::status::waits::{Kind, Wait};
use crate::upgrade::{Decision, Hold, State, Step};

/// What is waited for. `groups`: the cluster's NodeGroups.
pub fn of_decision(decision: &Decision, groups: &[Arc<NodeGroup>]) -> Vec<Wait> {
    match &decision.state {
        // Newer add-ons of the same Kubernetes version: nothing waits for them.
        State::Holding { .. } if !decision.is_upgrade() => Vec::new(),
        State::Holding { next, why } => of_hold(next, why, groups),
        State::Running(step @ Step::NodeGroups { names, .. }) => of_groups(step, names, groups),
        State::Running(_) | State::Settled | State::Blocked { .. } => Vec::new(),
    }
}

fn of_hold(next: &Step, why: &Hold, groups: &[Arc<NodeGroup>]) -> Vec<Wait> {
    let wait = |kind, on: String, details: String, advice: &str| {
        vec![Wait { on, kind, since: None, reason: Reason::UpgradeBlocked, details, advice: advice.to_owned() }]
    };
    match why {
        // A hook has a timeout of its own.
        Hold::OutsideWindow { opens: Some(_) } | Hold::ByUser | Hold::Wave { .. } | Hold::Hook { .. } => {
            vec![Wait::planned(why.to_string())]
        }
        Hold::Soaking { .. } => vec![Wait { kind: Kind::Soak, ..Wait::planned(why.to_string()) }],
        Hold::OutsideWindow { opens: None } => wait(
            Kind::Person,
            format!("{next}: waiting for a maintenance window"),
            why.to_string(),
            "change spec.upgrade.windows",
        ),
        Hold::Preflight { .. } | Hold::ReadingNodes => {
            wait(Kind::Management, format!("{next}: waiting for its checks"), why.to_string(), "see the operator's log")
        }
        Hold::UnreadableNodes { .. } => wait(
            Kind::Unreachable,
            format!("{next}: waiting for the cluster's API server"),
            why.to_string(),
            "follow the message",
        ),
        Hold::Unhealthy { why, .. } => wait(
            Kind::Upgrade,
            format!("{next}: waiting for the cluster to be healthy"),
            why.clone(),
            "fix what is named: the soak then continues",
        ),
        // An unchanged message means that EKS still works on the same thing.
        Hold::Busy { what } => wait(
            Kind::Upgrade,
            format!("{next}: waiting for EKS to finish {}", what.join(", ")),
            String::new(),
            "see what is named, in status.addons and in the NodeGroups",
        ),
        Hold::NodeGroupsMoving { names } => of_groups(next, names, groups),
        Hold::OldNodes { names } => wait(
            Kind::Replacing,
            format!("{next}: waiting for old nodes of {} to be removed", names.join(", ")),
            String::new(),
            "see which nodes are older than their node group (kubectl get nodes), and drain and delete them",
        ),
    }
}

/// Node groups that must reach a version: each NodeGroup reports where it is stuck.
fn of_groups(step: &Step, names: &[String], groups: &[Arc<NodeGroup>]) -> Vec<Wait> {
    names
        .iter()
        .map(|name| {
            let group = groups.iter().find(|group| group.node_group_name() == *name);
            let all = group
                .and_then(|group| group.status.as_ref())
                .map(|status| status.conditions.as_slice())
                .unwrap_or_default();
            let on = format!("{step}: waiting for node group {name}");
            let stalled = conditions::get(all, ConditionType::Stalled).filter(|stalled| stalled.status == "True");
            let wait = |kind, details: &str, advice: &str| Wait {
                on: on.clone(),
                kind,
                since: None,
                reason: Reason::UpgradeBlocked,
                details: details.to_owned(),
                advice: advice.to_owned(),
            };
            match stalled {
                Some(stalled) => wait(Kind::Person, &stalled.message, "fix what its NodeGroup reports"),
                None if !conditions::is_true(all, ConditionType::Ready) => Wait::planned(on),
                None => wait(Kind::Management, "its nodes do not move", "see its NodeGroup"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use serde_json::json;

    fn group(name: &str, condition: (&str, &str, &str)) -> Arc<NodeGroup> {
        let (kind, status, message) = condition;
        let condition = json!({
            "type": kind, "status": status, "reason": "x", "message": message, "lastTransitionTime": "2026-11-28T00:00:00Z",
        });
        let object = json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup", "metadata": {"name": name, "namespace": "team"},
            "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}},
            "status": {"conditions": [condition]},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn to_nodes(names: &[&str]) -> Step {
        Step::NodeGroups { to: "1.34".parse().unwrap(), names: names.iter().map(|&name| name.to_owned()).collect() }
    }

    #[test]
    fn windows_and_soaks_have_no_deadline_and_other_waits_do() {
        let version = "1.34".parse().unwrap();
        let opens: jiff::Zoned = "2026-12-05T02:00:00+01:00[Europe/Berlin]".parse().unwrap();
        let holds = [
            (Hold::OutsideWindow { opens: Some(opens) }, Kind::Planned),
            (Hold::Soaking { remaining: Duration::from_secs(60) }, Kind::Soak),
            (Hold::ByUser, Kind::Planned),
            (Hold::Wave { halted: true, message: "x".into() }, Kind::Planned),
            (Hold::Hook { failed: true, message: "x".into() }, Kind::Planned),
            (Hold::OutsideWindow { opens: None }, Kind::Person),
            (Hold::Preflight { to: version }, Kind::Management),
            (Hold::ReadingNodes, Kind::Management),
            (Hold::UnreadableNodes { why: "no route".into(), control_plane: version }, Kind::Unreachable),
            (Hold::Unhealthy { why: "x".into(), remaining: Duration::ZERO }, Kind::Upgrade),
            (Hold::Busy { what: vec!["add-on coredns".into()] }, Kind::Upgrade),
            (Hold::OldNodes { names: vec!["a".into()] }, Kind::Replacing),
        ];
        for (why, kind) in holds {
            let waits = of_hold(&to_nodes(&["a"]), &why, &[]);
            assert_eq!(waits.iter().map(|wait| wait.kind).collect::<Vec<_>>(), [kind], "{why:?}");
        }
    }

    #[test]
    fn a_stalled_node_group_blocks_at_once_and_a_progressing_one_has_time() {
        let groups = [
            group("stuck", ("Stalled", "True", "no instance joins")),
            group("moves", ("Ready", "False", "2 of 5")),
            group("rests", ("Ready", "True", "5 of 5")),
        ];
        let names = ["stuck", "moves", "rests"].map(str::to_owned);
        let waits = of_groups(&to_nodes(&["stuck", "moves", "rests"]), &names, &groups);
        let kinds: Vec<_> = waits.iter().map(|wait| wait.kind).collect();
        assert_eq!(kinds, [Kind::Person, Kind::Planned, Kind::Management]);
        assert_eq!(waits[0].details, "no instance joins");
    }
}
