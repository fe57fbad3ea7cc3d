//! Who owns a queue or a rule that is found by its name, and its owner tag.
//!
//! Anybody in the account can choose the name, and whoever can tag can write our tags: ours is what carries them and is on record.
//! PutRule, PutTargets and SetQueueAttributes overwrite what has the name, whoever owns it, and have no condition: what is written to is
//! read again right before.

use crate::aws::tags::{Ownership, Tags};
use crate::engine::{Class, Failure, Goal, MarkOwner as _, Observation, ObserveOptions, Presence};
use crate::resources::cloud::{Cloud, Owner};
use crate::resources::graph::adoption::{Adoption, describe_foreign};
use crate::resources::graph::proof;
use crate::resources::tag_calls::OwnerTags;

/// Refuses a write by name to what is not the object's to write to: since it was observed, somebody may have deleted it, and created
/// another one. `tags` are what it has now, `None` if it does not exist.
///
/// # Errors
/// It is owned by another object or by nobody, or gone: the next observation shows it.
pub(super) fn check_writable(cloud: &Cloud, tags: Option<&Tags>, what: &str) -> Result<(), Failure> {
    match refusal(&cloud.owner, cloud.adoption, tags) {
        Some(why) => Err(Failure::new(Class::NoChange, format!("{what} {why}: it is not changed"))),
        None => Ok(()),
    }
}

fn refusal(owner: &Owner, adoption: Adoption, tags: Option<&Tags>) -> Option<&'static str> {
    match tags.map(|tags| (Ownership::of(tags, &owner.uid), tags)) {
        Some((Ownership::Ours, _)) => None,
        Some((Ownership::Unowned, tags)) if adoption.allows(owner, tags) => None,
        Some(_) => Some("belongs to somebody else by now"),
        None => Some("does not exist any more"),
    }
}

/// Marks as the object's what is to be adopted still: another object may have adopted it since it was observed, and its owner tag would be
/// replaced. `tags` are what it has now.
///
/// # Errors
/// As [`check_writable`], and those of the call.
pub(super) async fn adopt(cloud: &Cloud, tags: Option<&Tags>, marker: &OwnerTags, what: &str) -> Result<(), Failure> {
    check_writable(cloud, tags, what)?;
    cloud.mark(marker).await
}

/// Removes the owner tag of what is the object's still. `tags` are what it has now.
///
/// # Errors
/// Those of the call.
pub(super) async fn release(cloud: &Cloud, tags: Option<&Tags>, marker: &OwnerTags) -> Result<(), Failure> {
    if is_still_ours(cloud, tags) { cloud.unmark(marker).await } else { Ok(()) }
}

/// Whether the object owns what has the name now: since it was observed, somebody may have deleted it, and created another one.
pub(super) fn is_still_ours(cloud: &Cloud, tags: Option<&Tags>) -> bool {
    tags.is_some_and(|tags| tags.is_owned_by(&cloud.owner.uid))
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::tags::OWNER;

    #[test]
    fn only_what_still_is_the_objects_or_to_be_adopted_is_written_to() {
        let owner = Owner { uid: "uid".into(), cluster: "shop/demo".into(), ..Owner::default() };
        let of = |tags: Option<Tags>| refusal(&owner, Adoption::Forbidden, tags.as_ref());
        assert_eq!(of(Some(Tags::new().with(OWNER, "uid"))), None);
        assert!(of(Some(Tags::new().with(OWNER, "another"))).unwrap().contains("somebody else"));
        assert!(
            of(Some(Tags::new().with("team", "b"))).unwrap().contains("somebody else"),
            "nobody allowed its adoption"
        );
        assert!(of(None).unwrap().contains("does not exist"));
    }
}
