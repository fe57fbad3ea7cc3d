//! Flux in a workload cluster: installed and seeded until Git adopts it, then only read.
//!
//! May not enter: AWS, the kinds of [`crate::api`] but for status. I/O: the workload cluster's API, in `apply` and `observe` only.
//! `manifests` and `sync` build what is applied, `memory` is what was, `status` and `verdict` say how it fares.

mod apply;
#[cfg(test)]
mod fixture;
pub mod input;
pub mod manifests;
mod memory;
pub mod object;
pub mod observe;
mod reconcile;
pub mod status;
pub mod sync;
pub mod verdict;

pub use apply::FIELD_MANAGER;
pub use input::{Component, Decryption, Facts, FluxInput, GitRef, GitSource, SecretCopy, SecretData};
pub use memory::Memory;
pub use reconcile::{GitOpsOutcome, reconcile};
pub use verdict::Verdict;
