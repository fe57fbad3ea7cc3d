//! What Flux pulls from ECR with: a role that may pull and nothing else, and the association that gives it to source-controller's
//! Pods. Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html>. Both are in a cluster whose source says
//! `provider: aws`, unless the spec lists an association of that service account itself.

use std::sync::Arc;

use super::cloud::{AccountSettings, ResourceContext};
use super::expand::Node;
use super::pod_identity_association::{self, PodIdentityAssociation};
use super::role::{self, Purpose, Role};
use crate::api::EksClusterSpec;
use crate::api::gitops::GitOps;
use crate::engine::Key;

/// The service account of Flux's source-controller.
const NAMESPACE: &str = "flux-system";
const SERVICE_ACCOUNT: &str = "source-controller";

/// The association's name in the graph, whether it is made here or listed in the spec.
pub fn key() -> Key {
    pod_identity_association::key(NAMESPACE, SERVICE_ACCOUNT)
}

/// Whether the role is to be made: the spec wants an identity and lists none.
fn is_made(spec: &EksClusterSpec) -> bool {
    let listed = |namespace: &str, name: &str| (namespace, name) == (NAMESPACE, SERVICE_ACCOUNT);
    let needed = spec.gitops.as_ref().is_some_and(GitOps::needs_aws_identity);
    needed && !spec.pod_identities.iter().any(|one| listed(&one.namespace, &one.service_account))
}

/// The service account, as `podIdentities` would list it, where the association is made here.
pub fn service_account(spec: &EksClusterSpec) -> Option<String> {
    is_made(spec).then(|| format!("{NAMESPACE}/{SERVICE_ACCOUNT}"))
}

/// Adds both. A role that an earlier spec asked for stays until the cluster goes, and goes with it.
pub(super) fn add(
    nodes: &mut Vec<Node>,
    making: &ResourceContext<'_>,
    spec: &EksClusterSpec,
    account: &AccountSettings,
    owned: &[Key],
) {
    if is_made(spec) || owned.contains(&role::key(Purpose::Source)) {
        nodes.push(Arc::new(Role::new(making, Purpose::Source, &[], account)));
    }
    if is_made(spec) {
        let association = PodIdentityAssociation::with_role_of(making, NAMESPACE, SERVICE_ACCOUNT, Purpose::Source);
        nodes.push(Arc::new(association));
    }
}
