//! Where the template of a Job comes from: a CronJob, or the object itself. Used by hooks and by checks. No I/O.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{JobSpec, JobTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rules;
use super::schema;

/// The Job to run: exactly one of `cronJob` and `template`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one_of(&["cronJob", "template"]))]
#[serde(rename_all = "camelCase")]
pub struct JobSource {
    /// A CronJob whose `jobTemplate` is used, as with `kubectl create job --from`. It is usually suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron_job: Option<CronJobRef>,
    /// The Job's template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<JobTemplate>,
}

/// A CronJob.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CronJobRef {
    /// Name of the CronJob.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
    /// Its namespace; the Job runs there. Absent: the namespace of the object that names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace_name())]
    pub namespace: Option<String>,
}

/// The template of a Job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobTemplate {
    /// Labels and annotations of the Job.
    #[serde(default, skip_serializing_if = "JobMetadata::is_empty")]
    pub metadata: JobMetadata,
    /// The `spec` of a Job (batch/v1). `restartPolicy` is `Never` if it is absent; `ttlSecondsAfterFinished` and `suspend` are not
    /// used.
    #[schemars(schema_with = "schema::any_object")]
    pub spec: Map<String, Value>,
}

/// Labels and annotations of a Job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobMetadata {
    /// Labels of the Job.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::selector_labels")]
    #[x_kube(validation = rules::label_keys())]
    #[x_kube(validation = rules::label_values())]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Job.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::job_annotations")]
    #[x_kube(validation = rules::label_keys())]
    pub annotations: BTreeMap<String, String>,
}

impl JobMetadata {
    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

impl JobTemplate {
    /// The template as Kubernetes knows it.
    ///
    /// # Errors
    /// Which field is not one of a Job's, or has another type.
    pub fn parse(&self) -> Result<JobTemplateSpec, String> {
        let given = Value::Object(self.spec.clone());
        let spec: JobSpec =
            serde_json::from_value(given.clone()).map_err(|error| format!("it is not the spec of a Job: {error}"))?;
        let known = serde_json::to_value(&spec).map_err(|error| error.to_string())?;
        if let Some(path) = unknown_field(&given, &known, "spec") {
            return Err(format!("{path} is not a field of a Job"));
        }
        let (labels, annotations) = (self.metadata.labels.clone(), self.metadata.annotations.clone());
        let metadata = ObjectMeta {
            labels: (!labels.is_empty()).then_some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        };
        Ok(JobTemplateSpec { metadata: Some(metadata), spec: Some(spec) })
    }
}

/// The first field of `given` that `known` lacks: parsing ignored it. Empty values do not count: they say nothing.
fn unknown_field(given: &Value, known: &Value, path: &str) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match known.get(name) {
                Some(known) => unknown_field(value, known, &path),
                None => (!is_empty(value)).then_some(path),
            }
        }),
        (Value::Array(given), Value::Array(known)) => {
            let mut pairs = given.iter().zip(known).enumerate();
            pairs.find_map(|(index, (given, known))| unknown_field(given, known, &format!("{path}[{index}]")))
        }
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(spec: &Value) -> Result<JobTemplateSpec, String> {
        let template: JobTemplate = serde_json::from_value(json!({"spec": spec})).unwrap();
        template.parse()
    }

    #[test]
    fn template_is_the_spec_of_a_job() {
        let spec = json!({"backoffLimit": 0, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
        "restartPolicy": "Never", "volumes": [], "containers": [{
            "name": "main", "image": "backup", "command": ["backup"],
            "resources": {"requests": {"cpu": "1"}},
            "securityContext": {"runAsNonRoot": true, "capabilities": {"drop": ["ALL"]}}
        }]}}});
        let parsed = parse(&spec).unwrap().spec.unwrap();
        assert_eq!(parsed.backoff_limit, Some(0));
        assert_eq!(parsed.template.spec.unwrap().containers[0].image.as_deref(), Some("backup"));
    }

    #[test]
    fn unknown_field_is_an_error_and_not_ignored() {
        let message = parse(&json!({"backofLimit": 0, "template": {}})).unwrap_err();
        assert_eq!(message, "spec.backofLimit is not a field of a Job");
        let pod = json!({"containers": [{"name": "a"}, {"name": "b", "comand": ["x"]}]});
        let message = parse(&json!({"template": {"spec": pod}})).unwrap_err();
        assert_eq!(message, "spec.template.spec.containers[1].comand is not a field of a Job");
        let message = parse(&json!({"backoffLimit": "none", "template": {}})).unwrap_err();
        assert!(message.starts_with("it is not the spec of a Job: "), "{message}");
    }
}
