//! Logs, metrics and traces of the process.
//!
//! Not allowed here: the other folders. I/O: standard error, the HTTP port of `/metrics`, and the collector of traces.

pub mod events;
pub mod gitops;
pub mod installation;
mod log_format;
pub mod logs;
pub mod management;
pub mod metrics;
pub mod objects;
mod process;
pub mod redact;
mod regions;
pub mod traces;

pub use metrics::Metrics;
