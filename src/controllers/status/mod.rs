//! What people read: conditions, progress, the plan, waits and the inventory in status.

#[cfg(test)]
mod aws_errors_page;
pub mod conditions;
pub mod finish_reconcile;
pub mod held_deletion;
pub mod journal;
pub mod network_resources;
pub mod object_metrics;
pub mod plan_status;
pub mod progress;
pub mod reasons;
pub mod requeue;
pub mod waiting_on;
pub mod waits;
