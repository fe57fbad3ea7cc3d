//! Checks in the simulated fleet: runs that take time, get lost, fail and are errors; and the rule that no wave passes without a good
//! one. No I/O.

use jiff::SignedDuration;

use super::world::World;
use super::world_objects::Operator;
use super::*;
use crate::api::fleet_rollout::Wave;

/// An operator begins the checks that are due, unless they run already.
pub fn begin(world: &mut World, operator: usize, due: &[DueCheck]) {
    for one in due {
        if world.running[operator].iter().any(|run| run.key == one.key) {
            continue;
        }
        let is_query = one.spec.prometheus.is_some();
        let is_per_cluster = is_query && one.key.check == "each";
        let is_condition = one.spec.condition.is_some();
        let subjects: Vec<Option<String>> =
            if is_per_cluster || is_condition { one.clusters.iter().cloned().map(Some).collect() } else { vec![None] };
        let of = |cluster: Option<String>| {
            let outcome = match &cluster {
                Some(name) if is_condition => condition(world, name),
                _ => outcome(world, is_query),
            };
            ClusterOutcome { cluster, outcome }
        };
        let found = subjects.into_iter().map(of).collect();
        let (key, definition, covered) = (one.key.clone(), one.definition.clone(), one.covered.clone());
        let run = CheckRun { key, definition, covered, began_at: world.now, found };
        world.running[operator].push(run);
    }
}

/// What the condition of a cluster is.
fn condition(world: &World, name: &str) -> Outcome {
    let uid = world.clusters.iter().find(|(_, cluster)| cluster.member.name == name).map(|(uid, _)| uid.clone());
    let truth = uid.and_then(|uid| world.truth.get(&uid));
    match truth.map(|truth| truth.condition_since) {
        Some(Some(since)) => Outcome::Holds(since),
        Some(None) => Outcome::Failed("it is False".to_owned()),
        None => Outcome::Error("the EksCluster does not exist".to_owned()),
    }
}

/// The maximum of the checks is 1.
fn outcome(world: &mut World, is_query: bool) -> Outcome {
    match (world.chance(30), world.chance(30), is_query) {
        (true, true, true) => Outcome::Value(f64::NAN),
        (true, _, _) => Outcome::Error("no data".to_owned()),
        (_, true, true) => Outcome::Value(2.0),
        (_, true, false) => Outcome::Failed("exit code 1".to_owned()),
        (_, _, true) => Outcome::Value(0.5),
        (_, _, false) => Outcome::Succeeded,
    }
}

/// Some runs end.
pub fn deliver(world: &mut World) {
    for operator in 0..2 {
        for run in std::mem::take(&mut world.running[operator]) {
            if world.chance(90) {
                world.running[operator].push(run);
            } else {
                world.operators[operator].results.retain(|other| other.key != run.key);
                world.operators[operator].results.push(run.clone());
                world.runs.push(run);
            }
        }
    }
}

/// Whether every check of a wave was good for enough of its clusters, at the end of their soak or later.
pub fn were_good(world: &World, view: &Operator, wave: &Wave, step: Step) -> Result<(), String> {
    let soak = crate::api::duration::parse(&wave.soak).and_then(|soak| SignedDuration::try_from(soak).ok()).unwrap();
    let spec = &view.rollout.spec;
    let ring = |member: &Member| member.labels.get("ring").cloned();
    let is_own = |member: &Member| {
        let first = spec.waves.iter().find(|wave| wave.selector.match_labels.get("ring") == ring(member).as_ref());
        first.is_some_and(|first| first.name == wave.name)
    };
    for check in &wave.checks {
        let is_good = |run: &CheckRun, member: &Member| {
            let mut of_it = run.found.iter().filter(|one| one.cluster.as_ref().is_none_or(|name| *name == member.name));
            let is_late_enough = member.health.since().is_some_and(|since| {
                let soak = if check.job.is_some() { SignedDuration::ZERO } else { soak };
                run.began_at.as_second() >= (since + soak).as_second()
            });
            let is_of_it = run.key.step == step && run.key.wave == wave.name && run.key.check == check.name;
            let passed = |outcome: &Outcome| match outcome {
                Outcome::Value(value) => *value <= 1.0,
                Outcome::Succeeded => true,
                // It has lasted for as long as the soak.
                Outcome::Holds(since) => (*since + soak).as_second() <= run.began_at.as_second(),
                Outcome::Failed(_) | Outcome::Error(_) => false,
            };
            is_of_it && is_late_enough && of_it.next().is_some_and(|one| passed(&one.outcome))
        };
        let members = view.clusters.values().map(|cluster| &cluster.member);
        let arrived = members.filter(|member| {
            let has_version = member.standing(step).is_some_and(|standing| standing.is_reached);
            is_own(member) && has_version && !member.deleting && !member.suspended
        });
        let bad: Vec<&str> = arrived
            .filter(|member| !world.runs.iter().any(|run| is_good(run, member)))
            .map(|member| member.name.as_str())
            .collect();
        if i32::try_from(bad.len()).unwrap() > wave.max_failed {
            return Err(format!("check {} was not good for {}", check.name, bad.join(", ")));
        }
    }
    Ok(())
}
