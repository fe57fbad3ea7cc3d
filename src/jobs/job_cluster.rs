//! The cluster in which Jobs run, and what its API server answers. I/O: that API. Every call has a deadline, and none is retried.

use std::time::{Duration, SystemTime};

use http::Request;
use kube::Client;
use serde::de::DeserializeOwned;

use super::error::{JobError, is_rbac};
use crate::workload::Workloads;
use crate::workload::answer;
use crate::workload::client::Access;
use crate::workload::error::{CallError, Unreachable};

/// As for other calls to the management cluster. A workload cluster has no more time: the reconcile waits for its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where Jobs run.
#[derive(Clone)]
pub(super) enum Target {
    /// In the management cluster.
    Management(Client),
    /// In a workload cluster.
    Workload(Box<WorkloadCluster>),
}

/// A workload cluster.
#[derive(Clone)]
pub(super) struct WorkloadCluster {
    /// The clients, with what is known of outages.
    pub workloads: Workloads,
    /// UID of its EksCluster.
    pub key: String,
    /// The way to its API.
    pub access: Access,
}

/// A failed call. The caller decides what a kind means.
pub(super) struct Failure {
    pub kind: FailureKind,
    /// The error where the kind means nothing to the caller.
    pub error: JobError,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// The API server of a workload cluster rejects the request, or its answer is not one of Kubernetes.
    Refused,
    /// Something else.
    Other,
}

impl Target {
    /// What follows the names of objects in messages.
    pub fn suffix(&self) -> &'static str {
        match self {
            Self::Management(_) => "",
            Self::Workload(_) => " of the workload cluster",
        }
    }

    /// Sends a request, and parses the answer. `call`: what it does, for messages.
    pub async fn send<T: DeserializeOwned + Send>(
        &self,
        call: &'static str,
        namespace: &str,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, Failure> {
        let request = request.map_err(|error| {
            let error = JobError::of_call(call, namespace, kube::Error::BuildRequest(error));
            Failure { kind: FailureKind::Other, error }
        })?;
        match self {
            Self::Management(client) => match tokio::time::timeout(DEADLINE, client.request::<T>(request)).await {
                Ok(answer) => answer.map_err(|error| of_management(call, namespace, error)),
                Err(_) => {
                    let (namespace, seconds) = (namespace.to_owned(), DEADLINE.as_secs());
                    let error = JobError::TimedOut { call, namespace, seconds };
                    Err(Failure { kind: FailureKind::Other, error })
                }
            },
            Self::Workload(cluster) => cluster.send(call, namespace, request).await,
        }
    }
}

impl WorkloadCluster {
    /// What others write there is read within the limits of workload clusters. An outage is remembered for all that use the cluster.
    async fn send<T: DeserializeOwned + Send>(
        &self,
        call: &'static str,
        namespace: &str,
        request: Request<Vec<u8>>,
    ) -> Result<T, Failure> {
        let Self { workloads, key, access } = self;
        let read = async move |client: Client| {
            let sent = tokio::time::timeout(DEADLINE, answer::request::<T>(&client, request)).await;
            match sent.unwrap_or(Err(CallError::Unreachable(Unreachable::Timeout))) {
                Err(error) if is_of_cluster(&error) => Err(error),
                answered => Ok(answered),
            }
        };
        match workloads.read(key, access, SystemTime::now(), read).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(of_workload(call, namespace, &error)),
            Err(error) => {
                let error = JobError::Unreached { call, namespace: namespace.to_owned(), source: Box::new(error) };
                Err(Failure { kind: FailureKind::Other, error })
            }
        }
    }
}

fn of_management(call: &'static str, namespace: &str, error: kube::Error) -> Failure {
    let kind = match &error {
        kube::Error::Api(status) if status.code == 404 => FailureKind::NotFound,
        kube::Error::Api(status) if status.code == 409 => FailureKind::Conflict,
        _ => FailureKind::Other,
    };
    Failure { kind, error: JobError::of_call(call, namespace, error) }
}

/// Whether an error is one of the whole cluster. That the API server is busy may be due to a webhook for Jobs; a quota answers 403,
/// too, but does not name the user.
fn is_of_cluster(error: &CallError) -> bool {
    match error {
        CallError::Unreachable(Unreachable::Busy(_)) => false,
        CallError::Unreachable(_) => true,
        CallError::Denied { message, unauthenticated } => *unauthenticated || is_rbac(message),
        CallError::NotFound
        | CallError::Conflict
        | CallError::Expired
        | CallError::Refused(_)
        | CallError::TooLarge(_) => false,
    }
}

fn of_workload(call: &'static str, namespace: &str, error: &CallError) -> Failure {
    let kind = match error {
        CallError::NotFound => FailureKind::NotFound,
        CallError::Conflict => FailureKind::Conflict,
        CallError::Denied { .. } | CallError::Refused(_) => FailureKind::Refused,
        CallError::Unreachable(_) | CallError::Expired | CallError::TooLarge(_) => FailureKind::Other,
    };
    let (namespace, message) = (namespace.to_owned(), error.to_string());
    Failure { kind, error: JobError::Answer { call, namespace, message } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(message: &str, unauthenticated: bool) -> CallError {
        CallError::Denied { message: message.into(), unauthenticated }
    }

    #[test]
    fn only_what_concerns_the_whole_cluster_is_an_outage() {
        let busy = CallError::Unreachable(Unreachable::Busy("500: failed calling webhook".into()));
        let forbidden = "jobs.batch is forbidden: User \"x\" cannot create resource \"jobs\" in API group \"batch\"";
        let table = [
            (CallError::Unreachable(Unreachable::Timeout), true, FailureKind::Other),
            (busy, false, FailureKind::Other),
            (denied("Unauthorized", true), true, FailureKind::Refused),
            (denied(forbidden, false), true, FailureKind::Refused),
            (denied("exceeded quota: jobs", false), false, FailureKind::Refused),
            (CallError::NotFound, false, FailureKind::NotFound),
            (CallError::Conflict, false, FailureKind::Conflict),
            (CallError::Refused("spec.template is invalid".into()), false, FailureKind::Refused),
            (CallError::TooLarge("a response is larger than 4096 KiB".into()), false, FailureKind::Other),
        ];
        for (error, is_outage, kind) in table {
            assert_eq!(is_of_cluster(&error), is_outage, "{error}");
            let failure = of_workload("create Jobs", "default", &error);
            assert_eq!(failure.kind, kind, "{error}");
            assert!(failure.error.is_unanswered() && !failure.error.requires_change(), "{error}");
        }
    }
}
