//! The word by which a person releases a deletion that is held: apart from the approval of a plan, and unknown before the
//! deletion was requested, so that it cannot be placed on objects in advance. Pure.

use jiff::Timestamp;

use crate::api::RELEASE_ANNOTATION;
use crate::controllers::consent::{Approvals, instructions};
use crate::engine::consent::digest;

/// The release of one deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The word that releases it: of this object, and of this deletion of it.
    pub word: String,
    /// Whether somebody gave it.
    pub given: bool,
    /// UID of the PlanApproval that gave it.
    pub approval_uid: Option<String>,
}

impl Release {
    /// Of the object `uid` whose deletion was requested at `deleted_at`. `annotation`: the text of [`RELEASE_ANNOTATION`].
    pub fn of(uid: &str, deleted_at: Timestamp, annotation: Option<&str>, approvals: &Approvals) -> Self {
        let word = digest(&format!("release-deletion\0{uid}\0{}", deleted_at.as_second()), 8);
        let approval_uid = approvals.object(&word).map(|object| object.uid.clone());
        let annotated = !approvals.only_objects && annotation.is_some_and(|text| text.trim() == word);
        Self { given: annotated || approval_uid.is_some(), approval_uid, word }
    }

    /// What a person does to give it. `object`: as `keelson approve` takes it.
    pub fn instructions(&self, object: &str, approvals: &Approvals) -> String {
        instructions(object, RELEASE_ANNOTATION, &self.word, approvals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::consent::ApprovalObject;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_release_is_of_one_object_and_one_deletion() {
        let none = Approvals::default();
        let word = Release::of("uid-1", at(100), None, &none).word;
        assert_eq!(word.len(), 16);
        assert!(Release::of("uid-1", at(100), Some(&word), &none).given);
        for (uid, second) in [("uid-2", 100), ("uid-1", 101)] {
            assert!(!Release::of(uid, at(second), Some(&word), &none).given, "of {uid} at {second}");
        }
        assert!(!Release::of("uid-1", at(100), Some("uid-1"), &none).given);
        assert!(!Release::of("uid-1", at(100), None, &none).given);
    }

    #[test]
    fn only_an_object_releases_where_annotations_do_not_count() {
        let word = Release::of("uid-1", at(100), None, &Approvals::default()).word;
        let mut approvals = Approvals { only_objects: true, ..Approvals::default() };
        assert!(!Release::of("uid-1", at(100), Some(&word), &approvals).given);
        approvals.objects.push(ApprovalObject { uid: "a".into(), hash: word });
        let release = Release::of("uid-1", at(100), None, &approvals);
        assert_eq!((release.given, release.approval_uid.as_deref()), (true, Some("a")));
    }
}
