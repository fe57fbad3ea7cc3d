//! GitOps agents in workload clusters: access to the API server, what is installed there, and its status.
//!
//! Not allowed here: AWS resources. I/O: the workload cluster's API.

mod address;
pub mod adoption;
pub mod agent_watch;
mod answer;
pub mod apply;
pub mod argocd;
pub mod budgets;
pub mod cluster_identity;
mod competing_agent;
mod definition;
pub mod error;
#[cfg(test)]
mod fake_api;
pub mod flux;
pub mod input;
mod install;
mod kept;
mod list;
pub mod load_balancers;
mod memory;
pub mod nodes;
pub mod object;
pub mod proxy;
mod roll_up;
pub mod secret_keys;
mod sync_outcome;
pub mod token;
pub mod validate;
pub mod verdict;
pub mod watch;
pub mod workload;

pub use error::GitOpsError;
pub use input::AgentInput;
pub use sync_outcome::GitOpsOutcome;
pub use verdict::Verdict;
pub use workload::{Access, Workload, Workloads};
