//! The GitOpsReady condition: whether Argo CD has applied the newest revision, and if not, why.
//!
//! Not allowed here: clients and clocks. Pure.

use super::input::NAME;
use super::observe::{Application, Observation};
use crate::agents::gitops_condition::Verdict;
use crate::agents::roll_up::{Health, short_revision};
use crate::api::conditions::Reason;

/// Components without which nothing is compared or applied.
const NEEDED: [&str; 3] = ["argocd-application-controller", "argocd-repo-server", "argocd-redis"];

/// Evaluates the observation of `namespace`.
pub fn verdict(observed: &Observation, namespace: &str) -> Verdict {
    let Some(root) = observed.root() else {
        return Verdict::not_ready(Reason::Creating, format!("Application {namespace}/{NAME} does not exist yet"));
    };
    judge_root(observed, namespace, root)
}

fn judge_root(observed: &Observation, namespace: &str, root: &Application) -> Verdict {
    let name = format!("Application {namespace}/{NAME}");
    let unready_part = describe_unready_part(observed, namespace);
    let applied = root.applied_revision();
    let progress = applied.map_or_else(
        || "nothing applied so far".to_owned(),
        |revision| format!("{} is applied", short_revision(revision)),
    );
    let sync = &root.status.sync;
    // A comparison with another source does not count.
    let compared = root.compared_revision();
    if sync.compared_to.source != root.spec.source || (compared.is_none() && root.status.conditions.is_empty()) {
        let url = &root.spec.source.repo_url;
        return Verdict::waiting(format!("{name}: comparing the cluster with {url} ({progress}){unready_part}"));
    }
    let wanted = short_revision(compared.unwrap_or_default());
    let up_to_date = compared.is_some() && applied == compared;
    match root.health() {
        // While a component starts, errors are expected.
        Health::Failing { .. } if !unready_part.is_empty() && !up_to_date => {
            Verdict::waiting(format!("{name}: not compared yet ({progress}){unready_part}"))
        }
        Health::Failing { reason, message } if reason != "Degraded" => {
            let at = if wanted.is_empty() { String::new() } else { format!(" at {wanted}") };
            Verdict::not_ready(Reason::SyncFailed, format!("{name}{at}: {reason}: {message} ({progress})"))
        }
        _ if up_to_date => {
            let manual = if is_automated(root) { "" } else { "; its automated sync is off" };
            Verdict::ready(format!(
                "applied {}{manual}{}{unready_part}",
                compared.unwrap_or_default(),
                describe_failures(observed)
            ))
        }
        _ if !is_automated(root) => Verdict::not_ready(
            Reason::Suspended,
            format!("{name} has its automated sync off and does not follow {wanted} ({progress})"),
        ),
        _ => Verdict::waiting(format!("{name}: applying {wanted} ({progress}){unready_part}")),
    }
}

fn is_automated(application: &Application) -> bool {
    application.spec.sync_policy.automated.as_ref().is_some_and(|automated| automated.enabled != Some(false))
}

/// The first needed component that is not ready.
fn describe_unready_part(observed: &Observation, namespace: &str) -> String {
    let not_running = NEEDED.into_iter().find_map(|name| {
        let Some(part) = observed.components.iter().find(|part| part.metadata.name == name) else {
            return Some(format!("; {namespace}/{name} is missing"));
        };
        if part.status.ready_replicas > 0 {
            return None;
        }
        let why = part.unready_reason().map(|why| format!(": {why}")).unwrap_or_default();
        Some(format!("; {namespace}/{name} has no ready pod{why}"))
    });
    not_running.unwrap_or_default()
}

/// A note on failing Applications: the revision is applied, but not everything works.
fn describe_failures(observed: &Observation) -> String {
    let failing: Vec<_> = observed
        .applications
        .iter()
        .filter_map(|application| match application.health() {
            Health::Failing { reason, .. } => Some(format!("Application {} ({reason})", application.full_name())),
            _ => None,
        })
        .collect();
    match failing.as_slice() {
        [] => String::new(),
        [only] => format!("; 1 object fails: {only}"),
        [first, ..] => format!("; {} objects fail, {first} among them", failing.len()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::agents::argocd::fixture::{COMMIT, PREVIOUS, application, component, root};

    fn of(status: Value) -> Verdict {
        verdict_with(root(&status), 1)
    }

    fn verdict_with(root: Application, ready: i32) -> Verdict {
        let components = NEEDED.map(|name| component(name, ready)).into();
        verdict(&Observation { applications: vec![root], components }, "argocd")
    }

    fn status(sync: &str, mut rest: Value) -> Value {
        rest["sync"] = json!({"status": sync, "revision": COMMIT});
        rest
    }

    #[test]
    fn synced_is_ready() {
        let verdict = of(status("Synced", json!({"health": {"status": "Healthy"}})));
        assert_eq!(verdict, Verdict::ready(format!("applied {COMMIT}")));
    }

    #[test]
    fn applied_revision_that_still_differs_is_ready() {
        let operation = json!({"operationState": {"phase": "Succeeded", "syncResult": {"revision": COMMIT}}});
        assert!(of(status("OutOfSync", operation)).ready);
    }

    #[test]
    fn degraded_application_is_ready_with_a_note() {
        let verdict = of(status("Synced", json!({"health": {"status": "Degraded"}})));
        assert!(verdict.ready);
        assert!(
            verdict.message.ends_with("1 object fails: Application argocd/keelson (Degraded)"),
            "{}",
            verdict.message
        );
    }

    #[test]
    fn new_revision_is_waited_for() {
        let verdict = of(status("OutOfSync", json!({"history": [{"revision": PREVIOUS}]})));
        assert_eq!(verdict.reason, Reason::WaitingForSync);
        assert_eq!(verdict.message, "Application argocd/keelson: applying 76087da (1111111 is applied)");
    }

    #[test]
    fn failed_sync_reports_error_and_applied_revision() {
        let operation = json!({
            "operationState": {"phase": "Running", "retryCount": 1, "message": "no such kind"},
            "history": [{"revision": PREVIOUS}],
        });
        let verdict = of(status("OutOfSync", operation));
        assert_eq!(verdict.reason, Reason::SyncFailed);
        assert_eq!(
            verdict.message,
            "Application argocd/keelson at 76087da: SyncFailed: no such kind (1111111 is applied)"
        );
    }

    #[test]
    fn render_error_is_reported() {
        let verdict = of(json!({
            "sync": {"status": "Unknown", "revision": "refs/heads/main"},
            "conditions": [{"type": "ComparisonError", "message": "yaml: line 3"}],
        }));
        assert_eq!(verdict.reason, Reason::SyncFailed);
        assert_eq!(
            verdict.message,
            "Application argocd/keelson: ComparisonError: yaml: line 3 (nothing applied so far)"
        );
    }

    #[test]
    fn starting_component_is_not_a_failure() {
        let verdict = verdict_with(
            root(&json!({"conditions": [{"type": "ComparisonError", "message": "connection refused"}]})),
            0,
        );
        assert_eq!(verdict.reason, Reason::WaitingForSync);
        assert!(
            verdict.message.contains("argocd/argocd-application-controller has no ready pod"),
            "{}",
            verdict.message
        );
    }

    #[test]
    fn comparison_with_another_source_does_not_count() {
        let mut moved = root(&status("Synced", json!({})));
        moved.spec.source.path = "clusters/other".into();
        assert_eq!(verdict_with(moved, 1).reason, Reason::WaitingForSync);
    }

    #[test]
    fn manually_synced_application_is_suspended_while_outdated() {
        let mut manual = root(&status("OutOfSync", json!({})));
        manual.spec.sync_policy.automated = None;
        assert_eq!(verdict_with(manual, 1).reason, Reason::Suspended);
        let mut manual = root(&status("Synced", json!({})));
        manual.spec.sync_policy.automated = None;
        let verdict = verdict_with(manual, 1);
        assert!(verdict.ready && verdict.message.ends_with("its automated sync is off"), "{}", verdict.message);
    }

    #[test]
    fn failing_applications_are_reported() {
        let components = NEEDED.map(|name| component(name, 1)).into();
        let failed = |name| application(name, &json!({"operationState": {"phase": "Failed"}}));
        let applications = vec![root(&status("Synced", json!({}))), failed("apps"), failed("infra")];
        let verdict = verdict(&Observation { applications, components }, "argocd");
        assert!(verdict.ready);
        assert!(
            verdict.message.ends_with("; 2 objects fail, Application argocd/apps (SyncFailed) among them"),
            "{}",
            verdict.message
        );
    }

    #[test]
    fn application_held_at_a_commit_is_compared_with_it() {
        let mut held = root(&status("Synced", json!({"health": {"status": "Healthy"}})));
        held.spec.source.target_revision = COMMIT.into();
        held.status.sync.compared_to.source = held.spec.source.clone();
        assert_eq!(verdict_with(held.clone(), 1), Verdict::ready(format!("applied {COMMIT}")));
        // Without an answer of the repository.
        let error = json!({"conditions": [{"type": "ComparisonError", "message": "no route"}]});
        held.status = root(&status("Unknown", error)).status;
        held.status.sync.compared_to.source = held.spec.source.clone();
        assert_eq!(verdict_with(held, 1).reason, Reason::SyncFailed);
    }

    #[test]
    fn missing_application_is_creating() {
        assert_eq!(verdict(&Observation::default(), "argocd").reason, Reason::Creating);
    }
}
