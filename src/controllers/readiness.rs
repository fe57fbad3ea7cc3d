//! Whether a replica that stands by could take over: the API server answers, every kind can be listed, and it has the rights to lead.
//!
//! A rollout with broken RBAC or without the CRDs stops at its first replica by this. Once ready, a standby stays so while the API server
//! does not answer: nothing is gained by taking it out, and all replicas would go at once. It is no longer ready when the API server does
//! answer, and says twice in a row that it could not lead. I/O: reads of the management cluster's API.

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
use crate::api::{AwsAccount, EksCluster, NodeGroup};

/// Between checks until the first that passes.
const UNTIL_READY: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(2) };
/// Between checks of a replica that is ready.
const WHILE_READY: Duration = if cfg!(test) { Duration::from_millis(40) } else { Duration::from_secs(30) };
/// An API server that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Check {
    CouldLead,
    CouldNot(String),
    NoAnswer(String),
}

/// Without which rights nothing can be led: verb, resource, subresource. Listing is tried out, as it tells of missing CRDs too.
const RIGHTS: [(&str, &str, &str); 8] = [
    ("watch", "eksclusters", ""),
    ("watch", "nodegroups", ""),
    ("watch", "awsaccounts", ""),
    ("patch", "eksclusters", ""),
    ("patch", "nodegroups", ""),
    ("patch", "eksclusters", "status"),
    ("patch", "nodegroups", "status"),
    ("patch", "awsaccounts", "status"),
];

/// Checks for as long as this replica stands by, and never ends. `lease`: namespace and name.
pub async fn stand_by(client: &Client, lease: (&str, &str), health: &Health) -> Infallible {
    let mut refused = 0;
    loop {
        let check = match tokio::time::timeout(PATIENCE, check(client, lease)).await {
            Ok(check) => check,
            Err(_) => Check::NoAnswer("the API server does not answer in time".to_owned()),
        };
        refused = if matches!(check, Check::CouldNot(_)) { refused + 1 } else { 0 };
        match check {
            Check::CouldLead => health.set_ready(),
            Check::CouldNot(reason) if !health.is_ready() || refused > 1 => {
                if refused <= 2 {
                    tracing::warn!(reason, "this replica could not take over");
                }
                health.set_not_ready(reason);
            }
            Check::NoAnswer(reason) if !health.is_ready() => health.set_not_ready(reason),
            Check::CouldNot(_) | Check::NoAnswer(_) => {}
        }
        let settled = health.is_ready() && refused == 0;
        tokio::time::sleep(if settled { WHILE_READY } else { UNTIL_READY }).await;
    }
}

async fn check(client: &Client, lease: (&str, &str)) -> Check {
    match try_all(client, lease).await {
        Ok(None) => Check::CouldLead,
        Ok(Some(reason)) => Check::CouldNot(reason),
        // 5xx and 429: it is there, and does not answer this just now.
        Err(kube::Error::Api(status)) if status.code < 429 => {
            Check::CouldNot(apply::describe_error(&kube::Error::Api(status)))
        }
        Err(error) => Check::NoAnswer(format!("the API server does not answer: {}", apply::describe_error(&error))),
    }
}

/// `Some`: what is missing.
async fn try_all(client: &Client, (namespace, name): (&str, &str)) -> Result<Option<String>, kube::Error> {
    let missing =
        [list::<EksCluster>(client).await?, list::<NodeGroup>(client).await?, list::<AwsAccount>(client).await?];
    if let Some(reason) = missing.into_iter().flatten().next() {
        return Ok(Some(reason));
    }
    let own = |verb: &str, resource: &str, subresource: &str| ResourceAttributes {
        group: Some(crate::api::GROUP.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let of_lease = |verb: &str| ResourceAttributes {
        group: Some("coordination.k8s.io".to_owned()),
        resource: Some("leases".to_owned()),
        namespace: Some(namespace.to_owned()),
        // RBAC cannot hold a create to a name.
        name: (verb != "create").then(|| name.to_owned()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let of_installation = |verb: &str| ResourceAttributes {
        resource: Some("configmaps".to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(format!("{name}-installation")),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let rights = RIGHTS.iter().map(|(verb, resource, subresource)| own(verb, resource, subresource));
    let of_kept = ["get", "update", "create"].map(of_lease).into_iter().chain(["get", "patch"].map(of_installation));
    for right in rights.chain(of_kept) {
        if let Some(reason) = lacks(client, right).await? {
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// One object at most, and of it only metadata.
async fn list<K: Kind>(client: &Client) -> Result<Option<String>, kube::Error> {
    let one = ListParams::default().limit(1);
    let request = Request::new(K::url_path(&(), None)).list_metadata(&one).map_err(kube::Error::BuildRequest)?;
    match client.request::<IgnoredAny>(request).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let kind = <K as Resource>::plural(&());
            Ok(Some(format!("{kind} are not served: install the CRDs of this version (crds/)")))
        }
        Err(other) => Err(other),
    }
}

async fn lacks(client: &Client, right: ResourceAttributes) -> Result<Option<String>, kube::Error> {
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(right.clone()),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let answer = Api::<SelfSubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    let allowed = answer.status.is_some_and(|status| status.allowed);
    Ok((!allowed).then(|| describe(&right)))
}

fn describe(right: &ResourceAttributes) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let subresource = right.subresource.as_ref().map(|sub| format!("/{sub}")).unwrap_or_default();
    let group = right.group.as_ref().map(|group| format!(".{group}")).unwrap_or_default();
    let place = right.namespace.as_ref().map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
    format!(
        "not allowed to {} {}{subresource}{group}{place}: grant it to the operator's service account (deploy/rbac.yaml)",
        text(&right.verb),
        text(&right.resource)
    )
}

#[cfg(test)]
#[path = "readiness_tests.rs"]
mod tests;
