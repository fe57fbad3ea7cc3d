//! What the event queue tells of changes by others: whose resources they are, so that exactly those are looked at now.
//!
//! Which resources an event is about is decided by what status records of them, and is pure. Nothing hangs on it: what is not
//! told here is found when drift is looked for. I/O: the queue, through [`crate::aws::events`].
//!
//! A message may be forged, and may come in any number: it has something read, never written, and no more than the limits here allow.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::apply::Kind;
use super::cluster::facts::cluster_key;
use super::context::{Context, locked};
use super::event_index::EventIndex;
use super::events::EventMessage;
use super::wake_limits::{Wake, WakeLimits};
use crate::api::{EksCluster, NodeGroup};
use crate::aws::events::queue::Received;
use crate::aws::events::{Event, Message, Queue, RejectedMessage};
use crate::aws::{AwsError, Service};
use crate::engine::Key;
use crate::resources::prune::Kind as Unlisted;
use crate::resources::{access_entry, addon, existing_network, fargate_profile, pod_identity_association};
use crate::telemetry::events::MessageOutcome;

/// While the queue cannot be read: first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Between two batches, so that a flood is read at a bounded rate: of 100 messages a second.
const BATCH_INTERVAL: Duration = Duration::from_millis(100);
/// Objects that one message has looked at. What more it names, as a role or network that many share, is found by polling.
const MOST_OBJECTS: usize = 10;
/// Resources of one object that one message has looked at.
const MOST_RESOURCES: usize = 50;

/// What was heard of an object and not looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalChange {
    /// When it was heard: no read from before counts.
    pub at: Timestamp,
    /// Of which resources.
    pub keys: BTreeSet<Key>,
}

/// News by the UID of the object, until its next reconcile takes it.
#[derive(Debug, Default)]
pub struct PendingChanges {
    news: Mutex<HashMap<String, ExternalChange>>,
    limits: Mutex<WakeLimits>,
}

impl PendingChanges {
    fn put(&self, uid: String, keys: BTreeSet<Key>, at: Timestamp) {
        let mut all = locked(&self.news);
        let news = all.entry(uid).or_insert_with(|| ExternalChange { at, keys: BTreeSet::new() });
        news.at = news.at.max(at);
        news.keys.extend(keys);
    }

    /// What was heard of an object since this was asked last.
    pub fn take(&self, uid: &str) -> Option<ExternalChange> {
        locked(&self.news).remove(uid)
    }
}

/// Reads the queue for as long as this process leads.
pub async fn follow(ctx: Arc<Context>, queue: Queue) {
    // What is not known yet is looked at anyway; but its events must not be taken for somebody else's.
    ctx.listed.cancelled().await;
    let mut pause = RETRY.0;
    loop {
        match queue.receive().await {
            Ok(messages) => {
                if pause != RETRY.0 {
                    tracing::info!("the event queue can be read again");
                }
                pause = RETRY.0;
                ctx.metrics.events().record_poll();
                let any = !messages.is_empty();
                let receipts = act(&ctx, messages, Timestamp::now());
                if let Err(error) = queue.delete(receipts).await {
                    tracing::debug!(%error, "messages of the event queue were not deleted and come again");
                }
                if any {
                    tokio::time::sleep(BATCH_INTERVAL).await;
                }
            }
            Err(error) => {
                ctx.metrics.events().record_poll_failure();
                told(&error, pause);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
            }
        }
    }
}

/// Once, and then with every pause of a minute.
fn told(error: &AwsError, pause: Duration) {
    if pause == RETRY.0 || pause == RETRY.1 {
        tracing::warn!(%error, "the event queue cannot be read: what others change is found when drift is looked for");
    }
}

/// Wakes whom the messages concern. Returns the receipts of those that are done with: all of them.
fn act(ctx: &Arc<Context>, messages: Vec<Received>, now: Timestamp) -> Vec<String> {
    if messages.is_empty() {
        return Vec::new();
    }
    let index = EventIndex::new(ctx.clusters.state(), ctx.node_groups.state());
    let receipts = messages.into_iter().map(|Received { body, receipt, sender }| {
        let sender = sender.as_deref();
        let heard = if is_trusted(sender, &ctx.settings.event_queue_sender_ids) {
            act_on(ctx, &index, &body, sender, now)
        } else {
            tracing::warn!(
                sender,
                "a message of the event queue is deleted unread: --event-queue-sender-id does not name its sender"
            );
            MessageOutcome::Refused
        };
        ctx.metrics.events().count_message(heard);
        receipt
    });
    receipts.collect()
}

fn act_on(ctx: &Arc<Context>, index: &EventIndex, body: &str, sender: Option<&str>, now: Timestamp) -> MessageOutcome {
    match Message::read(body) {
        Ok(Message::Change(event)) if is_own(ctx, &event) => MessageOutcome::Own,
        Ok(Message::Change(event)) if wake(ctx, index, &event, now) => MessageOutcome::Relevant,
        Ok(Message::Change(_) | Message::Other) => MessageOutcome::Unrelated,
        Err(error) => {
            tracing::warn!(%error, sender, "a message of the event queue is deleted and not acted on");
            match error {
                RejectedMessage::NotAnEvent(_) | RejectedMessage::TooLarge(_) => MessageOutcome::Malformed,
                RejectedMessage::Invalid(_) | RejectedMessage::Contradictory(_) => MessageOutcome::Refused,
            }
        }
    }
}

/// Whether messages of this sender are read: of everybody, unless it is said whose. A role's id stands before the name of its session.
fn is_trusted(sender: Option<&str>, allowed: &[String]) -> bool {
    let id = sender.map(|sender| sender.split_once(':').map_or(sender, |(role, _)| role));
    allowed.is_empty() || id.is_some_and(|id| allowed.iter().any(|one| one == id))
}

/// What we did ourselves is known. Another Keelson, with other clusters, is somebody else.
fn is_own(ctx: &Context, event: &Event) -> bool {
    event.is_by_keelson() && event.caller_arn.as_deref().is_some_and(|arn| ctx.accounts.acts_as(arn))
}

/// An object that an event is about, and which of its resources.
enum Affected {
    Cluster(Arc<EksCluster>, BTreeSet<Key>),
    NodeGroup(Arc<NodeGroup>, BTreeSet<Key>),
}

/// What an event is about, as far as one message may have it looked at.
fn affected(index: &EventIndex, event: &Event) -> Vec<Affected> {
    let bounded = |keys: BTreeSet<Key>| keys.into_iter().take(MOST_RESOURCES).collect::<BTreeSet<_>>();
    let mut all = Vec::new();
    for cluster in index.clusters_of(event).into_iter().filter(|cluster| is_in(event, cluster)) {
        let keys = bounded(of_cluster(event, cluster));
        if !keys.is_empty() {
            all.push(Affected::Cluster(cluster.clone(), keys));
        }
        for group in index.node_groups_of(cluster).iter().filter(|group| is_of_node_group(event, group, cluster)) {
            all.push(Affected::NodeGroup(group.clone(), BTreeSet::from([super::node_group::key(group)])));
        }
        if all.len() >= MOST_OBJECTS {
            tracing::debug!(action = event.action, "an event names more objects than it has looked at");
            all.truncate(MOST_OBJECTS);
            break;
        }
    }
    all
}

/// True when it was about something of ours.
fn wake(ctx: &Arc<Context>, index: &EventIndex, event: &Event, now: Timestamp) -> bool {
    let affected = affected(index, event);
    let any = !affected.is_empty();
    for one in affected {
        match one {
            Affected::Cluster(cluster, keys) => {
                // Of one that is somebody else's and has the name, nobody is to know who works on it.
                let known = cluster.status.as_ref().is_some_and(|status| status.arn.is_some());
                put(ctx, &*cluster, known.then_some(event), keys, now, |ctx, object| ctx.queues.clusters.push(object));
            }
            Affected::NodeGroup(group, keys) => {
                let known = group.status.as_ref().is_some_and(|status| status.arn.is_some());
                put(ctx, &*group, known.then_some(event), keys, now, |ctx, object| ctx.queues.node_groups.push(object));
            }
        }
    }
    any
}

/// Remembers what of an object was changed, and has it looked at as soon as its limits allow. `shown`: who did what, for an
/// event on the object.
fn put<K: Kind>(
    ctx: &Arc<Context>,
    object: &K,
    shown: Option<&Event>,
    keys: BTreeSet<Key>,
    now: Timestamp,
    push: fn(&Context, ObjectRef<K>),
) {
    let Some(uid) = object.uid() else { return };
    let wake = locked(&ctx.news.limits).next(&uid, Instant::now());
    if let (Wake::Now, Some(event)) = (&wake, shown) {
        ctx.events.publish(object, vec![describe_change(event, &keys)]);
    }
    ctx.news.put(uid.clone(), keys, now);
    let object = ObjectRef::from_obj(object);
    match wake {
        Wake::Now => push(ctx, object),
        Wake::Pending => {}
        Wake::After(delay) => {
            let later = ctx.clone();
            ctx.tasks.spawn(async move {
                if later.over.run_until_cancelled(tokio::time::sleep(delay)).await.is_some() {
                    locked(&later.news.limits).waited(&uid, Instant::now());
                    push(&later, object);
                }
            });
        }
    }
}

/// Who did what: what a person asks first when something differs.
fn describe_change(event: &Event, keys: &BTreeSet<Key>) -> EventMessage {
    const NAMED: usize = 5;
    let named: Vec<_> = keys.iter().take(NAMED).map(ToString::to_string).collect();
    let more = keys.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (service, action, named) = (event.service, &event.action, named.join(", "));
    let who = event.caller_arn.as_deref().unwrap_or("somebody");
    EventMessage::normal("ChangedInAws", format!("{service}:{action} by {who}; {named}{more} looked at"))
}

/// Calls that name a network because they put something into it: what is ours stays as it is. (Nodes come and go all day.)
const USES: &[&str] = &["Run", "CreateFleet", "Request", "CreateNetworkInterface", "AttachNetworkInterface"];

/// Whether the event is of the cluster's account and region.
fn is_in(event: &Event, cluster: &EksCluster) -> bool {
    let account = cluster.status.as_ref().and_then(|status| status.account_id.as_deref());
    // IAM has no region: its events come from wherever it is at home.
    account == Some(event.account.as_str()) && (event.service.is_global() || event.region == cluster.spec.region)
}

/// The resources of a cluster that an event of its account and region is about.
fn of_cluster(event: &Event, cluster: &EksCluster) -> BTreeSet<Key> {
    match event.service {
        Service::Eks => of_eks(event, cluster),
        Service::Ec2 if USES.iter().any(|verb| event.action.starts_with(verb)) => BTreeSet::new(),
        _ => inventory(cluster)
            .filter(|(key, id)| parts(key, id).any(|part| event.names(part)))
            .map(|(key, _)| key)
            .collect(),
    }
}

/// What status records of a cluster; of a network that is lent, that it is.
pub(super) fn inventory(cluster: &EksCluster) -> impl Iterator<Item = (Key, &str)> {
    cluster.status.iter().flat_map(|status| {
        let lent = status.resources.iter().all(|resource| resource.key != "vpc");
        let network = status.network.iter().filter(move |_| lent);
        let lent =
            network.flat_map(|network| network.vpc_id.iter().chain(network.subnets.iter().map(|subnet| &subnet.id)));
        let resources = status.resources.iter().filter_map(|one| Some((Key::parse(&one.key), one.id.as_deref()?)));
        resources.chain(lent.map(|id| (existing_network::key(), id.as_str())))
    })
}

/// An id is one name, but that of a route begins with that of its table, and the ARN of a role ends with the role's.
pub(super) fn parts<'i>(key: &Key, id: &'i str) -> impl Iterator<Item = &'i str> {
    let table = id.split_once(':').map(|(first, _)| first).filter(|_| !id.starts_with("arn:"));
    let role = id.rsplit_once('/').map(|(_, name)| name).filter(|_| key.kind() == "role");
    std::iter::once(id).chain(table).chain(role)
}

/// What a call of EKS is about.
#[derive(Debug, Default, PartialEq, Eq)]
struct About {
    /// Clusters, by name.
    clusters: BTreeSet<String>,
    /// What in them, as it would stand in a graph.
    parts: BTreeSet<Key>,
    /// The same by ids that only EKS chooses.
    ids: BTreeSet<String>,
}

/// Fields that name something in a cluster.
const PARTS: [(&str, &str); 4] = [
    ("addonName", addon::KIND),
    ("fargateProfileName", fargate_profile::KIND),
    ("nodegroupName", NODE_GROUP),
    ("principalArn", access_entry::KIND),
];
const NODE_GROUP: &str = "nodeGroup";

impl About {
    fn of(event: &Event) -> Self {
        let mut about = About::default();
        let clusters = ["clusterName", "name"].into_iter().flat_map(|field| event.field(field));
        about.clusters.extend(clusters.map(str::to_owned));
        for (field, kind) in PARTS {
            about.parts.extend(event.field(field).map(|name| Key::named(kind, name)));
        }
        about.ids.extend(event.field("associationId").map(str::to_owned));
        for namespace in event.field("namespace") {
            let names = event.field("serviceAccount").map(|account| format!("{namespace}/{account}"));
            about.parts.extend(names.map(|name| Key::named(pod_identity_association::KIND, name)));
        }
        event.field("resourceArn").for_each(|arn| about.arn(arn));
        about
    }

    /// `arn:aws:eks:REGION:ACCOUNT:KIND/CLUSTER/NAME/...`, of what was tagged.
    fn arn(&mut self, arn: &str) {
        let mut parts = arn.splitn(6, ':');
        let (Some(partition), Some(path)) = (parts.nth(1), parts.nth(3)) else { return };
        let path: Vec<&str> = path.split('/').collect();
        let [kind, cluster, rest @ ..] = path.as_slice() else { return };
        self.clusters.insert((*cluster).to_owned());
        match (*kind, rest) {
            ("addon", [name, ..]) => self.parts.extend([Key::named(addon::KIND, *name)]),
            ("fargateprofile", [name, ..]) => self.parts.extend([Key::named(fargate_profile::KIND, *name)]),
            ("nodegroup", [name, ..]) => self.parts.extend([Key::named(NODE_GROUP, *name)]),
            ("access-entry", [kind, account, name, ..]) => {
                let principal = format!("arn:{partition}:iam::{account}:{kind}/{name}");
                self.parts.extend([Key::named(access_entry::KIND, principal)]);
            }
            (_, [id, ..]) => self.ids.extend([(*id).to_owned()]),
            (_, []) => {}
        }
    }
}

/// The names of the clusters that a call of EKS is about.
pub(super) fn about_clusters(event: &Event) -> BTreeSet<String> {
    About::of(event).clusters
}

fn of_eks(event: &Event, cluster: &EksCluster) -> BTreeSet<Key> {
    let About { clusters, mut parts, ids } = About::of(event);
    if !clusters.contains(&cluster.cluster_name()) {
        return BTreeSet::new();
    }
    if parts.is_empty() && ids.is_empty() {
        return BTreeSet::from([cluster_key()]);
    }
    parts.retain(|key| key.kind() != NODE_GROUP);
    parts.extend(inventory(cluster).filter(|(_, id)| ids.contains(*id)).map(|(key, _)| key));
    parts.extend(beside(&event.action));
    parts
}

/// What is made by hand may be what is to go for not being listed.
fn beside(action: &str) -> Option<Key> {
    let kind = match action {
        "CreateAccessEntry" => Unlisted::AccessEntries,
        "CreateAddon" => Unlisted::Addons,
        "CreatePodIdentityAssociation" => Unlisted::PodIdentities,
        "CreateFargateProfile" => Unlisted::FargateProfiles,
        _ => return None,
    };
    Some(kind.key())
}

/// Whether an event is about a node group.
fn is_of_node_group(event: &Event, group: &NodeGroup, cluster: &EksCluster) -> bool {
    if event.service != Service::Eks {
        return false;
    }
    let about = About::of(event);
    about.clusters.contains(&cluster.cluster_name()) && about.parts.contains(&super::node_group::key(group))
}

#[cfg(test)]
#[path = "drift_events_tests.rs"]
mod tests;
