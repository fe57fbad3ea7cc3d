//! The Job of a template. No I/O.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobTemplateSpec};
use k8s_openapi::api::core::v1::{Container, EnvVar};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::api::job_source::JobSource;

/// Annotation with the digest of the template. An existing Job of the same name is ours only if it was made of the same one; the
/// environment may differ, because more of the cluster may be known by then.
pub const DIGEST_ANNOTATION: &str = "keelson.dev/job-digest";
/// Kubernetes' own annotation of Jobs that are created from a CronJob by hand.
const INSTANTIATE_ANNOTATION: &str = "cronjob.kubernetes.io/instantiate";
/// Longest readable part of a Job's name: its Pods' names and labels have at most 63 characters.
const MAX_READABLE: usize = 40;

/// A Job to build.
#[derive(Clone, Debug)]
pub struct JobRequest<'a> {
    /// Its name, from [`job_name`].
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Where the template comes from.
    pub source: &'a JobSource,
    /// Environment variables of every container.
    pub env: BTreeMap<String, String>,
    /// Labels of the Job and of its Pods.
    pub labels: BTreeMap<String, String>,
    /// The object with which the Job is deleted.
    pub owner: Option<OwnerReference>,
}

/// The name of a Job: readable, and unique for `identity`.
pub fn job_name(readable: &str, identity: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in identity {
        // Each part with its length: ["a", "bc"] and ["ab", "c"] differ.
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let lower = readable.to_lowercase();
    let clean: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let clean: String = clean.trim_start_matches('-').chars().take(MAX_READABLE).collect();
    let hash = hex(&hash.finalize(), 16);
    match clean.trim_end_matches('-') {
        "" => format!("job-{hash}"),
        clean => format!("{clean}-{hash}"),
    }
}

/// 16 hexadecimal digits that change with `value`, such as a template.
pub fn digest(value: &impl Serialize) -> String {
    // A map in it is a BTreeMap, so the order of its members is always the same.
    let text = serde_json::to_value(value).map(|value| value.to_string()).unwrap_or_default();
    hex(&Sha256::digest(text), 16)
}

fn hex(bytes: &[u8], length: usize) -> String {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.chars().take(length).collect()
}

/// The Job of `template`: it runs at once, stays until it is deleted, and every container has the request's environment, which the
/// template's own variables can refer to. A container that fails without a termination message says the last lines of its log.
pub fn build(template: JobTemplateSpec, request: &JobRequest<'_>) -> Job {
    let digest = digest(&template);
    let JobTemplateSpec { metadata, spec } = template;
    let metadata = metadata.unwrap_or_default();
    let mut spec = spec.unwrap_or_default();
    spec.suspend = Some(false);
    spec.ttl_seconds_after_finished = None;
    // The API server sets both: a copied selector would select the Pods of another Job.
    spec.selector = None;
    spec.manual_selector = None;
    let pod_metadata = spec.template.metadata.get_or_insert_default();
    pod_metadata.labels.get_or_insert_default().extend(request.labels.clone());
    let pod = spec.template.spec.get_or_insert_default();
    pod.restart_policy.get_or_insert_with(|| "Never".to_owned());
    let all = pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten());
    for container in all {
        set_environment(container, &request.env);
        container.termination_message_policy = Some("FallbackToLogsOnError".to_owned());
    }
    let mut labels = metadata.labels.unwrap_or_default();
    labels.extend(request.labels.clone());
    let mut annotations = metadata.annotations.unwrap_or_default();
    if request.source.cron_job.is_some() {
        annotations.insert(INSTANTIATE_ANNOTATION.to_owned(), "manual".to_owned());
    }
    annotations.insert(DIGEST_ANNOTATION.to_owned(), digest);
    Job {
        metadata: ObjectMeta {
            name: Some(request.name.clone()),
            namespace: Some(request.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: request.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// Ours come first, and in place of the template's of the same name.
fn set_environment(container: &mut Container, env: &BTreeMap<String, String>) {
    let own = container.env.take().unwrap_or_default();
    let given =
        env.iter().map(|(name, value)| EnvVar { name: name.clone(), value: Some(value.clone()), ..EnvVar::default() });
    container.env = Some(given.chain(own.into_iter().filter(|one| !env.contains_key(&one.name))).collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::job_source::CronJobRef;
    use serde_json::{Value, json};

    fn source(cron_job: bool) -> JobSource {
        let reference = CronJobRef { name: "backup".into(), namespace: None };
        JobSource { cron_job: cron_job.then_some(reference), template: None }
    }

    fn built(template: Value, source: &JobSource) -> Value {
        let request = JobRequest {
            name: job_name("Backup_1", &["uid"]),
            namespace: "team".into(),
            source,
            env: BTreeMap::from([("KEELSON_POINT".into(), "BeforeDelete".into())]),
            labels: BTreeMap::from([("keelson.dev/hook".into(), "backup".into())]),
            owner: None,
        };
        serde_json::to_value(build(serde_json::from_value(template).unwrap(), &request)).unwrap()
    }

    #[test]
    fn job_runs_at_once_stays_and_has_the_environment() {
        let container = json!({"name": "main", "env": [
            {"name": "KEELSON_POINT", "value": "mine"}, {"name": "WHAT", "value": "$(KEELSON_POINT)"}]});
        let job = built(
            json!({
                "metadata": {"labels": {"team": "a", "keelson.dev/hook": "other"}, "name": "no", "resourceVersion": "7"},
                "spec": {"suspend": true, "ttlSecondsAfterFinished": 0, "backoffLimit": 3, "manualSelector": true,
                    "selector": {"matchLabels": {"a": "b"}},
                    "template": {"spec": {"containers": [container], "initContainers": [{"name": "init"}]}}},
            }),
            &source(true),
        );
        let spec = &job["spec"];
        assert_eq!((&spec["suspend"], &spec["backoffLimit"]), (&json!(false), &json!(3)));
        for dropped in ["ttlSecondsAfterFinished", "selector", "manualSelector"] {
            assert_eq!(spec.get(dropped), None, "{dropped}");
        }
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["restartPolicy"], "Never");
        assert_eq!(
            pod["containers"][0]["env"],
            json!([{"name": "KEELSON_POINT", "value": "BeforeDelete"}, {"name": "WHAT", "value": "$(KEELSON_POINT)"}])
        );
        assert_eq!(pod["initContainers"][0]["env"], json!([{"name": "KEELSON_POINT", "value": "BeforeDelete"}]));
        assert_eq!(pod["containers"][0]["terminationMessagePolicy"], "FallbackToLogsOnError");
        assert_eq!(job["metadata"]["labels"], json!({"team": "a", "keelson.dev/hook": "backup"}));
        assert_eq!(spec["template"]["metadata"]["labels"], json!({"keelson.dev/hook": "backup"}));
        assert_eq!(job["metadata"]["annotations"][INSTANTIATE_ANNOTATION], "manual");
        assert_eq!(job["metadata"].get("resourceVersion"), None);
        assert_eq!(job["metadata"]["namespace"], "team");
    }

    #[test]
    fn digest_changes_with_what_runs() {
        let job = |image| {
            built(
                json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": image}]}}}}),
                &source(false),
            )
        };
        let digest = |image| job(image)["metadata"]["annotations"][DIGEST_ANNOTATION].as_str().unwrap().to_owned();
        assert_eq!(digest("a"), digest("a"));
        assert_ne!(digest("a"), digest("b"));
        assert_eq!(job("a")["metadata"]["annotations"].get(INSTANTIATE_ANNOTATION), None);
    }

    #[test]
    fn name_is_valid_unique_and_short() {
        let name = job_name("Backup_1", &["uid", "x"]);
        assert!(name.starts_with("backup-1-") && name.len() == "backup-1-".len() + 16, "{name}");
        assert_ne!(job_name("a", &["a", "bc"]), job_name("a", &["ab", "c"]));
        assert_eq!(job_name(&"x".repeat(300), &[]).len(), MAX_READABLE + 17);
        assert!(job_name("__", &[]).starts_with("job-"));
    }
}
