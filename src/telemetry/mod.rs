//! Logs and metrics of the process.
//!
//! May not enter: the other folders. I/O: standard error, and the HTTP port of `/metrics`.

pub mod events;
pub mod gitops;
pub mod logs;
pub mod metrics;
mod process;
pub mod redact;

pub use metrics::Metrics;
