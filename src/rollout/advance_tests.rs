//! The rollout's side: small fleets, step by step.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::world_objects::member;
use super::*;
use crate::api::fleet_rollout::FleetRolloutSpec;
use crate::api::fleet_rollout_status::{FleetRolloutStatus, ReleaseState, WaveState};

#[path = "check_tests.rs"]
mod check_tests;

fn start() -> Timestamp {
    "2026-11-28T00:00:00Z".parse().unwrap()
}

/// A small fleet, whose clusters a test moves.
pub struct Fleet {
    pub now: Timestamp,
    spec: FleetRolloutSpec,
    pub status: FleetRolloutStatus,
    pub clusters: BTreeMap<&'static str, Member>,
    approve: Option<String>,
    pub retry: Option<String>,
    pub promote: Option<String>,
    unreadable: BTreeSet<String>,
    pub events: Vec<&'static str>,
    results: Vec<CheckRun>,
    due: Vec<DueCheck>,
}

impl Fleet {
    pub fn new(change: Value) -> Self {
        let mut spec = json!({
            "clusterSelector": {}, "gates": ["ControlPlane"],
            "waves": [{"name": "canary", "selector": {"matchLabels": {"ring": "0"}}}, {"name": "prod", "maxConcurrent": 2}],
        });
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let mut fleet = Self {
            now: start(),
            spec: serde_json::from_value(spec).unwrap(),
            status: FleetRolloutStatus::default(),
            clusters: BTreeMap::new(),
            approve: None,
            retry: None,
            promote: None,
            unreadable: BTreeSet::new(),
            events: Vec::new(),
            results: Vec::new(),
            due: Vec::new(),
        };
        for (name, ring) in [("a", "0"), ("b", "0"), ("c", "1"), ("d", "1"), ("e", "1")] {
            fleet.join(name, ring, "1.35", "1.36");
        }
        fleet
    }

    pub fn join(&mut self, name: &'static str, ring: &str, at: &str, wanted: &str) {
        let of = member(name, &format!("team/{name}"), ring, at.parse().unwrap(), self.now);
        let member = Member { wanted: wanted.parse().unwrap(), ..of };
        self.clusters.insert(name, member);
    }

    pub fn asks(&mut self, names: &[&'static str]) {
        for name in names {
            let number = self.now.as_millisecond();
            let id = format!("ControlPlane/1.36/{number}").parse().unwrap();
            self.clusters.get_mut(name).unwrap().request.asks = Some(id);
        }
    }

    /// Everything that may begin has begun.
    pub fn claim(&mut self) {
        for member in self.clusters.values_mut() {
            let mut tickets = self.status.releases.iter().flat_map(|release| &release.tickets);
            let has_ticket = tickets.any(|ticket| ticket.uid == member.uid);
            if has_ticket && member.request.asks.is_some() {
                member.request.claimed = member.request.asks.take();
                member.health = Health::Unhealthy("the control plane is UPDATING".to_owned());
            }
        }
    }

    pub fn finish(&mut self, name: &'static str) {
        let now = self.now;
        let member = self.clusters.get_mut(name).unwrap();
        member.control_plane = Some("1.36".parse().unwrap());
        member.health = Health::Since(now);
        member.request.released = member.request.claimed.take();
    }

    pub fn advance(&mut self) -> &FleetRolloutStatus {
        self.now += SignedDuration::from_secs(60);
        let rollout = Rollout { name: "main", spec: &self.spec, status: &self.status };
        let rollouts = Rollouts::Listed { readable: vec![rollout], unreadable: Vec::new() };
        let clusters: Vec<Member> = self.clusters.values().cloned().collect();
        let outcome = advance(&Input {
            name: "main",
            spec: &self.spec,
            status: &self.status,
            annotations: Annotations {
                approve: self.approve.as_deref(),
                retry: self.retry.as_deref(),
                promote: self.promote.as_deref(),
            },
            rollouts: &rollouts,
            clusters: &clusters,
            unreadable: &self.unreadable,
            results: &self.results,
            now: self.now,
        });
        self.events.extend(outcome.events.iter().map(|event| event.reason));
        (self.status, self.due) = (outcome.status, outcome.due);
        &self.status
    }

    pub fn tickets(&self) -> Vec<&str> {
        let tickets = self.status.releases.iter().flat_map(|release| &release.tickets);
        tickets.map(|ticket| ticket.uid.as_str()).collect()
    }

    pub fn state(&self) -> (ReleaseState, &str) {
        let release = &self.status.releases[0];
        (release.state, release.message.as_deref().unwrap_or_default())
    }
}

#[test]
fn waves_follow_one_another_within_their_limits() {
    let mut fleet = Fleet::new(json!({}));
    fleet.asks(&["c", "d", "e"]);
    fleet.advance();
    assert_eq!(fleet.tickets(), Vec::<&str>::new(), "the canaries have not asked yet");
    fleet.asks(&["a", "b"]);
    fleet.advance();
    assert_eq!(fleet.tickets(), ["a"]);
    fleet.claim();
    fleet.finish("a");
    fleet.advance();
    assert_eq!(fleet.tickets(), ["b"]);
    assert_eq!(fleet.status.releases[0].progress, "1/5");
    fleet.claim();
    fleet.finish("b");
    fleet.advance();
    assert_eq!(fleet.tickets(), ["c", "d"]);
    assert_eq!(fleet.status.releases[0].waves[0].state, WaveState::Passed);
    fleet.claim();
    for name in ["c", "d"] {
        fleet.finish(name);
    }
    fleet.advance();
    fleet.claim();
    fleet.finish("e");
    fleet.advance();
    assert_eq!((fleet.state(), fleet.tickets()), ((ReleaseState::Completed, ""), Vec::new()));
    assert_eq!(fleet.events, ["WavePassed", "WavePassed", "RolloutCompleted"]);
    let before = fleet.status.clone();
    assert_eq!(*fleet.advance(), before, "nothing changes while it is idle");
}

#[test]
fn soak_begins_when_the_last_cluster_is_healthy_and_begins_anew_after_an_interruption() {
    let mut fleet = Fleet::new(json!({
        "waves": [{"name": "canary", "selector": {"matchLabels": {"ring": "0"}}, "maxConcurrent": 2, "soak": "10m"}, {"name": "prod"}]
    }));
    fleet.asks(&["a", "b", "c", "d", "e"]);
    fleet.advance();
    fleet.claim();
    fleet.finish("a");
    fleet.finish("b");
    fleet.advance();
    let (state, message) = fleet.state();
    assert_eq!((state, message), (ReleaseState::Soaking, "wave canary soaks for 10m, until 2026-11-28T00:11:00Z"));
    fleet.now += SignedDuration::from_mins(5);
    fleet.clusters.get_mut("a").unwrap().health = Health::Unhealthy("add-on coredns is DEGRADED".into());
    fleet.advance();
    assert_eq!(fleet.state().1, "wave canary waits for team/a: add-on coredns is DEGRADED");
    fleet.clusters.get_mut("a").unwrap().health = Health::Since(fleet.now);
    fleet.now += SignedDuration::from_mins(8);
    fleet.advance();
    assert_eq!(fleet.tickets(), Vec::<&str>::new(), "it was not healthy throughout");
    fleet.now += SignedDuration::from_mins(2);
    fleet.advance();
    assert_eq!(fleet.tickets(), ["c"]);
}

#[test]
fn soak_of_node_groups_begins_when_all_of_them_are_seen_healthy() {
    let canary = json!({"name": "canary", "selector": {"matchLabels": {"ring": "0"}}, "soak": "10m"});
    let mut fleet = Fleet::new(json!({"gates": ["NodeGroups"], "waves": [canary, {"name": "prod"}]}));
    let since = fleet.now - SignedDuration::from_hours(24);
    for member in fleet.clusters.values_mut() {
        (member.control_plane, member.health) = (Some("1.36".parse().unwrap()), Health::Since(since));
        member.node_groups = member.control_plane.filter(|_| member.labels["ring"] == "0").or(member.node_groups);
    }
    fleet.advance();
    assert_eq!(fleet.state(), (ReleaseState::Soaking, "wave canary soaks for 10m, until 2026-11-28T00:11:00Z"));
    fleet.now += SignedDuration::from_mins(9);
    assert!(fleet.advance().releases[0].waves[0].passed_at.is_some());
}

#[test]
fn failure_halts_until_it_is_retried() {
    let mut fleet = Fleet::new(json!({}));
    fleet.asks(&["a", "b", "c", "d", "e"]);
    fleet.advance();
    fleet.claim();
    let since = fleet.now;
    fleet.clusters.get_mut("a").unwrap().stalled = Some(Stalled { since, message: "PodEvictionFailure: web".into() });
    fleet.advance();
    let since = fleet.now.as_second();
    let expected = format!(
        "wave canary has halted: EksCluster team/a: PodEvictionFailure: web; correct what is named, then set the annotation \
         keelson.dev/retry to 1.36/{since}"
    );
    assert_eq!(fleet.state(), (ReleaseState::Halted, expected.as_str()));
    // It recovers by itself: the halt stays.
    fleet.clusters.get_mut("a").unwrap().stalled = None;
    fleet.finish("a");
    fleet.advance();
    assert_eq!((fleet.state().0, fleet.tickets()), (ReleaseState::Halted, Vec::new()));
    fleet.retry = Some("1.35/1".into());
    fleet.advance();
    assert_eq!(fleet.state().0, ReleaseState::Halted, "of another version");
    fleet.retry = Some("1.36/1".into());
    fleet.advance();
    assert_eq!((fleet.state().0, fleet.tickets()), (ReleaseState::Progressing, vec!["b"]));
    // The annotation stays in Git, and counts once.
    fleet.claim();
    let since = fleet.now + SignedDuration::from_secs(1);
    fleet.clusters.get_mut("b").unwrap().stalled = Some(Stalled { since, message: "no capacity".into() });
    fleet.advance();
    fleet.advance();
    assert_eq!(fleet.state().0, ReleaseState::Halted);
    assert_eq!(fleet.events, ["RolloutHalted", "RetryIgnored", "RolloutRetried", "RolloutHalted"]);
}

#[test]
fn step_that_takes_too_long_has_failed_and_its_ticket_stays() {
    let mut fleet = Fleet::new(json!({}));
    fleet.asks(&["a", "b"]);
    fleet.advance();
    fleet.claim();
    fleet.now += SignedDuration::from_hours(3);
    fleet.advance();
    let (state, message) = fleet.state();
    assert!(
        state == ReleaseState::Halted
            && message.contains("its step takes longer than 3h: the control plane is UPDATING"),
        "{message}"
    );
    assert_eq!(fleet.tickets(), ["a"]);
}

#[test]
fn approval_is_bound_to_the_clusters_that_wait() {
    let mut fleet = Fleet::new(json!({"waves": [{"name": "prod", "maxConcurrent": 9, "approval": "Required"}]}));
    fleet.asks(&["a", "b", "c"]);
    fleet.advance();
    let hash = fleet.status.releases[0].waves[0].approval_hash.clone().unwrap();
    let expected = format!("wave prod waits for an approval: set the annotation keelson.dev/approve to {hash}");
    assert_eq!(fleet.state(), (ReleaseState::WaitingForApproval, expected.as_str()));
    fleet.join("f", "1", "1.35", "1.36");
    fleet.approve = Some(hash);
    fleet.advance();
    assert_eq!(fleet.tickets(), Vec::<&str>::new(), "another cluster has joined");
    fleet.approve = fleet.status.releases[0].waves[0].approval_hash.clone();
    fleet.advance();
    assert_eq!(fleet.tickets(), ["a", "b", "c"]);
    fleet.join("g", "1", "1.35", "1.36");
    fleet.asks(&["f", "g"]);
    fleet.advance();
    assert_eq!(fleet.tickets(), ["a", "b", "c", "f"], "who joins later needs an approval of its own");
    assert!(fleet.status.releases[0].waves[0].approval_hash.is_some());
    assert_eq!(fleet.events, ["WaitingForApproval", "WaveApproved", "WaitingForApproval"]);
}

#[test]
fn earlier_wave_waits_for_specs_that_do_not_ask_unless_they_are_ignored() {
    for (not_asked, expected) in [("Block", vec![]), ("Ignore", vec!["c"])] {
        let mut fleet = Fleet::new(json!({"notAsked": not_asked}));
        for name in ["a", "b"] {
            fleet.clusters.get_mut(name).unwrap().wanted = "1.35".parse().unwrap();
        }
        fleet.asks(&["c"]);
        fleet.advance();
        assert_eq!(fleet.tickets(), expected, "{not_asked}");
        if not_asked == "Block" {
            let waits = "wave canary waits for team/a: its spec.version is 1.35; team/b: its spec.version is 1.35";
            assert_eq!(fleet.state(), (ReleaseState::Blocked, waits));
        }
    }
}

#[test]
fn membership_changes_abort_nothing() {
    let mut fleet = Fleet::new(json!({}));
    fleet.asks(&["a", "b", "c"]);
    fleet.advance();
    fleet.claim();
    // Relabelled in the middle of its step: it counts in the wave in which it began.
    fleet.clusters.get_mut("a").unwrap().labels.insert("ring".into(), "1".into());
    fleet.advance();
    assert_eq!(fleet.tickets(), ["a"]);
    fleet.finish("a");
    fleet.advance();
    fleet.claim();
    assert_eq!(fleet.tickets(), ["b"]);
    // Unreadable is not gone; gone is.
    let b = fleet.clusters.remove("b").unwrap();
    fleet.unreadable.insert("b".into());
    fleet.advance();
    assert_eq!(fleet.tickets(), ["b", "c"], "the canary wave has no cluster left");
    fleet.unreadable.clear();
    fleet.advance();
    assert_eq!(fleet.tickets(), ["c"]);
    fleet.clusters.insert("b", b);
    fleet.clusters.get_mut("b").unwrap().suspended = true;
    fleet.advance();
    assert_eq!(fleet.status.releases[0].waves[0].members, 0, "a suspended cluster leaves its wave");
}

#[test]
fn rollout_without_demand_forgets_its_halt() {
    let mut fleet = Fleet::new(json!({}));
    fleet.asks(&["a"]);
    fleet.advance();
    let since = fleet.now;
    fleet.clusters.get_mut("a").unwrap().stalled = Some(Stalled { since, message: "x".into() });
    fleet.advance();
    assert_eq!(fleet.state().0, ReleaseState::Halted);
    for member in fleet.clusters.values_mut() {
        member.wanted = "1.35".parse().unwrap();
        (member.request.released, member.request.asks) = (member.request.asks, None);
    }
    fleet.advance();
    assert!(fleet.status.releases.is_empty(), "the commit is reverted");
}

#[test]
fn tolerated_failure_takes_no_slot_and_is_named() {
    let mut fleet = Fleet::new(json!({"waves": [{"name": "all", "maxFailed": 1}]}));
    fleet.asks(&["a", "b"]);
    fleet.advance();
    fleet.claim();
    assert_eq!(fleet.tickets(), ["a"]);
    let since = fleet.now;
    fleet.clusters.get_mut("a").unwrap().stalled = Some(Stalled { since, message: "no capacity".into() });
    fleet.advance();
    assert_eq!(fleet.tickets(), ["a", "b"]);
    assert!(
        fleet.state().1.contains("team/a has failed, which maxFailed tolerates: no capacity"),
        "{}",
        fleet.state().1
    );
}

#[test]
fn cluster_that_did_not_take_part_fails_no_release() {
    let mut fleet = Fleet::new(json!({}));
    fleet.join("z", "0", "1.36", "1.36");
    fleet.asks(&["a"]);
    fleet.advance();
    let since = fleet.now + SignedDuration::from_secs(1);
    let ill = fleet.clusters.get_mut("z").unwrap();
    (ill.health, ill.stalled) = (Health::Unhealthy("x".into()), Some(Stalled { since, message: "no capacity".into() }));
    fleet.advance();
    assert_eq!(fleet.state().0, ReleaseState::Progressing, "{}", fleet.state().1);
}

#[test]
fn rollout_created_again_counts_what_is_in_progress() {
    let mut fleet = Fleet::new(json!({"waves": [{"name": "all", "maxConcurrent": 2}]}));
    fleet.asks(&["a", "b", "c"]);
    fleet.advance();
    fleet.claim();
    assert_eq!(fleet.tickets(), ["a", "b"]);
    fleet.status = FleetRolloutStatus::default();
    fleet.advance();
    assert_eq!(fleet.tickets(), Vec::<&str>::new());
    fleet.finish("a");
    fleet.advance();
    assert_eq!(fleet.tickets(), ["c"]);
}

#[test]
fn cluster_suspended_in_the_middle_of_its_step_is_named_and_fails_nothing() {
    let mut fleet = Fleet::new(json!({}));
    fleet.asks(&["a"]);
    fleet.advance();
    fleet.claim();
    fleet.clusters.get_mut("a").unwrap().suspended = true;
    fleet.now += SignedDuration::from_hours(9);
    fleet.advance();
    assert_eq!(fleet.state().0, ReleaseState::Blocked);
    assert!(fleet.state().1.contains("team/a: it is suspended in the middle of its step"), "{}", fleet.state().1);
}
