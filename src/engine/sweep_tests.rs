//! Which targets reach a delete call, and which do not.

use std::sync::Arc;
use std::time::Duration;

use super::super::toy_world::{ToyWorld, toy_graph};
use super::*;
use crate::engine::Observation;

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

struct Given {
    baseline: Option<&'static str>,
    subject_is_there: bool,
    place_is_recorded: bool,
    prunes: bool,
}

const USUAL: Given = Given {
    baseline: Some("1970-01-01T00:01:40Z sg-before"),
    subject_is_there: false,
    place_is_recorded: true,
    prunes: false,
};

fn judged(given: &Given, targets: Vec<Target>) -> Result<Swept, Failure> {
    let graph = toy_graph(3);
    let mut memory = Memory::new(at(0), Duration::ZERO, []);
    let seen = |id: &str| ToyWorld::any(Presence::Ours(Observation::ready(id, "there", 1)));
    memory.record_observation(&key(0), seen("demo"), at(1));
    if !given.subject_is_there {
        memory.record_observation(&key(0), Presence::Absent, at(2));
    }
    memory.record_observation(&key(1), seen("vpc-1"), at(1));
    if !given.place_is_recorded {
        memory.entry(&key(1)).recorded = None;
    }
    let id = given.baseline.unwrap_or("not taken");
    let sweep = Observation::ready(id, "there", Arc::new(1u32) as Arc<dyn std::any::Any + Send + Sync>);
    memory.record_observation(&key(2), Presence::Ours(sweep), at(1));
    let scope = Scope { prunes: given.prunes, ..scope() };
    Grounds::of(&graph, &memory, &key(2), scope).judge(Sweep { targets, ..Sweep::default() })
}

fn target(id: &str, proof: Proof) -> Target {
    Target { id: id.into(), what: id.into(), proof, in_use: false, referred_to_by: Vec::new() }
}

fn mark(name: Option<&str>, reserved: bool) -> Mark {
    Mark { by: "a controller", name: name.map(str::to_owned), reserved }
}

fn in_place(id: &str, place: &str, name: Option<&str>) -> Target {
    target(id, Proof::InOurPlace { place: (key(1), place.into()), mark: mark(name, false) })
}

fn appeared(id: &str, name: Option<&str>, reserved: bool, when: Option<i64>) -> Target {
    target(id, Proof::Appeared { mark: mark(name, reserved), at: when.map(at) })
}

#[test]
fn what_has_proof_passes() {
    for target in [
        in_place("sg-1", "vpc-1", Some("demo")),
        in_place("eni-1", "vpc-1", None),
        appeared("sg-1", Some("demo"), false, None),
        appeared("sg-before", Some("demo"), true, None),
        appeared("eni-1", Some("demo"), false, Some(100)),
    ] {
        let swept = judged(&USUAL, vec![target.clone()]).unwrap();
        assert_eq!(swept.allowed[0].target(), &target);
    }
    let of_a_cluster = Given { subject_is_there: true, prunes: true, ..USUAL };
    let owned = Proof::Owned { part_of: key(0), owner: "uid".into() };
    let pruned = Proof::Pruned { part_of: key(0) };
    assert!(judged(&of_a_cluster, vec![target("a", owned), target("b", pruned)]).is_ok());
}

#[test]
fn what_has_no_proof_reaches_no_call() {
    let (no_baseline, before) =
        (Given { baseline: None, ..USUAL }, Given { baseline: Some("1970-01-01T00:01:40Z *"), ..USUAL });
    let there = Given { subject_is_there: true, ..USUAL };
    let unrecorded = Given { place_is_recorded: false, ..USUAL };
    let used = Target { in_use: true, ..in_place("sg-1", "vpc-1", Some("demo")) };
    let named = Target { referred_to_by: vec!["sg-2".into()], ..in_place("sg-1", "vpc-1", Some("demo")) };
    let owned = |owner: &str| target("a", Proof::Owned { part_of: key(0), owner: owner.into() });
    for (given, target, why) in [
        (&USUAL, in_place("vpc-1", "vpc-1", Some("demo")), "the spec names it"),
        (&USUAL, in_place("", "vpc-1", Some("demo")), "the spec names it"),
        (&USUAL, used, "something uses it"),
        (&USUAL, named, "something that stays refers to it"),
        (&USUAL, in_place("sg-1", "vpc-2", Some("demo")), "not in a place"),
        (&unrecorded, in_place("sg-1", "vpc-1", Some("demo")), "not in a place"),
        (&USUAL, in_place("sg-1", "vpc-1", Some("other")), "another's"),
        (&there, in_place("sg-1", "vpc-1", Some("demo")), "still there"),
        (&USUAL, appeared("sg-1", None, false, None), "nothing marks it"),
        (&USUAL, appeared("sg-1", Some("other"), true, None), "nothing marks it"),
        (&USUAL, appeared("sg-before", Some("demo"), false, None), "before the cluster"),
        (&USUAL, appeared("eni-1", Some("demo"), false, Some(99)), "before the cluster"),
        (&before, appeared("sg-1", Some("demo"), false, None), "before the cluster"),
        (&no_baseline, appeared("sg-1", Some("demo"), true, None), "not on record"),
        (&there, appeared("sg-1", Some("demo"), true, None), "still there"),
        (&there, owned("another"), "not ours"),
        (&USUAL, owned("uid"), "not ours"),
        (&there, target("a", Proof::Pruned { part_of: key(0) }), "does not ask"),
    ] {
        let Err(failure) = judged(given, vec![target.clone()]) else { panic!("{target:?} passed") };
        assert!(failure.message.contains(why), "{target:?}: {failure}");
    }
}

#[test]
fn one_target_without_proof_stops_all() {
    let both = vec![in_place("sg-1", "vpc-1", Some("demo")), in_place("sg-2", "vpc-2", Some("demo"))];
    assert!(judged(&USUAL, both).is_err());
    let each_other = [("sg-1", "sg-2"), ("sg-2", "sg-1")]
        .map(|(id, other)| Target { referred_to_by: vec![other.into()], ..in_place(id, "vpc-1", Some("demo")) });
    assert!(judged(&USUAL, each_other.into()).is_ok());
}

#[test]
fn a_baseline_reads_back_as_written_and_fits_into_status() {
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
fn what_is_asked_for_no_more_goes_only_with_our_tag_and_a_record_or_a_place() {
    let graph = toy_graph(3);
    let dropped = Key::named("toy", "dropped");
    let seen = |id: &str| ToyWorld::any(Presence::Ours(Observation::ready(id, "there", 1)));
    let mut memory = Memory::new(at(0), Duration::ZERO, []);
    memory.record_observation(&key(1), seen("vpc-1"), at(1));
    memory.record_observation(&dropped, seen("nat-1"), at(1));
    let made = |id: &str, key: &Key, owner: &str, place: Option<&str>| {
        let place = place.map(|id| (Key::named("toy", "1"), id.to_owned()));
        target(id, Proof::Made { key: key.clone(), owner: owner.into(), place })
    };
    let judged = |memory: &Memory, target| {
        let grounds = Grounds::of(&graph, memory, &key(2), scope());
        grounds.judge(Sweep { targets: vec![target], ..Sweep::default() }).map(drop).map_err(|failure| failure.message)
    };
    assert_eq!(judged(&memory, made("nat-1", &dropped, "uid", None)), Ok(()), "on record");
    assert_eq!(judged(&memory, made("nat-2", &dropped, "uid", Some("vpc-1"))), Ok(()), "in our place");
    for (target, why) in [
        (made("nat-1", &dropped, "another", Some("vpc-1")), "not ours"),
        (made("nat-2", &dropped, "uid", None), "neither on record"),
        (made("nat-2", &dropped, "uid", Some("vpc-2")), "neither on record"),
        (made("nat-2", &Key::named("toy", "never"), "uid", None), "neither on record"),
        (made("x", &key(1), "uid", Some("vpc-1")), "the spec asks for it"),
        (made("vpc-1", &dropped, "uid", Some("vpc-1")), "the spec names it"),
    ] {
        let told = judged(&memory, target.clone()).unwrap_err();
        assert!(told.contains(why), "{target:?}: {told}");
    }
    // A create without a response is found by its tags.
    memory.intend(&dropped, at(2));
    assert_eq!(judged(&memory, made("nat-3", &dropped, "uid", None)), Ok(()));
}
