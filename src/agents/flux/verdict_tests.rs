//! The GitOpsReady condition in each state.

use serde_json::{Value, json};

use super::*;

const OLD: &str = "main@sha1:1111111111111111111111111111111111111111";
const NEW: &str = "main@sha1:2222222222222222222222222222222222222222";

fn flux(spec: Value, mut status: Value, ready: (&str, &str, &str)) -> FluxObject {
    let (state, reason, message) = ready;
    status["conditions"] =
        json!([{"type": "Ready", "status": state, "reason": reason, "message": message, "observedGeneration": 2}]);
    if status["observedGeneration"].is_null() {
        status["observedGeneration"] = 2.into();
    }
    let metadata = json!({"name": NAME, "namespace": NAMESPACE, "generation": 2});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
}

const READY: (&str, &str, &str) = ("True", "Succeeded", "stored artifact");
const PROGRESSING: (&str, &str, &str) = ("Unknown", "Progressing", "reconciliation in progress");

fn source(status: Value, ready: (&str, &str, &str)) -> FluxObject {
    let spec = json!({"url": "https://github.com/acme/fleet"});
    FluxObject { kind: "GitRepository".into(), ..flux(spec, status, ready) }
}

fn artifact() -> Value {
    json!({"artifact": {"revision": NEW}})
}

fn evaluate(source: FluxObject, root: FluxObject) -> String {
    let controllers = ["source-controller", "kustomize-controller"].map(|name| {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": {"readyReplicas": 1}})).unwrap()
    });
    let observed = Observation {
        source: Some(source),
        kustomizations: vec![root],
        controllers: controllers.into(),
        ..Observation::default()
    };
    text(&verdict(&observed, Timestamp::UNIX_EPOCH))
}

fn text(verdict: &Verdict) -> String {
    format!("{} {:?}: {}", if verdict.ready { "ready" } else { "not ready" }, verdict.reason, verdict.message)
}

#[test]
fn verdict_in_each_state_of_source_and_root() {
    let root = |applied: Option<&str>, ready| {
        flux(json!({}), json!({"lastAppliedRevision": applied, "lastAttemptedRevision": NEW}), ready)
    };
    let stale =
        |applied: &str, ready| flux(json!({}), json!({"lastAppliedRevision": applied, "observedGeneration": 1}), ready);
    let suspended = |applied: &str| flux(json!({"suspend": true}), json!({"lastAppliedRevision": applied}), READY);
    let fetched = || source(artifact(), READY);
    let table = [
        ("applied", evaluate(fetched(), root(Some(NEW), READY))),
        ("applied, and being checked again", evaluate(fetched(), root(Some(NEW), PROGRESSING))),
        ("first apply in progress", evaluate(fetched(), root(None, PROGRESSING))),
        ("new commit seen", evaluate(fetched(), root(Some(OLD), READY))),
        (
            "new commit fails to build",
            evaluate(fetched(), root(Some(OLD), ("False", "BuildFailed", "variable not set: VPC_ID"))),
        ),
        (
            "path is not in the repository",
            evaluate(fetched(), root(None, ("False", "ArtifactFailed", "kustomization path not found"))),
        ),
        (
            "same commit fails now",
            evaluate(
                fetched(),
                root(Some(NEW), ("False", "HealthCheckFailed", "timeout waiting for: [Deployment/shop/web]")),
            ),
        ),
        (
            "dependency is not ready",
            evaluate(fetched(), root(None, ("False", "DependencyNotReady", "dependency 'a/b' is not ready"))),
        ),
        ("path was just changed", evaluate(fetched(), stale(NEW, READY))),
        ("path was changed, new spec in progress", evaluate(fetched(), stale(NEW, PROGRESSING))),
        ("nothing fetched yet", evaluate(source(json!({}), PROGRESSING), root(None, PROGRESSING))),
        (
            "clone fails",
            evaluate(
                source(json!({}), ("False", "GitOperationFailed", "authentication required")),
                root(None, PROGRESSING),
            ),
        ),
        (
            "fetch fails after a success",
            evaluate(source(artifact(), ("False", "GitOperationFailed", "no such host")), root(Some(NEW), READY)),
        ),
        (
            "url was just changed",
            evaluate(
                source(json!({"artifact": {"revision": NEW}, "observedGeneration": 1}), PROGRESSING),
                root(Some(NEW), READY),
            ),
        ),
        ("suspended, up to date", evaluate(fetched(), suspended(NEW))),
        ("suspended, behind", evaluate(fetched(), suspended(OLD))),
    ];
    insta::assert_snapshot!(table.map(|(case, verdict)| format!("{case}\n    {verdict}")).join("\n"));
}

#[test]
fn controller_without_a_pod_is_named() {
    let mut observed = Observation { source: Some(source(json!({}), PROGRESSING)), ..Observation::default() };
    observed.kustomizations.push(flux(json!({}), json!({}), PROGRESSING));
    insta::assert_snapshot!(text(&verdict(&observed, Timestamp::UNIX_EPOCH)), @"not ready WaitingForSync: GitRepository flux-system/flux-system: fetching https://github.com/acme/fleet; Deployment flux-system/source-controller is missing");
    let deployment = json!({
        "metadata": {"name": "source-controller"},
        "status": {"conditions": [{"type": "Available", "status": "False", "message": "Deployment does not have minimum availability."}]},
    });
    observed.controllers.push(serde_json::from_value(deployment).unwrap());
    insta::assert_snapshot!(text(&verdict(&observed, Timestamp::UNIX_EPOCH)), @"not ready WaitingForSync: GitRepository flux-system/flux-system: fetching https://github.com/acme/fleet; Deployment flux-system/source-controller has no ready pod: Deployment does not have minimum availability.");
}

#[test]
fn failing_objects_below_the_root_are_reported_but_ready() {
    let mut below = flux(json!({}), json!({}), ("False", "InstallFailed", "timed out"));
    (below.metadata.name, below.metadata.namespace) = ("redis".into(), "shop".into());
    let root = flux(json!({}), json!({"lastAppliedRevision": NEW}), READY);
    let observed = Observation {
        source: Some(source(artifact(), READY)),
        kustomizations: vec![root],
        helm_releases: vec![below],
        ..Observation::default()
    };
    insta::assert_snapshot!(text(&verdict(&observed, Timestamp::UNIX_EPOCH)), @"ready Available: applied main@sha1:2222222222222222222222222222222222222222; 1 object fails: HelmRelease shop/redis (InstallFailed)");
}

#[test]
fn stopped_controller_makes_an_applied_revision_unready_after_five_minutes() {
    let since = "2026-11-21T10:00:00Z";
    let available = json!([{"type": "Available", "status": "False", "lastTransitionTime": since,
        "message": "Deployment does not have minimum availability."}]);
    let stopped = json!({"metadata": {"name": "source-controller"}, "status": {"conditions": available}});
    let root = flux(json!({}), json!({"lastAppliedRevision": NEW, "lastAttemptedRevision": NEW}), READY);
    let observed = Observation {
        source: Some(source(artifact(), READY)),
        kustomizations: vec![root],
        controllers: vec![serde_json::from_value(stopped).unwrap()],
        ..Observation::default()
    };
    let after = |minutes| since.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes);
    assert!(verdict(&observed, after(4)).ready, "Pods are replaced now and then");
    insta::assert_snapshot!(text(&verdict(&observed, after(5))), @"not ready SyncFailed: applied main@sha1:2222222222222222222222222222222222222222, but new commits are not applied; Deployment flux-system/source-controller has no ready pod: Deployment does not have minimum availability.");
}
