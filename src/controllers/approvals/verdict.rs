//! What became of a PlanApproval: used, stale or expired. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::api::PlanApproval;
use crate::api::plan_approval::ApprovalState;

/// An approval that nothing took up is worth nothing after this.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// The approver may have seen a plan that this process's own view of the object shows a moment later.
const GRACE: SignedDuration = SignedDuration::from_secs(5);

/// The plan of an object, as its status tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalTarget {
    /// UID of the object.
    pub uid: String,
    /// The status is of the newest spec.
    pub current: bool,
    /// What waits for an approval: the plan's hash, or the word of a deletion that is held. `None`: nothing waits.
    pub waits_for: Option<String>,
    /// Hash of the plan, whether or not it waits.
    pub hash: String,
    /// UIDs of the approvals that were taken up last.
    pub taken: Vec<String>,
}

/// A verdict on an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What became of it.
    pub state: ApprovalState,
    /// For people.
    pub message: String,
    /// UID of the object whose plan it was of.
    pub object_uid: Option<String>,
}

/// Whether it may still be taken up, as far as it tells itself.
pub fn is_open(approval: &PlanApproval, now: Timestamp) -> bool {
    let decided = approval.status.as_ref().is_some_and(|status| status.state.is_some());
    !decided && approval.metadata.deletion_timestamp.is_none() && age(approval, now) < LIFETIME
}

fn age(approval: &PlanApproval, now: Timestamp) -> SignedDuration {
    approval.metadata.creation_timestamp.as_ref().map_or(SignedDuration::ZERO, |made| now.duration_since(made.0))
}

/// What became of an approval that is not decided yet. `object`: the object that it names, `None`: there is none. Returns `None`
/// while that is open.
pub fn verdict(approval: &PlanApproval, object: Option<&ApprovalTarget>, now: Timestamp) -> Option<Verdict> {
    let (uid, hash) = (approval.metadata.uid.as_deref().unwrap_or_default(), &approval.spec.hash);
    let of =
        |state, message: String| Some(Verdict { state, message, object_uid: object.map(|object| object.uid.clone()) });
    let age = age(approval, now);
    let again = "look at the plan that waits (keelson approve), and approve that one";
    if let Some(object) = object {
        if object.taken.iter().any(|taken| taken == uid) {
            return of(ApprovalState::Used, format!("plan {hash} was approved by this, and may be carried out"));
        }
        match &object.waits_for {
            Some(waits) if waits == hash => {}
            Some(waits) if object.current && age > GRACE => {
                let message = format!("this approves {hash}, and what waits is {waits}: {again}");
                return of(ApprovalState::Stale, message);
            }
            None if object.current && object.hash != *hash && age > GRACE => {
                return of(ApprovalState::Stale, format!("no plan {hash} waits for an approval: {again}"));
            }
            Some(_) | None => {}
        }
    }
    if age >= LIFETIME {
        let message = match object {
            Some(_) => format!("plan {hash} was not taken up within an hour: {again}"),
            None => "the object that this names does not exist, or is gone".to_owned(),
        };
        return of(ApprovalState::Expired, message);
    }
    None
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

    fn standing(waits_for: Option<&str>) -> ApprovalTarget {
        let hash = waits_for.unwrap_or_default().to_owned();
        ApprovalTarget {
            uid: "1".into(),
            current: true,
            waits_for: waits_for.map(str::to_owned),
            hash,
            taken: Vec::new(),
        }
    }

    fn state(object: Option<&ApprovalTarget>, second: i64) -> Option<ApprovalState> {
        verdict(&approval(), object, at(second)).map(|verdict| verdict.state)
    }

    #[test]
    fn an_approval_is_open_while_its_own_plan_waits() {
        assert_eq!(state(Some(&standing(Some(HASH))), 100), None);
        let settled = ApprovalTarget { waits_for: None, hash: HASH.into(), ..standing(None) };
        assert_eq!(state(Some(&settled), 100), None, "its plan is there, and cannot be asked for just now");
        assert!(is_open(&approval(), at(100)) && !is_open(&approval(), at(3600)));
    }

    #[test]
    fn an_approval_is_used_when_its_plan_was_taken_up() {
        let mut object = standing(None);
        object.taken = vec!["other".into(), "approval-1".into()];
        assert_eq!(state(Some(&object), 1), Some(ApprovalState::Used));
        assert_eq!(state(Some(&object), 4000), Some(ApprovalState::Used), "however late that is noticed");
    }

    #[test]
    fn an_approval_of_another_plan_is_stale() {
        let other = standing(Some("0000000000000000"));
        assert_eq!(state(Some(&other), 2), None, "the plan that the approver saw may not be seen here yet");
        assert_eq!(state(Some(&other), 100), Some(ApprovalState::Stale));
        assert_eq!(
            state(Some(&ApprovalTarget { current: false, ..other }), 100),
            None,
            "the new spec is not planned yet"
        );
        assert_eq!(state(Some(&standing(None)), 100), Some(ApprovalState::Stale), "nothing waits");
    }

    #[test]
    fn an_approval_that_nothing_takes_up_expires() {
        assert_eq!(state(None, 100), None, "the object may still come");
        assert_eq!(state(None, 3600), Some(ApprovalState::Expired));
        assert_eq!(state(Some(&standing(Some(HASH))), 3600), Some(ApprovalState::Expired));
    }
}
