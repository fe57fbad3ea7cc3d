//! The steps of a NodeGroup that is not being deleted, in the order of [`crate::controllers::driver`]: dereference,
//! validate, build, execute, report. Its cluster decides where and when.

use std::sync::Arc;

use jiff::Timestamp;

use super::replacement::node_group_names::immutable_digest;
use super::replacement::progress::DecidedReplacement;
use super::{NodeGroupController, Outcome, Reconcile, node_group_status, target, valid, waiting};
use crate::api::policy::ChangePolicy;
use crate::api::status_cluster::NodeGroupStatus;
use crate::api::{EksCluster, Reason, SpecError};
use crate::controllers::account::{self, Grant, Request, named, owned};
use crate::controllers::approvals::execution_policy::{self, Proposal};
use crate::controllers::cluster::status::view::view;
use crate::controllers::driver::{Executed, Step, Stop, Valid};
use crate::controllers::hand_over;
use crate::controllers::name_claims;
use crate::controllers::reconcile_error::{BuildError, DereferenceError, ValidateError};
use crate::controllers::status::finish_reconcile::{self, Next};
use crate::controllers::status::journal::NoJournal;
use crate::controllers::status::plan_status::{self, LaterSteps};
use crate::controllers::tag_keys::{self, OF_AUTO_SCALING_GROUP, OF_NODE_GROUP};
use crate::engine::{ExecutionPolicy, Failure, Goal, Graph, Report};
use crate::resources::cloud::Cloud;
use crate::resources::eks::node_group::{self, Target};
use crate::resources::graph::expand::{self, ClusterView, NodeGroupInput, SecondNodeGroup};

/// What a NodeGroup refers to in the management cluster.
pub struct References {
    cluster: Option<Arc<EksCluster>>,
    /// Why its cluster cannot be read.
    unreadable: Option<String>,
}

/// What is known of a NodeGroup that may be reconciled.
pub struct ValidGroup {
    pub cluster: Arc<EksCluster>,
    pub view: ClusterView,
    /// What its cluster lacks for a node group that does not exist yet.
    waits: Option<String>,
}

impl ValidGroup {
    /// Of a NodeGroup of `cluster` that exists in AWS.
    pub fn of(cluster: Arc<EksCluster>) -> Self {
        Self { view: view(&cluster), cluster, waits: None }
    }
}

type Tags = std::collections::BTreeMap<String, String>;

/// What must exist.
pub struct DesiredNodeGroup {
    graph: Graph<Cloud>,
    own: ReportInputs,
}

/// What the report needs of it.
pub struct ReportInputs {
    target: Target,
    /// When a maintenance window opens.
    opens: Option<Timestamp>,
    tags: Tags,
    /// Those on its Auto Scaling group.
    group_tags: Tags,
    /// That its account replaces some of its own tags.
    overridden: Option<String>,
    /// Why nothing that disrupts workloads may start, if so.
    closed: Option<String>,
    /// The replacement that the graph shows.
    replacing: DecidedReplacement,
}

/// Why a replacement waits while there is a hold.
const ON_HOLD: &str = "waits until no hold is left";

/// Why a replacement waits. `opens`: when the next window does.
fn waits_for_window(opens: Option<Timestamp>) -> String {
    let opens = opens.map_or("none opens again".to_owned(), |opens| format!("the next opens {opens}"));
    format!("waits for a maintenance window: {opens}")
}

impl Reconcile<'_> {
    /// Dereference: its cluster.
    pub(super) fn references(&self) -> References {
        let name = &self.object.spec.cluster_ref.name;
        References { cluster: self.ctx.cluster(&self.namespace, name), unreadable: self.cluster_unreadable() }
    }

    /// While its cluster cannot be read, what the cluster requests is unknown, so nothing is done.
    pub(super) fn cluster_unreadable(&self) -> Option<String> {
        let name = &self.object.spec.cluster_ref.name;
        let reason = self.ctx.unreadable.reason::<EksCluster>(Some(&self.namespace), name)?;
        Some(format!("EksCluster {name} cannot be read, and nothing is done until it is corrected: {reason}"))
    }

    /// Validate: the spec, its cluster, their account, and what it names.
    pub(super) async fn validate(
        &mut self,
        previous: &NodeGroupStatus,
        references: References,
    ) -> Step<NodeGroupController, Valid<ValidGroup>> {
        let References { cluster, unreadable } = references;
        let spec = &self.object.spec;
        if spec.suspend {
            let message = "spec.suspend is true: AWS is not touched";
            return Err(Stop::with_outcome(self.while_suspended(previous, cluster, message).await));
        }
        // With a suspended cluster it is suspended, also when both are handed over.
        let is_suspended = cluster.as_ref().is_some_and(|cluster| cluster.spec.suspend);
        let is_here = || if is_suspended { Ok(()) } else { self.still_here(previous) };
        let checked = valid(self.object).and_then(|()| is_here());
        checked.map_err(ValidateError::Refused)?;
        let name = &spec.cluster_ref.name;
        let wait = |message: String| Stop::with_outcome(self.waiting(previous, Reason::WaitingForCluster, message));
        if let Some(message) = unreadable {
            return Err(wait(message));
        }
        let Some(cluster) = cluster else {
            return Err(wait(format!("EksCluster {}/{name} does not exist (yet)", self.namespace)));
        };
        if cluster.metadata.deletion_timestamp.is_some() {
            return Err(wait(format!("EksCluster {name} is being deleted: nothing is created for it")));
        }
        if cluster.spec.suspend {
            let message = "its EksCluster is suspended: AWS is not touched";
            return Err(Stop::with_outcome(self.while_suspended(previous, Some(cluster), message).await));
        }
        // Nothing is done for a cluster that is handed over, or not taken back yet.
        if let Some(why) = hand_over::cluster_handed_over_message(&cluster) {
            return Err(wait(format!("{why}: nothing is changed")));
        }
        if let Err(refusal) = name_claims::check_node_group_name(self.ctx, self.object) {
            let recheck = name_claims::RECHECK_INTERVAL;
            return Err(ValidateError::NameTaken { refusal, recheck }.into());
        }
        let grant = account::grant_in(self.ctx, &Request::of(&cluster)).map_err(DereferenceError::Account)?;
        self.state.note_adoption(grant.adoption, self.now);
        let named = named::by_node_group_in(name, &cluster.spec, spec);
        owned::check(&grant, &named).map_err(ValidateError::Refused)?;
        let own = ValidGroup::of(cluster);
        let waits = own.view.not_ready.clone().filter(|_| self.owns_nothing(previous));
        let (recovered, handed_over) = (&previous.recovery, &previous.hand_over);
        let request = hand_over::request(self.object, recovered, handed_over, self.ctx.installation());
        Ok(Valid { grant, named, request, own: ValidGroup { waits, ..own } })
    }

    /// Nothing exists yet, so its cluster reports first what is wrong with the account.
    pub(super) fn unconnected(&self, previous: &NodeGroupStatus, own: &ValidGroup, failure: Failure) -> Stop<Outcome> {
        self.await_cluster(previous, own).err().unwrap_or_else(|| ValidateError::Session(failure).into())
    }

    /// Waits for its cluster before anything is created.
    pub(super) fn await_cluster(&self, previous: &NodeGroupStatus, own: &ValidGroup) -> Step<NodeGroupController, ()> {
        match &own.waits {
            Some(why) => Err(Stop::with_outcome(self.waiting(previous, Reason::WaitingForCluster, why.clone()))),
            None => Ok(()),
        }
    }

    /// Build: the graph, at the version that the cluster's upgrade and windows allow now.
    pub(super) async fn build(
        &mut self,
        previous: &mut NodeGroupStatus,
        valid: &Valid<ValidGroup>,
        cloud: &Cloud,
    ) -> Result<DesiredNodeGroup, BuildError> {
        let Valid { grant, own: ValidGroup { cluster, view, .. }, .. } = valid;
        let change_policy = self.change_policy(cluster);
        let (mut target, opens) = target::target(self.object, cluster, self.now);
        if let Some(found) = self.discover_groups(previous, cluster, cloud).await.map_err(BuildError::Survey)? {
            *previous = found;
        }
        let closed = (!target.replace).then(|| waits_for_window(opens));
        let closed = if self.holds.any() { Some(ON_HOLD.to_owned()) } else { closed };
        let replacing = self.decide_replacement(previous, cluster, closed.as_deref());
        if change_policy != ChangePolicy::Observe {
            *previous = self.record_pair(previous, &replacing).await?;
        }
        let desired = immutable_digest(&self.object.spec);
        let (name, beside) = replacing.beside(&desired, change_policy == ChangePolicy::Approval);
        let tags = expand::node_group_tags(&self.object.spec, view, &grant.settings);
        let group_tags = grant.settings.with_enforced_values(&self.object.spec.auto_scaling_group_tags);
        let graph = expand::check_tag_count(&tags).and_then(|()| {
            target.node = expand::node_content(&self.object.spec, view, &name, &tags)?;
            self.graph(grant, cloud, view, &target, previous, (&name, beside))
        });
        let graph = graph.map_err(BuildError::Spec)?;
        if change_policy != ChangePolicy::Observe {
            for (record, tags) in [(&OF_NODE_GROUP, &tags), (&OF_AUTO_SCALING_GROUP, &group_tags)] {
                let kept = tag_keys::record_keys(self.ctx, self.object, self.state, record, previous, tags).await;
                *previous = kept.map_err(BuildError::TagKeys)?;
            }
        }
        let overridden = tag_keys::describe_overridden_of(grant, &self.object.spec);
        Ok(DesiredNodeGroup {
            graph,
            own: ReportInputs { target, opens, tags, group_tags, overridden, closed, replacing },
        })
    }

    /// Observe, plan, execute.
    pub(super) async fn execute(
        &mut self,
        previous: &NodeGroupStatus,
        valid: &Valid<ValidGroup>,
        cloud: &Cloud,
        wanted: DesiredNodeGroup,
    ) -> Executed<ReportInputs> {
        let DesiredNodeGroup { graph, own } = wanted;
        let (policy, asked) = self.policy(previous, &valid.own.cluster, &valid.grant, &own.target);
        let report = self.engine(&valid.own.cluster, &graph, cloud, Goal::Present, &policy).await;
        Executed { report, policy, asked, own }
    }

    /// Report: reads the nodes when that is due, and assembles the outcome.
    pub(super) async fn report(
        &mut self,
        previous: &NodeGroupStatus,
        cluster: &EksCluster,
        cloud: &Cloud,
        executed: Executed<ReportInputs>,
    ) -> Outcome {
        let Executed { report, policy, asked, own } = executed;
        let ReportInputs { target, opens, tags, group_tags, overridden, closed, replacing: before } = own;
        let replacing = self.decide_replacement(previous, cluster, closed.as_deref());
        let due = self.state.kind.nodes.poll(self.ctx, self.object, cluster, &cloud.aws, &self.state.memory).await;
        let [tag_keys, auto_scaling_group_tag_keys] = [(&OF_NODE_GROUP, &tags), (&OF_AUTO_SCALING_GROUP, &group_tags)]
            .map(|(record, tags)| tag_keys::keys_to_retain(record, previous, tags, &report.plan, &self.state.memory));
        let mut outcome = self.reported(previous, report, &target, (&policy, &asked), Some(&replacing));
        outcome.status.tag_keys = tag_keys;
        outcome.status.auto_scaling_group_tag_keys = auto_scaling_group_tag_keys;
        let advanced = self.advance_replacement(cluster, cloud, &replacing, &policy).await;
        let moved_on = (before.decision != replacing.decision).then_some(self.now);
        self.publish_window_wait(previous, &outcome.status);
        let conditions = &mut outcome.status.conditions;
        tag_keys::report_overridden(self.ctx, self.object, &previous.conditions, conditions, overridden);
        self.publish_approval_in(previous, &outcome.status).await;
        for at in due.into_iter().chain(opens).chain(advanced).chain(moved_on) {
            outcome.next = outcome.next.or(Next::at(at));
        }
        outcome
    }

    /// Whether the object owns no node group in AWS, according to status and records.
    pub(super) fn owns_nothing(&self, previous: &NodeGroupStatus) -> bool {
        previous.arn.is_none() && self.state.memory.iter().all(|(_, entry)| entry.recorded.is_none())
    }

    /// Its graph.
    pub(super) fn graph(
        &self,
        grant: &Grant,
        cloud: &Cloud,
        view: &ClusterView,
        target: &Target,
        previous: &NodeGroupStatus,
        (name, beside): (&str, SecondNodeGroup),
    ) -> Result<Graph<Cloud>, SpecError> {
        let key = node_group::key(name);
        let is_recorded = previous.arn.is_some() && key == self.key(previous);
        expand::node_group(&NodeGroupInput {
            spec: &self.spec_with_template_id(),
            node_group_name: name,
            owner: &cloud.owner,
            account: &grant.settings,
            cluster: view,
            target: target.clone(),
            exists: is_recorded || self.state.memory.observed(&key).is_some(),
            with_template: previous.names_with_own_template(&self.recorded_pair(previous).in_use.name),
            beside,
            tag_keys: &previous.tag_keys,
            group_tag_keys: &previous.auto_scaling_group_tag_keys,
            intervals: cloud.intervals,
        })
    }

    /// Observes, plans, checks and executes.
    pub(super) async fn engine(
        &mut self,
        cluster: &EksCluster,
        graph: &Graph<Cloud>,
        cloud: &Cloud,
        goal: Goal,
        policy: &ExecutionPolicy,
    ) -> Report {
        let (ctx, adoption) = (self.ctx, cloud.adoption);
        let may_adopt = || account::check_still_adoptable(ctx, &Request::of(cluster), adoption);
        self.engine_while(&may_adopt, graph, cloud, goal, policy).await
    }

    /// What may run: by its cluster's policies, the approvals, and known drift.
    pub(super) fn policy(
        &self,
        previous: &NodeGroupStatus,
        cluster: &EksCluster,
        grant: &Grant,
        target: &Target,
    ) -> (ExecutionPolicy, String) {
        let spec = &self.object.spec;
        let wanted = execution_policy::desired_digest(spec, &grant.settings, &cluster.spec.tags);
        let asked = execution_policy::desired_digest(spec, &grant.settings, &(&wanted, &target.version));
        // An upgrade is approved as a whole, with its cluster.
        let key = self.key(previous).to_string();
        let of_cluster = cluster.status.as_ref().and_then(|status| status.plan.as_ref());
        let approved: Vec<_> = of_cluster
            .map(|plan| plan.approved.iter().filter(|step| step.resource == key).cloned().collect())
            .unwrap_or_default();
        let input = execution_policy::Input {
            change: self.change_policy(cluster),
            drift: cluster.spec.drift_policy,
            wanted,
            target: asked.clone(),
            plan: previous.plan.as_ref(),
            approved_elsewhere: &approved,
            known: &previous.drift,
            synced: previous.synced.as_deref(),
            on_hold: self.holds.any(),
        };
        (input.policy(), asked)
    }

    /// The outcome of what the engine did.
    pub(super) fn reported(
        &self,
        previous: &NodeGroupStatus,
        report: Report,
        target: &Target,
        (policy, asked): (&ExecutionPolicy, &str),
        replacing: Option<&DecidedReplacement>,
    ) -> Outcome {
        let failed = Next::change().of(&report);
        let Report { plan, next, violations, expected, facts, .. } = report;
        let generation = self.object.metadata.generation;
        let (subject, approvals) = (finish_reconcile::subject(self.object), self.approvals(previous));
        let proposal = Proposal { subject: &subject, plan: &plan, ahead: &[], facts: &facts };
        let agreed = execution_policy::accept_approval(policy, proposal, &approvals, previous.plan.as_ref());
        let mut next = next.map_or(Next::change(), Next::at);
        if agreed.is_new {
            // As soon as status records it.
            next = Next::at(self.now);
        }
        let next = next.or(failed);
        let object = self.as_argument();
        let waits = execution_policy::describe_pending_plan(&agreed, &plan.summary(), &object, &approvals);
        let (memory, ahead) = (&self.state.memory, &LaterSteps::default());
        let changed_outside = previous.synced.as_deref() == Some(asked);
        let shown = plan_status::Input {
            plan: &plan,
            expected: &expected,
            memory,
            generation,
            ahead,
            changed_outside,
            facts: &facts,
        };
        let groups = replacing.map_or(previous.clone(), |replacing| self.with_pair(previous, replacing));
        let input = node_group_status::Input {
            previous: &groups,
            generation,
            key: &self.key(&groups),
            replacing,
            plan: &plan,
            shown: plan_status::plan_status(shown, agreed.clone()),
            drift: execution_policy::drift(&plan, &previous.drift, self.now),
            synced: execution_policy::update_synced(&plan, asked, previous.synced.as_deref()),
            waits: &waits,
            approved: agreed.is_new,
            violations: &violations,
            memory: &self.state.memory,
            spec: &self.object.spec,
            target,
            on_hold: self.holds.any(),
            nodes: &self.state.kind.nodes.last_observation(),
            now: self.now,
        };
        let (status, overall) = node_group_status::status(&input);
        let waits = Some(waiting::waits(&input, &overall));
        Outcome { status, overall, waits, next }
    }

    /// Runs the engine without a journal: its resources are found again by name.
    pub(super) async fn engine_while(
        &mut self,
        may_adopt: &(dyn Fn() -> Result<(), Failure> + Sync),
        graph: &Graph<Cloud>,
        cloud: &Cloud,
        goal: Goal,
        policy: &ExecutionPolicy,
    ) -> Report {
        let report = self.reconcile_graph((&NoJournal, may_adopt), graph, cloud, goal, policy).await;
        self.publish_report(&report, goal, []);
        report
    }
}
