//! Reports of changes by others: from AWS events to the resources that are observed now.

pub mod events;
pub mod index;
pub mod wake_limits;
