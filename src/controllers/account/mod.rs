//! AwsAccounts: who may use them, and whether they can be reached. I/O: the management cluster's API, and STS through
//! [`crate::aws`].

mod access;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

pub use access::{Grant, Refusal, grant, identity};

use super::conditions::{Conditions, Overall, Says};
use super::context::Context;
use super::reasons;
use super::report::{self, Next};
use super::watch::{Shown, digest};
use crate::api::account::AwsAccountStatus;
use crate::api::{AwsAccount, AwsAccountSpec, RECONCILE_AT_ANNOTATION, Reason};
use crate::aws::Session;
use crate::engine::Failure;

/// How often an account that works is looked at: its credentials are renewed about as often.
const AGAIN: SignedDuration = SignedDuration::from_mins(30);

/// An AwsAccount by name, as last told.
pub fn find(ctx: &Context, name: &str) -> Option<AwsAccountSpec> {
    ctx.aws_accounts.get(&ObjectRef::new(name)).map(|account| account.spec.clone())
}

/// What clusters see of an account: who may use it, and how.
pub fn shown(account: &AwsAccount) -> Shown {
    let meta = &account.metadata;
    Shown { digest: digest((&meta.uid, meta.generation, &meta.name)), part_of: String::new() }
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
        return Next::change();
    }
    let (overall, session, next) = match session(&account, &ctx).await {
        Ok(session) => {
            state.failed = None;
            let says = Says::yes(Reason::Available, format!("account {} can be reached", session.account_id));
            (Overall::Ready(says), Some(session), Next::after(AGAIN, now))
        }
        Err(failure) => {
            let failed = state.failed_before(failure, now, report::seed(&*account));
            let says = Says::no(reasons::reason(failed.failure.class), &failed.failure.message);
            let next = Next::at(failed.retry_at).failed(failed.failure.class.as_str());
            let overall = if failed.needs_a_person(now) { Overall::Stalled(says) } else { Overall::Reconciling(says) };
            (overall, None, next)
        }
    };
    let status = AwsAccountStatus {
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
    report::news(&ctx, &*account, &previous.conditions, &overall);
    report::write(&ctx, &*account, &mut state, previous, status, &overall, next).await
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
