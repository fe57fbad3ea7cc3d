//! The rollout's side while some specs do not ask for the version: what is idle, and what a person must change.

use serde_json::json;

use super::advance_tests::Fleet;
use super::*;
use crate::api::fleet_rollout_status::{ReleaseState, WaveState};

/// The specs of these clusters ask for that version.
fn want(fleet: &mut Fleet, names: &[&'static str], version: &str) {
    for name in names {
        fleet.clusters.get_mut(name).unwrap().wanted = version.parse().unwrap();
    }
}

/// These clusters ask, and get the version one after the other.
fn upgrade(fleet: &mut Fleet, names: &[&'static str]) {
    fleet.asks(names);
    for name in names {
        fleet.advance();
        fleet.claim();
        fleet.finish(name);
    }
    fleet.advance();
}

#[test]
fn wave_in_which_no_cluster_asks_is_idle_until_one_does() {
    let mut fleet = Fleet::new(json!({}));
    want(&mut fleet, &["c", "d", "e"], "1.35");
    upgrade(&mut fleet, &["a", "b"]);
    // The commit has reached the first ring alone.
    let idle = (ReleaseState::Completed, "no cluster of wave prod asks for 1.36 now");
    assert_eq!(fleet.state(), idle);
    let release = &fleet.status.releases[0];
    assert_eq!((release.wave.as_deref(), release.progress.as_str()), (Some("prod"), "2/5"));
    assert_eq!([release.waves[0].state, release.waves[1].state], [WaveState::Passed, WaveState::Pending]);
    let before = fleet.status.clone();
    assert_eq!(*fleet.advance(), before, "nothing changes while it is idle");
    // A part of the next one.
    want(&mut fleet, &["c"], "1.36");
    fleet.asks(&["c"]);
    fleet.advance();
    assert_eq!((fleet.state().0, fleet.tickets()), (ReleaseState::Progressing, vec!["c"]));
    fleet.claim();
    fleet.finish("c");
    fleet.advance();
    assert_eq!(fleet.state(), idle);
    assert_eq!(fleet.events, ["WavePassed"], "it is not complete");
    want(&mut fleet, &["d", "e"], "1.36");
    upgrade(&mut fleet, &["d", "e"]);
    assert_eq!(fleet.state(), (ReleaseState::Completed, ""));
    assert_eq!(fleet.events, ["WavePassed", "WavePassed", "RolloutCompleted"]);
}

#[test]
fn cluster_that_does_not_ask_needs_a_person_once_a_later_wave_waits_for_it() {
    let mut fleet = Fleet::new(json!({}));
    want(&mut fleet, &["b", "c", "d", "e"], "1.35");
    fleet.asks(&["a"]);
    fleet.advance();
    assert_eq!((fleet.state().0, fleet.tickets()), (ReleaseState::Progressing, vec!["a"]));
    fleet.claim();
    fleet.finish("a");
    fleet.advance();
    assert_eq!(fleet.state(), (ReleaseState::Completed, "no cluster of wave canary asks for 1.36 now"));
    want(&mut fleet, &["e"], "1.36");
    fleet.advance();
    assert_eq!(fleet.state(), (ReleaseState::Blocked, "wave canary waits for team/b: its spec.version is 1.35"));
    // It is not idle either while one that has the version is not healthy.
    want(&mut fleet, &["e"], "1.35");
    fleet.clusters.get_mut("a").unwrap().health = Health::Unhealthy("add-on coredns is DEGRADED".into());
    fleet.advance();
    let waits = "wave canary waits for team/b: its spec.version is 1.35; team/a: add-on coredns is DEGRADED";
    assert_eq!(fleet.state(), (ReleaseState::Progressing, waits));
}

#[test]
fn cluster_in_no_wave_that_asks_keeps_the_waves_before_it_from_resting() {
    let ring = |name: &str, ring: &str| json!({"name": name, "selector": {"matchLabels": {"ring": ring}}});
    let mut fleet = Fleet::new(json!({"waves": [ring("canary", "0"), ring("prod", "1")]}));
    fleet.clusters.retain(|name, _| ["a", "c"].contains(name));
    fleet.join("z", "9", "1.35", "1.36");
    want(&mut fleet, &["c"], "1.35");
    upgrade(&mut fleet, &["a"]);
    assert_eq!(fleet.state(), (ReleaseState::Blocked, "wave prod waits for team/c: its spec.version is 1.35"));
    want(&mut fleet, &["c"], "1.36");
    upgrade(&mut fleet, &["c"]);
    assert_eq!(fleet.state(), (ReleaseState::Blocked, "no wave selects team/z: add a label, or set spec.unmatched"));
}

#[test]
fn clusters_that_do_not_ask_rest_when_they_are_ignored_or_their_wave_was_promoted() {
    let mut ignoring = Fleet::new(json!({"notAsked": "Ignore"}));
    want(&mut ignoring, &["c", "d", "e"], "1.35");
    upgrade(&mut ignoring, &["a", "b"]);
    assert_eq!(ignoring.state(), (ReleaseState::Completed, "no cluster of wave prod asks for 1.36 now"));
    want(&mut ignoring, &["c"], "1.36");
    ignoring.asks(&["c"]);
    ignoring.advance();
    assert_eq!((ignoring.state().0, ignoring.tickets()), (ReleaseState::Progressing, vec!["c"]));
    let mut promoted = Fleet::new(json!({}));
    want(&mut promoted, &["a", "b"], "1.35");
    promoted.promote = Some("1.36/canary".to_owned());
    upgrade(&mut promoted, &["c", "d"]);
    assert_eq!(promoted.state().0, ReleaseState::Progressing, "e is left: {}", promoted.state().1);
    upgrade(&mut promoted, &["e"]);
    assert_eq!(promoted.state(), (ReleaseState::Completed, "no cluster of wave canary asks for 1.36 now"));
}

#[test]
fn tolerated_failure_that_is_left_at_the_end_is_named() {
    let mut fleet = Fleet::new(json!({"waves": [{"name": "all", "maxConcurrent": 5, "maxFailed": 1}]}));
    fleet.clusters.retain(|name, _| ["a", "b"].contains(name));
    fleet.asks(&["a", "b"]);
    fleet.advance();
    fleet.claim();
    let since = fleet.now;
    fleet.clusters.get_mut("a").unwrap().stalled = Some(Stalled { since, message: "no capacity".into() });
    fleet.finish("b");
    fleet.advance();
    let expected = "all waves have passed; team/a has failed, which maxFailed tolerates: no capacity";
    assert_eq!(fleet.state(), (ReleaseState::Progressing, expected));
}
