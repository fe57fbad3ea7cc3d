//! The change that a reconcile works on: one from the edit until the object is Ready, whatever processes work on it. What
//! is done to a steady object, such as the correction of drift, belongs to none. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use crate::api::conditions::{self, ConditionType};
use crate::api::status_cluster::{ChangeStatus, ChangeType};
use crate::api::stored_time::whole_seconds;

/// The changes of an object at the start of a reconcile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Followed {
    /// The last change: in progress, or ended. `None`: none was recorded.
    pub change: Option<ChangeStatus>,
    /// It starts with this reconcile.
    pub is_new: bool,
    /// A change that did not end before the next one started.
    pub superseded: Option<ChangeStatus>,
}

/// The state that a reconcile starts from.
pub struct Before<'a> {
    /// The last change in status.
    pub change: Option<&'a ChangeStatus>,
    /// The generation that status belongs to.
    pub observed: Option<i64>,
    /// The conditions in status.
    pub conditions: &'a [Condition],
}

/// Finds the change that the object as it is now belongs to.
pub fn follow(meta: &ObjectMeta, before: &Before<'_>, now: Timestamp) -> Followed {
    let generation = meta.generation.unwrap_or_default();
    let deleted = meta.deletion_timestamp.as_ref();
    let is_same = |last: &ChangeStatus| match deleted {
        // A deletion stays one, however often the spec is edited meanwhile.
        Some(_) => last.change_type == ChangeType::Delete,
        None => last.change_type != ChangeType::Delete && last.generation == generation,
    };
    if before.change.is_some_and(is_same) {
        return Followed { change: before.change.cloned(), ..Followed::default() };
    }
    let is_ready = conditions::is_true(before.conditions, ConditionType::Ready);
    if before.change.is_none() && deleted.is_none() && before.observed == meta.generation && is_ready {
        // Ready since before changes were recorded.
        return Followed::default();
    }
    // -1 is the default of an object that no operator has observed.
    let observed = before.observed.filter(|generation| *generation >= 0);
    let (change_type, started_at) = match (deleted, observed) {
        (Some(deleted), _) => (ChangeType::Delete, Some(deleted.0)),
        (None, None) => (ChangeType::Create, meta.creation_timestamp.as_ref().map(|created| created.0)),
        (None, Some(_)) => (ChangeType::Update, None),
    };
    // The API server's clock may be ahead.
    let started_at = whole_seconds(started_at.map_or(now, |started| started.min(now)));
    Followed {
        change: Some(ChangeStatus { change_type, generation, started_at, ended_at: None, waiting: None }),
        is_new: true,
        superseded: before.change.filter(|last| last.ended_at.is_none()).cloned(),
    }
}

/// A change in progress, with the UID of its object.
pub type InProgress = (String, ChangeStatus);

/// Whether status and reason of Ready differ.
pub fn ready_differs(before: &[Condition], now: &[Condition]) -> bool {
    let ready =
        |all| conditions::get(all, ConditionType::Ready).map(|ready: &Condition| (&ready.status, &ready.reason));
    match (ready(before), ready(now)) {
        (Some(before), Some(now)) => before != now,
        (before, now) => before.is_some() != now.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use serde_json::json;

    use super::*;
    use crate::controllers::driver::change_spans::ids;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn meta(generation: i64, deleted: Option<i64>) -> ObjectMeta {
        ObjectMeta {
            generation: Some(generation),
            creation_timestamp: Some(Time(at(100))),
            deletion_timestamp: deleted.map(|second| Time(at(second))),
            ..ObjectMeta::default()
        }
    }

    fn change(change_type: ChangeType, generation: i64, started: i64, ended: Option<i64>) -> ChangeStatus {
        let ended_at = ended.map(|second| Time(at(second)));
        ChangeStatus { change_type, generation, started_at: Time(at(started)), ended_at, waiting: None }
    }

    fn ready() -> Vec<Condition> {
        let ready = json!({"type": "Ready", "status": "True", "reason": "Available", "message": "",
                           "lastTransitionTime": "2026-11-21T10:00:00Z"});
        vec![serde_json::from_value(ready).unwrap()]
    }

    fn followed(meta: &ObjectMeta, last: Option<&ChangeStatus>, observed: Option<i64>) -> Followed {
        follow(meta, &Before { change: last, observed, conditions: &ready() }, at(500))
    }

    #[test]
    fn a_creation_starts_with_the_object_and_an_edit_with_its_first_reconcile() {
        for unobserved in [None, Some(-1)] {
            let created = followed(&meta(1, None), None, unobserved);
            assert_eq!(created.change, Some(change(ChangeType::Create, 1, 100, None)));
        }
        let ended = change(ChangeType::Create, 1, 100, Some(200));
        let edited = followed(&meta(2, None), Some(&ended), Some(1));
        assert_eq!(edited.change, Some(change(ChangeType::Update, 2, 500, None)));
        assert_eq!((edited.is_new, edited.superseded), (true, None));
    }

    #[test]
    fn another_process_continues_the_change_in_status() {
        let begun = change(ChangeType::Update, 2, 300, None);
        assert_eq!(followed(&meta(2, None), Some(&begun), Some(2)).change, Some(begun.clone()));
        assert!(!followed(&meta(2, None), Some(&begun), Some(2)).is_new);
        // It crashed before it wrote status: the time differs, the trace does not.
        let again = followed(&meta(2, None), None, Some(1)).change.unwrap();
        assert_eq!(ids("uid", &again), ids("uid", &begun));
    }

    #[test]
    fn an_edit_in_the_middle_supersedes_the_change() {
        let begun = change(ChangeType::Create, 1, 100, None);
        let edited = followed(&meta(2, None), Some(&begun), Some(1));
        assert_eq!(edited.superseded, Some(begun.clone()));
        assert_ne!(ids("uid", &edited.change.unwrap()), ids("uid", &begun));
    }

    #[test]
    fn a_deletion_is_one_change_however_often_the_spec_is_edited() {
        let deleted = followed(&meta(3, Some(400)), Some(&change(ChangeType::Update, 2, 300, Some(301))), Some(2));
        let deletion = deleted.change.unwrap();
        assert_eq!(deletion, change(ChangeType::Delete, 3, 400, None));
        assert_eq!(followed(&meta(4, Some(400)), Some(&deletion), Some(3)).change, Some(deletion.clone()));
        let later = ChangeStatus { generation: 4, ..deletion.clone() };
        assert_eq!(ids("uid", &deletion), ids("uid", &later));
        assert_ne!(ids("uid", &deletion), ids("other", &deletion));
    }

    #[test]
    fn object_that_is_ready_since_an_earlier_version_has_no_change_until_the_next_edit() {
        assert_eq!(followed(&meta(4, None), None, Some(4)), Followed::default());
        let unready = follow(&meta(4, None), &Before { change: None, observed: Some(4), conditions: &[] }, at(500));
        assert_eq!(unready.change, Some(change(ChangeType::Update, 4, 500, None)));
    }
}
