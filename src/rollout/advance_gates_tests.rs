//! The rollout's side, with a release of control planes and one of node groups: small fleets, step by step.

use serde_json::json;

use super::advance_tests::Fleet;
use super::*;
use crate::api::KubernetesVersion;
use crate::api::fleet_rollout::Gate;
use crate::api::fleet_rollout_status::{ReleaseState, WaveState};

fn new() -> KubernetesVersion {
    "1.36".parse().unwrap()
}

fn wave_of(fleet: &Fleet, gate: Gate, index: usize) -> WaveState {
    let release = fleet.status.releases.iter().find(|release| release.gate == gate).unwrap();
    release.waves[index].state
}

#[test]
fn control_planes_of_the_next_wave_wait_for_the_node_groups_of_this_one() {
    let mut fleet = Fleet::new(json!({"gates": ["ControlPlane", "NodeGroups"]}));
    fleet.asks(&["a", "b", "c"]);
    for _ in 0..2 {
        fleet.advance();
        fleet.claim();
        let begun: Vec<&'static str> = fleet
            .clusters
            .iter()
            .filter(|(_, member)| member.request.claimed.is_some())
            .map(|(name, _)| *name)
            .collect();
        for name in begun {
            fleet.finish(name);
        }
    }
    fleet.advance();
    let at_target =
        |fleet: &Fleet| fleet.clusters.values().filter(|member| member.control_plane == Some(new())).count();
    assert_eq!(at_target(&fleet), 2, "the canaries");
    assert_eq!(wave_of(&fleet, Gate::ControlPlane, 0), WaveState::Progressing);
    assert!(fleet.tickets().is_empty(), "their node groups are at 1.35");
    let message = fleet.status.releases.iter().find(|release| release.gate == Gate::ControlPlane).unwrap();
    assert_eq!(
        message.message.as_deref(),
        Some("wave canary waits for team/a: its node groups follow; team/b: its node groups follow")
    );
    for name in ["a", "b"] {
        fleet.clusters.get_mut(name).unwrap().node_groups = Some(new());
    }
    fleet.advance();
    assert_eq!(wave_of(&fleet, Gate::ControlPlane, 0), WaveState::Passed);
    assert_eq!(fleet.tickets(), ["c"]);
}

#[test]
fn control_planes_alone_do_not_wait_for_node_groups() {
    let mut fleet = Fleet::new(json!({"waves": [{"name": "all"}]}));
    fleet.asks(&["a"]);
    fleet.advance();
    fleet.claim();
    fleet.finish("a");
    fleet.advance();
    assert!(fleet.clusters["a"].node_groups < Some(new()));
    assert!(fleet.status.releases[0].message.as_deref().is_some_and(|message| !message.contains("team/a")));
}

#[test]
fn halt_stays_when_all_clusters_have_the_version_and_stops_their_node_groups() {
    let mut fleet = Fleet::new(json!({"gates": ["ControlPlane", "NodeGroups"], "waves": [{"name": "all"}]}));
    fleet.clusters.retain(|name, _| *name == "a");
    fleet.asks(&["a"]);
    fleet.advance();
    fleet.claim();
    fleet.finish("a");
    let since = fleet.now + jiff::SignedDuration::from_secs(1);
    let member = fleet.clusters.get_mut("a").unwrap();
    member.stalled = Some(Stalled { since, message: "HookFailed: hook post".into() });
    fleet.advance();
    assert_eq!(fleet.state().0, ReleaseState::Halted);
    // The hook succeeds when it is tried again.
    fleet.clusters.get_mut("a").unwrap().stalled = None;
    for _ in 0..3 {
        fleet.advance();
    }
    let halted = |fleet: &Fleet| {
        let halted = fleet.status.releases.iter().filter(|release| release.halt.is_some());
        halted.map(|release| release.gate).collect::<Vec<_>>()
    };
    assert_eq!(halted(&fleet), [Gate::ControlPlane]);
    assert_eq!(
        fleet.state().1.split(';').next(),
        Some("wave all has halted: EksCluster team/a: HookFailed: hook post")
    );
    assert_eq!(
        fleet.status.releases[1].message.as_deref(),
        Some("ControlPlane/1.36 has halted: nothing begins until that continues")
    );
    fleet.clusters.get_mut("a").unwrap().node_groups = Some(new());
    fleet.advance();
    assert_eq!(halted(&fleet), [Gate::ControlPlane], "nobody asks for a step any more");
    fleet.retry = Some("1.36/1".into());
    fleet.advance();
    assert!(halted(&fleet).is_empty());
}
