//! Leader election by a Lease: one replica works at a time.
//!
//! [`decide`] is pure. A claim is a time on this process's own monotonic clock, set from before the renewal was sent and
//! shorter than the lease itself: whatever other replicas' clocks say, they take over only after it has run out. It is read
//! right before each AWS write, so a process that was paused, or cut off from the API server, stops by itself.
//! I/O: the Lease.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};

use super::lease_timing::Timing;
use crate::aws::WriteGate;

/// Whether this process may write, and until when.
pub struct Leadership {
    start: Instant,
    /// Milliseconds after `start`; 0: not leading.
    until: AtomicU64,
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leadership(may write: {})", self.may_write())
    }
}

impl Leadership {
    /// Of a process that does not lead yet.
    pub fn none() -> Self {
        Self { start: Instant::now(), until: AtomicU64::new(0) }
    }

    /// Of the only replica.
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

/// What stands in the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Who holds it; empty: nobody.
    pub holder: String,
    /// How long it lasts without a renewal.
    pub lasts: Duration,
}

/// What to do about the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Make it.
    Create,
    /// It is free, or its holder gave no sign of life: take it.
    Take,
    /// It is ours.
    Renew,
    /// Somebody else's.
    Leave,
}

/// Decides. `unchanged_for` is how long this process has seen the Lease as it is, by its own clock: the times that stand in
/// it are of another one.
pub fn decide(lease: Option<&LeaseRecord>, me: &str, unchanged_for: Duration) -> Decision {
    match lease {
        None => Decision::Create,
        Some(held) if held.holder.is_empty() => Decision::Take,
        Some(held) if held.holder == me => Decision::Renew,
        Some(held) if unchanged_for >= held.lasts => Decision::Take,
        Some(_) => Decision::Leave,
    }
}

/// One candidate.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    me: String,
    timing: Timing,
    /// The version of the Lease seen last, and since when it is that.
    seen: Option<(String, Instant)>,
}

impl Elector {
    /// A candidate called `me` for the Lease `namespace/name`.
    pub fn new(client: Client, namespace: &str, name: &str, me: String, timing: Timing) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), me, timing, seen: None }
    }

    /// Returns when this process leads.
    pub async fn acquire(&mut self, leadership: &Leadership) {
        tracing::info!(lease = self.name, identity = self.me, "waiting for the lease");
        let mut quiet = false;
        loop {
            match self.attempt(leadership).await {
                Ok(true) => {
                    tracing::info!(lease = self.name, identity = self.me, "leading");
                    return;
                }
                Ok(false) => quiet = false,
                // Once per outage: this runs every few seconds.
                Err(error) if !quiet => {
                    tracing::warn!(lease = self.name, error = %told(&error), "the lease cannot be read or written; trying on");
                    quiet = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(self.timing.retry_period).await;
        }
    }

    /// Renews until the lease is lost.
    pub async fn keep(&mut self, leadership: &Leadership) {
        loop {
            tokio::time::sleep(self.timing.retry_period).await;
            match self.attempt(leadership).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(lease = self.name, "another replica holds the lease: this one stops");
                    return;
                }
                Err(error) => {
                    tracing::warn!(lease = self.name, error = %told(&error), "the lease was not renewed");
                    if !leadership.may_write() {
                        tracing::warn!(lease = self.name, "the lease ran out: this replica stops");
                        return;
                    }
                }
            }
        }
    }

    /// Lets another replica take over at once.
    pub async fn release(&mut self, leadership: &Leadership) {
        leadership.give_up();
        let released = tokio::time::timeout(self.timing.patience(), async {
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
            Ok(Err(error)) => tracing::warn!(lease = self.name, error = %told(&error), "the lease was not released"),
            Err(_) => tracing::warn!(lease = self.name, "the lease was not released: no answer"),
        }
    }

    /// One look at the Lease, and one write if it is ours or free. True: it is ours now.
    async fn attempt(&mut self, leadership: &Leadership) -> Result<bool, kube::Error> {
        // From before the request: the others count from when it arrives.
        let asked = Instant::now();
        let held = match tokio::time::timeout(self.timing.patience(), self.read_and_write()).await {
            Ok(held) => held?,
            Err(_) => return Err(kube::Error::Service("no answer in time".into())),
        };
        if held {
            leadership.claim(asked + self.timing.renew_deadline);
        } else {
            leadership.give_up();
        }
        Ok(held)
    }

    async fn read_and_write(&mut self) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let unchanged_for = self.unchanged_for(lease.as_ref());
        let decision = decide(lease.as_ref().map(held).as_ref(), &self.me, unchanged_for);
        let written = match (decision, lease) {
            (Decision::Leave, _) => return Ok(false),
            (Decision::Create, _) | (_, None) => self.api.create(&PostParams::default(), &self.fresh()).await,
            (decision, Some(lease)) => {
                // With the resourceVersion that was read: of two who try, one wins.
                let lease = self.ours(lease, decision == Decision::Take);
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
            self.seen = None;
            return Duration::ZERO;
        };
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed(),
            _ => {
                self.seen = Some((version, Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn fresh(&self) -> Lease {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        self.ours(Lease { metadata, spec: None }, true)
    }

    fn ours(&self, mut lease: Lease, taken: bool) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(self.me.clone());
        spec.lease_duration_seconds = i32::try_from(self.timing.lease_duration.as_secs()).ok();
        spec.renew_time = Some(now.clone());
        if taken {
            spec.acquire_time = Some(now);
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
        }
        lease
    }
}

fn held(lease: &Lease) -> LeaseRecord {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    LeaseRecord {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        lasts: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
    }
}

fn told(error: &kube::Error) -> String {
    super::apply::describe_error(error)
}

/// A name of this replica that no other has. A Pod's own name is taken as it is, so that a container that is started again
/// goes on at once: a Pod runs one of it at a time.
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
        LeaseRecord { holder: holder.to_owned(), lasts: LEASE }
    }

    #[test]
    fn a_lease_is_taken_only_when_free_or_silent_for_as_long_as_it_lasts() {
        let almost = LEASE - Duration::from_millis(1);
        let cases = [
            (None, Duration::ZERO, Decision::Create),
            (Some(held_by("")), Duration::ZERO, Decision::Take),
            (Some(held_by("me")), Duration::ZERO, Decision::Renew),
            (Some(held_by("other")), Duration::ZERO, Decision::Leave),
            (Some(held_by("other")), almost, Decision::Leave),
            (Some(held_by("other")), LEASE, Decision::Take),
        ];
        for (lease, unchanged_for, decision) in cases {
            assert_eq!(decide(lease.as_ref(), "me", unchanged_for), decision, "{lease:?} {unchanged_for:?}");
        }
    }

    #[test]
    fn a_claim_that_ran_out_closes_the_gate() {
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
    fn a_pod_keeps_its_name_and_other_processes_differ() {
        assert_eq!(identity(Some("keelson-0".into())), "keelson-0");
        assert_ne!(identity(None), identity(Some(String::new())));
    }
}
