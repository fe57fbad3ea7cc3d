//! Keys, order and differences of flow logs. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::resources::cloud::Owner;

const ROLE: &str = "arn:aws:iam::123456789012:role/deliver";

fn wanted(flow_logs: Value) -> network::Vpc {
    serde_json::from_value(json!({"flowLogs": flow_logs})).unwrap()
}

fn to_bucket(more: Value) -> network::Vpc {
    let mut flow_logs = json!({"s3": {"bucketArn": "arn:aws:s3:::logs", "prefix": "vpc"}});
    flow_logs.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    wanted(flow_logs)
}

fn to_group(group: &str) -> network::Vpc {
    wanted(json!({"cloudWatchLogs": {"logGroup": group, "roleArn": ROLE}}))
}

fn expanded(spec: &network::Vpc, owned: &[Key], removed: Option<&[Owned]>) -> Vec<FlowLog> {
    let owner = Owner { uid: "uid".into(), cluster: "default/demo".into(), ..Owner::default() };
    let context = ResourceContext {
        owner: &owner,
        cluster_name: "demo",
        user_tags: BTreeMap::new(),
        former_tags: BTreeSet::new(),
        intervals: Intervals::default(),
    };
    all(&context, spec, owned, removed).unwrap()
}

fn only(spec: &network::Vpc) -> FlowLog {
    let mut all = expanded(spec, &[], Some(&[]));
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// What EC2 lists for a bucket.
fn listed_by_ec2() -> sdk::builders::FlowLogBuilder {
    sdk::FlowLog::builder()
        .flow_log_id("fl-1")
        .resource_id("vpc-1")
        .flow_log_status("ACTIVE")
        .deliver_logs_status("SUCCESS")
        .traffic_type(TrafficType::All)
        .max_aggregation_interval(600)
        .log_format("${version} ${account-id}")
        .log_destination_type(LogDestinationType::S3)
        .log_destination("arn:aws:s3:::logs/vpc")
}

fn observe(log: &sdk::FlowLog) -> Observation<Detail> {
    to_observation(&Listed::from(log))
}

#[test]
fn key_is_stable_across_releases() {
    // With another key, every flow log would be replaced by an upgrade of Keelson.
    assert_eq!(only(&to_bucket(json!({}))).key.to_string(), "flowLog/s3-1455fe9e/3a5b1844");
    assert_eq!(only(&to_group("/vpc/demo")).key.to_string(), "flowLog/logs-bb9263af/fb222394");
}

#[test]
fn other_settings_are_another_flow_log_and_destinations_are_distinguished() {
    let first = only(&to_bucket(json!({}))).key;
    let rejected = only(&to_bucket(json!({"traffic": "Rejected"}))).key;
    let elsewhere = only(&wanted(json!({"s3": {"bucketArn": "arn:aws:s3:::logs"}}))).key;
    let can_coexist = KIND.removal.unwrap().can_coexist;
    assert!(first != rejected && !can_coexist(&first, &rejected), "EC2 delivers one there");
    assert!(first != elsewhere && can_coexist(&first, &elsewhere));
    let arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/vpc/demo:*";
    assert_eq!(only(&to_group("/vpc/demo")).key, only(&to_group(arn)).key, "name and ARN are the same");
}

#[test]
fn new_flow_log_waits_for_the_removal_of_an_earlier_one_with_the_same_destination_only() {
    let earlier = only(&to_bucket(json!({}))).key;
    let existing = [(earlier.clone(), "fl-1".to_owned())];
    let after = |spec: &network::Vpc| {
        let all = expanded(spec, std::slice::from_ref(&earlier), Some(&existing));
        assert_eq!(all.len(), 1, "the earlier one is removed, and is no resource of the graph");
        all[0].after()
    };
    assert_eq!(after(&to_bucket(json!({"traffic": "Accepted"}))), [vpc::key(), removals::key()]);
    assert_eq!(after(&to_group("/vpc/demo")), [vpc::key()]);
    assert_eq!(after(&to_bucket(json!({}))), [vpc::key()]);
}

#[test]
fn flow_logs_of_earlier_specs_are_deleted_with_the_cluster() {
    let earlier = only(&to_bucket(json!({}))).key;
    let owned = [earlier.clone(), vpc::key()];
    let deleted = expanded(&network::Vpc::default(), &owned, None);
    assert_eq!(deleted.iter().map(Resource::key).collect::<Vec<_>>(), [earlier]);
    assert_eq!((deleted[0].holds(), deleted[0].deleted_after()), (vec![vpc::key()], vec![cluster::key()]));
    assert!(
        expanded(&network::Vpc::default(), &owned, Some(&[])).is_empty(),
        "removed separately while the cluster stays"
    );
}

#[test]
fn flow_log_as_created_has_no_difference_and_another_one_with_its_tags_is_reported() {
    let refs = Refs::default();
    let log = only(&to_bucket(json!({})));
    let fields = |log: &FlowLog, observed: &sdk::FlowLog| {
        let changes = log.diff(&observe(observed), &refs);
        changes.into_iter().filter(|change| !change.field.starts_with("tags.")).collect::<Vec<_>>()
    };
    // EC2 lists its default format, and the bucket with or without a slash.
    assert_eq!(fields(&log, &listed_by_ec2().build()), []);
    assert_eq!(fields(&log, &listed_by_ec2().log_destination("arn:aws:s3:::logs/vpc/").build()), []);
    let group = only(&to_group("arn:aws:logs:eu-west-1:123456789012:log-group:/vpc/demo"));
    let listed = listed_by_ec2().log_destination_type(LogDestinationType::CloudWatchLogs).set_log_destination(None);
    let listed = listed.log_group_name("/vpc/demo").deliver_logs_permission_arn(ROLE);
    assert_eq!(fields(&group, &listed.build()), []);
    let other = fields(&log, &listed_by_ec2().traffic_type(TrafficType::Reject).build());
    assert!(matches!(&other[..], [Change { how: crate::engine::Correction::Forbidden(_), .. }]), "{other:?}");
}

#[test]
fn missing_access_is_a_failure_and_a_limited_rate_is_not() {
    let failed = |error: &str| {
        observe(&listed_by_ec2().deliver_logs_status("FAILED").deliver_logs_error_message(error).build()).phase
    };
    let Phase::Failed { reason, class, recreate } = failed("Access error") else { panic!("not failed") };
    assert_eq!(reason, "EC2 cannot deliver to arn:aws:s3:::logs/vpc: Access error");
    assert_eq!((class, recreate), (Class::Denied, crate::engine::Recreate::Never));
    assert_eq!(failed("Rate limited"), Phase::Ready);
    assert_eq!(observe(&listed_by_ec2().build()).phase, Phase::Ready);
}
