//! The outcome of a reconcile of an EksCluster, and the status that it leads to. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::status::{available, facts};
use super::{Reconcile, agent, status};
use crate::api::EksClusterSpec;
use crate::api::addons::AddonVersion;
use crate::api::registration::RegistrationStatus;
use crate::api::status_cluster::{
    DeletionStatus, DriftStatus, EksClusterStatus, GitOpsStatus, PlanStatus, StepState, SupportStatus, UpgradeStatus,
};
use crate::controllers::driver::StatusUpdate;
use crate::controllers::hand_over::retained_hand_over;
use crate::controllers::recovery_requests::{CompletedRequest, Recovering};
use crate::controllers::status::conditions::Overall;
use crate::controllers::status::finish_reconcile::Next;
use crate::controllers::status::waits::Wait;
use crate::engine::Key;
use crate::resources::eks::addon;

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
    pub registration: Option<RegistrationStatus>,
}

/// Whether part of the spec waits for a maintenance window, even if the cluster is Ready: a version of an add-on or of the
/// agent that the spec names. Newer versions that it does not name are no edit.
fn is_held(spec: &EksClusterSpec, status: &EksClusterStatus) -> bool {
    let named = |name: &str| {
        let addon = spec.addons.iter().find(|addon| addon.name == name);
        addon.is_some_and(|addon| matches!(addon.version(), AddonVersion::Exact(_)))
    };
    let of_agent = || {
        let version = agent::steps::desired(spec.gitops.as_ref(), None, false).version;
        version.is_some_and(|(_, versions)| versions.named.is_some())
    };
    let steps = status.plan.iter().flat_map(|plan| &plan.steps).filter(|step| step.state == StepState::Pending);
    steps.map(|step| Key::parse(&step.resource)).any(|key| match key.kind() {
        _ if addon::KIND.is_of(&key) => named(key.name()),
        agent::steps::KIND => of_agent(),
        _ => false,
    })
}

impl Outcome {
    /// The outcome of a reconcile that ended before AWS was observed.
    pub fn unobserved(run: &Reconcile<'_>, previous: &EksClusterStatus, overall: Overall, next: Next) -> Self {
        let generation = run.object.metadata.generation;
        let conditions = status::cluster_conditions::unobserved(&previous.conditions, generation, &overall, run.now);
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
                    registration,
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
                    registration,
                })
            }
        };
        if deletion.is_some() {
            status.deletion = deletion;
        }
        if let Some(Recovering { plan, done }) = recovery {
            status.plan = Some(plan);
            match done {
                Some(CompletedRequest::Recovered(done)) => status.recovery = Some(done),
                Some(CompletedRequest::HandedOver(done)) => status.hand_over = Some(done),
                Some(CompletedRequest::TakenBack) => status.hand_over = None,
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
        let is_held = is_held(&self.object.spec, &status);
        StatusUpdate { status, overall, waits, is_held, next }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn held(version: &str, resource: &str, state: &str) -> bool {
        let spec = serde_json::from_value(json!({
            "region": "eu-west-1", "version": "1.34", "addons": [{"name": "coredns", "version": version}],
        }));
        let status = json!({"plan": {
            "hash": "1f", "summary": "", "steps": [{"action": "Update", "resource": resource, "state": state}],
        }});
        is_held(&spec.unwrap(), &serde_json::from_value(status).unwrap())
    }

    #[test]
    fn named_version_that_waits_is_part_of_the_change_and_a_newer_one_is_not() {
        assert!(held("v1.11.4-eksbuild.2", "addon/coredns", "Pending"));
        assert!(!held("Latest", "addon/coredns", "Pending"));
        assert!(!held("v1.11.4-eksbuild.2", "addon/coredns", "Running"));
        assert!(!held("v1.11.4-eksbuild.2", "addon/vpc-cni", "Pending"));
        assert!(!held("v1.11.4-eksbuild.2", "gitOpsAgent", "Pending"), "there is no agent");
    }
}
