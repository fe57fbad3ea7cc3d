//! AwsAccounts: who may use them, and whether they can be reached. I/O: the management cluster's API, and STS through
//! [`crate::aws`].

mod access;
pub mod allowlist;
mod deletion;
pub mod named;
pub mod owned;
#[cfg(test)]
mod tenants_tests;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

pub use access::{Grant, Refusal, Request, grant, grant_to_delete, identity};
pub use deletion::{is_being_deleted, wake_deleted};

use super::conditions::{ConditionValue, Conditions, Overall};
use super::context::Context;
use super::reasons;
use super::report::{self, Next};
use super::watch::{DependentView, digest};
use crate::api::account::AwsAccountStatus;
use crate::api::{AwsAccount, AwsAccountSpec, RECONCILE_AT_ANNOTATION, Reason};
use crate::aws::Session;
use crate::engine::{Class, Failure};
use crate::resources::adoption::Adoption;

/// How often an account that works is looked at: its credentials are renewed about as often.
const AGAIN: SignedDuration = SignedDuration::from_mins(30);

/// An AwsAccount by name, as last told.
pub fn find(ctx: &Context, name: &str) -> Option<AwsAccountSpec> {
    ctx.aws_accounts.get(&ObjectRef::new(name)).map(|account| account.spec.clone())
}

/// Refuses an account that is there and cannot be read.
///
/// # Errors
/// Why it cannot.
fn readable(ctx: &Context, request: &Request<'_>) -> Result<(), Refusal> {
    let name = request.spec.account_name();
    match ctx.unreadable.reason::<AwsAccount>(None, name) {
        None => Ok(()),
        Some(reason) => {
            let message = format!("AwsAccount {name:?} cannot be read: {reason}");
            Err(Refusal::new(Reason::AccessDenied, message))
        }
    }
}

/// How an object reaches its account, by the AwsAccounts as last told.
///
/// # Errors
/// As [`grant`].
pub fn grant_in(ctx: &Context, request: &Request<'_>) -> Result<Grant, Refusal> {
    readable(ctx, request)?;
    grant(request, ctx.settings.allow_ambient_account, |name| find(ctx, name))
}

/// The same of an object that is deleted, by the id of the account that it was made in.
///
/// # Errors
/// As [`grant_to_delete`].
pub fn grant_to_delete_in(ctx: &Context, request: &Request<'_>, made_in: Option<&str>) -> Result<Grant, Refusal> {
    readable(ctx, request)?;
    grant_to_delete(request, made_in, ctx.settings.allow_ambient_account, |name| find(ctx, name))
}

/// Whether what could be adopted when a reconcile began still may.
///
/// # Errors
/// The permission was withdrawn since.
pub fn may_still_adopt(ctx: &Context, request: &Request<'_>, adoption: Adoption) -> Result<(), Failure> {
    let denied = |refusal: Refusal| Failure::new(Class::Denied, refusal.message);
    let now = grant_in(ctx, request).map_err(denied)?;
    now.may_adopt(request).map_err(denied)?;
    if now.adoption < adoption {
        return Err(Failure::new(Class::Denied, "the AwsAccount's spec.adoption allows less than before"));
    }
    Ok(())
}

/// Refuses credentials of another account than an object was made in.
///
/// # Errors
/// The AwsAccount of that name is another one now, or the operator's own credentials are.
pub fn check_same_account(made_in: Option<&str>, account_id: &str) -> Result<(), Failure> {
    match made_in {
        Some(made_in) if made_in != account_id => Err(Failure::new(
            Class::WrongAccount,
            format!(
                "it was made in account {made_in}, and its AwsAccount (or the operator's own credentials) is of account {account_id}: \
                 have the AwsAccount of account {made_in} created again under that name"
            ),
        )),
        _ => Ok(()),
    }
}

/// What clusters see of an account: who may use it, and how.
pub fn shown(account: &AwsAccount) -> DependentView {
    let meta = &account.metadata;
    DependentView { digest: digest((&meta.uid, meta.generation, &meta.name)), part_of: String::new() }
}

/// Reconciles once, and says when to come again.
pub async fn reconcile(account: Arc<AwsAccount>, ctx: Arc<Context>) -> Next {
    let Some(uid) = account.uid() else { return Next::change() };
    let shared = ctx.account_states.of(&uid, || ctx.memory([]));
    let mut state = shared.lock().await;
    let now = Timestamp::now();
    if state.asked_to_look(account.annotations().get(RECONCILE_AT_ANNOTATION)) {
        state.failed = None;
    }
    let previous = state.written.clone().or_else(|| account.status.clone()).unwrap_or_default();
    if account.metadata.deletion_timestamp.is_some() {
        let Some((overall, next)) = deletion::delete(&account, &ctx, now).await else { return Next::change() };
        let conditions = conditions(&previous.conditions, account.metadata.generation, &overall, now);
        let mut status =
            AwsAccountStatus { observed_generation: account.metadata.generation, conditions, ..previous.clone() };
        let (overall, next) = judge(&ctx, (&previous, &mut status), &account, (overall, next), now);
        report::publish_transition(&ctx, &*account, &previous.conditions, &overall);
        return report::write(&ctx, &*account, &mut state, previous, status, &overall, next).await;
    }
    deletion::add_finalizer(&account, &ctx).await;
    let (overall, session, next) = match session(&account, &ctx).await {
        Ok(session) => {
            state.failed = None;
            let says =
                ConditionValue::true_(Reason::Available, format!("account {} can be reached", session.account_id));
            (Overall::Ready(says), Some(session), Next::after(AGAIN, now))
        }
        Err(failure) => {
            let failed = state.failed_before(failure, now, report::seed(&*account));
            let says = ConditionValue::false_(reasons::reason(failed.failure.class), &failed.failure.message);
            let next = Next::at(failed.retry_at).failed(failed.failure.class.as_str());
            let overall =
                if failed.requires_intervention(now) { Overall::Stalled(says) } else { Overall::Reconciling(says) };
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
    let (overall, next) = judge(&ctx, (&previous, &mut status), &account, (overall, next), now);
    report::publish_transition(&ctx, &*account, &previous.conditions, &overall);
    report::write(&ctx, &*account, &mut state, previous, status, &overall, next).await
}

/// What it waits for is all that its conditions say.
fn judge(
    ctx: &Context,
    status: (&AwsAccountStatus, &mut AwsAccountStatus),
    account: &AwsAccount,
    ends: (Overall, Next),
    now: Timestamp,
) -> (Overall, Next) {
    report::judge(ctx, status, account.metadata.generation, Some(Vec::new()), ends, now)
}

fn conditions(previous: &[Condition], generation: Option<i64>, overall: &Overall, now: Timestamp) -> Vec<Condition> {
    let mut all = Conditions::from(previous, generation, &now);
    all.overall(overall);
    all.into_all()
}

/// Opening a session assumes the role and compares the account.
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
    fn an_object_stays_with_the_account_that_it_was_made_in() {
        assert!(check_same_account(None, "123456789012").is_ok());
        assert!(check_same_account(Some("123456789012"), "123456789012").is_ok());
        let failure = check_same_account(Some("123456789012"), "210987654321").unwrap_err();
        assert_eq!(failure.class, Class::WrongAccount);
        assert!(failure.message.contains("made in account 123456789012"), "{}", failure.message);
    }
}
