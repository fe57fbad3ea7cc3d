//! Readiness of a standby: whether it could take over. The API server responds, every kind can be listed, the CRDs have
//! all fields of this version, and it has the permissions to lead. Of a leader: whether the CRDs have all fields.
//!
//! This stops a rollout with broken RBAC or without the CRDs at its first replica. Once ready, a standby stays ready
//! while the API server is unavailable: removing it gains nothing, and all replicas would become unready at once. It
//! becomes unready when the API server responds, and reports twice in a row that the standby could not lead. I/O:
//! reads of the management cluster's API.

use std::convert::Infallible;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::core::Request;
use kube::core::params::ListParams;
use kube::{Api, Client, Resource};
use serde::de::IgnoredAny;

use super::apply::{self, Kind};
use super::http::Health;
use super::installed_crds;
use crate::api::{AwsAccount, EksCluster, NodeGroup};

/// Interval until the first successful check.
const INTERVAL_UNREADY: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(2) };
/// Interval while ready.
const INTERVAL_READY: Duration = if cfg!(test) { Duration::from_millis(40) } else { Duration::from_secs(30) };
/// Timeout of a check.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Check {
    Ready,
    Unready(String),
    Unavailable(String),
}

/// Permissions required to lead: verb, resource, subresource. `list` is tried for real, which also detects missing
/// CRDs.
const PERMISSIONS: [(&str, &str, &str); 10] = [
    ("watch", "eksclusters", ""),
    ("watch", "nodegroups", ""),
    ("watch", "awsaccounts", ""),
    ("watch", "fleetrollouts", ""),
    ("patch", "eksclusters", ""),
    ("patch", "nodegroups", ""),
    ("patch", "eksclusters", "status"),
    ("patch", "nodegroups", "status"),
    ("patch", "awsaccounts", "status"),
    ("patch", "fleetrollouts", "status"),
];

/// Checks while this replica is on standby; never returns. `lease`: namespace and name.
pub async fn monitor_standby(client: &Client, lease: (&str, &str), health: &Health) -> Infallible {
    let mut failures = 0;
    loop {
        let check = match tokio::time::timeout(TIMEOUT, check(client, lease)).await {
            Ok(check) => check,
            Err(_) => Check::Unavailable("the API server does not answer in time".to_owned()),
        };
        failures = if matches!(check, Check::Unready(_)) { failures + 1 } else { 0 };
        match check {
            Check::Ready => health.set_ready(),
            Check::Unready(reason) if !health.is_ready() || failures > 1 => {
                if failures <= 2 {
                    tracing::warn!(reason, "this standby replica cannot take over");
                }
                health.set_not_ready(reason);
            }
            Check::Unavailable(reason) if !health.is_ready() => health.set_not_ready(reason),
            Check::Unready(_) | Check::Unavailable(_) => {}
        }
        let is_stable = health.is_ready() && failures == 0;
        tokio::time::sleep(if is_stable { INTERVAL_READY } else { INTERVAL_UNREADY }).await;
    }
}

async fn check(client: &Client, lease: (&str, &str)) -> Check {
    match try_all(client, lease).await {
        Ok(None) => Check::Ready,
        Ok(Some(reason)) => Check::Unready(reason),
        // 5xx and 429: temporarily unavailable.
        Err(kube::Error::Api(status)) if status.code < 429 => {
            Check::Unready(apply::describe_error(&kube::Error::Api(status)))
        }
        Err(error) => Check::Unavailable(format!("the API server does not answer: {}", apply::describe_error(&error))),
    }
}

/// Returns what is missing.
async fn try_all(client: &Client, (namespace, name): (&str, &str)) -> Result<Option<String>, kube::Error> {
    let missing =
        [list::<EksCluster>(client).await?, list::<NodeGroup>(client).await?, list::<AwsAccount>(client).await?];
    if let Some(reason) = missing.into_iter().flatten().next() {
        return Ok(Some(reason));
    }
    let keelson_attributes = |verb: &str, resource: &str, subresource: &str| ResourceAttributes {
        group: Some(crate::api::GROUP.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let lease_attributes = |verb: &str| ResourceAttributes {
        group: Some("coordination.k8s.io".to_owned()),
        resource: Some("leases".to_owned()),
        namespace: Some(namespace.to_owned()),
        // RBAC cannot restrict `create` to a name.
        name: (verb != "create").then(|| name.to_owned()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let installation_attributes = |verb: &str| ResourceAttributes {
        resource: Some("configmaps".to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(format!("{name}-installation")),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let permissions =
        PERMISSIONS.iter().map(|(verb, resource, subresource)| keelson_attributes(verb, resource, subresource));
    let stored = ["get", "update", "create"]
        .map(lease_attributes)
        .into_iter()
        .chain(["get", "patch"].map(installation_attributes));
    for permission in permissions.chain(stored) {
        if let Some(reason) = missing_permission(client, permission).await? {
            return Ok(Some(reason));
        }
    }
    Ok(installed_crds::describe_older(client).await)
}

/// Sets whether this replica is ready while it leads; never returns. `listed`: completes once all kinds are listed.
pub async fn monitor_leader(client: &Client, listed: impl Future<Output = ()>, health: &Health) -> Infallible {
    listed.await;
    let mut reported = None;
    loop {
        let older = installed_crds::describe_older(client).await;
        match &older {
            None => health.set_ready(),
            Some(reason) => {
                if reported.as_ref() != Some(reason) {
                    tracing::warn!(reason, "this leader cannot write all of status");
                }
                health.set_not_ready(reason.clone());
            }
        }
        reported = older;
        tokio::time::sleep(INTERVAL_READY).await;
    }
}

/// Lists at most one object, metadata only.
async fn list<K: Kind>(client: &Client) -> Result<Option<String>, kube::Error> {
    let one = ListParams::default().limit(1);
    let request = Request::new(K::url_path(&(), None)).list_metadata(&one).map_err(kube::Error::BuildRequest)?;
    match client.request::<IgnoredAny>(request).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let kind = <K as Resource>::plural(&());
            Ok(Some(format!("the API server does not serve {kind}: install the CRDs of this version (crds/)")))
        }
        Err(other) => Err(other),
    }
}

async fn missing_permission(client: &Client, permission: ResourceAttributes) -> Result<Option<String>, kube::Error> {
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(permission.clone()),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let response = Api::<SelfSubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    let allowed = response.status.is_some_and(|status| status.allowed);
    Ok((!allowed).then(|| describe(&permission)))
}

fn describe(permission: &ResourceAttributes) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let subresource = permission.subresource.as_ref().map(|sub| format!("/{sub}")).unwrap_or_default();
    let group = permission.group.as_ref().map(|group| format!(".{group}")).unwrap_or_default();
    let place = permission.namespace.as_ref().map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
    format!(
        "not allowed to {} {}{subresource}{group}{place}: grant it to the operator's service account (deploy/rbac.yaml)",
        text(&permission.verb),
        text(&permission.resource)
    )
}

#[cfg(test)]
#[path = "readiness_tests.rs"]
mod tests;
