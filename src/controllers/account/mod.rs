//! AwsAccounts: who may use them, and whether they are accessible. I/O: the management cluster's API, and STS through
//! [`crate::aws`].

pub mod allowlist;
mod authorization;
mod deletion;
#[cfg(test)]
mod full_example_tests;
pub mod named;
pub mod owned;
pub mod refusal;
#[cfg(test)]
mod tenants_tests;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

pub use authorization::{Grant, Request, grant, grant_to_delete, identity};
pub use deletion::{enqueue_deleted_accounts, is_being_deleted};
pub use refusal::Refusal;

use super::context::Context;
use super::reconcile_error::{ReconcileError, ValidateError};
use super::runtime::kind_watch::{DependentView, digest};
use super::runtime::reconcile_queue::{Queue, Trigger};
use super::runtime::worker::Controller;
use super::states::States;
use super::status::conditions::{ConditionValue, Conditions, Overall};
use super::status::finish_reconcile::{self, Next};
use super::status::reasons;
use crate::api::account::AwsAccountStatus;
use crate::api::{AwsAccount, AwsAccountSpec, RECONCILE_AT_ANNOTATION, Reason};
use crate::aws::Session;
use crate::engine::{Class, Failure};
use crate::resources::graph::adoption::Adoption;

/// Poll interval of a working account; its credentials are renewed about as often.
const POLL_INTERVAL: SignedDuration = SignedDuration::from_mins(30);

/// The spec of the cached AwsAccount of that name.
pub fn find(ctx: &Context, name: &str) -> Option<AwsAccountSpec> {
    ctx.aws_accounts.get(&ObjectRef::new(name)).map(|account| account.spec.clone())
}

/// Refuses an account that exists but is unreadable.
///
/// # Errors
/// Why it is unreadable.
fn check_readable(ctx: &Context, request: &Request<'_>) -> Result<(), Refusal> {
    let name = request.spec.account_name();
    match ctx.unreadable.reason::<AwsAccount>(None, name) {
        None => Ok(()),
        Some(reason) => {
            let message = format!("AwsAccount {name:?} cannot be read: {reason}");
            Err(Refusal::new(Reason::AccessDenied, message))
        }
    }
}

/// Grants access by the cached AwsAccounts.
///
/// # Errors
/// As [`grant`].
pub fn grant_in(ctx: &Context, request: &Request<'_>) -> Result<Grant, Refusal> {
    check_readable(ctx, request)?;
    grant(request, ctx.settings.allow_ambient_account, |name| find(ctx, name))
}

/// The same for a deleted object, by the id of the account in which it was created.
///
/// # Errors
/// As [`grant_to_delete`].
pub fn grant_to_delete_in(ctx: &Context, request: &Request<'_>, made_in: Option<&str>) -> Result<Grant, Refusal> {
    check_readable(ctx, request)?;
    grant_to_delete(request, made_in, ctx.settings.allow_ambient_account, |name| find(ctx, name))
}

/// Checks that the adoption allowed at the start of a reconcile is still allowed.
///
/// # Errors
/// The permission was withdrawn.
pub fn check_still_adoptable(ctx: &Context, request: &Request<'_>, adoption: Adoption) -> Result<(), Failure> {
    let now = grant_in(ctx, request)?;
    now.check_adoption(request)?;
    if now.adoption < adoption {
        return Err(Failure::new(Class::Denied, "the AwsAccount's spec.adoption no longer allows this adoption"));
    }
    Ok(())
}

/// Refuses credentials of a different account than the one in which the object was created.
///
/// # Errors
/// The AwsAccount of that name, or the operator's own credentials, now belong to another account.
pub fn check_same_account(made_in: Option<&str>, account_id: &str) -> Result<(), Failure> {
    match made_in {
        Some(made_in) if made_in != account_id => Err(Failure::new(
            Class::WrongAccount,
            format!(
                "it was created in account {made_in}, but its AwsAccount (or the operator's own credentials) belongs to account {account_id}: \
                 have the AwsAccount of account {made_in} created again under that name"
            ),
        )),
        _ => Ok(()),
    }
}

/// The part of an account that clusters depend on: who may use it, and how.
pub fn dependent_view(account: &AwsAccount) -> DependentView {
    let meta = &account.metadata;
    DependentView { digest: digest((&meta.uid, meta.generation, &meta.name)), part_of: String::new() }
}

/// The controller of AwsAccounts, and what it remembers of them during this leadership term.
pub struct AccountController {
    /// What all controllers share.
    pub ctx: Arc<Context>,
    /// The in-memory state of each account.
    pub states: States<AwsAccountStatus>,
}

impl AccountController {
    /// The controller of a term that starts.
    pub fn new(ctx: Arc<Context>) -> Self {
        Self { ctx, states: States::default() }
    }
}

impl Controller for AccountController {
    type Object = AwsAccount;

    fn context(&self) -> &Arc<Context> {
        &self.ctx
    }

    fn queue(&self) -> &Queue<AwsAccount> {
        &self.ctx.queues.accounts
    }

    fn reconcile(self: Arc<Self>, account: Arc<AwsAccount>, _: Option<Trigger>) -> BoxFuture<'static, Next> {
        async move { reconcile(&self, &account).await }.boxed()
    }

    /// Its first reconcile never waits: clusters wait for it.
    fn register_steady(&self, _: &AwsAccount) -> bool {
        false
    }

    fn restart<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, ()> {
        self.states.restart(uid, Timestamp::now()).boxed()
    }
}

/// Reconciles once, and returns when to requeue.
async fn reconcile(controller: &AccountController, account: &AwsAccount) -> Next {
    let ctx = &controller.ctx;
    let Some(uid) = account.uid() else { return Next::change() };
    let shared = controller.states.of(&uid, || ctx.memory([]));
    let mut state = shared.lock().await;
    let now = Timestamp::now();
    if state.take_reconcile_request(account.annotations().get(RECONCILE_AT_ANNOTATION)) {
        state.failed = None;
    }
    let previous = state.written.clone().or_else(|| account.status.clone()).unwrap_or_default();
    if state.last_write.is_in(account.metadata.resource_version.as_deref()) {
        state.rewrite = state.written.as_ref().is_some_and(|written| account.status.as_ref() != Some(written));
    }
    if account.metadata.deletion_timestamp.is_some() {
        let Some((overall, next)) = deletion::delete(account, ctx, now).await else { return Next::change() };
        let conditions = conditions(&previous.conditions, account.metadata.generation, &overall, now);
        let mut status =
            AwsAccountStatus { observed_generation: account.metadata.generation, conditions, ..previous.clone() };
        let (overall, next) = evaluate_waits(ctx, (&previous, &mut status), account, (overall, next), now);
        finish_reconcile::publish_transition(ctx, account, &previous.conditions, &overall);
        return finish_reconcile::write_status(ctx, account, &mut state, previous, status, &overall, next).await;
    }
    deletion::add_finalizer(account, ctx).await;
    let (overall, session, next) = match session(account, ctx).await {
        Ok(session) => {
            state.failed = None;
            let value =
                ConditionValue::true_(Reason::Available, format!("account {} is accessible", session.account_id));
            (Overall::Ready(value), Some(session), Next::after(POLL_INTERVAL, now))
        }
        Err(failure) => {
            ReconcileError::from(ValidateError::Session(failure.clone())).log();
            let failed = state.record_failure(failure, now, finish_reconcile::seed(account));
            let value = ConditionValue::false_(reasons::reason(failed.failure.class), &failed.failure.message);
            let next = Next::at(failed.retry_at).failed(failed.failure.class.as_str());
            let overall =
                if failed.requires_intervention(now) { Overall::Stalled(value) } else { Overall::Reconciling(value) };
            (overall, None, next)
        }
    };
    let mut status = AwsAccountStatus {
        waits: previous.waits.clone(),
        observed_generation: account.metadata.generation,
        conditions: conditions(&previous.conditions, account.metadata.generation, &overall, now),
        account_id: session
            .as_ref()
            .map(|session| session.account_id.to_string())
            .or_else(|| previous.account_id.clone()),
        caller_arn: session
            .as_ref()
            .map(|session| session.caller_arn.to_string())
            .or_else(|| previous.caller_arn.clone()),
    };
    let (overall, next) = evaluate_waits(ctx, (&previous, &mut status), account, (overall, next), now);
    finish_reconcile::publish_transition(ctx, account, &previous.conditions, &overall);
    finish_reconcile::write_status(ctx, account, &mut state, previous, status, &overall, next).await
}

/// Its only waits are those of its conditions.
fn evaluate_waits(
    ctx: &Context,
    status: (&AwsAccountStatus, &mut AwsAccountStatus),
    account: &AwsAccount,
    result: (Overall, Next),
    now: Timestamp,
) -> (Overall, Next) {
    finish_reconcile::evaluate_waits(ctx, status, account.metadata.generation, Some(Vec::new()), result, now)
}

fn conditions(previous: &[Condition], generation: Option<i64>, overall: &Overall, now: Timestamp) -> Vec<Condition> {
    let mut all = Conditions::from(previous, generation, &now);
    all.overall(overall);
    all.into_all()
}

/// Opens a session, which assumes the role and compares the account id.
async fn session(account: &AwsAccount, ctx: &Context) -> Result<Session, Failure> {
    let allowed = account.spec.allowed_regions.as_ref().and_then(|regions| regions.first().cloned());
    let region = allowed
        .or_else(|| std::env::var("AWS_REGION").ok())
        .or_else(|| std::env::var("AWS_DEFAULT_REGION").ok())
        .filter(|region| !region.is_empty())
        .unwrap_or_else(|| "us-east-1".to_owned());
    let identity = identity(&account.name_any(), &account.spec);
    Ok(ctx.accounts.session(&identity, &region).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_stays_in_its_original_account() {
        assert!(check_same_account(None, "123456789012").is_ok());
        assert!(check_same_account(Some("123456789012"), "123456789012").is_ok());
        let failure = check_same_account(Some("123456789012"), "210987654321").unwrap_err();
        assert_eq!(failure.class, Class::WrongAccount);
        assert!(failure.message.contains("created in account 123456789012"), "{}", failure.message);
    }
}
