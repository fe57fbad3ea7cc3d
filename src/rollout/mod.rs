//! Rollouts over a fleet: from a policy and the state of its clusters to who may begin an upgrade now.
//!
//! Not allowed here: AWS, Kubernetes clients, the engine, resources. No I/O: time and observations are arguments.
//!
//! Two sides decide, each from its own and perhaps late view of the other, and each writes only its own status:
//! [`ask()`] is the cluster's (it asks, claims a ticket before it begins, and releases it when it has finished);
//! [`advance()`] is the rollout's (it gives tickets, and takes back only those that clusters have released). So the
//! number of clusters that are upgraded at the same time never exceeds the number of tickets, whatever crashes or reads
//! late in between.

pub mod advance;
pub mod ask;
mod check_policy;
pub mod check_query;
pub mod check_result;
mod give;
pub mod member;
pub mod membership;
pub mod policy;
mod release;
pub mod release_target;
pub mod request;
pub mod revision;
mod summary;
pub mod view;
mod wave;
mod wave_approval;
pub mod wave_checks;

pub use advance::{Annotations, Input, advance};
pub use ask::{Answer, ClaimFacts, ClaimedStep, HoldKind, Question, ask};
pub use check_result::{CheckKey, CheckRun, ClusterOutcome, Outcome};
pub use member::{AgentState, Health, Member, SourceState, Stalled};
pub use membership::{Rollout, Rollouts};
pub use release_target::{AgentVersion, Revision, SourceKey, Target};
pub use request::{Lane, Request, Step};
pub use revision::{Candidate, FirstRevision, Follow, SourcePlan, follow};
pub use summary::RolloutEvent;
pub use wave_checks::DueCheck;

#[cfg(test)]
mod advance_agent_tests;
#[cfg(test)]
mod advance_demand_tests;
#[cfg(test)]
mod advance_gates_tests;
#[cfg(test)]
mod advance_revision_tests;
#[cfg(test)]
mod advance_tests;
#[cfg(test)]
mod ask_tests;
#[cfg(test)]
mod revision_properties;
#[cfg(test)]
mod rollout_properties;
#[cfg(test)]
mod world;
#[cfg(test)]
mod world_checks;
#[cfg(test)]
mod world_objects;
#[cfg(test)]
mod world_rules;
