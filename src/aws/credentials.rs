//! Credentials, cached until shortly before they expire, and those of an assumed role. I/O: STS, or the SDK's provider
//! chain.
//!
//! Not the SDK's cache: here one result serves all clients of an identity, rejected credentials are fetched again, and
//! old ones that still work are used while their renewal fails.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as ProvideFuture;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use parking_lot::Mutex;

use super::call::Caller;
use super::errors::{AwsError, Class};
use super::service::{GLOBAL, NO_CALL, OPERATOR, Priority, Service};
use super::shared::{MaxStaleness, SharedRead};

/// The maximum session duration of a role that was assumed by an assumed role ("role chaining").
const SESSION_SECONDS: i32 = 3600;
/// Renewal starts this long before expiry (or in the last quarter of a short lifetime).
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(300);

/// A provider with a cache of one entry. Clones share it.
#[derive(Debug, Clone)]
pub struct CachedCredentials {
    source: Arc<Source>,
    read: SharedRead<Credentials>,
    /// Renewal time and expiry of the cached credentials.
    lifetime: Arc<Mutex<Option<Lifetime>>>,
}

#[derive(Debug)]
enum Source {
    /// The SDK's provider chain: environment, profile, web identity, pod identity, container, instance.
    Ambient(SharedCredentialsProvider),
    Role(AssumeRole),
}

#[derive(Debug, Clone, Copy)]
struct Lifetime {
    read: Instant,
    renew: Instant,
    end: Instant,
}

impl CachedCredentials {
    pub fn ambient(provider: SharedCredentialsProvider) -> Self {
        Self::from(Source::Ambient(provider))
    }

    pub fn role(role: AssumeRole) -> Self {
        Self::from(Source::Role(role))
    }

    fn from(source: Source) -> Self {
        CachedCredentials { source: Arc::new(source), read: SharedRead::default(), lifetime: Arc::default() }
    }

    /// Records that AWS rejected them in a call that started at `started`: the next call fetches new ones.
    pub fn reject(&self, started: Instant) {
        let mut lifetime = self.lifetime();
        if lifetime.is_some_and(|lifetime| lifetime.read <= started) {
            *lifetime = None;
            self.read.invalidate();
        }
    }

    fn lifetime(&self) -> parking_lot::MutexGuard<'_, Option<Lifetime>> {
        // A panic cannot leave the value inconsistent.
        self.lifetime.lock()
    }

    pub(super) async fn credentials(&self) -> Result<Credentials, AwsError> {
        let now = Instant::now();
        let lifetime = *self.lifetime();
        let max_staleness = match lifetime {
            // Callers after that time share one renewal.
            Some(lifetime) if now >= lifetime.renew => MaxStaleness::since(lifetime.renew),
            _ => MaxStaleness::any(),
        };
        let this = self.clone();
        let read = |_| async move { this.fetch().await };
        match self.read.get(max_staleness, Priority::Foreground, |()| true, || (), read).await {
            Ok(credentials) => Ok((*credentials).clone()),
            Err(error) => {
                let unexpired =
                    lifetime.filter(|lifetime| Instant::now() < lifetime.end).and_then(|_| self.read.peek());
                match unexpired {
                    Some(old) => {
                        tracing::warn!(error = %error, "credentials not renewed; the old ones are used until they \
                                                        expire");
                        Ok((*old).clone())
                    }
                    None => Err(error),
                }
            }
        }
    }

    async fn fetch(self) -> Result<Credentials, AwsError> {
        let read = Instant::now();
        let (credentials, max_validity) = match &*self.source {
            Source::Ambient(provider) => (ambient(provider).await?, None),
            Source::Role(role) => (role.assume().await?, Some(Duration::from_secs(SESSION_SECONDS as u64))),
        };
        *self.lifetime() = credentials.expiry().map(|expiry| {
            let validity = expiry.duration_since(SystemTime::now()).unwrap_or_default();
            // With a local clock behind AWS's, they would seem to last longer than requested.
            let validity = max_validity.map_or(validity, |max_validity| validity.min(max_validity));
            Lifetime {
                read,
                renew: read + validity.saturating_sub(RENEW_BEFORE_EXPIRY.min(validity / 4)),
                end: read + validity,
            }
        });
        Ok(credentials)
    }
}

async fn ambient(provider: &SharedCredentialsProvider) -> Result<Credentials, AwsError> {
    provider.provide_credentials().await.map_err(|error| {
        let call = super::errors::Call {
            service: Service::Sts,
            action: NO_CALL,
            resource: "the operator's own identity",
            account: OPERATOR,
            region: GLOBAL,
        };
        let mut failure = call.failed(Class::CredentialsUnavailable, super::errors::reason(&error));
        failure.source = Some(Arc::new(error));
        tracing::warn!(error = %failure, "no credentials");
        failure.into()
    })
}

/// For a configuration without a provider.
#[derive(Debug)]
pub(super) struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> ProvideFuture<'a>
    where
        Self: 'a,
    {
        ProvideFuture::ready(Err(CredentialsError::not_loaded("none are configured")))
    }
}

impl ProvideCredentials for CachedCredentials {
    fn provide_credentials<'a>(&'a self) -> ProvideFuture<'a>
    where
        Self: 'a,
    {
        // Wraps our error in the SDK's; the classification of the call extracts it again.
        ProvideFuture::new(async { self.credentials().await.map_err(CredentialsError::provider_error) })
    }
}

/// Assumes a role with the operator's own credentials: traced, counted and classified like any call.
#[derive(Clone)]
pub struct AssumeRole {
    /// STS in the regions that may answer, in the order to try them.
    pub(super) sts: Vec<(aws_sdk_sts::Client, Caller)>,
    pub(super) role_arn: String,
    pub(super) external_id: Option<String>,
    pub(super) session_name: String,
}

impl fmt::Debug for AssumeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssumeRole").field("role_arn", &self.role_arn).finish_non_exhaustive()
    }
}

/// Whether the region refused the operator's credentials, or did not answer: those of a region that the operator's account
/// has not opted in to are invalid there, in STS's words.
fn is_of_region(error: &AwsError) -> bool {
    const CODES: [&str; 3] = ["InvalidClientTokenId", "UnrecognizedClientException", "RegionDisabledException"];
    error.code.as_deref().map_or(error.class() == Class::Unavailable, |code| CODES.contains(&code))
}

impl AssumeRole {
    async fn assume(&self) -> Result<Credentials, AwsError> {
        let mut refused = None;
        for (sts, caller) in &self.sts {
            match self.assume_in(sts, caller).await {
                Err(error) if is_of_region(&error) => {
                    tracing::debug!(%error, role = self.role_arn, "trying STS of another region");
                    // What the first region answered says most: the operator's own, if it is configured.
                    refused.get_or_insert(error);
                }
                answer => return answer,
            }
        }
        Err(refused.unwrap_or_else(|| {
            let call = super::errors::Call {
                service: Service::Sts,
                action: "AssumeRole",
                resource: &self.role_arn,
                account: OPERATOR,
                region: GLOBAL,
            };
            call.failed(Class::CredentialsUnavailable, "no region to call").into()
        }))
    }

    async fn assume_in(&self, sts: &aws_sdk_sts::Client, caller: &Caller) -> Result<Credentials, AwsError> {
        let request = sts
            .assume_role()
            .role_arn(&self.role_arn)
            .role_session_name(&self.session_name)
            .set_external_id(self.external_id.clone())
            .duration_seconds(SESSION_SECONDS);
        let response = caller.call(Service::Sts, "AssumeRole", &self.role_arn, request.send()).await?;
        let issued = response.credentials().ok_or_else(|| {
            AwsError::from(
                caller
                    .describe(Service::Sts, "AssumeRole", &self.role_arn)
                    .failed(Class::Unavailable, "the response contains no credentials"),
            )
        })?;
        let expiry = SystemTime::try_from(*issued.expiration()).ok();
        Ok(Credentials::new(
            issued.access_key_id(),
            issued.secret_access_key(),
            Some(issued.session_token().to_owned()),
            expiry,
            "AssumeRole",
        ))
    }
}
