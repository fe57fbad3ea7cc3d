//! Whether a deletion may start. It waits for an approval where the spec requires one, when too many clusters are
//! deleted at once, and when only the CRD or the namespace is deleted. Until then nothing is touched, neither in AWS
//! nor any NodeGroup. I/O: the management cluster's API; reads from AWS.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::also_deleted;
use super::node_group_steps::node_group_steps;
use crate::api::policy::{ChangePolicy, DeletionPolicy};
use crate::api::status_cluster::{DeletionStatus, EksClusterStatus};
use crate::api::{APPROVE_ANNOTATION, EksCluster, RELEASE_ANNOTATION, Reason};
use crate::controllers::approvals::ApprovedBy;
use crate::controllers::approvals::execution_policy::{self, PlanApprovalState, Proposal};
use crate::controllers::cluster::Reconcile;
use crate::controllers::cluster::outcome::Outcome;
use crate::controllers::cluster::status::facts::cluster_key;
use crate::controllers::deletions::{Counted, REMOVAL_INTERVAL, Release, Removal};
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::finish_reconcile::{MANAGEMENT_API, Next};
use crate::controllers::status::plan_status;
use crate::engine::execution_policy::{AllowedSteps, Approved};
use crate::engine::{ExecutionPolicy, Goal, Graph};
use crate::resources::cloud::Cloud;

/// Most NodeGroups that status names: the API's limit.
const MAX_RETAINED: usize = 500;
/// Retry interval while deletions cannot be counted.
const COUNT_RETRY: SignedDuration = SignedDuration::from_secs(5);

/// Whether the deletion in status has started.
pub fn has_started(status: &EksClusterStatus) -> bool {
    status.deletion.as_ref().is_some_and(|deletion| deletion.began.is_some())
}

impl Reconcile<'_> {
    /// Starts the deletion, or reports what it waits for. It continues once status records the start.
    pub(crate) async fn start_deletion(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
        graph: &Graph<Cloud>,
        goal: Goal,
    ) -> Outcome {
        let (uid, name) = (self.object.uid().unwrap_or_default(), self.owner().cluster);
        // Retained resources are no loss, nor are those that were never created.
        let counts = goal == Goal::Deleted && self.has_cluster(previous);
        let loses = goal == Goal::Deleted && (counts || !self.has_no_record());
        let removal = match self.removal(&uid, loses).await {
            Ok(removal) => removal,
            Err(why) => return self.count_failed(previous, &why),
        };
        let approvals = self.approvals();
        let hold = if let Some(removal) = &removal {
            Some((removal.describe(), self.release_of(Some(removal))))
        } else if self.change_policy() == ChangePolicy::Approval {
            None
        } else if !counts {
            return self.start_after_hooks(previous, cloud, goal, None).await;
        } else {
            let clusters = self.ctx.clusters.state();
            let unreadable = &self.ctx.unreadable;
            let is_there = |uid: &str| {
                clusters.iter().any(|cluster| cluster.uid().as_deref() == Some(uid)) || unreadable.has_cluster(uid)
            };
            match self.ctx.deletions.request(Counted::Clusters, &uid, &name, is_there).await {
                Ok(None) => return self.start_after_hooks(previous, cloud, goal, None).await,
                Ok(Some(why)) => Some((why, self.release_of(None))),
                Err(why) => return self.count_failed(previous, &why),
            }
        };
        if let Some((_, Release { allowed: true, approval_uid, .. })) = &hold {
            let approved_by =
                approval_uid.as_deref().map_or(ApprovedBy::Annotation(RELEASE_ANNOTATION), ApprovedBy::Object);
            if !self.deletion_hooks_have_begun() {
                self.publish_approval("the deletion", "held because many were requested", approved_by).await;
            }
            return self.release_deletion(previous, cloud, goal, approval_uid.clone()).await;
        }
        let policy = ExecutionPolicy { allowed: AllowedSteps::Only(Approved::new()), ..ExecutionPolicy::default() };
        let report = self.engine(graph, cloud, goal, &policy).await;
        let ahead = node_group_steps(&self.deleted_node_groups(), self.object.spec.deletion_policy);
        let (subject, plan) = (self.subject(), &report.plan);
        let proposal = Proposal { subject: &subject, plan, ahead: &ahead.steps, facts: &report.facts };
        let agreed = execution_policy::accept_approval(&policy, proposal, &approvals, None);
        let agreed = PlanApprovalState { is_new: agreed.is_new && hold.is_none(), ..agreed };
        if agreed.is_new && !self.deletion_hooks_have_begun() {
            let approved_by =
                agreed.approval_uid.as_deref().map_or(ApprovedBy::Annotation(APPROVE_ANNOTATION), ApprovedBy::Object);
            let summary = plan_status::summary(&report.plan, &ahead);
            self.publish_approval(&format!("plan {}", agreed.hash), &summary, approved_by).await;
        }
        if agreed.is_new || report.plan.is_settled() {
            return self.release_deletion(previous, cloud, goal, agreed.approval_uid).await;
        }
        self.interrupt_hook_waits(|_| false).await;
        let mut next = report.next.map_or(Next::change(), Next::at);
        if removal.is_some() {
            next = next.or(Next::after(REMOVAL_INTERVAL, self.now));
        }
        let summary = plan_status::summary(&report.plan, &ahead);
        let (release, waits) = match hold {
            None => (None, (!agreed.hash.is_empty()).then(|| self.waits(&agreed, &summary))),
            Some((why, release)) => {
                let how = release.instructions(&self.as_argument(), &approvals);
                let message = format!("{why}: {summary}: {how}");
                (Some(release.token), Some(ConditionValue::false_(Reason::WaitingForApproval, message)))
            }
        };
        let agreed = PlanApprovalState { approved: Vec::new(), ..agreed };
        let outcome = self.deleting(previous, cloud, report, (agreed, ahead), waits.map(Overall::Stalled), next);
        Outcome { deletion: Some(DeletionStatus { release, ..DeletionStatus::default() }), ..outcome }
    }

    /// Whether a cluster in AWS would be lost: by its ARN, or by its record where EKS could not be read since.
    pub(super) fn has_cluster(&self, previous: &EksClusterStatus) -> bool {
        let record = self.state.memory.get(&cluster_key()).and_then(|entry| entry.recorded.as_ref());
        previous.arn.is_some() || record.is_some_and(|record| record.id.is_some())
    }

    /// Records that a user agreed to it, by the approval of `approval_uid` or by an annotation.
    async fn release_deletion(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
        goal: Goal,
        approval_uid: Option<String>,
    ) -> Outcome {
        let (uid, name) = (self.object.uid().unwrap_or_default(), self.owner().cluster);
        // A retained cluster counts neither as a deletion nor as a released one.
        if goal == Goal::Deleted
            && self.has_cluster(previous)
            && let Err(why) = self.ctx.deletions.approve(Counted::Clusters, &uid, &name).await
        {
            return self.count_failed(previous, &why);
        }
        self.start_after_hooks(previous, cloud, goal, approval_uid).await
    }

    /// Starts the deletion once its hooks have passed.
    async fn start_after_hooks(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
        goal: Goal,
        approval_uid: Option<String>,
    ) -> Outcome {
        match self.hooks_before_delete(previous, cloud).await {
            Some(waits) => waits,
            None => self.started_outcome(previous, goal, approval_uid),
        }
    }

    /// The annotation value that releases this deletion while it is held, and whether it is present.
    fn release_of(&self, removal: Option<&Removal>) -> Release {
        let deleted_at = self.object.metadata.deletion_timestamp.as_ref().map_or(self.now, |time| time.0);
        let annotation = self.object.annotations().get(RELEASE_ANNOTATION).map(String::as_str);
        Release::of(&self.object.uid().unwrap_or_default(), deleted_at, annotation, &self.approvals(), removal)
    }

    /// What is being deleted around the cluster, unless its own deletion was approved.
    async fn removal(&self, uid: &str, loses: bool) -> Result<Option<Removal>, String> {
        if !loses || self.ctx.deletions.has_begun(uid).await? {
            return Ok(None);
        }
        self.ctx.deletions.removal::<EksCluster>(&self.namespace).await
    }

    fn started_outcome(&self, previous: &EksClusterStatus, goal: Goal, approval_uid: Option<String>) -> Outcome {
        let overall = self.reconciling(Reason::Deleting, "the deletion starts");
        let started = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        let policy = if goal == Goal::Retained { DeletionPolicy::Retain } else { DeletionPolicy::Delete };
        let groups = self.ctx.node_groups_of(&self.namespace, &self.object.name_any());
        let retained = groups.iter().filter(|group| group.spec.deletion_policy == DeletionPolicy::Retain);
        let deletion = DeletionStatus {
            began: Some(Time(started)),
            approval_uid,
            policy: Some(policy),
            retained_node_groups: retained.map(|group| group.name_any()).take(MAX_RETAINED).collect(),
            also: Some(also_deleted::desired(&self.object.spec, self.has_cluster(previous))),
            ..DeletionStatus::default()
        };
        Outcome { deletion: Some(deletion), ..self.unobserved(previous, overall, Next::at(self.now)) }
    }

    fn count_failed(&self, previous: &EksClusterStatus, why: &str) -> Outcome {
        let message = format!("the deletion does not start: {why}");
        let next = Next::after(COUNT_RETRY, self.now).failed(MANAGEMENT_API);
        self.unobserved(previous, self.reconciling(Reason::Pending, message), next)
    }
}
