//! The only path to AWS: takes a token, checks the write gate, times, traces, counts and classifies calls. I/O: the
//! call that is passed in.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sts::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::buckets::{Limits, TokenAnswer};
use super::credentials::CachedCredentials;
use super::errors::{AwsError, Call, Class, ClassifiedError, Origin};
use super::service::{GLOBAL, Priority, Service, is_removal, is_write};
use super::write_gate::WriteGate;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::CallTimer;
use crate::telemetry::traces::TARGET;

/// Maximum wait for a token within a reconcile; beyond it the call fails with a retry time.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// Returns once the gate has closed.
async fn wait_until_closed(gate: &dyn WriteGate) {
    while let Some(remaining) = gate.open_for() {
        if remaining.is_zero() {
            return;
        }
        tokio::time::sleep(remaining).await;
    }
    std::future::pending().await
}

/// Sends calls for one identity in one account and region. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    target: Arc<AccountRegion>,
    priority: Priority,
}

#[derive(Debug)]
struct AccountRegion {
    account: String,
    region: String,
    limits: Arc<Limits>,
    global_limits: Arc<Limits>,
    gate: Arc<dyn WriteGate>,
    metrics: Metrics,
    credentials: Option<CachedCredentials>,
}

/// The parts of a [`Caller`].
pub(super) struct CallerParts {
    pub account: String,
    pub region: String,
    pub limits: Arc<Limits>,
    pub global_limits: Arc<Limits>,
    pub gate: Arc<dyn WriteGate>,
    pub metrics: Metrics,
    /// Invalidated when AWS rejects the credentials.
    pub credentials: Option<CachedCredentials>,
}

impl Caller {
    pub(super) fn new(parts: CallerParts) -> Self {
        let CallerParts { account, region, limits, global_limits, gate, metrics, credentials } = parts;
        let target = AccountRegion { account, region, limits, global_limits, gate, metrics, credentials };
        Caller { target: Arc::new(target), priority: Priority::Foreground }
    }

    pub(super) fn credentials(&self) -> Option<&CachedCredentials> {
        self.target.credentials.as_ref()
    }

    pub fn priority(&self) -> Priority {
        self.priority
    }

    pub(super) fn with_priority(&self, priority: Priority) -> Self {
        Caller { target: self.target.clone(), priority }
    }

    /// Describes a call, for failures that do not come from AWS.
    pub fn describe<'a>(&'a self, service: Service, action: &'static str, resource: &'a str) -> Call<'a> {
        Call { service, action, resource, account: &self.target.account, region: self.region_of(service) }
    }

    fn region_of(&self, service: Service) -> &str {
        if service.is_global() { GLOBAL } else { &self.target.region }
    }

    /// Sends `request`, the `send()` of an SDK operation that has not been polled yet.
    ///
    /// # Errors
    /// [`Class::Throttled`] without a call when no token is available soon; [`Class::NotLeader`] without a call when
    /// the write gate is closed; else the classified error from AWS.
    pub fn call<'a, T, E, F>(
        &'a self,
        service: Service,
        action: &'static str,
        resource: &'a str,
        request: F,
    ) -> impl Future<Output = Result<T, AwsError>> + Send + 'a
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
        T: RequestId + Send + 'a,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        // The future of an EC2 operation has tens of kilobytes: boxed, it does not enlarge the future of the reconcile.
        let request = Box::pin(request);
        async move {
            let call = self.describe(service, action, resource);
            self.take_token(&call).await?;
            self.check_gate(&call)?;
            let AccountRegion { metrics, .. } = &*self.target;
            let started = Instant::now();
            let timer = metrics.aws().start(service.as_str(), action, call.account, call.region);
            let traced = span(&call);
            let request = request.instrument(traced.clone());
            let response = if is_write(service, action) {
                tokio::select! {
                    // First: a process that was suspended must see the closed gate before it sends anything.
                    biased;
                    () = wait_until_closed(&*self.target.gate) => return Err(self.abandon(&call, timer, &traced)),
                    response = request => response,
                }
            } else {
                request.await
            };
            match response {
                Ok(response) => {
                    #[cfg(debug_assertions)]
                    super::fault::after_write(service, action);
                    self.limits(service).succeeded(service, action, started);
                    let took = timer.finish("ok");
                    traced.record("aws.request_id", response.request_id());
                    log_success(&call, took);
                    Ok(response)
                }
                Err(error) => {
                    let ClassifiedError { error, origin } = call.sdk_failure(error);
                    if origin == Origin::Credentials {
                        // Not sent, and already logged by the call that fetches credentials.
                        let _ = timer.finish("no_credentials");
                        record_error(&traced, &call, &error);
                        return Err(error);
                    }
                    let took = timer.finish(error.class().as_str());
                    record_error(&traced, &call, &error);
                    let error = self.record_failure(&call, error, origin, started);
                    log_failure(&call, &error, took);
                    Err(error)
                }
            }
        }
    }

    fn limits(&self, service: Service) -> &Limits {
        if service.is_global() { &self.target.global_limits } else { &self.target.limits }
    }

    async fn take_token(&self, call: &Call<'_>) -> Result<(), AwsError> {
        let (service, metrics) = (call.service, &self.target.metrics);
        match self.limits(service).take(service, call.action, self.priority, Instant::now(), MAX_WAIT) {
            TokenAnswer::Granted { wait } if wait.is_zero() => Ok(()),
            TokenAnswer::Granted { wait } => {
                metrics.aws().record_wait(service.as_str(), call.account, call.region, wait);
                tokio::time::sleep(wait).await;
                Ok(())
            }
            TokenAnswer::Deferred { retry_after } => {
                metrics.aws().record_deferral(service.as_str(), call.account, call.region);
                let mut failure =
                    call.failed(Class::Throttled, "deferred: the account's rate limit for this call is exhausted");
                failure.retry_after = Some(retry_after);
                Err(failure.into())
            }
        }
    }

    /// After the wait for a token, right before the call is sent.
    fn check_gate(&self, call: &Call<'_>) -> Result<(), AwsError> {
        if is_write(call.service, call.action) && !self.target.gate.may_write() {
            let failure = call.failed(Class::NotLeader, "not sent: this replica no longer holds the lease");
            tracing::warn!(action = call.action, resource = call.resource, "write rejected: the lease is lost");
            return Err(failure.into());
        }
        Ok(())
    }

    /// Abandons a write without a response when this process loses leadership: the next leader must not wait for it.
    /// AWS may still carry it out. The next leader detects that by name, by client token, or, for a create with
    /// neither, by the recorded intent and the read-after-write window.
    fn abandon(&self, call: &Call<'_>, timer: CallTimer<'_>, traced: &Span) -> AwsError {
        let took = timer.finish(Class::Unavailable.as_str());
        let message =
            "abandoned: this replica's lease expired before AWS answered; the next leader checks whether it was done";
        let error = AwsError::from(call.failed(Class::Unavailable, message));
        record_error(traced, call, &error);
        log_failure(call, &error, took);
        error
    }

    /// Updates rate limits and credentials from the failure.
    fn record_failure(&self, call: &Call<'_>, error: AwsError, origin: Origin, started: Instant) -> AwsError {
        let limits = self.limits(call.service);
        match error.class() {
            _ if origin != Origin::Service => error,
            Class::Throttled => {
                self.target.metrics.aws().record_throttle(call.service.as_str(), call.account, call.region);
                let pause = limits.throttled(call.service, call.action, started, Instant::now());
                error.with_retry_after(pause)
            }
            Class::CredentialsUnavailable => {
                if let Some(credentials) = &self.target.credentials {
                    credentials.reject(started);
                }
                error
            }
            Class::Unavailable => error,
            // AWS processed the call and rejected it: for rate limits, that is a success.
            _ => {
                limits.succeeded(call.service, call.action, started);
                error
            }
        }
    }
}

/// The span of a call, in the trace of the reconcile that makes it. Its duration is that of the request.
fn span(call: &Call<'_>) -> Span {
    let Call { service, action, resource, account, region } = *call;
    let is_write = is_write(service, action);
    tracing::info_span!(target: TARGET, "AWS call", otel.name = format!("{service}/{action}"), rpc.system = "aws-api",
        rpc.service = service.as_str(), rpc.method = action, cloud.provider = "aws", cloud.account.id = account,
        cloud.region = region, keelson.resource = resource, keelson.write = is_write, aws.request_id = Empty,
        http.response.status_code = Empty, keelson.call.outcome = Empty, error.type = Empty, error = Empty)
}

/// Records the answer of a call that failed: its code if AWS answered, else its class. An expected answer is no error.
fn record_error(traced: &Span, call: &Call<'_>, error: &AwsError) {
    traced.record("aws.request_id", error.request_id.as_deref());
    traced.record("http.response.status_code", error.http_status);
    if is_expected(call, error.class()) {
        traced.record("keelson.call.outcome", error.class().as_str());
        return;
    }
    traced.record("error.type", error.code.as_deref().unwrap_or_else(|| error.class().as_str()));
    traced.record("error", error.message.as_str());
}

/// Whether Keelson asked for that answer: what was read, or to be removed, does not exist, or nothing is to be changed.
fn is_expected(call: &Call<'_>, class: Class) -> bool {
    match class {
        Class::NoChange => true,
        Class::NotFound => is_removal(call.action) || !is_write(call.service, call.action),
        _ => false,
    }
}

fn log_success(call: &Call<'_>, took: Duration) {
    let Call { service, action, resource, account, region } = *call;
    let (service, duration_ms) = (service.as_str(), millis(took));
    // Writes are logged at info; reads, and calls to the own queue, only at debug level.
    if is_write(call.service, action) && call.service != Service::Sqs {
        tracing::info!(service, action, resource, account, region, duration_ms, outcome = "ok", "AWS call");
    } else {
        tracing::debug!(service, action, resource, account, region, duration_ms, outcome = "ok", "AWS call");
    }
}

fn log_failure(call: &Call<'_>, error: &AwsError, took: Duration) {
    let Call { service, action, resource, account, region } = *call;
    let (service, duration_ms, outcome) = (service.as_str(), millis(took), error.class().as_str());
    let (code, request_id) = (error.code.as_deref(), error.request_id.as_deref());
    // Not `message`: tracing uses that key itself.
    let details = error.message.as_str();
    match error.class() {
        Class::NotFound | Class::NoChange | Class::Busy | Class::NotYetVisible | Class::Throttled => {
            tracing::debug!(
                service,
                action,
                resource,
                account,
                region,
                duration_ms,
                outcome,
                code,
                request_id,
                details,
                "AWS call"
            );
        }
        _ => {
            tracing::warn!(
                service,
                action,
                resource,
                account,
                region,
                duration_ms,
                outcome,
                code,
                request_id,
                details,
                "AWS call"
            );
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
