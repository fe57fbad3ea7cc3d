//! What runs all controllers: leader election, watches, probes, events, writes to the management cluster's API.

pub mod apply;
pub mod bounded_json;
pub mod deadline;
pub mod decode;
pub mod edit_history;
mod event_message;
pub mod event_publisher;
pub mod event_series;
pub mod http;
pub mod installation;
pub mod installed_crds;
pub mod kind_watch;
pub mod leader;
pub mod leadership_term;
pub mod lease_timing;
pub mod metrics_auth;
pub mod mirror;
mod readiness;
pub mod reconcile_queue;
pub mod run;
pub mod secrets;
pub mod settings;
pub mod triggers;
pub mod unreadable;
pub mod worker;
