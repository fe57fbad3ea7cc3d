//! Keelson: an operator that creates, upgrades and bootstraps EKS clusters from manifests in Git.
//!
//! Data flow: from [`api`] and observations, [`upgrade`] decides which versions are allowed now, and [`rollout`] which
//! clusters may begin; [`resources`] expands
//! that into a graph of desired resources, [`engine`] compares it with what [`aws`] reports and executes the plan,
//! [`agents`] connect the new cluster to Git through [`workload`], and [`controllers`] write status and events and requeue.
//! [`hooks`] decides when programs of the user's run, and [`jobs`] runs them. [`notify`] tells an endpoint what needs a person.
//! [`page`] shows what they wrote.
//! `tests/architecture.rs` enforces the boundaries of these folders.

mod agents;
pub mod api;
mod aws;
pub mod cli;
mod controllers;
mod engine;
mod hooks;
mod jobs;
mod notify;
mod page;
mod resources;
mod rollout;
mod telemetry;
mod upgrade;
mod workload;
