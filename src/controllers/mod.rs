//! Kubernetes controllers: watches, finalizers, status, events, leader election.
//!
//! Not allowed here: AWS calls and clients. [`crate::resources`] and [`crate::engine`] decide what to do in AWS. I/O:
//! the management cluster's API, and a socket for probes and metrics.
//!
//! [`run::run`] is the operator. It acquires the lease and then runs a [`leadership_term::Term`], which watches all
//! kinds and reconciles each object in its own task. Controllers per kind: [`cluster`], [`node_group`], [`account`].
//! Pure decision logic: [`conditions`], [`progress`], [`reasons`], [`plan_status`], [`leader::decide`],
//! `account::grant`.

pub mod account;
pub mod apply;
pub mod approvals;
pub mod bounded_json;
pub mod cluster;
pub mod conditions;
pub mod context;
pub mod deadline;
pub mod decode;
pub mod deletions;
pub mod drift_events;
pub mod duration_estimates;
pub mod edits;
pub mod event_index;
pub mod event_series;
pub mod events;
pub mod execution_policy;
pub mod http;
pub mod installation;
pub mod journal;
pub mod leader;
pub mod leadership_term;
pub mod lease_timing;
pub mod metrics_auth;
pub mod name_claims;
pub mod node_group;
pub mod plan_status;
pub mod progress;
mod readiness;
pub mod reasons;
pub mod recovery;
pub mod report;
pub mod run;
pub mod secrets;
pub mod settings;
mod tag_keys;
pub mod triggers;
pub mod unreadable;
pub mod waiting_on;
pub mod waits;
pub mod wake_limits;
pub mod watch;

pub use run::{Options, run};
