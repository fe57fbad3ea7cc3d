//! Holds the deletion of a NodeGroup that is deleted only because its CRD or its namespace is, or after many others whose
//! clusters stay, until a user releases it; and what is observed while a deletion waits. I/O: the management cluster's API; reads from AWS.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{NodeGroupController, Outcome, Reconcile, node_group_status};
use crate::api::policy::ChangePolicy;
use crate::api::status_cluster::{NodeGroupDeletionStatus, NodeGroupStatus};
use crate::api::{EksCluster, NodeGroup, RELEASE_ANNOTATION, Reason};
use crate::controllers::account::{self, Request};
use crate::controllers::deletions::{Counted, REMOVAL_INTERVAL, Release, Removal};
use crate::controllers::driver::Provisioned as _;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::finish_reconcile::Next;
use crate::controllers::status::held_deletion;
use crate::engine::execution_policy::AllowedSteps;
use crate::engine::{ExecutionPolicy, Goal};
use crate::resources::cloud::Cloud;
use crate::resources::eks::node_group::Target;

/// Why a deletion is held, and what releases it.
pub(super) struct Hold {
    why: String,
    release: Release,
    /// Whether it counts for the limits once it is released.
    counts: bool,
}

impl Hold {
    /// Whether a person released it just now, and it counts.
    pub(super) fn is_released_and_counts(&self) -> bool {
        self.release.allowed && self.counts
    }
}

impl Reconcile<'_> {
    /// The hold on this deletion, if there is one.
    ///
    /// # Errors
    /// Why it cannot be determined: then nothing may be deleted.
    pub(super) async fn hold(&self, previous: &NodeGroupStatus, policy: ChangePolicy) -> Result<Option<Hold>, String> {
        let deletions = &self.ctx.deletions;
        // Never created, or not found any more: nothing is lost.
        let counts = !self.owns_nothing(previous);
        if let Some(removal) = deletions.removal::<NodeGroup>(&self.namespace).await? {
            let release = self.release_of(previous, Some(&removal));
            return Ok(Some(Hold { why: removal.describe(), release, counts }));
        }
        if !counts || policy == ChangePolicy::Approval {
            return Ok(None);
        }
        let groups = self.ctx.node_groups.state();
        let is_there = |uid: &str| {
            groups.iter().any(|group| group.uid().as_deref() == Some(uid)) || self.ctx.unreadable.has_uid(uid)
        };
        let (uid, name) = self.counted_as();
        let held = deletions.request(Counted::NodeGroups, &uid, &name, is_there).await?;
        Ok(held.map(|why| Hold { why, release: self.release_of(previous, None), counts }))
    }

    /// Counts a deletion that a person approved or released, before it starts.
    ///
    /// # Errors
    /// It could not be recorded.
    pub(super) async fn count_approved(&self) -> Result<(), String> {
        let (uid, name) = self.counted_as();
        self.ctx.deletions.approve(Counted::NodeGroups, &uid, &name).await
    }

    /// UID and `namespace/name` of the object.
    fn counted_as(&self) -> (String, String) {
        (self.object.uid().unwrap_or_default(), format!("{}/{}", self.namespace, self.object.name_any()))
    }

    fn release_of(&self, previous: &NodeGroupStatus, removal: Option<&Removal>) -> Release {
        let deleted_at = self.object.metadata.deletion_timestamp.as_ref().map_or(self.now, |time| time.0);
        let annotation = self.object.annotations().get(RELEASE_ANNOTATION).map(String::as_str);
        let uid = self.object.uid().unwrap_or_default();
        Release::of(&uid, deleted_at, annotation, &self.approvals(previous), removal)
    }

    /// Waits for the deletion of its cluster to start, and observes the node group meanwhile.
    pub(super) async fn wait_for_start(&mut self, previous: &NodeGroupStatus, cluster: &EksCluster) -> Outcome {
        let message = "waiting for the deletion of its EksCluster to start".to_owned();
        let waiting = self.waiting(previous, Reason::WaitingForCluster, message);
        let made_in = cluster.status.as_ref().and_then(|status| status.account_id.as_deref());
        let Ok(grant) = account::grant_to_delete_in(self.ctx, &Request::of(cluster), made_in) else { return waiting };
        let made_in = NodeGroupController::made_in(previous, cluster);
        // Without a session the last observation stands.
        let Ok(cloud) = self.cloud(&grant, &cluster.spec.region, made_in).await else { return waiting };
        let Ok(graph) = self.graph_to_delete(previous, &grant, &cloud, cluster) else { return waiting };
        let policy = ExecutionPolicy { allowed: AllowedSteps::None, ..ExecutionPolicy::default() };
        let report = self.engine(cluster, &graph, &cloud, Goal::Deleted, &policy).await;
        let exists = held_deletion::part_condition(&report.plan, &self.state.memory, |_| true);
        let observed = self.reported(previous, report, &Target::default(), (&policy, ""), None);
        let mut outcome = Outcome { overall: waiting.overall, waits: waiting.waits, ..observed };
        self.observe_held(previous, cluster, &cloud, &mut outcome, &exists).await;
        let NodeGroupStatus { plan, drift, synced, arn, .. } = previous.clone();
        // What its deletion has to look for is not forgotten.
        let arn = outcome.status.arn.take().or(arn);
        outcome.status = NodeGroupStatus { plan, drift, synced, arn, ..outcome.status };
        outcome
    }

    /// Counts the nodes when that is due, and sets the conditions of a deletion that waits. `exists`: what AWS shows.
    pub(super) async fn observe_held(
        &mut self,
        previous: &NodeGroupStatus,
        cluster: &EksCluster,
        cloud: &Cloud,
        outcome: &mut Outcome,
        exists: &ConditionValue,
    ) {
        let due = self.state.kind.nodes.poll(self.ctx, self.object, cluster, &cloud.aws, &self.state.memory).await;
        if let Some(at) = due {
            outcome.next = outcome.next.or(Next::at(at));
        }
        let (generation, issues) = (self.object.metadata.generation, outcome.status.health_issues.clone());
        let observed = (exists, issues.as_slice());
        outcome.status.conditions =
            node_group_status::while_held(&previous.conditions, generation, observed, &outcome.overall, self.now);
    }

    /// The outcome of a deletion that is held, or was released just now. `summary`: what it would do.
    pub(super) fn held_outcome(
        &self,
        previous: &NodeGroupStatus,
        outcome: Outcome,
        hold: Hold,
        summary: &str,
    ) -> Outcome {
        let Hold { why, release, .. } = hold;
        let mut outcome = outcome;
        if release.allowed {
            let started = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
            outcome.status.deletion = Some(self.started_deletion(Time(started), release.approval_uid));
            // As soon as status records it.
            outcome.next = Next::at(self.now);
            outcome.overall = Overall::Reconciling(ConditionValue::false_(Reason::Deleting, "the deletion starts"));
        } else {
            let how = release.instructions(&self.as_argument(), &self.approvals(previous));
            let message = format!("{why}: {summary}: {how}");
            outcome.next = outcome.next.or(Next::after(REMOVAL_INTERVAL, self.now));
            outcome.status.deletion =
                Some(NodeGroupDeletionStatus { release: Some(release.token), ..NodeGroupDeletionStatus::default() });
            outcome.overall = Overall::Stalled(ConditionValue::false_(Reason::WaitingForApproval, message));
        }
        let generation = self.object.metadata.generation;
        outcome.status = node_group_status::unobserved(&outcome.status, generation, &outcome.overall, self.now);
        outcome
    }
}
