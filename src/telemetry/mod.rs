//! Logs, metrics and traces of the process.
//!
//! Not allowed here: the other folders. I/O: standard error, the HTTP port of `/metrics`, and the collector of traces.

pub mod event_queue;
pub mod gitops;
pub mod hooks;
pub mod installation;
mod log_format;
pub mod logs;
pub mod management;
pub mod metrics;
pub mod notifications;
pub mod objects;
mod process;
pub mod redact;
mod regions;
pub mod rollouts;
pub mod traces;

pub use metrics::Metrics;

/// Registers the metrics that belong to no [`Metrics`]: there is one of each in the process.
fn register_global(registry: &mut prometheus_client::registry::Registry) {
    management::register(registry);
    traces::register(registry);
    rollouts::register(registry);
    notifications::register(registry);
    hooks::register(registry);
}
