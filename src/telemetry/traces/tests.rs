//! Spans that are collected, and what is exported of them.

use serde_json::json;
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::telemetry::logs::{Captured, Format};

const TRACE: &str = "0000000000000000000000000000000a";
const ROOT: &str = "000000000000000b";

/// The spans that `work` exports.
fn exported(work: impl FnOnce()) -> Vec<Span> {
    let (queue, mut spans) = span_queue::new(100);
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer::layer(queue)));
    work();
    drop(guard);
    std::iter::from_fn(|| spans.try_recv().ok()).collect()
}

fn reconcile() -> tracing::Span {
    tracing::info_span!(target: TARGET, "reconcile", trace_id = TRACE, parent_id = ROOT, keep = false)
}

fn call(write: bool) -> tracing::Span {
    tracing::info_span!(target: TARGET, "AWS call", otel.name = "eks/CreateCluster", rpc.system = "aws-api",
        keelson.write = write, password = "hunter2", aws.request_id = tracing::field::Empty)
}

#[test]
fn spans_within_a_reconcile_belong_to_its_trace() {
    let spans = exported(|| {
        let _reconcile = reconcile().entered();
        let _step = tracing::info_span!(target: TARGET, "step").entered();
        let _other = tracing::info_span!("not exported").entered();
        let call = call(true);
        call.record("aws.request_id", "6f1e2c0a");
    });
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["eks/CreateCluster", "step", "reconcile"]);
    assert!(spans.iter().all(|span| span.trace.to_string() == TRACE));
    let [call, step, reconcile] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(reconcile.parent, SpanId::parse(ROOT));
    assert_eq!((call.parent, step.parent), (Some(step.id), Some(reconcile.id)));
    assert!(call.is_call && !step.is_call);
    assert!(call.attributes.contains(&("aws.request_id", "6f1e2c0a".into())), "{call:?}");
    assert!(!format!("{call:?}").contains("hunter2"), "{call:?}");
}

#[test]
fn reconcile_without_a_write_is_not_exported_unless_it_is_kept() {
    let reads = |keep: bool| {
        exported(|| {
            let reconcile = reconcile().entered();
            drop(call(false));
            reconcile.record("keep", keep);
        })
    };
    assert!(reads(false).is_empty());
    assert_eq!(reads(true).len(), 2);
}

#[test]
fn call_outside_of_a_reconcile_belongs_to_no_trace() {
    assert!(exported(|| drop(call(true))).is_empty());
}

#[test]
fn read_that_outlives_its_reconcile_is_exported_with_it_and_does_not_prolong_it() {
    let spans = exported(|| {
        let reconcile = reconcile().entered();
        reconcile.record("keep", true);
        let shared = call(false);
        drop(reconcile);
        std::thread::sleep(Duration::from_millis(20));
        shared.in_scope(|| ());
    });
    let [shared, reconcile] = &spans[..] else { panic!("{spans:?}") };
    assert!(reconcile.end < shared.end);
}

#[test]
fn full_queue_drops() {
    let (queue, _spans) = span_queue::new(1);
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer::layer(queue)));
    let before = dropped_so_far();
    {
        let _reconcile = reconcile().entered();
        drop((call(true), call(true)));
    }
    drop(guard);
    assert!(dropped_so_far() >= before + 2);
}

fn dropped_so_far() -> u64 {
    let text = crate::telemetry::Metrics::new().encode();
    let line = "keelson_trace_spans_total{result=\"dropped\"} ";
    text.lines().find_map(|found| found.strip_prefix(line)?.parse().ok()).expect("the metric")
}

#[test]
fn request_is_otlp_json() {
    let span = Span {
        trace: TraceId::parse(TRACE).unwrap(),
        id: SpanId::parse("0000000000000001").unwrap(),
        parent: SpanId::parse(ROOT),
        name: "eks/CreateCluster".into(),
        is_call: true,
        start: std::time::UNIX_EPOCH + Duration::from_millis(1_700_000_000_001),
        end: std::time::UNIX_EPOCH + Duration::from_millis(1_700_000_000_201),
        attributes: vec![
            ("rpc.method", "CreateCluster".into()),
            ("http.response.status_code", 400.into()),
            ("keelson.write", Value::Bool(true)),
            ("password", "hunter2".into()),
        ],
        error: Some("git https://bot:hunter2@git.example.com failed".into()),
    };
    let resource = Resource { pod: Some("keelson-0".into()), namespace: None };
    let request = String::from_utf8(encode::request(&resource, Some("a1"), &[span])).unwrap();
    let request = request.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let expected = json!({"resourceSpans": [{
        "resource": {"attributes": [
            text("service.name", "keelson"), text("service.version", "VERSION"), text("k8s.pod.name", "keelson-0"),
            text("keelson.installation.id", "a1"),
        ]},
        "scopeSpans": [{
            "scope": {"name": "keelson", "version": "VERSION"},
            "spans": [{
                "traceId": TRACE, "spanId": "0000000000000001", "parentSpanId": ROOT,
                "name": "eks/CreateCluster", "kind": 3,
                "startTimeUnixNano": "1700000000001000000", "endTimeUnixNano": "1700000000201000000",
                "attributes": [
                    text("rpc.method", "CreateCluster"),
                    {"key": "http.response.status_code", "value": {"intValue": "400"}},
                    {"key": "keelson.write", "value": {"boolValue": true}},
                    text("error.message", "git https://<redacted>@git.example.com failed"),
                ],
                "status": {"code": 2, "message": "git https://<redacted>@git.example.com failed"},
            }],
        }],
    }]});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&request).unwrap(), expected);
}

#[tokio::test]
async fn log_lines_within_a_trace_carry_its_ids() {
    let log = Captured::default();
    let writer = log.clone();
    let (queue, _spans) = span_queue::new(100);
    let lines = crate::telemetry::logs::layer("info", Format::Json, move || writer.clone()).unwrap();
    let subscriber = tracing_subscriber::registry().with(vec![lines, layer::layer(queue)]);
    let guard = tracing::subscriber::set_default(subscriber);
    async {
        tracing::info!("within");
        tokio::task::yield_now().await;
        tracing::info!("after a pause");
    }
    .instrument(reconcile())
    .await;
    tracing::info!("outside");
    drop(guard);
    let lines: Vec<serde_json::Value> =
        log.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["trace_id"], &lines[1]["trace_id"]), (&TRACE.into(), &TRACE.into()));
    assert_eq!(lines[0]["span_id"].as_str().map(str::len), Some(16));
    assert!(lines[2].get("trace_id").is_none());
    // The spans themselves are not part of the lines.
    assert!(!log.text().contains("parent_id"), "{}", log.text());
}
