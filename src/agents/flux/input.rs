//! The desired Flux of one cluster: the controller builds it from `spec.gitops.flux`, its Secrets and the state of AWS.
//!
//! Not allowed here: the API's types, so that the builders can be tested without an EksCluster. No I/O.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::source::Source;
use crate::agents::host_network::ApiAddress;
use crate::agents::shared_input::{Facts, SecretCopy};

/// Default registry of the controllers' images.
pub const REGISTRY: &str = "ghcr.io/fluxcd";
/// Flux's namespace, and the name of the source and Kustomization that `flux bootstrap` creates: its repositories can
/// adopt Keelson's.
pub const NAMESPACE: &str = "flux-system";
pub const NAME: &str = "flux-system";
/// The ConfigMap of cluster facts in [`NAMESPACE`].
pub const FACTS: &str = "keelson-cluster-facts";

/// Everything that is applied in a workload cluster.
#[derive(Debug, Clone)]
pub struct FluxInput {
    /// The version in the spec.
    pub version: Option<Version>,
    /// The version whose manifests are applied; `None`: the installed ones stay until they may be upgraded.
    pub installs: Option<Version>,
    /// An installed version stays instead.
    pub keeps_version: bool,
    /// An installation of somebody else is taken over.
    pub takes_over: bool,
    pub components: BTreeSet<Component>,
    /// Image registry without a trailing slash, [`REGISTRY`] unless a mirror is used.
    pub registry: String,
    pub image_pull_secret: Option<SecretCopy>,
    pub source: Source,
    /// Relative to the repository's root, checked by [`crate::agents::validate_source::path`].
    pub path: String,
    pub interval: Duration,
    pub prune: bool,
    pub decryption: Option<Decryption>,
    pub facts: Option<Facts>,
    /// Id of the association that gives source-controller's Pods their identity in AWS. Pods get it at startup only, so
    /// a change replaces them.
    pub source_identity: Option<String>,
    /// Its Pods use the host network, and the API server at this address.
    pub host_network: Option<ApiAddress>,
    /// source-controller leaves the host network; the others stay as they are until it serves what it fetched at its new
    /// address.
    pub source_leaves_first: bool,
}

/// A version of Flux whose manifests are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    V2_9_5,
    V2_7_5,
}

impl Version {
    /// Newest first.
    pub const ALL: [Self; 2] = [Self::V2_9_5, Self::V2_7_5];
    /// The default version; a newer Keelson may have a newer one.
    pub const NEWEST: Self = Self::ALL[0];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2_9_5 => "v2.9.5",
            Self::V2_7_5 => "v2.7.5",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A controller of Flux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(clippy::enum_variant_names, reason = "the names of Flux's own controllers")]
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decryption {
    pub provider: String,
    pub secret: Option<SecretCopy>,
}
