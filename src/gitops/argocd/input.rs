//! What Argo CD in one cluster should be: the controller makes it from `spec.gitops.argocd`, its Secrets and what AWS said.
//!
//! May not enter: the API's types, so that the builders can be tested without an EksCluster. No I/O.

use std::time::Duration;

use super::credentials::Credentials;
use crate::gitops::input::{Facts, GitRef};

/// The Argo CD whose manifests are built in.
pub const VERSION: &str = "v3.2.11";
/// The Application that follows the cluster's path, and its project, in the namespace of Argo CD. No name that people are likely to have
/// given already.
pub const NAME: &str = "keelson";
/// Where Argo CD finds the cluster that it runs in.
pub const SERVER: &str = "https://kubernetes.default.svc";
/// The name of that cluster, as Argo CD itself calls it: Applications may name it as their destination.
pub const CLUSTER: &str = "in-cluster";

/// All that is applied in a workload cluster.
#[derive(Debug, Clone)]
pub struct ArgoCdInput {
    /// The manifests that are built in are applied; otherwise those that are there stay as they are, until they may be upgraded.
    pub installs: bool,
    pub namespace: String,
    pub repository: Repository,
    /// Relative to the repository's root, checked by [`crate::gitops::validate::path`].
    pub path: String,
    pub facts: Option<Facts>,
}

/// What is followed.
#[derive(Debug, Clone)]
pub struct Repository {
    pub kind: Kind,
    pub url: String,
    /// As Argo CD's `targetRevision` has it.
    pub revision: String,
    /// How often it is asked for something new.
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

/// The `targetRevision` that means exactly this. Full names, since Argo CD takes a branch `1.x` for a range of versions.
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
    fn every_kind_of_ref_is_followed_by_what_argo_cd_cannot_mistake() {
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
