//! Agents in the workload cluster: access to its API, what is installed there, and what its status says.
//!
//! May not enter: AWS resources. I/O: the workload cluster's API.

mod address;
pub mod budgets;
pub mod error;
#[cfg(test)]
mod fake_api;
pub mod flux;
mod list;
pub mod load_balancers;
pub mod nodes;
pub mod token;
pub mod validate;
pub mod workload;

pub use error::GitOpsError;
pub use workload::{Access, Workload, Workloads};
