//! Keelson: an operator that creates, upgrades and bootstraps EKS clusters from manifests in Git.
//!
//! Data goes one way: from [`api`] and what was seen, [`upgrade`] decides which versions may be there now, [`resources`]
//! expand that into a graph of what must exist, [`engine`] compares it with what [`aws`] shows and executes the plan,
//! [`gitops`] points an agent in the new cluster at Git, and [`controllers`] write status and events and say when to look
//! again. `tests/architecture.rs` holds these folders apart.

pub mod api;
pub mod aws;
pub mod cli;
pub mod controllers;
pub mod engine;
pub mod gitops;
pub mod resources;
pub mod telemetry;
pub mod upgrade;
