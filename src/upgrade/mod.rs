//! What an upgrade does next: the decisions, from what was seen to what may be done now.
//!
//! May not enter: AWS, Kubernetes clients, the engine, resources. No I/O: time and what was seen are arguments.
//!
//! [`decide`] is asked in each reconcile and remembers nothing: an upgrade is a row of wanted graphs, each of which names
//! only what may begin now or has begun ([`Targets`]). The engine brings that about and never learns of versions; what is
//! held back stands in [`State`], for people.

pub mod addons;
pub mod agent;
pub mod blocks;
pub mod decide;
pub mod node_group;
pub mod observation;
pub mod preflight;
pub mod remaining_steps;
pub mod skew;
pub mod soak;
pub mod support;
pub mod windows;

pub use agent::{AgentUpgrade, AgentVersions, Asker};
pub use blocks::{Block, Hold};
pub use decide::{Decision, State, Targets, decide};
pub use observation::{
    AddonState, Clock, ControlPlaneWork, Goal, Observation, ObservedAddon, ObservedNodeGroup, Soaked, UnreadNodes,
};
pub use preflight::Preflight;
pub use remaining_steps::{AddonStep, Step};
pub use windows::{WindowState, Windows};

#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod world;
