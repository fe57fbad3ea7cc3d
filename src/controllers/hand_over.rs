//! Hand-over of an object's AWS resources to another installation, and taking them back when the hand-over is withdrawn.
//! Pure.
//!
//! Only tags change. While a hand-over is on record and its annotation is gone, nothing else is done for the object:
//! its resources name the other installation, whose object may take them over at any time.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::recovery_requests::{Purpose, RecoveryRequest, recovery_request};
use super::runtime::apply::Kind;
use super::runtime::installation;
use crate::api::status_cluster::{HandOverStatus, RecoveryStatus};
use crate::api::{EksCluster, HAND_OVER_ANNOTATION};
use crate::engine::Memory;
use crate::resources::recovery::takeover::{Inventory, Selection};

fn annotation<K: Kind>(object: &K) -> Option<&str> {
    object.annotations().get(HAND_OVER_ANNOTATION).map(|text| text.trim())
}

/// Whether the hand-over is complete, and still wanted.
fn is_in_force<K: Kind>(object: &K, done: &HandOverStatus) -> bool {
    !done.withdrawn && annotation(object) == Some(&done.installation)
}

/// The hand-over request on an object, unless it was already completed.
fn hand_over_request<K: Kind>(object: &K, done: Option<&HandOverStatus>) -> Option<RecoveryRequest> {
    let to = annotation(object).filter(|to| !to.is_empty())?;
    let is_new = done.is_none_or(|done| !is_in_force(object, done));
    is_new.then(|| RecoveryRequest::hand_over(object, to))
}

/// The request to take back what was handed over: the annotation was removed or changed.
fn take_back_request<K: Kind>(
    object: &K,
    done: Option<&HandOverStatus>,
    installation: Option<String>,
) -> Option<RecoveryRequest> {
    let is_withdrawn = done.is_some_and(|done| !is_in_force(object, done));
    is_withdrawn.then(|| RecoveryRequest::take_back(object, installation))
}

/// The request to handle before the spec is applied. `installation`: this one.
pub fn request<K: Kind>(
    object: &K,
    recovered: &Option<RecoveryStatus>,
    done: &Option<HandOverStatus>,
    installation: Option<String>,
) -> Option<RecoveryRequest> {
    take_back_request(object, done.as_ref(), installation).or_else(|| recovery_request(object, recovered.as_ref()))
}

/// The request to handle while an object is suspended: a hand-over, or as without.
pub fn request_while_suspended<K: Kind>(
    object: &K,
    recovered: &Option<RecoveryStatus>,
    done: &Option<HandOverStatus>,
    installation: Option<String>,
) -> Option<RecoveryRequest> {
    match annotation(object) {
        Some(_) => hand_over_request(object, done.as_ref()),
        None => request(object, recovered, done, installation),
    }
}

/// Checks the id that a hand-over names: it becomes the value of a tag, and is stored in status.
///
/// # Errors
/// It is no installation's id. Contains the message for the user.
pub fn check_id(request: &RecoveryRequest) -> Result<(), String> {
    let Purpose::HandOver(to) = &request.purpose else { return Ok(()) };
    installation::parse(to).map(drop).map_err(|why| {
        format!("the annotation {HAND_OVER_ANNOTATION} names no installation ({why}). Remove the annotation")
    })
}

/// Why a hand-over that found nothing is refused; `None`: nothing exists, so it is done.
pub fn refuse_empty(uid: &str, all: &Inventory, selection: &Selection) -> Option<String> {
    let skipped = || (!selection.left.is_empty()).then(|| format!("these were skipped: {}", selection.left.join(", ")));
    let why = skipped().or_else(|| all.untagged.clone())?;
    Some(format!(
        "no AWS resource carries UID {uid}, but {why}: nothing is handed over. Undo the move with keelson move --abort, and \
         let this object be reconciled before it is moved"
    ))
}

/// When a hand-over that found nothing is certain: reads may miss what was created right before it was requested.
/// `None`: it found something.
pub fn empty_is_certain_at(request: &RecoveryRequest, selection: &Selection, memory: &Memory) -> Option<Timestamp> {
    let is_empty = matches!(request.purpose, Purpose::HandOver(_)) && selection.items.is_empty();
    let window = SignedDuration::try_from(memory.read_after_write_window).unwrap_or(SignedDuration::MAX);
    is_empty.then(|| memory.since.saturating_add(window).unwrap_or(Timestamp::MAX))
}

/// The message of an object whose resources were handed over; `None`: they were not, or are taken back.
pub fn handed_over_message<K: Kind>(object: &K, done: Option<&HandOverStatus>) -> Option<String> {
    let done = done.filter(|done| is_in_force(object, done))?;
    Some(format!(
        "its AWS resources are handed over to installation {}, where an object of this name takes them over, so this object is \
         not reconciled: delete it, which deletes nothing in AWS; or, if they were not taken over, undo the move with \
         keelson move --abort, which removes the annotation {HAND_OVER_ANNOTATION}, has the resources taken back, and sets \
         spec.suspend: false where it was",
        done.installation
    ))
}

/// Why a NodeGroup of that cluster is neither reconciled nor deleted in AWS: the cluster is handed over, or not taken
/// back yet.
pub fn cluster_handed_over_message(cluster: &EksCluster) -> Option<String> {
    let done = cluster.status.as_ref()?.hand_over.as_ref()?;
    Some(format!("its EksCluster is handed over to installation {}", done.installation))
}

/// The hand-over record to keep in status. Once the annotation is removed or changed, the hand-over is withdrawn: the
/// record stays until everything is taken back or handed over again.
pub fn retained_hand_over<K: Kind>(object: &K, done: Option<&HandOverStatus>) -> Option<HandOverStatus> {
    done.map(|done| HandOverStatus { withdrawn: !is_in_force(object, done), ..done.clone() })
}

#[cfg(test)]
mod tests {
    use super::super::recovery_requests::CompletedRequest;
    use super::*;
    use serde_json::json;

    fn cluster(to: Option<&str>) -> EksCluster {
        let annotations = to.map(|text| json!({HAND_OVER_ANNOTATION: text})).unwrap_or_default();
        serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "namespace": "team", "uid": "uid-1", "annotations": annotations},
            "spec": {"region": "eu-west-1", "version": "1.34"},
        }))
        .unwrap()
    }

    fn handed_over_to(to: &str) -> HandOverStatus {
        let request = hand_over_request(&cluster(Some(to)), None).unwrap();
        assert_eq!((request.uid.as_str(), &request.purpose), ("uid-1", &Purpose::HandOver(to.to_owned())));
        let CompletedRequest::HandedOver(done) = request.done(3, Timestamp::UNIX_EPOCH) else { panic!("a hand-over") };
        done
    }

    #[test]
    fn handed_over_object_is_not_reconciled_until_the_hand_over_is_withdrawn() {
        assert_eq!((hand_over_request(&cluster(None), None), handed_over_message(&cluster(None), None)), (None, None));
        let (done, with) = (handed_over_to("there"), cluster(Some("there")));
        assert_eq!(hand_over_request(&with, Some(&done)), None);
        assert_eq!(request(&with, &None, &Some(done.clone()), None), None);
        let message = handed_over_message(&with, Some(&done)).unwrap();
        assert!(message.contains("installation there") && message.contains("spec.suspend: false"), "{message}");
        assert_eq!(handed_over_message(&cluster(None), Some(&done)), None);
    }

    #[test]
    fn hand_over_to_what_is_no_installation_id_is_refused() {
        let check = |to: &str| check_id(&hand_over_request(&cluster(Some(to)), None).unwrap());
        assert_eq!(check("prod-eu.1"), Ok(()));
        for wrong in ["two words", "a/b", &"x".repeat(300)] {
            let why = check(wrong).unwrap_err();
            assert!(why.contains("names no installation") && why.contains("Remove the annotation"), "{why}");
        }
        assert_eq!(check_id(&RecoveryRequest::take_back(&cluster(None), Some("two words".into()))), Ok(()));
    }

    #[test]
    fn withdrawn_hand_over_is_taken_back_before_anything_else() {
        let done = Some(handed_over_to("there"));
        let here = Some("here".to_owned());
        for object in [cluster(None), cluster(Some("elsewhere"))] {
            let taken_back = request(&object, &None, &done, here.clone()).unwrap();
            assert_eq!(taken_back.purpose, Purpose::TakeBack(here.clone()));
            let kept = retained_hand_over(&object, done.as_ref()).unwrap();
            assert!(kept.withdrawn, "until it is taken back: {kept:?}");
        }
        let suspended = request_while_suspended(&cluster(None), &None, &done, here.clone()).unwrap();
        assert_eq!(suspended.purpose, Purpose::TakeBack(here.clone()), "also while it is suspended");
        // The annotation is set again while some tags are taken back already: they are handed over again.
        let withdrawn = retained_hand_over(&cluster(None), done.as_ref());
        let with = cluster(Some("there"));
        let again = request_while_suspended(&with, &None, &withdrawn, here.clone()).unwrap();
        assert_eq!(again.purpose, Purpose::HandOver("there".to_owned()));
        assert_eq!(handed_over_message(&with, withdrawn.as_ref()), None);
        assert_eq!(request(&with, &None, &withdrawn, here.clone()).unwrap().purpose, Purpose::TakeBack(here));
    }

    #[test]
    fn hand_over_of_nothing_is_done_unless_something_may_exist() {
        let (nothing, selected) = (Inventory::default(), Selection::default());
        assert_eq!(refuse_empty("uid-1", &nothing, &selected), None);
        let untagged = Inventory { untagged: Some("nodes exists".to_owned()), ..Inventory::default() };
        let why = refuse_empty("uid-1", &untagged, &selected).unwrap();
        assert!(why.contains("but nodes exists") && why.contains("--abort"), "{why}");
        let skipped = Selection { left: vec!["vpc vpc-1 (elsewhere)".to_owned()], ..Selection::default() };
        assert!(refuse_empty("uid-1", &nothing, &skipped).unwrap().contains("vpc-1"));
    }

    #[test]
    fn hand_over_of_nothing_is_certain_once_reads_show_earlier_writes() {
        let memory = Memory::new(Timestamp::from_second(100).unwrap(), std::time::Duration::from_secs(10), []);
        let hand_over = hand_over_request(&cluster(Some("there")), None).unwrap();
        let empty = Selection::default();
        let at = empty_is_certain_at(&hand_over, &empty, &memory);
        assert_eq!(at, Some(Timestamp::from_second(110).unwrap()));
        let take_back = RecoveryRequest::take_back(&cluster(None), None);
        assert_eq!(empty_is_certain_at(&take_back, &empty, &memory), None);
    }
}
