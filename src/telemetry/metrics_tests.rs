//! What `/metrics` contains.

use super::*;

#[test]
fn call_is_counted_by_outcome_and_dropped_call_as_cancelled() {
    let metrics = Metrics::new();
    let _ = metrics.aws().start("ec2", "CreateVpc", "111122223333", "eu-west-1").finish("ok");
    drop(metrics.aws().start("ec2", "CreateVpc", "111122223333", "eu-west-1"));
    let text = metrics.encode();
    for outcome in ["ok", "cancelled"] {
        let line = format!(
            "keelson_aws_calls_total{{service=\"ec2\",action=\"CreateVpc\",account=\"111122223333\",region=\"eu-west-1\",outcome=\"{outcome}\"}} 1"
        );
        assert!(text.contains(&line), "{line} not in\n{text}");
    }
    assert!(text.contains("keelson_aws_call_duration_seconds_count{service=\"ec2\",action=\"CreateVpc\"} 2"), "{text}");
}

#[test]
fn resident_memory_is_read_from_the_process() {
    let text = Metrics::new().encode();
    let line = text.lines().find(|l| l.starts_with("process_resident_memory_bytes ")).expect("the metric is there");
    let bytes: u64 = line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(bytes > 1 << 20, "{bytes}");
}

#[test]
fn upgrade_steps_are_timed_by_kind() {
    let metrics = Metrics::new();
    metrics.reconcile().record_operation("cluster", "VersionUpdate", Some(Duration::from_secs(500)));
    metrics.reconcile().record_operation("nodeGroup", "VersionUpdate", None);
    let text = metrics.encode();
    for (kind, result, bucket) in [("cluster", "ok", "600.0"), ("nodeGroup", "failed", "1.0")] {
        let labels = format!("kind=\"{kind}\",operation=\"VersionUpdate\",result=\"{result}\"");
        let line = format!("keelson_operation_duration_seconds_bucket{{le=\"{bucket}\",{labels}}} 1");
        assert!(text.contains(&line), "{line} not in\n{text}");
    }
}

#[test]
fn dropped_reconciliation_is_not_counted_as_running() {
    let metrics = Metrics::new();
    drop(metrics.reconcile().start("NodeGroup"));
    let text = metrics.encode();
    assert!(text.contains("keelson_reconciles_running{kind=\"NodeGroup\"} 0"), "{text}");
    assert!(text.contains("keelson_reconciles_total{kind=\"NodeGroup\",result=\"cancelled\"} 1"), "{text}");
}
