//! The Job of a hook: its template, environment, labels and owner. I/O: reads a CronJob.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobTemplateSpec};
use kube::{Resource as _, ResourceExt};

use crate::api::hook::{CLUSTER_LABEL, HOOK_LABEL, Hook, HookPoint, HookStatus};
use crate::controllers::cluster::{Reconcile, agent};
use crate::hooks::Moment;
use crate::jobs::{JobError, JobRequest, build, digest};
use crate::resources::cloud::Cloud;

/// Longest value of a label.
const MAX_LABEL: usize = 63;

impl Reconcile<'_> {
    /// The template of a hook, and the digest of what a failed hook is tried again for.
    pub(super) async fn read_hook_template(&self, hook: &Hook) -> Result<(JobTemplateSpec, String), JobError> {
        let template = self.hook_runner().template(&hook.job, &self.namespace).await?;
        let digest = digest(&(&template, &hook.timeout));
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
        let owner = self.object.controller_owner_ref(&()).filter(|_| entry.at != HookPoint::BeforeDelete);
        let request = JobRequest {
            name: entry.job.clone().unwrap_or_default(),
            namespace: self.namespace.clone(),
            source: &hook.job,
            env: self.hook_environment(entry, cloud),
            labels: BTreeMap::from(labels),
            owner,
        };
        build(template, &request)
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

/// A name as the value of a label: a longer one is cut.
fn label_value(name: &str) -> String {
    let cut: String = name.chars().take(MAX_LABEL).collect();
    cut.trim_end_matches(['-', '.', '_']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_name_is_a_valid_label() {
        assert_eq!(label_value("demo"), "demo");
        let long = format!("{}-{}", "a".repeat(62), "b".repeat(20));
        assert_eq!(label_value(&long), "a".repeat(62));
    }
}
