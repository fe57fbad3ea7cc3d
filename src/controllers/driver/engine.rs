//! The session in the object's account, one run of the engine there, and what is published of it. I/O: AWS through the
//! engine, events.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use jiff::Timestamp;

use super::{Provisioned, Reconcile, Step, Valid};
use crate::controllers::account::{self, Grant};
use crate::controllers::reconcile_error::ReconcileError;
use crate::controllers::recovery_requests::existing;
use crate::controllers::runtime::event_publisher::{EventMessage, operation_events, step_events};
use crate::controllers::status::finish_reconcile;
use crate::engine::execute::Run;
use crate::engine::failure::RetryState;
use crate::engine::{ExecutionPolicy, Failure, Goal, Graph, Journal, Key, Memory, Report};
use crate::resources::cloud::Cloud;

impl<C: Provisioned> Reconcile<'_, C> {
    /// The handle of the resources' I/O.
    pub async fn connect(&self, previous: &C::Status, valid: &Valid<C::Valid>) -> Step<C, Cloud> {
        let cluster = C::cluster(self, &valid.own);
        let (region, made_in) = (cluster.spec.region.clone(), C::made_in(previous, cluster).map(str::to_owned));
        match self.cloud(&valid.grant, &region, made_in.as_deref()).await {
            Ok(cloud) => Ok(cloud),
            Err(failure) => Err(C::unconnected(self, previous, &valid.own, failure)),
        }
    }

    /// The same, for an object that was created in the account `made_in`.
    pub async fn cloud(&self, grant: &Grant, region: &str, made_in: Option<&str>) -> Result<Cloud, Failure> {
        let session = self.ctx.accounts.session(&grant.identity, region).await?;
        account::check_same_account(made_in, &session.account_id)?;
        // Drift checks leave a part of every rate limit to operations in progress.
        let aws = if self.state.steady { session.background() } else { session };
        let client_token_seed = finish_reconcile::client_token_seed(self.object);
        let (owner, intervals) = (C::owner(self), self.ctx.settings.intervals);
        let (adoption, existing) = (grant.adoption, existing(self.ctx));
        Ok(Cloud { aws, owner, intervals, client_token_seed, adoption, trusts_tags: false, existing })
    }

    /// Observes, plans, checks and executes. `may_adopt`: checked before each write to a resource that is not the
    /// object's own yet.
    pub async fn reconcile_graph(
        &mut self,
        (journal, may_adopt): (&dyn Journal, &(dyn Fn() -> Result<(), Failure> + Sync)),
        graph: &Graph<Cloud>,
        cloud: &Cloud,
        goal: Goal,
        policy: &ExecutionPolicy,
    ) -> Report {
        let expectations = self.ctx.expectations(&cloud.aws.account_id, &cloud.aws.region);
        let clock = Timestamp::now;
        let run = Run { graph, goal, policy, cloud, may_adopt, journal, expectations: &expectations, clock: &clock };
        let failed_before = failed_observations(&self.state.memory);
        // Boxed: the future is large, and the compiler cannot prove that it is Send.
        let report = crate::engine::reconcile(&run, &mut self.state.memory).boxed().await;
        self.state.failed = None;
        let is_new = |key: &Key, failed: &RetryState| failed_before.get(key) != Some(&failed.retry_at);
        if let Some(error) = ReconcileError::of_new(&report, is_new) {
            error.log();
        }
        report
    }

    /// Publishes what was done as events and metrics. `more`: events of the kind's own.
    pub fn publish_report(&mut self, report: &Report, goal: Goal, more: impl IntoIterator<Item = EventMessage>) {
        let failures = &mut self.state.reported_failures;
        let mut events = step_events(&report.steps, goal, failures);
        events.extend(operation_events(&report.finished_operations, failures));
        events.extend(more);
        self.ctx.events.publish(self.object, events);
        self.trace.operations(&report.finished_operations);
        for ended in &report.finished_operations {
            let took = ended.result.as_ref().ok().copied();
            self.ctx.metrics.reconcile().record_operation(ended.key.kind(), &ended.operation.kind, took);
        }
    }
}

/// The resources whose last observation failed, and when it is retried.
fn failed_observations(memory: &Memory) -> BTreeMap<Key, Timestamp> {
    let failed =
        memory.iter().filter_map(|(key, entry)| Some((key.clone(), entry.last_observe_error.as_ref()?.retry_at)));
    failed.collect()
}
