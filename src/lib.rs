//! Keelson: an operator that creates, upgrades and bootstraps EKS clusters from manifests in Git.
//!
//! Data flow: from [`api`] and observations, [`upgrade`] decides which versions are allowed now, [`resources`] expands
//! that into a graph of desired resources, [`engine`] compares it with what [`aws`] reports and executes the plan,
//! [`gitops`] connects an agent in the new cluster to Git, and [`controllers`] write status and events and requeue.
//! `tests/architecture.rs` enforces the boundaries of these folders.

pub mod api;
pub mod aws;
pub mod cli;
pub mod controllers;
pub mod engine;
pub mod gitops;
pub mod resources;
pub mod telemetry;
pub mod upgrade;
