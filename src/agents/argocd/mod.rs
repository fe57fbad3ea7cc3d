//! Argo CD in a workload cluster: installed and configured until Git adopts it, then only read.
//!
//! Not allowed here: AWS, the kinds of [`crate::api`] except status. I/O: the workload cluster's API, in `reconcile` and
//! `observe` only. `manifests`, `credentials` and `sync` build the objects to apply; `status` and `verdict` evaluate
//! the observation.

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

use crate::workload::watch::Watched;

pub use input::{ArgoCdInput, Repository};
pub use reconcile::reconcile;

/// The kinds that show Argo CD's state: its Applications, Deployments and StatefulSets.
pub fn watched(input: &ArgoCdInput) -> Vec<Watched> {
    let of = |(api_version, kind)| Watched { api_version, kind, namespace: Some(input.namespace.clone()) };
    [sync::APPLICATION, ("apps/v1", "Deployment"), ("apps/v1", "StatefulSet")].map(of).into()
}
