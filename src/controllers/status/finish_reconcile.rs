//! The end of each reconcile: writes status if it changed, updates metrics, publishes events for changes of the
//! overall state, and returns when to requeue. I/O: the management cluster's API.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::ResourceExt;
use serde::Serialize;

use super::conditions::{Conditions, Overall};
use super::object_metrics;
pub use super::requeue::{MANAGEMENT_API, Next};
use super::waiting_on;
use super::waits::Wait;
use crate::api::RECONCILE_AT_ANNOTATION;
use crate::api::account::AwsAccountStatus;
use crate::api::conditions::{self, ConditionType, bounded};
use crate::api::hold::HoldStatus;
use crate::api::status_cluster::{ChangeStatus, EksClusterStatus, MAX_REQUEST, NodeGroupStatus, WaitStatus};
use crate::aws::WriteGate;
use crate::controllers::context::Context;
use crate::controllers::reconcile_error::{ReconcileError, StatusError};
use crate::controllers::runtime::apply::{self, Kind};
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::runtime::kind_watch::digest;
use crate::controllers::states::State;
use crate::engine::execution_policy::Subject;
use crate::telemetry::objects::{ClusterState, ObjectState};

/// A number derived from the object's UID, for jitter.
pub fn seed<K: ResourceExt>(object: &K) -> u64 {
    digest(object.uid())
}

/// The subject of an object's plans.
pub fn subject<K: ResourceExt>(object: &K) -> Subject {
    let meta = object.meta();
    Subject {
        uid: object.uid().unwrap_or_default(),
        generation: meta.generation,
        deleted_at: meta.deletion_timestamp.as_ref().map(|time| time.0),
    }
}

/// Changes with each user request: the spec's generation, and the reconcile-at annotation.
pub fn client_token_seed<K: ResourceExt>(object: &K) -> String {
    let requested = object.annotations().get(RECONCILE_AT_ANNOTATION).map_or("", String::as_str);
    format!("{} {requested}", object.meta().generation.unwrap_or_default())
}

/// The delay of the first reconcile of a steady object after a restart, so that a restart with many objects causes no
/// burst of AWS calls: about ten objects a second.
pub fn spread<K: ResourceExt>(object: &K, count: usize) -> Duration {
    const WITHOUT_DELAY: usize = 20;
    if count <= WITHOUT_DELAY {
        return Duration::ZERO;
    }
    let window = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(100).min(1_800_000);
    Duration::from_millis(seed(object) % window)
}

/// Whether the object is not deleted, and the last reconcile of the current spec left nothing to do.
pub fn was_steady(meta: &ObjectMeta, observed: Option<i64>, conditions: &[Condition]) -> bool {
    meta.deletion_timestamp.is_none()
        && meta.generation == observed
        && conditions::is_true(conditions, ConditionType::Ready)
}

/// Publishes an event when the object becomes ready, stalled, observed or suspended.
pub fn publish_transition<K: Kind>(ctx: &Context, object: &K, previous: &[Condition], overall: &Overall) {
    let reason_before = conditions::get(previous, ConditionType::Ready).map(|c| (c.status.as_str(), c.reason.as_str()));
    let message = match overall {
        Overall::Ready(value) if !matches!(reason_before, Some(("True", _))) => {
            EventMessage::normal("Ready", &value.message)
        }
        Overall::Stalled(value) if reason_before.is_none_or(|(_, reason)| reason != value.reason.as_str()) => {
            EventMessage::warning(value.reason, &value.message)
        }
        Overall::Observed(value) if reason_before.is_none_or(|(_, reason)| reason != value.reason.as_str()) => {
            EventMessage::normal(value.reason.as_str(), &value.message)
        }
        Overall::Suspended(message) if reason_before.is_none_or(|(_, reason)| reason != "Suspended") => {
            EventMessage::normal("Suspended", message)
        }
        _ => return,
    };
    ctx.events.publish(object, vec![message]);
}

/// Writes `status` if it differs from `previous`, updates metrics, and returns when to requeue.
pub async fn write_status<K, S, R>(
    ctx: &Context,
    object: &K,
    state: &mut State<S, R>,
    previous: S,
    status: S,
    overall: &Overall,
    next: Next,
) -> Next
where
    K: Kind,
    S: Serialize + PartialEq + Default + WithConditions,
{
    let state_of_object = ObjectState {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        ready: ready_label(overall),
        conditions: object_metrics::conditions(status.conditions()),
        cluster: status.cluster(),
    };
    ctx.metrics.objects().set(K::NAME, &object.uid().unwrap_or_default(), state_of_object);
    let now = Timestamp::now();
    if status == previous && state.failed_writes == 0 && !state.rewrite {
        state.written = Some(status);
        return next;
    }
    if !ctx.gate.may_write() {
        // A process that was paused has outdated status, and the new leader would not notice the overwrite.
        return next;
    }
    match apply::patch_status(&ctx.client, object, apply::MANAGER, &*ctx.gate, &status).await {
        Ok(version) => {
            state.last_write.record(version);
            state.rewrite = false;
            log_transitions(object, previous.conditions(), status.conditions());
            state.written = Some(status);
            state.failed_writes = 0;
            next
        }
        // Deleted, or replaced under the same name: the watch will report it.
        Err(kube::Error::Api(response)) if matches!(response.code, 404 | 409) => next,
        Err(error) => {
            state.failed_writes = state.failed_writes.saturating_add(1);
            let error = ReconcileError::from(StatusError::NotWritten(error));
            error.log();
            if error.is_rejected_status() {
                ctx.events.publish(object, vec![rejected_status_event(&error)]);
            }
            // A separate backoff, doubled up to a minute: an unavailable API server must not be flooded by all
            // objects.
            let millis = 1000_i64.saturating_mul(1 << state.failed_writes.min(6)).min(60_000);
            let spread = i64::try_from(seed(object) % 1000).unwrap_or_default();
            let retry = Next::after(SignedDuration::from_millis(millis + spread), now).failed(error.result());
            if state.failed_writes > 2 { retry } else { next.or(retry) }
        }
    }
}

/// Status cannot say it, so an event does.
fn rejected_status_event(error: &ReconcileError) -> EventMessage {
    let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let note = format!(
        "the API server rejected its status, which is out of date since then: the installed CRDs may be older than the \
         operator ({}), whose CRDs are to be installed first: {why}",
        env!("CARGO_PKG_VERSION")
    );
    EventMessage { warning: true, ..EventMessage::normal("StatusRejected", note) }
}

fn ready_label(overall: &Overall) -> &'static str {
    match overall {
        Overall::Ready(_) => "True",
        Overall::Reconciling(_) | Overall::Stalled(_) | Overall::Observed(_) => "False",
        Overall::Suspended(_) => "Unknown",
    }
}

/// A status with conditions and waits.
pub trait WithConditions {
    /// The conditions.
    fn conditions(&self) -> &[Condition];
    /// The waits.
    fn waits(&self) -> &[WaitStatus];
    /// What metrics say of a cluster; `None` for other kinds.
    fn cluster(&self) -> Option<ClusterState>;
    /// Replaces both.
    fn set(&mut self, conditions: Vec<Condition>, waits: Vec<WaitStatus>);
}

macro_rules! with_conditions {
    ($($status:ty: $cluster:expr),* $(,)?) => {$(
        impl WithConditions for $status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
            fn waits(&self) -> &[WaitStatus] {
                &self.waits
            }
            fn cluster(&self) -> Option<ClusterState> {
                let describe: fn(&$status) -> Option<ClusterState> = $cluster;
                describe(self)
            }
            fn set(&mut self, conditions: Vec<Condition>, waits: Vec<WaitStatus>) {
                (self.conditions, self.waits) = (conditions, waits);
            }
        }
    )*};
}

with_conditions!(
    EksClusterStatus: object_metrics::cluster,
    NodeGroupStatus: |_| None,
    AwsAccountStatus: |_| None,
);

/// Status that records the last change of its object.
pub trait WithChange {
    /// The last change.
    fn change(&self) -> Option<&ChangeStatus>;
    /// Records the last change.
    fn set_change(&mut self, change: Option<ChangeStatus>);
}

macro_rules! with_change {
    ($($status:ty),*) => {$(
        impl WithChange for $status {
            fn change(&self) -> Option<&ChangeStatus> {
                self.change.as_ref()
            }
            fn set_change(&mut self, change: Option<ChangeStatus>) {
                self.change = change;
            }
        }
    )*};
}

with_change!(EksClusterStatus, NodeGroupStatus);

/// Status that records which request of a user it answers.
pub trait WithReconcileRequest {
    /// Records the value of the annotation `keelson.dev/reconcile-at` that the reconcile acted on.
    fn record_reconcile_request(&mut self, requested: Option<&String>);
}

macro_rules! with_reconcile_request {
    ($($status:ty),*) => {$(
        impl WithReconcileRequest for $status {
            fn record_reconcile_request(&mut self, requested: Option<&String>) {
                self.last_handled_reconcile_at = requested.map(|text| bounded(text, MAX_REQUEST));
            }
        }
    )*};
}

with_reconcile_request!(EksClusterStatus, NodeGroupStatus);

/// Status that shows the holds on its object.
pub trait WithHolds {
    /// The holds.
    fn holds(&self) -> &[HoldStatus];
    /// Replaces them.
    fn set_holds(&mut self, holds: Vec<HoldStatus>);
}

macro_rules! with_holds {
    ($($status:ty),*) => {$(
        impl WithHolds for $status {
            fn holds(&self) -> &[HoldStatus] {
                &self.holds
            }
            fn set_holds(&mut self, holds: Vec<HoldStatus>) {
                self.holds = holds;
            }
        }
    )*};
}

with_holds!(EksClusterStatus, NodeGroupStatus);

/// Evaluates the waits: an overdue one makes the object Stalled, and the object is requeued at the next deadline.
/// `waits`: as in [`waiting_on::evaluate_waits`].
pub fn evaluate_waits<S: WithConditions>(
    ctx: &Context,
    (previous, status): (&S, &mut S),
    generation: Option<i64>,
    waits: Option<Vec<Wait>>,
    (overall, next): (Overall, Next),
    now: Timestamp,
) -> (Overall, Next) {
    let evaluated = waiting_on::evaluate_waits(previous.waits(), waits, overall, ctx.settings.wait_scale, now);
    let mut all = Conditions::from(status.conditions(), generation, &now);
    if matches!(evaluated.overall, Overall::Stalled(_)) {
        all.overall(&evaluated.overall);
    }
    status.set(all.into_all(), evaluated.waits);
    (evaluated.overall, evaluated.next.map_or(next, |at| next.or(Next::at(at))))
}

/// Logs each condition whose status or reason changed, so that an object's history can be read from the log alone.
fn log_transitions<K: Kind>(object: &K, before: &[Condition], now: &[Condition]) {
    let (kind, object_name, namespace) = (K::NAME, object.name_any(), object.namespace().unwrap_or_default());
    for Condition { type_, status, reason, message, .. } in now {
        let same = |old: &&Condition| old.type_ == *type_ && old.status == *status && old.reason == *reason;
        if before.iter().any(|old| same(&old)) {
            continue;
        }
        // Only Stalled is always a problem.
        if type_ == ConditionType::Stalled.as_str() && status == "True" {
            tracing::warn!(
                kind,
                namespace,
                object_name,
                condition = type_,
                status,
                reason,
                details = message,
                "condition changed"
            );
        } else {
            tracing::info!(
                kind,
                namespace,
                object_name,
                condition = type_,
                status,
                reason,
                details = message,
                "condition changed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EksCluster;

    #[test]
    fn each_condition_transition_is_logged_once() {
        use crate::telemetry::logs::{Captured, Format};
        let object: EksCluster = serde_json::from_value(serde_json::json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
            "spec": {"region": "eu-west-1", "version": "1.34"},
        }))
        .unwrap();
        let condition = |kind: &str, status: &str, reason: &str, message: &str| -> Condition {
            let time = "2026-11-28T10:00:00Z";
            serde_json::from_value(serde_json::json!({
                "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": time,
            }))
            .unwrap()
        };
        let before = [condition("Ready", "False", "Creating", "1 min"), condition("Stalled", "False", "Creating", "")];
        let now = [
            condition("Ready", "False", "Creating", "2 min"),
            condition("Stalled", "True", "InvalidSpec", "spec.version: https://bot:hunter2@example.com"),
        ];
        let (log, guard) = Captured::start("info", Format::Json);
        log_transitions(&object, &before, &now);
        drop(guard);
        let lines: Vec<serde_json::Value> =
            log.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = &lines[0];
        assert_eq!((&line["level"], &line["message"]), (&"WARN".into(), &"condition changed".into()));
        assert_eq!(
            (&line["kind"], &line["object_name"], &line["reason"]),
            (&"EksCluster".into(), &"demo".into(), &"InvalidSpec".into())
        );
        assert!(!log.text().contains("hunter2"), "{}", log.text());
    }

    #[test]
    fn restart_with_many_objects_is_spread_out() {
        let mut object = EksCluster::new(
            "x",
            serde_json::from_value(serde_json::json!({"region": "r", "version": "1.34"})).unwrap(),
        );
        let pauses: Vec<_> = (0..1000)
            .map(|number| {
                object.metadata.uid = Some(format!("uid-{number}"));
                spread(&object, 1000)
            })
            .collect();
        let early = pauses.iter().filter(|pause| **pause < Duration::from_secs(10)).count();
        assert!((50..200).contains(&early), "{early} of 1000 in the first of ten windows");
        assert_eq!(spread(&object, 3), Duration::ZERO);
    }
}
