//! The controller of NodeGroups: what [`super::driver`] leaves to the kind. Wiring only: decisions are pure, in the files beside
//! it. I/O: the management cluster's API; AWS only through [`crate::resources`] and [`crate::engine`].

mod apply_spec;
mod approval;
mod aws_validation;
mod deletion;
mod eks_update;
mod hold;
mod node_group_controller;
pub mod node_group_status;
pub mod nodes;
mod own_image;
pub mod record;
mod recovery;
pub mod replacement;
pub mod target;
mod template_name;
mod validate;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use self::apply_spec::{DesiredNodeGroup, References, ReportInputs, ValidGroup};
pub use self::node_group_controller::{KindState, NodeGroupController};
use self::node_group_controller::{Outcome, Reconcile};
use self::node_group_status::is_held;
use self::record::recorded;
pub use self::validate::valid;
use super::approvals::execution_policy::Approvals;
use super::cluster::status::view;
use super::context::Context;
use super::driver::{Executed, InProgress, Provisioned, StatusUpdate, Step, Stop, Valid};
use super::hand_over::retained_hand_over;
use super::reconcile_error::{BuildError, ValidateError};
use super::recovery_requests::{CompletedRequest, Recovering};
use super::runtime::reconcile_queue::Queue;
use super::states::States;
use super::status::conditions::Overall;
use super::status::finish_reconcile::Next;
use crate::api::hold::HoldStatus;
use crate::api::policy::ChangePolicy;
use crate::api::status_cluster::{NodeGroupStatus, PlanStatus};
use crate::api::{EksCluster, NodeGroup};
use crate::engine::{ExecutionPolicy, Failure, Goal, Graph, InventoryRecord, Key, Report};
use crate::resources::cloud::{Cloud, Owner};
use crate::resources::eks::node_group::Target;
use crate::resources::graph::proof::Records;
use crate::resources::recovery::takeover::Inventory;

/// The steps of [`super::driver::reconcile`] that are a node group's own. Their bodies are in the files beside this one.
impl Provisioned for NodeGroupController {
    type Object = NodeGroup;
    type Status = NodeGroupStatus;
    type KindState = KindState;
    type Outcome = Outcome;
    type References = References;
    type Valid = ValidGroup;
    type Desired = DesiredNodeGroup;
    type Executed = ReportInputs;

    fn ctx(&self) -> &Arc<Context> {
        &self.ctx
    }

    fn queue(&self) -> &Queue<NodeGroup> {
        &self.ctx.queues.node_groups
    }

    fn states(&self) -> &States<NodeGroupStatus, KindState> {
        &self.states
    }

    fn status(group: &NodeGroup) -> Option<&NodeGroupStatus> {
        group.status.as_ref()
    }

    fn observed_generation(status: &NodeGroupStatus) -> Option<i64> {
        status.observed_generation
    }

    fn plan(status: &NodeGroupStatus) -> Option<&PlanStatus> {
        status.plan.as_ref()
    }

    fn recorded(group: &NodeGroup) -> Vec<(Key, InventoryRecord)> {
        recorded(group)
    }

    async fn restore_records(run: &mut Reconcile<'_>) -> bool {
        // Written again with the rest of status.
        let written = run.state.written.as_ref().and_then(|status| status.arn.as_ref());
        written.is_some() && run.object.status.as_ref().is_none_or(|status| status.arn.is_none())
    }

    fn forget_observations(state: &mut KindState) {
        state.nodes.forget();
        state.passes.forget();
        state.has_discovered = false;
        state.checked = None;
    }

    /// Its nodes follow the version of their cluster: that is one upgrade.
    fn change_around(ctx: &Context, group: &NodeGroup) -> Option<InProgress> {
        let cluster = ctx.cluster(group.metadata.namespace.as_deref()?, &group.spec.cluster_ref.name)?;
        let change = cluster.status.as_ref()?.change.clone().filter(|change| change.ended_at.is_none())?;
        Some((cluster.metadata.uid.clone()?, change))
    }

    fn holds_around(ctx: &Context, group: &NodeGroup) -> Option<(String, Vec<HoldStatus>)> {
        let name = &group.spec.cluster_ref.name;
        let cluster = ctx.cluster(group.metadata.namespace.as_deref()?, name)?;
        Some((name.clone(), view::holds(&cluster)))
    }

    fn owner(run: &Reconcile<'_>) -> Owner {
        run.owner()
    }

    fn argument(run: &Reconcile<'_>) -> String {
        run.as_argument()
    }

    fn max_read_age(run: &Reconcile<'_>) -> Duration {
        run.ctx.settings.intervals.drift
    }

    fn cluster<'r>(_: &'r Reconcile<'_>, own: &'r ValidGroup) -> &'r EksCluster {
        &own.cluster
    }

    fn made_in<'r>(_: &'r NodeGroupStatus, cluster: &'r EksCluster) -> Option<&'r str> {
        let status = cluster.status.as_ref().filter(|status| status.arn.is_some())?;
        status.account_id.as_deref()
    }

    fn observes(run: &Reconcile<'_>, own: &ValidGroup) -> bool {
        run.change_policy(&own.cluster) == ChangePolicy::Observe
    }

    fn approvals(run: &Reconcile<'_>, previous: &NodeGroupStatus) -> Approvals {
        run.approvals(previous)
    }

    async fn publish_approval(run: &Reconcile<'_>, previous: &NodeGroupStatus, plan: &PlanStatus) {
        run.publish_approval(previous, plan).await;
    }

    fn unobserved(run: &Reconcile<'_>, previous: &NodeGroupStatus, overall: Overall, next: Next) -> Outcome {
        let status = node_group_status::unobserved(previous, run.object.metadata.generation, &overall, run.now);
        Outcome { status, overall, waits: None, next }
    }

    fn conditions(outcome: &mut Outcome) -> &mut Vec<Condition> {
        &mut outcome.status.conditions
    }

    fn with_recovery(mut outcome: Outcome, Recovering { plan, done }: Recovering) -> Outcome {
        outcome.status.plan = Some(plan);
        match done {
            Some(CompletedRequest::Recovered(done)) => outcome.status.recovery = Some(done),
            Some(CompletedRequest::HandedOver(done)) => outcome.status.hand_over = Some(done),
            Some(CompletedRequest::TakenBack) => outcome.status.hand_over = None,
            None => {}
        }
        outcome
    }

    fn status_update(run: &mut Reconcile<'_>, _: &NodeGroupStatus, outcome: Outcome) -> StatusUpdate<NodeGroupStatus> {
        let Outcome { mut status, overall, waits, next } = outcome;
        status.hand_over = retained_hand_over(run.object, status.hand_over.as_ref());
        let is_held = is_held(&status);
        StatusUpdate { status, overall, waits, is_held, next }
    }

    async fn release(_: &mut Reconcile<'_>, _: &NodeGroupStatus) -> Step<Self, ()> {
        Ok(())
    }

    async fn delete(run: &mut Reconcile<'_>, previous: &NodeGroupStatus) -> Option<Outcome> {
        run.delete(previous).await
    }

    fn dereference(run: &Reconcile<'_>) -> References {
        run.references()
    }

    async fn validate(
        run: &mut Reconcile<'_>,
        previous: &NodeGroupStatus,
        references: References,
    ) -> Step<Self, Valid<ValidGroup>> {
        run.validate(previous, references).await
    }

    fn unconnected(
        run: &Reconcile<'_>,
        previous: &NodeGroupStatus,
        own: &ValidGroup,
        failure: Failure,
    ) -> Stop<Outcome> {
        run.unconnected(previous, own, failure)
    }

    async fn validate_against_aws(
        run: &mut Reconcile<'_>,
        previous: &NodeGroupStatus,
        valid: &Valid<ValidGroup>,
        cloud: &Cloud,
    ) -> Result<(), ValidateError> {
        run.resolve_template(&cloud.aws, &valid.grant, previous).await?;
        run.validate_against_aws(&cloud.aws, previous, &valid.own).await.map_err(ValidateError::Aws)
    }

    fn await_dependencies(run: &Reconcile<'_>, previous: &NodeGroupStatus, own: &ValidGroup) -> Step<Self, ()> {
        run.await_cluster(previous, own)
    }

    async fn build(
        run: &mut Reconcile<'_>,
        previous: &mut NodeGroupStatus,
        valid: &Valid<ValidGroup>,
        cloud: &Cloud,
    ) -> Result<DesiredNodeGroup, BuildError> {
        run.build(previous, valid, cloud).await
    }

    async fn execute(
        run: &mut Reconcile<'_>,
        previous: &NodeGroupStatus,
        valid: &Valid<ValidGroup>,
        cloud: &Cloud,
        wanted: DesiredNodeGroup,
    ) -> Result<Executed<ReportInputs>, BuildError> {
        Ok(run.execute(previous, valid, cloud, wanted).await)
    }

    async fn report(
        run: &mut Reconcile<'_>,
        previous: &NodeGroupStatus,
        valid: Valid<ValidGroup>,
        cloud: &Cloud,
        executed: Executed<ReportInputs>,
    ) -> Outcome {
        run.report(previous, &valid.own.cluster, cloud, executed).await
    }

    async fn find_tagged(
        run: &Reconcile<'_>,
        valid: &Valid<ValidGroup>,
        cloud: &Cloud,
    ) -> Result<(Inventory, Option<Records>), Failure> {
        // Its cluster is on record. Nothing that another object took over is taken back: the cluster is that object's.
        Ok((run.find_tagged(&valid.own.cluster, cloud).await?, Some(Records::default())))
    }

    fn recovery_policy(run: &Reconcile<'_>, previous: &NodeGroupStatus, valid: &Valid<ValidGroup>) -> ExecutionPolicy {
        run.policy(previous, &valid.own.cluster, &valid.grant, &Target::default()).0
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
