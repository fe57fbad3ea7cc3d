//! The graph of a plan: states, places, and what stands for what is not shown.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::*;
use crate::page::fleet::{Fleet, FleetObject};
use crate::page::id::{Id, Kind};
use crate::page::tests::now;
use crate::page::viewer::Viewer;

const ZONES: [&str; 3] = ["eu-west-1a", "eu-west-1b", "eu-west-1c"];

fn fleet(status: Value, deleted: bool, groups: &[(&str, &str, &str)]) -> Fleet {
    let deletion = deleted.then_some("2026-11-30T23:00:00Z");
    let cluster: EksCluster = serde_json::from_value(json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
        "metadata": {"name": "demo", "namespace": "team", "generation": 1, "deletionTimestamp": deletion},
        "spec": {"region": "eu-west-1", "version": "1.36"}, "status": status,
    }))
    .unwrap();
    let mut fleet = Fleet::default();
    fleet.apply(cluster, now());
    for (name, status, reason) in groups {
        let ready = json!({"type": "Ready", "status": status, "reason": reason, "message": "m",
            "lastTransitionTime": "2026-11-30T23:50:00Z"});
        let group: NodeGroup = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup", "metadata": {"name": name, "namespace": "team"},
            "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 2}}, "status": {"conditions": [ready]},
        }))
        .unwrap();
        fleet.apply(group, now());
    }
    fleet
}

fn of(fleet: &Fleet) -> Option<Graph> {
    let viewer = Viewer::of_everything();
    let context = Context { fleet, viewer: &viewer, now: now(), zone: &TimeZone::UTC, management: "m" };
    let id = Id::new(Kind::EksCluster, "team", "demo");
    let groups: Vec<_> = fleet.groups_of(&id.place()).filter_map(FleetObject::open).collect();
    graph(&fleet.clusters[&id.place()].open().unwrap().object, &groups, &context)
}

fn step(resource: &str, state: &str, more: Value) -> Value {
    let mut step = json!({"action": "Create", "resource": resource, "state": state});
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    step
}

fn creating(steps: Value, resources: Value) -> Value {
    json!({"change": {"type": "Create", "generation": 1, "startedAt": "2026-11-30T23:40:00Z"},
        "plan": {"steps": steps}, "resources": resources})
}

fn node<'a>(graph: &'a Graph, name: &str) -> &'a Node {
    let found = graph.nodes.iter().find(|node| node.name == name);
    found.unwrap_or_else(|| panic!("{name} in {:?}", graph.nodes.iter().map(|node| &node.name).collect::<Vec<_>>()))
}

#[test]
fn each_state_has_its_shape_and_its_words() {
    for (state, more, shape, short, is_late) in [
        ("Pending", json!({"after": "vpc"}), "unknown", "after VPC", false),
        ("Pending", json!({}), "unknown", "to create", false),
        (
            "Running",
            json!({"since": "2026-11-30T23:58:00Z", "expectedSeconds": 300}),
            "progressing",
            "3 min left",
            false,
        ),
        (
            "Running",
            json!({"since": "2026-11-30T23:50:00Z", "expectedSeconds": 300}),
            "progressing",
            "5 min late",
            true,
        ),
        ("Running", json!({"since": "2026-11-30T23:50:00Z"}), "progressing", "in progress", false),
        ("Failed", json!({"detail": "denied"}), "failing", "failed", false),
        ("Blocked", json!({}), "blocked", "blocked", false),
        ("Done", json!({}), "ready", "done", false),
    ] {
        let steps = json!([step("vpc", "Done", json!({})), step("role/cluster", state, more)]);
        let graph = of(&fleet(creating(steps, json!([])), false, &[])).unwrap();
        let node = node(&graph, "IAM role cluster");
        assert_eq!((node.badge.shape, node.lines[2].as_str(), node.is_late), (shape, short, is_late), "{state}");
    }
    assert!(of(&fleet(json!({"plan": {}}), false, &[])).is_none(), "nothing is planned");
    let runs = step("vpc", "Running", json!({"since": "2026-11-30T23:58:00Z", "expectedSeconds": 300}));
    let graph = of(&fleet(creating(json!([runs]), json!([])), false, &[])).unwrap();
    assert_eq!(graph.nodes[0].detail, "create; since 2026-11-30 23:58; about 3 min left, until 00:03:00");
}

#[test]
fn resources_stand_right_of_what_they_follow_with_what_exists_and_the_node_groups() {
    let steps = json!([
        step("cluster", "Running", json!({"since": "2026-11-30T23:58:00Z", "expectedSeconds": 540})),
        step("addon/vpc-cni", "Pending", json!({"after": "cluster"})),
        step("addon/coredns", "Pending", json!({"after": "nodes"})),
    ]);
    let resources = json!([
        {"key": "vpc", "id": "vpc-1"},
        {"key": "subnet/private/eu-west-1a", "id": "subnet-1"}, {"key": "subnet/private/eu-west-1b", "id": null},
    ]);
    let graph = of(&fleet(creating(steps, resources), false, &[("web", "False", "WaitingForCluster")])).unwrap();
    let order =
        ["VPC", "subnet private/eu-west-1a", "control plane", "add-on vpc-cni", "node group web", "add-on coredns"];
    let places: Vec<usize> = order.iter().map(|name| node(&graph, name).x).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
    assert_eq!(node(&graph, "add-on coredns").after, "node group web");
    assert_eq!(node(&graph, "subnet private/eu-west-1b").badge.text, "in progress");
    assert_eq!(graph.summary, "7 resources: 2 done, 2 in progress, 3 waiting");
    // Lines that follow from others are left out: that of the control plane to coredns.
    assert_eq!(graph.wires.len(), 7);
    assert_eq!(graph.wires.iter().filter(|wire| wire.class == "done").count(), 3);
}

#[test]
fn change_shows_its_steps_alone_with_what_lies_between_passed_through() {
    let update = |resource: &str| {
        let mut step = step(resource, "Pending", json!({}));
        step["action"] = json!("Update");
        step
    };
    let status = json!({
        "plan": {"steps": [update("vpc"), update("addon/coredns"), step("other/x", "Pending", json!({"after": "gate"}))]},
        "resources": [
            {"key": "subnet/private/eu-west-1a", "id": "s"}, {"key": "subnet/private/eu-west-1b", "id": "t"},
            {"key": "cluster", "id": "demo"},
        ],
    });
    let graph = of(&fleet(status, false, &[("web", "True", "Available")])).unwrap();
    let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["add-on coredns", "gate", "other x", "VPC"]);
    assert_eq!(node(&graph, "add-on coredns").after, "VPC");
    assert_eq!(node(&graph, "other x").after, "gate");
}

#[test]
fn deletion_begins_with_the_node_groups() {
    let delete = |resource: &str, state: &str| {
        let mut step = step(resource, state, json!({}));
        step["action"] = json!("Delete");
        step
    };
    let status = json!({"plan": {"steps": [
        delete("vpc", "Pending"), delete("subnet/private/eu-west-1a", "Pending"),
        delete("subnet/private/eu-west-1b", "Pending"), delete("cluster", "Pending"),
    ]}});
    let graph = of(&fleet(status, true, &[("web", "False", "Deleting")])).unwrap();
    let order = ["node group web", "control plane", "subnet private/eu-west-1a", "VPC"];
    let places: Vec<usize> = order.iter().map(|name| node(&graph, name).x).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
}

#[test]
fn whole_creation_fits_into_1280_pixels() {
    let known: Vec<Key> = ZONES
        .iter()
        .flat_map(|zone| ["public", "private"].map(|tier| Key::named("subnet", format!("{tier}/{zone}"))))
        .collect();
    let groups = [("web", "False", "WaitingForCluster")];
    let empty = fleet(creating(json!([]), json!([])), false, &groups);
    let cluster = empty.clusters.values().next().and_then(FleetObject::open).unwrap().object;
    let group = empty.groups.values().next().and_then(FleetObject::open).unwrap().object;
    let order = order::of_cluster(&cluster, &[&*group], &known, Goal::Present);
    let steps: Vec<Value> = order
        .keys()
        .filter(|key| **key != order::nodes())
        .map(|key| step(&key.to_string(), "Pending", json!({})))
        .collect();
    let graph = of(&fleet(creating(json!(steps), json!([])), false, &groups)).unwrap();
    assert!(graph.nodes.len() >= 35, "{}", graph.nodes.len());
    assert!(graph.width <= 1160 && graph.height <= 1200, "{} x {}", graph.width, graph.height);
    let mut places: Vec<(usize, usize)> = graph.nodes.iter().map(|node| (node.x, node.y)).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), graph.nodes.len(), "no two at the same place");
}

#[test]
fn many_resources_are_bounded_and_a_circle_ends() {
    let mut steps: Vec<Value> = (0..100).map(|number| step(&format!("x/{number}"), "Pending", json!({}))).collect();
    steps[0]["after"] = json!("x/1");
    steps[1]["after"] = json!("x/0");
    let resources: Vec<Value> = (0..100).map(|number| json!({"key": format!("y/{number}"), "id": "i"})).collect();
    let mut status = creating(json!(steps), json!(resources));
    status["plan"]["omittedSteps"] = json!(3);
    let graph = of(&fleet(status, false, &[])).unwrap();
    assert_eq!((graph.nodes.len(), graph.omitted), (MAX_NODES, 83));
    let waiting = graph.nodes.iter().filter(|node| node.badge.text == "waits").count();
    assert_eq!(waiting, 100, "what is done is left out first");
}
