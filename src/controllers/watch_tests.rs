//! What is told of objects that can be read, cannot, and can again, by a list and by a watch.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::json;

use super::*;
use crate::api::EksCluster;

type Reported = Rc<RefCell<Vec<String>>>;
type OnChange = Box<dyn Fn(Change<'_, EksCluster>)>;
type ClusterTracker = Tracker<EksCluster, fn(&EksCluster) -> DependentView, OnChange>;

fn tracker() -> (ClusterTracker, Reported) {
    let told = Reported::default();
    let heard = told.clone();
    let (reader, writer) = store();
    let on_change: OnChange = Box::new(move |change: Change<'_, EksCluster>| {
        heard.borrow_mut().push(match change {
            Change::SpecChanged(object) => format!("own {}", object.name_any()),
            Change::DependentsAffected(object) => format!("shown {}", object.name_any()),
            Change::Unreadable(object) => format!("unreadable {}", object.name()),
            Change::Deleted { object, uid, .. } => format!("gone {} {uid}", object.name),
        });
    });
    (Tracker::new(reader, writer, |_| DependentView::default(), on_change), told)
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

fn taken(told: &Reported) -> Vec<String> {
    std::mem::take(&mut told.borrow_mut())
}

#[test]
fn an_object_that_cannot_be_read_is_isolated_and_the_list_completes() {
    let (mut tracker, told) = tracker();
    for event in [
        Event::Init,
        Event::InitApply(object("a", 1)),
        Event::InitApply(unreadable("bad")),
        Event::InitApply(object("b", 1)),
        Event::InitDone,
    ] {
        tracker.handle(event);
    }
    assert_eq!(taken(&told), ["own a", "shown a", "own b", "shown b", "unreadable bad"]);
    assert_eq!(tracker.reader.len(), 2);
    tracker.handle(Event::Apply(object("bad", 2)));
    assert_eq!(taken(&told), ["own bad", "shown bad"]);
    assert_eq!(tracker.reader.len(), 3);
}

#[test]
fn an_object_that_becomes_unreadable_is_not_gone_and_not_reconciled() {
    let (mut tracker, told) = tracker();
    for event in [Event::Init, Event::InitApply(object("a", 1)), Event::InitDone, Event::Apply(unreadable("a"))] {
        tracker.handle(event);
    }
    assert_eq!(taken(&told), ["own a", "shown a", "unreadable a"]);
    assert_eq!(tracker.reader.len(), 0);
    // The list is made anew: it is still there.
    for event in [Event::Init, Event::InitApply(unreadable("a")), Event::InitDone] {
        tracker.handle(event);
    }
    assert_eq!(taken(&told), ["unreadable a"]);
    // Back at the same generation all of it is new.
    tracker.handle(Event::Apply(object("a", 1)));
    assert_eq!(taken(&told), ["own a", "shown a"]);
}

#[test]
fn an_unreadable_object_is_gone_when_it_is_deleted_or_missing_from_a_list() {
    let (mut tracker, told) = tracker();
    for event in [Event::Init, Event::InitApply(unreadable("a")), Event::InitApply(unreadable("b")), Event::InitDone] {
        tracker.handle(event);
    }
    taken(&told);
    tracker.handle(Event::Delete(unreadable("a")));
    assert_eq!(taken(&told), ["gone a a"]);
    tracker.handle(Event::Init);
    tracker.handle(Event::InitDone);
    assert_eq!(taken(&told), ["gone b b"]);
}
