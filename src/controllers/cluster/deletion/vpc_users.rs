//! Others that use the VPC of a cluster while it is deleted. I/O: reads of EC2; the deletion, through the engine.
//!
//! They are looked for before the deletion starts ([`super::obstacles`]), and again right before gateways, endpoints and
//! subnets are deleted: what appeared since then needs those too, and EC2 does not refuse. Until those are next, no call
//! is made for it.

use crate::api::Reason;
use crate::controllers::cluster::Reconcile;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::engine::{ExecutionPolicy, Failure, Gate, Goal, Graph, Key, Plan, Report, Verdict, WaitingOn};
use crate::resources::cloud::Cloud;
use crate::resources::deletion::occupants;
use crate::resources::graph::kinds;
use crate::resources::network::vpc;

/// The gate in the graph of a deletion.
const GATE: &str = "vpcUsers";

impl Reconcile<'_> {
    /// Deletes or releases what is in the graph. Returns why the deletion is held, if others use its VPC.
    ///
    /// # Errors
    /// Those of the reads of the VPC.
    pub(super) async fn run_deletion(
        &mut self,
        cloud: &Cloud,
        graph: &mut Graph<Cloud>,
        goal: Goal,
    ) -> Result<(Report, Option<Overall>), Failure> {
        let policy = ExecutionPolicy { on_hold: self.holds.any(), ..ExecutionPolicy::default() };
        let Some(vpc) = self.own_vpc(graph).filter(|_| goal == Goal::Deleted) else {
            return Ok((self.engine(graph, cloud, goal, &policy).await, None));
        };
        graph.set_gate(gate(graph, false, String::new()));
        let report = self.engine(graph, cloud, goal, &policy).await;
        if !waits_for_gate_alone(&report.plan) {
            return Ok((report, None));
        }
        let users = occupants::find_occupants(cloud, &vpc, &self.object.cluster_name()).await?;
        let why = (!users.is_empty()).then(|| format!("others use the VPC {vpc}: {}", users.join("; ")));
        graph.set_gate(gate(graph, why.is_none(), why.clone().unwrap_or_default()));
        let report = self.engine(graph, cloud, goal, &policy).await;
        let held = why.map(|why| {
            let message = format!(
                "the deletion waits, because {why}: they need its subnets, gateways and endpoints. It continues when they \
                 are gone; delete what Keelson does not own by hand, or set deletionPolicy: Retain"
            );
            Overall::Stalled(ConditionValue::false_(Reason::DeletionBlocked, message))
        });
        Ok((report, held))
    }

    /// The VPC that is deleted, if it is on record.
    pub(super) fn own_vpc(&self, graph: &Graph<Cloud>) -> Option<String> {
        graph.node(&vpc::key())?;
        self.state.memory.get(&vpc::key())?.recorded.as_ref()?.id.clone()
    }
}

/// Holds everything that others in the VPC may need.
fn gate(graph: &Graph<Cloud>, open: bool, why: String) -> Gate {
    let serves_vpc = |key: &Key| kinds::find(key.kind()).is_some_and(|kind| kind.serves_vpc);
    let holds = graph.nodes().iter().map(|node| node.key()).filter(serves_vpc).collect();
    Gate { key: Key::single(GATE), open, why, holds }
}

/// Whether a step waits for nothing else.
fn waits_for_gate_alone(plan: &Plan) -> bool {
    let is_gate = |wait: &WaitingOn| matches!(wait, WaitingOn::Gate(key, _) if key.kind() == GATE);
    plan.items.iter().any(|item| matches!(&item.verdict, Verdict::Pending(_, waits) if waits.iter().all(is_gate)))
}
