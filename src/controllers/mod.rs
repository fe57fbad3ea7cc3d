//! Kubernetes controllers: watches, finalizers, status, events, leader election.
//!
//! Not allowed here: AWS calls and clients. [`crate::resources`] and [`crate::engine`] decide what to do in AWS. I/O:
//! the management cluster's API, a socket for probes and metrics, and the endpoint of notifications.
//!
//! [`run()`] is the operator. It acquires the lease and then runs a [`runtime::leadership_term::Term`], which watches all
//! kinds and reconciles each object in its own task. [`driver`] is the reconcile, from top to bottom; its steps per kind:
//! [`cluster`], [`node_group`]. AwsAccounts: [`account`]; FleetRollouts:
//! [`rollout`]. Pure decision logic: [`status`], [`runtime::leader::decide`],
//! `account::grant`.

pub mod account;
pub mod approvals;
pub mod cluster;
pub mod context;
pub mod deletions;
pub mod drift;
mod driver;
pub mod duration_estimates;
pub mod hand_over;
pub mod name_claims;
pub mod node_group;
mod notifications;
pub mod reconcile_error;
pub mod reconcile_trigger;
pub mod recovery_requests;
pub mod rollout;
pub mod runtime;
pub mod states;
pub mod status;
pub mod tag_keys;

pub use runtime::run::{Options, run};
