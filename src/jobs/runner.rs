//! Creates, observes and deletes Jobs. I/O: the API of the cluster in which they run. Every call has a deadline. The methods never
//! retry.

use k8s_openapi::api::batch::v1::{CronJob, Job, JobTemplateSpec};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::core::params::{DeleteParams, GetParams, ListParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::{ObjectList, Request};
use kube::{Client, ResourceExt as _};

use super::build::DIGEST_ANNOTATION;
use super::error::JobError;
use super::job_cluster::{FailureKind, Target, WorkloadCluster};
use super::job_outcome::{JobOutcome, describe_waiting, outcome};
use crate::api::job_source::JobSource;
use crate::workload::Workloads;
use crate::workload::client::Access;
use crate::workload::object::collection;

const BATCH: &str = "batch/v1";
/// Kubernetes' own label of a Job's Pods: the Job's UID.
const JOB_UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
/// Longest UID that status takes.
const MAX_UID: usize = 64;

/// What was observed of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// How it ended.
    pub outcome: JobOutcome,
    /// Why it does not run, if it has not ended.
    pub waiting: Option<String>,
}

/// Runs Jobs in one cluster.
#[derive(Clone)]
pub struct JobRunner {
    target: Target,
}

fn jobs(namespace: &str) -> Request {
    collection(BATCH, "Job", Some(namespace))
}

impl JobRunner {
    /// A runner in the management cluster, which uses `client`.
    pub fn new(client: Client) -> Self {
        Self { target: Target::Management(client) }
    }

    /// A runner in the workload cluster of the EksCluster with the UID `key`.
    pub fn in_workload(workloads: Workloads, key: String, access: Access) -> Self {
        Self { target: Target::Workload(Box::new(WorkloadCluster { workloads, key, access })) }
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
        let request = collection(BATCH, "CronJob", Some(namespace)).get(&cron_job.name, &GetParams::default());
        match self.target.send::<CronJob>("read CronJobs", namespace, request).await {
            Ok(found) => Ok(found.spec.job_template),
            Err(failure) if failure.kind == FailureKind::NotFound => {
                let (namespace, of) = (namespace.to_owned(), self.target.suffix());
                match self.lacks_namespace(&namespace).await {
                    true => Err(JobError::NoNamespace { namespace, of }),
                    false => Err(JobError::NoCronJob { namespace, name: cron_job.name.clone(), of }),
                }
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// Whether that namespace is known not to exist. In the management cluster the operator may not read namespaces, and has no
    /// permission in one that does not exist.
    async fn lacks_namespace(&self, namespace: &str) -> bool {
        if matches!(self.target, Target::Management(_)) {
            return false;
        }
        let request = collection("v1", "Namespace", None).get(namespace, &GetParams::default());
        let found = self.target.send::<Namespace>("read Namespaces", namespace, request).await;
        found.is_err_and(|failure| failure.kind == FailureKind::NotFound)
    }

    /// Creates `job`, and returns its UID. One that exists is adopted if it is the same.
    ///
    /// # Errors
    /// The API server refuses it or fails, or another Job has its name.
    pub async fn create(&self, job: &Job) -> Result<String, JobError> {
        const CALL: &str = "create Jobs";
        let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
        let body = serde_json::to_vec(job)
            .map_err(|error| JobError::of_call(CALL, &namespace, kube::Error::SerdeError(error)))?;
        let request = jobs(&namespace).create(&PostParams::default(), body);
        match self.target.send::<Job>(CALL, &namespace, request).await {
            Ok(created) => uid(&created)
                .ok_or_else(|| JobError::Invalid(format!("Job {namespace}/{name} was created without a UID"))),
            Err(failure) => match failure.kind {
                FailureKind::Conflict => {
                    let existing = self.find(&namespace, &name).await?;
                    let existing = existing.filter(|existing| digest(existing).is_some());
                    match existing.as_ref().and_then(uid) {
                        Some(uid) if existing.as_ref().is_some_and(|existing| is_same(existing, job)) => Ok(uid),
                        uid => Err(JobError::NameTaken { namespace, name, uid }),
                    }
                }
                FailureKind::NotFound => Err(JobError::NoNamespace { namespace, of: self.target.suffix() }),
                FailureKind::Refused => Err(JobError::Invalid(failure.error.to_string())),
                FailureKind::Other => Err(failure.error),
            },
        }
    }

    /// How the Job `name` with this UID ended.
    ///
    /// # Errors
    /// It cannot be read: nothing is known of it then.
    pub async fn observe(&self, namespace: &str, name: &str, uid: &str) -> Result<Observed, JobError> {
        let job = self.find(namespace, name).await?;
        let ended = outcome(job.as_ref(), &[], uid);
        if !matches!(ended, JobOutcome::Running | JobOutcome::Failed(_)) {
            return Ok(Observed { outcome: ended, waiting: None });
        }
        // Its Pods only explain: without them, the Job's own message says what is known.
        let params = ListParams::default().labels(&format!("{JOB_UID_LABEL}={uid}")).limit(50);
        let request = collection("v1", "Pod", Some(namespace)).list(&params);
        let pods = match self.target.send::<ObjectList<Pod>>("list Pods", namespace, request).await {
            Ok(pods) => pods.items,
            Err(failure) => {
                tracing::warn!(error = %failure.error, "failed to read the Pods of a Job");
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
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let request = jobs(namespace).delete(name, &params);
        match self.target.send::<serde_json::Value>("delete Jobs", namespace, request).await {
            Ok(_) => Ok(()),
            // 409: another one has its name.
            Err(failure) if matches!(failure.kind, FailureKind::Conflict | FailureKind::NotFound) => Ok(()),
            Err(failure) => Err(failure.error),
        }
    }

    /// The UID of the Job `name`, if it exists and Keelson created it.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn find_own(&self, namespace: &str, name: &str) -> Result<Option<String>, JobError> {
        let job = self.find(namespace, name).await?.filter(|job| digest(job).is_some());
        Ok(job.as_ref().and_then(uid))
    }

    /// The Job `name`, if it exists.
    async fn find(&self, namespace: &str, name: &str) -> Result<Option<Job>, JobError> {
        let request = jobs(namespace).get(name, &GetParams::default());
        match self.target.send::<Job>("read Jobs", namespace, request).await {
            Ok(job) => Ok(Some(job)),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(None),
            Err(failure) => Err(failure.error),
        }
    }
}

/// The UID of a Job, as long as status takes it.
fn uid(job: &Job) -> Option<String> {
    job.uid().filter(|uid| !uid.is_empty() && uid.len() <= MAX_UID)
}

/// The digest of the template of a Job that Keelson created.
fn digest(job: &Job) -> Option<&String> {
    job.annotations().get(DIGEST_ANNOTATION)
}

/// Whether `existing` is the Job that was built, with the same owner.
fn is_same(existing: &Job, built: &Job) -> bool {
    let owners = |job: &Job| job.owner_references().iter().map(|owner| owner.uid.clone()).collect::<Vec<_>>();
    digest(existing).is_some() && digest(existing) == digest(built) && owners(existing) == owners(built)
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
