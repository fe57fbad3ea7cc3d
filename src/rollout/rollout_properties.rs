//! Properties of rollouts, whatever fails in between: random fleets, people, crashes between any two writes, late reads
//! and late writes of an old and a new leader. [`super::world`] verifies the rules at every write.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Member;
use super::world::World;
use super::world_objects::{agent_version, v};
use super::world_rules::unfinished;
use crate::api::fleet_rollout::FleetRolloutSpec;

const BASE: u16 = 30;
/// More rounds than any case needs.
const BOUND: u32 = 3000;

/// Of each cluster, a condition, of the wave, and a Job.
fn some_checks(limit: i32) -> [Value; 4] {
    let query = |name: &str, query: &str| {
        json!({"name": name, "prometheus": {
            "address": "http://prometheus", "query": query, "max": 1, "failureLimit": limit, "errorLimit": limit,
        }})
    };
    let cron_job = json!({"namespace": "fleet", "name": "smoke"});
    let job = json!({"name": "job", "job": {"cronJob": cron_job, "failureLimit": limit, "errorLimit": limit}});
    let condition =
        json!({"name": "condition", "condition": {"type": "InSync", "failureLimit": limit, "errorLimit": limit}});
    [query("each", "a{cluster=\"${CLUSTER_NAME}\"}"), condition, query("all", "sum(a)"), job]
}

fn a_wave(name: &'static str, ring: Option<u8>) -> impl Strategy<Value = Value> {
    let soak = prop_oneof![2 => Just("0s"), 1 => Just("5m")];
    let approval = prop_oneof![3 => Just("Automatic"), 1 => Just("Required")];
    let checks = prop_oneof![2 => Just(0_usize), 1 => Just(1), 1 => Just(2), 1 => Just(3), 1 => Just(4)];
    let rest = (any::<bool>(), checks, 0i32..3);
    let max_concurrent = prop_oneof![
        2 => (1u32..3).prop_map(|number| json!(number)),
        1 => prop_oneof![Just("1%"), Just("50%"), Just("67%"), Just("100%")].prop_map(|share| json!(share)),
    ];
    (max_concurrent, 0i32..2, soak, approval, rest).prop_map(move |(max_concurrent, max_failed, soak, approval, rest)| {
        let (slow, checks, limit) = rest;
        let selector = ring.map_or(json!({}), |ring| json!({"matchLabels": {"ring": ring.to_string()}}));
        json!({
            "name": name, "selector": selector, "maxConcurrent": max_concurrent, "maxFailed": max_failed, "soak": soak,
            "approval": approval, "progressDeadline": if slow { "3h" } else { "10m" },
            "checks": &some_checks(limit)[..checks],
        })
    })
}

prop_compose! {
    fn a_policy()(
        first in a_wave("first", Some(0)),
        second in a_wave("second", Some(1)),
        third in a_wave("third", Some(2)),
        gates in prop_oneof![
            Just(json!(["ControlPlane"])), Just(json!(["NodeGroups"])), Just(json!(["Agent"])),
            Just(json!(["ControlPlane", "NodeGroups"])), Just(json!(["ControlPlane", "NodeGroups", "Agent"])),
        ],
        unmatched in prop_oneof![Just("Block"), Just("Last"), Just("Ungated")],
        not_asked in prop_oneof![Just("Block"), Just("Ignore")],
    ) -> FleetRolloutSpec {
        serde_json::from_value(json!({
            "clusterSelector": {}, "gates": gates, "unmatched": unmatched, "notAsked": not_asked, "waves": [first, second, third],
        })).unwrap()
    }
}

/// Something that a person does.
fn act(world: &mut World) {
    let choice = world.roll() % 18;
    let amount = u16::from(world.roll() % 3);
    let ring = world.roll() % 4;
    let uid = world.any_cluster();
    world.log.push(format!("a person does {choice} {amount} {ring} {uid:?}"));
    let hashes = |world: &World| {
        let waves = world.rollout.status.releases.iter().flat_map(|release| &release.waves);
        waves.filter_map(|wave| wave.approval_hash.clone()).collect::<Vec<_>>().join(",")
    };
    let targets =
        |world: &World| world.rollout.status.releases.first().map(|release| release.target.clone()).unwrap_or_default();
    match (choice, uid) {
        (0, _) => world.join(ring, BASE),
        (1, Some(uid)) if amount == 0 => world.remove(&uid),
        (2, Some(uid)) => world.change(&uid, |member| _ = member.labels.insert("ring".into(), ring.to_string())),
        (3, Some(uid)) => world.change(&uid, |member| member.suspended = amount == 0),
        (4, Some(uid)) if amount == 0 => world.change(&uid, |member| member.deleting = true),
        (5, _) => world.change_rollout(|rollout| rollout.spec.suspend = amount == 0),
        (6, _) => {
            let annotation = format!("{}/{ring}", targets(world));
            world.change_rollout(|rollout| rollout.retry = Some(annotation));
        }
        (7, _) if amount == 0 => {
            let annotation = format!("{}/first", targets(world));
            world.change_rollout(|rollout| rollout.promote = Some(annotation));
        }
        (8 | 9, _) => {
            let hashes = hashes(world);
            world.change_rollout(|rollout| rollout.approve = Some(hashes));
        }
        (10 | 11, Some(uid)) => world.change(&uid, |member| member.wanted = v(BASE + amount)),
        (12, _) => {
            for uid in world.clusters.keys().cloned().collect::<Vec<_>>() {
                world.change(&uid, |member| member.wanted = v(BASE + amount));
            }
        }
        (16, Some(uid)) => world.change(&uid, |member| want_agent(member, amount)),
        (17, _) => {
            for uid in world.clusters.keys().cloned().collect::<Vec<_>>() {
                world.change(&uid, |member| want_agent(member, amount));
            }
        }
        (13, _) => world.hand_over(),
        (14, _) => world.restart(world.leader),
        (15, _) => world
            .change_rollout(|rollout| rollout.spec.waves[0].name = if ring == 0 { "renamed" } else { "first" }.into()),
        _ => {}
    }
}

/// A cluster without an agent keeps none.
fn want_agent(member: &mut Member, version: u16) {
    if let Some(agent) = &mut member.agent {
        agent.wanted = agent_version(version);
    }
}

/// One round: both operators work, the former leader on what it knew.
fn round(world: &mut World) -> Result<(), String> {
    world.sync();
    let uids: Vec<String> = world.truth.keys().cloned().collect();
    for operator in [world.leader, 1 - world.leader] {
        if operator == world.leader || world.faults {
            world.advance_rollout(operator)?;
            for uid in &uids {
                if world.faults && world.roll() < 120 {
                    continue;
                }
                world.reconcile(operator, uid)?;
            }
        }
    }
    world.pass_time()
}

/// People and faults stop: everybody asks for the same version, approves and retries.
fn calm(world: &mut World) {
    world.faults = false;
    world.log.push("faults stop".to_owned());
    for uid in world.clusters.keys().cloned().collect::<Vec<_>>() {
        if world.clusters[&uid].member.deleting {
            world.remove(&uid);
            continue;
        }
        world.change(&uid, |member| {
            member.suspended = false;
            member.wanted = v(BASE + 2);
            want_agent(member, 2);
        });
    }
    world.change_rollout(|rollout| rollout.spec.suspend = false);
    world.restart(world.leader);
}

fn attend(world: &mut World, round: u32) {
    let releases = &world.rollout.status.releases;
    let halted = releases.iter().find(|release| release.halt.is_some());
    let retry = halted.map(|release| format!("{}/{round}", release.target));
    let hashes: Vec<String> =
        releases.iter().flat_map(|release| &release.waves).filter_map(|wave| wave.approval_hash.clone()).collect();
    if retry.is_some() {
        world.change_rollout(|rollout| rollout.retry = retry);
    }
    if !hashes.is_empty() {
        world.change_rollout(|rollout| rollout.approve = Some(hashes.join(" ")));
    }
}

fn failed(world: &World, why: &str) -> TestCaseError {
    let last = world.log.len().saturating_sub(80);
    TestCaseError::fail(format!("{why}\n{}\n{:#?}", world.log[last..].join("\n"), world.rollout.status.releases))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn limits_order_and_halts_hold_whatever_fails_and_rollouts_end_when_faults_stop(
        policy in a_policy(),
        rings in vec(0u8..4, 1..8),
        seed in any::<u64>(),
        turmoil in 10u32..120,
    ) {
        let mut world = World::new(policy, &rings, BASE, seed);
        for _ in 0..turmoil {
            if world.roll() < 100 {
                act(&mut world);
            }
            round(&mut world).map_err(|why| failed(&world, &why))?;
        }
        calm(&mut world);
        let mut end = None;
        for number in 0..BOUND {
            attend(&mut world, number);
            round(&mut world).map_err(|why| failed(&world, &why))?;
            end = unfinished(&world);
            if end.is_none() {
                break;
            }
        }
        if let Some(why) = end {
            return Err(failed(&world, &format!("it does not end: {why}")));
        }
        // A steady fleet costs no write.
        for _ in 0..12 {
            round(&mut world).map_err(|why| failed(&world, &why))?;
        }
        let version = world.rollout.version;
        for _ in 0..3 {
            round(&mut world).map_err(|why| failed(&world, &why))?;
        }
        prop_assert_eq!(version, world.rollout.version, "writes in a steady fleet");
    }
}
