//! Which targets reach a delete call, and which do not.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::engine::toy_world::{ToyWorld, toy_graph};
use crate::engine::{Mark, Observation};

/// The subject is `toy/0`, called `demo`; the container is `toy/1`; the sweep is `toy/2`.
fn key(number: usize) -> Key {
    Key::named("toy", number.to_string())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn scope() -> Scope {
    Scope { subject: key(0), name: "demo".into(), owner: "uid".into(), prunes: false }
}

struct Setup {
    baseline: Option<&'static str>,
    subject_exists: bool,
    container_is_recorded: bool,
    prunes: bool,
}

const DEFAULT: Setup = Setup {
    baseline: Some("1970-01-01T00:01:40Z sg-before"),
    subject_exists: false,
    container_is_recorded: true,
    prunes: false,
};

fn check_targets(setup: &Setup, targets: Vec<Target>) -> Result<CheckedSweep, Failure> {
    let graph = toy_graph(3);
    let mut memory = Memory::new(at(0), Duration::ZERO, []);
    let observed = |id: &str| ToyWorld::any(Presence::Ours(Observation::ready(id, "there", 1)));
    memory.record_observation(&key(0), observed("demo"), at(1));
    if !setup.subject_exists {
        memory.record_observation(&key(0), Presence::Absent, at(2));
    }
    memory.record_observation(&key(1), observed("vpc-1"), at(1));
    if !setup.container_is_recorded {
        memory.entry(&key(1)).recorded = None;
    }
    let id = setup.baseline.unwrap_or("not taken");
    let sweep = Observation::ready(id, "there", Arc::new(1u32) as Arc<dyn std::any::Any + Send + Sync>);
    memory.record_observation(&key(2), Presence::Ours(sweep), at(1));
    let scope = Scope { prunes: setup.prunes, ..scope() };
    SweepCheck::of(&graph, &memory, &key(2), scope).check(Sweep { targets, ..Sweep::default() })
}

fn target(id: &str, proof: Proof) -> Target {
    Target { id: id.into(), key: None, what: id.into(), proof, in_use: false, referred_to_by: Vec::new() }
}

fn mark(name: Option<&str>, reserved: bool) -> Mark {
    Mark { by: "a controller", name: name.map(str::to_owned), reserved }
}

fn in_container(id: &str, container: &str, name: Option<&str>) -> Target {
    target(id, Proof::InOwnedContainer { container: (key(1), container.into()), mark: mark(name, false) })
}

fn appeared(id: &str, name: Option<&str>, reserved: bool, when: Option<i64>) -> Target {
    target(id, Proof::AppearedLater { mark: mark(name, reserved), at: when.map(at) })
}

#[test]
fn targets_with_proof_pass() {
    for target in [
        in_container("sg-1", "vpc-1", Some("demo")),
        in_container("eni-1", "vpc-1", None),
        appeared("sg-1", Some("demo"), false, None),
        appeared("sg-before", Some("demo"), true, None),
        appeared("eni-1", Some("demo"), false, Some(100)),
    ] {
        let swept = check_targets(&DEFAULT, vec![target.clone()]).unwrap();
        assert_eq!(swept.allowed[0].0, target);
    }
    let of_a_cluster = Setup { subject_exists: true, prunes: true, ..DEFAULT };
    let owned = Proof::Owned { part_of: key(0), owner: "uid".into() };
    let pruned = Proof::Pruned { part_of: key(0) };
    assert!(check_targets(&of_a_cluster, vec![target("a", owned), target("b", pruned)]).is_ok());
}

#[test]
fn targets_without_proof_are_rejected() {
    let (no_baseline, before) =
        (Setup { baseline: None, ..DEFAULT }, Setup { baseline: Some("1970-01-01T00:01:40Z *"), ..DEFAULT });
    let existing = Setup { subject_exists: true, ..DEFAULT };
    let unrecorded = Setup { container_is_recorded: false, ..DEFAULT };
    let used = Target { in_use: true, ..in_container("sg-1", "vpc-1", Some("demo")) };
    let named = Target { referred_to_by: vec!["sg-2".into()], ..in_container("sg-1", "vpc-1", Some("demo")) };
    let owned = |owner: &str| target("a", Proof::Owned { part_of: key(0), owner: owner.into() });
    for (setup, target, why) in [
        (&DEFAULT, in_container("vpc-1", "vpc-1", Some("demo")), "the spec references it"),
        (&DEFAULT, in_container("", "vpc-1", Some("demo")), "the spec references it"),
        (&DEFAULT, used, "it is in use"),
        (&DEFAULT, named, "a resource that is not deleted refers to it"),
        (&DEFAULT, in_container("sg-1", "vpc-2", Some("demo")), "not in a recorded container"),
        (&unrecorded, in_container("sg-1", "vpc-1", Some("demo")), "not in a recorded container"),
        (&DEFAULT, in_container("sg-1", "vpc-1", Some("other")), "another cluster"),
        (&existing, in_container("sg-1", "vpc-1", Some("demo")), "still exists"),
        (&DEFAULT, appeared("sg-1", None, false, None), "no mark"),
        (&DEFAULT, appeared("sg-1", Some("other"), true, None), "no mark"),
        (&DEFAULT, appeared("sg-before", Some("demo"), false, None), "existed before the cluster"),
        (&DEFAULT, appeared("eni-1", Some("demo"), false, Some(99)), "existed before the cluster"),
        (&before, appeared("sg-1", Some("demo"), false, None), "existed before the cluster"),
        (&no_baseline, appeared("sg-1", Some("demo"), true, None), "baseline is not recorded"),
        (&existing, appeared("sg-1", Some("demo"), true, None), "still exists"),
        (&existing, owned("another"), "not owned"),
        (&DEFAULT, owned("uid"), "not owned"),
        (&existing, target("a", Proof::Pruned { part_of: key(0) }), "does not request"),
    ] {
        let Err(failure) = check_targets(setup, vec![target.clone()]) else { panic!("{target:?} passed") };
        assert!(failure.message.contains(why), "{target:?}: {failure}");
    }
}

#[test]
fn one_target_without_proof_rejects_the_sweep() {
    let both = vec![in_container("sg-1", "vpc-1", Some("demo")), in_container("sg-2", "vpc-2", Some("demo"))];
    assert!(check_targets(&DEFAULT, both).is_err());
    let each_other = [("sg-1", "sg-2"), ("sg-2", "sg-1")]
        .map(|(id, other)| Target { referred_to_by: vec![other.into()], ..in_container(id, "vpc-1", Some("demo")) });
    assert!(check_targets(&DEFAULT, each_other.into()).is_ok());
}

#[test]
fn baseline_round_trips_and_fits_into_status() {
    for baseline in [
        Baseline::new(at(100), []),
        Baseline::new(at(100), ["sg-2".to_owned(), "sg-1".to_owned()]),
        Baseline::unknown(at(100)),
    ] {
        assert_eq!(Baseline::parse(&baseline.to_string()), Some(baseline));
    }
    let many = Baseline::new(at(100), (0..500).map(|number| format!("sg-{number:017}")));
    assert!(many.before.is_none() && many.to_string().len() < 2048);
    assert!(Baseline::new(at(100), (0..60).map(|number| format!("sg-{number:017}"))).to_string().len() < 2048);
    assert_eq!(Baseline::parse(""), None);
    assert_eq!(Baseline::parse("vpc-1"), None);
}

/// A resource created for an earlier spec: its key is not in the graph.
#[test]
fn removed_resource_needs_the_owner_tag_and_a_record_or_owned_container() {
    let graph = toy_graph(3);
    let dropped = Key::named("toy", "dropped");
    let observed = |id: &str| ToyWorld::any(Presence::Ours(Observation::ready(id, "there", 1)));
    let mut memory = Memory::new(at(0), Duration::ZERO, []);
    memory.record_observation(&key(1), observed("vpc-1"), at(1));
    memory.record_observation(&dropped, observed("nat-1"), at(1));
    let made = |id: &str, key: &Key, owner: &str, container: Option<&str>| {
        let container = container.map(|id| (Key::named("toy", "1"), id.to_owned()));
        target(id, Proof::CreatedEarlier { key: key.clone(), owner: owner.into(), container })
    };
    let check_targets = |memory: &Memory, target| {
        let grounds = SweepCheck::of(&graph, memory, &key(2), scope());
        grounds.check(Sweep { targets: vec![target], ..Sweep::default() }).map(drop).map_err(|failure| failure.message)
    };
    assert_eq!(check_targets(&memory, made("nat-1", &dropped, "uid", None)), Ok(()), "on record");
    assert_eq!(check_targets(&memory, made("nat-2", &dropped, "uid", Some("vpc-1"))), Ok(()), "in an owned container");
    for (target, why) in [
        (made("nat-1", &dropped, "another", Some("vpc-1")), "not owned"),
        (made("nat-2", &dropped, "uid", None), "neither recorded"),
        (made("nat-2", &dropped, "uid", Some("vpc-2")), "neither recorded"),
        (made("nat-2", &Key::named("toy", "never"), "uid", None), "neither recorded"),
        (made("x", &key(1), "uid", Some("vpc-1")), "the spec contains it"),
        (made("vpc-1", &dropped, "uid", Some("vpc-1")), "the spec references it"),
    ] {
        let message = check_targets(&memory, target.clone()).unwrap_err();
        assert!(message.contains(why), "{target:?}: {message}");
    }
    // A create without a response is found by its tags.
    memory.record_intent(&dropped, at(2));
    assert_eq!(check_targets(&memory, made("nat-3", &dropped, "uid", None)), Ok(()));
}
