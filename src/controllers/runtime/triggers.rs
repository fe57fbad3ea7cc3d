//! Requests reconciles when an object changes. I/O: watches of the management cluster's API.

use std::sync::{Arc, OnceLock};

use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};

use super::apply::Kind;
use super::kind_watch::{Change, watch_mirrored_kind};
use super::mirror::{Mirror, WatchTap};
use super::reconcile_queue::Trigger;
use crate::api::{AwsAccount, EksCluster, NodeGroup};
use crate::controllers::account::{self, AccountController};
use crate::controllers::cluster::{self, ClusterController};
use crate::controllers::context::{Context, Stores};
use crate::controllers::node_group::NodeGroupController;
use crate::controllers::states::Shared;

/// The controllers of all kinds.
pub(crate) struct Controllers {
    pub(crate) clusters: Arc<ClusterController>,
    pub(crate) node_groups: Arc<NodeGroupController>,
    pub(crate) accounts: Arc<AccountController>,
}

/// Maps changes to reconciles.
#[derive(Default)]
pub(crate) struct Triggers(OnceLock<Controllers>);

pub(crate) type Watch = futures::future::BoxFuture<'static, ()>;

/// Creates the stores of all kinds, and the watches that fill them and pass on to `mirror` what they read.
pub(crate) fn watch_all(
    client: &kube::Client,
    triggers: &Arc<Triggers>,
    mirror: Option<&Arc<dyn Mirror>>,
) -> (Stores, Vec<Watch>) {
    let (of_clusters, of_node_groups, of_accounts) = (mirror.cloned(), mirror.cloned(), mirror.cloned());
    let of_clusters = of_clusters.map(|mirror| WatchTap::new(move |reading| mirror.on_cluster(reading)));
    let of_node_groups = of_node_groups.map(|mirror| WatchTap::new(move |reading| mirror.on_node_group(reading)));
    let of_accounts = of_accounts.map(|mirror| WatchTap::new(move |reading| mirror.on_account(reading)));
    let handler = triggers.clone();
    let on_change = move |change: Change<'_, EksCluster>| handler.on_cluster_change(change);
    let view = cluster::status::view::dependent_view;
    let (clusters, cluster_watch) = watch_mirrored_kind(Api::all(client.clone()), view, on_change, of_clusters);
    let handler = triggers.clone();
    let on_change = move |change: Change<'_, NodeGroup>| handler.on_node_group_change(change);
    let view = cluster::status::view::node_group_dependent_view;
    let (node_groups, node_group_watch) =
        watch_mirrored_kind(Api::all(client.clone()), view, on_change, of_node_groups);
    let handler = triggers.clone();
    let on_change = move |change: Change<'_, AwsAccount>| handler.on_account_change(change);
    let view = account::dependent_view;
    let (aws_accounts, account_watch) = watch_mirrored_kind(Api::all(client.clone()), view, on_change, of_accounts);
    let watches: Vec<Watch> = vec![Box::pin(cluster_watch), Box::pin(node_group_watch), Box::pin(account_watch)];
    (Stores { clusters, node_groups, aws_accounts }, watches)
}

impl Triggers {
    /// Passes changes to `controllers` from now on.
    pub(crate) fn start(&self, controllers: Controllers) {
        // A term starts once, so they are not set yet.
        let _ = self.0.set(controllers);
    }

    fn on_cluster_change(&self, change: Change<'_, EksCluster>) {
        let Some(Controllers { clusters, .. }) = self.0.get() else { return };
        let ctx = &clusters.ctx;
        match change {
            Change::SpecChanged(cluster) => {
                ctx.unreadable.clear::<EksCluster>(cluster.namespace().as_deref(), &cluster.name_any());
                ctx.queues.clusters.push(ObjectRef::from_obj(cluster), Trigger::Restored);
            }
            Change::Unreadable(object) => {
                ctx.unreadable.record::<EksCluster>(object);
                let (namespace, name) = (object.meta.namespace.as_deref(), object.name());
                forget_metrics(ctx, EksCluster::NAME, object.uid(), clusters.states.forget_unreadable(object.uid()));
                clusters.forget(namespace.unwrap_or_default(), name, object.uid());
                enqueue_dependents_of(ctx, namespace, name);
            }
            Change::DependentsAffected(cluster) => {
                enqueue_node_groups_of(ctx, cluster.namespace().as_deref(), &cluster.name_any())
            }
            Change::Deleted { object, uid, .. } => {
                let (namespace, name) = (object.namespace.as_deref(), &object.name);
                ctx.unreadable.clear::<EksCluster>(namespace, name);
                forget_metrics(ctx, EksCluster::NAME, uid, clusters.states.forget(uid));
                clusters.forget(namespace.unwrap_or_default(), name, uid);
                enqueue_dependents_of(ctx, namespace, name);
            }
        }
    }

    fn on_node_group_change(&self, change: Change<'_, NodeGroup>) {
        let Some(Controllers { node_groups, .. }) = self.0.get() else { return };
        let ctx = &node_groups.ctx;
        let enqueue_cluster = |name: &str, namespace: Option<String>| {
            let cluster = ObjectRef::new(name);
            let cluster = match namespace {
                Some(namespace) => cluster.within(&namespace),
                None => cluster,
            };
            ctx.queues.clusters.push(cluster, Trigger::Dependency);
        };
        match change {
            Change::SpecChanged(group) => {
                ctx.unreadable.clear::<NodeGroup>(group.namespace().as_deref(), &group.name_any());
                ctx.queues.node_groups.push(ObjectRef::from_obj(group), Trigger::Restored);
            }
            Change::Unreadable(object) => {
                ctx.unreadable.record::<NodeGroup>(object);
                forget_metrics(ctx, NodeGroup::NAME, object.uid(), node_groups.states.forget_unreadable(object.uid()));
                enqueue_cluster(object.cluster.as_deref().unwrap_or_default(), object.meta.namespace.clone());
            }
            Change::DependentsAffected(group) => enqueue_cluster(&group.spec.cluster_ref.name, group.namespace()),
            Change::Deleted { object, uid, part_of } => {
                ctx.unreadable.clear::<NodeGroup>(object.namespace.as_deref(), &object.name);
                forget_metrics(ctx, NodeGroup::NAME, uid, node_groups.states.forget(uid));
                ctx.pending_changes.take(uid);
                enqueue_cluster(part_of, object.namespace.clone());
            }
        }
    }

    fn on_account_change(&self, change: Change<'_, AwsAccount>) {
        let Some(Controllers { accounts, .. }) = self.0.get() else { return };
        let ctx = &accounts.ctx;
        match change {
            Change::SpecChanged(account) => {
                ctx.unreadable.clear::<AwsAccount>(None, &account.name_any());
                ctx.queues.accounts.push(ObjectRef::from_obj(account), Trigger::Restored);
            }
            Change::Unreadable(object) => {
                ctx.unreadable.record::<AwsAccount>(object);
                forget_metrics(ctx, AwsAccount::NAME, object.uid(), accounts.states.forget_unreadable(object.uid()));
                enqueue_users_of(ctx, object.name());
            }
            Change::DependentsAffected(account) => enqueue_users_of(ctx, &account.name_any()),
            Change::Deleted { object, uid, .. } => {
                ctx.unreadable.clear::<AwsAccount>(None, &object.name);
                forget_metrics(ctx, AwsAccount::NAME, uid, accounts.states.forget(uid));
                enqueue_users_of(ctx, &object.name);
            }
        }
    }
}

/// Requests reconciles after a cluster was deleted, or became unreadable: of its node groups, and of the accounts that
/// wait for it.
fn enqueue_dependents_of(ctx: &Context, namespace: Option<&str>, cluster: &str) {
    account::enqueue_deleted_accounts(ctx);
    enqueue_node_groups_of(ctx, namespace, cluster);
}

fn enqueue_node_groups_of(ctx: &Context, namespace: Option<&str>, cluster: &str) {
    for group in ctx.node_groups_of(namespace.unwrap_or_default(), cluster) {
        ctx.queues.node_groups.push(ObjectRef::from_obj(&*group), Trigger::Dependency);
    }
}

/// Requests reconciles of the clusters that use an account, by name or because it is the default, and of their node
/// groups.
fn enqueue_users_of(ctx: &Context, account: &str) {
    let uses = |cluster: &EksCluster| cluster.spec.account_name() == account;
    for cluster in ctx.clusters.state_filter(uses) {
        ctx.queues.clusters.push(ObjectRef::from_obj(&*cluster), Trigger::Dependency);
        enqueue_node_groups_of(ctx, cluster.namespace().as_deref(), &cluster.name_any());
    }
}

/// Removes an object's metrics.
fn forget_metrics<S: Send + 'static, R: Send + 'static>(
    ctx: &Context,
    kind: &'static str,
    uid: &str,
    state: Option<Shared<S, R>>,
) {
    let (metrics, uid) = (ctx.metrics.clone(), uid.to_owned());
    tokio::spawn(async move {
        // Its last reconcile may still be running, and would count it again.
        if let Some(state) = state {
            drop(state.lock().await);
        }
        metrics.objects().forget(kind, &uid);
    });
}
