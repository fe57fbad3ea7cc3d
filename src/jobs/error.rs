//! Why a Job could not be run or read. No I/O.

use std::time::Duration;

use crate::workload::GitOpsError;

/// Why a Job could not be run or read.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The template is not one of a Job, or the API server refuses it.
    #[error("{0}")]
    Invalid(String),
    /// The CronJob does not exist.
    #[error("CronJob {namespace}/{name}{of} does not exist: create it, usually with `suspend: true`")]
    NoCronJob {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// In which cluster; empty: the management cluster.
        of: &'static str,
    },
    /// The namespace does not exist.
    #[error("namespace {namespace}{of} does not exist: create it, or name another one")]
    NoNamespace {
        /// Its name.
        namespace: String,
        /// In which cluster; empty: the management cluster.
        of: &'static str,
    },
    /// Something else has the name of the Job.
    #[error("Job {namespace}/{name} exists, and Keelson did not create it like this: delete it")]
    NameTaken {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its UID, if it is a Job that Keelson created, of another template.
        uid: Option<String>,
    },
    /// The operator has no permission there.
    #[error(
        "Keelson may not {call} in namespace {namespace} ({message}): kubectl create rolebinding keelson-jobs --namespace={namespace} \
         --clusterrole=keelson-jobs --serviceaccount=keelson-system:keelson (with the chart: jobs.namespaces)"
    )]
    Forbidden {
        /// What was not permitted.
        call: &'static str,
        /// The namespace.
        namespace: String,
        /// The API server's message.
        message: String,
    },
    /// The API server failed, or did not answer.
    #[error("failed to {call} in namespace {namespace}: {source}")]
    Api {
        /// What failed.
        call: &'static str,
        /// The namespace.
        namespace: String,
        /// Its error.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time. A write may have taken effect.
    #[error("failed to {call} in namespace {namespace}: the API server did not answer within {seconds} s")]
    TimedOut {
        /// What failed.
        call: &'static str,
        /// The namespace.
        namespace: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A workload cluster cannot be reached, or does not admit the operator. A write may have taken effect.
    #[error("failed to {call} in namespace {namespace} of the workload cluster: {source}")]
    Unreached {
        /// What failed.
        call: &'static str,
        /// The namespace.
        namespace: String,
        /// Why.
        #[source]
        source: Box<GitOpsError>,
    },
    /// A workload cluster answered something that says nothing of the Job.
    #[error("failed to {call} in namespace {namespace} of the workload cluster: {message}")]
    Answer {
        /// What failed.
        call: &'static str,
        /// The namespace.
        namespace: String,
        /// What it answered.
        message: String,
    },
    /// The workload cluster has no API, as far as is known.
    #[error("its Job runs in the workload cluster, whose API server is not known: {0}")]
    NoApi(String),
}

impl JobError {
    /// Whether somebody must change something; otherwise it is tried again by itself.
    pub fn requires_change(&self) -> bool {
        match self {
            Self::Invalid(_)
            | Self::NoCronJob { .. }
            | Self::NoNamespace { .. }
            | Self::NameTaken { .. }
            | Self::Forbidden { .. } => true,
            Self::Api { .. }
            | Self::TimedOut { .. }
            | Self::Unreached { .. }
            | Self::Answer { .. }
            | Self::NoApi(_) => false,
        }
    }

    /// Whether it is because a workload cluster does not answer: nothing is known of the Job then, and it may stay so for long.
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Self::Unreached { .. } | Self::Answer { .. } | Self::NoApi(_))
    }

    /// When a workload cluster is asked again at the earliest, if it was unreachable.
    pub fn requeue_after(&self) -> Option<Duration> {
        match self {
            Self::Unreached { source, .. } => Some(source.requeue_after()),
            _ => None,
        }
    }

    /// The error of a call to the API server.
    pub fn of_call(call: &'static str, namespace: &str, error: kube::Error) -> Self {
        let namespace = namespace.to_owned();
        match error {
            // Quotas and webhooks answer 403 too, but they do not name the user.
            kube::Error::Api(status) if status.code == 403 && is_rbac(&status.message) => {
                Self::Forbidden { call, namespace, message: status.message }
            }
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => {
                Self::Invalid(format!("the API server refused to {call} in namespace {namespace}: {}", status.message))
            }
            error => Self::Api { call, namespace, source: Box::new(error) },
        }
    }
}

/// Whether a 403 with this message is about the permissions of the user.
pub(super) fn is_rbac(message: &str) -> bool {
    message.contains("User \"") && message.contains(" cannot ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn of(code: u16, message: &str) -> JobError {
        let status = Status { code, message: message.to_owned(), ..Status::default() };
        JobError::of_call("create Jobs", "team", kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn missing_permission_says_how_to_give_it() {
        let error =
            of(403, "jobs.batch is forbidden: User \"x\" cannot create resource \"jobs\" in API group \"batch\"");
        assert!(error.requires_change());
        let text = error.to_string();
        assert!(text.contains("may not create Jobs in namespace team"), "{text}");
        assert!(text.contains("kubectl create rolebinding keelson-jobs --namespace=team"), "{text}");
        assert!(matches!(of(403, "exceeded quota: jobs"), JobError::Invalid(_)));
        assert!(matches!(of(422, "spec.template is invalid"), JobError::Invalid(_)));
        assert!(!of(500, "etcd").requires_change());
    }
}
