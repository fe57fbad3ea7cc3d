//! What a NodeGroup waits for: its plan, nodes that join or are replaced, a version of its control plane. Pure.

use std::time::Duration;

use super::eks_update::replaces_nodes;
use super::node_group_status::Input;
use super::replacement::decide::Step;
use super::replacement::progress::{DecidedReplacement, describe_blocked};
use crate::api::Reason;
use crate::api::listing::counted;
use crate::controllers::status::conditions::Overall;
use crate::controllers::status::waiting_on;
use crate::controllers::status::waits::{Kind, Wait};
use crate::engine::Goal;
use crate::resources::eks::node_group::UpdateHold;
use crate::workload::budgets::BlockedPod;
use crate::workload::nodes::Count;

/// What is waited for, when the node group's state is `overall`.
pub fn waits(input: &Input<'_>, overall: &Overall) -> Vec<Wait> {
    let Input { key, plan, memory, nodes, target, now, .. } = input;
    let mut waits = waiting_on::waits_of_plan(plan, memory, *now);
    if let Some(wait) = input.replacing.and_then(wait_of_replacement) {
        return vec![wait];
    }
    if replaces_nodes(memory, key) {
        for wait in &mut waits {
            extend_replacement_wait(wait, nodes.count.as_ref(), desired(input).unwrap_or_default());
        }
    }
    if plan.goal != Goal::Present || !waits.is_empty() {
        return waits;
    }
    match overall {
        Overall::Ready(_) => waits.extend(joining_wait(input)),
        Overall::Reconciling(condition) if condition.reason == Reason::WaitingForCluster => {
            if let Some(UpdateHold::ControlPlane(why)) = &target.on_hold {
                waits.push(Wait {
                    on: "waiting for a version of the control plane".to_owned(),
                    kind: Kind::ControlPlaneVersion,
                    since: None,
                    reason: condition.reason,
                    details: why.clone(),
                    advice: "set spec.version of its EksCluster to that version, or lower its own".to_owned(),
                });
            }
        }
        _ => {}
    }
    waits
}

/// What a replacement waits for besides EKS: a window, budgets, an answer. A budget that never allows an eviction needs a person at
/// once.
fn wait_of_replacement(replacing: &DecidedReplacement) -> Option<Wait> {
    let leaves = &replacing.decision.leaves()?.name;
    let blocked = replacing.blocked();
    match &replacing.decision.step {
        Step::Drain(Some(_)) => Some(Wait::planned(replacing.message())),
        Step::Drain(None) if !blocked.is_empty() => Some(Wait {
            on: format!("draining node group {leaves}, blocked by: {}", describe_blocked(blocked)),
            kind: if blocked.iter().any(BlockedPod::is_never_evicted) { Kind::Person } else { Kind::Eviction },
            since: None,
            reason: Reason::UpgradeBlocked,
            details: String::new(),
            advice: "nothing is deleted until the Pods are gone: relax the PodDisruptionBudget, add replicas, or delete the Pods \
                     yourself; to give up the replacement, put the edited field back"
                .to_owned(),
        }),
        Step::Unaccounted { size } => Some(Wait {
            on: format!("draining node group {leaves}: the cluster shows none of its {}", counted(*size, "node")),
            kind: Kind::Eviction,
            since: None,
            reason: Reason::UpgradeBlocked,
            details: replacing.message(),
            advice: "label the nodes again, or scale the node group to 0".to_owned(),
        }),
        Step::ReadNodes => Some(Wait {
            on: format!("draining node group {leaves}: reading the nodes"),
            kind: Kind::Unreachable,
            since: None,
            reason: Reason::Upgrading,
            details: replacing.message(),
            advice: "let the operator reach the cluster's API: endpoint access, network, --workload-proxy".to_owned(),
        }),
        _ => None,
    }
}

/// How long replacing a node takes, including its Pods.
const PER_NODE: Duration = Duration::from_secs(300);

/// A group of many nodes takes hours: it is stuck when no further node is replaced for long or, where that cannot be
/// observed, when all together take long.
fn extend_replacement_wait(wait: &mut Wait, count: Option<&Count>, desired: i32) {
    let Kind::Aws(expected) = wait.kind else { return };
    match count.filter(|count| count.kubelets.len() > 1) {
        Some(count) => {
            wait.on = format!("{}: {}", wait.on, by_kubelet(count));
            (wait.kind, wait.since) = (Kind::Replacing, None);
        }
        None => {
            let all = PER_NODE.saturating_mul(u32::try_from(desired).unwrap_or_default());
            wait.kind = Kind::Aws(expected.max(all));
        }
    }
}

/// "2 nodes on v1.33.7-eks-1, 3 on v1.34.4-eks-1".
fn by_kubelet(count: &Count) -> String {
    let kubelets: Vec<_> = count.kubelets.iter().map(|(name, those)| format!("{} on {name}", those.nodes)).collect();
    kubelets.join(", ")
}

fn desired(input: &Input<'_>) -> Option<i32> {
    input.memory.observed(input.key)?.outputs.get("desired")?.parse().ok()
}

/// Nodes that should be Ready and are not.
fn joining_wait(input: &Input<'_>) -> Option<Wait> {
    let count = input.nodes.count.as_ref()?;
    let desired = desired(input)?;
    (count.ready < desired).then(|| Wait {
        on: format!(
            "{} of {} {} Ready",
            count.ready,
            counted(desired, "node"),
            if desired == 1 { "is" } else { "are" }
        ),
        kind: Kind::Joining,
        since: None,
        reason: Reason::WaitingForNodes,
        details: format!("registered: {}", counted(count.total, "node")),
        advice: "see kubectl get nodes, the activity of its Auto Scaling group, and whether its instances reach the \
                 control plane: subnets, routes, security groups, role, launch template"
            .to_owned(),
    })
}
