//! Reads the event queue and finds the resources that others changed, so that exactly those are observed now.
//!
//! Which resources an event affects is decided by the ids in status ([`super::affected`]). Correctness does not depend on the
//! queue: what it misses is found by polling for drift. I/O: the queue, through [`crate::aws::events`].
//!
//! Messages may be forged, and may arrive at any rate: a message causes reads, never writes, and only as many as the
//! limits here allow.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::affected::{affected_cluster_keys, affected_node_group_keys, is_in_account_and_region};
use super::index::EventIndex;
use super::wake_limits::Wake;
use crate::api::listing::first_few;
use crate::api::{EksCluster, NodeGroup};
use crate::aws::AwsError;
use crate::aws::events::queue::Received;
use crate::aws::events::{Event, Message, Queue, RejectedMessage};
use crate::controllers::context::Context;
use crate::controllers::runtime::apply::Kind;
use crate::controllers::runtime::event_publisher::EventMessage;
use crate::controllers::runtime::reconcile_queue::Trigger;
use crate::engine::Key;
use crate::telemetry::event_queue::MessageOutcome;

/// First and longest retry delay while the queue cannot be read.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Delay between batches: bounds a flood to about 100 messages a second.
const BATCH_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum objects reconciled for one message; more, such as users of a shared network, are found by polling.
const MAX_OBJECTS: usize = 10;
/// Maximum resources per object observed for one message.
const MAX_RESOURCES: usize = 50;

/// Polls the queue while this process leads.
pub async fn poll_queue(ctx: Arc<Context>, queue: Queue) {
    // Objects not listed yet will be reconciled anyway, but their events must not be dropped as foreign.
    ctx.all_listed.cancelled().await;
    let mut pause = RETRY.0;
    loop {
        match queue.receive().await {
            Ok(messages) => {
                if pause != RETRY.0 {
                    tracing::info!("the event queue can be read again");
                }
                pause = RETRY.0;
                ctx.metrics.events().record_poll();
                let has_messages = !messages.is_empty();
                let receipts = handle_messages(&ctx, messages, Timestamp::now());
                if let Err(error) = queue.delete(receipts).await {
                    tracing::debug!(%error, "messages of the event queue were not deleted and will be redelivered");
                }
                if has_messages {
                    tokio::time::sleep(BATCH_INTERVAL).await;
                }
            }
            Err(error) => {
                ctx.metrics.events().record_poll_failure();
                log_queue_error(&error, pause);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
            }
        }
    }
}

/// Logs the first failure, and each one at the longest delay.
fn log_queue_error(error: &AwsError, pause: Duration) {
    if pause == RETRY.0 || pause == RETRY.1 {
        tracing::warn!(%error, "the event queue cannot be read: external changes are only found by polling for drift");
    }
}

/// Handles messages and requests reconciles. Returns the receipts of all messages, for deletion.
fn handle_messages(ctx: &Arc<Context>, messages: Vec<Received>, now: Timestamp) -> Vec<String> {
    if messages.is_empty() {
        return Vec::new();
    }
    let index = EventIndex::new(ctx.clusters.state(), ctx.node_groups.state());
    let receipts = messages.into_iter().map(|Received { body, receipt, sender }| {
        let sender = sender.as_deref();
        let outcome = if is_trusted(sender, &ctx.settings.event_queue_sender_ids) {
            handle_message(ctx, &index, &body, sender, now)
        } else {
            tracing::warn!(
                sender,
                "a message of the event queue is deleted unread: --event-queue-sender-id does not name its sender"
            );
            MessageOutcome::Refused
        };
        ctx.metrics.events().count_message(outcome);
        receipt
    });
    receipts.collect()
}

fn handle_message(
    ctx: &Arc<Context>,
    index: &EventIndex,
    body: &str,
    sender: Option<&str>,
    now: Timestamp,
) -> MessageOutcome {
    match Message::read(body) {
        Ok(Message::Change(event)) if is_own(ctx, &event) => MessageOutcome::Own,
        Ok(Message::Change(event)) if wake(ctx, index, &event, now) => MessageOutcome::Relevant,
        Ok(Message::Change(_) | Message::Other) => MessageOutcome::Unrelated,
        Err(error) => {
            tracing::warn!(%error, sender, "a message of the event queue is invalid: deleted and ignored");
            match error {
                RejectedMessage::NotAnEvent(_) | RejectedMessage::TooLarge(_) => MessageOutcome::Malformed,
                RejectedMessage::Invalid(_) | RejectedMessage::Contradictory(_) => MessageOutcome::Refused,
            }
        }
    }
}

/// Whether messages from this sender are accepted; an empty list accepts all. A role's id precedes the session name.
fn is_trusted(sender: Option<&str>, allowed: &[String]) -> bool {
    let id = sender.map(|sender| sender.split_once(':').map_or(sender, |(role, _)| role));
    allowed.is_empty() || id.is_some_and(|id| allowed.iter().any(|one| one == id))
}

/// Whether this installation made the call. Another Keelson installation, with other clusters, counts as external.
fn is_own(ctx: &Context, event: &Event) -> bool {
    event.is_by_keelson() && event.caller_arn.as_deref().is_some_and(|arn| ctx.accounts.acts_as(arn))
}

/// An object that an event affects, and which of its resources.
enum Affected {
    Cluster(Arc<EksCluster>, BTreeSet<Key>),
    NodeGroup(Arc<NodeGroup>, BTreeSet<Key>),
}

/// What an event affects, within the limits per message.
fn affected(index: &EventIndex, event: &Event) -> Vec<Affected> {
    let bounded = |keys: BTreeSet<Key>| keys.into_iter().take(MAX_RESOURCES).collect::<BTreeSet<_>>();
    let mut all = Vec::new();
    for cluster in index.clusters_of(event).into_iter().filter(|cluster| is_in_account_and_region(event, cluster)) {
        let keys = bounded(affected_cluster_keys(event, cluster));
        if !keys.is_empty() {
            all.push(Affected::Cluster(cluster.clone(), keys));
        }
        for group in index.node_groups_of(cluster) {
            let keys = affected_node_group_keys(event, group, cluster);
            if !keys.is_empty() {
                all.push(Affected::NodeGroup(group.clone(), keys));
            }
        }
        if all.len() >= MAX_OBJECTS {
            tracing::debug!(action = event.action, "an event names more objects than one message may reconcile");
            all.truncate(MAX_OBJECTS);
            break;
        }
    }
    all
}

/// Requests reconciles of the affected objects. Returns whether there are any.
fn wake(ctx: &Arc<Context>, index: &EventIndex, event: &Event, now: Timestamp) -> bool {
    let affected = affected(index, event);
    let is_affected = !affected.is_empty();
    for one in affected {
        match one {
            Affected::Cluster(cluster, keys) => {
                // The cluster may be a foreign one with the same name: do not reveal who changed it.
                let known = cluster.status.as_ref().is_some_and(|status| status.arn.is_some());
                record_and_wake(ctx, &*cluster, known.then_some(event), keys, now, |ctx, object| {
                    ctx.queues.clusters.push(object, Trigger::ExternalEvent)
                });
            }
            Affected::NodeGroup(group, keys) => {
                let known = group.status.as_ref().is_some_and(|status| status.arn.is_some());
                record_and_wake(ctx, &*group, known.then_some(event), keys, now, |ctx, object| {
                    ctx.queues.node_groups.push(object, Trigger::ExternalEvent)
                });
            }
        }
    }
    is_affected
}

/// Records the change and requests a reconcile as soon as the limits allow. `shown`: the event to publish.
fn record_and_wake<K: Kind>(
    ctx: &Arc<Context>,
    object: &K,
    shown: Option<&Event>,
    keys: BTreeSet<Key>,
    now: Timestamp,
    push: fn(&Context, ObjectRef<K>),
) {
    let Some(uid) = object.uid() else { return };
    let wake = ctx.pending_changes.next_wake(&uid);
    if let (Wake::Now, Some(event)) = (&wake, shown) {
        ctx.events.publish(object, vec![describe_change(event, &keys)]);
    }
    ctx.pending_changes.add(uid.clone(), keys, now);
    let object = ObjectRef::from_obj(object);
    match wake {
        Wake::Now => push(ctx, object),
        Wake::Pending => {}
        Wake::After(delay) => {
            let task_ctx = ctx.clone();
            ctx.tasks.spawn(async move {
                if task_ctx.term_ended.run_until_cancelled(tokio::time::sleep(delay)).await.is_some() {
                    task_ctx.pending_changes.delay_elapsed(&uid);
                    push(&task_ctx, object);
                }
            });
        }
    }
}

/// Describes who did what: the first question when something differs.
fn describe_change(event: &Event, keys: &BTreeSet<Key>) -> EventMessage {
    const NAMED: usize = 5;
    let (service, action, named) = (event.service, &event.action, first_few(keys, NAMED));
    let who = event.caller_arn.as_deref().unwrap_or("an unknown caller");
    EventMessage::normal("ChangedInAws", format!("{service}:{action} by {who}; observing {named}"))
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
