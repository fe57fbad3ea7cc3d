//! Deletes what has load balancers or instances in AWS because a controller of the workload cluster made them, while that
//! controller still runs: Services of type LoadBalancer, Ingresses and Gateways, then Karpenter's NodePools and NodeClaims, then its EC2NodeClasses.
//! Nothing else would delete their resources in AWS, and those would block the deletion of the network.
//!
//! Not allowed here: how long to wait; AWS. I/O: the workload cluster's API.

use kube::Client;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::drain::{Deleted, DeletionPass, ObjectToDelete, Remaining};
use super::error::CallError;
use super::kept::{first_items, truncated, truncated_or_none};
use super::object::or_default;

const SERVICE: (&str, &str) = ("v1", "Service");
const INGRESS: (&str, &str) = ("networking.k8s.io/v1", "Ingress");
/// In the versions that may be served. Those of other controllers than AWS's own Services of type LoadBalancer, which
/// they create again while the Gateway exists.
const GATEWAYS: [(&str, &str); 2] =
    [("gateway.networking.k8s.io/v1", "Gateway"), ("gateway.networking.k8s.io/v1beta1", "Gateway")];
/// A NodePool first: it replaces each NodeClaim that is deleted. See <https://karpenter.sh/docs/concepts/disruption/>.
const KARPENTER: [(&str, &str); 4] = [
    ("karpenter.sh/v1", "NodePool"),
    ("karpenter.sh/v1beta1", "NodePool"),
    ("karpenter.sh/v1", "NodeClaim"),
    ("karpenter.sh/v1beta1", "NodeClaim"),
];
/// Once no NodeClaim needs it: Karpenter then deletes the instance profile that it created for it, which has the nodes' role.
const NODE_CLASSES: [(&str, &str); 2] =
    [("karpenter.k8s.aws/v1", "EC2NodeClass"), ("karpenter.k8s.aws/v1beta1", "EC2NodeClass")];
/// The group of Auto Mode's node classes: EKS deletes their instances with the cluster.
const AUTO_MODE: &str = "eks.amazonaws.com";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    #[serde(rename = "type", deserialize_with = "truncated")]
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Exposed {
    #[serde(deserialize_with = "or_default")]
    load_balancer: LoadBalancer,
    #[serde(deserialize_with = "first_items")]
    addresses: Vec<Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    #[serde(deserialize_with = "first_items")]
    ingress: Vec<Address>,
}

/// Of a Service or an Ingress, or of a Gateway.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    #[serde(deserialize_with = "truncated_or_none")]
    hostname: Option<String>,
    #[serde(deserialize_with = "truncated_or_none")]
    value: Option<String>,
}

impl Exposed {
    fn address(&self) -> Option<String> {
        let all = self.load_balancer.ingress.iter().chain(&self.addresses);
        all.flat_map(|address| [&address.hostname, &address.value]).find_map(Clone::clone)
    }
}

/// Of a NodePool, which has a template, or of a NodeClaim.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeSpec {
    #[serde(deserialize_with = "or_default")]
    node_class_ref: NodeClass,
    #[serde(deserialize_with = "or_default")]
    template: NodeTemplate,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeTemplate {
    #[serde(deserialize_with = "or_default")]
    spec: NodeTemplateSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeTemplateSpec {
    #[serde(deserialize_with = "or_default")]
    node_class_ref: NodeClass,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeClass {
    #[serde(deserialize_with = "truncated")]
    group: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    /// `aws:///eu-west-1a/i-0123`
    #[serde(rename = "providerID", deserialize_with = "truncated_or_none")]
    provider_id: Option<String>,
}

/// Deletes all Services of type LoadBalancer, all Ingresses and all Gateways, and once they are gone Karpenter's nodes and
/// their classes, and returns those that existed. Whatever would create them again is paused before. Objects with finalizers stay until
/// their controllers have deleted their resources, so call this until none remains.
///
/// # Errors
/// The API server's error for the first call that failed.
pub async fn delete_exposed(client: &Client, deleted: &mut Deleted) -> Result<Remaining, CallError> {
    let mut pass = DeletionPass::new(client, deleted);
    for gateway in GATEWAYS {
        pass.delete(gateway, |object: &ObjectToDelete<IgnoredAny, Exposed>| Some(object.status.address())).await?;
    }
    pass.delete(SERVICE, |object: &ObjectToDelete<ServiceSpec, Exposed>| {
        (object.spec.kind == "LoadBalancer").then(|| object.status.address())
    })
    .await?;
    pass.delete(INGRESS, |object: &ObjectToDelete<IgnoredAny, Exposed>| Some(object.status.address())).await?;
    // The controllers of the load balancers may run on Karpenter's nodes.
    if pass.is_clear() {
        for kind in KARPENTER {
            pass.delete(kind, |object: &ObjectToDelete<NodeSpec, NodeStatus>| {
                let NodeSpec { node_class_ref, template } = &object.spec;
                let is_of_eks =
                    [node_class_ref, &template.spec.node_class_ref].iter().any(|one| one.group == AUTO_MODE);
                (!is_of_eks).then(|| object.status.instance())
            })
            .await?;
        }
    }
    if pass.is_clear() {
        for kind in NODE_CLASSES {
            pass.delete(kind, |_: &ObjectToDelete<IgnoredAny, IgnoredAny>| Some(None)).await?;
        }
    }
    pass.end().await
}

impl NodeStatus {
    fn instance(&self) -> Option<String> {
        self.provider_id.as_deref().and_then(|id| id.rsplit('/').next()).map(str::to_owned)
    }
}

#[cfg(test)]
#[path = "load_balancers_tests.rs"]
mod tests;
