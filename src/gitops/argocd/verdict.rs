//! The GitOpsReady condition: has Argo CD applied the revision it last saw, and if not, what is in the way.
//!
//! May not enter: clients and clocks. Pure.

use super::input::NAME;
use super::observe::{Application, Observation};
use crate::api::conditions::Reason;
use crate::gitops::error::NotApplied;
use crate::gitops::roll_up::{Health, short_revision};
use crate::gitops::verdict::Verdict;

/// Without these nothing is compared or applied.
const NEEDED: [&str; 3] = ["argocd-application-controller", "argocd-repo-server", "argocd-redis"];

/// Judges what was seen in `namespace`; `not_applied` is what the API server did not take from us.
pub fn verdict(observed: &Observation, namespace: &str, not_applied: &[NotApplied]) -> Verdict {
    if let Some(first) = not_applied.first() {
        let others = match not_applied.len() - 1 {
            0 => String::new(),
            count => format!(" (and {count} more)"),
        };
        return Verdict::not_ready(Reason::SyncFailed, format!("{first}{others}"));
    }
    let Some(root) = observed.root() else {
        return Verdict::not_ready(Reason::Creating, format!("Application {namespace}/{NAME} is not there yet"));
    };
    judge_root(observed, namespace, root)
}

fn judge_root(observed: &Observation, namespace: &str, root: &Application) -> Verdict {
    let name = format!("Application {namespace}/{NAME}");
    let held_up = describe_unready_part(observed, namespace);
    let applied = root.applied_revision();
    let so_far = applied.map_or_else(
        || "nothing applied so far".to_owned(),
        |revision| format!("{} is applied", short_revision(revision)),
    );
    let sync = &root.status.sync;
    // What was compared with another source says nothing of this one.
    let compared = root.compared_revision();
    if sync.compared_to.source != root.spec.source || (compared.is_none() && root.status.conditions.is_empty()) {
        let url = &root.spec.source.repo_url;
        return Verdict::waiting(format!("{name}: comparing the cluster with {url} ({so_far}){held_up}"));
    }
    let wanted = short_revision(compared.unwrap_or_default());
    let up_to_date = compared.is_some() && applied == compared;
    match root.health() {
        // A part that is on its way up is the reason for what it cannot do yet.
        Health::Failing { .. } if !held_up.is_empty() && !up_to_date => {
            Verdict::waiting(format!("{name}: not compared yet ({so_far}){held_up}"))
        }
        Health::Failing { reason, message } if reason != "Degraded" => {
            let at = if wanted.is_empty() { String::new() } else { format!(" at {wanted}") };
            Verdict::not_ready(Reason::SyncFailed, format!("{name}{at}: {reason}: {message} ({so_far})"))
        }
        _ if up_to_date => {
            let manual = if is_automated(root) { "" } else { "; its automated sync is off" };
            Verdict::ready(format!(
                "applied {}{manual}{}{held_up}",
                compared.unwrap_or_default(),
                describe_failures(observed)
            ))
        }
        _ if !is_automated(root) => Verdict::not_ready(
            Reason::Suspended,
            format!("{name} has its automated sync off and does not follow {wanted} ({so_far})"),
        ),
        _ => Verdict::waiting(format!("{name}: applying {wanted} ({so_far}){held_up}")),
    }
}

fn is_automated(application: &Application) -> bool {
    application.spec.sync_policy.automated.as_ref().is_some_and(|automated| automated.enabled != Some(false))
}

/// Which part of Argo CD is not running, of those that are waited for.
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

/// A word on what fails: the revision is applied, but not everything works.
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
    use crate::gitops::argocd::fixture::{COMMIT, OLDER, application, component, root};

    fn of(status: Value) -> Verdict {
        judged(root(&status), 1)
    }

    fn judged(root: Application, ready: i32) -> Verdict {
        let components = NEEDED.map(|name| component(name, ready)).into();
        verdict(&Observation { applications: vec![root], components }, "argocd", &[])
    }

    fn status(sync: &str, mut rest: Value) -> Value {
        rest["sync"] = json!({"status": sync, "revision": COMMIT});
        rest
    }

    #[test]
    fn what_is_synced_is_applied() {
        let verdict = of(status("Synced", json!({"health": {"status": "Healthy"}})));
        assert_eq!(verdict, Verdict::ready(format!("applied {COMMIT}")));
    }

    #[test]
    fn what_was_applied_and_still_differs_is_applied() {
        let operation = json!({"operationState": {"phase": "Succeeded", "syncResult": {"revision": COMMIT}}});
        assert!(of(status("OutOfSync", operation)).ready);
    }

    #[test]
    fn a_revision_that_does_not_work_is_applied_all_the_same_and_said() {
        let verdict = of(status("Synced", json!({"health": {"status": "Degraded"}})));
        assert!(verdict.ready);
        assert!(
            verdict.message.ends_with("1 object fails: Application argocd/keelson (Degraded)"),
            "{}",
            verdict.message
        );
    }

    #[test]
    fn a_new_revision_is_waited_for() {
        let verdict = of(status("OutOfSync", json!({"history": [{"revision": OLDER}]})));
        assert_eq!(verdict.reason, Reason::WaitingForSync);
        assert_eq!(verdict.message, "Application argocd/keelson: applying 76087da (1111111 is applied)");
    }

    #[test]
    fn a_sync_that_fails_says_why_and_what_is_applied() {
        let operation = json!({
            "operationState": {"phase": "Running", "retryCount": 1, "message": "no such kind"},
            "history": [{"revision": OLDER}],
        });
        let verdict = of(status("OutOfSync", operation));
        assert_eq!(verdict.reason, Reason::SyncFailed);
        assert_eq!(
            verdict.message,
            "Application argocd/keelson at 76087da: SyncFailed: no such kind (1111111 is applied)"
        );
    }

    #[test]
    fn manifests_that_cannot_be_rendered_say_why() {
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
    fn a_part_that_is_not_up_yet_is_no_failure() {
        let verdict =
            judged(root(&json!({"conditions": [{"type": "ComparisonError", "message": "connection refused"}]})), 0);
        assert_eq!(verdict.reason, Reason::WaitingForSync);
        assert!(
            verdict.message.contains("argocd/argocd-application-controller has no ready pod"),
            "{}",
            verdict.message
        );
    }

    #[test]
    fn what_was_compared_with_another_source_says_nothing() {
        let mut moved = root(&status("Synced", json!({})));
        moved.spec.source.path = "clusters/other".into();
        assert_eq!(judged(moved, 1).reason, Reason::WaitingForSync);
    }

    #[test]
    fn an_application_that_people_sync_by_hand_is_suspended_while_it_lags() {
        let mut manual = root(&status("OutOfSync", json!({})));
        manual.spec.sync_policy.automated = None;
        assert_eq!(judged(manual, 1).reason, Reason::Suspended);
        let mut manual = root(&status("Synced", json!({})));
        manual.spec.sync_policy.automated = None;
        let verdict = judged(manual, 1);
        assert!(verdict.ready && verdict.message.ends_with("its automated sync is off"), "{}", verdict.message);
    }

    #[test]
    fn other_applications_that_fail_are_told_of() {
        let components = NEEDED.map(|name| component(name, 1)).into();
        let failed = |name| application(name, &json!({"operationState": {"phase": "Failed"}}));
        let applications = vec![root(&status("Synced", json!({}))), failed("apps"), failed("infra")];
        let verdict = verdict(&Observation { applications, components }, "argocd", &[]);
        assert!(verdict.ready);
        assert!(
            verdict.message.ends_with("; 2 objects fail, Application argocd/apps (SyncFailed) among them"),
            "{}",
            verdict.message
        );
    }

    #[test]
    fn before_there_is_an_application_it_is_being_made() {
        assert_eq!(verdict(&Observation::default(), "argocd", &[]).reason, Reason::Creating);
    }
}
