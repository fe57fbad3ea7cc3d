//! How Flux pulls from ECR: a role that may only pull, and the association that gives it to source-controller's Pods.
//! Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html>. A cluster gets both if its source
//! sets `provider: aws`, unless the spec lists an association for that service account.

use std::sync::Arc;

use super::expand::Node;
use crate::api::EksClusterSpec;
use crate::api::gitops::GitOps;
use crate::engine::Key;
use crate::resources::cloud::{AccountSettings, ResourceContext};
use crate::resources::eks::pod_identity_association::{self, PodIdentityAssociation};
use crate::resources::iam::role::{self, Purpose, Role};

/// The service account of Flux's source-controller.
const NAMESPACE: &str = "flux-system";
const SERVICE_ACCOUNT: &str = "source-controller";

/// The association's key in the graph, whether it is created here or listed in the spec.
pub fn key() -> Key {
    pod_identity_association::key(NAMESPACE, SERVICE_ACCOUNT)
}

/// Whether the role must exist: the spec needs an identity and lists none.
fn is_created(spec: &EksClusterSpec) -> bool {
    let listed = |namespace: &str, name: &str| (namespace, name) == (NAMESPACE, SERVICE_ACCOUNT);
    let needed = spec.gitops.as_ref().is_some_and(GitOps::needs_aws_identity);
    needed && !spec.pod_identities.iter().any(|one| listed(&one.namespace, &one.service_account))
}

/// The service account in the notation of `podIdentities`, if the association is created here.
pub fn service_account(spec: &EksClusterSpec) -> Option<String> {
    is_created(spec).then(|| format!("{NAMESPACE}/{SERVICE_ACCOUNT}"))
}

/// Adds both. A role of an earlier spec stays until the cluster is deleted, and is deleted with it.
pub(crate) fn add(
    nodes: &mut Vec<Node>,
    context: &ResourceContext<'_>,
    spec: &EksClusterSpec,
    account: &AccountSettings,
    owned: &[Key],
) {
    if is_created(spec) || owned.contains(&role::key(Purpose::Source)) {
        nodes.push(Arc::new(Role::new(context, Purpose::Source, &[], account)));
    }
    if is_created(spec) {
        let association = PodIdentityAssociation::with_role_of(context, NAMESPACE, SERVICE_ACCOUNT, Purpose::Source);
        nodes.push(Arc::new(association));
    }
}
