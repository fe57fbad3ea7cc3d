//! Whether a deletion may begin: not without an approval where the spec asks for one, nor when too many clusters are to go at
//! once. Until then nothing is touched, neither in AWS nor of its NodeGroups. I/O: the management cluster's API; reads from AWS.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{Outcome, Reconcile};
use crate::api::Reason;
use crate::api::policy::ChangePolicy;
use crate::api::status::{DeletionStatus, EksClusterStatus};
use crate::controllers::conditions::{Overall, Says};
use crate::controllers::consent;
use crate::controllers::deletions::Verdict;
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
        let waits = if self.cluster.spec.change_policy == ChangePolicy::Approval {
            String::new()
        } else if !counts {
            return self.begins(previous);
        } else {
            let clusters = self.ctx.clusters.state();
            let is_there = |uid: &str| clusters.iter().any(|cluster| cluster.uid().as_deref() == Some(uid));
            match self.ctx.deletions.ask(&uid, &name, is_there).await {
                Ok(Verdict::Begins) => return self.begins(previous),
                Ok(Verdict::Waits(lately)) => too_many(self.ctx.deletions.most(), &lately),
                Err(why) => return self.uncounted(previous, &why),
            }
        };
        let consent = Consent { given: Given::Only(Approved::new()), ..Consent::default() };
        let report = self.engine(graph, cloud, goal, &consent).await;
        let agreed = consent::agree(&consent, &report.plan, &[], self.approval(), None);
        if agreed.is_new || report.plan.settled() {
            if counts && let Err(why) = self.ctx.deletions.approve(&uid, &name).await {
                return self.uncounted(previous, &why);
            }
            return self.begins(previous);
        }
        let next = report.next.map_or(Next::change(), Next::at);
        let instead = (!agreed.hash.is_empty()).then(|| {
            let says = self.waits(&agreed, &report.plan.summary());
            Overall::Stalled(Says { message: format!("{waits}{}", says.message), ..says })
        });
        let outcome = self.deleting(previous, cloud, report, agreed, instead, next);
        Outcome { deletion: Some(DeletionStatus { began: None }), ..outcome }
    }

    fn begins(&self, previous: &EksClusterStatus) -> Outcome {
        let overall = self.reconciling(Reason::Deleting, "the deletion begins");
        let began = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        let deletion = DeletionStatus { began: Some(Time(began)) };
        Outcome { deletion: Some(deletion), ..self.unseen(previous, overall, Next::at(self.now)) }
    }

    fn uncounted(&self, previous: &EksClusterStatus, why: &str) -> Outcome {
        let message = format!("nothing is deleted before it is counted: {why}");
        self.unseen(previous, self.reconciling(Reason::Pending, message), Next::after(COUNT_AGAIN, self.now))
    }
}

fn too_many(most: u32, lately: &[String]) -> String {
    let began = if lately.is_empty() { String::new() } else { format!("; begun: {}", lately.join(", ")) };
    format!("no more than {most} an hour are deleted without a person's word (--max-deletions{began}): ")
}
