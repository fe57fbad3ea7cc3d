//! Logs and metrics of the process.
//!
//! Not allowed here: the other folders. I/O: standard error, and the HTTP port of `/metrics`.

pub mod events;
pub mod gitops;
pub mod installation;
pub mod logs;
pub mod management;
pub mod metrics;
pub mod objects;
mod process;
pub mod redact;
mod regions;

pub use metrics::Metrics;
