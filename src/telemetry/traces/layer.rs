//! Turns spans of the crate `tracing` into spans of a trace. No I/O.
//!
//! A span with the field `trace_id` starts a reconcile's part of a trace; the spans within it belong to it. All of them
//! are held until it ends, and then exported, or dropped: a reconcile that changed nothing is not worth a trace. It is
//! exported if it, or a span within it, has the field `keelson.write` or `keep`.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::attributes::{self, Value};
use super::ids::{SpanId, TraceId};
use super::span_queue::Queue;
use super::{Span, TARGET, current};

/// Spans that one reconcile may have; later ones are dropped.
const MAX_SPANS: usize = 2000;

/// The layer that fills `queue`.
pub fn layer<S>(queue: Queue) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    SpanLayer { queue }.with_filter(Targets::new().with_target(TARGET, Level::INFO)).boxed()
}

struct SpanLayer {
    queue: Queue,
}

/// A span that is not finished.
struct Open {
    span: Span,
    part: Arc<Part>,
    starts_part: bool,
}

/// The spans of one reconcile that are finished. Its own is the last one: an open span keeps the one around it open.
#[derive(Default)]
struct Part(Mutex<PartState>);

#[derive(Default)]
struct PartState {
    finished: Vec<Span>,
    keep: bool,
}

impl Part {
    fn finish(&self, span: Span) {
        let finished = &mut self.0.lock().finished;
        if finished.len() < MAX_SPANS {
            finished.push(span);
        } else {
            super::span_queue::count_dropped(1);
        }
    }

    /// Ends the reconcile.
    fn end(&self, span: Span, queue: &Queue) {
        let PartState { finished, keep } = std::mem::take(&mut *self.0.lock());
        if keep {
            finished.into_iter().chain([span]).for_each(|span| queue.push(span));
        }
    }
}

/// Fields of a span, by what they mean to the layer.
#[derive(Default)]
struct Fields {
    trace: Option<TraceId>,
    id: Option<SpanId>,
    parent: Option<SpanId>,
    name: Option<String>,
    keep: bool,
    error: Option<String>,
    attributes: Vec<(&'static str, Value)>,
}

impl Fields {
    fn record(&mut self, field: &Field, value: Value) {
        let name: &'static str = field.name();
        match (name, &value) {
            ("trace_id", Value::Text(text)) => self.trace = TraceId::parse(text),
            ("span_id", Value::Text(text)) => self.id = SpanId::parse(text),
            ("parent_id", Value::Text(text)) => self.parent = SpanId::parse(text),
            ("otel.name", Value::Text(text)) => self.name = Some(text.clone()),
            ("error", Value::Text(text)) => self.error = Some(attributes::error(text)),
            ("keep", Value::Bool(keep)) => self.keep |= *keep,
            (_, value) => {
                // An attribute that is false says nothing.
                if let Some(value) = attributes::allowed(name, value).filter(|value| *value != Value::Bool(false)) {
                    self.keep |= name == "keelson.write";
                    self.attributes.push((name, value));
                }
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, text: &str) {
        self.record(field, text.into());
    }

    fn record_i64(&mut self, field: &Field, number: i64) {
        self.record(field, number.into());
    }

    fn record_u64(&mut self, field: &Field, number: u64) {
        self.record(field, i64::try_from(number).unwrap_or(i64::MAX).into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, Value::Bool(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record(field, format!("{value:?}").into());
    }
}

impl<S> Layer<S> for SpanLayer
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let within = || {
            span.scope().skip(1).find_map(|outer| {
                let extensions = outer.extensions();
                let open = extensions.get::<Open>()?;
                Some((open.span.trace, Some(open.span.id), open.part.clone()))
            })
        };
        let starts_part = fields.trace.is_some();
        let place = match fields.trace {
            Some(trace) => Some((trace, fields.parent, Arc::default())),
            None => within(),
        };
        // A call outside of a reconcile belongs to no trace.
        let Some((trace, parent, part)) = place else { return };
        let name = fields.name.take().unwrap_or_else(|| span.name().to_owned());
        let is_call = fields.attributes.iter().any(|(name, _)| *name == "rpc.system");
        part.0.lock().keep |= fields.keep;
        let start = SystemTime::now();
        let id = fields.id.unwrap_or_else(SpanId::random);
        let Fields { attributes, error, .. } = fields;
        let open = Span { trace, id, parent, name, is_call, start, end: start, attributes, error };
        span.extensions_mut().insert(Open { span: open, part, starts_part });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(open) = extensions.get_mut::<Open>() else { return };
        let mut fields = Fields::default();
        values.record(&mut fields);
        open.part.0.lock().keep |= fields.keep;
        open.span.attributes.append(&mut fields.attributes);
        open.span.error = fields.error.or(open.span.error.take());
    }

    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if let Some(open) = span.extensions().get::<Open>() {
            current::enter(open.span.trace, open.span.id);
        }
    }

    fn on_exit(&self, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            current::exit(open.span.id);
            // A reconcile stays open for a read that it shares with others: its own end is when it last ran.
            open.span.end = SystemTime::now();
        }
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(&id) else { return };
        let Some(Open { span, part, starts_part }) = span.extensions_mut().remove::<Open>() else { return };
        if starts_part { part.end(span, &self.queue) } else { part.finish(span) }
    }
}
