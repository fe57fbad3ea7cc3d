//! Expands `spec.karpenter` to the graph of what Karpenter needs besides roles. Pure.

use std::sync::Arc;

use super::expand::{ClusterInput, Node, is_deleted_with_cluster};
use crate::api::network::NetworkKind;
use crate::resources::cloud::ResourceContext;
use crate::resources::eks::pod_identity_association::PodIdentityAssociation;
use crate::resources::iam::workload_role;
use crate::resources::karpenter::event_rule::{self, EventRule};
use crate::resources::karpenter::leftover_instances::LeftoverInstances;
use crate::resources::karpenter::queue::{self, Queue};
use crate::resources::network::{existing_network, vpc};

/// Adds the queue with its rule, the identity of Karpenter's Pods, and, when the cluster is deleted, the end of its instances.
pub(super) fn add(nodes: &mut Vec<Node>, context: &ResourceContext<'_>, input: &ClusterInput<'_>) {
    let karpenter = input.spec.karpenter.as_ref();
    let wants_queue = karpenter.is_some_and(|karpenter| karpenter.interruption_queue);
    if wants_queue || is_deleted_with_cluster(input, &queue::key(context.cluster_name)) {
        nodes.push(Arc::new(Queue::new(context)));
    }
    if wants_queue || is_deleted_with_cluster(input, &event_rule::key(context.cluster_name)) {
        nodes.push(Arc::new(EventRule::new(context)));
    }
    let Some(karpenter) = karpenter else { return };
    let (namespace, account) = (&karpenter.namespace, &karpenter.service_account);
    let role = workload_role::key_of_pods(namespace, account);
    nodes.push(Arc::new(PodIdentityAssociation::with_role_of(context, namespace, account, role)));
    if let Some(since) = input.instances_since {
        let network = match input.spec.network.kind() {
            Ok(NetworkKind::Existing(_)) => existing_network::key(),
            _ => vpc::key(),
        };
        nodes.push(Arc::new(LeftoverInstances::new(context, network, since)));
    }
}

/// The service account in the notation of `podIdentities`.
pub(super) fn service_account(input: &ClusterInput<'_>) -> Option<String> {
    let karpenter = input.spec.karpenter.as_ref()?;
    Some(format!("{}/{}", karpenter.namespace, karpenter.service_account))
}
