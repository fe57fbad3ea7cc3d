//! The rollout's side of the gate `Agent`: small fleets, step by step.

use jiff::SignedDuration;
use serde_json::json;

use super::advance_tests::Fleet;
use super::*;
use crate::api::fleet_rollout_status::ReleaseState;

const OLD: &str = "v2.7.5";
const NEW: &str = "v2.9.5";
const TARGET: &str = "flux-v2.9.5";

fn version(version: &str) -> AgentVersion {
    AgentVersion::new("flux", version).unwrap()
}

fn fleet(change: serde_json::Value) -> Fleet {
    let mut spec = json!({"gates": ["ControlPlane", "NodeGroups", "Agent"]});
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let mut fleet = Fleet::new(spec);
    for member in fleet.clusters.values_mut() {
        member.wanted = "1.35".parse().unwrap();
        member.agent = Some(AgentState { at: version(OLD), wanted: version(NEW), unhealthy: None });
    }
    fleet
}

fn agent<'a>(fleet: &'a mut Fleet, name: &'static str) -> &'a mut AgentState {
    fleet.clusters.get_mut(name).unwrap().agent.as_mut().unwrap()
}

fn ask(fleet: &mut Fleet, names: &[&'static str]) {
    for name in names {
        let id = format!("Agent/{TARGET}/{}", fleet.now.as_millisecond()).parse().unwrap();
        fleet.clusters.get_mut(name).unwrap().agent_request.asks = Some(id);
    }
}

fn claim(fleet: &mut Fleet) {
    let out: Vec<String> = fleet.tickets().into_iter().map(str::to_owned).collect();
    for member in fleet.clusters.values_mut().filter(|member| out.contains(&member.uid)) {
        let request = &mut member.agent_request;
        request.claimed = request.asks.take().or(request.claimed);
    }
}

fn finish(fleet: &mut Fleet, name: &'static str) {
    let member = fleet.clusters.get_mut(name).unwrap();
    member.agent.as_mut().unwrap().at = version(NEW);
    member.agent_request.released = member.agent_request.claimed.take();
}

#[test]
fn agents_are_upgraded_wave_by_wave() {
    let mut fleet = fleet(json!({}));
    ask(&mut fleet, &["a", "b", "c", "d", "e"]);
    fleet.advance();
    assert_eq!(fleet.tickets(), ["a"]);
    let release = &fleet.status.releases[0];
    assert_eq!((release.gate.as_str(), release.target.as_str(), release.progress.as_str()), ("Agent", TARGET, "0/5"));
    assert_eq!(fleet.status.releases.len(), 1, "nothing else is asked for");
    for name in ["a", "b"] {
        claim(&mut fleet);
        finish(&mut fleet, name);
        fleet.advance();
    }
    assert_eq!(fleet.tickets(), ["c", "d"]);
    claim(&mut fleet);
    finish(&mut fleet, "c");
    finish(&mut fleet, "d");
    fleet.advance();
    claim(&mut fleet);
    finish(&mut fleet, "e");
    fleet.advance();
    assert_eq!((fleet.state().0, fleet.tickets()), (ReleaseState::Completed, Vec::new()));
    let before = fleet.status.clone();
    assert_eq!(*fleet.advance(), before, "nothing changes while it is idle");
}

#[test]
fn soak_begins_when_all_agents_of_the_wave_work_and_begins_anew_after_an_interruption() {
    let waves = json!([{"name": "canary", "selector": {"matchLabels": {"ring": "0"}}, "maxConcurrent": 2, "soak": "10m"}, {"name": "prod"}]);
    let mut fleet = fleet(json!({"waves": waves}));
    ask(&mut fleet, &["a", "b", "c"]);
    fleet.advance();
    claim(&mut fleet);
    // Their health dates from before: it says nothing about the new agent.
    fleet.now += SignedDuration::from_hours(1);
    finish(&mut fleet, "a");
    finish(&mut fleet, "b");
    fleet.advance();
    assert_eq!(fleet.state(), (ReleaseState::Soaking, "wave canary soaks for 10m, until 2026-11-28T01:12:00Z"));
    fleet.now += SignedDuration::from_mins(5);
    agent(&mut fleet, "a").unhealthy = Some("source-controller of the GitOps agent is not ready".into());
    fleet.advance();
    assert!(fleet.state().1.contains("team/a: source-controller"), "{}", fleet.state().1);
    agent(&mut fleet, "a").unhealthy = None;
    fleet.now += SignedDuration::from_mins(8);
    fleet.advance();
    assert_eq!(fleet.tickets(), Vec::<&str>::new(), "it did not work throughout");
    fleet.now += SignedDuration::from_mins(10);
    fleet.advance();
    assert_eq!(fleet.tickets(), ["c"]);
}

#[test]
fn agent_that_does_not_work_in_time_halts_its_version_and_no_other() {
    let mut fleet = fleet(json!({"notAsked": "Ignore"}));
    ask(&mut fleet, &["a", "c"]);
    fleet.clusters.get_mut("b").unwrap().agent = None;
    fleet.advance();
    claim(&mut fleet);
    let broken = agent(&mut fleet, "a");
    (broken.at, broken.unhealthy) = (version(NEW), Some("source-controller of the GitOps agent is not ready".into()));
    fleet.now += SignedDuration::from_hours(3);
    fleet.advance();
    let (state, message) = fleet.state();
    assert!(
        state == ReleaseState::Halted && message.contains("its step takes longer than 3h: source-controller"),
        "{message}"
    );
    assert!(message.contains(&format!("keelson.dev/retry to {TARGET}/")), "{message}");
    // Kubernetes upgrades go on in other clusters.
    fleet.clusters.get_mut("c").unwrap().wanted = "1.36".parse().unwrap();
    fleet.asks(&["c"]);
    fleet.advance();
    assert_eq!(fleet.tickets(), ["a", "c"], "the ticket of the agent stays");
    fleet.retry = Some(format!("{TARGET}/1"));
    fleet.advance();
    let release = fleet.status.releases.iter().find(|release| release.target == TARGET).unwrap();
    assert_eq!((release.state, release.halt.as_ref()), (ReleaseState::Progressing, None));
}

#[test]
fn cluster_has_one_ticket_at_a_time() {
    let mut fleet = fleet(json!({"waves": [{"name": "all", "maxConcurrent": 9}]}));
    for member in fleet.clusters.values_mut() {
        member.wanted = "1.36".parse().unwrap();
    }
    fleet.asks(&["a"]);
    ask(&mut fleet, &["a", "b"]);
    fleet.advance();
    let mut tickets = fleet.tickets();
    tickets.sort_unstable();
    assert_eq!(tickets, ["a", "b"]);
}

#[test]
fn only_clusters_with_that_agent_count_and_those_that_do_not_ask_are_named() {
    let mut fleet = fleet(json!({}));
    // Another agent, none, and one whose spec keeps an older version.
    let other = AgentVersion::new("argocd", "v3.2.11").unwrap();
    *agent(&mut fleet, "a") = AgentState { at: other, wanted: other, unhealthy: None };
    fleet.clusters.get_mut("d").unwrap().agent = None;
    agent(&mut fleet, "b").wanted = version(OLD);
    ask(&mut fleet, &["c"]);
    fleet.advance();
    let expected = format!("wave canary waits for team/b: its spec asks for flux-{OLD}");
    assert_eq!(fleet.state(), (ReleaseState::Blocked, expected.as_str()));
    assert_eq!(fleet.status.releases[0].progress, "0/3");
    agent(&mut fleet, "b").wanted = version(NEW);
    ask(&mut fleet, &["b"]);
    fleet.advance();
    assert_eq!(fleet.tickets(), ["b"]);
}
