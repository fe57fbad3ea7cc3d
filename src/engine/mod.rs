//! Graph, plan, check, execute, and requeue times.
//!
//! Not allowed here: any resource kind, any AWS or Kubernetes crate. A second cloud could use it unchanged.
//! I/O: none of its own; [`execute`] awaits the resources.
//!
//! One reconcile is [`execute::reconcile`]: observe what is due, [`planner::plan`] (pure), [`check::check`] (pure), run
//! all ready steps concurrently, plan again as each step ends, and report when to requeue. Nothing sleeps.

pub mod action;
pub mod change;
pub mod check;
pub mod erased;
pub mod execute;
pub mod execution_policy;
pub mod expect;
pub mod failure;
pub mod graph;
pub mod key;
pub mod memory;
mod owner_marker;
pub mod plan;
pub mod planner;
mod polling;
mod record;
mod refs;
mod report;
pub mod resource;
pub mod sweep;

pub use action::{Action, Goal};
pub use change::{Change, Correction};
pub use erased::AnyObservation;
pub use execute::{Journal, reconcile};
pub use execution_policy::ExecutionPolicy;
pub use expect::Expectations;
pub use failure::{Class, Failure};
pub use graph::{Gate, Graph};
pub use key::Key;
pub use memory::{InventoryRecord, Memory};
pub use owner_marker::MarkOwner;
pub use plan::{Block, HoldReason, Item, Plan, Step, Verdict, WaitingOn};
pub use planner::plan;
pub use record::{CREATION, DELETION, is_lifecycle};
pub use refs::Refs;
pub use report::{FinishedOperation, Outcome, Report, StepResult};
pub use resource::{
    FailedOperation, Observation, ObserveOptions, Operation, Phase, PollPolicy, Presence, Recreate, Resource,
    Succession,
};
pub use sweep::{AllowedTarget, CheckedSweep, Mark, Proof, Scope, Sweep, Target};

#[cfg(test)]
mod deletion_tests;
#[cfg(test)]
mod may_adopt_tests;
#[cfg(test)]
mod operations_tests;
#[cfg(test)]
mod retry_tests;
#[cfg(test)]
mod succession_tests;
#[cfg(test)]
mod toy_world;
#[cfg(test)]
mod world_tests;
