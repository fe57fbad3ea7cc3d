//! Leader election with a Lease: one replica is active at a time.
//!
//! [`decide`] is pure. A claim is a deadline on this process's monotonic clock. It starts before the renewal is sent
//! and is shorter than the lease: whatever the clocks of other replicas show, they take over only after it has
//! expired. It is checked right before each AWS write, so a process that was paused, or is cut off from the API
//! server, stops writing by itself. I/O: the Lease.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};

use super::apply::describe_error;
use super::lease_timing::Timing;
use crate::aws::WriteGate;

/// Whether this process may write, and until when.
pub struct Leadership {
    start: Instant,
    /// Milliseconds after `start`; 0: not the leader.
    until: AtomicU64,
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leadership(may write: {})", self.may_write())
    }
}

impl Leadership {
    /// A process that is not the leader.
    pub fn none() -> Self {
        Self { start: Instant::now(), until: AtomicU64::new(0) }
    }

    /// The only replica: always the leader.
    pub fn always() -> Self {
        Self { start: Instant::now(), until: AtomicU64::new(u64::MAX) }
    }

    fn claim(&self, until: Instant) {
        let millis = until.saturating_duration_since(self.start).as_millis();
        self.until.store(u64::try_from(millis).unwrap_or(u64::MAX - 1), Ordering::SeqCst);
    }

    fn give_up(&self) {
        self.until.store(0, Ordering::SeqCst);
    }
}

impl WriteGate for Leadership {
    fn may_write(&self) -> bool {
        self.start.elapsed().as_millis() < u128::from(self.until.load(Ordering::SeqCst))
    }

    fn open_for(&self) -> Option<Duration> {
        match self.until.load(Ordering::SeqCst) {
            u64::MAX => None,
            until => Some(Duration::from_millis(until).saturating_sub(self.start.elapsed())),
        }
    }
}

/// The relevant fields of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The holder; empty: none.
    pub holder: String,
    /// How long it is valid without a renewal.
    pub duration: Duration,
}

/// What to do with the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It does not exist: create it.
    Create,
    /// It has no holder, or the holder stopped renewing it: take it.
    Take,
    /// This process holds it: renew it.
    Renew,
    /// Another process holds it: wait.
    Wait,
}

/// Decides what to do. `unchanged_for`: how long this process has observed the Lease unchanged, by its own clock, as
/// the times in the Lease come from another one.
pub fn decide(lease: Option<&LeaseRecord>, me: &str, unchanged_for: Duration) -> Decision {
    match lease {
        None => Decision::Create,
        Some(lease) if lease.holder.is_empty() => Decision::Take,
        Some(lease) if lease.holder == me => Decision::Renew,
        Some(lease) if unchanged_for >= lease.duration => Decision::Take,
        Some(_) => Decision::Wait,
    }
}

/// A candidate for the Lease.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    me: String,
    timing: Timing,
    /// The resourceVersion of the Lease observed last, and since when.
    last_observed: Option<(String, Instant)>,
}

impl Elector {
    /// A candidate with identity `me` for the Lease `namespace/name`.
    pub fn new(client: Client, namespace: &str, name: &str, me: String, timing: Timing) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), me, timing, last_observed: None }
    }

    /// Waits until this process is the leader.
    pub async fn acquire(&mut self, leadership: &Leadership) {
        tracing::info!(lease = self.name, identity = self.me, "waiting for the lease");
        let mut logged = false;
        loop {
            match self.attempt(leadership).await {
                Ok(true) => {
                    tracing::info!(lease = self.name, identity = self.me, "leading");
                    return;
                }
                Ok(false) => logged = false,
                // Logged once per outage: this runs every few seconds.
                Err(error) if !logged => {
                    tracing::warn!(lease = self.name, error = %describe_error(&error), "the lease cannot be accessed; retrying");
                    logged = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(self.timing.retry_period).await;
        }
    }

    /// Renews the lease until it is lost.
    pub async fn renew(&mut self, leadership: &Leadership) {
        loop {
            tokio::time::sleep(self.timing.retry_period).await;
            match self.attempt(leadership).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(lease = self.name, "another replica holds the lease; this replica stops");
                    return;
                }
                Err(error) => {
                    tracing::warn!(lease = self.name, error = %describe_error(&error), "the lease was not renewed");
                    if !leadership.may_write() {
                        tracing::warn!(lease = self.name, "the lease expired; this replica stops");
                        return;
                    }
                }
            }
        }
    }

    /// Releases the lease, so that another replica can take over at once.
    pub async fn release(&mut self, leadership: &Leadership) {
        leadership.give_up();
        let released = tokio::time::timeout(self.timing.request_timeout(), async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() != Some(self.me.as_str()) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
        });
        match released.await {
            Ok(Ok(())) => tracing::info!(lease = self.name, "lease released"),
            Ok(Err(error)) => {
                tracing::warn!(lease = self.name, error = %describe_error(&error), "the lease was not released")
            }
            Err(_) => {
                tracing::warn!(lease = self.name, "the lease was not released: the API server did not answer in time")
            }
        }
    }

    /// Reads the Lease, and writes it if this process holds it or may take it. Returns whether this process holds it.
    async fn attempt(&mut self, leadership: &Leadership) -> Result<bool, kube::Error> {
        // Measured before the request: other replicas count from its arrival.
        let requested_at = Instant::now();
        let held = match tokio::time::timeout(self.timing.request_timeout(), self.read_and_write()).await {
            Ok(held) => held?,
            Err(_) => return Err(kube::Error::Service("the API server did not answer in time".into())),
        };
        if held {
            leadership.claim(requested_at + self.timing.renew_deadline);
        } else {
            leadership.give_up();
        }
        Ok(held)
    }

    async fn read_and_write(&mut self) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let unchanged_for = self.unchanged_for(lease.as_ref());
        let decision = decide(lease.as_ref().map(lease_record).as_ref(), &self.me, unchanged_for);
        let written = match (decision, lease) {
            (Decision::Wait, _) => return Ok(false),
            (Decision::Create, _) | (_, None) => self.api.create(&PostParams::default(), &self.new_lease()).await,
            (decision, Some(lease)) => {
                // Sent with the resourceVersion that was read: of two concurrent writers, one wins.
                let lease = self.with_holder(lease, decision == Decision::Take);
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn unchanged_for(&mut self, lease: Option<&Lease>) -> Duration {
        let Some(version) = lease.and_then(ResourceExt::resource_version) else {
            self.last_observed = None;
            return Duration::ZERO;
        };
        match &self.last_observed {
            Some((observed, since)) if *observed == version => since.elapsed(),
            _ => {
                self.last_observed = Some((version, Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn new_lease(&self) -> Lease {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        self.with_holder(Lease { metadata, spec: None }, true)
    }

    fn with_holder(&self, mut lease: Lease, is_new_holder: bool) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(self.me.clone());
        spec.lease_duration_seconds = i32::try_from(self.timing.lease_duration.as_secs()).ok();
        spec.renew_time = Some(now.clone());
        if is_new_holder {
            spec.acquire_time = Some(now);
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
        }
        lease
    }
}

fn lease_record(lease: &Lease) -> LeaseRecord {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    LeaseRecord {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
    }
}

/// A unique identity for this replica. A Pod uses its name, so a restarted container continues at once: a Pod runs
/// only one at a time.
pub fn identity(pod_name: Option<String>) -> String {
    if let Some(name) = pod_name.filter(|name| !name.is_empty()) {
        return name;
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "keelson" } else { host.trim() };
    format!("{host}_{}_{}", std::process::id(), Timestamp::now().as_nanosecond() % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn held_by(holder: &str) -> LeaseRecord {
        LeaseRecord { holder: holder.to_owned(), duration: LEASE }
    }

    #[test]
    fn lease_is_taken_only_when_free_or_expired() {
        let almost = LEASE - Duration::from_millis(1);
        let cases = [
            (None, Duration::ZERO, Decision::Create),
            (Some(held_by("")), Duration::ZERO, Decision::Take),
            (Some(held_by("me")), Duration::ZERO, Decision::Renew),
            (Some(held_by("other")), Duration::ZERO, Decision::Wait),
            (Some(held_by("other")), almost, Decision::Wait),
            (Some(held_by("other")), LEASE, Decision::Take),
        ];
        for (lease, unchanged_for, decision) in cases {
            assert_eq!(decide(lease.as_ref(), "me", unchanged_for), decision, "{lease:?} {unchanged_for:?}");
        }
    }

    #[test]
    fn expired_claim_closes_the_write_gate() {
        let leadership = Leadership::none();
        assert!(!leadership.may_write());
        leadership.claim(Instant::now() + Duration::from_secs(5));
        assert!(leadership.may_write());
        assert!(leadership.open_for().is_some_and(|left| left > Duration::from_secs(4)));
        leadership.claim(Instant::now());
        assert!(!leadership.may_write());
        assert_eq!(leadership.open_for(), Some(Duration::ZERO));
        assert!(Leadership::always().may_write());
        assert_eq!(Leadership::always().open_for(), None);
    }

    #[test]
    fn identity_is_the_pod_name_or_unique() {
        assert_eq!(identity(Some("keelson-0".into())), "keelson-0");
        assert_ne!(identity(None), identity(Some(String::new())));
    }
}
