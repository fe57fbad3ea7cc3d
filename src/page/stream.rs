//! The stream of what changes: a message without content whenever a viewer may see something else than before. In a cluster it asks
//! again and again whether the viewer still may, and ends otherwise. I/O: through `permissions`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::Page;
use super::fleet::Change;
use super::gate::{Gate, StreamSlot};
use super::id::Id;
use super::permissions::RECHECK;
use super::viewer::Viewer;

/// Changes in that time are one message.
const COALESCE: Duration = Duration::from_millis(300);
/// A connection without changes says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After that time a browser connects again.
const RETRY: Duration = Duration::from_secs(1);
/// A browser ignores a message without data.
const NOTHING_MORE: &str = "-";

/// Whose stream it is, in a cluster.
pub struct Credential {
    pub token: String,
    /// When the session on the page ends, if there is one.
    pub until: Option<Timestamp>,
    /// Where the request comes from.
    pub from: String,
    /// The place among the streams, as long as this lasts.
    pub _place: StreamSlot,
}

/// A message whenever something changes of that object, or of anything that the viewer may see.
pub fn live(
    page: &Arc<Page>,
    viewer: Viewer,
    of: Option<Id>,
    credential: Option<Credential>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let receiver = page.changes.subscribe();
    let (page, seen) = (Arc::clone(page), page.version(&viewer));
    let follower = Follower { page, receiver, viewer, of, seen, credential, checked: Instant::now() };
    let first = Event::default().event("connected").data(NOTHING_MORE).retry(RETRY);
    let changes = futures::stream::unfold(follower, |mut follower| async move {
        follower.changed().await?;
        tokio::time::sleep(COALESCE).await;
        // What comes with it, is part of it.
        follower.receiver = follower.receiver.resubscribe();
        follower.seen = follower.page.version(&follower.viewer);
        Some((Ok(Event::default().event("changed").data(NOTHING_MORE)), follower))
    });
    let all = futures::StreamExt::chain(futures::stream::iter([Ok(first)]), changes);
    Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// Somebody who follows the changes.
struct Follower {
    page: Arc<Page>,
    receiver: broadcast::Receiver<Change>,
    viewer: Viewer,
    of: Option<Id>,
    /// The version that was announced.
    seen: u64,
    credential: Option<Credential>,
    /// When it was asked whether the viewer may see it.
    checked: Instant,
}

impl Follower {
    /// Waits for something to announce; `None`: the viewer may see no more.
    async fn changed(&mut self) -> Option<()> {
        loop {
            let due = self.checked + RECHECK;
            if self.credential.is_some() && due <= Instant::now() && self.check().await? {
                return Some(());
            }
            tokio::select! {
                change = self.receiver.recv() => match change {
                    Ok(change) => {
                        let has_new_rights = self.is_unknown(&change) && self.check().await?;
                        if has_new_rights || concerns(&change, &self.viewer, self.of.as_ref()) {
                            return Some(());
                        }
                    }
                    // More than is remembered, which may all be of others.
                    Err(RecvError::Lagged(_)) if self.page.version(&self.viewer) == self.seen => {}
                    Err(RecvError::Lagged(_)) => return Some(()),
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep_until(due), if self.credential.is_some() => {}
            }
        }
    }

    /// Whether the change is in a namespace about which nobody has asked yet.
    fn is_unknown(&self, change: &Change) -> bool {
        let Change::Object { id, .. } = change else { return false };
        self.credential.is_some() && id.kind.is_namespaced() && !self.viewer.knows(&id.namespace)
    }

    /// Asks what the viewer may see now, and whether that is something else; `None`: nothing.
    async fn check(&mut self) -> Option<bool> {
        let (Some(credential), Gate::Cluster(cluster)) = (&self.credential, &self.page.gate) else {
            return Some(false);
        };
        if credential.until.is_some_and(|until| until <= Timestamp::now()) {
            return None;
        }
        let namespaces = self.page.fleet.read().namespaces();
        let admitted = cluster.access.admit(&credential.token, true, &namespaces, &credential.from).await.ok()?;
        self.checked = Instant::now();
        let before = std::mem::replace(&mut self.viewer, admitted.viewer);
        Some(!before.sees_the_same_as(&self.viewer))
    }
}

/// Whether a change is one of that object, or of anything the viewer may see.
pub fn concerns(change: &Change, viewer: &Viewer, of: Option<&Id>) -> bool {
    match (change, of) {
        (Change::Source, _) => true,
        (Change::Object { id, .. }, None) => viewer.may_see(id),
        (Change::Object { id, cluster }, Some(of)) => viewer.may_see(id) && (id == of || cluster.as_ref() == Some(of)),
    }
}
