//! When a hook runs, and whether what follows it may begin.
//!
//! Not allowed here: AWS, Kubernetes clients, controllers, the engine. No I/O: time and observations are arguments.
//!
//! [`moments`] says which points a cluster has reached, [`next`] what to do about the hooks of one of them. The order, so that a crash
//! between any two steps loses nothing: status has the entry as *Intended*, the Job is created under the name in that entry, status
//! has its UID, status has its end, and only then what follows begins. A Job is deleted after that. Each step is decided on what
//! status has, and not on what the process remembers. So a hook runs at least once for each step; after a lost answer the Job that
//! exists is adopted.
//!
//! Where the Job runs in the workload cluster, that cluster may not answer. Nothing is known of the Job then, which is neither a success nor a
//! failure: it is waited for until the hook's timeout (`unanswered.rs`).

mod entry;
mod moment;
mod next_action;
mod passed;
mod tidy;
mod unanswered;

#[cfg(test)]
mod hook_properties;

pub use entry::{JobId, Notice, created, deleted, without_job};
pub use moment::{Moment, UpgradeFacts, is_of_upgrade, moments, settle};
pub use next_action::{Action, HookHold, Observation, Question, Record, next, observed};
pub use passed::{has_passed_before, is_waited_for_before, passes};
pub use tidy::{jobs_to_delete, without_removed};
pub use unanswered::without_interrupted_waits;
