//! Requests reconciles when an object changes. I/O: watches of the management cluster's API.

use std::sync::Arc;

use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt};

use super::apply::Kind;
use super::unreadable;
use super::watch::{Change, watch_kind};
use crate::api::status::EksClusterStatus;
use crate::api::{AwsAccount, EksCluster, NodeGroup};
use crate::controllers::context::{Context, Shared};
use crate::controllers::{account, cluster};

/// The stores of all kinds.
#[allow(missing_docs)]
pub struct Stores {
    pub clusters: Store<EksCluster>,
    pub node_groups: Store<NodeGroup>,
    pub aws_accounts: Store<AwsAccount>,
}

/// Maps changes to reconciles.
#[derive(Default)]
pub(crate) struct Triggers {
    pub(crate) ctx: std::sync::OnceLock<Arc<Context>>,
}

pub(crate) type Watch = futures::future::BoxFuture<'static, ()>;

/// Creates the stores of all kinds, and the watches that fill them.
pub(crate) fn watch_all(client: &kube::Client, triggers: &Arc<Triggers>) -> (Stores, Vec<Watch>) {
    let handler = triggers.clone();
    let (clusters, cluster_watch) =
        watch_kind(Api::all(client.clone()), cluster::status::view::dependent_view, move |change| {
            handler.on_cluster_change(change)
        });
    let handler = triggers.clone();
    let (node_groups, node_group_watch) =
        watch_kind(Api::all(client.clone()), cluster::status::view::node_group_dependent_view, move |change| {
            handler.on_node_group_change(change)
        });
    let handler = triggers.clone();
    let (aws_accounts, account_watch) =
        watch_kind(Api::all(client.clone()), account::dependent_view, move |change| handler.on_account_change(change));
    let watches: Vec<Watch> = vec![Box::pin(cluster_watch), Box::pin(node_group_watch), Box::pin(account_watch)];
    (Stores { clusters, node_groups, aws_accounts }, watches)
}

impl Triggers {
    fn on_cluster_change(&self, change: Change<'_, EksCluster>) {
        let Some(ctx) = self.ctx.get() else { return };
        match change {
            Change::SpecChanged(cluster) => {
                unreadable::clear_object(ctx, cluster);
                ctx.queues.clusters.push(ObjectRef::from_obj(cluster));
            }
            Change::Unreadable(object) => {
                unreadable::record::<EksCluster>(ctx, object);
                let state = ctx.cluster_states.forget_unreadable(object.uid());
                self.forget_cluster(ctx, object.meta.namespace.as_deref(), object.name(), object.uid(), state);
            }
            Change::DependentsAffected(cluster) => {
                enqueue_node_groups_of(ctx, cluster.namespace().as_deref(), &cluster.name_any())
            }
            Change::Deleted { object, uid, .. } => {
                unreadable::clear::<EksCluster>(ctx, object.namespace.as_deref(), &object.name);
                let state = ctx.cluster_states.forget(uid);
                self.forget_cluster(ctx, object.namespace.as_deref(), &object.name, uid, state);
            }
        }
    }

    /// Drops all state of a cluster, and requests reconciles of its node groups.
    fn forget_cluster(
        &self,
        ctx: &Context,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
        state: Option<Shared<EksClusterStatus, cluster::KindState>>,
    ) {
        forget_metrics(ctx, EksCluster::NAME, uid, state);
        ctx.workloads.forget(uid);
        ctx.pending_changes.take(uid);
        ctx.load_balancer_cleanups.forget(uid);
        ctx.secrets.remove_cluster(uid);
        ctx.watches.end(uid);
        ctx.metrics.gitops().forget(namespace.unwrap_or_default(), name);
        account::enqueue_deleted_accounts(ctx);
        enqueue_node_groups_of(ctx, namespace, name);
    }

    fn on_node_group_change(&self, change: Change<'_, NodeGroup>) {
        let Some(ctx) = self.ctx.get() else { return };
        let enqueue_cluster = |name: &str, namespace: Option<String>| {
            let cluster = ObjectRef::new(name);
            ctx.queues.clusters.push(match namespace {
                Some(namespace) => cluster.within(&namespace),
                None => cluster,
            });
        };
        match change {
            Change::SpecChanged(group) => {
                unreadable::clear_object(ctx, group);
                ctx.queues.node_groups.push(ObjectRef::from_obj(group));
            }
            Change::Unreadable(object) => {
                unreadable::record::<NodeGroup>(ctx, object);
                forget_metrics(
                    ctx,
                    NodeGroup::NAME,
                    object.uid(),
                    ctx.node_group_states.forget_unreadable(object.uid()),
                );
                enqueue_cluster(object.cluster.as_deref().unwrap_or_default(), object.meta.namespace.clone());
            }
            Change::DependentsAffected(group) => enqueue_cluster(&group.spec.cluster_ref.name, group.namespace()),
            Change::Deleted { object, uid, part_of } => {
                unreadable::clear::<NodeGroup>(ctx, object.namespace.as_deref(), &object.name);
                forget_metrics(ctx, NodeGroup::NAME, uid, ctx.node_group_states.forget(uid));
                ctx.pending_changes.take(uid);
                enqueue_cluster(part_of, object.namespace.clone());
            }
        }
    }

    fn on_account_change(&self, change: Change<'_, AwsAccount>) {
        let Some(ctx) = self.ctx.get() else { return };
        match change {
            Change::SpecChanged(account) => {
                unreadable::clear_object(ctx, account);
                ctx.queues.accounts.push(ObjectRef::from_obj(account));
            }
            Change::Unreadable(object) => {
                unreadable::record::<AwsAccount>(ctx, object);
                forget_metrics(ctx, AwsAccount::NAME, object.uid(), ctx.account_states.forget_unreadable(object.uid()));
                enqueue_users_of(ctx, object.name());
            }
            Change::DependentsAffected(account) => enqueue_users_of(ctx, &account.name_any()),
            Change::Deleted { object, uid, .. } => {
                unreadable::clear::<AwsAccount>(ctx, None, &object.name);
                forget_metrics(ctx, AwsAccount::NAME, uid, ctx.account_states.forget(uid));
                enqueue_users_of(ctx, &object.name);
            }
        }
    }
}

fn enqueue_node_groups_of(ctx: &Context, namespace: Option<&str>, cluster: &str) {
    for group in ctx.node_groups_of(namespace.unwrap_or_default(), cluster) {
        ctx.queues.node_groups.push(ObjectRef::from_obj(&*group));
    }
}

/// Requests reconciles of the clusters that use an account, by name or because it is the default, and of their node
/// groups.
fn enqueue_users_of(ctx: &Context, account: &str) {
    let uses = |cluster: &EksCluster| cluster.spec.account_name() == account;
    for cluster in ctx.clusters.state_filter(uses) {
        ctx.queues.clusters.push(ObjectRef::from_obj(&*cluster));
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
