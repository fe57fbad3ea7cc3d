//! Takes over the node group of an earlier object with this name, at a user's request. I/O: reads of EKS; tags, through the
//! engine.

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{Outcome, Reconcile, key};
use crate::api::policy::ChangePolicy;
use crate::api::status::NodeGroupStatus;
use crate::api::{EksCluster, Reason};
use crate::controllers::account::{self, Grant, Refusal, Request};
use crate::controllers::approvals::execution_policy::{self, Proposal};
use crate::controllers::hand_over;
use crate::controllers::recovery::{self, Done, RecoveryRequest};
use crate::controllers::status::journal::NoJournal;
use crate::controllers::status::plan_status::{self, Ahead};
use crate::controllers::status::report::{self, Next};
use crate::engine::execute::Run;
use crate::engine::{ExecutionPolicy, Failure, Goal, Graph, Report};
use crate::resources::cloud::{Cloud, Owner};
use crate::resources::eks::node_group::Target;
use crate::resources::graph::proof::Records;
use crate::resources::inventory::tagged_resources;
use crate::resources::recovery::retag;
use crate::resources::recovery::takeover::select;

impl Reconcile<'_> {
    /// The owner of its node group.
    pub(super) fn owner(&self) -> Owner {
        Owner {
            uid: self.group.uid().unwrap_or_default(),
            cluster: format!("{}/{}", self.namespace, self.group.spec.cluster_ref.name),
            object: format!("nodegroup/{}", self.group.name_any()),
            installation: self.ctx.installation(),
            ..Owner::default()
        }
    }

    /// Continues the recovery that `request` asks for. The spec is applied after it.
    pub(super) async fn recover(
        &mut self,
        previous: &NodeGroupStatus,
        cluster: &EksCluster,
        grant: &Grant,
        cloud: &Cloud,
        request: RecoveryRequest,
    ) -> Outcome {
        let not_owned = |why| Refusal::new(Reason::NotOwned, why);
        if let Err(why) = request.check_permitted(self.ctx, self.group) {
            return self.refused(previous, not_owned(why));
        }
        if self.state.kind.recovering.as_ref() != Some(&request) {
            self.state.memory.restart(self.now);
            self.state.kind.recovering = Some(request.clone());
        }
        let (of, name) = (cluster.cluster_name(), key(self.group));
        let inventory = match tagged_resources::of_node_group(&cloud.aws, &of, name.name()).await {
            Ok(inventory) => inventory,
            Err(failure) => return self.failed(previous, failure),
        };
        // Its cluster is on record. Nothing that another object took over is taken back: the cluster is that object's.
        let no_records = Records::default();
        let evidence = request.evidence(grant.recovers_by_tags, Some(&no_records));
        let selection = match select(&inventory, &cloud.owner, &request.uid, evidence) {
            Ok(selection) => selection,
            Err(why) => return self.refused(previous, not_owned(why)),
        };
        if selection.items.is_empty() && request.needs_resources() {
            return self
                .refused(previous, not_owned(request.describe_no_resources(&cloud.owner, &cloud.aws, &selection)));
        }
        let graph = match retag::graph(&selection.items, cloud, |item| request.wanted(item, &cloud.owner)) {
            Ok(graph) => graph,
            Err(error) => return self.refused(previous, Refusal::from(error)),
        };
        let observes = self.change_policy(cluster) == ChangePolicy::Observe;
        if !observes && let Some(outcome) = self.finalizer(previous).await {
            return outcome;
        }
        let (policy, _) = self.policy(previous, cluster, grant, &Target::default());
        let policy = ExecutionPolicy { recovers: Some(request.digest(&selection.items)), ..policy };
        let report = self.take_over(cluster, &graph, cloud, &policy, &request).await;
        let (subject, approvals, ahead) = (report::subject(self.group), self.approvals(previous), Ahead::default());
        let plan = &report.plan;
        let proposal = Proposal { subject: &subject, plan, ahead: &[], facts: &report.facts };
        let agreed = execution_policy::accept_approval(&policy, proposal, &approvals, previous.plan.as_ref());
        let object = format!("nodegroup/{} -n {}", self.group.name_any(), self.namespace);
        let waits = execution_policy::describe_pending_plan(&agreed, &plan.summary(), &object, &approvals);
        let (overall, next) = request.progress(&report, &selection, (&agreed, &waits), &self.state.memory, self.now);
        let input = plan_status::Input {
            plan,
            expected: &report.expected,
            memory: &self.state.memory,
            generation: self.group.metadata.generation,
            ahead: &ahead,
            changed_outside: false,
            facts: &report.facts,
        };
        let plan = request.plan(plan_status::plan_status(input, agreed));
        let mut outcome = self.unobserved(previous, overall, next);
        outcome.status.plan = Some(plan);
        if recovery::is_complete(&report, &self.state.memory, self.now) {
            self.ctx.events.publish(self.group, vec![request.done_event(&selection)]);
            match request.done(selection.items.len(), self.now) {
                Done::Recovered(done) => outcome.status.recovery = Some(done),
                Done::HandedOver(done) => outcome.status.hand_over = Some(done),
                Done::TakenBack => outcome.status.hand_over = None,
            }
            self.end_recovery();
        }
        self.publish_approval(previous, &outcome.status).await;
        outcome
    }

    /// Suspended: only a user's request is carried out, which writes only tags.
    pub(super) async fn while_suspended(&mut self, previous: &NodeGroupStatus, message: &str) -> Outcome {
        let cluster = self.ctx.cluster(&self.namespace, &self.group.spec.cluster_ref.name);
        // Node groups of a cluster that is not recorded do not belong to it.
        let cluster = cluster.filter(|cluster| recovery::is_on_record(cluster));
        let (recovered, handed_over) = (&previous.recovery, &previous.hand_over);
        let request = hand_over::request_while_suspended(self.group, recovered, handed_over, self.ctx.installation());
        if request.is_some() && cluster.is_none() {
            let message = "its EksCluster has nothing on record in AWS yet".to_owned();
            let next = Next::after(SignedDuration::from_secs(2), self.now);
            return Outcome { next, ..self.waiting(previous, Reason::WaitingForCluster, message) };
        }
        let (Some(request), Some(cluster)) = (request, cluster) else {
            self.end_recovery();
            let why = hand_over::handed_over_message(self.group, previous.hand_over.as_ref());
            return self.suspended(previous, why.as_deref().unwrap_or(message));
        };
        let grant = match account::grant_in(self.ctx, &Request::of(&cluster)) {
            Ok(grant) => grant,
            Err(refusal) => return self.refused(previous, refusal),
        };
        if let Some(failed) = self.state.failed.clone().filter(|failed| failed.retry_at > self.now) {
            return self.still_failing(previous, &failed);
        }
        match self.cloud(&grant, &cluster).await {
            Ok(cloud) => self.recover(previous, &cluster, &grant, &cloud, request).await,
            Err(failure) => self.failed(previous, failure),
        }
    }

    /// Nothing is done for a cluster that is handed over, or not taken back yet.
    pub(super) fn waits_for_hand_over(&self, previous: &NodeGroupStatus, cluster: &EksCluster) -> Option<Outcome> {
        let why = hand_over::cluster_handed_over_message(cluster)?;
        Some(self.waiting(previous, Reason::WaitingForCluster, format!("{why}: nothing is changed")))
    }

    /// Why its node group is not deleted with the object: another object owns the cluster, or is about to.
    pub(super) async fn left_in_aws(&self, cluster: &EksCluster, cloud: &Cloud) -> Result<Option<String>, Failure> {
        if let Some(why) = hand_over::cluster_handed_over_message(cluster) {
            return Ok(Some(why));
        }
        let name = cluster.cluster_name();
        let tags = tagged_resources::control_plane_tags(&cloud.aws, &name).await?;
        let uid = cluster.uid().unwrap_or_default();
        let is_foreign = tags.is_some_and(|tags| tags.owner().is_some_and(|owner| owner != uid));
        Ok(is_foreign.then(|| format!("cluster {name} in AWS does not belong to its EksCluster")))
    }

    /// Whether its node group was handed over to another installation.
    pub(super) fn still_here(&self, previous: &NodeGroupStatus) -> Result<(), Refusal> {
        let why = hand_over::handed_over_message(self.group, previous.hand_over.as_ref());
        why.map_or(Ok(()), |why| Err(Refusal::new(Reason::NotOwned, why)))
    }

    async fn take_over(
        &mut self,
        cluster: &EksCluster,
        graph: &Graph<Cloud>,
        cloud: &Cloud,
        policy: &ExecutionPolicy,
        request: &RecoveryRequest,
    ) -> Report {
        let (ctx, group) = (self.ctx, self.group);
        let may_adopt = || -> Result<(), Failure> {
            account::grant_in(ctx, &Request::of(cluster)).map_err(recovery::refusal_failure)?;
            request.check_still_permitted(ctx, group)
        };
        let expectations = ctx.expectations(&cloud.aws.account_id, &cloud.aws.region);
        let run = Run {
            graph,
            goal: Goal::Present,
            policy,
            cloud,
            may_adopt: &may_adopt,
            journal: &NoJournal,
            expectations: &expectations,
            clock: &Timestamp::now,
        };
        // Boxed: the future is large, and the compiler cannot prove that it is Send.
        let report = crate::engine::reconcile(&run, &mut self.state.memory).boxed().await;
        self.state.failed = None;
        let events = crate::controllers::runtime::events::step_events(
            &report.steps,
            Goal::Present,
            &mut self.state.reported_failures,
        );
        ctx.events.publish(group, events);
        report
    }

    /// Observations during a recovery belong to its graph: only the inventory is kept.
    pub(super) fn end_recovery(&mut self) {
        if self.state.kind.recovering.take().is_some() {
            self.state.memory.restart(self.now);
        }
    }
}
