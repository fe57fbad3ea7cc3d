//! Runs a program of the user's as a Job, and says how it ended.
//!
//! Not allowed here: what the Job is for (hooks, checks), controllers. I/O: only in [`runner`], the API of the management cluster or of
//! a workload cluster.
//!
//! The order that callers keep, so that a crash between any two steps loses nothing: record the intent with the Job's name, create
//! the Job, record its UID, observe it, record its end, act on that, and only then delete it. A Job that is gone before its end was
//! recorded is [`JobOutcome::Lost`].

pub mod build;
pub mod error;
mod job_cluster;
pub mod job_outcome;
pub mod runner;

pub use build::{JobRequest, build, digest, job_name};
pub use error::JobError;
pub use job_outcome::JobOutcome;
pub use runner::JobRunner;
