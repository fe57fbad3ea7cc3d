//! Whether a deletion may begin: not without an approval where the spec asks for one, nor when too many clusters are to go at
//! once. Until then nothing is touched, neither in AWS nor of its NodeGroups. I/O: the management cluster's API; reads from AWS.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::deletion::goes_along;
use super::{Outcome, Reconcile};
use crate::api::policy::ChangePolicy;
use crate::api::status::{DeletionStatus, EksClusterStatus};
use crate::api::{APPROVE_ANNOTATION, RELEASE_ANNOTATION, Reason};
use crate::controllers::approvals::ApprovedBy;
use crate::controllers::conditions::{Overall, Says};
use crate::controllers::consent::{self, Agreed, Proposal};
use crate::controllers::deletions::{Release, Verdict};
use crate::controllers::plan_status;
use crate::controllers::report::Next;
use crate::engine::consent::{Approved, Given};
use crate::engine::{Consent, Goal, Graph};
use crate::resources::cloud::Cloud;

/// When it is asked again whether deletions can be counted.
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
        let counts = goal == Goal::Gone && previous.arn.is_some();
        let approvals = self.approvals();
        let held = if self.change_policy() == ChangePolicy::Approval {
            None
        } else if !counts {
            return self.begins(previous, None);
        } else {
            let clusters = self.ctx.clusters.state();
            let is_there = |uid: &str| clusters.iter().any(|cluster| cluster.uid().as_deref() == Some(uid));
            match self.ctx.deletions.ask(&uid, &name, is_there).await {
                Ok(Verdict::Begins) => return self.begins(previous, None),
                Ok(Verdict::Waits(lately)) => Some((too_many(self.ctx.deletions.most(), &lately), self.release())),
                Err(why) => return self.uncounted(previous, &why),
            }
        };
        if let Some((_, Release { given: true, approval_uid, .. })) = &held {
            let given = approval_uid.as_deref().map_or(ApprovedBy::Annotation(RELEASE_ANNOTATION), ApprovedBy::Object);
            self.publish_approval("the deletion", "held because many were requested", given).await;
            return self.released(previous, approval_uid.clone()).await;
        }
        let consent = Consent { given: Given::Only(Approved::new()), ..Consent::default() };
        let report = self.engine(graph, cloud, goal, &consent).await;
        let ahead = goes_along(&self.node_groups_that_go(), self.cluster.spec.deletion_policy);
        let (subject, plan) = (self.subject(), &report.plan);
        let proposal = Proposal { subject: &subject, plan, ahead: &ahead.steps, facts: &report.facts };
        let agreed = consent::agree(&consent, proposal, &approvals, None);
        let agreed = Agreed { is_new: agreed.is_new && held.is_none(), ..agreed };
        if agreed.is_new {
            let given =
                agreed.approval_uid.as_deref().map_or(ApprovedBy::Annotation(APPROVE_ANNOTATION), ApprovedBy::Object);
            let summary = plan_status::summary(&report.plan, &ahead);
            self.publish_approval(&format!("plan {}", agreed.hash), &summary, given).await;
        }
        if agreed.is_new || report.plan.settled() {
            return self.released(previous, agreed.approval_uid).await;
        }
        let next = report.next.map_or(Next::change(), Next::at);
        let summary = plan_status::summary(&report.plan, &ahead);
        let (release, waits) = match held {
            None => (None, (!agreed.hash.is_empty()).then(|| self.waits(&agreed, &summary))),
            Some((why, release)) => {
                let how = release.instructions(&self.as_argument(), &approvals);
                let message = format!("{why}: {summary}: {how}");
                (Some(release.word), Some(Says::no(Reason::WaitingForApproval, message)))
            }
        };
        let agreed = Agreed { approved: Vec::new(), ..agreed };
        let outcome = self.deleting(previous, cloud, report, (agreed, ahead), waits.map(Overall::Stalled), next);
        Outcome { deletion: Some(DeletionStatus { release, ..DeletionStatus::default() }), ..outcome }
    }

    /// A person agreed to it, by the approval of `approval_uid` or by an annotation.
    async fn released(&self, previous: &EksClusterStatus, approval_uid: Option<String>) -> Outcome {
        let (uid, name) = (self.cluster.uid().unwrap_or_default(), self.owner().cluster);
        if previous.arn.is_some()
            && let Err(why) = self.ctx.deletions.approve(&uid, &name).await
        {
            return self.uncounted(previous, &why);
        }
        self.begins(previous, approval_uid)
    }

    /// The word that releases this deletion where it is held, and whether it was given.
    pub(super) fn release(&self) -> Release {
        let deleted_at = self.cluster.metadata.deletion_timestamp.as_ref().map_or(self.now, |time| time.0);
        let annotation = self.cluster.annotations().get(RELEASE_ANNOTATION).map(String::as_str);
        Release::of(&self.cluster.uid().unwrap_or_default(), deleted_at, annotation, &self.approvals())
    }

    fn begins(&self, previous: &EksClusterStatus, approval_uid: Option<String>) -> Outcome {
        let overall = self.reconciling(Reason::Deleting, "the deletion begins");
        let began = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        let deletion = DeletionStatus { began: Some(Time(began)), release: None, approval_uid };
        Outcome { deletion: Some(deletion), ..self.unseen(previous, overall, Next::at(self.now)) }
    }

    fn uncounted(&self, previous: &EksClusterStatus, why: &str) -> Outcome {
        let message = format!("nothing is deleted before it is counted: {why}");
        self.unseen(previous, self.reconciling(Reason::Pending, message), Next::after(COUNT_AGAIN, self.now))
    }
}

fn too_many(most: u32, lately: &[String]) -> String {
    let began = if lately.is_empty() { String::new() } else { format!("; begun: {}", lately.join(", ")) };
    format!("no more than {most} clusters an hour are deleted without a release (--max-deletions{began})")
}
