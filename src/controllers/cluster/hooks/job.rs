//! The Job of a hook: its template, environment, labels, owner and deadline. I/O: reads a CronJob.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobTemplateSpec};
use kube::{Resource as _, ResourceExt};

use crate::api::duration;
use crate::api::hook::{CLUSTER_LABEL, HOOK_LABEL, Hook, HookCluster, HookPlace, HookPoint, HookStatus};
use crate::controllers::cluster::{Reconcile, agent};
use crate::hooks::Moment;
use crate::jobs::{JobError, JobRequest, build, digest};
use crate::resources::cloud::Cloud;

/// Longest value of a label.
const MAX_LABEL: usize = 63;
/// How long after its timeout Kubernetes ends a Job that nobody observes.
const GRACE: Duration = Duration::from_secs(60);
/// How long after its end Kubernetes keeps a Job that nobody deletes, in seconds: nothing in the workload cluster owns it. Within an hour
/// Keelson does; a week without an operator is longer than any outage.
const KEPT_IN_WORKLOAD: i32 = 7 * 24 * 3600;

impl Reconcile<'_> {
    /// The template of a hook, and the digest of what a failed hook is tried again for.
    pub(super) async fn read_hook_template(
        &self,
        hook: &Hook,
        cloud: &Cloud,
    ) -> Result<(JobTemplateSpec, String), JobError> {
        let place = hook.place();
        let (runner, namespace) = self.job_runner(&place, cloud).await?;
        let template = runner.template(&hook.job, &namespace).await?;
        let digest = match place {
            HookPlace::Management => digest(&(&template, &hook.timeout)),
            HookPlace::Workload { namespace } => digest(&(&template, &hook.timeout, "Workload", namespace)),
        };
        Ok((template, digest))
    }

    /// The Job of `entry`.
    pub(super) fn hook_job(&self, entry: &HookStatus, hook: &Hook, template: JobTemplateSpec, cloud: &Cloud) -> Job {
        let cluster = self.object.name_any();
        let labels = [
            ("app.kubernetes.io/managed-by".to_owned(), "keelson".to_owned()),
            (HOOK_LABEL.to_owned(), entry.name.clone()),
            (CLUSTER_LABEL.to_owned(), label_value(&cluster)),
        ];
        // A foreground deletion of the EksCluster, as of Argo CD, deletes what it owns first: that must not end the hook that the
        // deletion waits for.
        let has_owner = entry.in_ == HookCluster::Management && entry.at != HookPoint::BeforeDelete;
        let owner = self.object.controller_owner_ref(&()).filter(|_| has_owner);
        let request = JobRequest {
            name: entry.job.clone().unwrap_or_default(),
            namespace: self.job_namespace(entry),
            source: &hook.job,
            env: self.hook_environment(entry, cloud),
            labels: BTreeMap::from(labels),
            owner,
        };
        let job = with_deadline(build(template, &request), duration::parse(&hook.timeout).unwrap_or_default());
        match entry.in_ {
            HookCluster::Management => job,
            HookCluster::Workload => kept_for_a_while(job),
        }
    }

    /// The environment of the Job. No credentials.
    fn hook_environment(&self, entry: &HookStatus, cloud: &Cloud) -> BTreeMap<String, String> {
        let moment = Moment::new(entry.at, entry.step.clone());
        let (from, to) = moment.versions();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let own = [
            ("KEELSON_CLUSTER", self.object.name_any()),
            ("KEELSON_NAMESPACE", self.namespace.clone()),
            ("KEELSON_HOOK", entry.name.clone()),
            ("KEELSON_POINT", entry.at.to_string()),
            ("KEELSON_FROM", text(from)),
            ("KEELSON_TO", text(to)),
            ("KEELSON_ATTEMPT", entry.attempt.to_string()),
        ];
        let facts = agent::facts(&self.state.memory, self.object, &cloud.aws).pairs();
        facts.into_iter().chain(own).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The Job, which Kubernetes ends some time after `timeout` if no operator does.
fn with_deadline(mut job: Job, timeout: Duration) -> Job {
    let seconds = i64::try_from(timeout.saturating_add(GRACE).as_secs()).unwrap_or(i64::MAX);
    if let Some(spec) = &mut job.spec {
        spec.active_deadline_seconds = Some(spec.active_deadline_seconds.map_or(seconds, |own| own.min(seconds)));
    }
    job
}

/// The Job, which Kubernetes deletes some time after its end if no operator does.
fn kept_for_a_while(mut job: Job) -> Job {
    if let Some(spec) = &mut job.spec {
        spec.ttl_seconds_after_finished = Some(KEPT_IN_WORKLOAD);
    }
    job
}

/// A name as the value of a label: a longer one is cut.
fn label_value(name: &str) -> String {
    let cut: String = name.chars().take(MAX_LABEL).collect();
    cut.trim_end_matches(['-', '.', '_']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_that_nobody_observes_ends() {
        let deadline = |own: Option<i64>, timeout: u64| {
            let spec = serde_json::json!({"activeDeadlineSeconds": own, "template": {}});
            let job: Job = serde_json::from_value(serde_json::json!({"spec": spec})).unwrap();
            with_deadline(job, Duration::from_secs(timeout)).spec.unwrap().active_deadline_seconds
        };
        assert_eq!(deadline(None, 600), Some(660));
        assert_eq!(deadline(Some(30), 600), Some(30));
        assert_eq!(deadline(Some(9000), 600), Some(660));
        assert_eq!(deadline(None, u64::MAX), Some(i64::MAX));
    }

    #[test]
    fn long_name_is_a_valid_label() {
        assert_eq!(label_value("demo"), "demo");
        let long = format!("{}-{}", "a".repeat(62), "b".repeat(20));
        assert_eq!(label_value(&long), "a".repeat(62));
    }
}
