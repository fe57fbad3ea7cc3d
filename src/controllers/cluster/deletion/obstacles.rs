//! What must be solved before the first write of a deletion: a control plane that is not the object's but uses its
//! resources, and what others run in its VPC. I/O: reads from AWS.
//!
//! A deletion that cannot end must not begin: it would take the network and the roles from what stays.

use jiff::SignedDuration;

use super::vpc_users::INTERVAL;
use crate::api::Reason;
use crate::api::status::EksClusterStatus;
use crate::controllers::cluster::{Outcome, Reconcile};
use crate::controllers::reconcile_error::ObserveError;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::report::Next;
use crate::engine::execution_policy::{AllowedSteps, Approved};
use crate::engine::{self, ExecutionPolicy, Goal, Graph, Presence, Verdict};
use crate::resources::cloud::Cloud;
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
        let id = self.own_vpc(graph)?;
        let found = match occupants::find_occupants(cloud, &id, &self.object.cluster_name()).await {
            Ok(found) if found.is_empty() => return None,
            Ok(found) => found,
            Err(failure) => return Some(self.failed(previous, ObserveError::Aws(failure))),
        };
        let message = format!(
            "the deletion does not start, because others use the VPC {id} that it would delete: {}: delete what Keelson \
             does not own by hand, or set deletionPolicy: Retain",
            found.join("; ")
        );
        let blocked = Overall::Stalled(ConditionValue::false_(Reason::DeletionBlocked, message));
        report.plan = plan;
        Some(self.deleting(previous, cloud, report, Default::default(), Some(blocked), Next::after(INTERVAL, self.now)))
    }
}
