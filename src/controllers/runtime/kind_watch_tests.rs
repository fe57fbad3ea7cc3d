//! Changes reported for objects that are readable, unreadable, and readable again, by a list and by a watch.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::json;

use super::*;
use crate::api::EksCluster;

type Changes = Rc<RefCell<Vec<String>>>;
type OnChange = Box<dyn Fn(Change<'_, EksCluster>)>;
type ClusterTracker = Tracker<EksCluster, fn(&EksCluster) -> DependentView, OnChange>;

fn tracker() -> (ClusterTracker, Changes) {
    let changes = Changes::default();
    let recorded = changes.clone();
    let (reader, writer) = store();
    let on_change: OnChange = Box::new(move |change: Change<'_, EksCluster>| {
        recorded.borrow_mut().push(match change {
            Change::SpecChanged(object) => format!("spec {}", object.name_any()),
            Change::DependentsAffected(object) => format!("view {}", object.name_any()),
            Change::Unreadable(object) => format!("unreadable {}", object.name()),
            Change::Deleted { object, uid, .. } => format!("deleted {} {uid}", object.name),
        });
    });
    (Tracker::new(reader, writer, |_| DependentView::default(), on_change), changes)
}

fn object(name: &str, generation: i64) -> Decoded<EksCluster> {
    let object = json!({
        "metadata": {"name": name, "namespace": "team", "uid": name, "generation": generation},
        "spec": {"region": "eu-west-1", "version": "1.34"},
    });
    serde_json::from_value(object).unwrap()
}

fn unreadable(name: &str) -> Decoded<EksCluster> {
    let object = json!({"metadata": {"name": name, "namespace": "team", "uid": name}, "spec": {"region": 1}});
    serde_json::from_value(object).unwrap()
}

fn take_changes(changes: &Changes) -> Vec<String> {
    std::mem::take(&mut changes.borrow_mut())
}

#[test]
fn unreadable_object_does_not_fail_its_list() {
    let (mut tracker, changes) = tracker();
    for event in [
        Event::Init,
        Event::InitApply(object("a", 1)),
        Event::InitApply(unreadable("bad")),
        Event::InitApply(object("b", 1)),
        Event::InitDone,
    ] {
        tracker.handle(event);
    }
    assert_eq!(take_changes(&changes), ["spec a", "view a", "spec b", "view b", "unreadable bad"]);
    assert_eq!(tracker.reader.len(), 2);
    tracker.handle(Event::Apply(object("bad", 2)));
    assert_eq!(take_changes(&changes), ["spec bad", "view bad"]);
    assert_eq!(tracker.reader.len(), 3);
}

#[test]
fn object_that_becomes_unreadable_is_not_reported_as_deleted() {
    let (mut tracker, changes) = tracker();
    for event in [Event::Init, Event::InitApply(object("a", 1)), Event::InitDone, Event::Apply(unreadable("a"))] {
        tracker.handle(event);
    }
    assert_eq!(take_changes(&changes), ["spec a", "view a", "unreadable a"]);
    assert_eq!(tracker.reader.len(), 0);
    // After a new list it still exists.
    for event in [Event::Init, Event::InitApply(unreadable("a")), Event::InitDone] {
        tracker.handle(event);
    }
    assert_eq!(take_changes(&changes), ["unreadable a"]);
    // Readable again at the same generation: everything counts as changed.
    tracker.handle(Event::Apply(object("a", 1)));
    assert_eq!(take_changes(&changes), ["spec a", "view a"]);
}

#[test]
fn unreadable_object_is_deleted_by_an_event_or_a_list_without_it() {
    let (mut tracker, changes) = tracker();
    for event in [Event::Init, Event::InitApply(unreadable("a")), Event::InitApply(unreadable("b")), Event::InitDone] {
        tracker.handle(event);
    }
    take_changes(&changes);
    tracker.handle(Event::Delete(unreadable("a")));
    assert_eq!(take_changes(&changes), ["deleted a a"]);
    tracker.handle(Event::Init);
    tracker.handle(Event::InitDone);
    assert_eq!(take_changes(&changes), ["deleted b b"]);
}

#[test]
fn ids_that_disappear_from_status_are_reported_and_own_writes_are_not() {
    let with = |ids: &[&str]| -> Decoded<EksCluster> {
        let resources: Vec<_> = ids.iter().map(|id| json!({"key": format!("subnet/{id}"), "id": id})).collect();
        let object = json!({
            "metadata": {"name": "a", "namespace": "team", "uid": "a", "generation": 1},
            "spec": {"region": "eu-west-1", "version": "1.34"}, "status": {"resources": resources},
        });
        serde_json::from_value(object).unwrap()
    };
    let (mut tracker, changes) = tracker();
    for event in [Event::Init, Event::InitApply(with(&[])), Event::InitDone, Event::Apply(with(&["s-1", "s-2"]))] {
        tracker.handle(event);
    }
    assert_eq!(take_changes(&changes), ["spec a", "view a"]);
    tracker.handle(Event::Apply(with(&["s-1"])));
    assert_eq!(take_changes(&changes), ["spec a"]);
    // Restored from a backup: a new list shows an earlier status.
    for event in [Event::Init, Event::InitApply(with(&[])), Event::InitDone] {
        tracker.handle(event);
    }
    assert_eq!(take_changes(&changes), ["spec a"]);
}
