//! Upgrade decisions: from an observation to the steps that may run now.
//!
//! Not allowed here: AWS, Kubernetes clients, the engine, resources. No I/O: time and observations are arguments.
//!
//! Each reconcile calls [`decide`], which keeps no state: an upgrade is a sequence of desired graphs, each of which
//! contains only versions that are current, started or may start ([`Targets`]). The engine applies the graph and does
//! not know about versions. [`State`] tells users what is held.

pub mod addon_versions;
pub mod agent;
pub mod blocks;
pub mod decide;
pub mod node_group_version;
pub mod observation;
pub mod preflight;
pub mod remaining_steps;
pub mod skew;
pub mod soak;
pub mod support;
pub mod windows;

pub use agent::{AgentUpgrade, AgentVersions};
pub use blocks::Hold;
pub use decide::{Decision, State, decide};
pub use observation::{
    AddonState, Clock, ControlPlaneWork, Goal, Observation, ObservedAddon, ObservedNodeGroup, Soaked, UnreadNodes,
    WaveState,
};
pub use preflight::Preflight;
pub use remaining_steps::Step;
pub use windows::{WindowState, Windows};

#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod decision_properties;
#[cfg(test)]
mod world;
