//! Access to workload clusters: tokens, clients with limits, watches, nodes, disruption budgets, load balancers.
//!
//! Not allowed here: AWS resources. I/O: the workload cluster's API.

pub mod answer;
pub mod budgets;
pub mod client;
pub mod cluster_identity;
pub mod credential_command;
pub mod drain;
pub mod error;
pub mod eviction;
#[cfg(test)]
pub mod fake_api;
pub mod follow;
pub mod kept;
pub mod kubeconfig;
pub mod list;
pub mod load_balancers;
pub mod memory;
pub mod nodes;
pub mod object;
pub mod probe;
pub mod proxy;
pub mod token;
pub mod watch;

pub use client::Workloads;
pub use error::GitOpsError;
