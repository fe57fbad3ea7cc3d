//! When a hook runs, and whether what follows it may begin.
//!
//! Not allowed here: AWS, Kubernetes clients, controllers, the engine. No I/O: time and observations are arguments.
//!
//! [`moments`] says which points a cluster has reached, [`next`] what to do about the hooks of one of them. The order, so that a crash
//! between any two steps loses nothing: status has the entry as *Intended*, the Job is created under the name in that entry, status
//! has its UID, status has its end, and only then what follows begins. A Job is deleted after that. Each step is decided on what
//! status has, and not on what the process remembers. So a hook runs at least once for each step; after a lost answer the Job that
//! exists is adopted.

mod entry;
mod moment;
mod next;
mod passed;
mod tidy;

#[cfg(test)]
mod properties;

pub use entry::{Notice, created, deleted};
pub use moment::{Moment, UpgradeFacts, moments, settle};
pub use next::{Action, Held, Observation, Question, Record, next, observed};
pub use passed::{has_passed_before, is_waited_for_before, passes};
pub use tidy::{jobs_to_delete, without_removed};
