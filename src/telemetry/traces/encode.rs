//! Spans as the JSON encoding of OTLP's ExportTraceServiceRequest. Pure.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::json;

use super::attributes::{self, Value};
use super::{Resource, Span};

/// SPAN_KIND_INTERNAL and SPAN_KIND_CLIENT.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;
/// STATUS_CODE_ERROR.
const ERROR: u8 = 2;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EncodedSpan {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: String,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<serde_json::Value>,
}

/// The request that exports `spans`. `installation`: its id, once it is known.
pub fn request(resource: &Resource, installation: Option<&str>, spans: &[Span]) -> Vec<u8> {
    let of_process = [
        ("service.name", Some("keelson")),
        ("service.version", Some(env!("CARGO_PKG_VERSION"))),
        ("k8s.pod.name", resource.pod.as_deref()),
        ("k8s.namespace.name", resource.namespace.as_deref()),
        ("keelson.installation.id", installation),
    ];
    let of_process: Vec<_> =
        of_process.iter().filter_map(|(name, value)| Some(attribute(name, &Value::from((*value)?)))).collect();
    let spans: Vec<EncodedSpan> = spans.iter().map(encode).collect();
    let request = json!({"resourceSpans": [{
        "resource": {"attributes": of_process},
        "scopeSpans": [{"scope": {"name": "keelson", "version": env!("CARGO_PKG_VERSION")}, "spans": spans}],
    }]});
    request.to_string().into_bytes()
}

fn encode(span: &Span) -> EncodedSpan {
    let allowed = |(name, value): &(&'static str, Value)| Some(attribute(name, &attributes::allowed(name, value)?));
    // Also as an attribute, because not every backend can search for the description of the status.
    let message = span.error.as_deref().map(|text| ("error.message", Value::from(text)));
    EncodedSpan {
        trace_id: span.trace.to_string(),
        span_id: span.id.to_string(),
        parent_span_id: span.parent.map(|parent| parent.to_string()),
        name: span.name.clone(),
        kind: if span.is_call { CLIENT } else { INTERNAL },
        start_time_unix_nano: nanos(span.start),
        end_time_unix_nano: nanos(span.end.max(span.start)),
        attributes: span.attributes.iter().chain(&message).filter_map(allowed).collect(),
        status: span.error.as_deref().map(|text| json!({"code": ERROR, "message": attributes::error(text)})),
    }
}

fn attribute(name: &str, value: &Value) -> serde_json::Value {
    // 64 bit numbers are text in protobuf's JSON.
    let value = match value {
        Value::Text(text) => json!({"stringValue": text}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::Bool(value) => json!({"boolValue": value}),
    };
    json!({"key": name, "value": value})
}

fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
