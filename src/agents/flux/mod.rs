//! Flux in a workload cluster: installed and configured until Git adopts it, then only read.
//!
//! Not allowed here: AWS, the kinds of [`crate::api`] except status. I/O: the workload cluster's API, in `reconcile` and
//! `observe` only. `manifests`, `source` and `sync` build the objects to apply; `status` and `verdict` evaluate the
//! observation; `handover` determines who owns Flux.

#[cfg(test)]
mod fixture;
mod handover;
pub mod input;
mod inventory;
mod manifests;
mod observe;
mod reconcile;
mod release;
mod source;
mod status;
mod sync;
mod verdict;

use crate::workload::watch::Watched;

pub use input::{Component, Decryption, FluxInput, NAME, Version};
pub use reconcile::reconcile;
pub use source::{GitSource, GitVerification, OciRef, OciSource, OciVerification, Source, SourceKind};

/// The kinds that show Flux's state: its own objects in all namespaces, and its Deployments.
pub fn watched(input: &FluxInput) -> Vec<Watched> {
    let of = |(api_version, kind), namespace: Option<&str>| Watched {
        api_version,
        kind,
        namespace: namespace.map(str::to_owned),
    };
    let own = Some(input::NAMESPACE);
    vec![
        of(input.source.api(), own),
        of(sync::KUSTOMIZATION, None),
        of(sync::HELM_RELEASE, None),
        of(("apps/v1", "Deployment"), own),
    ]
}
