//! A simulated fleet, for tests: an API server with resourceVersions, two operators whose caches lag, clusters that take
//! time and fail, and people who change everything. It verifies the rules at every write. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::world_checks as checks;
use super::world_objects::{ClusterObject, Operator, RolloutObject, Truth, agent_version, member, request, v};
use super::world_rules as rules;
use super::*;
use crate::api::fleet_rollout::{FleetRolloutSpec, Gate};
use crate::api::fleet_rollout_status::FleetRolloutStatus;

/// A write that the API server receives late.
enum LateWrite {
    Rollout(u64, FleetRolloutStatus),
    Cluster(String, u64, Lane, Request),
}

pub struct World {
    pub now: Timestamp,
    pub rollout: RolloutObject,
    pub clusters: BTreeMap<String, ClusterObject>,
    pub truth: BTreeMap<String, Truth>,
    pub operators: [Operator; 2],
    pub leader: usize,
    pub faults: bool,
    pub log: Vec<String>,
    /// Every run of a check that was delivered.
    pub runs: Vec<CheckRun>,
    /// Runs of each operator that have not ended.
    pub running: [Vec<CheckRun>; 2],
    seed: u64,
    versions: u64,
    late: Vec<LateWrite>,
}

type Checked = Result<(), String>;

impl World {
    pub fn new(spec: FleetRolloutSpec, rings: &[u8], base: u16, seed: u64) -> Self {
        let now: Timestamp = "2026-11-22T03:00:00Z".parse().unwrap();
        let status = FleetRolloutStatus::default();
        let rollout = RolloutObject { version: 1, spec, status, approve: None, retry: None, promote: None };
        let operator = Operator { term: 0, rollout: rollout.clone(), clusters: BTreeMap::new(), results: Vec::new() };
        let operators = [operator.clone(), operator];
        let (clusters, truth) = (BTreeMap::new(), BTreeMap::new());
        let mut world = Self {
            now,
            rollout,
            clusters,
            truth,
            operators,
            leader: 0,
            faults: true,
            log: Vec::new(),
            runs: Vec::new(),
            running: [Vec::new(), Vec::new()],
            seed,
            versions: 1,
            late: Vec::new(),
        };
        for ring in rings {
            world.join(*ring, base);
        }
        for operator in 0..2 {
            world.restart(operator);
        }
        world
    }

    /// 0 to 255, from a linear congruential generator.
    pub fn roll(&mut self) -> u8 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.seed.to_be_bytes()[0]
    }

    pub fn chance(&mut self, of_256: u8) -> bool {
        self.faults && self.roll() < of_256
    }

    fn next_version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    /// The UID of some cluster.
    pub fn any_cluster(&mut self) -> Option<String> {
        let at = usize::from(self.roll());
        let uids: Vec<String> = self.clusters.keys().cloned().collect();
        (!uids.is_empty()).then(|| uids[at % uids.len()].clone())
    }

    pub fn join(&mut self, ring: u8, at: u16) {
        let version = self.next_version();
        let uid = format!("uid-{version}");
        // Every fourth has none, or Git manages it.
        let installed = (!version.is_multiple_of(4)).then(|| agent_version(0));
        let agent = installed.map(|at| AgentState { at, wanted: at, unhealthy: None });
        let member = Member { agent, ..member(&uid, &format!("team/{version}"), &ring.to_string(), v(at), self.now) };
        let truth = Truth {
            control_plane: v(at),
            node_groups: v(at),
            agent: installed,
            running: None,
            agent_running: None,
            healthy_since: Some(self.now),
            last_unhealthy: self.now,
            stalled: None,
            window_closed: false,
            condition_since: Some(self.now),
        };
        self.log.push(format!("{uid} joins ring {ring}"));
        self.truth.insert(uid.clone(), truth);
        self.clusters.insert(uid, ClusterObject { version, member });
    }

    pub fn remove(&mut self, uid: &str) {
        self.log.push(format!("{uid} is gone"));
        self.clusters.remove(uid);
        self.truth.remove(uid);
    }

    /// A user, or the cluster's status, changes an EksCluster.
    pub fn change(&mut self, uid: &str, change: impl FnOnce(&mut Member)) {
        let version = self.next_version();
        if let Some(cluster) = self.clusters.get_mut(uid) {
            let before = cluster.member.clone();
            change(&mut cluster.member);
            if cluster.member != before {
                cluster.version = version;
            }
        }
    }

    pub fn change_rollout(&mut self, change: impl FnOnce(&mut RolloutObject)) {
        self.rollout.version = self.next_version();
        change(&mut self.rollout);
    }

    /// A process starts: it lists everything.
    pub fn restart(&mut self, operator: usize) {
        let term = i64::try_from(self.next_version()).unwrap() * 10_000;
        let (rollout, clusters) = (self.rollout.clone(), self.clusters.clone());
        self.operators[operator] = Operator { term, rollout, clusters, results: Vec::new() };
        self.running[operator].clear();
    }

    pub fn hand_over(&mut self) {
        self.leader = 1 - self.leader;
        self.log.push(format!("operator {} leads", self.leader));
        self.restart(self.leader);
    }

    /// The leader's watches deliver some changes, each object on its own.
    pub fn sync(&mut self) {
        let leader = self.leader;
        if !self.chance(100) {
            self.operators[leader].rollout = self.rollout.clone();
        }
        let known: BTreeSet<String> =
            self.clusters.keys().chain(self.operators[leader].clusters.keys()).cloned().collect();
        for uid in known {
            if self.chance(100) {
                continue;
            }
            match self.clusters.get(&uid) {
                Some(cluster) => drop(self.operators[leader].clusters.insert(uid, cluster.clone())),
                None => drop(self.operators[leader].clusters.remove(&uid)),
            }
        }
    }

    /// An operator advances the rollout, by what it has read.
    pub fn advance_rollout(&mut self, operator: usize) -> Checked {
        let view = self.operators[operator].clone();
        let outcome = rules::advance_by(&view, self.now);
        checks::begin(self, operator, &outcome.due);
        if outcome.status == view.rollout.status {
            return Ok(());
        }
        self.log.push(format!("operator {operator} writes the rollout"));
        if view.rollout.version == self.rollout.version {
            rules::check_given(self, &view, &outcome.status)?;
        }
        if self.chance(30) {
            self.restart_if_leading(operator);
            return Ok(());
        }
        if self.chance(30) {
            self.late.push(LateWrite::Rollout(view.rollout.version, outcome.status));
            return Ok(());
        }
        let stored = self.store_rollout(view.rollout.version, outcome.status)?;
        if self.chance(30) {
            self.restart_if_leading(operator);
        } else if stored && !self.chance(60) {
            self.operators[operator].rollout = self.rollout.clone();
        }
        Ok(())
    }

    fn restart_if_leading(&mut self, operator: usize) {
        if operator == self.leader {
            self.restart(operator);
        }
    }

    fn store_rollout(&mut self, version: u64, status: FleetRolloutStatus) -> Result<bool, String> {
        if version != self.rollout.version {
            return Ok(false);
        }
        rules::check_tickets(self, &status)?;
        self.rollout.version = self.next_version();
        self.rollout.status = status;
        Ok(true)
    }

    /// An operator reconciles a cluster: AWS as it is, the objects as it has read them.
    pub fn reconcile(&mut self, operator: usize, uid: &str) -> Checked {
        for lane in [Lane::Kubernetes, Lane::Agent] {
            self.reconcile_lane(operator, uid, lane)?;
        }
        Ok(())
    }

    fn reconcile_lane(&mut self, operator: usize, uid: &str, lane: Lane) -> Checked {
        let view = self.operators[operator].clone();
        let (Some(cluster), Some(truth)) = (view.clusters.get(uid), self.truth.get(uid).cloned()) else {
            return Ok(());
        };
        let cluster_view = cluster.member.clone();
        if cluster.member.suspended || cluster.member.deleting {
            return Ok(());
        }
        let wants = rules::wants(&cluster.member, &truth, lane);
        let reply = rules::ask_by(&view, cluster, &truth, (lane, wants), self.now);
        if reply.request != *request(&cluster.member, lane) {
            if self.chance(20) {
                self.restart_if_leading(operator);
                return Ok(());
            }
            if self.chance(20) {
                self.late.push(LateWrite::Cluster(uid.to_owned(), cluster.version, lane, reply.request));
                // It may be stored later: nothing begins before another write is.
                self.operators[operator].term += 1;
                return Ok(());
            }
            self.log.push(format!("operator {operator}: {uid} says {:?}", reply.request));
            let stored = self.store_request(uid, cluster.version, lane, reply.request)?;
            if !stored || self.chance(30) {
                self.restart_if_leading(operator);
                return Ok(());
            }
            if let Some(stored) = self.clusters.get(uid) {
                self.operators[operator].clusters.insert(uid.to_owned(), stored.clone());
            }
        }
        let may_begin = match reply.answer {
            Answer::Free | Answer::Claims => wants,
            Answer::Held(_) => None,
        };
        // Only the leader may write to AWS.
        if let Some(step) = may_begin.filter(|_| operator == self.leader && truth.running(lane).is_none()) {
            self.log.push(format!("{uid} begins {step}"));
            rules::check_begins(self, &view, &cluster_view, step)?;
            let now = self.now;
            if let Some(truth) = self.truth.get_mut(uid) {
                *truth.running_mut(lane) = Some(step);
                (truth.healthy_since, truth.last_unhealthy) = (None, now);
            }
        }
        self.publish(uid);
        Ok(())
    }

    fn store_request(&mut self, uid: &str, version: u64, lane: Lane, new: Request) -> Result<bool, String> {
        let Some(cluster) = self.clusters.get(uid).filter(|cluster| cluster.version == version) else {
            return Ok(false);
        };
        if new.claimed.is_some() && new.claimed != request(&cluster.member, lane).claimed {
            rules::check_claims(self, uid, &new)?;
        }
        self.change(uid, |member| match lane {
            Lane::Kubernetes => member.request = new,
            Lane::Agent => member.agent_request = new,
            Lane::Revision => member.revision_request = new,
        });
        Ok(true)
    }

    /// The status of a cluster reports AWS.
    fn publish(&mut self, uid: &str) {
        let Some(truth) = self.truth.get(uid).cloned() else { return };
        self.change(uid, |member| {
            (member.control_plane, member.node_groups) = (Some(truth.control_plane), Some(truth.node_groups));
            if let (Some(agent), Some(at)) = (&mut member.agent, truth.agent) {
                agent.at = at;
            }
            member.health = match truth.healthy_since {
                Some(since) => Health::Since(since),
                None => Health::Unhealthy("not ACTIVE".to_owned()),
            };
            member.stalled = truth.stalled.map(|since| Stalled { since, message: "PodEvictionFailure".to_owned() });
        });
    }

    /// Time passes: steps end, fail or recover.
    pub fn pass_time(&mut self) -> Checked {
        let seconds = 60 + i64::from(self.roll() % 60);
        self.now += SignedDuration::from_secs(seconds);
        for uid in self.truth.keys().cloned().collect::<Vec<_>>() {
            let (ends, fails, recovers, hurts) =
                (self.roll() < 120, self.chance(20), self.roll() < 120, self.chance(8));
            let (now, closes) = (self.now, self.chance(40));
            let (turns_bad, turns_good) = (self.chance(10), self.roll() < 120);
            let Some(truth) = self.truth.get_mut(&uid) else { continue };
            truth.window_closed = closes;
            truth.condition_since = match truth.condition_since {
                Some(_) if turns_bad => None,
                None if turns_good => Some(now),
                since => since,
            };
            let in_progress = truth.running.or(truth.agent_running);
            match in_progress {
                Some(_) if fails => truth.stalled = Some(now),
                Some(step) if ends => {
                    match step.target {
                        Target::Kubernetes(to) if step.gate == Gate::ControlPlane => truth.control_plane = to,
                        Target::Kubernetes(to) => truth.node_groups = to,
                        Target::Agent(to) => truth.agent = Some(to),
                        Target::Revision(_) => {}
                    }
                    *truth.running_mut(Lane::of(step.gate)) = None;
                    truth.stalled = None;
                }
                Some(_) => {}
                None if truth.healthy_since.is_none() && recovers => truth.healthy_since = Some(now),
                None if hurts => truth.healthy_since = None,
                None => {}
            }
            if truth.healthy_since.is_none() {
                truth.last_unhealthy = now;
            }
        }
        checks::deliver(self);
        while self.roll() < 100 {
            match self.late.pop() {
                Some(LateWrite::Rollout(version, status)) => drop(self.store_rollout(version, status)?),
                Some(LateWrite::Cluster(uid, version, lane, request)) => {
                    self.store_request(&uid, version, lane, request)?;
                }
                None => break,
            }
        }
        Ok(())
    }
}
