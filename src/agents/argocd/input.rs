//! The desired Argo CD of one cluster: the controller builds it from `spec.gitops.argocd`, its Secrets and the state of
//! AWS.
//!
//! Not allowed here: the API's types, so that the builders can be tested without an EksCluster. No I/O.

use std::time::Duration;

use super::repository_secret::Credentials;
use crate::agents::host_network::ApiAddress;
use crate::agents::shared_input::{Facts, GitRef};

/// The version whose manifests are built in.
pub const VERSION: &str = "v3.2.11";
/// Name of the Application that syncs the cluster's path and of its project, in Argo CD's namespace: unlikely to be in
/// use already.
pub const NAME: &str = "keelson";
/// Address of the cluster that Argo CD runs in.
pub const SERVER: &str = "https://kubernetes.default.svc";
/// Argo CD's own name of that cluster, which Applications may use as destination.
pub const CLUSTER: &str = "in-cluster";

/// Everything that is applied in a workload cluster.
#[derive(Debug, Clone)]
pub struct ArgoCdInput {
    /// Whether the built-in manifests are applied; otherwise the installed ones stay until they may be upgraded.
    pub installs: bool,
    /// An installed version stays instead.
    pub keeps_version: bool,
    /// An installation of somebody else is taken over.
    pub takes_over: bool,
    pub namespace: String,
    pub repository: Repository,
    /// Relative to the repository's root, checked by [`crate::agents::validate_source::path`].
    pub path: String,
    pub facts: Option<Facts>,
    /// Its Pods use the host network, and the API server at this address.
    pub host_network: Option<ApiAddress>,
}

/// The source.
#[derive(Debug, Clone)]
pub struct Repository {
    pub kind: Kind,
    pub url: String,
    /// Argo CD's `targetRevision`.
    pub revision: String,
    /// How often it is polled.
    pub interval: Duration,
    pub credentials: Credentials,
}

/// Kinds of repositories, as Argo CD names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Git,
    Oci,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Oci => "oci",
        }
    }
}

/// The unambiguous `targetRevision`: full ref names, since Argo CD interprets a branch `1.x` as a range of versions.
pub fn revision_of(reference: &GitRef) -> String {
    match reference {
        GitRef::Branch(name) => format!("refs/heads/{name}"),
        GitRef::Tag(name) => format!("refs/tags/{name}"),
        GitRef::Semver(text) | GitRef::Commit(text) | GitRef::Name(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_ref_has_an_unambiguous_target_revision() {
        let text = || "1.x".to_owned();
        for (reference, revision) in [
            (GitRef::Branch(text()), "refs/heads/1.x"),
            (GitRef::Tag(text()), "refs/tags/1.x"),
            (GitRef::Semver(text()), "1.x"),
            (
                GitRef::Commit("76087da78cdcec69b25c1392f6c5948b0bd320f5".into()),
                "76087da78cdcec69b25c1392f6c5948b0bd320f5",
            ),
            (GitRef::Name("refs/heads/main".into()), "refs/heads/main"),
        ] {
            assert_eq!(revision_of(&reference), revision);
        }
    }
}
