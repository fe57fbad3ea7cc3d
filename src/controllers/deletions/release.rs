//! The word by which a person releases a deletion that is held: apart from the approval of a plan, and unknown before the
//! deletion was requested, so that it cannot be placed on objects in advance. Pure.

use jiff::Timestamp;

use super::Removal;
use crate::api::RELEASE_ANNOTATION;
use crate::controllers::execution_policy::{Approvals, instructions};
use crate::engine::execution_policy::digest;

/// The release of one deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The word that releases it: of this object, and of this deletion of it.
    pub word: String,
    /// Whether somebody gave it.
    pub allowed: bool,
    /// UID of the PlanApproval that gave it.
    pub approval_uid: Option<String>,
    /// What is being deleted around the object.
    removal: Option<Removal>,
}

impl Release {
    /// Of the object `uid` whose deletion was requested at `deleted_at`. `annotation`: the text of [`RELEASE_ANNOTATION`].
    /// `removal`: what is being deleted around the object, whose annotation releases it too.
    pub fn of(
        uid: &str,
        deleted_at: Timestamp,
        annotation: Option<&str>,
        approvals: &Approvals,
        removal: Option<&Removal>,
    ) -> Self {
        let word = digest(&format!("release-deletion\0{uid}\0{}", deleted_at.as_second()), 8);
        let approval_uid = approvals.object(&word).map(|object| object.uid.clone());
        let annotated = !approvals.only_objects && annotation.is_some_and(|text| text.trim() == word);
        let around = removal.is_some_and(|removal| removal.releases(&word));
        Self { allowed: annotated || around || approval_uid.is_some(), approval_uid, word, removal: removal.cloned() }
    }

    /// What a person does to give it. `object`: as `keelson approve` takes it.
    pub fn instructions(&self, object: &str, approvals: &Approvals) -> String {
        match &self.removal {
            Some(removal) if approvals.only_objects => removal.instructions(&self.word),
            _ => instructions(object, RELEASE_ANNOTATION, &self.word, approvals),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::execution_policy::ApprovalObject;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_release_is_of_one_object_and_one_deletion() {
        let none = Approvals::default();
        let word = Release::of("uid-1", at(100), None, &none, None).word;
        assert_eq!(word.len(), 16);
        assert!(Release::of("uid-1", at(100), Some(&word), &none, None).allowed);
        for (uid, second) in [("uid-2", 100), ("uid-1", 101)] {
            assert!(!Release::of(uid, at(second), Some(&word), &none, None).allowed, "of {uid} at {second}");
        }
        assert!(!Release::of("uid-1", at(100), Some("uid-1"), &none, None).allowed);
        assert!(!Release::of("uid-1", at(100), None, &none, None).allowed);
    }

    #[test]
    fn only_an_object_releases_where_annotations_do_not_count() {
        let word = Release::of("uid-1", at(100), None, &Approvals::default(), None).word;
        let mut approvals = Approvals { only_objects: true, ..Approvals::default() };
        assert!(!Release::of("uid-1", at(100), Some(&word), &approvals, None).allowed);
        approvals.objects.push(ApprovalObject { uid: "a".into(), hash: word });
        let release = Release::of("uid-1", at(100), None, &approvals, None);
        assert_eq!((release.allowed, release.approval_uid.as_deref()), (true, Some("a")));
    }
}
