//! Access to the API of workload clusters: one client per cluster, with its own token, dropped when idle.
//!
//! Not allowed here: what is applied there. I/O: only by the clients it creates.
//!
//! A client carries one token and is replaced before the token expires, so nothing refreshes in the background. It is
//! also replaced when ARN, endpoint, CA or credentials change. No token is minted for an endpoint that EKS described as
//! another cluster's. Clients that are unused for half a minute are dropped: a handshake costs a millisecond, while the
//! connections of hundreds of idle clusters would take more memory than the rest of the operator.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use jiff::Timestamp;
use kube::{Client, Config};
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::Semaphore;
use tokio::sync::watch::Receiver;

use super::cluster_identity;
use super::error::{CallError, GitOpsError, Unreachable};
use super::follow::{WatchSignal, follow};
use super::memory::Memory;
use super::proxy::Proxy;
use super::token::{self, StsEndpoint};
use super::watch::Watched;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Timeout of a read that needs several requests.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const IDLE_CLIENT: Duration = Duration::from_secs(30);
const IDLE_MEMORY: Duration = Duration::from_secs(3600);
/// Backoff for an unreachable cluster: first delay and maximum, doubling in between.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// Installs that run concurrently: each holds a few parsed manifests in memory.
const MAX_INSTALLS: usize = 8;

/// How to reach a cluster's API: from DescribeCluster, and the credentials of the account's session.
#[derive(Debug, Clone)]
pub struct Access {
    /// Name in EKS, to which the token is bound.
    pub cluster_name: String,
    /// Account of the session whose credentials sign the token.
    pub account_id: String,
    pub region: String,
    /// ARN in the DescribeCluster response that contained endpoint and certificate authority.
    pub arn: String,
    pub endpoint: String,
    /// `certificateAuthority.data`: PEM in base64.
    pub certificate_authority: String,
    pub sts: StsEndpoint,
    pub credentials: Credentials,
}

impl Access {
    /// Hash of everything that a client depends on.
    pub(crate) fn fingerprint(&self) -> u64 {
        let Self { cluster_name, account_id, region, arn, endpoint, certificate_authority, sts, credentials } = self;
        let mut hasher = DefaultHasher::new();
        (cluster_name, account_id, region, arn, endpoint, certificate_authority, sts).hash(&mut hasher);
        credentials.access_key_id().hash(&mut hasher);
        hasher.finish()
    }

    /// When a token minted at `now` is replaced: earlier if the credentials that sign it expire first.
    pub(crate) fn usable_until(&self, now: SystemTime) -> SystemTime {
        let expiry = self.credentials.expiry().map(|expiry| expiry - Duration::from_secs(60));
        let until = now + token::USABLE_FOR;
        expiry.map_or(until, |expiry| expiry.min(until))
    }

    /// Whether both reach the same API server.
    pub(crate) fn is_same_cluster(&self, other: &Self) -> bool {
        let of = |access: &Self| (access.arn.clone(), access.endpoint.clone(), access.certificate_authority.clone());
        of(self) == of(other)
    }

    /// Creates a client. `read_timeout` is the longest time without data on a connection.
    pub(crate) fn client(
        &self,
        proxy: Option<&Proxy>,
        now: SystemTime,
        read_timeout: Duration,
    ) -> Result<Client, GitOpsError> {
        let invalid = |error: String| GitOpsError::Endpoint(error);
        cluster_identity::check(&self.arn, &self.account_id, &self.region, &self.cluster_name)?;
        let token = token::mint(&self.cluster_name, &self.region, &self.sts, &self.credentials, now)?;
        let url: Uri = self.endpoint.parse().map_err(|error| invalid(format!("{}: {error}", self.endpoint)))?;
        let through = proxy.and_then(|proxy| proxy.to(&url).cloned());
        let mut config = Config::new(url);
        config.proxy_url = through;
        config.root_cert = Some(certificates(&self.certificate_authority).map_err(invalid)?);
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(read_timeout);
        config.write_timeout = Some(REQUEST_TIMEOUT);
        config.reset_reader_on_write = true;
        // kube's retries would wait inside the call; the controller requeues instead.
        config.default_retry = false;
        config.auth_info.token = Some(token.expose().to_owned().into());
        Client::try_from(config).map_err(|error| invalid(error.to_string()))
    }
}

/// The endpoint for messages, with the proxy if one is used.
fn route(endpoint: &str, proxy: Option<&Proxy>) -> String {
    let used_proxy = proxy.filter(|proxy| endpoint.parse().is_ok_and(|url| proxy.to(&url).is_some()));
    used_proxy.map_or_else(|| endpoint.to_owned(), |proxy| format!("{endpoint} (through the proxy {proxy})"))
}

/// The DER certificates of a PEM bundle in base64.
pub(super) fn certificates(data: &str) -> Result<Vec<Vec<u8>>, String> {
    let pem =
        STANDARD.decode(data.trim()).map_err(|error| format!("the certificate authority is not base64: {error}"))?;
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&pem).map(|found| found.map(|certificate| certificate.to_vec())).collect();
    match certificates {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("the certificate authority holds no certificate".into()),
        Err(error) => Err(format!("the certificate authority is not PEM: {error}")),
    }
}

/// Where a cluster's API is, according to EKS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub arn: String,
    pub endpoint: String,
    /// PEM in base64.
    pub certificate_authority: String,
}

/// The workload clusters that were used recently.
#[derive(Clone)]
pub struct Workloads {
    locations: Arc<Mutex<HashMap<String, Location>>>,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
    installs: Arc<Semaphore>,
    proxy: Option<Arc<Proxy>>,
}

struct Entry {
    fingerprint: u64,
    client: Option<(Client, SystemTime)>,
    used: Instant,
    memory: Arc<Mutex<Memory>>,
    health: Arc<Mutex<Option<Outage>>>,
}

/// Since when a cluster is unreachable, and when it is retried.
#[derive(Clone)]
struct Outage {
    since: Timestamp,
    delay: Duration,
    next: Instant,
    cause: Unreachable,
}

/// One workload cluster, during one reconcile.
pub struct Workload {
    pub client: Client,
    pub(crate) memory: Arc<Mutex<Memory>>,
    pub(crate) installs: Arc<Semaphore>,
    endpoint: String,
    health: Arc<Mutex<Option<Outage>>>,
}

impl Default for Workloads {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Workloads {
    /// Connects through `proxy` except for its exceptions, or directly without one.
    pub fn new(proxy: Option<Proxy>) -> Self {
        Self {
            locations: Arc::default(),
            entries: Arc::default(),
            installs: Arc::new(Semaphore::new(MAX_INSTALLS)),
            proxy: proxy.map(Arc::new),
        }
    }

    /// Opens the cluster of `key` (the EksCluster's UID). An unreachable cluster returns its last error until the
    /// backoff has passed.
    pub fn open(&self, key: &str, access: &Access, now: SystemTime) -> Result<Workload, GitOpsError> {
        let mut entries = self.entries.lock();
        drop_idle(&mut entries, key);
        let fingerprint = access.fingerprint();
        let entry = entries.entry(key.to_owned()).or_insert_with(|| Entry {
            fingerprint,
            client: None,
            used: Instant::now(),
            memory: Arc::default(),
            health: Arc::default(),
        });
        if entry.fingerprint != fingerprint {
            // It may be another cluster: discard the memory.
            *entry = Entry {
                fingerprint,
                client: None,
                used: Instant::now(),
                memory: Arc::default(),
                health: Arc::default(),
            };
        }
        entry.used = Instant::now();
        if let Some(outage) = entry.health.lock().as_ref()
            && let Some(left) = outage.next.checked_duration_since(Instant::now())
        {
            return Err(outage.error(&route(&access.endpoint, self.proxy.as_deref()), left));
        }
        let client = match &entry.client {
            Some((client, until)) if now < *until => client.clone(),
            _ => {
                let client = access.client(self.proxy.as_deref(), now, REQUEST_TIMEOUT)?;
                entry.client = Some((client.clone(), access.usable_until(now)));
                client
            }
        };
        Ok(Workload {
            client,
            memory: entry.memory.clone(),
            installs: self.installs.clone(),
            endpoint: route(&access.endpoint, self.proxy.as_deref()),
            health: entry.health.clone(),
        })
    }

    /// Stores the location of the cluster of `key`, for callers that only read from it.
    pub fn locate(&self, key: &str, location: Location) {
        let mut locations = self.locations.lock();
        if locations.get(key) != Some(&location) {
            locations.insert(key.to_owned(), location);
        }
    }

    /// The stored location.
    pub fn location(&self, key: &str) -> Option<Location> {
        self.locations.lock().get(key).cloned()
    }

    /// Reads from one cluster.
    pub async fn read<T>(
        &self,
        key: &str,
        access: &Access,
        now: SystemTime,
        read: impl AsyncFnOnce(Client) -> Result<T, CallError>,
    ) -> Result<T, GitOpsError> {
        let workload = self.open(key, access, now)?;
        let read = tokio::time::timeout(READ_TIMEOUT, read(workload.client.clone())).await;
        let read = read.unwrap_or(Err(CallError::Unreachable(Unreachable::Timeout)));
        let result = read.map_err(|error| workload.record_failure(error));
        match &result {
            Ok(_) => workload.record_reachable(),
            Err(GitOpsError::Denied { .. }) => self.renew(key),
            Err(_) => {}
        }
        result
    }

    /// Reports changes to objects of `kinds` in one cluster, and never returns; see [`super::follow::follow`].
    pub fn follow<T: Fn(WatchSignal) + Send + Sync + 'static>(
        &self,
        kinds: Vec<Watched>,
        access: Receiver<Access>,
        notify: T,
    ) -> impl Future<Output = ()> + Send + use<T> {
        follow(self.proxy.clone(), kinds, access, notify)
    }

    /// Forgets a deleted cluster.
    pub fn forget(&self, key: &str) {
        self.locations.lock().remove(key);
        self.entries.lock().remove(key);
    }

    /// Makes the next [`Self::open`] mint a new token, after the last one was rejected.
    pub fn renew(&self, key: &str) {
        if let Some(entry) = self.entries.lock().get_mut(key) {
            entry.client = None;
        }
    }
}

fn drop_idle(entries: &mut HashMap<String, Entry>, key: &str) {
    entries.retain(|other, entry| other == key || entry.used.elapsed() < IDLE_MEMORY);
    for (other, entry) in entries.iter_mut() {
        if other != key && entry.used.elapsed() > IDLE_CLIENT {
            entry.client = None;
        }
    }
}

impl Outage {
    fn error(&self, endpoint: &str, requeue_after: Duration) -> GitOpsError {
        GitOpsError::Unreachable {
            endpoint: endpoint.to_owned(),
            since: self.since,
            cause: self.cause.clone(),
            requeue_after,
        }
    }
}

impl Workload {
    /// A cluster of which nothing is known yet.
    #[cfg(test)]
    pub(crate) fn with_client(client: Client) -> Self {
        let installs = Arc::new(Semaphore::new(1));
        Self { client, memory: Arc::default(), installs, endpoint: "https://api".into(), health: Arc::default() }
    }

    /// Ends an outage: the cluster answered.
    pub(crate) fn record_reachable(&self) {
        *self.health.lock() = None;
    }

    /// Turns a failed call into the error for the whole cluster. Failures of single objects are handled by the caller.
    pub(crate) fn record_failure(&self, error: CallError) -> GitOpsError {
        let cause = match error {
            CallError::Unreachable(cause) => cause,
            CallError::Denied { message, unauthenticated } => {
                let advice = if unauthenticated {
                    "its access entry may not exist yet, or its role was changed"
                } else {
                    "it needs the access policy AmazonEKSClusterAdminPolicy in the cluster"
                };
                return GitOpsError::Denied { endpoint: self.endpoint.clone(), message, advice };
            }
            CallError::NotFound => return self.unexpected("404 Not Found for an API that every server has".into()),
            CallError::Conflict => return self.unexpected("409 Conflict for a read".into()),
            CallError::Expired => return self.unexpected("410 Gone for a read without a resourceVersion".into()),
            CallError::Refused(message) => return self.unexpected(message),
            CallError::TooLarge(message) => {
                return GitOpsError::OverBudget { endpoint: self.endpoint.clone(), message };
            }
        };
        let mut health = self.health.lock();
        let before = health.take();
        let delay = before.as_ref().map_or(RETRY.0, |outage| (outage.delay * 2).min(RETRY.1));
        let since = before.map_or_else(Timestamp::now, |outage| outage.since);
        let outage = Outage { since, delay, next: Instant::now() + delay, cause };
        let error = outage.error(&self.endpoint, delay);
        *health = Some(outage);
        error
    }

    fn unexpected(&self, message: String) -> GitOpsError {
        GitOpsError::Unexpected { endpoint: self.endpoint.clone(), message }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
