//! How a GitOps agent pulls from ECR: a role that may only pull, and the association that gives it to the agent's Pods.
//! Pure.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html>. A cluster gets both if its source
//! sets `provider: aws`, unless the spec lists an association for that service account.

use std::sync::Arc;

use super::expand::Node;
use crate::api::EksClusterSpec;
use crate::api::gitops::{AgentIdentity, GitOps};
use crate::engine::Key;
use crate::resources::cloud::{AccountSettings, ResourceContext};
use crate::resources::eks::pod_identity_association::{self, PodIdentityAssociation};
use crate::resources::iam::role::{self, Purpose, Role};

/// The association's key in the graph, whether it is created here or listed in the spec.
pub fn key(identity: &AgentIdentity) -> Key {
    pod_identity_association::key(identity.namespace, identity.service_account)
}

/// The identity whose role must exist: the spec needs one and lists none.
fn created(spec: &EksClusterSpec) -> Option<AgentIdentity> {
    let listed = |identity: &AgentIdentity| {
        let of = (identity.namespace, identity.service_account);
        spec.pod_identities.iter().any(|one| (one.namespace.as_str(), one.service_account.as_str()) == of)
    };
    spec.gitops.as_ref().and_then(GitOps::aws_identity).filter(|identity| !listed(identity))
}

/// The service account in the notation of `podIdentities`, if the association is created here.
pub fn service_account(spec: &EksClusterSpec) -> Option<String> {
    created(spec).map(|identity| format!("{}/{}", identity.namespace, identity.service_account))
}

/// Adds both. A role of an earlier spec stays until the cluster is deleted, and is deleted with it.
pub(crate) fn add(
    nodes: &mut Vec<Node>,
    context: &ResourceContext<'_>,
    spec: &EksClusterSpec,
    account: &AccountSettings,
    owned: &[Key],
) {
    let created = created(spec);
    if created.is_some() || owned.contains(&role::key(Purpose::Source)) {
        nodes.push(Arc::new(Role::new(context, Purpose::Source, &[], account)));
    }
    if let Some(AgentIdentity { namespace, service_account, .. }) = created {
        let association =
            PodIdentityAssociation::with_role_of(context, namespace, service_account, role::key(Purpose::Source));
        nodes.push(Arc::new(association));
    }
}
