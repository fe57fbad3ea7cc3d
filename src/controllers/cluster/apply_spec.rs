//! Reconciles an EksCluster that is not being deleted. Each step that can refuse comes before the first write.

use super::agent::roll_up::{GitOps, Secrets};
use super::agent::{self, steps};
use super::status::conditions::{self, Input};
use super::status::facts::Facts;
use super::status::whole_plan::Parts;
use super::upgrade::{Upgrade, status as upgrade_status, waiting};
use super::validate;
use super::{Observation, Outcome, Reconcile};
use crate::api::conditions::ConditionType;
use crate::api::policy::ChangePolicy;
use crate::api::status::{EksClusterStatus, UpgradeStatus};
use crate::api::{Reason, SpecError};
use crate::controllers::account::owned::{self, Denied};
use crate::controllers::account::{self, Grant, Refusal, Request, named};
use crate::controllers::approvals::execution_policy::Proposal;
use crate::controllers::approvals::{self, execution_policy};
use crate::controllers::hand_over;
use crate::controllers::name_claims;
use crate::controllers::runtime::apply;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::plan_status::{self, Ahead};
use crate::controllers::status::report::{MANAGEMENT_API, Next};
use crate::controllers::status::waiting_on;
use crate::controllers::status::waits::Wait;
use crate::controllers::tag_keys;
use crate::engine::{ExecutionPolicy, Failure, Goal, Graph, Plan, Report};
use crate::resources::cloud::Cloud;
use crate::resources::graph::expand::Versions;
use crate::upgrade::Decision;

/// Why there is no graph.
pub(super) enum NoGraph {
    Spec(SpecError),
    Unobserved(Failure),
}

/// The result of the rounds.
struct Done {
    report: Report,
    upgrade: Option<Upgrade>,
    policy: ExecutionPolicy,
    /// Digest of the requested state.
    asked: String,
}

impl Reconcile<'_> {
    /// Reconciles it to the spec.
    pub(super) async fn present(&mut self, previous: &EksClusterStatus) -> Option<Outcome> {
        let spec = &self.cluster.spec;
        if spec.suspend {
            self.pause_agent();
            return Some(self.suspended(previous).await);
        }
        if let Some(why) = hand_over::handed_over_message(self.cluster, previous.hand_over.as_ref()) {
            return Some(self.refused(previous, Refusal::new(Reason::NotOwned, why), Next::change()));
        }
        let checked = validate::with_installed_agent(spec, previous);
        let valid = match validate::validate(&checked, self.ctx.settings.sources) {
            Ok(valid) => valid,
            Err(refusal) => return Some(self.refused(previous, refusal, Next::change())),
        };
        let grant = match self.grant() {
            Ok(grant) => grant,
            Err(refusal) => return Some(self.refused(previous, refusal, Next::change())),
        };
        // Without them, what they require of the cluster (policies of its node role, a version to wait for) would be
        // removed.
        let groups = self.ctx.unreadable.node_groups_of(&self.namespace, &kube::ResourceExt::name_any(self.cluster));
        if let Some(group) = groups.first() {
            let refusal =
                validate::invalid("spec", format_args!("nothing is changed while a NodeGroup cannot be read: {group}"));
            return Some(self.refused(previous, refusal, Next::change()));
        }
        if let Some(refusal) = self.refused_account(previous, &grant) {
            return Some(self.refused(previous, refusal, Next::change()));
        }
        let named = named::by_cluster(spec);
        let undecided = match owned::check(&grant, &named) {
            Ok(undecided) => undecided,
            Err(refusal) => return Some(self.refused(previous, refusal, Next::change())),
        };
        let observes = self.change_policy() == ChangePolicy::Observe;
        let secrets = if observes { Secrets::Skipped } else { self.secrets(previous, valid.agent.as_ref()).await };
        let (recovered, handed_over) = (&previous.recovery, &previous.hand_over);
        let request = hand_over::request(self.cluster, recovered, handed_over, self.ctx.installation());
        if self.owns_nothing(previous) && request.is_none() {
            // Nothing exists yet, so everything waits for the Secret.
            if let Secrets::Missing { condition, stalled, .. } = secrets {
                let gitops = condition.clone();
                let overall = if stalled { Overall::Stalled(condition) } else { Overall::Reconciling(condition) };
                let mut outcome = self.unobserved(previous, overall, Next::after(agent::SECRET_RETRY, self.now));
                let generation = self.cluster.metadata.generation;
                let all = &mut outcome.conditions;
                conditions::set(all, ConditionType::GitOpsReady, generation, &gitops, self.now);
                return Some(outcome);
            }
        }
        if let Some(failed) = self.state.failed.clone().filter(|failed| failed.retry_at > self.now) {
            return Some(self.still_failing(previous, &failed));
        }
        let cloud = match self.cloud(&grant, previous).await {
            Ok(cloud) => cloud,
            Err(failure) => return Some(self.failed(previous, failure)),
        };
        if request.is_none()
            && let Err(refusal) = self.name_is_free(&cloud, observes)
        {
            return Some(self.refused(previous, refusal, Next::after(name_claims::RECHECK_INTERVAL, self.now)));
        }
        let age = self.survey_age();
        match owned::check_owned(self.ctx, &cloud.aws, &grant, &self.namespace, &undecided, age).await {
            Ok(()) => {}
            Err(Denied::Refused(refusal)) => return Some(self.refused(previous, refusal, Next::change())),
            Err(Denied::Unreadable(failure)) => return Some(self.failed(previous, failure)),
        }
        if let Some(request) = request {
            return Some(self.recover(previous, &grant, &cloud, request).await);
        }
        self.end_recovery();
        if let Err(failure) = self.validate_against_aws(&cloud.aws, &grant, previous).await {
            return Some(self.failed(previous, failure));
        }
        let previous = &match self.keep_tag_keys(previous, &grant).await {
            Ok(previous) => previous,
            Err(outcome) => return Some(*outcome),
        };
        let upgrade = self.upgrade(&cloud, previous).await;
        let versions = upgrade.as_ref().map(Upgrade::versions).unwrap_or_default();
        let graph = match self.graph(previous, &grant, &cloud, &versions).await {
            Ok(graph) => graph,
            Err(no_graph) => return Some(self.no_graph(previous, no_graph)),
        };
        if !observes && let Some(outcome) = self.finalizer(previous).await {
            return Some(outcome);
        }
        let done = match self.rounds(previous, &grant, &cloud, graph, versions).await {
            Ok(done) => done,
            Err(no_graph) => return Some(self.no_graph(previous, no_graph)),
        };
        self.state.kind.steady = done.report.plan.is_settled();
        agent::locate(self.ctx, self.cluster, &self.state.memory);
        Some(self.reported(previous, &cloud, done, secrets).await)
    }

    /// Whether no other EksCluster holds its name. One that only observes needs no name.
    fn name_is_free(&self, cloud: &Cloud, observes: bool) -> Result<(), Refusal> {
        if observes { Ok(()) } else { name_claims::check_cluster_name(self.ctx, self.cluster, &cloud.aws.account_id) }
    }

    /// Adds our finalizer before the first write to AWS. `Some`: it was not added.
    pub(super) async fn finalizer(&mut self, previous: &EksClusterStatus) -> Option<Outcome> {
        if self.has_finalizer() {
            return None;
        }
        if let Err(error) = apply::add_finalizer(&self.ctx.client, self.cluster).await {
            let message =
                format!("the finalizer was not added, so nothing is created in AWS: {}", apply::describe_error(&error));
            tracing::warn!(cluster = self.owner().cluster, message);
            let overall = self.reconciling(Reason::Pending, message);
            let next = Next::after(report_pause(), self.now).failed(MANAGEMENT_API);
            return Some(self.unobserved(previous, overall, next));
        }
        self.state.kind.finalizer = Some(std::time::Instant::now());
        None
    }

    /// Runs what may run now, and decides again for as long as that changes.
    async fn rounds(
        &mut self,
        previous: &EksClusterStatus,
        grant: &Grant,
        cloud: &Cloud,
        mut graph: Graph<Cloud>,
        mut versions: Versions,
    ) -> Result<Done, NoGraph> {
        /// After this many rounds, the rest waits for the next reconcile.
        const MAX_ROUNDS: usize = 4;
        let (mut steps, mut ended) = (Vec::new(), Vec::new());
        let mut round = 0;
        loop {
            round += 1;
            let (policy, asked) = self.policy(previous, grant, &versions);
            let mut report = self.engine(&graph, cloud, Goal::Present, &policy).await;
            steps.append(&mut report.steps);
            ended.append(&mut report.finished_operations);
            let upgrade = self.upgrade(cloud, previous).await;
            let next = upgrade.as_ref().map(Upgrade::versions).unwrap_or_default();
            if next == versions || round == MAX_ROUNDS {
                let report = Report { steps, finished_operations: ended, ..report };
                return Ok(Done { report, upgrade, policy, asked });
            }
            versions = next;
            graph = self.graph(previous, grant, cloud, &versions).await?;
        }
    }

    /// Why nothing new may start in its account. An object that already owns something there continues.
    fn refused_account(&mut self, previous: &EksClusterStatus, grant: &Grant) -> Option<Refusal> {
        self.state.note_adoption(grant.adoption, self.now);
        let owns_nothing = self.owns_nothing(previous);
        if owns_nothing
            && let Some(name) = &grant.account
            && account::is_being_deleted(self.ctx, name)
        {
            let message = format!(
                "AwsAccount {name:?} is being deleted: wait until it is created again, or delete this object and \
                 create it again with another spec.accountRef, which cannot be changed"
            );
            return Some(Refusal::new(Reason::AccessDenied, message));
        }
        grant.check_adoption(&Request::of(self.cluster)).err().filter(|_| owns_nothing)
    }

    fn no_graph(&mut self, previous: &EksClusterStatus, no_graph: NoGraph) -> Outcome {
        match no_graph {
            NoGraph::Spec(error) => self.refused(previous, Refusal::from(error), Next::change()),
            NoGraph::Unobserved(failure) => self.failed(previous, failure),
        }
    }

    /// Records in status which tags are about to be written, if any.
    async fn keep_tag_keys(
        &mut self,
        previous: &EksClusterStatus,
        grant: &Grant,
    ) -> Result<EksClusterStatus, Box<Outcome>> {
        if self.change_policy() == ChangePolicy::Observe {
            return Ok(previous.clone());
        }
        let wanted = grant.settings.tags_with(&self.cluster.spec.tags);
        match tag_keys::record_keys(self.ctx, self.cluster, self.state, previous, &wanted).await {
            Ok(previous) => Ok(previous),
            Err(message) => {
                let overall = self.reconciling(Reason::Pending, message);
                let next = Next::after(report_pause(), self.now).failed(MANAGEMENT_API);
                Err(Box::new(self.unobserved(previous, overall, next)))
            }
        }
    }

    /// Points the agent at Git once the API exists, and assembles the outcome.
    async fn reported(&mut self, previous: &EksClusterStatus, cloud: &Cloud, done: Done, secrets: Secrets) -> Outcome {
        let Done { report, upgrade, policy, asked } = done;
        let upgrade_report = upgrade.as_ref().map(|upgrade| upgrade.status_and_message(previous, &report, self.now));
        let failed = Next::change().of(&report);
        let Report { plan, next, violations, mut expected, facts, .. } = report;
        let generation = self.cluster.metadata.generation;
        let ahead = upgrade.as_ref().map(|upgrade| self.ahead(upgrade)).unwrap_or_default();
        let Parts { in_aws, whole: plan, judged, agent } = self.parts(previous, plan, &policy);
        expected.extend(agent.step.as_ref().map(|step| (steps::key(), steps::expected(step.action))));
        let subject = self.subject();
        let proposal = Proposal { subject: &subject, plan: &plan, ahead: &ahead.steps, facts: &facts };
        let agreed = execution_policy::accept_approval(&policy, proposal, &self.approvals(), previous.plan.as_ref());
        let mut next = next.map_or(Next::change(), Next::at).or(failed);
        if let Some(upgrade) = &upgrade
            && let Some(at) = upgrade_status::requeue_after(&upgrade.decision, self.now)
        {
            next = next.or(Next::at(at));
        }
        let GitOps { condition, stalled, status: mut gitops, next: then, reached } =
            self.gitops(previous, cloud, secrets, &agent).await;
        agent.keep(gitops.as_mut(), reached);
        let condition = agent.with_upgrade_note(condition);
        next = next.or(then).or(agent.next.map_or(Next::change(), Next::at));
        let ready = self.ready_message(gitops.as_ref().and_then(|gitops| gitops.revision.as_deref()));
        let (conditions, overall) = conditions::conditions(&Input {
            previous: &previous.conditions,
            generation,
            plan: &judged,
            violations: &violations,
            memory: &self.state.memory,
            gitops: &condition,
            gitops_stalled: stalled,
            ready: &ready,
            upgrade: upgrade.as_ref().map(|upgrade| conditions::Upgrade {
                decision: &upgrade.decision,
                message: upgrade_report.as_ref().and_then(|(_, message)| message.as_deref()),
            }),
            now: self.now,
        });
        let overall = match overall {
            // As soon as status records it.
            _ if agreed.is_new => {
                next = Next::at(self.now).or(failed);
                self.reconciling(Reason::Updating, format!("plan {} is approved", agreed.hash))
            }
            Overall::Stalled(condition) if condition.reason == Reason::WaitingForApproval => {
                Overall::Stalled(self.waits(&agreed, &plan.summary()))
            }
            other => other,
        };
        let conditions = conditions::with_overall(conditions, generation, &overall, self.now);
        let waits = self.waited_for(&in_aws, upgrade.as_ref().map(|upgrade| &upgrade.decision), &condition);
        let drift = execution_policy::drift(&in_aws, &previous.drift, self.now);
        let synced = execution_policy::update_synced(&in_aws, &asked, previous.synced.as_deref());
        let tag_keys = self.tag_keys(previous, &in_aws);
        let changed_outside = previous.synced.as_deref() == Some(asked.as_str());
        let input = plan_status::Input {
            plan: &plan,
            expected: &expected,
            memory: &self.state.memory,
            generation,
            ahead: &ahead,
            changed_outside,
            facts: &facts,
        };
        let plan = plan_status::plan_status(input, agreed);
        if let Some(approved_by) = approvals::newly_accepted(previous.plan.as_ref(), &plan) {
            self.publish_approval(&format!("plan {}", plan.hash), &plan.summary, approved_by).await;
        }
        let support = upgrade.as_ref().and_then(Upgrade::support);
        let upgrade = upgrade.zip(upgrade_report).map(|(upgrade, (status, _))| {
            let support_warning = self.warn_of_support(&upgrade, status.support_warning.as_deref());
            UpgradeStatus { support_warning, ..status }
        });
        let account_id = cloud.aws.account_id.to_string();
        let observed = Observation { account_id, plan, drift, synced, tag_keys, gitops, upgrade, support };
        Outcome {
            conditions,
            overall,
            observed: Some(observed),
            deletion: None,
            waits: Some(waits),
            recovery: None,
            next,
        }
    }

    /// What is waited for: AWS, the upgrade, and the agent once everything else exists.
    fn waited_for(&self, in_aws: &Plan, decision: Option<&Decision>, agent: &ConditionValue) -> Vec<Wait> {
        let groups = self.ctx.node_groups_of(&self.namespace, &kube::ResourceExt::name_any(self.cluster));
        let mut waits = waiting_on::waits_of_plan(in_aws, &self.state.memory, self.now);
        waits.extend(decision.map(|decision| waiting::of_decision(decision, &groups)).unwrap_or_default());
        if waits.is_empty() && in_aws.is_settled() {
            waits.extend(waiting_on::wait_of_agent(agent));
        }
        waits
    }

    /// Keys of tags that resources may carry.
    fn tag_keys(&self, previous: &EksClusterStatus, plan: &Plan) -> Vec<String> {
        let Ok(grant) = self.grant() else { return previous.tag_keys.clone() };
        let wanted = grant.settings.tags_with(&self.cluster.spec.tags);
        tag_keys::keys_to_retain(&previous.tag_keys, &wanted, plan, &self.state.memory)
    }

    /// The steps that follow the engine's plan.
    fn ahead(&self, upgrade: &Upgrade) -> Ahead {
        let groups = self.ctx.node_groups_of(&self.namespace, &kube::ResourceExt::name_any(self.cluster));
        let version_of = |name: &str| {
            let group = groups.iter().find(|group| group.node_group_name() == name)?;
            group.status.as_ref()?.version.clone()
        };
        upgrade_status::ahead(&upgrade.decision, version_of)
    }

    fn ready_message(&self, revision: Option<&str>) -> String {
        let version = Facts(&self.state.memory).of_cluster("version").unwrap_or_default();
        match revision {
            Some(revision) => format!("Kubernetes {version}; Git revision {revision} is applied"),
            None => format!("Kubernetes {version}"),
        }
    }
}

fn report_pause() -> jiff::SignedDuration {
    jiff::SignedDuration::from_secs(5)
}
