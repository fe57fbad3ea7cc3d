//! The engine on the graph of an EksCluster: with the inventory in status, and what is removed from the spec. I/O: AWS
//! through the engine; the management cluster's API.

use jiff::Timestamp;

use super::Reconcile;
use crate::api::status_cluster::ResourceStatus;
use crate::controllers::account::{self, Request};
use crate::controllers::runtime::apply;
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::status::journal;
use crate::engine::{ExecutionPolicy, Failure, Goal, Graph, Report};
use crate::resources::cloud::Cloud;
use crate::resources::deletion::{prune, removals};

impl Reconcile<'_> {
    /// Observes, plans and executes.
    pub(super) async fn engine(
        &mut self,
        graph: &Graph<Cloud>,
        cloud: &Cloud,
        goal: Goal,
        policy: &ExecutionPolicy,
    ) -> Report {
        let (ctx, cluster, adoption) = (self.ctx, self.object, cloud.adoption);
        let may_adopt = || account::check_still_adoptable(ctx, &Request::of(cluster), adoption);
        self.engine_while(&may_adopt, graph, cloud, goal, policy).await
    }

    /// The same, writing to resources that are not ours yet only while `may_adopt`.
    pub(super) async fn engine_while(
        &mut self,
        may_adopt: &(dyn Fn() -> Result<(), Failure> + Sync),
        graph: &Graph<Cloud>,
        cloud: &Cloud,
        goal: Goal,
        policy: &ExecutionPolicy,
    ) -> Report {
        let ctx = self.ctx;
        let shown = self.object.status.as_ref().map(|status| status.resources.clone()).unwrap_or_default();
        let kept = self.state.inventory.take().unwrap_or(shown);
        let journal = journal::StatusJournal::new(&ctx.client, self.object, &*ctx.gate, kept);
        // What the graph of a recovery lacks is not removed from the spec.
        if policy.recovers.is_none() {
            prune::schedule_pruning(&mut self.state.memory, graph);
        }
        let removes = goal == Goal::Present && policy.recovers.is_none();
        if removes {
            removals::invalidate_dropped(&mut self.state.memory, graph, Timestamp::now());
        }
        let report = self.reconcile_graph((&journal, may_adopt), graph, cloud, goal, policy).await;
        if removes {
            removals::forget_deleted(&mut self.state.memory, graph, ctx.settings.intervals.drift, Timestamp::now());
        }
        if let Err(failure) = crate::engine::Journal::record(&journal, &self.state.memory).await {
            tracing::warn!(%failure, "the inventory was not written; retrying");
        }
        self.keep_written(journal.into_written());
        let left = report.skipped.iter().filter(|left| self.state.kind.reported_leftovers.insert((*left).clone()));
        let note = |left: &String| format!("{left}: not deleted, as nothing proves that this cluster owns it");
        let mut left: Vec<_> = left.map(|left| EventMessage::normal("LeftAlone", note(left))).collect();
        for kept in prune::left_alone(&self.state.memory) {
            if self.state.kind.reported_leftovers.insert(kept.clone()) {
                left.push(EventMessage::normal("LeftAlone", kept));
            }
        }
        self.publish_report(&report, goal, left);
        report
    }

    /// Writes the inventory again if status has lost ids of it, also while nothing is observed. Returns whether it has.
    pub(super) async fn restore_inventory(&mut self) -> bool {
        let shown = self.object.status.as_ref().map(|status| status.resources.clone()).unwrap_or_default();
        let Some(written) = &self.state.inventory else { return false };
        if !apply::has_lost_ids(&shown, written) {
            return false;
        }
        let ctx = self.ctx;
        let journal = journal::StatusJournal::new(&ctx.client, self.object, &*ctx.gate, shown);
        if let Err(failure) = crate::engine::Journal::record(&journal, &self.state.memory).await {
            tracing::warn!(%failure, "status lost its inventory, which was not written again; retrying");
        }
        self.keep_written(journal.into_written());
        true
    }

    fn keep_written(&mut self, (lines, version): (Vec<ResourceStatus>, Option<String>)) {
        self.state.inventory = Some(lines);
        if version.is_some() {
            self.state.last_write.record(version);
        }
    }
}
