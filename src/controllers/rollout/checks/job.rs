//! Runs the Job of a check until it ends. Its name derives from what the result will count for: after a restart of the operator the same
//! Job is found again, and one that was deleted meanwhile runs again. I/O: the management cluster's API.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Client, Resource as _, ResourceExt};

use crate::api::duration;
use crate::api::fleet_rollout_check::{CheckCronJob, JobCheck};
use crate::api::job_source::{CronJobRef, JobSource};
use crate::api::{FleetRollout, TAG_PREFIX};
use crate::jobs::{JobOutcome, JobRequest, JobRunner, build, job_name};
use crate::rollout::{ClusterOutcome, DueCheck, Outcome};

/// How often a Job is observed.
const POLL: Duration = Duration::from_secs(2);
/// How long after its timeout Kubernetes may take to end a Job.
const GRACE: Duration = Duration::from_secs(60);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How long Jobs stay after their end, for people.
const KEPT_SECONDS: i32 = 24 * 3600;

/// A Job, apart from the template, which is read when it runs.
pub struct Requested {
    name: String,
    env: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    owner: Option<OwnerReference>,
}

/// What is asked for.
pub fn request(rollout: &FleetRollout, due: &DueCheck, check: &JobCheck) -> Requested {
    let (uid, step) = (rollout.uid().unwrap_or_default(), due.key.step);
    let CheckCronJob { namespace, name } = &check.cron_job;
    let step_text = step.to_string();
    let identity = [
        uid.as_str(),
        step_text.as_str(),
        due.key.wave.as_str(),
        due.key.check.as_str(),
        due.definition.as_str(),
        due.covered.as_str(),
        due.attempt.as_str(),
        namespace.as_str(),
        name.as_str(),
    ];
    let env = [
        ("KEELSON_ROLLOUT", rollout.name_any()),
        ("KEELSON_WAVE", due.key.wave.clone()),
        ("KEELSON_GATE", step.gate.as_str().to_owned()),
        ("KEELSON_TARGET", step.target.to_string()),
        ("KEELSON_CLUSTERS", due.clusters.join(",")),
    ];
    let labels = [
        ("rollout", short(&rollout.name_any())),
        ("gate", step.gate.as_str().to_owned()),
        ("wave", due.key.wave.clone()),
        ("check", due.key.check.clone()),
    ];
    Requested {
        name: job_name(&format!("{}-{}", due.key.wave, due.key.check), &identity),
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        labels: labels.into_iter().map(|(key, value)| (format!("{TAG_PREFIX}{key}"), value)).collect(),
        // So that they are deleted with the rollout.
        owner: rollout.owner_ref(&()),
    }
}

/// A value of a label has at most 63 characters, and does not end with a separator.
fn short(name: &str) -> String {
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// Runs it.
pub async fn run(client: Client, check: JobCheck, requested: Requested) -> Vec<ClusterOutcome> {
    let timeout = duration::parse(&check.timeout).unwrap_or(DEFAULT_TIMEOUT);
    let ended =
        tokio::time::timeout(timeout.saturating_add(GRACE), until_end(client, &check, timeout, requested)).await;
    let outcome = ended.unwrap_or_else(|_| Outcome::Failed(format!("the Job has not ended within {}", check.timeout)));
    vec![ClusterOutcome { cluster: None, outcome }]
}

/// The Job, which Kubernetes ends after `timeout`, or earlier where its template says so, and deletes some time after its end.
fn limited(mut job: Job, timeout: Duration) -> Job {
    if let Some(spec) = &mut job.spec {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX).max(1);
        spec.active_deadline_seconds = Some(spec.active_deadline_seconds.map_or(seconds, |own| own.min(seconds)));
        spec.ttl_seconds_after_finished = Some(KEPT_SECONDS);
    }
    job
}

async fn until_end(client: Client, check: &JobCheck, timeout: Duration, requested: Requested) -> Outcome {
    let CheckCronJob { namespace, name } = &check.cron_job;
    let cron_job = CronJobRef { name: name.clone(), namespace: Some(namespace.clone()) };
    let source = JobSource { cron_job: Some(cron_job), template: None };
    let runner = JobRunner::new(client);
    let template = match runner.template(&source, namespace).await {
        Ok(template) => template,
        Err(error) => return Outcome::Error(error.to_string()),
    };
    let Requested { name, env, labels, owner } = requested;
    let request = JobRequest { name: name.clone(), namespace: namespace.clone(), source: &source, env, labels, owner };
    let job = limited(build(template, &request), timeout);
    let uid = match runner.create(&job).await {
        Ok(uid) => uid,
        Err(error) => return Outcome::Error(error.to_string()),
    };
    loop {
        match runner.observe(namespace, &name, &uid).await {
            Ok(observed) => match observed.outcome {
                JobOutcome::Running => {}
                JobOutcome::Succeeded => return Outcome::Succeeded,
                JobOutcome::Failed(why) => return Outcome::Failed(format!("Job {namespace}/{name}: {why}")),
                JobOutcome::Lost(why) => return Outcome::Error(format!("Job {namespace}/{name}: {why}")),
            },
            Err(error) if error.requires_change() => return Outcome::Error(error.to_string()),
            Err(error) => tracing::debug!(name, %error, "failed to read the Job of a check; Keelson will retry"),
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn job_ends_at_the_timeout_of_the_check_or_earlier_and_is_kept_for_a_day() {
        let of = |spec: Value, timeout: u64| {
            let mut job = json!({"metadata": {"name": "smoke"}, "spec": {"template": {}}});
            job["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            let spec = limited(serde_json::from_value(job).unwrap(), Duration::from_millis(timeout)).spec.unwrap();
            (spec.active_deadline_seconds, spec.ttl_seconds_after_finished)
        };
        let day = Some(86_400);
        let table = [
            (json!({}), 1_800_000, (Some(1800), day)),
            (json!({"activeDeadlineSeconds": 60}), 1_800_000, (Some(60), day)),
            (json!({"activeDeadlineSeconds": 7200, "ttlSecondsAfterFinished": 5}), 1_800_000, (Some(1800), day)),
            // Kubernetes takes whole seconds.
            (json!({}), 500, (Some(1), day)),
        ];
        for (spec, timeout, expected) in table {
            assert_eq!(of(spec.clone(), timeout), expected, "{spec} {timeout}");
        }
        assert_eq!(duration::parse("30m"), Some(DEFAULT_TIMEOUT));
    }
}
