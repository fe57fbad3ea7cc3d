//! What a user can do about a hook. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::hook::{HookState, HookStatus, SKIP_HOOK_ANNOTATION};
use crate::cli::subject::Subject;

/// What to do about a hook that what follows waits for.
pub fn advice_while_waiting(entry: &HookStatus, subject: &Subject) -> String {
    let skip = skip_command(entry, &subject.metadata);
    match entry.state {
        HookState::Running => format!("wait until its Job ends, or pass hook {}: {skip}", entry.name),
        _ => format!("pass hook {} without success: {skip}", entry.name),
    }
}

/// What to do about a hook that has failed.
pub fn advice_after_failure(entry: &HookStatus, subject: &Subject) -> [String; 2] {
    [
        format!("once it is corrected, try it again: keelson reconcile {}", subject.arguments()),
        format!("pass hook {} without success: {}", entry.name, skip_command(entry, &subject.metadata)),
    ]
}

/// The hooks that have failed, and stop what follows.
pub fn failed(subject: &Subject) -> impl Iterator<Item = &HookStatus> {
    let is_failed = |entry: &&HookStatus| matches!(entry.state, HookState::Failed | HookState::Lost);
    subject.hooks.iter().filter(is_failed).filter(move |entry| subject.stopping_hooks.contains(&entry.name))
}

/// The command that passes the hook of `entry` without success. `cluster`: metadata of its EksCluster.
pub fn skip_command(entry: &HookStatus, cluster: &ObjectMeta) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let (name, namespace) = (text(&cluster.name), text(&cluster.namespace));
    let is_annotated = cluster.annotations.iter().flatten().any(|(key, _)| key == SKIP_HOOK_ANNOTATION);
    // A value that has been used does not count again.
    let value = match &entry.job {
        Some(job) if is_annotated => format!("{}/{}", entry.name, job.rsplit('-').next().unwrap_or_default()),
        _ => entry.name.clone(),
    };
    format!("kubectl annotate --overwrite ekscluster {name} -n {namespace} {SKIP_HOOK_ANNOTATION}={value}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::EksCluster;
    use crate::cli::status::problems::{Problem, advice_for};

    /// The advice about a cluster of the FleetRollout main whose hook has that state.
    fn advice(state: &str, on_failure: &str, reason: &str, message: &str) -> Vec<String> {
        let object: EksCluster = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
            "spec": {"region": "eu-west-1", "version": "1.34", "upgrade": {"rollout": "main"}, "hooks": [{
                "name": "backup", "at": ["BeforeControlPlane"], "job": {"cronJob": {"name": "backup"}}, "onFailure": on_failure,
            }]},
            "status": {"hooks": [{
                "name": "backup", "at": "BeforeControlPlane", "step": "1.33->1.34", "state": state, "attempt": 1,
            }]},
        }))
        .unwrap();
        let problem = Problem { object: None, reason: reason.into(), message: message.into(), since: None };
        advice_for(&problem, &Subject::from(&object))
    }

    #[test]
    fn hook_that_failed_in_a_wave_needs_a_retry_of_the_rollout_as_well() {
        let again = "once it is corrected, try it again: keelson reconcile demo -n team";
        let skip = "pass hook backup without success: \
                    kubectl annotate --overwrite ekscluster demo -n team keelson.dev/skip-hook=backup";
        let status = "see the waves, and what holds them: keelson rollout status main";
        let retry = "if the rollout has halted, continue it after that: keelson rollout retry main";
        let of = "hook backup (BeforeControlPlane, 1.33->1.34) failed: exit 1";
        assert_eq!(advice("Failed", "Stop", "HookFailed", of), [again, skip, retry]);
        let halted = "FleetRollout main has halted in wave canary";
        assert_eq!(advice("Failed", "Stop", "WaveHalted", halted), [again, skip, status, retry]);
        assert_eq!(advice("Failed", "Continue", "WaveHalted", halted), [status], "it holds nothing");
        assert_eq!(advice("Succeeded", "Stop", "WaveHalted", halted), [status]);
    }

    #[test]
    fn nobody_waits_for_a_job_that_does_not_exist() {
        let of = "hook backup (BeforeControlPlane, 1.33->1.34): the API server cannot be reached";
        let all = advice("Pending", "Stop", "WaitingForHook", of);
        assert!(all.len() == 1 && all[0].starts_with("pass hook backup without success: kubectl annotate "), "{all:?}");
    }

    #[test]
    fn command_names_a_value_that_was_not_used() {
        let entry: HookStatus = serde_json::from_value(json!({
            "name": "backup", "at": "BeforeControlPlane", "step": "1.33->1.34", "state": "Failed", "attempt": 1,
            "job": "demo-backup-5f2a",
        }))
        .unwrap();
        let command = |annotations: serde_json::Value| {
            let metadata = json!({"name": "demo", "namespace": "team", "annotations": annotations});
            skip_command(&entry, &serde_json::from_value(metadata).unwrap())
        };
        let first = "kubectl annotate --overwrite ekscluster demo -n team keelson.dev/skip-hook=backup";
        assert_eq!(command(json!({})), first);
        assert_eq!(command(json!({"keelson.dev/skip-hook": "backup"})), format!("{first}/5f2a"));
    }
}
