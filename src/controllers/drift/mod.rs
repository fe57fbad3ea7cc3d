//! Reports of changes by others: from AWS events to the resources that are observed now.

mod affected;
pub mod events;
pub mod index;
pub mod pending_changes;
mod wake_limits;
