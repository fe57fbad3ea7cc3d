//! The desired agent of one cluster.
//!
//! Not allowed here: the API's types, so that the builders can be tested without an EksCluster. No I/O.

use super::argocd::{self, ArgoCdInput};
use super::flux::{self, FluxInput, SourceKind};
pub use super::shared_input::{Facts, GitRef, SecretCopy, SecretData};
use crate::workload::watch::Watched;

/// Everything that is applied in a workload cluster.
#[derive(Debug, Clone)]
pub enum AgentInput {
    Flux(Box<FluxInput>),
    ArgoCd(Box<ArgoCdInput>),
}

impl AgentInput {
    /// Its name in status.
    pub fn agent(&self) -> &'static str {
        match self {
            Self::Flux(_) => "flux",
            Self::ArgoCd(_) => "argocd",
        }
    }

    /// The kinds that show the agent's state.
    pub fn watched(&self) -> Vec<Watched> {
        match self {
            Self::Flux(input) => flux::watched(input),
            Self::ArgoCd(input) => argocd::watched(input),
        }
    }

    /// Installs the manifests of `version` instead of the desired one. A version that is not built in leaves the
    /// installed manifests.
    pub fn install_version(&mut self, version: &str) {
        match self {
            Self::Flux(input) => input.installs = flux::Version::parse(version),
            Self::ArgoCd(input) => input.installs = version == argocd::input::VERSION,
        }
    }

    /// Whether its Pods need an identity in AWS.
    pub fn needs_identity(&self) -> bool {
        match self {
            Self::Flux(input) => matches!(&input.source.kind, SourceKind::Oci(oci) if oci.aws),
            Self::ArgoCd(_) => false,
        }
    }

    /// Sets the id of the association that gives them the identity.
    pub fn set_identity(&mut self, id: String) {
        match self {
            Self::Flux(input) => input.source_identity = Some(id),
            Self::ArgoCd(_) => {}
        }
    }

    /// Sets the facts that are published in the cluster.
    pub fn set_facts(&mut self, facts: Facts) {
        match self {
            Self::Flux(input) => input.facts = Some(facts),
            Self::ArgoCd(input) => input.facts = Some(facts),
        }
    }
}
