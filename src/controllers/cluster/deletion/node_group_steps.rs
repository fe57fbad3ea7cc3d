//! The node groups of a cluster that is deleted, in its plan. Pure.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::NodeGroup;
use crate::api::listing::counted;
use crate::api::policy::DeletionPolicy;
use crate::api::status_cluster::NodeGroupStatus;
use crate::controllers::runtime::apply;
use crate::controllers::status::plan_status::LaterSteps;
use crate::engine::{Action, Step};
use crate::resources::eks::node_group;

/// The node groups that are deleted or retained with their cluster, as steps of its plan.
pub(super) fn node_group_steps(groups: &[Arc<NodeGroup>], of_cluster: DeletionPolicy) -> LaterSteps {
    let step = |group: &Arc<NodeGroup>| -> Vec<_> {
        let status = group.status.as_ref();
        // One that was never observed may exist in AWS too: it has our finalizer, or was recovered.
        let may_exist = |status: &NodeGroupStatus| status.arn.is_some() || status.recovery.is_some();
        if !apply::has_finalizer(&**group) && !status.is_some_and(may_exist) {
            return Vec::new();
        }
        let retained = [group.spec.deletion_policy, of_cluster].contains(&DeletionPolicy::Retain);
        let action = if retained { Action::Release } else { Action::Delete };
        let version = status.and_then(|status| status.version.clone()).unwrap_or_default();
        let nodes = status.and_then(|status| status.replicas).unwrap_or_default();
        let types = group.spec.instance_types.join(", ");
        let nodes = counted(nodes, "node");
        let reason = format!("with its cluster: NodeGroup {}, {nodes}, {version}, {types}", group.name_any());
        let step = Step { action, changes: Vec::new(), reason: Some(reason) };
        group.node_group_names().into_iter().map(|name| (node_group::key(&name), step.clone())).collect()
    };
    LaterSteps { steps: groups.iter().flat_map(step).collect(), blocked: false }
}
