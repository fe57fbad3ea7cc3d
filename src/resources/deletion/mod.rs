//! What goes besides the graph: what an edit removes, what is pruned, what controllers left in a network; and what
//! blocks a deletion.

mod blocker_lists;
pub mod blockers;
pub mod claim_volumes;
pub mod cluster_users;
pub mod left_behind;
pub mod leftovers;
pub mod makers;
pub mod marks;
pub mod occupants;
pub mod prune;
pub mod prune_calls;
pub mod prune_limits;
pub mod pruned_kind;
pub mod pruning;
pub mod removal_calls;
pub mod removals;
mod removed_roles;
