//! What `keelson rollout` prints and decides, for a fleet in the middle of an upgrade.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::decision::{self, Waiting, halted, promotion};
use super::fleet_objects::Fleet;
use super::overview::overview;
use super::print_status::{self, Reading};
use super::words::{self, has_word, with_words};
use super::{approve, promote, retry};
use crate::api::fleet_rollout::Gate;
use crate::api::{EksCluster, FleetRollout};
use crate::cli::output::{self, Structured};
use crate::controllers::rollout::member::members;

fn now() -> Timestamp {
    "2026-11-28T12:00:00Z".parse().unwrap()
}

fn cluster(name: &str, ring: &str, version: &str, more: Value) -> Arc<EksCluster> {
    let mut object = json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"),
            "labels": {"fleet": "main", "ring": ring}, "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {"region": "eu-west-1", "version": "1.36"},
        "status": {"version": version, "resources": [{"key": "cluster", "state": "ACTIVE"}]},
    });
    object["status"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(object).unwrap())
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-28T11:48:00Z"})
}

fn clusters() -> Vec<Arc<EksCluster>> {
    let failed = json!({"conditions": [
        condition("Ready", "False", "Failed", "PodEvictionFailure: shop/web"),
        condition("Stalled", "True", "Failed", "PodEvictionFailure: shop/web"),
    ]});
    let upgrading =
        json!({"conditions": [condition("Ready", "False", "Upgrading", "control plane 1.35 -> 1.36: 4 min")]});
    vec![
        cluster("canary-0", "0", "1.36", json!({})),
        cluster("canary-1", "0", "1.35", failed),
        cluster("canary-2", "0", "1.35", upgrading),
        cluster("prod-0", "1", "1.35", json!({})),
        cluster("prod-1", "1", "1.35", json!({})),
        cluster("nowhere", "9", "1.35", json!({})),
    ]
}

fn rollout(releases: Value, conditions: Value) -> FleetRollout {
    serde_json::from_value(json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "FleetRollout",
        "metadata": {"name": "main", "uid": "uid-main", "generation": 2, "resourceVersion": "7"},
        "spec": {"clusterSelector": {"matchLabels": {"fleet": "main"}}, "gates": ["ControlPlane"], "waves": [
            {"name": "canary", "selector": {"matchLabels": {"ring": "0"}}, "maxConcurrent": 2, "soak": "24h"},
            {"name": "prod", "selector": {"matchLabels": {"ring": "1"}}, "maxConcurrent": "10%", "approval": "Required"},
        ]},
        "status": {"observedGeneration": 2, "members": 6, "conditions": conditions, "releases": releases},
    }))
    .unwrap()
}

/// A canary has failed.
fn with_halt() -> FleetRollout {
    let ticket = |name: &str| {
        json!({"cluster": format!("shop/{name}"), "uid": format!("uid-{name}"), "id": "ControlPlane/1.36/1",
            "wave": "canary", "since": "2026-11-28T11:30:00Z"})
    };
    let why = "EksCluster shop/canary-1: Failed: PodEvictionFailure: shop/web";
    let message = format!("wave canary has halted: {why}");
    rollout(
        json!([{
            "gate": "ControlPlane", "target": "1.36", "state": "Halted", "wave": "canary", "progress": "1/5",
            "message": message, "since": "2026-11-28T10:00:00Z",
            "halt": {"wave": "canary", "message": why, "since": "2026-11-28T11:48:10Z"},
            "waves": [
                {"name": "canary", "state": "Failed", "members": 3, "atTarget": 1, "inProgress": 2, "failed": 1, "checks": [
                    {"name": "errors", "state": "Failed", "value": "0.04", "cluster": "shop/canary-0", "failures": 1,
                        "lastRunAt": "2026-11-28T11:45:00Z", "message": "0.04 is above 0.01"},
                    {"name": "smoke", "state": "Pending"},
                ]},
                {"name": "prod", "state": "Pending", "members": 2},
            ],
            "tickets": [ticket("canary-1"), ticket("canary-2")],
        }]),
        json!([condition("Ready", "False", "WaveHalted", &format!("control planes to 1.36 (1/5): {message}"))]),
    )
}

/// The canaries have passed; the other wave waits for an approval with that hash.
fn with_approval(hash: &str) -> FleetRollout {
    rollout(
        json!([{
            "gate": "ControlPlane", "target": "1.36", "state": "WaitingForApproval", "wave": "prod", "progress": "3/5",
            "message": format!("wave prod waits for an approval: set the annotation keelson.dev/approve to {hash}"),
            "since": "2026-11-27T10:00:00Z",
            "waves": [
                {"name": "canary", "state": "Passed", "members": 3, "atTarget": 3, "passedAt": "2026-11-28T11:00:00Z"},
                {"name": "prod", "state": "WaitingForApproval", "members": 2, "approvalHash": hash},
            ],
        }]),
        json!([condition("Ready", "False", "WaitingForApproval", "m")]),
    )
}

fn fleet(rollout: &FleetRollout) -> Fleet {
    Fleet::of(vec![rollout.clone()], Some(members(&clusters(), [])))
}

fn text(rollout: &FleetRollout, fleet: &Fleet) -> String {
    let answer = overview(rollout, fleet.view(rollout, now()).as_ref());
    plain(&print_status::text(&[answer], Reading { now: now(), zone: &TimeZone::UTC }))
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn picture_of_a_rollout_that_has_halted() {
    let rollout = with_halt();
    insta::assert_snapshot!(text(&rollout, &fleet(&rollout)));
}

#[test]
fn picture_of_a_rollout_that_waits_for_an_approval() {
    let rollout = with_approval("3f9a1c20d4e5b678");
    insta::assert_snapshot!(text(&rollout, &fleet(&rollout)));
}

#[test]
fn answer_for_programs() {
    let rollout = with_halt();
    let fleet = fleet(&rollout);
    let answer = overview(&rollout, fleet.view(&rollout, now()).as_ref());
    insta::assert_snapshot!(output::format(&answer, Structured::Json).unwrap());
}

#[test]
fn picture_without_the_right_to_list_clusters() {
    let rollout = with_halt();
    let fleet = Fleet::of(vec![rollout.clone()], None);
    let text = text(&rollout, &fleet);
    assert!(text.contains("✗ canary") && !text.contains("shop/canary-2") && !text.contains("no wave"), "{text}");
}

#[test]
fn everything_is_one_line_and_coloured() {
    let mut rollout = with_halt();
    let status = rollout.status.as_mut().unwrap();
    status.releases[0].message = Some("a\n::error::b\u{1b}[2J".to_owned());
    let fleet = fleet(&rollout);
    let answer = overview(&rollout, fleet.view(&rollout, now()).as_ref());
    let text = print_status::text(&[answer], Reading { now: now(), zone: &TimeZone::UTC });
    assert!(text.contains("\u{1b}[1m\u{1b}[31m") && !text.contains("\u{1b}[2J"), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("::")), "{text}");
    // Only the colours that a terminal is shown.
    assert_eq!(crate::cli::terminal::safe(&text), text);
}

#[test]
fn approval_names_exactly_the_clusters_that_its_hash_covers() {
    let rollout = with_approval("0000000000000000");
    let fleet = fleet(&rollout);
    let view = fleet.view(&rollout, now());
    // The clusters are not those of the hash.
    let found = decision::waiting(&rollout, view.as_ref(), None, None).unwrap();
    assert_eq!(found, Waiting::Unsettled("prod".to_owned()));
    let status = rollout.status.as_ref().unwrap();
    let hash = view.unwrap().wave(&status.releases[0], "prod").unwrap().hash.unwrap();
    let rollout = with_approval(&hash);
    let view = fleet.view(&rollout, now());
    let found = |wave, hash| decision::waiting(&rollout, view.as_ref(), wave, hash);
    let Waiting::For(all) = found(Some("prod"), None).unwrap() else { panic!("unsettled") };
    insta::assert_snapshot!(plain(&approve::show("main", &all.iter().collect::<Vec<_>>())));
    assert_eq!(found(Some("canary"), None).unwrap(), Waiting::For(Vec::new()));
    assert_eq!(found(None, Some(&hash)).unwrap(), Waiting::For(all));
    let refused = |wave, hash| found(wave, hash).unwrap_err().to_string();
    assert!(refused(Some("gone"), None).contains("has no wave gone; its waves: canary, prod"));
    assert!(refused(None, Some("12")).contains(&format!("waiting are: {hash}")));
    // Somebody who may not list the clusters approves what the operator sees.
    let Waiting::For(all) = decision::waiting(&rollout, None, None, None).unwrap() else { panic!("unsettled") };
    assert!(approve::show("main", &all.iter().collect::<Vec<_>>()).contains("cannot be listed"));
}

#[test]
fn words_are_added_once() {
    assert_eq!(with_words(None, |_| true, ["a"]), "a");
    assert_eq!(with_words(Some("a, b\n"), |_| true, ["b", "c"]), "a,b,c");
    assert_eq!(with_words(Some("a, b\n"), |word| word != "a", ["c"]), "b,c");
    assert!(has_word(Some("a,b c"), "b") && !has_word(Some("ab"), "b") && !has_word(None, "a"));
}

#[test]
fn approvals_count_while_their_clusters_wait() {
    let rollout = with_approval("3f9a1c20d4e5b678");
    let fleet = fleet(&rollout);
    let view = fleet.view(&rollout, now());
    // The clusters of prod, as the operator will hash them.
    let seen =
        view.as_ref().and_then(|view| view.wave(&rollout.status.as_ref().unwrap().releases[0], "prod")?.hash).unwrap();
    let counts = words::approvals(&rollout, view.as_ref());
    let table = [
        ("3f9a1c20d4e5b678", true),
        (seen.as_str(), true),
        ("0123456789abcdef", false),
        // Not written by Keelson.
        ("reviewed-by-anna", true),
        ("0123456789ABCDEF", true),
    ];
    for (word, expected) in table {
        assert_eq!(counts(word), expected, "{word}");
    }
    assert!(words::approvals(&rollout, None)("0123456789abcdef"), "the clusters are not known");
}

#[test]
fn promotions_count_until_every_cluster_has_the_version() {
    let rollout = with_halt();
    let fleet = fleet(&rollout);
    let view = fleet.view(&rollout, now());
    let counts = words::promotions(&rollout, view.as_ref());
    let table = [
        ("1.36/canary", true),
        ("1.35/canary", false),
        // It has not begun yet.
        ("1.37/canary", true),
        ("flux-v2.9.5/canary", true),
        ("76087da78cdc-1a2b3c4d5e6f7081/canary", false),
        ("anything", true),
        ("any/thing", true),
    ];
    for (word, expected) in table {
        assert_eq!(counts(word), expected, "{word}");
    }
    assert!(words::promotions(&rollout, None)("1.35/canary"), "the clusters are not known");
}

#[test]
fn retry_has_the_value_of_the_message_unless_it_has_counted() {
    let rollout = with_halt();
    let found = halted(&rollout, None).unwrap();
    assert_eq!(found.value(None, now()), "1.36/1795866490");
    assert_eq!(found.value(Some("1.36/1"), now()), "1.36/1795866490");
    assert_eq!(found.value(Some("1.36/1795866490"), now()), "1.36/1795867200");
    insta::assert_snapshot!(plain(&retry::show("main", &found, now())));
    let refused = |rollout, target| halted(rollout, target).unwrap_err().to_string();
    assert!(refused(&rollout, Some("1.35")).contains("has not halted; halted: 1.36"));
    assert!(refused(&with_approval("a"), None).contains("no release has halted"));
}

#[test]
fn promotion_says_what_it_skips() {
    let rollout = with_halt();
    let fleet = fleet(&rollout);
    let view = fleet.view(&rollout, now());
    let found = |named, wave| promotion(&rollout, view.as_ref(), named, wave);
    let canary = found(Some("1.36/canary"), None).unwrap();
    assert_eq!(canary, found(None, Some("canary")).unwrap());
    assert_eq!(canary, found(Some("1.36"), Some("canary")).unwrap());
    insta::assert_snapshot!(plain(&promote::show("main", &canary)));
    let refused = |named, wave| found(named, wave).unwrap_err().to_string();
    assert!(refused(None, None).contains("name the wave"));
    assert!(refused(Some("1.36/canary"), Some("prod")).contains("name one wave"));
    assert!(refused(Some("1.37/canary"), None).contains("no release of 1.37; in progress: 1.36"));
    assert!(refused(Some("1.36/gone"), None).contains("has no wave gone"));
    let passed = with_approval("a");
    assert!(promotion(&passed, None, Some("1.36/canary"), None).unwrap().is_done);
}

#[test]
fn last_wave_is_not_to_be_promoted_for_later_ones() {
    let actions = |canary: &str, prod: &str| {
        let waves = json!([
            {"name": "canary", "state": canary, "members": 3, "atTarget": 3}, {"name": "prod", "state": prod, "members": 2},
        ]);
        let release = json!({"gate": "ControlPlane", "target": "1.36", "state": "Soaking", "progress": "3/5",
            "since": "2026-11-27T10:00:00Z", "waves": waves});
        overview(&rollout(json!([release]), json!([])), None).actions.join("\n")
    };
    let promote = "let later waves begin without waiting for wave canary: keelson rollout promote main 1.36/canary";
    assert!(actions("Soaking", "Pending").contains(promote));
    assert!(!actions("Passed", "Soaking").contains("promote"));
}

#[test]
fn promoted_wave_says_when_and_by_whom() {
    let mut rollout = with_approval("3f9a1c20d4e5b678");
    let wave = &mut rollout.status.as_mut().unwrap().releases[0].waves[0];
    wave.promoted_at = serde_json::from_value(json!("2026-11-28T11:00:00Z")).unwrap();
    wave.promoted_by = Some("kubectl-annotate".to_owned());
    let text = text(&rollout, &fleet(&rollout));
    let line = text.lines().find(|line| line.contains("promoted")).unwrap();
    assert!(line.contains("✓ canary") && line.ends_with(" ago by kubectl-annotate"), "{text}");
}

#[test]
fn retry_says_what_continues_of_a_version() {
    let mut rollout = with_halt();
    let releases = &mut rollout.status.as_mut().unwrap().releases;
    let mut nodes = releases[0].clone();
    nodes.gate = Gate::NodeGroups;
    releases.push(nodes);
    let found = halted(&rollout, Some("1.36")).unwrap();
    assert_eq!(found.describe(), "control planes and node groups to 1.36");
    let text = plain(&retry::show("main", &found, now()));
    assert_eq!(text.lines().filter(|line| line.contains(", wave canary, ")).count(), 2, "{text}");
}

#[test]
fn waves_are_shown_with_their_versions_while_nothing_is_rolled_out() {
    let rollout =
        rollout(json!([]), json!([condition("Ready", "True", "Available", "6 EksClusters have their versions")]));
    let with_clusters = text(&rollout, &fleet(&rollout));
    let lines: Vec<&str> = with_clusters.lines().collect();
    assert!(lines.contains(&"├─ canary   3 clusters   2 with 1.35, 1 with 1.36"), "{with_clusters}");
    assert!(lines.contains(&"└─ prod     2 clusters   2 with 1.35"), "{with_clusters}");
    let without = text(&rollout, &Fleet::of(vec![rollout.clone()], None));
    assert!(!without.contains("prod"), "{without}");
    // What is rolled out shows its waves itself.
    let halted = with_halt();
    assert!(!text(&halted, &fleet(&halted)).contains(" with 1.35"));
}
