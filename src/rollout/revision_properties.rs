//! Properties of the gate `Revision`: random commits, good and bad ones, clusters that fetch and apply them late and see the status of
//! their rollout late, and leaders that have decided nothing yet. Here one leader writes, and every write is stored: lost and late ones are
//! in [`super::world`], for the other gates, and `e2e/tests/test_rollout_lanes_crash.py` kills at each.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::world_objects::member;
use super::*;
use crate::api::fleet_rollout::{FleetRolloutSpec, Gate};
use crate::api::fleet_rollout_status::FleetRolloutStatus;

/// More rounds than any case needs.
const BOUND: u32 = 1500;

fn source() -> SourceKey {
    SourceKey::of("main")
}

fn full(commit: u32) -> String {
    format!("main@sha1:{commit:012x}{:028x}", 0)
}

fn revision(commit: u32) -> Revision {
    Revision::new(source(), &full(commit)).unwrap()
}

fn number(revision: &str) -> u32 {
    let digest = &revision["main@sha1:".len()..];
    u32::from_str_radix(&digest[..12], 16).unwrap()
}

/// A cluster, as it is.
struct Truth {
    ring: usize,
    joined_at: Timestamp,
    /// What status records; `None`: it follows the branch.
    held: Option<u32>,
    /// Whether its agent is installed.
    installed: bool,
    /// All that it has run.
    ran: BTreeSet<u32>,
}

struct World {
    now: Timestamp,
    seed: u64,
    spec: FleetRolloutSpec,
    status: FleetRolloutStatus,
    /// What clusters see.
    late_status: FleetRolloutStatus,
    plans: Option<Vec<SourcePlan>>,
    clusters: BTreeMap<String, (Member, Truth)>,
    commits: Vec<bool>,
    retry: Option<String>,
    joined: usize,
    max_concurrent: usize,
}

impl World {
    fn join(&mut self, ring: usize) {
        self.joined += 1;
        let uid = format!("uid-{:04}", self.joined);
        let of = member(&uid, &format!("team/{uid}"), &ring.to_string(), "1.36".parse().unwrap(), self.now);
        let (url, key) = (String::new(), source());
        let state = SourceState { key, url, fetched: None, applied: None, runs: None, held: false, unhealthy: None };
        let truth = Truth { ring, joined_at: self.now, held: None, installed: false, ran: BTreeSet::new() };
        self.clusters.insert(uid, (Member { source: Some(state), ..of }, truth));
    }

    fn roll(&mut self) -> u8 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.seed.to_be_bytes()[0]
    }

    fn head(&self) -> u32 {
        u32::try_from(self.commits.len()).unwrap() - 1
    }

    fn advance(&mut self) -> Result<(), String> {
        let rollout = Rollout { name: "main", spec: &self.spec, status: &self.status };
        let clusters: Vec<Member> = self.clusters.values().map(|(member, _)| member.clone()).collect();
        let outcome = advance(&super::Input {
            name: "main",
            spec: &self.spec,
            status: &self.status,
            annotations: Annotations { retry: self.retry.as_deref(), ..Annotations::default() },
            rollouts: &Rollouts::Listed { readable: vec![rollout], unreadable: Vec::new() },
            clusters: &clusters,
            unreadable: &BTreeSet::new(),
            results: &[],
            now: self.now,
        });
        self.status = outcome.status;
        self.plans = outcome.plans;
        for wave in &self.spec.waves {
            let tickets = self.status.releases.iter().flat_map(|release| &release.tickets);
            if tickets.filter(|ticket| ticket.wave == wave.name).count() > self.max_concurrent {
                return Err(format!("too many tickets in wave {}", wave.name));
            }
        }
        Ok(())
    }

    /// The source fetches and the agent applies, each now or later.
    fn sync(&mut self, uid: &str) {
        let (head, fetches, applies) = (self.head(), self.roll() < 150, self.roll() < 150);
        let Some((member, truth)) = self.clusters.get_mut(uid).filter(|(_, truth)| truth.installed) else { return };
        let source = member.source.as_mut().unwrap();
        if fetches {
            source.fetched = Some(full(truth.held.unwrap_or(head)));
        }
        let fetched = source.fetched.as_deref().map(number);
        if let Some(commit) = fetched.filter(|_| applies) {
            let is_good = self.commits[commit as usize];
            source.runs = is_good.then(|| revision(commit));
            source.unhealthy = (!is_good).then(|| "BuildFailed".to_owned());
            if is_good {
                source.applied = Some(revision(commit));
                truth.ran.insert(commit);
            }
        }
    }

    fn reconcile(&mut self, uid: &str) -> Result<(), String> {
        let (member, _) = &self.clusters[uid];
        let (member, labels) = (member.clone(), member.labels.clone());
        let rollout = Rollout { name: "main", spec: &self.spec, status: &self.late_status };
        let rollouts = Rollouts::Listed { readable: vec![rollout], unreadable: Vec::new() };
        let question = |request, wants, claim| Question {
            uid,
            labels: &labels,
            rollout: None,
            request,
            wants,
            claim,
            has_begun: true,
            rollouts: &rollouts,
            term: 1,
            now: self.now,
        };
        let plain = question(Request::default(), None, ClaimedStep::Ongoing);
        let is_held = self.clusters[uid].1.held.is_some();
        let follow = follow(&plain, (source(), is_held), |_| self.plans.as_deref());
        let runs = member.source.as_ref().unwrap().runs;
        // A record counts only once there is an agent.
        let is_new = !self.clusters[uid].1.installed;
        let held = self.clusters[uid].1.held.filter(|_| !is_new);
        let first = match &follow {
            Follow::Held { first, .. } | Follow::Unchanged { first, .. } => Some(first),
            Follow::Freely | Follow::Leading(_) => None,
        };
        if is_new && let Some(FirstRevision::Revision(first)) = first {
            self.check_first(uid, first)?;
        }
        let first = match first {
            Some(FirstRevision::Revision(first)) => Some(number(first)),
            Some(FirstRevision::Wait(_)) if is_new => {
                self.record(uid, None);
                return Ok(());
            }
            Some(FirstRevision::Wait(_)) | None => None,
        };
        let candidate = match &follow {
            Follow::Held { candidate, .. } => candidate.clone(),
            Follow::Unchanged { .. } => {
                if is_new {
                    self.install(uid, first);
                }
                return Ok(());
            }
            Follow::Freely | Follow::Leading(_) => None,
        };
        let present = held.or_else(|| self.clusters[uid].1.ran.last().copied()).or(first);
        let wants = candidate
            .as_ref()
            .map(|one| one.step)
            .filter(|step| present.is_none_or(|present| Target::Revision(revision(present)) != step.target));
        let claim = member.revision_request.claimed.map(|claimed| {
            let is_wanted = candidate.as_ref().is_some_and(|one| one.step == claimed.step);
            let is_reached = runs.map(Target::Revision) == Some(claimed.step.target);
            let is_allowed = held.map(|held| Target::Revision(revision(held))) == Some(claimed.step.target);
            ClaimedStep::of(ClaimFacts {
                is_reached,
                is_healthy: is_reached,
                is_in_progress: !is_reached && is_wanted && is_allowed,
                is_wanted,
                is_held: false,
            })
        });
        let reply = ask::ask(&question(member.revision_request, wants, claim.unwrap_or(ClaimedStep::Ongoing)));
        let allowed = match (&follow, wants, &reply.answer) {
            (Follow::Held { .. }, Some(_), Answer::Free | Answer::Claims) => {
                candidate.as_ref().map(|one| number(&one.revision))
            }
            (Follow::Held { .. }, _, _) => present,
            _ => None,
        };
        // The first time it is held at what it runs.
        if allowed != held && allowed != present {
            self.check(uid, allowed)?;
        }
        if let Some(begins) = allowed.filter(|_| is_new && allowed == present) {
            self.check_first(uid, &full(begins))?;
        }
        self.clusters.get_mut(uid).unwrap().0.revision_request = reply.request;
        self.install(uid, allowed);
        Ok(())
    }

    fn record(&mut self, uid: &str, held: Option<u32>) {
        let (member, truth) = self.clusters.get_mut(uid).unwrap();
        truth.held = held;
        member.source.as_mut().unwrap().held = held.is_some();
    }

    /// It is decided several times before the control plane exists, and the agent is installed.
    fn install(&mut self, uid: &str, held: Option<u32>) {
        let exists = self.roll() < 80;
        self.record(uid, held);
        self.clusters.get_mut(uid).unwrap().1.installed |= exists;
    }

    /// A new cluster begins with nothing that has halted.
    fn check_first(&self, uid: &str, first: &str) -> Result<(), String> {
        let target = revision(number(first)).to_string();
        let mut halted = self.status.releases.iter().filter(|release| release.halt.is_some());
        match halted.find(|release| release.target == target) {
            Some(release) => Err(format!("{uid} begins with {first}, which has halted: {:?}", release.halt)),
            None => Ok(()),
        }
    }

    /// All clusters of all waves before have run what this one gets.
    fn check(&self, uid: &str, allowed: Option<u32>) -> Result<(), String> {
        let Some(allowed) = allowed else { return Ok(()) };
        let own = self.clusters[uid].1.ring;
        let target = revision(allowed).to_string();
        let release = self.status.releases.iter().find(|release| release.target == target);
        let since = release.map_or(Timestamp::MIN, |release| release.since.0);
        // A wave that has run it stays good when others join.
        let before = self.clusters.values().filter(|(_, truth)| truth.ring < own && truth.joined_at < since);
        for (member, truth) in before {
            if !truth.ran.contains(&allowed) {
                return Err(format!("{uid} gets {allowed}, which {} has never run: {:?}", member.uid, truth.ran));
            }
        }
        Ok(())
    }

    fn round(&mut self) -> Result<(), String> {
        self.now += SignedDuration::from_secs(30);
        self.advance()?;
        if self.roll() < 150 {
            self.late_status = self.status.clone();
        }
        if self.roll() < 10 {
            // A new leader has decided nothing yet.
            self.plans = None;
        }
        for uid in self.clusters.keys().cloned().collect::<Vec<_>>() {
            if self.roll() < 200 {
                self.reconcile(&uid)?;
            }
            self.sync(&uid);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_revision_skips_a_wave_and_the_newest_good_one_arrives(
        rings in proptest::collection::vec(0usize..3, 1..7),
        seed in any::<u64>(),
        turmoil in 10u32..150,
        soak in prop_oneof![Just("0s"), Just("2m")],
        max_concurrent in 1usize..3,
    ) {
        let wave = |ring: usize| json!({
            "name": format!("wave-{ring}"), "selector": {"matchLabels": {"ring": ring.to_string()}}, "soak": soak, "progressDeadline": "1h",
            "maxConcurrent": max_concurrent,
        });
        let spec = json!({"clusterSelector": {}, "gates": ["Revision"], "waves": [wave(0), wave(1), wave(2)]});
        let mut world = World {
            now: "2026-11-28T00:00:00Z".parse().unwrap(),
            seed,
            spec: serde_json::from_value(spec).unwrap(),
            status: FleetRolloutStatus::default(),
            late_status: FleetRolloutStatus::default(),
            plans: None,
            clusters: BTreeMap::new(),
            commits: vec![true],
            retry: None,
            joined: 0,
            max_concurrent,
        };
        for ring in rings {
            world.join(ring);
        }
        for _ in 0..turmoil {
            if world.roll() < 40 {
                let is_good = world.roll() < 160;
                world.commits.push(is_good);
            }
            if world.roll() < 4 && world.clusters.len() > 1 {
                world.clusters.pop_first();
            }
            if world.roll() < 6 {
                let ring = usize::from(world.roll() % 3);
                world.join(ring);
            }
            world.round().map_err(TestCaseError::fail)?;
        }
        world.commits.push(true);
        // One that the first wave has lost comes back.
        world.join(0);
        let head = world.head();
        let has_arrived = |world: &World| {
            world.clusters.values().all(|(member, _)| member.source.as_ref().unwrap().runs == Some(revision(head)))
        };
        let mut rounds = 0;
        while !has_arrived(&world) && rounds < BOUND {
            let halted = world.status.releases.iter().find(|release| release.halt.is_some());
            world.retry = halted.map(|release| format!("{}/{rounds}", release.target)).or(world.retry);
            world.round().map_err(TestCaseError::fail)?;
            rounds += 1;
        }
        prop_assert!(has_arrived(&world), "it does not end: {:#?}", world.status.releases);
    }
}

/// The gate of these steps.
#[test]
fn steps_of_revisions_are_of_their_gate() {
    let step = Step::of(Gate::Revision, &revision(7).to_string()).unwrap();
    assert_eq!(step.target, Target::Revision(revision(7)));
    assert_eq!(number(&full(7)), 7);
}
