//! Whether a deletion may begin: not without an approval where the spec asks for one, nor when too many clusters are to go at
//! once, nor when only the definition of the kind or the namespace is deleted. Until then nothing is touched, neither in AWS nor
//! of its NodeGroups. I/O: the management cluster's API; reads from AWS.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::deletion::goes_along;
use super::{Outcome, Reconcile};
use crate::api::policy::{ChangePolicy, DeletionPolicy};
use crate::api::status::{DeletionStatus, EksClusterStatus};
use crate::api::{APPROVE_ANNOTATION, EksCluster, RELEASE_ANNOTATION, Reason};
use crate::controllers::approvals::ApprovedBy;
use crate::controllers::conditions::{ConditionValue, Overall};
use crate::controllers::deletions::{Exceeded, Limits, REMOVAL_INTERVAL, Release, Removal, Verdict};
use crate::controllers::execution_policy::{self, Agreed, Proposal};
use crate::controllers::plan_status;
use crate::controllers::report::{MANAGEMENT_API, Next};
use crate::engine::execution_policy::{AllowedSteps, Approved};
use crate::engine::{ExecutionPolicy, Goal, Graph};
use crate::resources::cloud::Cloud;

/// When it is asked again whether deletions can be counted.
/// NodeGroups that status names; the API's limit.
const MAX_RETAINED: usize = 500;
const COUNT_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// Whether the deletion that status tells of has begun.
pub fn has_begun(status: &EksClusterStatus) -> bool {
    status.deletion.as_ref().is_some_and(|deletion| deletion.began.is_some())
}

impl Reconcile<'_> {
    /// Begins the deletion, or says what it waits for. It goes on once that stands in status.
    pub(super) async fn begin(
        &mut self,
        previous: &EksClusterStatus,
        cloud: &Cloud,
        graph: &Graph<Cloud>,
        goal: Goal,
    ) -> Outcome {
        let (uid, name) = (self.cluster.uid().unwrap_or_default(), self.owner().cluster);
        // What stays is no loss, nor is what never came about.
        let counts = goal == Goal::Deleted && previous.arn.is_some();
        let loses = goal == Goal::Deleted && (counts || !self.nothing_recorded());
        let removal = match self.removal(&uid, loses).await {
            Ok(removal) => removal,
            Err(why) => return self.uncounted(previous, &why),
        };
        let approvals = self.approvals();
        let held = if let Some(removal) = &removal {
            Some((removal.describe(), self.release(Some(removal))))
        } else if self.change_policy() == ChangePolicy::Approval {
            None
        } else if !counts {
            return self.begins(previous, goal, None);
        } else {
            let clusters = self.ctx.clusters.state();
            let unreadable = &self.ctx.unreadable;
            let is_there = |uid: &str| {
                clusters.iter().any(|cluster| cluster.uid().as_deref() == Some(uid)) || unreadable.has_cluster(uid)
            };
            match self.ctx.deletions.ask(&uid, &name, is_there).await {
                Ok(Verdict::Begins) => return self.begins(previous, goal, None),
                Ok(Verdict::Waits { exceeded, lately }) => {
                    Some((too_many(self.ctx.deletions.limits(), exceeded, &lately), self.release(None)))
                }
                Err(why) => return self.uncounted(previous, &why),
            }
        };
        if let Some((_, Release { allowed: true, approval_uid, .. })) = &held {
            let given = approval_uid.as_deref().map_or(ApprovedBy::Annotation(RELEASE_ANNOTATION), ApprovedBy::Object);
            self.publish_approval("the deletion", "held because many were requested", given).await;
            return self.released(previous, goal, approval_uid.clone()).await;
        }
        let policy = ExecutionPolicy { allowed: AllowedSteps::Only(Approved::new()), ..ExecutionPolicy::default() };
        let report = self.engine(graph, cloud, goal, &policy).await;
        let ahead = goes_along(&self.node_groups_that_go(), self.cluster.spec.deletion_policy);
        let (subject, plan) = (self.subject(), &report.plan);
        let proposal = Proposal { subject: &subject, plan, ahead: &ahead.steps, facts: &report.facts };
        let agreed = execution_policy::agree(&policy, proposal, &approvals, None);
        let agreed = Agreed { is_new: agreed.is_new && held.is_none(), ..agreed };
        if agreed.is_new {
            let given =
                agreed.approval_uid.as_deref().map_or(ApprovedBy::Annotation(APPROVE_ANNOTATION), ApprovedBy::Object);
            let summary = plan_status::summary(&report.plan, &ahead);
            self.publish_approval(&format!("plan {}", agreed.hash), &summary, given).await;
        }
        if agreed.is_new || report.plan.is_settled() {
            return self.released(previous, goal, agreed.approval_uid).await;
        }
        let mut next = report.next.map_or(Next::change(), Next::at);
        if removal.is_some() {
            next = next.or(Next::after(REMOVAL_INTERVAL, self.now));
        }
        let summary = plan_status::summary(&report.plan, &ahead);
        let (release, waits) = match held {
            None => (None, (!agreed.hash.is_empty()).then(|| self.waits(&agreed, &summary))),
            Some((why, release)) => {
                let how = release.instructions(&self.as_argument(), &approvals);
                let message = format!("{why}: {summary}: {how}");
                (Some(release.word), Some(ConditionValue::false_(Reason::WaitingForApproval, message)))
            }
        };
        let agreed = Agreed { approved: Vec::new(), ..agreed };
        let outcome = self.deleting(previous, cloud, report, (agreed, ahead), waits.map(Overall::Stalled), next);
        Outcome { deletion: Some(DeletionStatus { release, ..DeletionStatus::default() }), ..outcome }
    }

    /// A person agreed to it, by the approval of `approval_uid` or by an annotation.
    async fn released(&self, previous: &EksClusterStatus, goal: Goal, approval_uid: Option<String>) -> Outcome {
        let (uid, name) = (self.cluster.uid().unwrap_or_default(), self.owner().cluster);
        // What is retained is no deletion that counts, and none that was released.
        if goal == Goal::Deleted
            && previous.arn.is_some()
            && let Err(why) = self.ctx.deletions.approve(&uid, &name).await
        {
            return self.uncounted(previous, &why);
        }
        self.begins(previous, goal, approval_uid)
    }

    /// The word that releases this deletion where it is held, and whether it was given.
    fn release(&self, removal: Option<&Removal>) -> Release {
        let deleted_at = self.cluster.metadata.deletion_timestamp.as_ref().map_or(self.now, |time| time.0);
        let annotation = self.cluster.annotations().get(RELEASE_ANNOTATION).map(String::as_str);
        Release::of(&self.cluster.uid().unwrap_or_default(), deleted_at, annotation, &self.approvals(), removal)
    }

    /// What is being deleted around the cluster, unless its own deletion was approved.
    async fn removal(&self, uid: &str, loses: bool) -> Result<Option<Removal>, String> {
        if !loses || self.ctx.deletions.has_begun(uid).await? {
            return Ok(None);
        }
        self.ctx.deletions.removal::<EksCluster>(&self.namespace).await
    }

    fn begins(&self, previous: &EksClusterStatus, goal: Goal, approval_uid: Option<String>) -> Outcome {
        let overall = self.reconciling(Reason::Deleting, "the deletion begins");
        let began = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        let policy = if goal == Goal::Retained { DeletionPolicy::Retain } else { DeletionPolicy::Delete };
        let groups = self.ctx.node_groups_of(&self.namespace, &self.cluster.name_any());
        let retained = groups.iter().filter(|group| group.spec.deletion_policy == DeletionPolicy::Retain);
        let deletion = DeletionStatus {
            began: Some(Time(began)),
            approval_uid,
            policy: Some(policy),
            retained_node_groups: retained.map(|group| group.name_any()).take(MAX_RETAINED).collect(),
            release: None,
        };
        Outcome { deletion: Some(deletion), ..self.unseen(previous, overall, Next::at(self.now)) }
    }

    fn uncounted(&self, previous: &EksClusterStatus, why: &str) -> Outcome {
        let message = format!("the deletion does not begin: {why}");
        let next = Next::after(COUNT_AGAIN, self.now).failed(MANAGEMENT_API);
        self.unseen(previous, self.reconciling(Reason::Pending, message), next)
    }
}

fn too_many(limits: Limits, exceeded: Exceeded, lately: &[String]) -> String {
    let began = if lately.is_empty() { String::new() } else { format!("; begun: {}", lately.join(", ")) };
    let (most, within, flag) = match exceeded {
        Exceeded::Namespace => (limits.namespace, "in a namespace", "--max-deletions"),
        Exceeded::Total => (limits.total, "in all namespaces together", "--max-deletions-total"),
    };
    format!("no more than {most} clusters an hour are deleted {within} without a release ({flag}{began})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_which_limit_holds_a_deletion_and_which_flag_sets_it() {
        let limits = Limits { namespace: 3, total: 10 };
        let text = too_many(limits, Exceeded::Namespace, &["team/a".to_owned()]);
        assert_eq!(
            text,
            "no more than 3 clusters an hour are deleted in a namespace without a release (--max-deletions; begun: team/a)"
        );
        let text = too_many(limits, Exceeded::Total, &[]);
        assert!(text.contains("10 clusters an hour") && text.contains("(--max-deletions-total)"), "{text}");
    }
}
