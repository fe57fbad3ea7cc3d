//! The spans of a change: its root when it starts, each wait and the whole change when they end. I/O: the queue of the
//! exporter, which never blocks.
//!
//! Their ids are derived from what they are about, so that every leader continues the same trace without having to
//! remember it, and a span that two processes export is the same span.

use std::time::{Duration, SystemTime};

use kube::ResourceExt;

use super::change_wait::{ChangeOutcome, is_error};
use crate::api::status_cluster::{ChangeStatus, ChangeType, ChangeWait};
use crate::controllers::runtime::apply::Kind;
use crate::telemetry::traces::{Span, SpanId, TraceId, Traces, Value};

/// The root lasts as short as a span can, because a collector shows a span only once it has ended.
const SHORTEST: Duration = Duration::from_millis(1);

/// The trace of `change` to the object `uid`, and its root.
pub fn ids(uid: &str, change: &ChangeStatus) -> (TraceId, SpanId) {
    let generation = change.generation.to_string();
    let of = if change.change_type == ChangeType::Delete { "deletion" } else { &generation };
    (TraceId::derived(&[uid, of]), SpanId::derived(&[uid, of]))
}

/// The spans of one change of an object.
pub struct ChangeSpans<'a> {
    traces: &'a Traces,
    kind: &'static str,
    change: &'a ChangeStatus,
    trace: TraceId,
    root: SpanId,
    /// What object it is, and which change.
    attributes: Vec<(&'static str, Value)>,
}

impl<'a> ChangeSpans<'a> {
    /// The spans of `change` to `object`; `None`: traces are off.
    pub fn of<K: Kind>(traces: &'a Traces, object: &K, change: &'a ChangeStatus) -> Option<Self> {
        if !traces.is_on() {
            return None;
        }
        let uid = object.uid().unwrap_or_default();
        let (trace, root) = ids(&uid, change);
        let attributes = vec![
            ("keelson.object.kind", K::NAME.into()),
            ("k8s.namespace.name", object.namespace().unwrap_or_default().into()),
            ("keelson.object.name", object.name_any().into()),
            ("keelson.object.uid", uid.into()),
            ("keelson.change.type", change.change_type.as_str().into()),
            ("keelson.change.generation", change.generation.into()),
        ];
        Some(Self { traces, kind: K::NAME, change, trace, root, attributes })
    }

    /// Exports the root: the change starts.
    pub fn start(&self) {
        let start = SystemTime::from(self.change.started_at.0);
        self.traces.export(Span {
            trace: self.trace,
            id: self.root,
            parent: None,
            name: format!("{} {}", self.change.change_type.as_str(), self.kind),
            is_call: false,
            start,
            end: start + SHORTEST,
            attributes: self.attributes.clone(),
            error: None,
        });
    }

    /// Exports a wait that ends now. `message`: the last one of the condition `Ready` while it lasted.
    pub fn end_wait(&self, wait: &ChangeWait, message: &str) {
        let ChangeWait { reason, since } = wait;
        let mut attributes = self.attributes.clone();
        attributes.push(("keelson.wait.reason", reason.as_str().into()));
        attributes.push(("keelson.wait.message", message.into()));
        let error = is_error(reason).then(|| message.to_owned());
        if error.is_some() {
            attributes.push(("error.type", reason.as_str().into()));
        }
        let since_text = since.0.to_string();
        let name = format!("wait {reason}");
        self.export(&["wait", reason, &since_text], name, SystemTime::from(since.0), attributes, error);
    }

    /// Exports the whole change: it ends now.
    pub fn end(&self, outcome: &ChangeOutcome) {
        let mut attributes = self.attributes.clone();
        attributes.push(("keelson.change.outcome", outcome.as_str().into()));
        let blocker = if let ChangeOutcome::Failed(blocker) = outcome { Some(blocker) } else { None };
        attributes.extend(blocker.map(|blocker| ("error.type", blocker.reason.as_str().into())));
        let error = blocker.map(|blocker| blocker.message.clone());
        let start = SystemTime::from(self.change.started_at.0);
        self.export(&["change"], format!("change {}", self.kind), start, attributes, error);
    }

    /// Exports a child of the root that ends now. `id`: what distinguishes it from the others of its trace.
    fn export(
        &self,
        id: &[&str],
        name: String,
        start: SystemTime,
        attributes: Vec<(&'static str, Value)>,
        error: Option<String>,
    ) {
        let trace = self.trace.to_string();
        let id = SpanId::derived(&[&[trace.as_str()][..], id].concat());
        // What starts and ends within a second must not end before it starts: status has whole seconds.
        let end = SystemTime::now().max(start + SHORTEST);
        let (trace, parent, is_call) = (self.trace, Some(self.root), false);
        self.traces.export(Span { trace, id, parent, name, is_call, start, end, attributes, error });
    }
}
