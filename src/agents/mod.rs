//! GitOps agents: what is installed in a workload cluster, how Git adopts it, and its status.
//!
//! Not allowed here: AWS resources. I/O: the workload cluster's API, through [`crate::workload`].

pub mod address;
pub mod adoption;
pub mod apply;
pub mod argocd;
pub mod competing_agent;
pub mod definition;
pub mod flux;
pub mod input;
pub mod install;
pub mod roll_up;
pub mod secret_keys;
pub mod shared_input;
pub mod sync_outcome;
pub mod validate;
pub mod verdict;

pub use input::AgentInput;
pub use sync_outcome::GitOpsOutcome;
pub use verdict::Verdict;
