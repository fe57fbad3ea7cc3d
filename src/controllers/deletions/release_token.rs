//! The token with which a person releases a held deletion. It is separate from the approval of a plan, and unknown
//! before the deletion is requested, so that it cannot be set on objects in advance. Pure.

use jiff::Timestamp;

use super::Removal;
use crate::api::RELEASE_ANNOTATION;
use crate::controllers::approvals::execution_policy::{Approvals, instructions};
use crate::engine::execution_policy::digest;

/// The release of one deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The token that releases this deletion of this object.
    pub token: String,
    /// Whether it was given.
    pub allowed: bool,
    /// UID of the PlanApproval that gave it.
    pub approval_uid: Option<String>,
    /// The CRD or namespace that is being deleted.
    removal: Option<Removal>,
}

impl Release {
    /// The release of the object `uid` whose deletion was requested at `deleted_at`. `annotation`: the text of
    /// [`RELEASE_ANNOTATION`]. `removal`: the CRD or namespace that is being deleted, whose annotation releases the
    /// object, too.
    pub fn of(
        uid: &str,
        deleted_at: Timestamp,
        annotation: Option<&str>,
        approvals: &Approvals,
        removal: Option<&Removal>,
    ) -> Self {
        let token = digest(&format!("release-deletion\0{uid}\0{}", deleted_at.as_second()), 8);
        let approval_uid = approvals.object(&token).map(|object| object.uid.clone());
        let annotated = !approvals.only_objects && annotation.is_some_and(|text| text.trim() == token);
        let released_by_parent = removal.is_some_and(|removal| removal.releases(&token));
        Self {
            allowed: annotated || released_by_parent || approval_uid.is_some(),
            approval_uid,
            token,
            removal: removal.cloned(),
        }
    }

    /// How to give it. `object`: the arguments of `keelson approve`.
    pub fn instructions(&self, object: &str, approvals: &Approvals) -> String {
        match &self.removal {
            Some(removal) if approvals.only_objects => removal.instructions(&self.token),
            // No PlanApproval can be created in a namespace that is being deleted, or while its CRD is.
            Some(_) => {
                format!("keelson approve {object} --annotation, or the annotation {RELEASE_ANNOTATION}: {}", self.token)
            }
            None => instructions(object, RELEASE_ANNOTATION, &self.token, approvals),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::approvals::execution_policy::ApprovalObject;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn release_covers_one_object_and_one_deletion() {
        let none = Approvals::default();
        let token = Release::of("uid-1", at(100), None, &none, None).token;
        assert_eq!(token.len(), 16);
        assert!(Release::of("uid-1", at(100), Some(&token), &none, None).allowed);
        for (uid, second) in [("uid-2", 100), ("uid-1", 101)] {
            assert!(!Release::of(uid, at(second), Some(&token), &none, None).allowed, "of {uid} at {second}");
        }
        assert!(!Release::of("uid-1", at(100), Some("uid-1"), &none, None).allowed);
        assert!(!Release::of("uid-1", at(100), None, &none, None).allowed);
    }

    #[test]
    fn while_the_namespace_is_deleted_the_instructions_name_the_annotation() {
        let removal = Removal { kind: "Namespace", name: "team".into(), tokens: String::new() };
        let release = Release::of("uid-1", at(100), None, &Approvals::default(), Some(&removal));
        let text = release.instructions("demo -n team", &Approvals::default());
        assert!(text.starts_with("keelson approve demo -n team --annotation, or the annotation"), "{text}");
    }

    #[test]
    fn only_a_plan_approval_releases_where_annotations_do_not_count() {
        let token = Release::of("uid-1", at(100), None, &Approvals::default(), None).token;
        let mut approvals = Approvals { only_objects: true, ..Approvals::default() };
        assert!(!Release::of("uid-1", at(100), Some(&token), &approvals, None).allowed);
        approvals.objects.push(ApprovalObject { uid: "a".into(), hash: token });
        let release = Release::of("uid-1", at(100), None, &approvals, None);
        assert_eq!((release.allowed, release.approval_uid.as_deref()), (true, Some("a")));
    }
}
