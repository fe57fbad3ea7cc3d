//! Agents in the workload cluster: access to its API, what is installed there, and what its status says.
//!
//! May not enter: AWS resources. I/O: the workload cluster's API.

mod address;
pub mod error;
pub mod flux;
pub mod token;
pub mod validate;
pub mod workload;

pub use error::GitOpsError;
pub use workload::{Access, Workload, Workloads};
