//! What the landing page lists as needs.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::*;
use crate::api::{EksCluster, FleetRollout};
use crate::page::fleet::Fleet;
use crate::page::tests::{cluster, now};
use crate::page::viewer::Viewer;

fn page(fleet: &Fleet, viewer: &Viewer) -> Page {
    let context = Context { fleet, viewer, now: now(), zone: &TimeZone::UTC, management: "m" };
    Page::new(&context, &Query::parse(""))
}

fn titles(needs: &[Need]) -> Vec<&str> {
    needs.iter().map(|need| need.title.as_str()).collect()
}

fn commands(needs: &[Need]) -> Vec<&str> {
    needs.iter().flat_map(|need| &need.commands).map(|command| command.command.as_str()).collect()
}

fn rollout(releases: Value) -> FleetRollout {
    serde_json::from_value(json!({
        "apiVersion": "keelson.dev/v1alpha1", "kind": "FleetRollout", "metadata": {"name": "main"},
        "spec": {"clusterSelector": {}, "waves": [{"name": "canary"}]}, "status": {"members": 3, "releases": releases},
    }))
    .unwrap()
}

/// A cluster with a hook in that state.
fn with_hook(name: &str, state: &str, reason: &str) -> EksCluster {
    let message = format!("1.34 -> 1.35: hook backup (BeforeControlPlane, 1.34->1.35): {state}");
    let mut object = cluster("team", name, "False", reason, &message, 20);
    let hook = json!({"name": "backup", "at": "BeforeControlPlane", "step": "1.34->1.35", "state": state, "attempt": 1, "job": "j-1"});
    object.status.as_mut().unwrap().hooks = vec![serde_json::from_value(hook).unwrap()];
    object
}

#[test]
fn halted_rollout_is_one_need_and_not_one_of_each_cluster() {
    let message = "FleetRollout main has halted in wave canary: keelson rollout status main says why";
    let mut fleet = Fleet::default();
    for name in ["a", "b"] {
        fleet.apply(cluster("team", name, "False", "WaveHalted", message, 20), now());
    }
    fleet.apply(
        rollout(json!([
            {"gate": "ControlPlane", "target": "1.36", "state": "Halted", "since": "2026-11-30T23:00:00Z",
                "halt": {"wave": "canary", "message": "check errors: 0.04 is above 0.01", "since": "2026-11-30T23:00:00Z"}},
            {"gate": "Agent", "target": "a", "state": "WaitingForApproval", "since": "2026-11-30T23:00:00Z",
                "waves": [{"name": "canary", "state": "WaitingForApproval", "approvalHash": "3f9a"}]},
        ])),
        now(),
    );
    let shown = page(&fleet, &Viewer::of_everything());
    assert_eq!(titles(&shown.needs), ["main"]);
    assert_eq!(shown.needs[0].message, "check errors: 0.04 is above 0.01");
    let expected = [
        "keelson rollout retry main 1.36",
        "keelson rollout approve main --wave canary",
        "keelson rollout status main",
    ];
    assert_eq!(commands(&shown.needs), expected);
    // Who may not see the rollout sees what it holds, and its command once.
    let shown = page(&fleet, &Viewer::of_namespaces(&["team"]));
    assert_eq!(titles(&shown.needs), ["team/a", "team/b"]);
    assert_eq!(commands(&shown.needs), ["keelson rollout status main"]);
}

#[test]
fn hook_that_runs_holds_and_one_that_failed_needs_a_person() {
    let mut fleet = Fleet::default();
    fleet.apply(with_hook("runs", "Running", "WaitingForHook"), now());
    fleet.apply(with_hook("fails", "Failed", "HookFailed"), now());
    let shown = page(&fleet, &Viewer::of_everything());
    assert_eq!((titles(&shown.held), shown.all_held), (vec!["team/runs"], 1));
    let skip =
        |name: &str| format!("kubectl annotate --overwrite ekscluster {name} -n team keelson.dev/skip-hook=backup");
    assert_eq!(commands(&shown.held), [skip("runs")]);
    assert_eq!(titles(&shown.needs), ["team/fails"]);
    assert_eq!(commands(&shown.needs), ["keelson reconcile fails -n team".to_owned(), skip("fails")]);
    assert!(page(&fleet, &Viewer::of_namespaces(&["other"])).held.is_empty());
}

#[test]
fn support_that_ends_is_a_need_of_its_version() {
    let mut fleet = Fleet::default();
    for name in ["a", "b"] {
        let mut object = cluster("team", name, "True", "Available", "", 20);
        let support = json!({"standardEnds": "2026-12-21"});
        object.status.as_mut().unwrap().support = Some(serde_json::from_value(support).unwrap());
        fleet.apply(object, now());
    }
    let shown = page(&fleet, &Viewer::of_everything());
    assert_eq!((titles(&shown.needs), shown.all_needs), (vec!["Kubernetes 1.35"], 1));
    assert_eq!((shown.needs[0].href.as_str(), shown.needs[0].kind), ("/?version=1.35", "Support"));
    assert!(page(&fleet, &Viewer::of_namespaces(&["other"])).needs.is_empty());
}

#[test]
fn empty_page_does_not_deny_what_the_viewer_may_not_see() {
    let of = |viewer: &Viewer| {
        let fleet = Fleet::default();
        let context = Context { fleet: &fleet, viewer, now: now(), zone: &TimeZone::UTC, management: "m" };
        (crate::page::view::fleet(&context, &Query::parse("")), crate::page::view::accounts(&context))
    };
    let (clusters, accounts) = of(&Viewer::of_namespaces(&["team-a"]));
    assert!(clusters.contains("No cluster exists that you may see."), "{clusters}");
    assert!(accounts.contains("No AwsAccount exists that you may see."), "{accounts}");
    let (clusters, accounts) = of(&Viewer::of_everything());
    assert!(clusters.contains("No cluster exists yet.") && accounts.contains("No AwsAccount exists."));
}
