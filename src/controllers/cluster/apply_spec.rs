//! The steps of an EksCluster that is not being deleted, in the order of [`crate::controllers::driver`]: dereference,
//! validate, build, execute, report. Each step that can refuse comes before the first write.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::agent::roll_up::{GitOps, Secrets};
use super::agent::{self, held_revision, steps};
use super::outcome::{Observation, Outcome};
use super::status::cluster_conditions::{self, Input};
use super::status::facts::Facts;
use super::status::whole_plan::Parts;
use super::upgrade::{Upgrade, upgrade_status, waiting};
use super::{ClusterController, Reconcile, validate};
use crate::api::Reason;
use crate::api::conditions::ConditionType;
use crate::api::status_cluster::{EksClusterStatus, UpgradeStatus};
use crate::controllers::account::owned;
use crate::controllers::account::refusal::invalid;
use crate::controllers::account::{self, Grant, Refusal, Request, named};
use crate::controllers::approvals::execution_policy::{self, Proposal};
use crate::controllers::driver::{Executed, Step, Stop, Valid};
use crate::controllers::hand_over;
use crate::controllers::name_claims;
use crate::controllers::reconcile_error::{BuildError, DereferenceError, ValidateError};
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::finish_reconcile::Next;
use crate::controllers::status::plan_status::{self, LaterSteps};
use crate::controllers::status::waiting_on;
use crate::controllers::status::waits::Wait;
use crate::controllers::tag_keys;
use crate::engine::failure::span;
use crate::engine::{Goal, Graph, Plan, Report};
use crate::resources::cloud::Cloud;
use crate::resources::graph::expand::Versions;
use crate::resources::karpenter::names;
use crate::upgrade::Decision;

/// What an EksCluster refers to in the management cluster.
pub struct References {
    /// The access to its account.
    grant: Result<Grant, Refusal>,
    /// Its NodeGroups that cannot be read.
    unreadable_groups: Vec<String>,
}

/// What is known of an EksCluster that may be reconciled.
pub struct ValidCluster {
    /// The agent's Secrets.
    pub(super) secrets: Secrets,
}

/// What must exist, at the versions that may run now.
pub struct DesiredCluster {
    graph: Graph<Cloud>,
    versions: Versions,
}

impl Reconcile<'_> {
    /// Dereference: its account and its NodeGroups.
    pub(super) fn references(&self) -> References {
        References {
            grant: self.grant(),
            unreadable_groups: self.ctx.unreadable.node_groups_of(&self.namespace, &self.object.name_any()),
        }
    }

    /// Validate: the spec, its account, what it names, and the agent's Secrets.
    pub(super) async fn validate(
        &mut self,
        previous: &EksClusterStatus,
        references: References,
    ) -> Step<ClusterController, Valid<ValidCluster>> {
        let References { grant, unreadable_groups } = references;
        let spec = &self.object.spec;
        if spec.suspend {
            self.pause_agent();
            self.withdraw_requests().await;
            self.interrupt_hook_waits(|_| false).await;
            return Err(self.suspended(previous, grant).await.map_or_else(|stop| stop, Stop::with_outcome));
        }
        if let Some(why) = hand_over::handed_over_message(self.object, previous.hand_over.as_ref()) {
            return Err(ValidateError::Refused(Refusal::new(Reason::NotOwned, why)).into());
        }
        let checked = validate::with_installed_agent(spec, previous);
        let valid = validate::validate(&checked, self.ctx.settings.sources).map_err(ValidateError::Refused)?;
        let grant = grant.map_err(DereferenceError::Account)?;
        // Without them, what they require of the cluster (policies of its node role, a version to wait for) would be
        // removed.
        if let Some(group) = unreadable_groups.first() {
            let refusal = invalid("spec", format_args!("nothing is changed while a NodeGroup cannot be read: {group}"));
            return Err(DereferenceError::Dependent(refusal).into());
        }
        if let Some(refusal) = self.refused_account(previous, &grant) {
            return Err(ValidateError::Refused(refusal).into());
        }
        let named = named::by_cluster(spec);
        owned::check(&grant, &named).map_err(ValidateError::Refused)?;
        let secrets =
            if self.observes() { Secrets::Skipped } else { self.secrets(previous, valid.agent.as_ref()).await };
        let (recovered, handed_over) = (&previous.recovery, &previous.hand_over);
        let request = hand_over::request(self.object, recovered, handed_over, self.ctx.installation());
        if self.owns_nothing(previous) && request.is_none() {
            // Nothing exists yet, so everything waits for the Secret.
            if let Secrets::Missing { condition, stalled, .. } = secrets {
                let gitops = condition.clone();
                let overall = if stalled { Overall::Stalled(condition) } else { Overall::Reconciling(condition) };
                let mut outcome = self.unobserved(previous, overall, Next::after(agent::SECRET_RETRY, self.now));
                let generation = self.object.metadata.generation;
                let all = &mut outcome.conditions;
                cluster_conditions::set(all, ConditionType::GitOpsReady, generation, &gitops, self.now);
                return Err(Stop::with_outcome(outcome));
            }
        }
        Ok(Valid { grant, named, request, own: ValidCluster { secrets } })
    }

    /// Whether no other EksCluster holds its name. One that only observes, or takes over what has that name, needs none.
    pub(super) fn check_name(&self, valid: &Valid<ValidCluster>, cloud: &Cloud) -> Result<(), ValidateError> {
        if valid.request.is_some() || self.observes() {
            return Ok(());
        }
        let claims = &self.controller.name_claims;
        let checked = name_claims::check_cluster_name(self.ctx, claims, self.object, &cloud.aws.account_id);
        checked.map_err(|refusal| ValidateError::NameTaken { refusal, recheck: name_claims::RECHECK_INTERVAL })
    }

    /// Build: the graph, at the versions that the upgrade allows now.
    pub(super) async fn build(
        &mut self,
        previous: &mut EksClusterStatus,
        grant: &Grant,
        cloud: &Cloud,
    ) -> Result<DesiredCluster, BuildError> {
        *previous = self.keep_tag_keys(previous, grant).await?;
        let upgrade = self.upgrade(cloud, previous).await;
        let versions = upgrade.as_ref().map(Upgrade::versions).unwrap_or_default();
        let graph = self.graph(previous, grant, cloud, &versions).await?;
        Ok(DesiredCluster { graph, versions })
    }

    /// Observe, plan, execute: runs what may run now, and decides again for as long as that changes.
    pub(super) async fn rounds(
        &mut self,
        previous: &EksClusterStatus,
        grant: &Grant,
        cloud: &Cloud,
        wanted: DesiredCluster,
    ) -> Result<Executed<Option<Upgrade>>, BuildError> {
        /// After this many rounds, the rest waits for the next reconcile.
        const MAX_ROUNDS: usize = 4;
        let DesiredCluster { mut graph, mut versions } = wanted;
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
                return Ok(Executed { report, policy, asked, own: upgrade });
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
        grant.check_adoption(&Request::of(self.object)).err().filter(|_| owns_nothing)
    }

    /// Records in status which tags are about to be written, if any.
    async fn keep_tag_keys(
        &mut self,
        previous: &EksClusterStatus,
        grant: &Grant,
    ) -> Result<EksClusterStatus, BuildError> {
        if self.observes() {
            return Ok(previous.clone());
        }
        let wanted = self.requested_tags(grant);
        let kept =
            tag_keys::record_keys(self.ctx, self.object, self.state, &tag_keys::OF_CLUSTER, previous, &wanted).await;
        kept.map_err(BuildError::TagKeys)
    }

    /// Report: points the agent at Git once the API exists, and assembles the outcome.
    pub(super) async fn reported(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
        executed: Executed<Option<Upgrade>>,
        secrets: Secrets,
    ) -> Outcome {
        let Executed { report, policy, asked, own: upgrade } = executed;
        agent::locate(self.ctx, self.object, &self.state.memory);
        let upgrade_report = upgrade.as_ref().map(|upgrade| upgrade.status_and_message(previous, &report, self.now));
        let failed = Next::change().of(&report);
        let Report { plan, next, violations, mut expected, facts, .. } = report;
        let generation = self.object.metadata.generation;
        let ahead = upgrade.as_ref().map(|upgrade| self.ahead(upgrade)).unwrap_or_default();
        let agent_wave = self.agent_wave(previous, &policy).await;
        let Parts { in_aws, whole: plan, judged, agent } = self.parts(previous, plan, &policy, &agent_wave);
        expected.extend(agent.step.as_ref().map(|step| (steps::key(), steps::expected(step.action))));
        let subject = self.subject();
        let proposal = Proposal { subject: &subject, plan: &plan, ahead: &ahead.steps, facts: &facts };
        let agreed = execution_policy::accept_approval(&policy, proposal, &self.approvals(), previous.plan.as_ref());
        let mut next = next.map_or(Next::change(), Next::at).or(failed);
        if let Some(upgrade) = &upgrade
            && let Some(at) = upgrade.requeue_after(self.now)
        {
            next = next.or(Next::at(at));
        }
        if let Some(interval) = self.nodes_poll() {
            next = next.or(Next::after(span(interval), self.now));
        }
        let source = self.held_revision(previous, &agent).await;
        let GitOps { condition, stalled, status: mut gitops, next: then, reached } =
            self.gitops(previous, cloud, secrets, &agent, &source).await;
        let held = source.held;
        next = next.or(then).or(self.next_of_agent(previous, &agent, held.as_ref()));
        agent.keep(gitops.as_mut(), reached);
        held_revision::keep(held, self.object.spec.gitops.as_ref(), &mut gitops);
        let condition = held_revision::with_note(agent.with_upgrade_note(condition), gitops.as_ref());
        let ready = self.ready_message(gitops.as_ref().and_then(|gitops| gitops.revision.as_deref()));
        let (conditions, overall) = cluster_conditions::conditions(&Input {
            previous: &previous.conditions,
            generation,
            plan: &judged,
            violations: &violations,
            memory: &self.state.memory,
            gitops: &condition,
            gitops_stalled: stalled,
            ready: &ready,
            upgrade: upgrade.as_ref().map(|upgrade| cluster_conditions::Upgrade {
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
        let kubeconfig = self.kubeconfig_secret(previous).await;
        next = next.or(kubeconfig.next);
        let overall = match (overall, kubeconfig.pending) {
            // What else is in the way comes first.
            (Overall::Ready(_), Some(pending)) => pending,
            (overall, _) => overall,
        };
        let registration = self.registration(previous, cloud).await;
        next = next.or(registration.next);
        let overall = match (overall, registration.pending) {
            (Overall::Ready(_), Some(pending)) => pending,
            (overall, _) => overall,
        };
        let of_upgrade = upgrade.as_ref().and_then(|upgrade| upgrade.hook.clone());
        let (overall, then) = self.with_hooks(overall, of_upgrade, cloud).await;
        next = next.or(then);
        let mut conditions = cluster_conditions::with_overall(conditions, generation, &overall, self.now);
        let overridden = self
            .grant()
            .ok()
            .and_then(|grant| tag_keys::describe_overridden(&grant, "spec.tags", &self.object.spec.tags));
        tag_keys::report_overridden(self.ctx, self.object, &previous.conditions, &mut conditions, overridden);
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
        self.publish_plan_approval(previous, &plan).await;
        let support = upgrade.as_ref().and_then(Upgrade::support);
        let upgrade = upgrade.zip(upgrade_report).map(|(upgrade, (status, _))| {
            let support_warning = self.warn_of_support(&upgrade, status.support_warning.as_deref());
            UpgradeStatus { support_warning, ..status }
        });
        let account_id = cloud.aws.account_id.to_string();
        let observed = Observation {
            account_id,
            plan,
            drift,
            synced,
            tag_keys,
            gitops,
            upgrade,
            support,
            kubeconfig_secret: kubeconfig.secret,
            registration: registration.secret,
        };
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
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        let mut waits = waiting_on::waits_of_plan(in_aws, &self.state.memory, self.now);
        waits.extend(decision.map(|decision| waiting::of_decision(decision, &groups)).unwrap_or_default());
        if waits.is_empty() && in_aws.is_settled() {
            waits.extend(waiting_on::wait_of_agent(agent));
        }
        waits
    }

    /// The access to its account.
    fn grant(&self) -> Result<Grant, Refusal> {
        account::grant_in(self.ctx, &Request::of(self.object))
    }

    /// The tags that resources carry because of the spec, and what stands for those of Karpenter.
    fn requested_tags(&self, grant: &Grant) -> BTreeMap<String, String> {
        let mut tags = grant.settings.tags_with(&self.object.spec.tags);
        if self.object.spec.karpenter.is_some() {
            tags.insert(names::DISCOVERY_REQUESTED.to_owned(), String::new());
        }
        tags
    }

    /// Keys of tags that resources may carry.
    fn tag_keys(&self, previous: &EksClusterStatus, plan: &Plan) -> Vec<String> {
        let Ok(grant) = self.grant() else { return previous.tag_keys.clone() };
        let wanted = self.requested_tags(&grant);
        tag_keys::keys_to_retain(&tag_keys::OF_CLUSTER, previous, &wanted, plan, &self.state.memory)
    }

    /// The steps that follow the engine's plan.
    fn ahead(&self, upgrade: &Upgrade) -> LaterSteps {
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
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
