//! What a plan shows of a node group that another one replaces: creation, drain, deletion of the node group, and then of its launch
//! template.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::planned::{NOT_THERE, Planned, node_group_graph, owner};
use super::timeline::Timeline;
use super::{from_nothing, manifest_clusters, print, view_from_nothing};
use crate::agents::validate_source::SourcePolicy;
use crate::cli::plan::manifest::Manifest;
use crate::engine::{ExecutionPolicy, Expectations, Goal, Memory, Observation, Presence, plan};
use crate::resources::graph::expand::SecondNodeGroup;

/// The plan once the spec asks for another node group than `demo-default`, which has a launch template.
fn replaced() -> Vec<Planned> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/minimal.yaml")).unwrap();
    let text = text.replace("scaling: {min: 2, max: 4}", "scaling: {min: 2, max: 4}\n  node: {}");
    let manifest = Manifest::parse(&text).unwrap();
    let all = manifest_clusters(&manifest, SourcePolicy::default()).unwrap();
    let (cluster, group) = (&all[0], all[0].groups[0]);
    let view = view_from_nothing(cluster).unwrap();
    let beside = SecondNodeGroup::Replaced {
        name: "demo-default".to_owned(),
        nodes: 2,
        not_yet: None,
        is_outdated: false,
        in_use: Some("its nodes are drained first".to_owned()),
    };
    let owner = owner(cluster.cluster, NOT_THERE);
    let graph = node_group_graph(group, &cluster.grant, &owner, &view, ("demo-default-1f", beside)).unwrap();
    let now = Timestamp::UNIX_EPOCH;
    let mut memory = Memory::new(now, Duration::ZERO, []);
    for node in graph.nodes() {
        let presence = match node.succession() {
            Some(_) => Presence::Ours(Observation::ready("id", "ACTIVE", Arc::new(()) as _)),
            None => Presence::Absent,
        };
        memory.record_observation(&node.key(), presence, now);
    }
    let plan = plan(&graph, &memory, Goal::Present, &ExecutionPolicy::default(), &Expectations::default(), now);
    let context = from_nothing(cluster).unwrap().into_iter().next().map(Planned::into_context);
    context
        .into_iter()
        .chain([Planned::new("NodeGroup default/demo-default".to_owned(), String::new(), graph, plan)])
        .collect()
}

#[test]
fn deletion_follows_the_creation_and_the_drain() {
    let all = replaced();
    let timeline = Timeline::of(&all);
    let (rows, _) = print::rows(&all[1], &timeline, true);
    let shown: Vec<String> = rows.iter().map(|row| format!("{} {}", row.sign, row.key)).collect();
    let expected = [
        "+ launchTemplate/demo-default-1f",
        "+ nodeGroup/demo-default-1f",
        "~ drain/demo-default",
        "- nodeGroup/demo-default",
        "- launchTemplate/demo-default",
    ];
    assert_eq!(shown, expected);
    let [.., created, drain, group, template] = &rows[..] else { panic!("{shown:?}") };
    assert_eq!(drain.starts, created.starts.zip(created.takes).map(|(starts, takes)| starts + takes));
    assert_eq!(group.starts, drain.starts);
    assert_eq!(template.starts, group.starts.zip(group.takes).map(|(starts, takes)| starts + takes));
    assert_eq!(drain.details, "its nodes are drained first");
    assert!(group.details.ends_with("after the drain of node group demo-default"), "{}", group.details);
    assert!(template.details.ends_with("after node group demo-default is deleted"), "{}", template.details);
    let mut text = String::new();
    print::cluster(&mut text, &all, true);
    assert!(text.contains("The time of a drain is not included"), "{text}");
}
