//! Flux in a workload cluster: installed and seeded until Git adopts it, then only read.
//!
//! May not enter: AWS, the kinds of [`crate::api`] but for status. I/O: the workload cluster's API, in `pass` and `observe` only.
//! `manifests`, `source` and `sync` build what is applied, `status` and `verdict` say how it fares.

#[cfg(test)]
mod fixture;
pub mod input;
mod manifests;
mod observe;
mod pass;
mod source;
mod status;
mod sync;
mod verdict;

pub use input::{Component, Decryption, FluxInput, NAME};
pub use pass::pass;
pub use source::{GitSource, GitVerification, OciRef, OciSource, OciVerification, Source, SourceKind};
