//! Sessions by identity and region: created once, verified against the expected account, shared, dropped when idle.
//! I/O: STS, and what the SDK reads for its configuration.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::identity::IdentityCache;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder as HttpClient, Connector, tls};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use parking_lot::Mutex;

use super::arn::Arn;
use super::buckets::Buckets;
use super::call::{Caller, CallerParts};
use super::credentials::{AssumeRole, CachedCredentials, NoCredentials};
use super::errors::{AwsError, Class};
use super::events::{Queue, queue};
use super::partitions;
use super::service::{GLOBAL, OPERATOR, Priority, Service};
use super::session::Session;
use super::shared::{MaxStaleness, SharedRead};
use super::snapshots::{GlobalReads, Snapshots};
use super::write_gate::WriteGate;
use crate::telemetry::Metrics;

/// The identity to act as, and the account it must belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Identity {
    /// The account that the credentials must belong to; `None`: any.
    pub account_id: Option<String>,
    /// Assumed with the operator's own credentials; `None`: those are used directly.
    pub role: Option<Role>,
}

/// A role to assume.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role {
    pub arn: String,
    pub external_id: Option<String>,
    /// Shown in CloudTrail. Equal for all objects: each name has its own sessions and shared reads.
    pub session_name: String,
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The external id is sensitive: with it, another tenant can make the operator assume the role.
        f.debug_struct("Role").field("arn", &self.arn).field("session_name", &self.session_name).finish_non_exhaustive()
    }
}

impl Identity {
    /// The operator's own credentials, in any account.
    pub fn ambient() -> Self {
        Self::default()
    }

    /// The account, if known without a call: rate limits are kept under it, so that a role that is denied constantly
    /// does not slow other accounts.
    fn known_account(&self) -> &str {
        let of_role = || self.role.as_ref().and_then(|role| Some(Arn::parse(&role.arn)?.account));
        self.account_id.as_deref().or_else(of_role).filter(|account| !account.is_empty()).unwrap_or(OPERATOR)
    }
}

/// Timeout of calls, and idle time of sessions.
#[derive(Debug, Clone)]
pub struct Settings {
    pub connect_timeout: Duration,
    /// From the start of the call to the last byte of the response.
    pub call_timeout: Duration,
    pub idle: Duration,
    /// The region that the operator runs in, if it is configured.
    pub own_region: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(30),
            idle: Duration::from_secs(3600),
            own_region: own_region(),
        }
    }
}

/// All sessions of the process. Clones share them.
#[derive(Debug, Clone)]
pub struct Accounts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// One configuration and HTTP client for all: certificates and connections are stored once.
    base: SdkConfig,
    ambient: CachedCredentials,
    /// The region that the operator runs in, if it is configured.
    own_region: Option<String>,
    buckets: Buckets,
    gate: Arc<dyn WriteGate>,
    metrics: Metrics,
    idle: Duration,
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_region: HashMap<(Identity, String), Entry>,
    /// Per identity rather than per account: another role may have other permissions.
    global: HashMap<Identity, GlobalReads>,
    last_sweep: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    last_used: Instant,
    read: SharedRead<Session>,
}

impl Accounts {
    /// Reads the SDK's configuration: environment, profiles, endpoints. The first call resolves credentials.
    pub async fn load(settings: Settings, gate: Arc<dyn WriteGate>, metrics: Metrics) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.connect_timeout)
            .operation_attempt_timeout(settings.call_timeout)
            .build();
        // Without a region the SDK queries the instance metadata service and hangs if there is none. Every session sets
        // its own; this one is only for the SDK's own calls to STS.
        let region = Region::new(settings.own_region.clone().unwrap_or_else(|| "us-east-1".to_owned()));
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(region)
            .http_client(http_client())
            .timeout_config(timeouts);
        if let Ok(name) = AppName::new("keelson") {
            loader = loader.app_name(name);
        }
        let base = loader.load().await;
        Self::new(base, settings, gate, metrics)
    }

    /// For tests of other folders: without credentials, so without calls.
    #[cfg(test)]
    pub fn without_credentials(gate: Arc<dyn WriteGate>, metrics: Metrics) -> Self {
        Self::new(SdkConfig::builder().build(), Settings::default(), gate, metrics)
    }

    /// Uses an existing configuration (tests).
    pub fn new(base: SdkConfig, settings: Settings, gate: Arc<dyn WriteGate>, metrics: Metrics) -> Self {
        let ambient = match base.credentials_provider() {
            Some(provider) => CachedCredentials::ambient(provider),
            None => CachedCredentials::ambient(SharedCredentialsProvider::new(NoCredentials)),
        };
        let (buckets, sessions) = (Buckets::default(), Mutex::default());
        let own_region = settings.own_region;
        Accounts(Arc::new(Inner { base, ambient, own_region, buckets, gate, metrics, idle: settings.idle, sessions }))
    }

    /// The session of `identity` in `region`; new ones are checked with GetCallerIdentity first.
    ///
    /// # Errors
    /// [`Class::Denied`] and similar when the role cannot be assumed; [`Class::WrongAccount`] when the credentials
    /// belong to another account.
    pub async fn session(&self, identity: &Identity, region: &str) -> Result<Session, AwsError> {
        let (read, global) = self.entry(identity, region);
        let (this, identity, region) = (self.clone(), identity.clone(), region.to_owned());
        let open = |_| async move { this.open(identity, region, global).await };
        let session = read.get(MaxStaleness::any(), Priority::Foreground, |()| true, || (), open).await?;
        Ok((*session).clone())
    }

    /// The queue with that URL, read with the operator's own credentials in the region of the URL.
    pub fn event_queue(&self, url: &str) -> Queue {
        let inner = &*self.0;
        let configured = || inner.base.region().map_or_else(|| "us-east-1".to_owned(), ToString::to_string);
        let region = queue::region_of(url).unwrap_or_else(configured);
        let config = inner.config(&region, inner.ambient.clone());
        let caller = self.caller(OPERATOR, &region, Some(inner.ambient.clone()));
        Queue { url: url.to_owned(), sqs: aws_sdk_sqs::Client::new(&config), caller }
    }

    /// Whether an open session has this caller ARN.
    pub fn acts_as(&self, caller_arn: &str) -> bool {
        let sessions = self.sessions();
        let mut open = sessions.by_region.values().filter_map(|entry| entry.read.peek());
        open.any(|session| &*session.caller_arn == caller_arn)
    }

    /// The number of open sessions.
    #[cfg(test)]
    pub fn open_sessions(&self) -> usize {
        self.sessions().by_region.len()
    }

    fn sessions(&self) -> parking_lot::MutexGuard<'_, Sessions> {
        // A panic cannot leave the map inconsistent.
        self.0.sessions.lock()
    }

    fn entry(&self, identity: &Identity, region: &str) -> (SharedRead<Session>, GlobalReads) {
        let now = Instant::now();
        let mut sessions = self.sessions();
        sessions.drop_idle(now, self.0.idle, &self.0.buckets);
        let global = sessions.global.entry(identity.clone()).or_default().clone();
        let key = (identity.clone(), region.to_owned());
        let entry =
            sessions.by_region.entry(key).or_insert_with(|| Entry { last_used: now, read: SharedRead::default() });
        entry.last_used = now;
        (entry.read.clone(), global)
    }

    async fn open(self, identity: Identity, region: String, global: GlobalReads) -> Result<Session, AwsError> {
        let inner = &*self.0;
        let credentials = match &identity.role {
            None => inner.ambient.clone(),
            Some(role) => CachedCredentials::role(self.assume_role(role, identity.known_account(), &region)),
        };
        let config = inner.config(&region, credentials.clone());
        let sts = aws_sdk_sts::Client::new(&config);
        let expected = identity.account_id.as_deref();
        let sts_caller = self.caller(identity.known_account(), &region, Some(credentials.clone()));
        let (account_id, caller_arn, partition) = identify(&sts, &sts_caller, expected).await?;
        let caller = self.caller(&account_id, &region, Some(credentials));
        let ec2 = aws_sdk_ec2::Client::new(&config);
        let eks = aws_sdk_eks::Client::new(&config);
        let iam = aws_sdk_iam::Client::new(&config);
        let ssm = aws_sdk_ssm::Client::new(&config);
        let snapshots = Snapshots::new(caller.clone(), ec2.clone(), eks.clone(), iam.clone(), ssm, global);
        Ok(Session {
            account_id: account_id.into(),
            partition: partition.into(),
            caller_arn: caller_arn.into(),
            region: region.into(),
            ec2,
            eks,
            iam,
            snapshots,
            caller,
            config: Arc::new(config),
        })
    }

    /// Through regional STS endpoints, with the operator's own credentials.
    fn assume_role(&self, role: &Role, account: &str, region: &str) -> AssumeRole {
        let ambient = &self.0.ambient;
        let sts = partitions::sts_regions(self.0.own_region.as_deref(), region).into_iter().map(|region| {
            let sts = aws_sdk_sts::Client::new(&self.0.config(&region, ambient.clone()));
            (sts, self.caller(account, &region, Some(ambient.clone())))
        });
        AssumeRole {
            sts: sts.collect(),
            role_arn: role.arn.clone(),
            external_id: role.external_id.clone(),
            session_name: role.session_name.clone(),
        }
    }

    fn caller(&self, account: &str, region: &str, credentials: Option<CachedCredentials>) -> Caller {
        let inner = &*self.0;
        Caller::new(CallerParts {
            account: account.to_owned(),
            region: region.to_owned(),
            limits: inner.buckets.of(account, region),
            global_limits: inner.buckets.of(account, GLOBAL),
            gate: inner.gate.clone(),
            metrics: inner.metrics.clone(),
            credentials,
        })
    }
}

impl Inner {
    fn config(&self, region: &str, credentials: CachedCredentials) -> SdkConfig {
        self.base
            .to_builder()
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .identity_cache(IdentityCache::no_cache())
            // Repeating a create after a lost response makes a duplicate: the engine observes instead.
            .retry_config(RetryConfig::disabled())
            .build()
    }
}

impl Sessions {
    /// Drops idle sessions; clones that are in use remain valid.
    fn drop_idle(&mut self, now: Instant, idle: Duration, buckets: &Buckets) {
        if self.last_sweep.is_some_and(|last_sweep| now.saturating_duration_since(last_sweep) < idle / 60) {
            return;
        }
        self.last_sweep = Some(now);
        self.by_region.retain(|_, entry| now.saturating_duration_since(entry.last_used) < idle);
        let by_region = &self.by_region;
        self.global.retain(|identity, _| by_region.keys().any(|(last_used, _)| last_used == identity));
        buckets.drop_unused();
    }
}

/// Account id, ARN and partition of the credentials.
async fn identify(
    sts: &aws_sdk_sts::Client,
    caller: &Caller,
    expected: Option<&str>,
) -> Result<(String, String, String), AwsError> {
    const ACTION: &str = "GetCallerIdentity";
    let resource = "the credentials";
    let response = caller.call(Service::Sts, ACTION, resource, sts.get_caller_identity().send()).await?;
    let call = caller.describe(Service::Sts, ACTION, resource);
    let account = response.account().unwrap_or_default();
    if account.is_empty() {
        return Err(call.failed(Class::Unavailable, "the response contains no account").into());
    }
    if let Some(expected) = expected
        && expected != account
    {
        let message = format!("the credentials belong to account {account}, not to the expected account {expected}");
        return Err(call.failed(Class::WrongAccount, message).into());
    }
    let arn = response.arn().unwrap_or_default();
    let partition = Arn::parse(arn).map_or("aws", |arn| arn.partition);
    Ok((account.to_owned(), arn.to_owned(), partition.to_owned()))
}

/// As the SDK and the webhooks of EKS set it.
fn own_region() -> Option<String> {
    let region = std::env::var("AWS_REGION").or_else(|_| std::env::var("AWS_DEFAULT_REGION"));
    region.ok().filter(|region| !region.is_empty())
}

/// The SDK's default client, with few idle connections that are closed before AWS closes them: a write on a closing
/// connection loses its response.
pub(super) fn http_client() -> aws_smithy_runtime_api::client::http::SharedHttpClient {
    HttpClient::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder()
            .pool_idle_timeout(Duration::from_secs(15))
            .pool_max_idle_per_host(16)
            .proxy_config(ProxyConfig::from_env());
        if let Some(settings) = settings {
            connector = connector.connector_settings(settings.clone());
        }
        if let Some(sleep) = components.and_then(|components| components.sleep_impl()) {
            connector = connector.sleep_impl(sleep);
        }
        connector.tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build()
    })
}
