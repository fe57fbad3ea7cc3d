//! What waits for hooks: the first write of a creation, the steps of an upgrade, the report that a cluster is Ready, the start of a
//! deletion. I/O: through [`super`].

use crate::api::Reason;
use crate::api::hook::{HookPoint, HookState, HookStatus};
use crate::api::policy::ChangePolicy;
use crate::api::status_cluster::EksClusterStatus;
use crate::controllers::cluster::Reconcile;
use crate::controllers::cluster::outcome::Outcome;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::finish_reconcile::Next;
use crate::hooks::{
    HookHold, Moment, UpgradeFacts, has_passed_before, is_of_upgrade, is_waited_for_before, moments, passes, settle,
    without_interrupted_waits,
};
use crate::resources::cloud::Cloud;
use crate::rollout::{Step as GatedStep, Target};
use crate::upgrade::{ControlPlaneWork, Decision, Goal, Observation, Step};

/// The step of a creation.
const CREATE: &str = "create";
/// The step of a deletion.
const DELETE: &str = "delete";

/// The state of a cluster that waits for a hook.
fn overall(held: &HookHold) -> Overall {
    match held.failed {
        true => Overall::Stalled(ConditionValue::false_(Reason::HookFailed, held.message.clone())),
        false => Overall::Reconciling(ConditionValue::false_(Reason::WaitingForHook, held.message.clone())),
    }
}

impl Reconcile<'_> {
    fn has_hooks(&self) -> bool {
        !self.object.spec.hooks.is_empty() || !self.stored_hooks().is_empty()
    }

    /// The outcome while a hook keeps anything from being written to AWS.
    fn waits_for_hook(&self, previous: &EksClusterStatus, held: &HookHold) -> Outcome {
        self.unobserved(previous, overall(held), Next::after(held.again, self.now))
    }

    /// Before the first write of a cluster that owns nothing. What is not approved is not written anyway: its hooks wait for that.
    pub(in crate::controllers::cluster) async fn hooks_before_create(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
    ) -> Option<Outcome> {
        let is_approved = self.change_policy() != ChangePolicy::Approval
            || previous.plan.as_ref().is_some_and(|plan| !plan.approved.is_empty());
        let begins = self.owns_nothing(previous) && !self.observes() && is_approved && !self.holds.any();
        if self.object.spec.hooks.is_empty() || !begins {
            return None;
        }
        let held = self.run_hooks(&Moment::new(HookPoint::BeforeCreate, CREATE), cloud).await?;
        Some(self.waits_for_hook(previous, &held))
    }

    /// Once the cluster is Ready for the first time: only then it has these entries.
    async fn hooks_after_create(&mut self, cloud: &Cloud) -> Option<HookHold> {
        if self.observes() || !self.stored_hooks().iter().any(|entry| entry.at == HookPoint::AfterCreate) {
            return None;
        }
        self.run_hooks(&Moment::new(HookPoint::AfterCreate, CREATE), cloud).await
    }

    /// The overall state with the hooks that come once all else is done, and when to reconcile again. `of_upgrade`: the hook that an
    /// upgrade waits for.
    pub(in crate::controllers::cluster) async fn with_hooks(
        &mut self,
        state: Overall,
        of_upgrade: Option<HookHold>,
        cloud: &Cloud,
    ) -> (Overall, Next) {
        let held = match (&state, of_upgrade) {
            (Overall::Ready(_), Some(held)) => Some(held),
            (Overall::Ready(_), None) => self.hooks_after_create(cloud).await,
            _ => {
                // One that has begun is observed by `upgrade_hooks`.
                self.interrupt_hook_waits(|entry| {
                    entry.at != HookPoint::AfterCreate || entry.state != HookState::Pending
                })
                .await;
                None
            }
        };
        self.tidy_hooks(cloud).await;
        match held {
            Some(held) => (overall(&held), Next::after(held.again, self.now)),
            None => (state, Next::change()),
        }
    }

    /// Before a deletion starts. A cluster that owns nothing has nothing to delete.
    pub(in crate::controllers::cluster) async fn hooks_before_delete(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
    ) -> Option<Outcome> {
        if self.object.spec.hooks.is_empty() || self.owns_nothing(previous) {
            return None;
        }
        let held = self.run_hooks(&Moment::new(HookPoint::BeforeDelete, DELETE), cloud).await?;
        Some(self.waits_for_hook(previous, &held))
    }

    /// Whether hooks of the deletion have begun: whoever agreed to the deletion was named in an event then.
    pub(in crate::controllers::cluster) fn deletion_hooks_have_begun(&self) -> bool {
        self.stored_hooks().iter().any(|entry| entry.at == HookPoint::BeforeDelete)
    }

    /// In an upgrade: after what is done, and, if `may_begin`, before the step that nothing else holds.
    pub(in crate::controllers::cluster) async fn upgrade_hooks(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
        goal: &Goal,
        (decision, observed): (&Decision, &Observation),
        may_begin: bool,
    ) -> Option<HookHold> {
        if !self.has_hooks() {
            return None;
        }
        if self.observes() {
            self.interrupt_hook_waits(|_| false).await;
            return None;
        }
        // One that has begun is observed to its end, and holds the first upgrade, also while the cluster is not Ready.
        let has_begun = |entry: &HookStatus| {
            entry.at == HookPoint::AfterCreate && !entry.closed && entry.state != HookState::Pending
        };
        if self.stored_hooks().iter().any(has_begun)
            && let Some(held) = self.run_hooks(&Moment::new(HookPoint::AfterCreate, CREATE), cloud).await
        {
            return Some(held);
        }
        let wanted = self.wanted_step(previous, decision).filter(|_| may_begin);
        let to_of = |step: &Step| match step {
            Step::NodeGroups { to, .. } => Some(*to),
            Step::ControlPlane { .. } | Step::Rollback { .. } | Step::Addons { .. } => None,
        };
        let facts = UpgradeFacts {
            version: observed.control_plane,
            goal: goal.version,
            is_changing: observed.control_plane_work == ControlPlaneWork::Version,
            node_groups_to: decision.remaining_steps.iter().filter_map(to_of).collect(),
            has_steps: !decision.remaining_steps.is_empty(),
            next: wanted.and_then(|step| match step.target {
                Target::Kubernetes(target) => Some((step.gate, target)),
                Target::Agent(_) | Target::Revision(_) => None,
            }),
        };
        let stored = self.stored_hooks();
        let settled = settle(&stored, &facts, |entry| self.passes(entry));
        let due = moments(&settled, &facts);
        // A halt, a window or a missing approval is no failure of a hook: its time runs only while it is tried.
        let settled = without_interrupted_waits(settled, |entry| {
            !is_of_upgrade(entry.at) || due.iter().any(|moment| moment.is_of(entry))
        });
        let is_due = !due.is_empty();
        if settled != stored
            && let Err(held) = self.record_hooks(settled).await
        {
            // The next reconcile closes them.
            return is_due.then_some(held);
        }
        for moment in moments(&self.stored_hooks(), &facts) {
            if let Some(held) = self.run_hooks(&moment, cloud).await {
                return Some(held);
            }
        }
        None
    }

    /// Records that hooks that are not tried do not wait for an answer. The next reconcile repeats a write that fails.
    pub(in crate::controllers::cluster) async fn interrupt_hook_waits(
        &mut self,
        is_tried: impl Fn(&HookStatus) -> bool,
    ) {
        let stored = self.stored_hooks();
        let entries = without_interrupted_waits(stored.clone(), is_tried);
        if entries != stored {
            let _ = self.record_hooks(entries).await;
        }
    }

    /// Whether the hooks before `step`, which the cluster has claimed, have passed: nothing of the step has begun in AWS before.
    pub(in crate::controllers::cluster) fn has_passed_hooks_before(&self, step: GatedStep) -> bool {
        match step.target {
            Target::Kubernetes(to) => has_passed_before(&self.object.spec.hooks, &self.stored_hooks(), step.gate, to),
            Target::Agent(_) | Target::Revision(_) => true,
        }
    }

    /// Whether a hook before `step`, which the cluster has claimed, is about to run or runs: nothing of the step has begun in AWS.
    pub(in crate::controllers::cluster) fn waits_for_hooks_before(&self, step: GatedStep) -> bool {
        match step.target {
            Target::Kubernetes(to) => {
                is_waited_for_before(&self.object.spec.hooks, &self.stored_hooks(), step.gate, to)
            }
            Target::Agent(_) | Target::Revision(_) => false,
        }
    }

    /// Whether an entry keeps nothing from beginning.
    fn passes(&self, entry: &HookStatus) -> bool {
        passes(&self.object.spec.hooks, entry)
    }
}
