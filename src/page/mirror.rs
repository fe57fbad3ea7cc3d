//! The page of an operator that leads: it shows the objects that the operator holds, and its own watches rest meanwhile. The operator's
//! watches only put what they read into a queue, and never wait for those who look at the page. No I/O.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Page;
use super::fleet::id_of;
use super::id::{Id, Kind};
use super::kinds::PageKind;
use crate::api::{AwsAccount, EksCluster, FleetRollout, NodeGroup};
use crate::controllers::runtime::mirror::{Mirror, WatchUpdate};

/// A change of the page.
type Work = Box<dyn FnOnce(&Page) + Send>;

/// Hands on to the page what the operator reads.
pub struct OperatorMirror(UnboundedSender<Work>);

/// What the operator has read and the page does not show yet. Without a bound, as the objects are those that the operator holds anyway.
pub struct PendingReads {
    page: Arc<Page>,
    queue: UnboundedReceiver<Work>,
}

impl PendingReads {
    /// Shows what the operator reads, until there is no operator.
    pub async fn show(mut self) {
        while let Some(work) = self.queue.recv().await {
            work(&self.page);
        }
    }

    /// Shows what the operator has read so far.
    #[cfg(test)]
    fn show_all(&mut self) {
        while let Ok(work) = self.queue.try_recv() {
            work(&self.page);
        }
    }
}

impl OperatorMirror {
    /// What the operator calls, and what shows it.
    pub fn new(page: Arc<Page>) -> (Self, PendingReads) {
        let (sender, queue) = unbounded_channel();
        (Self(sender), PendingReads { page, queue })
    }

    fn take<K: PageKind>(&self, reading: WatchUpdate<K>) {
        self.queue(move |page| show(page, reading));
    }

    /// An error means that the page has ended.
    fn queue(&self, work: impl FnOnce(&Page) + Send + 'static) {
        let _ = self.0.send(Box::new(work));
    }
}

fn show<K: PageKind>(page: &Page, reading: WatchUpdate<K>) {
    let now = Timestamp::now();
    match reading {
        WatchUpdate::All(objects, unreadable) => {
            // From here on the page's own watches change nothing.
            page.led(K::KIND).send_replace(true);
            let mut listed = BTreeSet::new();
            for object in objects {
                listed.insert(id_of(K::KIND, object.meta()));
                page.update(|fleet| fleet.apply_shared(object, now));
            }
            for object in &unreadable {
                listed.insert(id_of(K::KIND, &object.meta));
                page.update(|fleet| fleet.isolate::<K>(object));
            }
            page.update(|fleet| fleet.finish_list::<K>(&listed));
        }
        // Its own watches read these, too.
        _ if !*page.led(K::KIND).borrow() => {}
        WatchUpdate::Object(object) => page.update(|fleet| fleet.apply_shared(object, now)),
        WatchUpdate::Unreadable(object) => page.update(|fleet| fleet.isolate::<K>(&object)),
        WatchUpdate::Deleted(namespace, name) => {
            let id = Id::new(K::KIND, namespace.as_deref().unwrap_or_default(), &name);
            page.update(|fleet| fleet.delete::<K>(&id));
        }
        WatchUpdate::Failed => {
            page.led(K::KIND).send_replace(false);
        }
    }
}

impl Mirror for OperatorMirror {
    fn on_cluster(&self, reading: WatchUpdate<EksCluster>) {
        self.take(reading);
    }

    fn on_node_group(&self, reading: WatchUpdate<NodeGroup>) {
        self.take(reading);
    }

    fn on_account(&self, reading: WatchUpdate<AwsAccount>) {
        self.take(reading);
    }

    fn on_rollout(&self, reading: WatchUpdate<FleetRollout>) {
        self.take(reading);
    }

    fn on_end(&self) {
        self.queue(|page| {
            for kind in Kind::ALL {
                page.led(kind).send_replace(false);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use kube::{Client, Config};
    use serde_json::json;

    use super::*;
    use crate::controllers::runtime::decode::Unreadable;
    use crate::page::gate::Cluster;
    use crate::page::tests::ready;

    fn page() -> Arc<Page> {
        let client = Client::try_from(Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
        Arc::new(Page::in_cluster(Cluster::new(client, &[], None).unwrap()))
    }

    fn names(page: &Page) -> Vec<String> {
        let fleet = page.fleet.read();
        let readable = fleet.clusters.values().map(|kept| kept.row.id.name.clone());
        readable.chain(fleet.unreadable().map(|row| format!("unreadable {}", row.id.name))).collect()
    }

    fn unreadable(name: &str) -> Unreadable {
        let mut object = Unreadable { reason: "r".to_owned(), ..Unreadable::default() };
        (object.meta.namespace, object.meta.name) = (Some("team-a".to_owned()), Some(name.to_owned()));
        object
    }

    #[tokio::test]
    async fn page_shows_what_the_operator_reads_while_it_leads() {
        let page = page();
        let (mirror, mut readings) = OperatorMirror::new(Arc::clone(&page));
        let is_led = || *page.led(Kind::EksCluster).borrow();
        page.update(|fleet| fleet.apply(ready("team-a", "earlier"), Timestamp::now()));
        mirror.on_cluster(WatchUpdate::Object(Arc::new(ready("team-a", "ignored"))));
        readings.show_all();
        assert_eq!((names(&page), is_led()), (vec!["earlier".to_owned()], false), "its own watches read these");
        let shared = Arc::new(ready("team-a", "a"));
        mirror.on_cluster(WatchUpdate::All(vec![Arc::clone(&shared)], vec![unreadable("bad")]));
        readings.show_all();
        assert_eq!((names(&page), is_led()), (vec!["a".to_owned(), "unreadable bad".to_owned()], true));
        let kept = page.fleet.read().clusters.values().next().unwrap().open().unwrap().object;
        assert!(Arc::ptr_eq(&kept, &shared), "not a copy");
        assert!(!*page.led(Kind::FleetRollout).borrow(), "each kind by itself");
        let spec = json!({"clusterSelector": {}, "waves": [{"name": "canary"}]});
        let rollout = json!({"metadata": {"name": "main"}, "spec": spec});
        mirror.on_rollout(WatchUpdate::All(vec![Arc::new(serde_json::from_value(rollout).unwrap())], Vec::new()));
        readings.show_all();
        assert!(*page.led(Kind::FleetRollout).borrow() && page.fleet.read().rollouts.len() == 1);
        mirror.on_cluster(WatchUpdate::Object(Arc::new(ready("team-a", "b"))));
        mirror.on_cluster(WatchUpdate::Unreadable(Box::new(unreadable("a"))));
        mirror.on_cluster(WatchUpdate::Deleted(Some("team-a".to_owned()), "bad".to_owned()));
        readings.show_all();
        assert_eq!(names(&page), ["b", "unreadable a"]);
        mirror.on_cluster(WatchUpdate::Failed);
        readings.show_all();
        assert!(!is_led(), "its own watches say since when it cannot be read");
        mirror.on_cluster(WatchUpdate::All(Vec::new(), Vec::new()));
        readings.show_all();
        assert!(is_led() && names(&page).is_empty());
        mirror.on_end();
        readings.show_all();
        assert!(!is_led());
    }
}
