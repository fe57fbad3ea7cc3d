//! Who is to be looked at when an object changes. I/O: watches of the management cluster's API.

use std::sync::Arc;

use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, ResourceExt};

use super::apply::Kind;
use super::context::{Context, Shared};
use super::watch::{Change, watched};
use super::{account, cluster, unreadable};
use crate::api::status::EksClusterStatus;
use crate::api::{AwsAccount, EksCluster, NodeGroup};

/// The stores of all kinds.
#[allow(missing_docs)]
pub struct Stores {
    pub clusters: Store<EksCluster>,
    pub node_groups: Store<NodeGroup>,
    pub aws_accounts: Store<AwsAccount>,
}

/// Who hears of whom.
#[derive(Default)]
pub(super) struct Triggers {
    pub(super) ctx: std::sync::OnceLock<Arc<Context>>,
}

pub(super) type Watch = futures::future::BoxFuture<'static, ()>;

/// The stores of all kinds, and the watches that fill them.
pub(super) fn watch_all(client: &kube::Client, triggers: &Arc<Triggers>) -> (Stores, Vec<Watch>) {
    let to = triggers.clone();
    let (clusters, of_clusters) =
        watched(Api::all(client.clone()), cluster::view::dependent_view, move |change| to.of_cluster(change));
    let to = triggers.clone();
    let (node_groups, of_groups) =
        watched(Api::all(client.clone()), cluster::view::node_group_dependent_view, move |change| {
            to.of_node_group(change)
        });
    let to = triggers.clone();
    let (aws_accounts, of_accounts) =
        watched(Api::all(client.clone()), account::shown, move |change| to.of_account(change));
    let watches: Vec<Watch> = vec![Box::pin(of_clusters), Box::pin(of_groups), Box::pin(of_accounts)];
    (Stores { clusters, node_groups, aws_accounts }, watches)
}

impl Triggers {
    fn of_cluster(&self, change: Change<'_, EksCluster>) {
        let Some(ctx) = self.ctx.get() else { return };
        match change {
            Change::SpecChanged(cluster) => {
                unreadable::clear_object(ctx, cluster);
                ctx.queues.clusters.push(ObjectRef::from_obj(cluster));
            }
            Change::Unreadable(object) => {
                unreadable::note::<EksCluster>(ctx, object);
                let state = ctx.cluster_states.forget_unreadable(object.uid());
                self.forget_cluster(ctx, object.meta.namespace.as_deref(), object.name(), object.uid(), state);
            }
            Change::DependentsAffected(cluster) => groups_of(ctx, cluster.namespace().as_deref(), &cluster.name_any()),
            Change::Deleted { object, uid, .. } => {
                unreadable::clear::<EksCluster>(ctx, object.namespace.as_deref(), &object.name);
                let state = ctx.cluster_states.forget(uid);
                self.forget_cluster(ctx, object.namespace.as_deref(), &object.name, uid, state);
            }
        }
    }

    /// Nothing is remembered of it, and its node groups hear of it.
    fn forget_cluster(
        &self,
        ctx: &Context,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
        state: Option<Shared<EksClusterStatus, cluster::KindState>>,
    ) {
        forget(ctx, EksCluster::NAME, uid, state);
        ctx.workloads.forget(uid);
        ctx.news.take(uid);
        ctx.clearings.forget(uid);
        ctx.secrets.gone(uid);
        ctx.watches.end(uid);
        ctx.metrics.gitops().forget(namespace.unwrap_or_default(), name);
        account::wake_deleted(ctx);
        groups_of(ctx, namespace, name);
    }

    fn of_node_group(&self, change: Change<'_, NodeGroup>) {
        let Some(ctx) = self.ctx.get() else { return };
        let cluster = |name: &str, namespace: Option<String>| {
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
                unreadable::note::<NodeGroup>(ctx, object);
                forget(ctx, NodeGroup::NAME, object.uid(), ctx.node_group_states.forget_unreadable(object.uid()));
                cluster(object.cluster.as_deref().unwrap_or_default(), object.meta.namespace.clone());
            }
            Change::DependentsAffected(group) => cluster(&group.spec.cluster_ref.name, group.namespace()),
            Change::Deleted { object, uid, part_of } => {
                unreadable::clear::<NodeGroup>(ctx, object.namespace.as_deref(), &object.name);
                forget(ctx, NodeGroup::NAME, uid, ctx.node_group_states.forget(uid));
                ctx.news.take(uid);
                cluster(part_of, object.namespace.clone());
            }
        }
    }

    fn of_account(&self, change: Change<'_, AwsAccount>) {
        let Some(ctx) = self.ctx.get() else { return };
        match change {
            Change::SpecChanged(account) => {
                unreadable::clear_object(ctx, account);
                ctx.queues.accounts.push(ObjectRef::from_obj(account));
            }
            Change::Unreadable(object) => {
                unreadable::note::<AwsAccount>(ctx, object);
                forget(ctx, AwsAccount::NAME, object.uid(), ctx.account_states.forget_unreadable(object.uid()));
                users_of(ctx, object.name());
            }
            Change::DependentsAffected(account) => users_of(ctx, &account.name_any()),
            Change::Deleted { object, uid, .. } => {
                unreadable::clear::<AwsAccount>(ctx, None, &object.name);
                forget(ctx, AwsAccount::NAME, uid, ctx.account_states.forget(uid));
                users_of(ctx, &object.name);
            }
        }
    }
}

fn groups_of(ctx: &Context, namespace: Option<&str>, cluster: &str) {
    for group in ctx.node_groups_of(namespace.unwrap_or_default(), cluster) {
        ctx.queues.node_groups.push(ObjectRef::from_obj(&*group));
    }
}

/// The clusters that use an account, by name or because it is the default; their node groups follow through what they show.
fn users_of(ctx: &Context, account: &str) {
    let uses = |cluster: &EksCluster| cluster.spec.account_name() == account;
    for cluster in ctx.clusters.state_filter(uses) {
        ctx.queues.clusters.push(ObjectRef::from_obj(&*cluster));
        groups_of(ctx, cluster.namespace().as_deref(), &cluster.name_any());
    }
}

/// An object that is gone is no longer counted.
fn forget<S: Send + 'static, R: Send + 'static>(
    ctx: &Context,
    kind: &'static str,
    uid: &str,
    state: Option<Shared<S, R>>,
) {
    let (metrics, uid) = (ctx.metrics.clone(), uid.to_owned());
    tokio::spawn(async move {
        // Its last reconcile may still run, and count it.
        if let Some(state) = state {
            drop(state.lock().await);
        }
        metrics.objects().forget(kind, &uid);
    });
}
