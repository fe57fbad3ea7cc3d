//! Who owns a queue or a rule that is found by its name. Pure.
//!
//! Anybody in the account can choose the name, and whoever can tag can write our tags: ours is what carries them and is on record.

use crate::aws::tags::{Ownership, Tags};
use crate::engine::{Goal, Observation, ObserveOptions, Presence};
use crate::resources::cloud::Cloud;
use crate::resources::graph::adoption::describe_foreign;
use crate::resources::graph::proof;

/// Whether it is ours, to be adopted, or of others. `what` describes it in messages.
pub(super) fn presence<T>(
    cloud: &Cloud,
    options: &ObserveOptions,
    tags: &Tags,
    observed: Observation<T>,
    what: &str,
) -> Presence<T> {
    match Ownership::of(tags, &cloud.owner.uid) {
        Ownership::Ours if cloud.proves(options.recorded) => Presence::Ours(observed),
        // What is not proven to be ours stays.
        _ if options.goal != Goal::Present => Presence::Absent,
        Ownership::Ours => Presence::Foreign(proof::describe_unproven(&cloud.owner, what)),
        Ownership::Unowned if cloud.adoption.allows(&cloud.owner, tags) => Presence::Unowned(observed),
        Ownership::Unowned | Ownership::Other { .. } => {
            Presence::Foreign(describe_foreign(what, tags, &cloud.owner, &cloud.existing))
        }
    }
}
