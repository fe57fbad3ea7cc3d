//! Takes over the AWS resources of an earlier object with the same name, or hands them over, at a user's request. I/O:
//! reads from AWS; tags, through the engine.

use kube::{Resource, ResourceExt};

use super::{Provisioned, Reconcile, Step, Valid};
use crate::api::Reason;
use crate::controllers::account::{self, Grant, Refusal, Request};
use crate::controllers::approvals::execution_policy::{self, Proposal};
use crate::controllers::hand_over;
use crate::controllers::reconcile_error::{BuildError, ObserveError, ValidateError};
use crate::controllers::recovery_requests::{self, Purpose, Recovering, RecoveryRequest};
use crate::controllers::runtime::apply::Kind;
use crate::controllers::status::finish_reconcile;
use crate::controllers::status::plan_status::{self, LaterSteps};
use crate::controllers::status::requeue::Next;
use crate::engine::{Class, ExecutionPolicy, Failure, Goal};
use crate::resources::cloud::Cloud;
use crate::resources::recovery::retag;
use crate::resources::recovery::takeover::{Evidence, select};

impl<C: Provisioned> Reconcile<'_, C> {
    /// Carries out a request while the object is suspended: it writes only tags.
    pub async fn recover_while_suspended(
        &mut self,
        previous: &C::Status,
        valid: &Valid<C::Valid>,
        request: &RecoveryRequest,
    ) -> Step<C, C::Outcome> {
        self.await_retry(previous)?;
        let cluster = C::cluster(self, &valid.own);
        let (region, made_in) = (cluster.spec.region.clone(), C::made_in(previous, cluster).map(str::to_owned));
        let cloud = self.cloud(&valid.grant, &region, made_in.as_deref()).await;
        let cloud = cloud.map_err(ValidateError::Session)?;
        self.recover(previous, valid, &cloud, request).await
    }

    /// Continues the takeover that `request` asks for. The spec is applied after it.
    pub async fn recover(
        &mut self,
        previous: &C::Status,
        valid: &Valid<C::Valid>,
        cloud: &Cloud,
        request: &RecoveryRequest,
    ) -> Step<C, C::Outcome> {
        // Nothing is taken over, and nothing is created next to what may belong to the object.
        let not_owned = |why: String| ValidateError::Refused(Refusal::new(Reason::NotOwned, why));
        let permitted = request.check_permitted(self.ctx, self.object).and_then(|()| hand_over::check_id(request));
        permitted.map_err(not_owned)?;
        if self.state.recovering.as_ref() != Some(request) {
            // Observations of the resources belong to the graph of the spec.
            self.state.memory.restart(self.now);
            if request.is_of_own() {
                self.state.memory.keep_records();
            }
            self.state.recovering = Some(request.clone());
        }
        let (inventory, records) = C::find_tagged(self, valid, cloud).await.map_err(ObserveError::Aws)?;
        let evidence = request.evidence(valid.grant.recovers_by_tags, records.as_ref());
        let selection = select(&inventory, &cloud.owner, &request.uid, evidence).map_err(not_owned)?;
        let is_empty = selection.items.is_empty();
        let refusal = match &request.purpose {
            Purpose::Recovery if is_empty => Some(request.describe_no_resources(&cloud.owner, &cloud.aws, &selection)),
            Purpose::HandOver(_) if is_empty => hand_over::refuse_empty(&request.uid, &inventory, &selection),
            _ => None,
        };
        if let Some(why) = refusal {
            return Err(not_owned(why).into());
        }
        let graph = retag::graph(&selection.items, cloud, |item| request.wanted(item, &cloud.owner))
            .map_err(BuildError::Spec)?;
        // Without tags to write, nothing needs the finalizer.
        if !C::observes(self, &valid.own) && !is_empty {
            self.add_finalizer().await?;
        }
        let digest = request.digest(&selection.items);
        let policy = ExecutionPolicy { recovers: Some(digest), ..C::recovery_policy(self, previous, valid) };
        let (ctx, object) = (self.ctx, self.object);
        let cluster = C::cluster(self, &valid.own).clone();
        let may_take = || -> Result<(), Failure> {
            let grant = account::grant_in(ctx, &Request::of(&cluster))?;
            request.check_still_permitted(ctx, object)?;
            check_consent(evidence, &grant)
        };
        let report = C::run_engine(self, &may_take, &graph, cloud, Goal::Present, &policy).await;
        let (subject, plan, ahead) = (finish_reconcile::subject(self.object), &report.plan, LaterSteps::default());
        let proposal = Proposal { subject: &subject, plan, ahead: &[], facts: &report.facts };
        let approvals = C::approvals(self, previous);
        let agreed = execution_policy::accept_approval(&policy, proposal, &approvals, C::plan(previous));
        let waits = execution_policy::describe_pending_plan(&agreed, &plan.summary(), &C::argument(self), &approvals);
        let (overall, next) = request.progress(&report, &selection, (&agreed, &waits), &self.state.memory, self.now);
        let certain = hand_over::empty_is_certain_at(request, &selection, &self.state.memory);
        let uncertain = certain.filter(|at| *at > self.now);
        let next = uncertain.map_or(next, Next::at);
        let is_done = uncertain.is_none() && recovery_requests::is_complete(&report, &self.state.memory, self.now);
        if is_done {
            self.ctx.events.publish(self.object, vec![request.done_event(&selection)]);
        }
        let input = plan_status::Input {
            plan,
            expected: &report.expected,
            memory: &self.state.memory,
            generation: self.object.meta().generation,
            ahead: &ahead,
            changed_outside: false,
            facts: &report.facts,
        };
        let plan = request.plan(plan_status::plan_status(input, agreed));
        C::publish_approval(self, previous, &plan).await;
        let done = is_done.then(|| request.done(selection.items.len(), self.now));
        if is_done {
            self.end_recovery();
        }
        Ok(C::with_recovery(self.unobserved(previous, overall, next), Recovering { plan, done }))
    }

    /// Observations during a takeover belong to its graph: only the inventory is kept.
    pub fn end_recovery(&mut self) {
        if self.state.recovering.take().is_some() {
            let (kind, name) = (C::Object::NAME, self.object.name_any());
            tracing::info!(kind, name, "recovery complete: resources are reconciled with the spec");
            self.state.memory.restart(self.now);
            C::forget_observations(&mut self.state.kind);
        }
    }
}

/// Checks that the owner of the AWS account still accepts tags as evidence, if they are the evidence.
///
/// # Errors
/// The consent was withdrawn.
fn check_consent(evidence: Evidence<'_>, now: &Grant) -> Result<(), Failure> {
    if matches!(evidence, Evidence::Tags) && !now.recovers_by_tags {
        let why = "the AwsAccount's spec.adoption no longer allows a recovery for which tags are the only evidence";
        return Err(Failure::new(Class::Denied, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consent_that_is_withdrawn_stops_the_next_tag() {
        let consenting = Grant { recovers_by_tags: true, ..Grant::ambient() };
        assert!(check_consent(Evidence::Tags, &consenting).is_ok());
        assert!(check_consent(Evidence::Role, &Grant::ambient()).is_ok(), "the role's description needs no consent");
        assert_eq!(check_consent(Evidence::Tags, &Grant::ambient()).unwrap_err().class, Class::Denied);
    }
}
