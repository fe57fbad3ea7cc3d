//! The AWS edge: accounts and sessions, rate limits, error classes, ownership tags, shared snapshots.
//!
//! Not allowed here: cluster semantics, Kubernetes. I/O: AWS calls, all through [`session::Session::call`], which limits
//! rates, checks leadership, classifies failures, and traces and counts calls.

pub mod accounts;
pub mod arn;
pub mod buckets;
pub mod call;
pub mod credentials;
pub mod errors;
pub mod events;
#[cfg(debug_assertions)]
mod fault;
pub mod partitions;
pub mod service;
pub mod session;
pub mod shared;
pub mod snapshots;
pub mod tags;
pub mod tokens;
pub mod write_gate;

#[cfg(test)]
mod wire_tests;

pub use accounts::{Accounts, Identity, Role};
pub use arn::Arn;
pub use errors::AwsError;
pub use service::Service;
pub use session::Session;
pub use shared::MaxStaleness;
pub use write_gate::WriteGate;
