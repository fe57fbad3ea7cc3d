//! What must hold at every write of the simulated fleet, judged without the code that decides. No I/O.

use jiff::{SignedDuration, Timestamp};

use super::advance::Outcome;
use super::ask::Reply;
use super::world::World;
use super::world_objects::{ClusterObject, Operator, Truth, request};
use super::*;
use crate::api::KubernetesVersion;
use crate::api::fleet_rollout::{
    FleetRolloutSpec, Gate, NotAskedPolicy, Share, UNMATCHED_WAVE, UnmatchedPolicy, Wave,
};
use crate::api::fleet_rollout_status::{FleetRolloutStatus, ReleaseStatus};

type Checked = Result<(), String>;

fn rollouts(view: &Operator) -> Rollouts<'_> {
    let rollout = Rollout { name: "main", spec: &view.rollout.spec, status: &view.rollout.status };
    Rollouts::Listed { readable: vec![rollout], unreadable: Vec::new() }
}

pub fn advance_by(view: &Operator, now: Timestamp) -> Outcome {
    let clusters: Vec<Member> = view.clusters.values().map(|cluster| cluster.member.clone()).collect();
    advance(&Input {
        name: "main",
        spec: &view.rollout.spec,
        status: &view.rollout.status,
        annotations: Annotations {
            approve: view.rollout.approve.as_deref(),
            retry: view.rollout.retry.as_deref(),
            promote: view.rollout.promote.as_deref(),
        },
        rollouts: &rollouts(view),
        clusters: &clusters,
        unreadable: &std::collections::BTreeSet::new(),
        results: &view.results,
        now,
    })
}

/// Control planes go one minor at a time, and node groups follow before the next one. An agent goes to its version at once.
pub fn wants(member: &Member, truth: &Truth, lane: Lane) -> Option<Step> {
    let is_held = truth.window_closed || truth.running(lane).is_some();
    let step = if lane == Lane::Agent {
        let wanted = member.agent.as_ref().map(|agent| agent.wanted);
        let target = wanted.filter(|wanted| truth.agent.is_some_and(|at| at < *wanted)).map(Target::Agent);
        target.map(|target| Step { gate: Gate::Agent, target })
    } else if truth.node_groups < truth.control_plane {
        Some(Step { gate: Gate::NodeGroups, target: truth.control_plane.into() })
    } else {
        let to = truth.control_plane.next();
        (to <= member.wanted).then_some(Step { gate: Gate::ControlPlane, target: to.into() })
    };
    step.filter(|_| !is_held)
}

/// Whether a version is at least that of the step.
fn is_reached(step: Step, kubernetes: (KubernetesVersion, KubernetesVersion), agent: Option<AgentVersion>) -> bool {
    match (step.gate, step.target) {
        (Gate::ControlPlane, Target::Kubernetes(target)) => kubernetes.0 >= target,
        (_, Target::Kubernetes(target)) => kubernetes.1 >= target,
        (_, Target::Agent(target)) => agent.is_some_and(|at| at >= target),
        (_, Target::Revision(_)) => false,
    }
}

pub fn ask_by(
    view: &Operator,
    cluster: &ClusterObject,
    truth: &Truth,
    (lane, wants): (Lane, Option<Step>),
    now: Timestamp,
) -> Reply {
    let member = &cluster.member;
    let claim = request(member, lane).claimed.map(|claimed| {
        let wanted = member.agent.as_ref().map(|agent| agent.wanted);
        ClaimedStep::of(ClaimFacts {
            is_reached: is_reached(claimed.step, (truth.control_plane, truth.node_groups), truth.agent),
            is_healthy: truth.healthy_since.is_some(),
            is_in_progress: truth.running(lane).is_some(),
            // Another version of an agent is another step.
            is_wanted: match claimed.step.target {
                Target::Agent(target) => wanted == Some(target),
                _ => is_reached(claimed.step, (member.wanted, member.wanted), wanted),
            },
            is_held: truth.window_closed,
        })
    });
    ask(&Question {
        uid: &member.uid,
        labels: &member.labels,
        rollout: None,
        request: *request(member, lane),
        wants,
        claim: claim.unwrap_or(ClaimedStep::Ongoing),
        has_begun: true,
        rollouts: &rollouts(view),
        term: view.term,
        now,
    })
}

/// How many clusters of a wave with so many members may have a ticket. One that has failed, and is tolerated, keeps its own beside those
/// of the others.
fn limit(wave: &Wave, members: usize) -> usize {
    let share = match &wave.max_concurrent {
        Share::Number(number) => usize::try_from(*number).unwrap(),
        Share::Percentage(text) => (members * text.trim_end_matches('%').parse::<usize>().unwrap() / 100).max(1),
    };
    share + usize::try_from(wave.max_failed).unwrap()
}

/// The waves that count, by name, with their limits. A share counts when a ticket is given ([`check_given`]): members that leave later
/// take no ticket from the others.
fn limits(spec: &FleetRolloutSpec) -> Vec<(&str, usize)> {
    let of = |wave: &Wave| match wave.max_concurrent {
        Share::Number(_) => limit(wave, 0),
        Share::Percentage(_) => usize::MAX,
    };
    let unmatched = (spec.unmatched == UnmatchedPolicy::Last).then_some((UNMATCHED_WAVE, 1));
    spec.waves.iter().map(|wave| (wave.name.as_str(), of(wave))).chain(unmatched).collect()
}

/// The wave of a cluster: the first one that selects it.
fn own_wave<'a>(spec: &'a FleetRolloutSpec, member: &Member) -> Option<&'a Wave> {
    let ring = member.labels.get("ring");
    spec.waves.iter().find(|wave| wave.selector.match_labels.get("ring").is_none_or(|selected| Some(selected) == ring))
}

fn tickets(status: &FleetRolloutStatus) -> Vec<(String, String, String)> {
    let of = |release: &ReleaseStatus| {
        let all = release.tickets.iter().map(|one| (one.uid.clone(), one.id.clone(), one.wave.clone()));
        all.collect::<Vec<_>>()
    };
    status.releases.iter().flat_map(of).collect()
}

/// Tickets never exceed the limit, and none is taken back that a cluster still has.
pub fn check_tickets(world: &World, next: &FleetRolloutStatus) -> Checked {
    let (before, after) = (tickets(&world.rollout.status), tickets(next));
    for (wave, most) in limits(&world.rollout.spec) {
        let count = |all: &[(String, String, String)]| all.iter().filter(|(_, _, name)| *name == wave).count();
        if count(&after) > most.max(count(&before)) {
            return Err(format!("{} tickets in wave {wave}", count(&after)));
        }
    }
    for (uid, id, _) in before.iter().filter(|one| !after.contains(one)) {
        let Some(cluster) = world.clusters.get(uid) else { continue };
        for request in Lane::ALL.map(|lane| request(&cluster.member, lane)) {
            let has = [request.claimed, request.asks].iter().flatten().any(|has| has.to_string() == *id);
            if has && !(cluster.member.deleting && request.claimed.is_none_or(|claimed| claimed.to_string() != *id)) {
                return Err(format!("the ticket {id} of {uid} is taken back, and it says {request:?}"));
            }
        }
    }
    Ok(())
}

/// A cluster claims only a ticket that exists.
pub fn check_claims(world: &World, uid: &str, request: &Request) -> Checked {
    let Some(claimed) = request.claimed else { return Ok(()) };
    let exists = tickets(&world.rollout.status).iter().any(|(of, id, _)| of == uid && *id == claimed.to_string());
    if exists { Ok(()) } else { Err(format!("{uid} claims {claimed}, which is no ticket")) }
}

/// A cluster begins only what it has claimed, and never more of them at the same time than the limit.
pub fn check_begins(world: &World, view: &Operator, member: &Member, step: Step) -> Checked {
    let spec = &view.rollout.spec;
    let ring = member.labels.get("ring");
    let is_matched = spec.waves.iter().any(|wave| wave.selector.match_labels.get("ring") == ring);
    let is_gated = spec.gates.contains(&step.gate) && (is_matched || spec.unmatched != UnmatchedPolicy::Ungated);
    let lane = Lane::of(step.gate);
    let claimed = world.clusters.get(&member.uid).and_then(|cluster| request(&cluster.member, lane).claimed);
    let has_ticket = claimed.is_some_and(|claimed| {
        tickets(&world.rollout.status).iter().any(|(uid, id, _)| *uid == member.uid && *id == claimed.to_string())
    });
    if is_gated && world.clusters.contains_key(&member.uid) && !has_ticket {
        return Err(format!("{} begins {step} without a ticket, and has claimed {claimed:?}", member.uid));
    }
    for (wave, most) in limits(&world.rollout.spec) {
        let running = tickets(&world.rollout.status)
            .into_iter()
            .filter(|(of, _, name)| *name == wave && world.truth.get(of).is_some_and(Truth::is_running));
        if running.count() > most {
            return Err(format!("too many clusters of wave {wave} are in progress"));
        }
    }
    Ok(())
}

/// New tickets are only for open waves, and waves pass only if they have been good, as far as the writer could see.
pub fn check_given(world: &World, view: &Operator, next: &FleetRolloutStatus) -> Checked {
    let before = tickets(&view.rollout.status);
    let after = tickets(next);
    for wave in &view.rollout.spec.waves {
        let of_wave = || after.iter().filter(|(_, _, name)| *name == wave.name);
        let is_own = |member: &Member| own_wave(&view.rollout.spec, member).is_some_and(|own| own.name == wave.name);
        let members = view.clusters.values().filter(|cluster| is_own(&cluster.member)).count();
        if of_wave().any(|ticket| !before.contains(ticket)) && of_wave().count() > limit(wave, members) {
            return Err(format!("{} tickets in wave {} with {members} members", of_wave().count(), wave.name));
        }
    }
    for release in &next.releases {
        let step = Step::of(release.gate, &release.target).unwrap();
        let given =
            release.tickets.iter().find(|one| !before.contains(&(one.uid.clone(), one.id.clone(), one.wave.clone())));
        if let Some(given) = given {
            let halted = next.releases.iter().any(|other| {
                let halted = Step::of(other.gate, &other.target).unwrap();
                let is_later = matches!((halted.target, step.target), (Target::Kubernetes(at), Target::Kubernetes(to)) if at <= to);
                other.halt.is_some() && (is_later || halted == step)
            });
            if halted || view.rollout.spec.suspend {
                return Err(format!("{} may begin {step}, which has halted or is suspended", given.uid));
            }
            for wave in view.rollout.spec.waves.iter().take_while(|wave| wave.name != given.wave) {
                let promoted = release.waves.iter().any(|one| one.name == wave.name && one.promoted_at.is_some());
                if !promoted {
                    is_good(world, view, wave, release, false)
                        .map_err(|why| format!("{} may begin before wave {}: {why}", given.uid, wave.name))?;
                }
            }
        }
        for wave in release.waves.iter().filter(|wave| wave.passed_at.is_some()) {
            let old = view
                .rollout
                .status
                .releases
                .iter()
                .find(|one| one.gate == release.gate && one.target == release.target);
            let had =
                old.is_some_and(|old| old.waves.iter().any(|one| one.name == wave.name && one.passed_at.is_some()));
            let policy = view.rollout.spec.waves.iter().find(|one| one.name == wave.name);
            if let Some(policy) = policy.filter(|_| !had) {
                is_good(world, view, policy, release, true)
                    .and_then(|()| super::world_checks::were_good(world, view, policy, step))
                    .map_err(|why| format!("wave {} has passed: {why}", wave.name))?;
            }
        }
    }
    Ok(())
}

/// Whether all clusters of a wave have the version of the release that is written, and are healthy; `soaked`: throughout the soak, in
/// truth.
fn is_good(world: &World, view: &Operator, wave: &Wave, release: &ReleaseStatus, soaked: bool) -> Checked {
    let step = Step { gate: release.gate, target: release.target.parse().unwrap() };
    let soak = crate::api::duration::parse(&wave.soak).unwrap();
    let soak = SignedDuration::try_from(soak).unwrap();
    let spec = &view.rollout.spec;
    let mut bad = 0;
    let mut why = String::new();
    for cluster in view.clusters.values() {
        let member = &cluster.member;
        let is_own = own_wave(spec, member).is_some_and(|own| own.name == wave.name);
        // One that is suspended and has returned its ticket has left.
        let has_ticket = release.tickets.iter().any(|ticket| ticket.uid == member.uid);
        if !is_own || member.deleting || (member.suspended && !has_ticket) {
            continue;
        }
        if step.gate == Gate::Agent && member.agent.is_none() {
            continue;
        }
        let kubernetes = (member.control_plane.unwrap(), member.node_groups.unwrap());
        let has_version = is_reached(step, kubernetes, member.agent.as_ref().map(|agent| agent.at));
        let wanted = member.agent.as_ref().map(|agent| agent.wanted);
        let is_asked = is_reached(step, (member.wanted, member.wanted), wanted);
        if !has_version && !is_asked && spec.not_asked == NotAskedPolicy::Ignore {
            continue;
        }
        let is_current = world.clusters.get(&member.uid).is_some_and(|stored| stored.version == cluster.version);
        let was_unhealthy = world.truth.get(&member.uid).is_some_and(|truth| {
            is_current
                && member.health.since().is_some()
                && truth.last_unhealthy.saturating_add(soak).unwrap() > world.now
                && truth.healthy_since == member.health.since()
        });
        if !has_version || member.health.since().is_none() || (soaked && !soak.is_zero() && was_unhealthy) {
            bad += 1;
            why = format!(
                "{} has {step}: {has_version}, {:?}, suspended {}",
                member.uid, member.health, member.suspended
            );
        }
    }
    if bad > wave.max_failed { Err(why) } else { Ok(()) }
}

/// Whether everything has ended: every cluster that may be upgraded has its version, and no ticket is out.
pub fn unfinished(world: &World) -> Option<String> {
    let spec = &world.rollout.spec;
    for cluster in world.clusters.values() {
        let member = &cluster.member;
        let ring = member.labels.get("ring");
        let matched =
            spec.waves.iter().any(|wave| wave.selector.match_labels.get("ring").is_none_or(|one| Some(one) == ring));
        let may = matched || spec.unmatched != UnmatchedPolicy::Block;
        let truth = &world.truth[&member.uid];
        let agent = member.agent.as_ref().is_none_or(|agent| truth.agent.is_some_and(|at| at >= agent.wanted));
        let is_there = agent && truth.control_plane >= member.wanted && truth.node_groups >= truth.control_plane;
        if may && !is_there && !member.deleting {
            return Some(format!("{} {ring:?} wants {}, and is at {truth:?}", member.uid, member.wanted));
        }
    }
    let out = tickets(&world.rollout.status);
    (!out.is_empty()).then(|| format!("tickets are out: {out:?}"))
}
