//! Decides the state of a PlanApproval: used, stale or expired. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::PlanApproval;
use crate::api::plan_approval::ApprovalState;

/// An unused approval expires after this.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// The approver may have read a plan that this process's cache shows a moment later.
const GRACE: SignedDuration = SignedDuration::from_secs(5);
/// The same for the object itself. A hash covers the object's UID, so that none exists before the object.
const MISSING_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// The approval-related status of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalTarget {
    /// UID of the object.
    pub uid: String,
    /// Whether status is of the newest generation.
    pub current: bool,
    /// What waits for approval: the plan's hash, or the token of a held deletion. `None`: nothing.
    pub waits_for: Option<String>,
    /// Hash of the plan, whether it waits or not.
    pub hash: String,
    /// UIDs of the approvals accepted last.
    pub accepted: Vec<String>,
}

/// The object that an approval names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedObject {
    /// There is none. Holds its kind and name.
    Missing(String),
    /// It exists and cannot be read.
    Unreadable,
    /// It exists.
    Found(ApprovalTarget),
}

/// The decision on an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The state.
    pub state: ApprovalState,
    /// The message.
    pub message: String,
    /// UID of the object whose plan it approved.
    pub object_uid: Option<String>,
}

/// Whether an approval may still be accepted, judging by itself.
pub fn is_open(approval: &PlanApproval, now: Timestamp) -> bool {
    let decided = approval.status.as_ref().is_some_and(|status| status.state.is_some());
    !decided && approval.metadata.deletion_timestamp.is_none() && age(approval, now) < LIFETIME
}

fn age(approval: &PlanApproval, now: Timestamp) -> SignedDuration {
    approval.metadata.creation_timestamp.as_ref().map_or(SignedDuration::ZERO, |made| now.duration_since(made.0))
}

/// Decides an approval of the object `named`. Returns `None` while it is open.
pub fn verdict(approval: &PlanApproval, named: &NamedObject, now: Timestamp) -> Option<Verdict> {
    let object = match named {
        NamedObject::Found(object) => Some(object),
        NamedObject::Missing(_) | NamedObject::Unreadable => None,
    };
    let (uid, hash) = (approval.metadata.uid.as_deref().unwrap_or_default(), &approval.spec.hash);
    let of =
        |state, message: String| Some(Verdict { state, message, object_uid: object.map(|object| object.uid.clone()) });
    let age = age(approval, now);
    let advice = "check the waiting plan (keelson approve), and approve it";
    if let Some(object) = object {
        if object.accepted.iter().any(|accepted| accepted == uid) {
            return of(ApprovalState::Used, format!("plan {hash} is approved and may be applied"));
        }
        match &object.waits_for {
            Some(waits) if waits == hash => {}
            Some(waits) if object.current && age > GRACE => {
                let message = format!("this approves {hash}, but {waits} is waiting: {advice}");
                return of(ApprovalState::Stale, message);
            }
            None if object.current && object.hash != *hash && age > GRACE => {
                return of(ApprovalState::Stale, format!("no plan {hash} waits for an approval: {advice}"));
            }
            Some(_) | None => {}
        }
    }
    if let NamedObject::Missing(name) = named
        && age > MISSING_GRACE
    {
        return of(ApprovalState::Stale, format!("there is no {name} in this namespace, so nothing is approved"));
    }
    (age >= LIFETIME)
        .then(|| of(ApprovalState::Expired, format!("plan {hash} was not used within an hour: {advice}")))
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HASH: &str = "9f86d081884c7d65";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn approval() -> PlanApproval {
        serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "PlanApproval",
            "metadata": {"name": "a", "namespace": "team", "uid": "approval-1", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"clusterRef": {"name": "demo"}, "hash": HASH},
        }))
        .unwrap()
    }

    fn target(waits_for: Option<&str>) -> ApprovalTarget {
        let hash = waits_for.unwrap_or_default().to_owned();
        ApprovalTarget {
            uid: "1".into(),
            current: true,
            waits_for: waits_for.map(str::to_owned),
            hash,
            accepted: Vec::new(),
        }
    }

    fn state(object: Option<&ApprovalTarget>, second: i64) -> Option<ApprovalState> {
        let named = object.cloned().map_or(NamedObject::Unreadable, NamedObject::Found);
        verdict(&approval(), &named, at(second)).map(|verdict| verdict.state)
    }

    #[test]
    fn approval_is_open_while_its_plan_waits() {
        assert_eq!(state(Some(&target(Some(HASH))), 100), None);
        let settled = ApprovalTarget { waits_for: None, hash: HASH.into(), ..target(None) };
        assert_eq!(state(Some(&settled), 100), None, "its plan exists, and cannot be approved right now");
        assert!(is_open(&approval(), at(100)) && !is_open(&approval(), at(3600)));
    }

    #[test]
    fn approval_is_used_when_it_was_accepted() {
        let mut object = target(None);
        object.accepted = vec!["other".into(), "approval-1".into()];
        assert_eq!(state(Some(&object), 1), Some(ApprovalState::Used));
        assert_eq!(state(Some(&object), 4000), Some(ApprovalState::Used), "however late it is observed");
    }

    #[test]
    fn approval_of_another_plan_is_stale() {
        let other = target(Some("0000000000000000"));
        assert_eq!(state(Some(&other), 2), None, "the plan that the approver read may not be cached yet");
        assert_eq!(state(Some(&other), 100), Some(ApprovalState::Stale));
        assert_eq!(
            state(Some(&ApprovalTarget { current: false, ..other }), 100),
            None,
            "the new spec is not planned yet"
        );
        assert_eq!(state(Some(&target(None)), 100), Some(ApprovalState::Stale), "nothing waits");
    }

    #[test]
    fn unused_approval_expires() {
        assert_eq!(state(None, 100), None, "the object may become readable");
        assert_eq!(state(None, 3600), Some(ApprovalState::Expired));
        assert_eq!(state(Some(&target(Some(HASH))), 3600), Some(ApprovalState::Expired));
    }

    #[test]
    fn approval_of_an_object_that_does_not_exist_is_stale() {
        let missing = NamedObject::Missing("EksCluster demo".into());
        assert_eq!(verdict(&approval(), &missing, at(10)), None, "this process may not have read it yet");
        let decided = verdict(&approval(), &missing, at(31)).unwrap();
        assert_eq!((decided.state, decided.object_uid), (ApprovalState::Stale, None));
        assert!(decided.message.contains("no EksCluster demo in this namespace"), "{}", decided.message);
    }
}
