//! What makes a new version of Keelson's launch template, and what does not.

use serde_json::{Value, json};

use super::super::changes;
use super::*;
use crate::resources::eks::node_template::{Cluster, desired_content};

fn spec(node: Value) -> NodeGroupSpec {
    serde_json::from_value(json!({"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}, "node": node}))
        .unwrap()
}

fn content(node: Value, tags: &[(&str, &str)]) -> Content {
    let cluster = Cluster { security_group: Some("sg-cluster".into()), details: None };
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let node = serde_json::from_value(node).unwrap();
    desired_content::content(&node, &cluster, "demo/workers", &tags).unwrap().expect("contents")
}

fn target(node: Option<Content>) -> Target {
    Target { replace: true, node, ..Target::default() }
}

/// A node group with version 2 of the launch template, which sets these contents.
fn current(contents: Content) -> Detail {
    Detail {
        launch_template: Some(LaunchTemplate { id: "lt-1".into(), version: "2".into() }),
        own_template: OwnTemplate::Contents(Box::new(contents)),
        ami_type: "AL2023_x86_64_STANDARD".into(),
        release: "1.34.4-20261106".into(),
        version: "1.34".into(),
        ..Detail::default()
    }
}

#[test]
fn only_other_contents_make_a_new_version() {
    let volumes = |size: i32| json!({"volumes": [{"deviceName": "/dev/xvda", "sizeGiB": size}]});
    let table = [
        ("nothing", json!({}), json!({}), &[][..], &[][..]),
        ("order of groups", json!({"securityGroupIds": ["a", "b"]}), json!({"securityGroupIds": ["b", "a"]}), &[], &[]),
        ("default", json!({}), json!({"efa": false}), &[], &[]),
        ("empty metadata", json!({}), json!({"metadata": {}}), &[], &[]),
        ("image", json!({"imageId": "ami-1", "userData": "x"}), json!({"imageId": "ami-2", "userData": "x"}), &[], &[]),
        ("user data", json!({"userData": "a"}), json!({"userData": "b"}), &[], &[]),
        (
            "node config",
            json!({"nodeConfig": {"spec": {}}}),
            json!({"nodeConfig": {"spec": {"kubelet": {}}}}),
            &[],
            &[],
        ),
        ("volume", volumes(20), volumes(80), &[], &[]),
        ("no volumes", volumes(20), json!({}), &[], &[]),
        ("hop limit", json!({"metadata": {"httpPutResponseHopLimit": 1}}), json!({}), &[], &[]),
        ("tokens", json!({}), json!({"metadata": {"httpTokens": "required"}}), &[], &[]),
        ("security groups", json!({}), json!({"securityGroupIds": ["a"]}), &[], &[]),
        ("reservation", json!({"capacityReservationId": "cr-1"}), json!({"capacityReservationId": "cr-2"}), &[], &[]),
        ("placement group", json!({}), json!({"placementGroup": "near"}), &[], &[]),
        ("tag", json!({}), json!({}), &[("team", "a"), ("env", "prod")], &[("team", "b"), ("cost", "1")]),
    ];
    let lines = table.map(|(name, before, after, tags, other_tags)| {
        let spec = spec(after.clone());
        let (target, current) = (target(Some(content(after, other_tags))), current(content(before, tags)));
        let changes = changes(&spec, &target, &current);
        let text: Vec<_> = changes.iter().map(|c| format!("\n  {}: {} -> {}", c.field, c.from, c.to)).collect();
        assert!(changes.iter().all(is_of_template));
        assert_eq!(next(&spec, &target, &current).is_some(), !changes.is_empty(), "{name}");
        format!("{name}:{}", text.concat())
    });
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn new_version_repeats_the_ami_release_and_waits_for_a_window() {
    let spec = spec(json!({"placementGroup": "near"}));
    let current = current(content(json!({}), &[]));
    let open = target(Some(content(json!({"placementGroup": "near"}), &[])));
    let replacement = changes::replacement(&spec, &open, &current).expect("an update");
    assert_eq!((replacement.version, replacement.release.as_deref()), (None, Some("1.34.4-20261106")));
    assert_eq!(replacement.launch_template, Some(NextTemplate::Contents(vec!["node.placementGroup".to_owned()])));
    assert_eq!(changes::waits_for_window(&spec, &open, &current), None);
    let closed = Target { replace: false, ..open };
    assert_eq!(changes::replacement(&spec, &closed, &current), None);
    assert_eq!(changes(&spec, &closed, &current), []);
    assert_eq!(
        changes::waits_for_window(&spec, &closed, &current).as_deref(),
        Some("a new version of the launch template (node.placementGroup) waits for a maintenance window")
    );
    let known = Target { next_window: Some("the next opens 2026-12-05T02:00:00+01:00".into()), ..closed };
    let waits = changes::waits_for_window(&spec, &known, &current).unwrap();
    assert!(waits.ends_with("waits for a maintenance window: the next opens 2026-12-05T02:00:00+01:00"), "{waits}");
}

#[test]
fn number_of_adapters_follows_the_instance_types_once_it_is_known() {
    let efa = || content(json!({"efa": true}), &[]);
    let two = current(efa().with_cards(2));
    let known = |cards| Detail { efa_cards: cards, ..two.clone() };
    let spec = spec(json!({"efa": true}));
    assert_eq!(changes(&spec, &target(Some(efa())), &known(Some(2))), []);
    assert_eq!(changes(&spec, &target(Some(efa())), &known(None)), [], "not read");
    let changed = changes(&spec, &target(Some(efa())), &known(Some(4)));
    assert_eq!((changed[0].from.as_str(), changed[0].to.as_str()), ("on 2 network cards", "on 4 network cards"));
}

#[test]
fn nothing_changes_while_contents_are_unknown_and_a_deleted_version_is_made_again() {
    let spec = spec(json!({}));
    let wanted = || target(Some(content(json!({}), &[])));
    let running = current(content(json!({"placementGroup": "near"}), &[]));
    assert_eq!(changes(&spec, &target(None), &running), [], "of the cluster");
    let unread = Detail { own_template: OwnTemplate::Unknown, ..running.clone() };
    assert_eq!(changes(&spec, &wanted(), &unread), [], "of the version");
    let gone = Detail { own_template: OwnTemplate::VersionGone, ..running };
    let changed = changes(&spec, &wanted(), &gone);
    assert_eq!((changed[0].field.as_str(), changed[0].from.as_str()), ("node", "version 2, which was deleted"));
}

#[test]
fn node_group_with_another_template_or_none_is_refused() {
    let running = current(content(json!({}), &[]));
    let none = Detail { launch_template: None, ..running.clone() };
    let of_spec = spec(json!({}));
    assert_eq!(other_template(&of_spec, Some("lt-1"), &running), None);
    for (own, current, from) in [
        (Some("lt-2"), &running, "launch template lt-1"),
        (None, &running, "launch template lt-1"),
        (Some("lt-2"), &none, "no launch template"),
    ] {
        let change = other_template(&of_spec, own, current).expect("a refusal");
        assert_eq!(change.from, from);
        assert!(
            matches!(change.how, crate::engine::Correction::Forbidden(why) if why.contains("create a new NodeGroup"))
        );
    }
    assert_eq!(other_template(&spec(Value::Null), Some("lt-2"), &running), None, "without spec.node");
}
