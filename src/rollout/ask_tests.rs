//! The cluster's side: what it says to its rollout, and what holds it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::ask::Reply;
use super::*;
use crate::api::fleet_rollout::{FleetRolloutSpec, Gate};
use crate::api::fleet_rollout_status::{FleetRolloutStatus, WaveState};

const ID: &str = "ControlPlane/1.36/7";

fn step(target: &str) -> Step {
    Step { gate: Gate::ControlPlane, target: target.parse().unwrap() }
}

fn request(asks: Option<&str>, claimed: Option<&str>, released: Option<&str>) -> Request {
    let id = |text: Option<&str>| text.map(|text| text.parse().unwrap());
    Request { asks: id(asks), claimed: id(claimed), released: id(released), term: Some(1) }
}

fn spec(change: Value) -> FleetRolloutSpec {
    let mut spec = json!({
        "clusterSelector": {"matchLabels": {"fleet": "main"}},
        "waves": [{"name": "canary", "selector": {"matchLabels": {"ring": "0"}}}, {"name": "prod", "selector": {"matchLabels": {"ring": "1"}}}],
    });
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

fn status(tickets: &[&str], halted: bool) -> FleetRolloutStatus {
    let since = "2026-11-28T00:00:00Z";
    let ticket = |id: &&str| json!({"cluster": "team/a", "uid": "a", "id": id, "wave": "canary", "since": since});
    let mut release = json!({
        "gate": "ControlPlane", "target": "1.36", "state": "Progressing", "wave": "canary", "message": "wave canary waits for team/b", "since": since,
        "tickets": tickets.iter().map(ticket).collect::<Vec<_>>(),
        "waves": [{"name": "canary", "state": "Progressing", "members": 3, "inProgress": 1},
            {"name": "prod", "state": "Pending", "members": 9}],
    });
    if halted {
        release["halt"] = json!({"wave": "canary", "message": "EksCluster team/b: PodEvictionFailure", "since": since});
    }
    serde_json::from_value(json!({"releases": [release]})).unwrap()
}

struct Case {
    labels: &'static str,
    rollout: Option<&'static str>,
    request: Request,
    wants: Option<Step>,
    claim: ClaimedStep,
    has_begun: bool,
}

impl Default for Case {
    fn default() -> Self {
        let (labels, request) = ("fleet=main,ring=0", Request::default());
        let (wants, claim) = (Some(step("1.36")), ClaimedStep::Ongoing);
        Self { labels, rollout: None, request, wants, claim, has_begun: true }
    }
}

fn ask_case(case: &Case, rollouts: &Rollouts<'_>) -> Reply {
    let labels: BTreeMap<String, String> = case
        .labels
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    ask(&Question {
        uid: "a",
        labels: &labels,
        rollout: case.rollout,
        request: case.request,
        wants: case.wants,
        claim: case.claim,
        has_begun: case.has_begun,
        rollouts,
        term: 1,
        now: Timestamp::from_millisecond(7).unwrap(),
    })
}

fn with(spec: &FleetRolloutSpec, status: &FleetRolloutStatus, case: &Case) -> Reply {
    let rollout = Rollout { name: "main", spec, status };
    ask_case(case, &Rollouts::Listed { readable: vec![rollout], unreadable: Vec::new() })
}

fn message(reply: &Reply) -> (HoldKind, &str) {
    match &reply.answer {
        Answer::Held(held) => (held.kind, &held.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn cluster_asks_claims_its_ticket_begins_and_releases_it() {
    let spec = spec(json!({}));
    let asked = with(&spec, &status(&[], false), &Case::default());
    assert_eq!(asked.request, request(Some(ID), None, None));
    assert_eq!(message(&asked).0, HoldKind::Waiting);
    // A ticket for what is not stored yet does not count.
    let early = with(&spec, &status(&[ID], false), &Case::default());
    assert!(matches!(early.answer, Answer::Held(_)));
    let claims = with(&spec, &status(&[ID], false), &Case { request: asked.request, ..Case::default() });
    assert_eq!((claims.request, claims.answer), (request(None, Some(ID), None), Answer::Claims));
    let begins = with(&spec, &status(&[ID], true), &Case { request: claims.request, ..Case::default() });
    assert_eq!((begins.request, begins.answer), (claims.request, Answer::Free), "what has begun is finished");
    let case = Case { request: claims.request, wants: None, claim: ClaimedStep::Finished, ..Case::default() };
    assert_eq!(with(&spec, &status(&[ID], false), &case).request, request(None, None, Some(ID)));
}

#[test]
fn later_leader_records_a_claim_again_before_it_begins() {
    let former = Request { term: Some(0), ..request(None, Some(ID), None) };
    let reply = with(&spec(json!({})), &status(&[ID], false), &Case { request: former, ..Case::default() });
    assert_eq!((reply.request, reply.answer), (request(None, Some(ID), None), Answer::Free));
    let in_progress = Case { request: former, wants: None, ..Case::default() };
    assert_eq!(with(&spec(json!({})), &status(&[ID], false), &in_progress).request, former, "nothing begins");
}

#[test]
fn cluster_gives_up_what_it_does_not_ask_for_any_more() {
    let (spec, status) = (spec(json!({})), status(&[ID], false));
    let asked = request(Some(ID), None, None);
    let outside_window = Case { request: asked, wants: None, ..Case::default() };
    assert_eq!(with(&spec, &status, &outside_window).request, request(None, None, Some(ID)));
    let another = Case { request: asked, wants: Some(step("1.37")), ..Case::default() };
    let reply = with(&spec, &status, &another);
    assert_eq!(reply.request, request(Some("ControlPlane/1.37/8"), None, Some(ID)), "a higher number");
    let dropped =
        Case { request: request(None, Some(ID), None), wants: None, claim: ClaimedStep::Dropped, ..Case::default() };
    assert_eq!(with(&spec, &status, &dropped).request, request(None, None, Some(ID)));
}

#[test]
fn halts_and_suspensions_hold_a_ticket_that_is_not_claimed() {
    let case = Case { request: request(Some(ID), None, None), ..Case::default() };
    let halted = with(&spec(json!({})), &status(&[ID], true), &case);
    assert_eq!(
        message(&halted),
        (HoldKind::Halted, "FleetRollout main has halted in wave canary: keelson rollout status main says why")
    );
    assert_eq!(halted.request, case.request);
    let suspended = with(&spec(json!({"suspend": true})), &status(&[ID], false), &case);
    assert_eq!(message(&suspended), (HoldKind::Waiting, "FleetRollout main is suspended"));
    let later = Case { wants: Some(step("1.37")), ..Case::default() };
    assert_eq!(message(&with(&spec(json!({})), &status(&[], true), &later)).0, HoldKind::Halted);
    let earlier = Case { wants: Some(step("1.35")), ..Case::default() };
    assert_eq!(message(&with(&spec(json!({})), &status(&[], true), &earlier)).0, HoldKind::Waiting);
}

#[test]
fn claimed_step_whose_hooks_have_not_passed_does_not_begin_during_a_halt() {
    let claimed = request(None, Some(ID), None);
    let table = [
        (json!({}), false, false, None),
        (json!({}), true, false, Some(HoldKind::Halted)),
        (json!({}), true, true, None),
        (json!({"suspend": true}), false, false, Some(HoldKind::Waiting)),
        (json!({"suspend": true}), false, true, None),
    ];
    for (change, halted, has_begun, expected) in table {
        let case = Case { request: claimed, has_begun, ..Case::default() };
        let reply = with(&spec(change.clone()), &status(&[ID], halted), &case);
        assert_eq!(reply.request, claimed, "it keeps its ticket");
        let found = match &reply.answer {
            Answer::Held(held) => Some(held.kind),
            Answer::Free | Answer::Claims => None,
        };
        assert_eq!(found, expected, "{change} halted {halted} begun {has_begun}");
    }
    let elsewhere = Case { labels: "fleet=other", request: claimed, has_begun: false, ..Case::default() };
    assert_eq!(with(&spec(json!({})), &status(&[ID], true), &elsewhere).answer, Answer::Free);
}

#[test]
fn what_cannot_be_decided_blocks_by_name() {
    let (main, none) = (spec(json!({})), status(&[], false));
    let blocked = |spec: &FleetRolloutSpec, case: Case, words: &str| {
        let case = Case { request: request(Some(ID), None, None), ..case };
        let reply = with(spec, &none, &case);
        let (kind, message) = message(&reply);
        assert!(kind == HoldKind::Blocked && message.contains(words), "{kind:?} {message}");
        assert_eq!(reply.request.asks, None, "it holds no slot");
    };
    let elsewhere = "fleet=other";
    blocked(&main, Case { labels: elsewhere, rollout: Some("gone"), ..Case::default() }, "FleetRollout gone, which");
    blocked(
        &main,
        Case { labels: elsewhere, rollout: Some("main"), ..Case::default() },
        "does not select this cluster",
    );
    blocked(&main, Case { rollout: Some("other"), ..Case::default() }, "spec.upgrade.rollout names other");
    blocked(&main, Case { labels: "fleet=main,ring=9", ..Case::default() }, "no wave of FleetRollout main");
    let broken = spec(json!({"clusterSelector": {"matchExpressions": [{"key": "x", "operator": "In"}]}}));
    blocked(&broken, Case::default(), "FleetRollout main may select this cluster");
    blocked(&spec(json!({"waves": []})), Case::default(), "FleetRollout main is invalid");
    let case = Case::default();
    let two = ["one", "two"].map(|name| Rollout { name, spec: &main, status: &none });
    let reply = ask_case(&case, &Rollouts::Listed { readable: two.to_vec(), unreadable: Vec::new() });
    assert!(message(&reply).1.contains("FleetRollouts one, two select this cluster"));
    let reply = ask_case(&case, &Rollouts::Unlisted);
    assert_eq!(message(&reply), (HoldKind::Waiting, super::ask::UNLISTED));
}

#[test]
fn nothing_holds_a_cluster_without_a_rollout_or_a_gate() {
    let none = status(&[], false);
    let free = |spec: &FleetRolloutSpec, case: Case| assert_eq!(with(spec, &none, &case).answer, Answer::Free);
    free(&spec(json!({})), Case { labels: "fleet=other", ..Case::default() });
    free(&spec(json!({"gates": ["NodeGroups"]})), Case::default());
    free(&spec(json!({"unmatched": "Ungated"})), Case { labels: "fleet=main,ring=9", ..Case::default() });
}

#[test]
fn message_says_what_is_waited_for() {
    let spec = spec(json!({}));
    let canary = with(&spec, &status(&[], false), &Case::default());
    assert_eq!(message(&canary).1, "FleetRollout main: 1 of 3 clusters of wave canary is in progress");
    let prod = with(&spec, &status(&[], false), &Case { labels: "fleet=main,ring=1", ..Case::default() });
    assert_eq!(message(&prod).1, "FleetRollout main: wave prod is not open yet: wave canary of 1.36 has not passed");
}

#[test]
fn no_message_names_another_cluster() {
    use WaveState::{Failed, Passed, Pending, Progressing, Soaking, WaitingForApproval};
    for state in [Pending, WaitingForApproval, Progressing, Soaking, Failed, Passed] {
        for (halted, labels) in [false, true]
            .into_iter()
            .flat_map(|halted| ["fleet=main,ring=0", "fleet=main,ring=1"].map(|labels| (halted, labels)))
        {
            let mut status = status(&[], halted);
            for wave in &mut status.releases[0].waves {
                (wave.state, wave.approval_hash) = (state, Some("3f9a".to_owned()));
            }
            let reply = with(&spec(json!({})), &status, &Case { labels, ..Case::default() });
            let (_, message) = message(&reply);
            assert!(message.starts_with("FleetRollout main") && !message.contains("team/"), "{state:?}: {message}");
            let is_approval = state == WaitingForApproval && !halted;
            assert_eq!(
                message.contains("waits for an approval: set the annotation keelson.dev/approve to 3f9a"),
                is_approval
            );
        }
    }
}

#[test]
fn claimed_step_ends_when_the_version_is_reached_in_health_or_nothing_has_begun() {
    let facts = |text: &str| ClaimFacts {
        is_reached: text.contains('r'),
        is_healthy: text.contains('h'),
        is_in_progress: text.contains('p'),
        is_wanted: text.contains('w'),
        is_held: text.contains('o'),
    };
    let table = [
        ("rhw", ClaimedStep::Finished),
        ("rw", ClaimedStep::Ongoing),
        ("rhpw", ClaimedStep::Ongoing),
        ("hw", ClaimedStep::Ongoing),
        ("hwo", ClaimedStep::Dropped),
        ("h", ClaimedStep::Dropped),
        ("hp", ClaimedStep::Ongoing),
        ("pwo", ClaimedStep::Ongoing),
        ("rwo", ClaimedStep::Ongoing),
    ];
    for (text, expected) in table {
        assert_eq!(ClaimedStep::of(facts(text)), expected, "{text}");
    }
}
