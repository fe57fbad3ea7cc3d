//! The controller of EksClusters: what [`super::driver`] leaves to the kind. Wiring only: decisions are pure, in the files beside
//! it. I/O: the management cluster's API; AWS through the engine.

pub mod agent;
mod apply_spec;
mod approval;
mod aws_validation;
mod cluster_controller;
pub mod deletion;
mod engine;
mod graph;
mod hooks;
mod kubeconfig_secret;
mod outcome;
mod owned_secret;
mod recovery;
pub mod registration;
mod spec_check;
pub mod status;
pub mod upgrade;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use self::apply_spec::{DesiredCluster, References, ValidCluster};
use self::cluster_controller::Reconcile;
pub use self::cluster_controller::{ClusterController, KindState};
use self::outcome::Outcome;
use self::upgrade::Upgrade;
use super::approvals::execution_policy::Approvals;
use super::context::Context;
use super::driver::{Executed, Provisioned, StatusUpdate, Step, Stop, Valid};
use super::reconcile_error::{BuildError, ValidateError};
use super::recovery_requests::Recovering;
use super::runtime::reconcile_queue::Queue;
use super::states::States;
use super::status::conditions::Overall;
use super::status::finish_reconcile::Next;
use super::status::journal;
use crate::api::EksCluster;
use crate::api::status_cluster::{EksClusterStatus, PlanStatus};
use crate::engine::{ExecutionPolicy, Failure, Goal, Graph, InventoryRecord, Key, Report};
use crate::resources::cloud::{Cloud, Owner};
use crate::resources::graph::expand::Versions;
use crate::resources::graph::proof::Records;
use crate::resources::recovery::takeover::Inventory;

/// The steps of [`super::driver::reconcile`] that are a cluster's own. Their bodies are in the files beside this one.
impl Provisioned for ClusterController {
    type Object = EksCluster;
    type Status = EksClusterStatus;
    type KindState = KindState;
    type Outcome = Outcome;
    type References = References;
    type Valid = ValidCluster;
    type Desired = DesiredCluster;
    type Executed = Option<Upgrade>;

    fn ctx(&self) -> &Arc<Context> {
        &self.ctx
    }

    fn queue(&self) -> &Queue<EksCluster> {
        &self.ctx.queues.clusters
    }

    fn states(&self) -> &States<EksClusterStatus, KindState> {
        &self.states
    }

    fn status(cluster: &EksCluster) -> Option<&EksClusterStatus> {
        cluster.status.as_ref()
    }

    fn observed_generation(status: &EksClusterStatus) -> Option<i64> {
        status.observed_generation
    }

    fn plan(status: &EksClusterStatus) -> Option<&PlanStatus> {
        status.plan.as_ref()
    }

    fn recorded(cluster: &EksCluster) -> Vec<(Key, InventoryRecord)> {
        let resources = cluster.status.as_ref().map(|status| status.resources.as_slice()).unwrap_or_default();
        journal::parse_inventory(resources)
    }

    fn forget_observations(state: &mut KindState) {
        state.agent.forget();
        state.upgrade.forget();
        state.checked.forget();
    }

    fn state_is_reset(&self, uid: &str) {
        // Its agent watch reports to the discarded state.
        self.watches.end(uid);
    }

    fn is_gone(run: &Reconcile<'_>) {
        let owner = run.owner();
        tracing::info!(cluster = owner.cluster, "gone");
        run.ctx.workloads.forget(&owner.uid);
    }

    fn owner(run: &Reconcile<'_>) -> Owner {
        run.owner()
    }

    fn argument(run: &Reconcile<'_>) -> String {
        run.as_argument()
    }

    fn max_read_age(run: &Reconcile<'_>) -> Duration {
        run.survey_age()
    }

    fn cluster<'r>(run: &'r Reconcile<'_>, _: &'r ValidCluster) -> &'r EksCluster {
        run.object
    }

    fn made_in<'r>(previous: &'r EksClusterStatus, _: &'r EksCluster) -> Option<&'r str> {
        previous.arn.as_ref().and(previous.account_id.as_deref())
    }

    fn observes(run: &Reconcile<'_>, _: &ValidCluster) -> bool {
        run.observes()
    }

    fn approvals(run: &Reconcile<'_>, _: &EksClusterStatus) -> Approvals {
        run.approvals()
    }

    async fn publish_approval(run: &Reconcile<'_>, previous: &EksClusterStatus, plan: &PlanStatus) {
        run.publish_plan_approval(previous, plan).await;
    }

    fn unobserved(run: &Reconcile<'_>, previous: &EksClusterStatus, overall: Overall, next: Next) -> Outcome {
        Outcome::unobserved(run, previous, overall, next)
    }

    fn conditions(outcome: &mut Outcome) -> &mut Vec<Condition> {
        &mut outcome.conditions
    }

    fn with_recovery(outcome: Outcome, recovery: Recovering) -> Outcome {
        Outcome { recovery: Some(recovery), ..outcome }
    }

    fn status_update(
        run: &mut Reconcile<'_>,
        previous: &EksClusterStatus,
        outcome: Outcome,
    ) -> StatusUpdate<EksClusterStatus> {
        run.status_update(previous, outcome)
    }

    fn written_part(previous: EksClusterStatus) -> EksClusterStatus {
        // The journal writes the inventory.
        let mut written = EksClusterStatus { resources: Vec::new(), ..previous };
        status::forget_wave(&mut written);
        written
    }

    async fn restore_records(run: &mut Reconcile<'_>) -> bool {
        run.restore_inventory().await
    }

    async fn release(run: &mut Reconcile<'_>, previous: &EksClusterStatus) -> Step<Self, ()> {
        run.deregister(previous).await.map_err(Stop::with_outcome)?;
        run.end_hook_jobs().await;
        Ok(())
    }

    async fn delete(run: &mut Reconcile<'_>, previous: &EksClusterStatus) -> Option<Outcome> {
        run.delete(previous).await
    }

    fn dereference(run: &Reconcile<'_>) -> References {
        run.references()
    }

    async fn validate(
        run: &mut Reconcile<'_>,
        previous: &EksClusterStatus,
        references: References,
    ) -> Step<Self, Valid<ValidCluster>> {
        run.validate(previous, references).await
    }

    fn check_name(run: &Reconcile<'_>, valid: &Valid<ValidCluster>, cloud: &Cloud) -> Result<(), ValidateError> {
        run.check_name(valid, cloud)
    }

    async fn validate_against_aws(
        run: &mut Reconcile<'_>,
        previous: &EksClusterStatus,
        valid: &Valid<ValidCluster>,
        cloud: &Cloud,
    ) -> Result<(), ValidateError> {
        run.validate_against_aws(&cloud.aws, &valid.grant, previous).await.map_err(ValidateError::Aws)
    }

    async fn before_write(run: &mut Reconcile<'_>, previous: &EksClusterStatus, cloud: &Cloud) -> Step<Self, ()> {
        run.hooks_before_create(previous, cloud).await.map_or(Ok(()), |outcome| Err(Stop::with_outcome(outcome)))
    }

    async fn build(
        run: &mut Reconcile<'_>,
        previous: &mut EksClusterStatus,
        valid: &Valid<ValidCluster>,
        cloud: &Cloud,
    ) -> Result<DesiredCluster, BuildError> {
        run.build(previous, &valid.grant, cloud).await
    }

    async fn execute(
        run: &mut Reconcile<'_>,
        previous: &EksClusterStatus,
        valid: &Valid<ValidCluster>,
        cloud: &Cloud,
        wanted: DesiredCluster,
    ) -> Result<Executed<Option<Upgrade>>, BuildError> {
        run.rounds(previous, &valid.grant, cloud, wanted).await
    }

    async fn report(
        run: &mut Reconcile<'_>,
        previous: &EksClusterStatus,
        valid: Valid<ValidCluster>,
        cloud: &Cloud,
        executed: Executed<Option<Upgrade>>,
    ) -> Outcome {
        run.reported(previous, cloud, executed, valid.own.secrets).await
    }

    async fn find_tagged(
        run: &Reconcile<'_>,
        valid: &Valid<ValidCluster>,
        cloud: &Cloud,
    ) -> Result<(Inventory, Option<Records>), Failure> {
        run.find_tagged(&valid.grant, cloud).await
    }

    fn recovery_policy(
        run: &Reconcile<'_>,
        previous: &EksClusterStatus,
        valid: &Valid<ValidCluster>,
    ) -> ExecutionPolicy {
        run.policy(previous, &valid.grant, &Versions::default()).0
    }

    async fn run_engine(
        run: &mut Reconcile<'_>,
        may_adopt: &(dyn Fn() -> Result<(), Failure> + Sync),
        graph: &Graph<Cloud>,
        cloud: &Cloud,
        goal: Goal,
        policy: &ExecutionPolicy,
    ) -> Report {
        run.engine_while(may_adopt, graph, cloud, goal, policy).await
    }
}
