//! What people read: conditions, progress, the plan, waits and the inventory in status.

#[cfg(test)]
mod aws_errors_page;
pub mod conditions;
pub mod held_deletion;
pub mod journal;
pub mod next;
pub mod object_metrics;
pub mod plan_status;
pub mod progress;
pub mod reasons;
pub mod report;
pub mod waiting_on;
pub mod waits;
