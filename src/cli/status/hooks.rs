//! What a user can do about a hook. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::hook::{HookStatus, SKIP_HOOK_ANNOTATION};

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
