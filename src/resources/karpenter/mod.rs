//! What Karpenter needs of AWS besides roles: a queue, the rule that fills it, and an end for instances that outlive their cluster.
//!
//! See <https://karpenter.sh/docs/reference/cloudformation/>.

pub mod event_rule;
pub mod leftover_instances;
pub mod names;
mod ownership;
pub mod queue;
