//! What the agent of one cluster should be: the controller makes it from `spec.gitops.flux`, its Secrets and what AWS said.
//!
//! May not enter: the API's types, so that the builders can be tested without an EksCluster. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use k8s_openapi::ByteString;

use crate::gitops::validate::SourceUrl;

/// The Flux whose manifests are built in.
pub const VERSION: &str = "v2.9.5";
/// Where the controllers' images come from unless a mirror is named.
pub const REGISTRY: &str = "ghcr.io/fluxcd";
/// Flux's namespace, and the name of the source and Kustomization that `flux bootstrap` would make: a repository made by it can adopt ours.
pub const NAMESPACE: &str = "flux-system";
pub const NAME: &str = "flux-system";
/// The ConfigMap of cluster facts in [`NAMESPACE`].
pub const FACTS: &str = "keelson-cluster-facts";

/// All that is applied in a workload cluster.
#[derive(Debug, Clone)]
pub struct FluxInput {
    pub components: BTreeSet<Component>,
    /// Image registry without a trailing slash, [`REGISTRY`] unless a mirror is used.
    pub registry: String,
    pub image_pull_secret: Option<SecretCopy>,
    pub source: GitSource,
    /// Relative to the repository's root, checked by [`crate::gitops::validate::path`].
    pub path: String,
    pub interval: Duration,
    pub prune: bool,
    pub decryption: Option<Decryption>,
    pub facts: Option<Facts>,
}

/// A controller of Flux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    SourceController,
    KustomizeController,
    HelmController,
    NotificationController,
}

impl Component {
    pub const ALL: [Self; 4] =
        [Self::SourceController, Self::KustomizeController, Self::HelmController, Self::NotificationController];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::SourceController => "source-controller",
            Self::KustomizeController => "kustomize-controller",
            Self::HelmController => "helm-controller",
            Self::NotificationController => "notification-controller",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|component| component.as_str() == name)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone)]
pub struct GitSource {
    pub url: SourceUrl,
    pub reference: GitRef,
    pub interval: Duration,
    pub secret: Option<SecretData>,
    pub proxy_secret: Option<SecretCopy>,
}

/// Which commit of the repository; the text of each is checked by [`crate::gitops::validate::reference`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitRef {
    Branch(String),
    Tag(String),
    Semver(String),
    Commit(String),
    Name(String),
}

impl GitRef {
    /// The field of GitRepository's `spec.ref`, and its value.
    pub fn field(&self) -> (&'static str, &str) {
        match self {
            Self::Branch(value) => ("branch", value),
            Self::Tag(value) => ("tag", value),
            Self::Semver(value) => ("semver", value),
            Self::Commit(value) => ("commit", value),
            Self::Name(value) => ("name", value),
        }
    }
}

/// The data of a Secret of the management cluster. Prints its keys only.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretData(pub BTreeMap<String, ByteString>);

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A Secret that is copied under a name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretCopy {
    pub name: String,
    /// The Secret's type: image pull secrets have their own, `Opaque` otherwise.
    pub kind: String,
    pub data: SecretData,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decryption {
    pub provider: String,
    pub secret: Option<SecretCopy>,
}

/// What manifests in Git may refer to as `${NAME}`. What is not known is empty, not missing: Flux refuses to build with an unset variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub cluster_name: String,
    pub aws_region: String,
    pub aws_account_id: String,
    pub vpc_id: Option<String>,
    pub private_subnet_ids: Vec<String>,
    pub public_subnet_ids: Vec<String>,
    pub oidc_issuer: Option<String>,
    pub oidc_provider_arn: Option<String>,
    pub cluster_endpoint: Option<String>,
    pub cluster_security_group_id: Option<String>,
    pub node_role_arn: Option<String>,
    pub kubernetes_version: Option<String>,
}
