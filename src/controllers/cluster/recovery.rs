//! Takes over the AWS resources of an earlier object with this name, at a user's request. I/O: reads from AWS; tags, through
//! the engine.

use kube::ResourceExt;

use super::{Outcome, Reconcile};
use crate::api::Reason;
use crate::api::network::NetworkKind;
use crate::api::policy::ChangePolicy;
use crate::api::status::EksClusterStatus;
use crate::controllers::account::{self, Grant, Refusal, Request};
use crate::controllers::approvals::execution_policy::Proposal;
use crate::controllers::approvals::{self, execution_policy};
use crate::controllers::hand_over;
use crate::controllers::recovery::{self, Recovering, RecoveryRequest};
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::plan_status::{self, Ahead};
use crate::controllers::status::report::Next;
use crate::engine::{ExecutionPolicy, Failure, Goal};
use crate::resources::cloud::{Cloud, Owner};
use crate::resources::eks::cluster;
use crate::resources::graph::expand::Versions;
use crate::resources::inventory::tagged_resources;
use crate::resources::recovery::retag;
use crate::resources::recovery::takeover::{Inventory, is_taken_over, select};

impl Reconcile<'_> {
    /// The owner of its resources.
    pub(super) fn owner(&self) -> Owner {
        let name = self.cluster.name_any();
        Owner {
            uid: self.cluster.uid().unwrap_or_default(),
            cluster: format!("{}/{name}", self.namespace),
            object: format!("ekscluster/{name}"),
            installation: self.ctx.installation(),
            roles: recovery::roles_on_record(&self.state.memory),
        }
    }

    /// Continues the recovery that `request` asks for. The spec is applied after it.
    pub(super) async fn recover(
        &mut self,
        previous: &EksClusterStatus,
        grant: &Grant,
        cloud: &Cloud,
        request: RecoveryRequest,
    ) -> Outcome {
        if let Err(why) = request.check_permitted(self.ctx, self.cluster) {
            return self.unrecovered(previous, why);
        }
        if self.state.kind.recovering.as_ref() != Some(&request) {
            // Observations of the resources belong to the graph of the spec.
            self.state.memory.restart(self.now);
            self.state.kind.recovering = Some(request.clone());
        }
        let inventory = match tagged_resources::of_cluster(&cloud.aws, &self.cluster.cluster_name()).await {
            Ok(inventory) => Inventory { own_network: self.has_own_network(grant, &inventory), ..inventory },
            Err(failure) => return self.failed(previous, failure),
        };
        // Only recorded resources can be handed over and taken back.
        let records = self.records();
        let is_on_record = records.proves(&cluster::key(), &self.cluster.cluster_name());
        let evidence = request.evidence(grant.recovers_by_tags, Some(&records).filter(|_| is_on_record));
        let selection = match select(&inventory, &cloud.owner, &request.uid, evidence) {
            Ok(selection) => selection,
            Err(why) => return self.unrecovered(previous, why),
        };
        if selection.items.is_empty() && request.needs_resources() {
            return self.unrecovered(previous, request.describe_no_resources(&cloud.owner, &cloud.aws, &selection));
        }
        let graph = match retag::graph(&selection.items, cloud, |item| request.wanted(item, &cloud.owner)) {
            Ok(graph) => graph,
            Err(error) => return self.refused(previous, Refusal::from(error), Next::change()),
        };
        let observes = self.change_policy() == ChangePolicy::Observe;
        if !observes && let Some(outcome) = self.finalizer(previous).await {
            return outcome;
        }
        let digest = request.digest(&selection.items);
        let (policy, _) = self.policy(previous, grant, &Versions::default());
        let policy = ExecutionPolicy { recovers: Some(digest), ..policy };
        let (ctx, cluster, expected) = (self.ctx, self.cluster, request.clone());
        let may_take = || -> Result<(), Failure> {
            account::grant_in(ctx, &Request::of(cluster)).map_err(recovery::refusal_failure)?;
            expected.check_still_permitted(ctx, cluster)
        };
        let report = self.engine_while(&may_take, &graph, cloud, Goal::Present, &policy).await;
        let (subject, plan, ahead) = (self.subject(), &report.plan, Ahead::default());
        let proposal = Proposal { subject: &subject, plan, ahead: &[], facts: &report.facts };
        let agreed = execution_policy::accept_approval(&policy, proposal, &self.approvals(), previous.plan.as_ref());
        let ConditionValue { message: waits, .. } = self.waits(&agreed, &plan.summary());
        let (overall, next) = request.progress(&report, &selection, (&agreed, &waits), &self.state.memory, self.now);
        let is_done = recovery::is_complete(&report, &self.state.memory, self.now);
        if is_done {
            self.ctx.events.publish(self.cluster, vec![request.done_event(&selection)]);
        }
        let input = plan_status::Input {
            plan,
            expected: &report.expected,
            memory: &self.state.memory,
            generation: self.cluster.metadata.generation,
            ahead: &ahead,
            changed_outside: false,
            facts: &report.facts,
        };
        let plan = request.plan(plan_status::plan_status(input, agreed));
        if let Some(given) = approvals::newly_accepted(previous.plan.as_ref(), &plan) {
            self.publish_approval(&format!("plan {}", plan.hash), &plan.summary, given).await;
        }
        let done = is_done.then(|| request.done(selection.items.len(), self.now));
        if is_done {
            self.end_recovery();
        }
        Outcome { recovery: Some(Recovering { plan, done }), ..self.unobserved(previous, overall, next) }
    }

    /// Suspended: only a user's request is carried out, which writes only tags.
    pub(super) async fn suspended(&mut self, previous: &EksClusterStatus) -> Outcome {
        let (recovered, handed_over) = (&previous.recovery, &previous.hand_over);
        let installation = self.ctx.installation();
        let Some(request) = hand_over::request_while_suspended(self.cluster, recovered, handed_over, installation)
        else {
            self.end_recovery();
            let why = hand_over::handed_over_message(self.cluster, previous.hand_over.as_ref());
            let message = why
                .unwrap_or_else(|| "spec.suspend is true: neither AWS nor the workload cluster is touched".to_owned());
            return self.unobserved(previous, Overall::Suspended(message), Next::change());
        };
        let grant = match self.grant() {
            Ok(grant) => grant,
            Err(refusal) => return self.refused(previous, refusal, Next::change()),
        };
        if let Some(failed) = self.state.failed.clone().filter(|failed| failed.retry_at > self.now) {
            return self.still_failing(previous, &failed);
        }
        match self.cloud(&grant, previous).await {
            Ok(cloud) => self.recover(previous, &grant, &cloud, request).await,
            Err(failure) => self.failed(previous, failure),
        }
    }

    /// Why nothing is deleted with the object, neither its resources nor its NodeGroups: another object of this name
    /// owns the cluster, as after a move or a recovery.
    pub(super) async fn taken_over_by(&self, cloud: &Cloud) -> Result<Option<String>, Failure> {
        let name = self.cluster.cluster_name();
        let tags = tagged_resources::control_plane_tags(&cloud.aws, &name).await?;
        Ok(tags.filter(|tags| is_taken_over(tags, &cloud.owner)).map(|tags| {
            let uid = tags.owner().unwrap_or_default();
            let installation = tags.installation().map(|id| format!(" of installation {id}")).unwrap_or_default();
            format!(
                "cluster {name} carries UID {uid}{installation}, so it belongs to another object of this name: nothing is \
                 deleted in AWS, nor any NodeGroup"
            )
        }))
    }

    /// Whether the spec describes a network of its own, and the account does not share the cluster's VPC.
    fn has_own_network(&self, grant: &Grant, inventory: &Inventory) -> bool {
        let vpc = inventory.control_plane.as_ref().and_then(|control_plane| control_plane.vpc.as_deref());
        let is_lent = vpc.is_some_and(|vpc| grant.allowlists.as_ref().is_some_and(|lists| lists.lists_shared_vpc(vpc)));
        matches!(self.cluster.spec.network.kind(), Ok(NetworkKind::Vpc(_))) && !is_lent
    }

    /// Nothing is taken over, and nothing is created next to what may belong to the object.
    fn unrecovered(&self, previous: &EksClusterStatus, why: String) -> Outcome {
        self.refused(previous, Refusal::new(Reason::NotOwned, why), Next::change())
    }

    /// Observations during a recovery belong to its graph: only the inventory is kept.
    pub(super) fn end_recovery(&mut self) {
        if self.state.kind.recovering.take().is_some() {
            tracing::info!(
                cluster = self.cluster.name_any(),
                "recovery complete: resources are reconciled with the spec"
            );
            self.state.memory.restart(self.now);
        }
    }
}
