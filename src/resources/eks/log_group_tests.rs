//! Tests of the log group: what is of the cluster, and what is compared.

use serde_json::json;

use super::*;
use crate::resources::cloud::Owner;

fn log_group(spec: Option<serde_json::Value>) -> LogGroup {
    let owner = Owner { uid: "uid-1".into(), cluster: "team/demo".into(), ..Owner::default() };
    let context = ResourceContext {
        owner: &owner,
        cluster_name: "demo",
        user_tags: Default::default(),
        former_tags: Default::default(),
        intervals: Intervals::default(),
    };
    let wanted = spec.map(|spec| serde_json::from_value(spec).unwrap());
    LogGroup::new(&context, wanted.as_ref())
}

fn changes(group: &LogGroup, detail: Detail) -> Vec<String> {
    let changes = group.diff(&group.to_observation(detail), &Refs::default());
    changes.iter().map(|change| format!("{} {} -> {}", change.field, change.from, change.to)).collect()
}

#[test]
fn retention_and_key_are_compared_and_an_absent_key_is_not() {
    let group = log_group(Some(json!({"retentionDays": 30})));
    let current = Detail { tags: group.tags.clone(), kms_key_arn: Some("arn:k1".into()), ..Detail::default() };
    assert_eq!(changes(&group, current.clone()), ["logGroup.retentionDays never -> 30"]);
    let with_key = log_group(Some(json!({"retentionDays": 30, "kmsKeyArn": "arn:k2"})));
    let kept = Detail { retention_days: Some(30), ..current.clone() };
    assert_eq!(changes(&with_key, kept.clone()), ["logGroup.kmsKeyArn arn:k1 -> arn:k2"]);
    assert_eq!(changes(&group, kept), [""; 0]);
    assert_eq!(changes(&log_group(None), Detail::default()), [""; 0], "of an earlier spec: not managed");
}

#[test]
fn one_that_eks_created_gets_the_owner_tags() {
    let group = log_group(Some(json!({"retentionDays": 30})));
    let untagged = Detail { untagged: true, retention_days: Some(30), ..Detail::default() };
    assert!(changes(&group, untagged).iter().any(|change| change.starts_with("tags.keelson.dev/owner")));
}

#[test]
fn only_one_that_is_not_older_than_the_cluster_is_of_it() {
    let at = |second| Detail { created: Timestamp::from_second(second).ok(), ..Detail::default() };
    let cluster = Some("1970-01-01T00:01:40Z");
    assert!(is_of_cluster(&at(100), cluster) && is_of_cluster(&at(200), cluster));
    assert!(!is_of_cluster(&at(99), cluster) && !is_of_cluster(&at(200), None));
    assert!(!is_of_cluster(&Detail::default(), cluster), "of unknown age");
    let tags = Tags::new().with(CLUSTER, "other/demo");
    let retained = Detail { tags, ..at(200) };
    assert!(!is_of_cluster(&retained, cluster), "another object retained it");
    // Its age alone, for one that has the object's own tags.
    assert!(is_since_cluster(&retained, cluster) && !is_since_cluster(&at(99), cluster));
    assert!(!is_since_cluster(&at(200), None) && !is_since_cluster(&Detail::default(), cluster));
}

#[test]
fn it_stays_if_the_spec_retains_it_or_no_longer_has_it() {
    let retain = json!({"retentionDays": 1, "deletionPolicy": "Retain"});
    assert!(log_group(None).is_retained() && log_group(Some(retain)).is_retained());
    assert!(!log_group(Some(json!({"retentionDays": 1}))).is_retained());
}
