//! The rollout's side of the gate `Revision`: which revisions the clusters of each wave may have.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::world_objects::member;
use super::*;
use crate::api::fleet_rollout::{FleetRolloutSpec, Gate};
use crate::api::fleet_rollout_status::{FleetRolloutStatus, ReleaseState, ReleaseStatus};

#[path = "first_revision_tests.rs"]
mod first_revision_tests;

fn main() -> SourceKey {
    SourceKey::of("main")
}

/// The revision of that number.
fn full(number: u8) -> String {
    format!("main@sha1:{}", number.to_string().repeat(40))
}

fn revision(number: u8) -> Revision {
    Revision::new(main(), &full(number)).unwrap()
}

/// Three waves of one or two clusters, whose agents a test moves.
struct Fleet {
    now: Timestamp,
    spec: FleetRolloutSpec,
    status: FleetRolloutStatus,
    clusters: BTreeMap<&'static str, Member>,
    plans: Vec<SourcePlan>,
}

impl Fleet {
    fn new(change: Value) -> Self {
        let selector = |ring: &str| json!({"matchLabels": {"ring": ring}});
        let mut spec = json!({
            "clusterSelector": {}, "gates": ["Revision"],
            "waves": [
                {"name": "canary", "selector": selector("0"), "progressDeadline": "10m"},
                {"name": "early", "selector": selector("1")},
                {"name": "prod", "selector": selector("2")},
            ],
        });
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let now: Timestamp = "2026-11-28T00:00:00Z".parse().unwrap();
        let mut clusters = BTreeMap::new();
        for (name, ring) in [("a", "0"), ("b", "1"), ("c", "2"), ("d", "2")] {
            let of = member(name, &format!("team/{name}"), ring, "1.36".parse().unwrap(), now);
            let source = SourceState {
                key: main(),
                url: "https://example.com/fleet".into(),
                fetched: None,
                applied: None,
                runs: None,
                held: false,
                unhealthy: None,
            };
            clusters.insert(name, Member { source: Some(source), ..of });
        }
        let spec = serde_json::from_value(spec).unwrap();
        let (status, plans) = (FleetRolloutStatus::default(), Vec::new());
        let mut fleet = Self { now, spec, status, clusters, plans };
        for name in ["a", "b", "c", "d"] {
            fleet.runs(name, 1);
        }
        fleet
    }

    fn source(&mut self, name: &'static str) -> &mut SourceState {
        self.clusters.get_mut(name).unwrap().source.as_mut().unwrap()
    }

    fn fetches(&mut self, name: &'static str, number: u8) {
        let source = self.source(name);
        source.fetched = Some(full(number));
        source.runs = source.runs.filter(|runs| *runs == revision(number));
    }

    fn runs(&mut self, name: &'static str, number: u8) {
        self.fetches(name, number);
        self.source(name).runs = Some(revision(number));
    }

    fn advance(&mut self) {
        self.now += SignedDuration::from_secs(60);
        let rollout = Rollout { name: "main", spec: &self.spec, status: &self.status };
        let rollouts = Rollouts::Listed { readable: vec![rollout], unreadable: Vec::new() };
        let clusters: Vec<Member> = self.clusters.values().cloned().collect();
        let outcome = advance(&Input {
            name: "main",
            spec: &self.spec,
            status: &self.status,
            annotations: Annotations::default(),
            rollouts: &rollouts,
            clusters: &clusters,
            unreadable: &BTreeSet::new(),
            results: &[],
            now: self.now,
        });
        self.status = outcome.status;
        self.plans = outcome.plans.unwrap();
    }

    /// The revision that each wave may have; 0: none.
    fn candidates(&self) -> Vec<u8> {
        let number = |candidate: &Option<Candidate>| {
            let found = candidate.as_ref().map(|candidate| candidate.revision.as_bytes()["main@sha1:".len()] - b'0');
            found.unwrap_or_default()
        };
        self.plans.first().map(|plan| plan.candidates.iter().map(number).collect()).unwrap_or_default()
    }

    /// Clusters of a wave ask for what they may have, get it one after the other, and run it.
    fn follow(&mut self, names: &[&'static str], number: u8) {
        let step = Step { gate: Gate::Revision, target: Target::Revision(revision(number)) };
        for name in names {
            let id = request::RequestId { step, number: self.now.as_millisecond() };
            self.clusters.get_mut(name).unwrap().revision_request.asks = Some(id);
            self.advance();
            let mut tickets = self.status.releases.iter().flat_map(|release| &release.tickets);
            assert!(tickets.any(|ticket| ticket.uid == *name), "{name} gets no ticket: {:#?}", self.status.releases);
            let request = &mut self.clusters.get_mut(name).unwrap().revision_request;
            (request.asks, request.released) = (None, Some(id));
            self.runs(name, number);
            self.advance();
        }
    }

    fn release(&self, number: u8) -> Option<&ReleaseStatus> {
        let target = revision(number).to_string();
        self.status.releases.iter().find(|release| release.target == target)
    }
}

#[test]
fn revision_reaches_each_wave_after_the_waves_before_have_run_it() {
    let mut fleet = Fleet::new(json!({}));
    fleet.advance();
    assert_eq!(fleet.candidates(), [0, 1, 1], "everybody runs it already");
    assert_eq!(fleet.release(1).unwrap().state, ReleaseState::Completed);
    let before = fleet.status.clone();
    fleet.advance();
    assert_eq!(fleet.status, before, "nothing changes while it is idle");
    fleet.fetches("a", 2);
    fleet.advance();
    assert_eq!(fleet.candidates(), [0, 1, 1], "the canary has only fetched it");
    let release = fleet.release(2).unwrap();
    assert_eq!(
        (release.revision.as_deref(), release.source.as_deref()),
        (Some(full(2).as_str()), Some("https://example.com/fleet"))
    );
    assert_eq!(release.progress, "0/4");
    fleet.runs("a", 2);
    fleet.advance();
    assert_eq!(fleet.candidates(), [0, 2, 1]);
    fleet.follow(&["b"], 2);
    assert_eq!(fleet.candidates(), [0, 2, 2]);
    fleet.follow(&["c", "d"], 2);
    assert_eq!(fleet.release(2).unwrap().state, ReleaseState::Completed);
    assert_eq!(fleet.release(1), None, "nobody needs it");
}

#[test]
fn newer_revision_overtakes_one_that_is_still_in_waves() {
    let mut fleet = Fleet::new(json!({}));
    fleet.runs("a", 2);
    fleet.advance();
    // The canary goes on, and its newest revision is not good yet.
    fleet.fetches("a", 3);
    fleet.advance();
    assert_eq!(fleet.candidates()[1], 2, "what it has run stays good");
    fleet.follow(&["b"], 2);
    assert_eq!(fleet.candidates(), [0, 2, 2]);
    fleet.runs("a", 3);
    fleet.advance();
    assert_eq!(fleet.candidates(), [0, 3, 2], "each wave has the newest that the waves before have run");
    fleet.follow(&["b"], 3);
    fleet.follow(&["c", "d"], 3);
    assert_eq!(fleet.release(3).unwrap().state, ReleaseState::Completed);
    assert_eq!(fleet.status.releases.len(), 1);
}

#[test]
fn branch_that_is_set_back_takes_the_later_waves_back() {
    let mut fleet = Fleet::new(json!({}));
    fleet.advance();
    fleet.runs("a", 2);
    fleet.advance();
    assert_eq!(fleet.candidates(), [0, 2, 1]);
    fleet.runs("a", 1);
    fleet.advance();
    assert_eq!(fleet.candidates(), [0, 1, 1]);
}

#[test]
fn sync_that_fails_in_the_first_wave_halts_its_revision_and_a_later_commit_goes_on() {
    let mut fleet = Fleet::new(json!({}));
    fleet.advance();
    fleet.fetches("a", 2);
    fleet.source("a").unhealthy = Some("the GitOps agent: Kustomization flux-system: BuildFailed".into());
    fleet.advance();
    assert_eq!(fleet.candidates(), [0, 1, 1]);
    fleet.now += SignedDuration::from_mins(10);
    fleet.advance();
    let halted = fleet.release(2).unwrap();
    let message = halted.message.as_deref().unwrap_or_default();
    assert!(halted.state == ReleaseState::Halted && message.contains("BuildFailed"), "{halted:?}");
    fleet.runs("a", 3);
    fleet.source("a").unhealthy = None;
    fleet.advance();
    assert_eq!(fleet.candidates(), [0, 3, 1], "the commit that mends it");
    assert_eq!(fleet.release(2), None, "the halt goes with its revision");
    fleet.follow(&["b"], 3);
}

#[test]
fn stalled_cluster_gets_the_commit_that_may_mend_it() {
    let mut fleet = Fleet::new(json!({}));
    fleet.advance();
    fleet.runs("a", 2);
    fleet.advance();
    let since = fleet.now;
    fleet.clusters.get_mut("b").unwrap().stalled = Some(Stalled { since, message: "Timeout: SyncFailed".into() });
    fleet.follow(&["b"], 2);
}

#[test]
fn soak_counts_from_the_revision() {
    let mut fleet = Fleet::new(json!({}));
    fleet.spec.waves[0].soak = "10m".into();
    fleet.advance();
    fleet.now += SignedDuration::from_mins(10);
    fleet.advance();
    assert_eq!(fleet.candidates()[1], 1);
    fleet.runs("a", 2);
    fleet.advance();
    assert_eq!((fleet.candidates()[1], fleet.release(2).unwrap().state), (1, ReleaseState::Soaking));
    fleet.now += SignedDuration::from_mins(10);
    fleet.advance();
    assert_eq!(fleet.candidates()[1], 2);
}

#[test]
fn first_wave_of_a_source_follows_it_also_while_it_is_suspended() {
    let mut fleet = Fleet::new(json!({}));
    let other = SourceKey::of("other");
    fleet.source("c").key = other;
    fleet.clusters.get_mut("a").unwrap().suspended = true;
    fleet.advance();
    let leading: BTreeMap<SourceKey, usize> = fleet.plans.iter().map(|plan| (plan.source, plan.leading)).collect();
    assert_eq!(leading, BTreeMap::from([(main(), 0), (other, 2)]));
}

#[test]
fn cluster_learns_from_the_plan_whether_it_is_held() {
    let mut fleet = Fleet::new(json!({}));
    fleet.advance();
    fleet.runs("a", 2);
    fleet.advance();
    let rollout = Rollout { name: "main", spec: &fleet.spec, status: &fleet.status };
    let rollouts = Rollouts::Listed { readable: vec![rollout], unreadable: Vec::new() };
    let of = |name: &str, rollouts: &Rollouts<'_>, plans: Option<&[SourcePlan]>| {
        let question = Question {
            uid: name,
            labels: &fleet.clusters[name].labels,
            rollout: None,
            request: Request::default(),
            wants: None,
            claim: ClaimedStep::Ongoing,
            has_begun: true,
            rollouts,
            term: 1,
            now: fleet.now,
        };
        follow(&question, (main(), false), |_| plans)
    };
    let plans = Some(fleet.plans.as_slice());
    assert!(matches!(of("a", &rollouts, plans), Follow::Leading(_)));
    let Follow::Held { candidate, newest, first, .. } = of("b", &rollouts, plans) else { panic!("it is held") };
    assert_eq!((candidate.unwrap().revision, newest), (full(2), Some(full(2))));
    assert_eq!(first, FirstRevision::Revision(full(2)));
    let Follow::Held { candidate, .. } = of("c", &rollouts, plans) else { panic!("it is held") };
    assert_eq!(candidate.unwrap().revision, full(1));
    let waits = |follow: Follow| matches!(follow, Follow::Unchanged { first: FirstRevision::Wait(_), .. });
    assert!(waits(of("c", &rollouts, None)), "not decided yet");
    assert!(waits(of("c", &Rollouts::Unlisted, plans)));
    let none = Rollouts::Listed { readable: Vec::new(), unreadable: Vec::new() };
    assert_eq!(of("c", &none, plans), Follow::Freely);
}

#[test]
fn commit_that_no_canary_has_run_does_not_pass_when_the_canary_is_suspended() {
    let mut fleet = Fleet::new(json!({}));
    fleet.advance();
    assert_eq!(fleet.candidates()[1], 1);
    fleet.fetches("a", 2);
    fleet.clusters.get_mut("a").unwrap().suspended = true;
    for _ in 0..4 {
        fleet.now += SignedDuration::from_hours(1);
        fleet.advance();
    }
    assert_eq!(fleet.candidates()[1], 1);
}

#[test]
fn canary_that_is_late_sets_no_other_wave_back() {
    let mut fleet = Fleet::new(json!({}));
    let second = Member { uid: "e".into(), name: "team/e".into(), ..fleet.clusters["a"].clone() };
    fleet.clusters.insert("e", second);
    fleet.advance();
    fleet.clusters.get_mut("e").unwrap().suspended = true;
    fleet.runs("a", 2);
    fleet.advance();
    assert_eq!(fleet.candidates()[1], 2);
    fleet.fetches("a", 3);
    fleet.advance();
    assert_eq!(fleet.candidates()[1], 2, "not 1, which the suspended one still has");
    // All that follow the branch are back at an earlier commit.
    fleet.runs("a", 1);
    fleet.advance();
    assert_eq!(fleet.candidates()[1], 1);
}
