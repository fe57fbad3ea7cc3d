//! The part of a trace that one reconcile is. No I/O, but for the spans that it exports.

use std::time::SystemTime;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use tracing::field::Empty;

use super::change_spans::ids;
use super::followed_change::InProgress;
use crate::api::status_cluster::ChangeStatus;
use crate::controllers::runtime::apply::Kind;
use crate::controllers::runtime::reconcile_queue::Trigger;
use crate::engine::FinishedOperation;
use crate::telemetry::traces::{Span, SpanId, TARGET, TraceId, Traces};

/// The part of a trace that one reconcile is.
pub struct ReconcileTrace {
    traces: Traces,
    trace: TraceId,
    /// The root of the trace.
    root: SpanId,
    span: tracing::Span,
}

impl ReconcileTrace {
    /// Starts the span of a reconcile of `object`: in the trace of `change`, or of the change around it, or alone.
    pub fn start<K: Kind>(
        traces: &Traces,
        object: &K,
        trigger: Trigger,
        change: Option<&ChangeStatus>,
        around: impl FnOnce() -> Option<InProgress>,
    ) -> Self {
        let uid = object.uid().unwrap_or_default();
        let own = change.filter(|change| change.ended_at.is_none()).map(|change| (uid, change.clone()));
        let id = SpanId::random();
        let (trace, parent) = match own.or_else(around) {
            Some((uid, change)) => {
                let (trace, root) = ids(&uid, &change);
                (trace, Some(root))
            }
            None => (TraceId::random(), None),
        };
        let kind = K::NAME;
        let span = tracing::info_span!(target: TARGET, "reconcile", otel.name = format!("reconcile {kind}"),
            trace_id = %trace, span_id = %id, parent_id = parent.map(|id| id.to_string()), keep = Empty,
            keelson.object.kind = kind, k8s.namespace.name = object.namespace(), keelson.object.name = object.name_any(),
            keelson.reconcile.trigger = trigger.as_str(), keelson.ready.reason = Empty, keelson.ready.message = Empty,
            error.type = Empty, error = Empty);
        Self { traces: traces.clone(), trace, root: parent.unwrap_or(id), span }
    }

    /// The span of the reconcile.
    pub fn span(&self) -> tracing::Span {
        self.span.clone()
    }

    /// Exports this reconcile, whether it writes to AWS or not.
    pub fn keep(&self) {
        self.span.record("keep", true);
    }

    /// Records what the reconcile leads to. `ready`: the condition of the object. `failure`: the class of what failed.
    pub fn finish(&self, ready: Option<&Condition>, failure: Option<&str>) {
        let message = ready.map(|ready| ready.message.as_str()).unwrap_or_default();
        self.span.record("keelson.ready.reason", ready.map(|ready| ready.reason.as_str()));
        self.span.record("keelson.ready.message", Some(message).filter(|message| !message.is_empty()));
        if let Some(class) = failure {
            self.span.record("error.type", class).record("error", message);
        }
    }

    /// Exports operations that finished in AWS: they began in other reconciles, and maybe in another process.
    pub fn operations(&self, finished: &[FinishedOperation]) {
        if finished.is_empty() || !self.traces.is_on() {
            return;
        }
        self.keep();
        for FinishedOperation { key, operation, since, result, changes: _ } in finished {
            let start = SystemTime::from(*since);
            let (end, error) = match result {
                Ok(took) => (start + *took, None),
                Err(failure) => (SystemTime::now(), Some(failure)),
            };
            let resource = key.to_string();
            let mut attributes = vec![("keelson.operation", operation.kind.as_str().into())];
            if let Some(failure) = error {
                attributes.push(("error.type", failure.class.as_str().into()));
                attributes.extend(failure.code.as_deref().map(|code| ("keelson.error.code", code.into())));
            }
            attributes.push(("keelson.resource", resource.as_str().into()));
            // The creation that follows a failed one may have the same id in AWS: its name.
            let (trace, start_text) = (self.trace.to_string(), since.as_second().to_string());
            let parts = [&trace, &resource, &operation.kind, &operation.id, &start_text];
            self.traces.export(Span {
                trace: self.trace,
                id: SpanId::derived(&parts.map(String::as_str)),
                parent: Some(self.root),
                name: format!("{} {}", operation.kind, key.kind()),
                is_call: false,
                start,
                end,
                attributes,
                error: error.map(|failure| failure.message.clone()),
            });
        }
    }
}
