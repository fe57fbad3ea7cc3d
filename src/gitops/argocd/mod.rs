//! Argo CD in a workload cluster: installed and seeded until Git adopts it, then only read.
//!
//! May not enter: AWS, the kinds of [`crate::api`] but for status. I/O: the workload cluster's API, in `pass` and `observe` only.
//! `manifests`, `credentials` and `sync` build what is applied, `status` and `verdict` say how it fares.

pub mod credentials;
#[cfg(test)]
mod fixture;
pub mod input;
mod manifests;
mod observe;
mod reconcile;
mod status;
mod sync;
mod verdict;

use crate::gitops::watch::Watched;

pub use input::{ArgoCdInput, Repository};
pub use reconcile::reconcile;

/// The kinds by which Argo CD shows how it fares: its Applications, and what runs.
pub fn watched(input: &ArgoCdInput) -> Vec<Watched> {
    let of = |(api_version, kind)| Watched { api_version, kind, namespace: Some(input.namespace.clone()) };
    [sync::APPLICATION, ("apps/v1", "Deployment"), ("apps/v1", "StatefulSet")].map(of).into()
}
