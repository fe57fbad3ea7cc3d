//! Creates, observes and deletes Jobs. I/O: the management cluster's API. Every call has a deadline. The methods never retry.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, Job, JobTemplateSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, Client, ResourceExt as _};

use super::build::DIGEST_ANNOTATION;
use super::error::JobError;
use super::outcome::{JobOutcome, describe_waiting, outcome};
use crate::api::job_source::JobSource;

/// As for other calls to the management cluster.
const DEADLINE: Duration = Duration::from_secs(10);
/// Kubernetes' own label of a Job's Pods: the Job's UID.
const JOB_UID_LABEL: &str = "batch.kubernetes.io/controller-uid";

/// What was observed of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// How it ended.
    pub outcome: JobOutcome,
    /// Why it does not run, if it has not ended.
    pub waiting: Option<String>,
}

/// Runs Jobs in the management cluster.
#[derive(Clone)]
pub struct JobRunner {
    client: Client,
}

impl JobRunner {
    /// A runner that uses `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The template of `source`. `namespace`: where a CronJob is whose namespace is not named.
    ///
    /// # Errors
    /// It is no template of a Job, or the CronJob cannot be read.
    pub async fn template(&self, source: &JobSource, namespace: &str) -> Result<JobTemplateSpec, JobError> {
        let (Some(cron_job), None) = (&source.cron_job, &source.template) else {
            let template = source.template.as_ref().filter(|_| source.cron_job.is_none());
            let template = template
                .ok_or_else(|| JobError::Invalid("exactly one of cronJob and template must be set".to_owned()))?;
            return template.parse().map_err(|why| JobError::Invalid(format!("template: {why}")));
        };
        let namespace = cron_job.namespace.as_deref().unwrap_or(namespace);
        let api: Api<CronJob> = Api::namespaced(self.client.clone(), namespace);
        match within("read CronJobs", namespace, api.get_opt(&cron_job.name)).await? {
            Some(found) => Ok(found.spec.job_template),
            None => Err(JobError::NoCronJob { namespace: namespace.to_owned(), name: cron_job.name.clone() }),
        }
    }

    /// Creates `job`, and returns its UID. One that exists is adopted if it is the same.
    ///
    /// # Errors
    /// The API server refuses it or fails, or another Job has its name.
    pub async fn create(&self, job: &Job) -> Result<String, JobError> {
        let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
        let api: Api<Job> = Api::namespaced(self.client.clone(), &namespace);
        let created = within("create Jobs", &namespace, api.create(&PostParams::default(), job)).await;
        match created {
            Ok(created) => Ok(created.uid().unwrap_or_default()),
            Err(JobError::Api { source, .. }) if is_conflict(&source) => {
                let existing = within("read Jobs", &namespace, api.get_opt(&name)).await?;
                let is_same = existing.as_ref().is_some_and(|existing| is_same(existing, job));
                let uid = existing.filter(|_| is_same).and_then(|existing| existing.uid());
                uid.ok_or(JobError::NameTaken { namespace, name })
            }
            Err(error) => Err(error),
        }
    }

    /// How the Job `name` with this UID ended.
    ///
    /// # Errors
    /// It cannot be read: nothing is known of it then.
    pub async fn observe(&self, namespace: &str, name: &str, uid: &str) -> Result<Observed, JobError> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let job = within("read Jobs", namespace, api.get_opt(name)).await?;
        let ended = outcome(job.as_ref(), &[], uid);
        if !matches!(ended, JobOutcome::Running | JobOutcome::Failed(_)) {
            return Ok(Observed { outcome: ended, waiting: None });
        }
        // Its Pods only explain: without them, the Job's own message says what is known.
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().labels(&format!("{JOB_UID_LABEL}={uid}")).limit(50);
        let pods = match within("list Pods", namespace, pods.list(&params)).await {
            Ok(pods) => pods.items,
            Err(error) => {
                tracing::warn!(%error, "failed to read the Pods of a Job");
                Vec::new()
            }
        };
        let outcome = outcome(job.as_ref(), &pods, uid);
        let waiting = (outcome == JobOutcome::Running).then(|| describe_waiting(&pods)).flatten();
        Ok(Observed { outcome, waiting })
    }

    /// Deletes the Job with this UID, and its Pods. Succeeds if it no longer exists.
    ///
    /// # Errors
    /// The API server refuses it or fails.
    pub async fn delete(&self, namespace: &str, name: &str, uid: &str) -> Result<(), JobError> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        match within("delete Jobs", namespace, api.delete(name, &params)).await {
            // 409: another one has its name.
            Err(JobError::Api { source, .. }) if is_conflict(&source) || has_code(&source, 404) => Ok(()),
            result => result.map(drop),
        }
    }
}

/// Whether `existing` is the Job that was built, with the same owner.
fn is_same(existing: &Job, built: &Job) -> bool {
    let digest = |job: &Job| job.annotations().get(DIGEST_ANNOTATION).cloned();
    let owners = |job: &Job| job.owner_references().iter().map(|owner| owner.uid.clone()).collect::<Vec<_>>();
    digest(existing).is_some() && digest(existing) == digest(built) && owners(existing) == owners(built)
}

fn has_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

fn is_conflict(error: &kube::Error) -> bool {
    has_code(error, 409)
}

async fn within<T>(
    call: &'static str,
    namespace: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, JobError> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(answer) => answer.map_err(|error| JobError::of_call(call, namespace, error)),
        Err(_) => Err(JobError::TimedOut { call, namespace: namespace.to_owned(), seconds: DEADLINE.as_secs() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(digest: Option<&str>, owner: &str) -> Job {
        let owner = json!({"apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "name": "demo", "uid": owner});
        let annotations = digest.map(|digest| json!({DIGEST_ANNOTATION: digest})).unwrap_or_else(|| json!({}));
        serde_json::from_value(
            json!({"metadata": {"name": "j", "annotations": annotations, "ownerReferences": [owner]}}),
        )
        .unwrap()
    }

    #[test]
    fn only_the_job_that_was_built_is_adopted() {
        let built = job(Some("1"), "u");
        assert!(is_same(&job(Some("1"), "u"), &built));
        assert!(!is_same(&job(Some("2"), "u"), &built));
        assert!(!is_same(&job(Some("1"), "other"), &built));
        assert!(!is_same(&job(None, "u"), &job(None, "u")));
    }
}
