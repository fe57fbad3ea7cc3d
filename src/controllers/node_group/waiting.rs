//! What a NodeGroup waits for: its plan, nodes that join or are replaced, a version of its control plane. Pure.

use super::nodes::replaced;
use super::status::{Input, replaces_nodes};
use crate::api::Reason;
use crate::controllers::conditions::Overall;
use crate::controllers::waiting_on;
use crate::controllers::waits::{Kind, Wait};
use crate::engine::Goal;
use crate::resources::node_group::Held;

/// What is waited for, where the node group stands as `overall`.
pub fn waits(input: &Input<'_>, overall: &Overall) -> Vec<Wait> {
    let Input { key, plan, memory, nodes, target, now, .. } = input;
    let mut waits = waiting_on::of_plan(plan, memory, *now);
    if replaces_nodes(memory, key)
        && let Some(count) = &nodes.count
    {
        for wait in waits.iter_mut().filter(|wait| matches!(wait.kind, Kind::Aws(_))) {
            // A group of many nodes takes hours: it is stuck when no other node comes for long.
            wait.on =
                format!("{}, {}", wait.on, replaced(count, super::status::version_to_get(memory, key).as_deref()));
            (wait.kind, wait.since) = (Kind::Replacing, None);
        }
    }
    if plan.goal != Goal::Present || !waits.is_empty() {
        return waits;
    }
    match overall {
        Overall::Ready(_) => waits.extend(joining(input)),
        Overall::Reconciling(says) if says.reason == Reason::WaitingForCluster => {
            if let Some(Held::ControlPlane(why)) = &target.held {
                waits.push(Wait {
                    on: "waiting for a version of the control plane".to_owned(),
                    kind: Kind::ControlPlaneVersion,
                    since: None,
                    reason: says.reason,
                    says: why.clone(),
                    advice: "set spec.version of its EksCluster to that version, or lower its own".to_owned(),
                });
            }
        }
        _ => {}
    }
    waits
}

/// Nodes that are to be Ready and are not.
fn joining(input: &Input<'_>) -> Option<Wait> {
    let count = input.nodes.count.as_ref()?;
    let seen = input.memory.observed(input.key)?;
    let desired: i32 = seen.outputs.get("desired")?.parse().ok()?;
    (count.ready < desired).then(|| Wait {
        on: format!("{} of {desired} nodes are Ready", count.ready),
        kind: Kind::Joining,
        since: None,
        reason: Reason::WaitingForNodes,
        says: format!("{} nodes are registered", count.total),
        advice: "see kubectl get nodes, the activity of its Auto Scaling group, and whether its instances reach the control plane: \
                 subnets, routes, security groups, role, launch template"
            .to_owned(),
    })
}
