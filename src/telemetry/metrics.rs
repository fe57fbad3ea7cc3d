//! All metrics, and `/metrics` as OpenMetrics text. I/O: reads the process's own memory on request.
//!
//! Few labels: account and region on counters, but not on histograms, which have a dozen series each.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::event_queue::EventMetrics;
use super::gitops::GitOpsMetrics;
use super::installation::InstallationMetrics;
use super::objects::ObjectMetrics;
use super::process::Process;
use super::regions::Regions;

const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the process; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    pub aws: AwsMetrics,
    pub reconcile: ReconcileMetrics,
    pub events: EventMetrics,
    pub gitops: GitOpsMetrics,
    pub objects: ObjectMetrics,
    leader: Gauge,
    ambient_account_allowed: Gauge,
    installation: InstallationMetrics,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CallLabels {
    pub service: &'static str,
    pub action: &'static str,
    pub account: String,
    pub region: String,
    /// `ok`, `cancelled`, or the class of the failure.
    pub outcome: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActionLabels {
    service: &'static str,
    action: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RateLabels {
    service: &'static str,
    account: String,
    region: String,
}

/// Metrics of calls to AWS.
#[derive(Debug)]
pub struct AwsMetrics {
    calls: Family<CallLabels, Counter>,
    duration: Family<ActionLabels, Histogram, fn() -> Histogram>,
    waits: Family<RateLabels, Counter<f64, AtomicU64>>,
    throttles: Family<RateLabels, Counter>,
    deferrals: Family<RateLabels, Counter>,
    regions: Regions,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    kind: String,
    operation: String,
    result: &'static str,
}

/// Metrics of reconciliations and their updates.
#[derive(Debug)]
pub struct ReconcileMetrics {
    runs: Family<ResultLabels, Counter>,
    duration: Family<KindLabels, Histogram, fn() -> Histogram>,
    running: Family<KindLabels, Gauge>,
    unreadable: Family<KindLabels, Gauge>,
    operations: Family<OperationLabels, Histogram, fn() -> Histogram>,
}

/// From the seconds of an endpoint to the hours of a large node group.
fn operation_seconds() -> Histogram {
    Histogram::new([1.0, 5.0, 15.0, 60.0, 180.0, 420.0, 600.0, 900.0, 1800.0, 3600.0, 10_800.0])
}

fn call_seconds() -> Histogram {
    Histogram::new([0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0])
}

fn reconcile_seconds() -> Histogram {
    Histogram::new([0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0])
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let keelson = registry.sub_registry_with_prefix("keelson");
        let aws = AwsMetrics::register(keelson);
        let reconcile = ReconcileMetrics::register(keelson);
        let events = EventMetrics::register(keelson);
        let gitops = GitOpsMetrics::register(keelson);
        let objects = ObjectMetrics::register(keelson);
        super::register_global(keelson);
        let leader = Gauge::default();
        keelson.register("leader", "1 while this replica is the leader", leader.clone());
        let ambient_account_allowed = Gauge::default();
        keelson.register(
            "ambient_account_allowed",
            "1 when objects without an AwsAccount may use the operator's own credentials",
            ambient_account_allowed.clone(),
        );
        let installation = InstallationMetrics::register(keelson);
        registry.register_collector(Box::new(Process));
        Metrics(Arc::new(Inner {
            registry,
            aws,
            reconcile,
            events,
            gitops,
            objects,
            leader,
            ambient_account_allowed,
            installation,
        }))
    }

    pub fn aws(&self) -> &AwsMetrics {
        &self.0.aws
    }

    pub fn reconcile(&self) -> &ReconcileMetrics {
        &self.0.reconcile
    }

    pub fn events(&self) -> &EventMetrics {
        &self.0.events
    }

    pub fn gitops(&self) -> &GitOpsMetrics {
        &self.0.gitops
    }

    pub fn objects(&self) -> &ObjectMetrics {
        &self.0.objects
    }

    /// Removes the metrics of objects, agents and the event queue: this replica is no longer the leader.
    pub fn clear_leader_metrics(&self) {
        self.0.objects.forget_all();
        self.0.gitops.forget_all();
        self.0.events.clear();
        self.0.reconcile.unreadable.clear();
        self.0.installation.clear();
        super::rollouts::forget_all();
        super::notifications::set_pending(0);
    }

    pub fn installation(&self) -> &InstallationMetrics {
        &self.0.installation
    }

    pub fn set_leader(&self, is_leader: bool) {
        self.0.leader.set(is_leader.into());
    }

    /// Records whether objects without an AwsAccount may use the operator's own credentials.
    pub fn set_ambient_account_allowed(&self, allowed: bool) {
        self.0.ambient_account_allowed.set(allowed.into());
    }

    /// Encodes all metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.0.registry).is_err() {
            // Writing to a String fails only if a collector fails; return an error line rather than an incomplete page.
            text.clear();
            let _ = writeln!(text, "# encoding failed");
        }
        text
    }

    /// `GET /metrics`, to be merged into the server of the probes.
    pub fn routes(&self) -> axum::Router {
        let metrics = self.clone();
        axum::Router::new().route("/metrics", get(async move || ([(CONTENT_TYPE, CONTENT)], metrics.encode())))
    }
}

impl AwsMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = AwsMetrics {
            calls: Family::default(),
            duration: Family::new_with_constructor(call_seconds),
            waits: Family::default(),
            throttles: Family::default(),
            deferrals: Family::default(),
            regions: Regions::default(),
        };
        registry.register("aws_calls", "Calls to AWS by outcome", metrics.calls.clone());
        registry.register_with_unit(
            "aws_call_duration",
            "Duration of calls to AWS",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register_with_unit(
            "aws_bucket_wait",
            "Time spent waiting for a token",
            Unit::Seconds,
            metrics.waits.clone(),
        );
        registry.register("aws_throttles", "Throttled calls to AWS", metrics.throttles.clone());
        let help = "Calls deferred because no token was available soon";
        registry.register("aws_deferrals", help, metrics.deferrals.clone());
        metrics
    }

    /// Starts timing a call; a guard that is dropped unfinished counts it as cancelled.
    pub fn start<'a>(
        &'a self,
        service: &'static str,
        action: &'static str,
        account: &'a str,
        region: &'a str,
    ) -> CallTimer<'a> {
        CallTimer { metrics: self, service, action, account, region, started: Instant::now(), done: false }
    }

    pub fn record_wait(&self, service: &'static str, account: &str, region: &str, time: Duration) {
        self.waits.get_or_create(&self.rate(service, account, region)).inc_by(time.as_secs_f64());
    }

    pub fn record_throttle(&self, service: &'static str, account: &str, region: &str) {
        self.throttles.get_or_create(&self.rate(service, account, region)).inc();
    }

    pub fn record_deferral(&self, service: &'static str, account: &str, region: &str) {
        self.deferrals.get_or_create(&self.rate(service, account, region)).inc();
    }

    fn rate(&self, service: &'static str, account: &str, region: &str) -> RateLabels {
        RateLabels { service, account: account.to_owned(), region: self.regions.label(account, region).to_owned() }
    }

    /// The number of calls with these labels.
    #[cfg(test)]
    pub fn calls(&self, labels: &CallLabels) -> u64 {
        self.calls.get(labels).map_or(0, |counter| counter.get())
    }
}

/// Times one call to AWS.
#[must_use]
pub struct CallTimer<'a> {
    metrics: &'a AwsMetrics,
    service: &'static str,
    action: &'static str,
    account: &'a str,
    region: &'a str,
    started: Instant,
    done: bool,
}

impl CallTimer<'_> {
    /// Returns how long the call took.
    pub fn finish(mut self, outcome: &'static str) -> Duration {
        self.record(outcome)
    }

    fn record(&mut self, outcome: &'static str) -> Duration {
        self.done = true;
        let took = self.started.elapsed();
        let Self { service, action, .. } = *self;
        let (account, region) =
            (self.account.to_owned(), self.metrics.regions.label(self.account, self.region).to_owned());
        self.metrics.calls.get_or_create(&CallLabels { service, action, account, region, outcome }).inc();
        self.metrics.duration.get_or_create(&ActionLabels { service, action }).observe(took.as_secs_f64());
        took
    }
}

impl Drop for CallTimer<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.record("cancelled");
        }
    }
}

impl ReconcileMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = ReconcileMetrics {
            runs: Family::default(),
            duration: Family::new_with_constructor(reconcile_seconds),
            running: Family::default(),
            unreadable: Family::default(),
            operations: Family::new_with_constructor(operation_seconds),
        };
        registry.register(
            "reconciles",
            "Reconciliations by result: ok; refused (by the spec or its account); the class of the AWS error; management_api \
             (a call to the management cluster failed); status_rejected (the installed CRDs may be older); unsafe_plan; panic; cancelled",
            metrics.runs.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "Duration of reconciliations",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register("reconciles_running", "Reconciliations in progress", metrics.running.clone());
        registry.register("objects_unreadable", "Objects that cannot be read", metrics.unreadable.clone());
        registry.register_with_unit(
            "operation_duration",
            "Duration of updates in AWS by kind of resource and update, including the steps of upgrades",
            Unit::Seconds,
            metrics.operations.clone(),
        );
        metrics
    }

    /// Starts timing a reconciliation of this kind; a guard that is dropped unfinished counts it as cancelled.
    pub fn start(&self, kind: &'static str) -> ReconcileTimer<'_> {
        self.running.get_or_create(&KindLabels { kind }).inc();
        ReconcileTimer { metrics: self, kind, started: Instant::now(), result: "cancelled" }
    }

    /// Records an update of a resource of `kind` that ended in AWS after `took`; failed ones count without a duration.
    pub fn record_operation(&self, kind: &str, operation: &str, took: Option<Duration>) {
        let result = if took.is_some() { "ok" } else { "failed" };
        let labels = OperationLabels { kind: kind.to_owned(), operation: operation.to_owned(), result };
        self.operations.get_or_create(&labels).observe(took.unwrap_or_default().as_secs_f64());
    }

    /// Sets the number of unreadable objects of a kind.
    pub fn set_unreadable(&self, kind: &'static str, count: usize) {
        self.unreadable.get_or_create(&KindLabels { kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// Times one reconciliation.
#[must_use]
pub struct ReconcileTimer<'a> {
    metrics: &'a ReconcileMetrics,
    kind: &'static str,
    started: Instant,
    result: &'static str,
}

impl ReconcileTimer<'_> {
    /// Records the result: see the metric's help.
    pub fn finish(mut self, result: &'static str) {
        self.result = result;
    }
}

impl Drop for ReconcileTimer<'_> {
    fn drop(&mut self) {
        let Self { kind, result, .. } = *self;
        self.metrics.running.get_or_create(&KindLabels { kind }).dec();
        self.metrics.runs.get_or_create(&ResultLabels { kind, result }).inc();
        self.metrics.duration.get_or_create(&KindLabels { kind }).observe(self.started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
