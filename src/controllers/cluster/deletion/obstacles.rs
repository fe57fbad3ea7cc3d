//! What must be solved before the first write of a deletion: a control plane that is not the object's but uses its
//! resources, node groups and Fargate profiles that would stay, and what others run in its VPC. I/O: reads from AWS.
//!
//! A deletion that cannot end must not begin: it would take the network and the roles from what stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use kube::ResourceExt;

use crate::api::status_cluster::EksClusterStatus;
use crate::api::{NodeGroup, Reason};
use crate::controllers::cluster::status::view::why_node_group_stays;
use crate::controllers::cluster::{Outcome, Reconcile};
use crate::controllers::reconcile_error::ObserveError;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::finish_reconcile::Next;
use crate::engine::execution_policy::{AllowedSteps, Approved};
use crate::engine::{self, ExecutionPolicy, Failure, Goal, Graph, Presence, Verdict};
use crate::resources::cloud::Cloud;
use crate::resources::deletion::cluster_users::{self, NodeGroupToDelete};
use crate::resources::deletion::occupants;
use crate::resources::eks::cluster;

impl Reconcile<'_> {
    /// The outcome of a deletion that must not start yet; `None`: it may.
    pub(super) async fn blocked_before_start(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
        graph: &Graph<Cloud>,
    ) -> Option<Outcome> {
        let entry = self.state.memory.get(&cluster::key());
        let deleted =
            self.object.metadata.deletion_timestamp.as_ref().map(|time| time.0 + SignedDuration::from_secs(1));
        let is_stale = entry.is_some_and(|entry| {
            matches!(entry.presence, Some(Presence::Foreign(_) | Presence::Unowned(_))) && entry.observed_at <= deleted
        });
        if is_stale {
            // Whether it uses what would be deleted is read only for a deletion.
            self.state.memory.mark_changed_externally([&cluster::key()], self.now);
        }
        let nothing = ExecutionPolicy { allowed: AllowedSteps::Only(Approved::new()), ..ExecutionPolicy::default() };
        let mut report = self.engine(graph, cloud, Goal::Deleted, &nothing).await;
        let expectations = self.ctx.expectations(&cloud.aws.account_id, &cloud.aws.region);
        let (memory, policy) = (&self.state.memory, ExecutionPolicy::default());
        let plan = engine::plan(graph, memory, Goal::Deleted, &policy, &expectations, self.now);
        let is_unknown = matches!(plan.verdict(&cluster::key()), Some(Verdict::NotObserved(_)));
        if is_unknown || plan.items.iter().any(|item| matches!(item.verdict, Verdict::Blocked(_))) {
            report.plan = plan;
            let next = report.next.map_or(Next::change(), Next::at);
            return Some(self.deleting(previous, cloud, report, Default::default(), None, next));
        }
        let why = match self.what_stays(cloud, graph).await {
            Ok(why) => why?,
            Err(failure) => return Some(self.failed(previous, ObserveError::Aws(failure))),
        };
        let message = format!("the deletion does not start, because {why}");
        let next = self.requeue_while_blocked(&message);
        let blocked = Overall::Stalled(ConditionValue::false_(Reason::DeletionBlocked, message));
        report.plan = plan;
        Some(self.deleting(previous, cloud, report, Default::default(), Some(blocked), next))
    }

    /// When to read AWS again while `why` blocks the deletion.
    pub(super) fn requeue_while_blocked(&mut self, why: &str) -> Next {
        let max = self.ctx.settings.intervals.drift;
        Next::after(self.state.kind.blocked.requeue_after(why, self.now, max), self.now)
    }

    /// What stays in the cluster or its VPC, so that AWS would refuse to delete either; `None`: nothing does.
    async fn what_stays(&self, cloud: &Cloud, graph: &Graph<Cloud>) -> Result<Option<String>, Failure> {
        let name = self.object.cluster_name();
        let presence = self.state.memory.get(&cluster::key()).and_then(|entry| entry.presence.as_ref());
        if matches!(presence, Some(Presence::Ours(_))) {
            let users = cluster_users::find_users(cloud, &name, &self.node_groups_to_delete(), graph).await?;
            if !users.is_empty() {
                return Ok(Some(format!(
                    "EKS deletes no cluster that has node groups or Fargate profiles, and these would stay: {}: delete \
                     what Keelson does not own by hand, set deletionPolicy: Delete and suspend: false on the NodeGroups and \
                     remove their holds, or set deletionPolicy: Retain on the EksCluster",
                    users.join("; ")
                )));
            }
        }
        let Some(vpc) = self.own_vpc(graph) else { return Ok(None) };
        let users = occupants::find_occupants(cloud, &vpc, &name).await?;
        Ok((!users.is_empty()).then(|| {
            format!(
                "others use the VPC {vpc} that it would delete: {}: delete what Keelson does not own by hand, or set \
                 deletionPolicy: Retain",
                users.join("; ")
            )
        }))
    }

    /// The NodeGroups of the cluster by the names of their node groups.
    fn node_groups_to_delete(&self) -> BTreeMap<String, NodeGroupToDelete> {
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        let of = |group: &Arc<NodeGroup>| {
            let uid = group.uid().unwrap_or_default();
            let object = NodeGroupToDelete { object: group.name_any(), uid, stays: why_node_group_stays(group) };
            group.node_group_names().into_iter().map(move |name| (name, object.clone()))
        };
        groups.iter().flat_map(of).collect()
    }
}
