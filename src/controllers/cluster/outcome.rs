//! The outcome of a reconcile of an EksCluster, and the status that it leads to. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::status::{available, facts};
use super::{Reconcile, agent, status};
use crate::api::status::{
    DeletionStatus, DriftStatus, EksClusterStatus, GitOpsStatus, PlanStatus, SupportStatus, UpgradeStatus,
};
use crate::controllers::driver::StatusUpdate;
use crate::controllers::hand_over::retained_hand_over;
use crate::controllers::recovery::{Done, Recovering};
use crate::controllers::status::conditions::Overall;
use crate::controllers::status::report::Next;
use crate::controllers::status::waits::Wait;

/// Outcome of a reconcile, for status.
pub struct Outcome {
    pub conditions: Vec<Condition>,
    pub overall: Overall,
    /// What was observed; `None`: nothing was observed.
    pub observed: Option<Observation>,
    /// A deletion that starts, or waits; `None`: as in the last status.
    pub deletion: Option<DeletionStatus>,
    /// What is waited for; `None`: nothing was observed, or the conditions say what is waited for.
    pub waits: Option<Vec<Wait>>,
    /// A recovery that is in progress, or done; `None`: as in the last status.
    pub recovery: Option<Recovering>,
    pub next: Next,
}

pub struct Observation {
    pub account_id: String,
    pub plan: PlanStatus,
    pub drift: Vec<DriftStatus>,
    pub synced: Option<String>,
    pub tag_keys: Vec<String>,
    pub gitops: Option<GitOpsStatus>,
    pub upgrade: Option<UpgradeStatus>,
    pub support: Option<SupportStatus>,
    pub kubeconfig_secret: Option<String>,
}

impl Outcome {
    /// The outcome of a reconcile that ended before AWS was observed.
    pub fn unobserved(run: &Reconcile<'_>, previous: &EksClusterStatus, overall: Overall, next: Next) -> Self {
        let generation = run.object.metadata.generation;
        let conditions = status::conditions::unobserved(&previous.conditions, generation, &overall, run.now);
        Self { conditions, overall, observed: None, deletion: None, waits: None, recovery: None, next }
    }
}

impl Reconcile<'_> {
    /// The status of an outcome.
    pub(super) fn status_update(
        &mut self,
        previous: &EksClusterStatus,
        outcome: Outcome,
    ) -> StatusUpdate<EksClusterStatus> {
        let Outcome { conditions, overall, observed, deletion, waits, recovery, next } = outcome;
        let in_force = self.change_policy();
        let generation = self.object.metadata.generation;
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        let is_observed = observed.is_some();
        let mut status = match observed {
            None => status::unobserved(previous, generation, conditions),
            Some(observed) => {
                let Observation {
                    account_id,
                    plan,
                    drift,
                    synced,
                    tag_keys,
                    gitops,
                    upgrade,
                    support,
                    kubeconfig_secret,
                } = observed;
                status::status(status::Input {
                    previous,
                    generation,
                    conditions,
                    account_id: Some(&account_id),
                    memory: &self.state.memory,
                    plan: Some(plan),
                    drift,
                    synced,
                    tag_keys,
                    node_groups: &groups,
                    gitops,
                    upgrade: upgrade.or_else(|| previous.upgrade.clone()),
                    support: support.or_else(|| previous.support.clone()),
                    kubeconfig_secret,
                })
            }
        };
        if deletion.is_some() {
            status.deletion = deletion;
        }
        if let Some(Recovering { plan, done }) = recovery {
            status.plan = Some(plan);
            match done {
                Some(Done::Recovered(done)) => status.recovery = Some(done),
                Some(Done::HandedOver(done)) => status.hand_over = Some(done),
                Some(Done::TakenBack) => status.hand_over = None,
                None => {}
            }
        }
        status.hand_over = retained_hand_over(self.object, status.hand_over.as_ref());
        if facts::Facts(&self.state.memory).is_foreign() {
            status::forget_cluster(&mut status);
            // A deletion that it blocks counts once it starts.
            status.arn = previous.arn.clone().filter(|_| self.object.metadata.deletion_timestamp.is_some());
        }
        agent::steps::keep_legacy_agent(&mut status, previous);
        // Set from the first status on: a status without it is an older Keelson's.
        status.change_policy = Some(in_force);
        let state = facts::Facts(&self.state.memory).cluster().map(|observed| observed.state.as_str());
        available::update(&mut status, self.object, state, is_observed, &groups, self.now);
        status::forget_wave(&mut status);
        status::settle_ticks(&mut status, previous);
        StatusUpdate { status, overall, waits, next }
    }
}
