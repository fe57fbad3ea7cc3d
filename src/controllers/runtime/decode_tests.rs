//! Hostile and malformed objects, in lists and in watch events as the API server sends them.

use kube::core::{ObjectList, WatchEvent};

use super::*;
use crate::api::{EksCluster, NodeGroup};
use crate::controllers::runtime::bounded_json::MAX_SIZE;

fn text(name: &str, more: &str) -> String {
    format!(
        r#"{{"apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {{"name": "{name}", "namespace": "team", "uid": "{name}", "resourceVersion": "7", "generation": 3,
                "finalizers": ["keelson.dev/aws"], "labels": {{"a": "b"}},
                "annotations": {{"keelson.dev/approve": "1", "hold.keelson.dev/audit": "year end", "kubectl.kubernetes.io/last-applied-configuration": "long"}},
                "managedFields": [{{"fieldsV1": {}}}]}},
            "spec": {{"region": "eu-west-1", "version": "1.34"{more}}},
            "status": {{"conditions": [{{"type": "Ready", "status": "True", "reason": "Available", "message": "",
                "lastTransitionTime": "2026-11-21T10:00:00Z"}}]}}}}"#,
        nested(200)
    )
}

fn nested(depth: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))
}

fn configured(configuration: &str) -> String {
    format!(r#", "addons": [{{"name": "coredns"}}, {{"name": "vpc-cni", "configuration": {configuration}}}]"#)
}

fn unreadable(name: &str, more: &str) -> Unreadable {
    match serde_json::from_str::<Decoded<EksCluster>>(&text(name, more)).unwrap() {
        Decoded::Unreadable(unreadable) => *unreadable,
        Decoded::Object(_) => panic!("decoded"),
    }
}

fn object(name: &str, more: &str) -> EksCluster {
    match serde_json::from_str::<Decoded<EksCluster>>(&text(name, more)).unwrap() {
        Decoded::Object(object) => *object,
        Decoded::Unreadable(unreadable) => panic!("{}", unreadable.reason),
    }
}

#[test]
fn decoding_keeps_only_used_metadata() {
    let decoded = object("good", &configured(&nested(20)));
    let meta = decoded.metadata;
    assert_eq!(
        (meta.name.as_deref(), meta.namespace.as_deref(), meta.generation),
        (Some("good"), Some("team"), Some(3))
    );
    assert_eq!(meta.finalizers.unwrap(), ["keelson.dev/aws"]);
    assert_eq!(
        meta.annotations.unwrap().into_keys().collect::<Vec<_>>(),
        ["hold.keelson.dev/audit", "keelson.dev/approve"]
    );
    assert!(meta.managed_fields.is_none());
    assert_eq!(meta.labels.unwrap().into_iter().collect::<Vec<_>>(), [("a".to_owned(), "b".to_owned())]);
    assert_eq!(decoded.status.unwrap().conditions.len(), 1);
    let plain: EksCluster = serde_json::from_str(
        &text("good", &configured(r#"{"replicas": 2, "x": [1.5, null]}"#)).replace(&nested(200), "{}"),
    )
    .unwrap();
    assert_eq!(object("good", &configured(r#"{"replicas": 2, "x": [1.5, null]}"#)).spec, plain.spec);
}

#[test]
fn deeply_nested_object_does_not_fail_its_list_or_watch() {
    let deep = text("deep", &configured(&nested(150)));
    assert!(serde_json::from_str::<EksCluster>(&deep).is_err(), "the typed decoder fails");
    let list = format!(
        r#"{{"kind": "List", "metadata": {{"resourceVersion": "9"}}, "items": [{}, {deep}, {}]}}"#,
        text("a", ""),
        text("b", "")
    );
    let list: ObjectList<Decoded<EksCluster>> = serde_json::from_str(&list).unwrap();
    let names: Vec<_> = list
        .items
        .iter()
        .map(|item| (item.meta().name.as_deref().unwrap(), matches!(item, Decoded::Object(_))))
        .collect();
    assert_eq!(names, [("a", true), ("deep", false), ("b", true)]);
    let event = format!(r#"{{"type": "MODIFIED", "object": {deep}}}"#);
    let event: WatchEvent<Decoded<EksCluster>> = serde_json::from_str(&event).unwrap();
    let WatchEvent::Modified(Decoded::Unreadable(found)) = event else { panic!("{event:?}") };
    let Unreadable { meta, reason, conditions, .. } = *found;
    assert_eq!(
        (meta.uid.as_deref(), meta.resource_version.as_deref(), meta.generation),
        (Some("deep"), Some("7"), Some(3))
    );
    assert!(
        reason.starts_with("spec.addons[1].configuration.a.a.a.a") && reason.contains("deeper than 32"),
        "{reason}"
    );
    assert_eq!(conditions.len(), 1);
}

#[test]
fn reason_names_the_path_and_the_fix() {
    let long = format!(r#"{{"a": "{}"}}"#, "x".repeat(MAX_SIZE));
    let many = format!("[{}0]", "0,".repeat(MAX_SIZE / 8));
    for (more, path, fragment) in [
        (configured(&long), "spec.addons[1].configuration.a", "256 KiB"),
        (format!(r#", "tags": {many}"#), "spec.tags[", "256 KiB"),
        (r#", "changePolicy": "Whenever""#.to_owned(), "unknown variant", "install the operator and its CRDs"),
        (r#", "addons": 1"#.to_owned(), "invalid type", "correct it"),
    ] {
        let reason = unreadable("bad", &more).reason;
        assert!(reason.starts_with(path) && reason.contains(fragment) && reason.len() <= MAX_REASON, "{reason}");
    }
}

#[test]
fn unreadable_node_group_names_its_cluster() {
    let text = r#"{"metadata": {"name": "a"}, "spec": {"clusterRef": {"name": "demo"}, "scaling": "none"}}"#;
    let Decoded::Unreadable(found) = serde_json::from_str::<Decoded<NodeGroup>>(text).unwrap() else {
        panic!("decoded")
    };
    assert_eq!(found.cluster.as_deref(), Some("demo"));
}

#[test]
fn oversized_metadata_is_truncated() {
    let finalizers: Vec<String> = (0..1000).map(|number| format!("example.com/{number}")).collect();
    let text = text("many", "").replace(r#"["keelson.dev/aws"]"#, &serde_json::to_string(&finalizers).unwrap());
    let Decoded::Unreadable(found) = serde_json::from_str::<Decoded<EksCluster>>(&text).unwrap() else {
        panic!("decoded")
    };
    assert!(found.reason.contains("metadata.finalizers: 1000 exceed"), "{}", found.reason);
    assert_eq!(found.meta.finalizers.unwrap().len(), MAX_FINALIZERS);
}
