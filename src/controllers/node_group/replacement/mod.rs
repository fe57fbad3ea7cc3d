//! The replacement of a node group by one with other fields that EKS cannot change (`replacementPolicy: MakeBeforeBreak`).
//!
//! [`decide`] is the pure core. [`node_group_names`]: what the node groups are called, and what they were created with. [`observed`]: their
//! state. [`passes`]: the workload cluster's nodes are read and drained in the background. [`progress`]: what the graph and status
//! show. [`steps`]: where it takes place in a reconcile. The engine creates and deletes the node groups.

pub mod decide;
pub mod discovery;
pub mod node_group_names;
mod observed;
pub mod passes;
pub mod progress;
mod steps;
