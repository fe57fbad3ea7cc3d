//! At which revision a source is held, by its rollout and what it has.

use serde_json::{Value, json};

use super::*;
use crate::api::fleet_rollout::Gate;

const OLD: &str = "main@sha1:1111111111111111111111111111111111111111";
const NEW: &str = "main@sha1:2222222222222222222222222222222222222222";

fn gitops(reference: Value) -> GitOps {
    let source = json!({"git": {"url": "https://example.com/fleet", "ref": reference}});
    serde_json::from_value(json!({"flux": {"path": "clusters/demo", "source": source}})).unwrap()
}

fn main() -> SourceKey {
    source_of(Some(&gitops(json!({"branch": "main"})))).unwrap()
}

/// The status of a cluster that runs `applied`, held at `allowed`.
fn status(applied: Option<&str>, allowed: Option<&str>, ready: &str) -> EksClusterStatus {
    let fields = steps::desired(Some(&gitops(json!({"branch": "main"}))), None, false).fields;
    let held = allowed.map(|allowed| json!({"source": main().to_string(), "allowed": allowed}));
    let condition = json!({"type": "GitOpsReady", "status": ready, "reason": "x", "message": "m",
        "lastTransitionTime": "2026-11-28T00:00:00Z"});
    serde_json::from_value(json!({
        "conditions": [condition],
        "gitops": {"agent": "flux", "applied": steps::for_status(&fields), "lastAppliedRevision": applied, "heldRevision": held},
    }))
    .unwrap()
}

fn step(revision: &str) -> Step {
    Step { gate: Gate::Revision, target: Target::Revision(Revision::new(main(), revision).unwrap()) }
}

fn held(candidate: Option<&str>, newest: Option<&str>) -> Follow {
    let candidate = candidate.map(|revision| Candidate { step: step(revision), revision: revision.to_owned() });
    let first = candidate.as_ref().map(|candidate| candidate.revision.clone()).or(newest.map(str::to_owned));
    let first = first.map_or_else(|| FirstRevision::Wait("nothing is known".into()), FirstRevision::Revision);
    Follow::Held { candidate, newest: newest.map(str::to_owned), first, note: None }
}

fn unchanged(why: &str, first: Option<&str>) -> Follow {
    let first =
        first.map_or_else(|| FirstRevision::Wait(why.to_owned()), |first| FirstRevision::Revision(first.to_owned()));
    Follow::Unchanged { why: why.to_owned(), first }
}

fn input<'a>(previous: &'a EksClusterStatus, follow: &'a Follow) -> Input<'a> {
    Input { source: main(), previous, follow, is_held: false, has_api: true }
}

fn waits() -> WaveState {
    WaveState::Held { halted: false, message: "wave prod is not open yet".into() }
}

#[test]
fn source_is_its_address_and_reference() {
    let key = |reference: Value| source_of(Some(&gitops(reference)));
    assert_eq!(key(json!({"branch": "main"})), Some(main()));
    assert_ne!(key(json!({"branch": "other"})), Some(main()));
    assert_ne!(key(json!({"tag": "main"})), Some(main()));
    assert_eq!(key(json!({"commit": "1".repeat(40)})), None, "the spec itself holds it");
    assert_eq!(source_of(None), None);
    let mut elsewhere = gitops(json!({"branch": "main"}));
    elsewhere.flux.as_mut().unwrap().path = "clusters/other".into();
    assert_eq!(source_of(Some(&elsewhere)), Some(main()), "the path does not count");
}

#[test]
fn source_stays_at_what_it_runs_until_there_is_a_ticket() {
    let previous = status(Some(OLD), None, "True");
    let follow = held(Some(NEW), Some(NEW));
    let input = input(&previous, &follow);
    assert_eq!(input.wants(), Some(step(NEW)));
    let waiting = input.decide(&waits()).held.unwrap();
    assert_eq!((waiting.allowed.as_deref(), waiting.wanted.as_deref()), (Some(OLD), Some(NEW)));
    assert_eq!(waiting.message.as_deref(), Some("wave prod is not open yet"));
    let moves = input.decide(&WaveState::Free).held.unwrap();
    assert_eq!((moves.allowed.as_deref(), moves.wanted.as_deref()), (Some(NEW), None));
}

#[test]
fn source_moves_on_once_status_records_it() {
    let held = |allowed: Option<&str>| HeldRevisionStatus {
        source: main().to_string(),
        allowed: allowed.map(str::to_owned),
        ..HeldRevisionStatus::default()
    };
    let (never, at_old) = (status(Some(OLD), None, "True"), status(Some(OLD), Some(OLD), "True"));
    assert_eq!(to_apply(&held(Some(OLD)), &never), (Some(OLD), false), "the first time");
    assert_eq!(to_apply(&held(Some(NEW)), &at_old), (Some(OLD), true));
    assert_eq!(to_apply(&held(Some(NEW)), &status(Some(OLD), Some(NEW), "True")), (Some(NEW), false));
    assert_eq!(to_apply(&held(None), &at_old), (None, false), "it leads now");
}

#[test]
fn newest_revision_that_no_wave_before_has_run_is_shown_and_not_asked_for() {
    let previous = status(Some(OLD), Some(OLD), "True");
    let follow = held(Some(OLD), Some(NEW));
    let input = input(&previous, &follow);
    assert_eq!(input.wants(), None);
    let found = input.decide(&WaveState::Free).held.unwrap();
    assert_eq!((found.allowed.as_deref(), found.wanted.as_deref()), (Some(OLD), Some(NEW)));
    assert!(found.message.is_some());
}

#[test]
fn new_cluster_begins_with_what_its_wave_may_have() {
    let nothing = EksClusterStatus::default();
    let follow = held(Some(OLD), Some(NEW));
    let input = input(&nothing, &follow);
    assert_eq!(input.wants(), None, "it needs no ticket");
    assert_eq!(input.decide(&WaveState::Free).held.unwrap().allowed.as_deref(), Some(OLD));
}

/// The status of a cluster whose agent is not installed yet, and that would begin at `allowed`.
fn without_agent(allowed: &str) -> EksClusterStatus {
    let mut status = status(None, Some(allowed), "False");
    status.gitops.as_mut().unwrap().applied.clear();
    status
}

#[test]
fn record_from_before_there_is_an_agent_does_not_count() {
    let nothing_yet = without_agent(NEW);
    let decide = |follow: &Follow| input(&nothing_yet, follow).decide(&WaveState::Free);
    // The release on record has halted since.
    let found = decide(&held(Some(OLD), Some(NEW)));
    assert_eq!((found.held.unwrap().allowed.as_deref(), found.waits), (Some(OLD), None));
    for follow in [held(None, None), unchanged("not decided", None)] {
        let found = decide(&follow);
        assert!(found.waits.is_some(), "{follow:?}");
        assert_eq!(found.held.unwrap().allowed, None, "{follow:?}");
    }
    assert_eq!(decide(&unchanged("is suspended", Some(OLD))).held.unwrap().allowed.as_deref(), Some(OLD));
    let at_old = HeldRevisionStatus {
        source: main().to_string(),
        allowed: Some(OLD.to_owned()),
        ..HeldRevisionStatus::default()
    };
    assert_eq!(to_apply(&at_old, &nothing_yet), (Some(OLD), false), "nothing runs that would move");
}

#[test]
fn what_is_not_decided_changes_nothing_and_what_is_not_gated_is_free() {
    let previous = status(Some(OLD), Some(OLD), "True");
    let allowed =
        |follow: &Follow| input(&previous, follow).decide(&WaveState::Free).held.and_then(|held| held.allowed);
    assert_eq!(allowed(&unchanged("not listed yet", None)).as_deref(), Some(OLD));
    assert_eq!(input(&previous, &Follow::Freely).decide(&WaveState::Free), SourceDecision::default());
    let leading = input(&previous, &Follow::Leading("first".into())).decide(&WaveState::Free).held.unwrap();
    assert_eq!((leading.allowed, leading.message.as_deref()), (None, Some("first")));
    let never_held = status(Some(OLD), None, "True");
    assert_eq!(input(&never_held, &unchanged("x", Some(NEW))).decide(&WaveState::Free), SourceDecision::default());
    // The record of another source does not count.
    let mut other = previous.clone();
    other.gitops.as_mut().unwrap().held_revision.as_mut().unwrap().source = "00000000".into();
    assert_eq!(input(&other, &unchanged("x", Some(NEW))).decide(&WaveState::Free), SourceDecision::default());
}

#[test]
fn new_cluster_waits_while_there_is_no_revision_that_it_may_have() {
    let nothing = EksClusterStatus::default();
    let decide = |previous: &EksClusterStatus, follow: &Follow| {
        let SourceDecision { held, waits } = input(previous, follow).decide(&WaveState::Free);
        (held.clone().and_then(|held| held.allowed), held.and_then(|held| held.message), waits)
    };
    let text = |text: &str| Some(text.to_owned());
    // Nothing is good yet: it begins with what the first wave has.
    assert_eq!(decide(&nothing, &held(None, Some(NEW))).0, text(NEW));
    let waits = (None, text("nothing is known"), text("nothing is known"));
    assert_eq!(decide(&nothing, &held(None, None)), waits);
    // A process that has just started, or a rollout that is suspended.
    let undecided = (None, text("not decided"), text("not decided"));
    assert_eq!(decide(&nothing, &unchanged("not decided", None)), undecided);
    let first = FirstRevision::Wait("none is good".to_owned());
    let halted = (None, text("none is good"), text("none is good"));
    assert_eq!(decide(&nothing, &Follow::Unchanged { why: "has halted".to_owned(), first }), halted);
    assert_eq!(decide(&nothing, &unchanged("is suspended", Some(OLD))), (text(OLD), text("is suspended"), None));
    // What runs is left as it is, also with a new source.
    let running = status(Some(OLD), None, "True");
    assert_eq!(decide(&running, &unchanged("x", None)), (None, None, None));
    assert_eq!(decide(&running, &held(None, None)).0, text(OLD));
    let mut other = running.clone();
    other.gitops.as_mut().unwrap().applied.retain(|field| !field.field.contains(".source."));
    assert_eq!(decide(&other, &held(None, None)), (None, None, None), "another source is applied at once");
}

#[test]
fn reason_why_no_commit_follows_is_shown() {
    let previous = status(Some(OLD), Some(OLD), "True");
    let Follow::Held { newest, first, .. } = held(None, Some(OLD)) else { panic!("it is held") };
    let follow = Follow::Held { candidate: None, newest, first, note: Some("the first wave is empty".into()) };
    let found = input(&previous, &follow).decide(&WaveState::Free).held.unwrap();
    assert_eq!((found.allowed.as_deref(), found.message.as_deref()), (Some(OLD), Some("the first wave is empty")));
}

#[test]
fn claim_ends_when_the_revision_runs_or_a_newer_one_may_follow() {
    let claim = |previous: &EksClusterStatus, follow: &Follow| input(previous, follow).claim(step(NEW));
    let wanted = held(Some(NEW), Some(NEW));
    assert_eq!(claim(&status(Some(OLD), Some(OLD), "True"), &wanted), ClaimedStep::Ongoing, "about to begin");
    assert_eq!(claim(&status(Some(OLD), Some(NEW), "True"), &wanted), ClaimedStep::Ongoing);
    assert_eq!(claim(&status(Some(NEW), Some(NEW), "False"), &wanted), ClaimedStep::Ongoing, "it does not work");
    assert_eq!(claim(&status(Some(NEW), Some(NEW), "True"), &wanted), ClaimedStep::Finished);
    let newer = held(Some("main@sha1:3333333333333333333333333333333333333333"), None);
    assert_eq!(claim(&status(Some(OLD), Some(NEW), "False"), &newer), ClaimedStep::Dropped, "the fix of what fails");
    assert_eq!(claim(&status(Some(OLD), Some(OLD), "True"), &Follow::Freely), ClaimedStep::Dropped);
}

#[test]
fn source_that_git_manages_is_no_member() {
    let cluster: EksCluster = serde_json::from_value(json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
        "spec": {"region": "eu-west-1", "version": "1.34", "gitops": gitops(json!({"branch": "main"}))},
    }))
    .unwrap();
    let mut previous = status(Some(OLD), None, "True");
    assert_eq!(source_state(&cluster, &previous).unwrap().runs, Revision::new(main(), OLD));
    assert_eq!(adopted_source(&cluster, &previous), None);
    previous.gitops.as_mut().unwrap().source_adopted = true;
    assert_eq!(source_state(&cluster, &previous), None);
    assert_eq!(adopted_source(&cluster, &previous), Some(main()));
}
