//! Flux in a workload cluster: installed and seeded until Git adopts it, then only read.
//!
//! May not enter: AWS, the kinds of [`crate::api`] but for status. I/O: the workload cluster's API, in `pass` and `observe` only.
//! `manifests`, `source` and `sync` build what is applied, `status` and `verdict` say how it fares, `handover` whose it is.

#[cfg(test)]
mod fixture;
mod handover;
pub mod input;
mod inventory;
mod manifests;
mod observe;
mod pass;
mod release;
mod source;
mod status;
mod sync;
mod verdict;

pub use input::{Component, Decryption, FluxInput, NAME, Version};
pub use pass::pass;
pub use source::{GitSource, GitVerification, OciRef, OciSource, OciVerification, Source, SourceKind};
