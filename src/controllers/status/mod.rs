//! What people read: conditions, progress, the plan, waits and the inventory in status.

pub mod conditions;
pub mod journal;
pub mod next;
pub mod plan_status;
pub mod progress;
pub mod reasons;
pub mod report;
pub mod waiting_on;
pub mod waits;
