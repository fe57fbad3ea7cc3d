//! Argo CD in a workload cluster: installed and configured until Git adopts it, then only read.
//!
//! Not allowed here: AWS; the kinds of [`crate::api`] except status, outside of `spec`. I/O: the workload cluster's API,
//! in `observe` only. `spec` and `repository_secret` build the input; `manifests` and `sync` the objects to apply; `status` and
//! `verdict` evaluate the observation; `paused` names what is paused before a cluster is deleted. `hub` is about another Argo CD, that of the
//! management cluster.

#[cfg(test)]
mod fixture;
pub mod hub;
mod input;
mod manifests;
mod observe;
mod paused;
mod reconcile;
mod repository_secret;
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

/// Argo CD: an Application in a project of its own follows the source.
pub struct ArgoCdAgent;

impl Agent for ArgoCdAgent {
    fn name(&self) -> &'static str {
        "argocd"
    }

    fn label(&self) -> &'static str {
        "Argo CD"
    }

    fn newest_version(&self) -> &'static str {
        input::VERSION
    }

    fn has_version(&self, version: &str) -> bool {
        version == input::VERSION
    }

    fn is_requested(&self, gitops: &GitOps) -> bool {
        gitops.argocd.is_some()
    }

    fn named_version<'a>(&self, gitops: &'a GitOps) -> Option<&'a str> {
        gitops.argocd.as_ref()?.version.as_deref()
    }

    fn unset_version(&self, gitops: &mut GitOps) {
        gitops.argocd.iter_mut().for_each(|argocd| argocd.version = None);
    }

    fn validate(&self, gitops: &GitOps, sources: SourcePolicy) -> Option<Result<ValidAgent, InvalidField>> {
        let argocd = gitops.argocd.as_ref()?;
        Some(spec::valid(argocd, sources).map(|valid| Arc::new(valid) as ValidAgent))
    }

    fn installation(&self) -> Installation {
        Installation {
            kind: ("apps/v1", "StatefulSet"),
            namespace: None,
            selector: "app.kubernetes.io/part-of=argocd,app.kubernetes.io/component=application-controller",
        }
    }

    fn pause<'a>(&self, client: &'a Client) -> BoxFuture<'a, Result<usize, CallError>> {
        Box::pin(paused::pause(client))
    }
}
