//! Flux in a workload cluster: installed and configured until Git adopts it, then only read.
//!
//! Not allowed here: AWS; the kinds of [`crate::api`] except status, outside of `spec` and `source_input`. I/O: the
//! workload cluster's API, in `reconcile` and `observe` only. `spec` and `source_input` build the input; `manifests`,
//! `source` and `sync` the objects to apply; `status` and `verdict` evaluate the observation; `handover` determines who
//! owns Flux; `paused` names what is paused before a cluster is deleted.

mod built_in_manifests;
#[cfg(test)]
mod fixture;
mod handover;
mod input;
mod inventory;
mod manifests;
mod observe;
mod paused;
mod reconcile;
mod source;
mod source_input;
mod spec;
mod status;
mod sync;
mod verdict;

use std::sync::Arc;

use futures::future::BoxFuture;
use kube::Client;

use super::agent::{Agent, Installation, InvalidField, ValidAgent};
use super::validate_source::SourcePolicy;
use crate::api::gitops::GitOps;
use crate::workload::error::CallError;

pub use input::Version;

/// Flux: its controllers reconcile a source and a Kustomization.
pub struct FluxAgent;

impl Agent for FluxAgent {
    fn name(&self) -> &'static str {
        "flux"
    }

    fn label(&self) -> &'static str {
        "Flux"
    }

    fn newest_version(&self) -> &'static str {
        Version::NEWEST.as_str()
    }

    fn has_version(&self, version: &str) -> bool {
        Version::parse(version).is_some()
    }

    fn is_requested(&self, gitops: &GitOps) -> bool {
        gitops.flux.is_some()
    }

    fn named_version<'a>(&self, gitops: &'a GitOps) -> Option<&'a str> {
        gitops.flux.as_ref()?.version.as_deref()
    }

    fn unset_version(&self, gitops: &mut GitOps) {
        gitops.flux.iter_mut().for_each(|flux| flux.version = None);
    }

    fn validate(&self, gitops: &GitOps, sources: SourcePolicy) -> Option<Result<ValidAgent, InvalidField>> {
        let flux = gitops.flux.as_ref()?;
        Some(spec::valid(flux, sources).map(|valid| Arc::new(valid) as ValidAgent))
    }

    fn installation(&self) -> Installation {
        Installation {
            kind: ("apps/v1", "Deployment"),
            namespace: Some(input::NAMESPACE),
            selector: "app.kubernetes.io/part-of=flux",
        }
    }

    fn installers(&self) -> &'static [&'static str] {
        &["flux-operator"]
    }

    fn pause<'a>(&self, client: &'a Client) -> BoxFuture<'a, Result<usize, CallError>> {
        Box::pin(paused::pause(client))
    }
}
