//! Keeps a deleted AwsAccount until no cluster needs it: without it, nothing could be deleted in AWS. I/O: the
//! management cluster's API.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use crate::api::listing::first_few;
use crate::api::{AwsAccount, EksCluster, Reason};
use crate::controllers::context::Context;
use crate::controllers::runtime::apply;
use crate::controllers::runtime::reconcile_queue::Trigger;
use crate::controllers::status::conditions::{ConditionValue, Overall};
use crate::controllers::status::finish_reconcile::Next;
use crate::controllers::status::journal;

/// A reconcile that read the account before its deletion may still add a finalizer to its cluster.
const GRACE: SignedDuration = SignedDuration::from_secs(3);
/// Requeue interval for checking the clusters, in addition to their changes.
const RECHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(30);
/// Maximum clusters named in the message.
const MAX_NAMED: usize = 10;

/// Adds Keelson's finalizer. A failure is logged, and does not affect the account.
pub(super) async fn add_finalizer(account: &AwsAccount, ctx: &Context) {
    if apply::has_finalizer(account) {
        return;
    }
    if let Err(error) = apply::add_finalizer(&ctx.client, account).await {
        let (name, error) = (account.name_any(), apply::describe_error(&error));
        tracing::warn!(
            aws_account = name,
            error,
            "the finalizer was not added: a deletion of the AwsAccount would not wait for its clusters"
        );
    }
}

/// Removes the finalizer once no cluster needs the account. Returns `None` when it is removed.
pub(super) async fn delete(account: &AwsAccount, ctx: &Context, now: Timestamp) -> Option<(Overall, Next)> {
    if !apply::has_finalizer(account) {
        return None;
    }
    let blocked = |message| Overall::Reconciling(ConditionValue::false_(Reason::DeletionBlocked, message));
    let clusters = clusters_that_need(ctx, account);
    if !clusters.is_empty() {
        return Some((blocked(describe_clusters(&clusters)), Next::after(RECHECK_INTERVAL, now)));
    }
    let deleted = account.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let until = deleted.saturating_add(GRACE).unwrap_or(now);
    if now < until {
        let message = "checking whether a cluster still needs it".to_owned();
        return Some((Overall::Reconciling(ConditionValue::false_(Reason::Deleting, message)), Next::at(until)));
    }
    match apply::remove_finalizer(&ctx.client, account).await {
        Ok(()) => None,
        Err(error) => {
            let message = format!("the finalizer was not removed: {}", apply::describe_error(&error));
            let overall = Overall::Reconciling(ConditionValue::false_(Reason::Deleting, message));
            Some((overall, Next::after(SignedDuration::from_secs(2), now)))
        }
    }
}

/// The EksClusters that use the account and may own AWS resources, sorted.
fn clusters_that_need(ctx: &Context, account: &AwsAccount) -> Vec<String> {
    let clusters = ctx.clusters.state_filter(|cluster| needs(cluster, account));
    let mut names: Vec<_> = clusters
        .iter()
        .map(|cluster| format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any()))
        .collect();
    names.extend(ctx.unreadable.clusters_of(&account.name_any(), |namespace| account.spec.allows_namespace(namespace)));
    names.sort();
    names
}

/// Whether a cluster may own resources in an account. Its status says so, which only the operator writes. Before the
/// first id is recorded, Keelson's finalizer says so, if the account allows the cluster: anyone who may write an
/// object can add that finalizer, so in other namespaces it proves nothing.
fn needs(cluster: &EksCluster, account: &AwsAccount) -> bool {
    let recorded = cluster.status.iter().flat_map(|status| &status.resources).map(|line| line.key.as_str());
    let is_allowed = account.spec.allows_namespace(&cluster.namespace().unwrap_or_default())
        && account.spec.allows_region(&cluster.spec.region);
    cluster.spec.account_name() == account.name_any()
        && (journal::has_recorded(recorded) || is_allowed && apply::has_finalizer(cluster))
}

fn describe_clusters(clusters: &[String]) -> String {
    let named = first_few(clusters, MAX_NAMED);
    format!(
        "needed by EksCluster {named}: kept until they are deleted (deletionPolicy: Retain leaves their AWS resources unchanged)"
    )
}

/// Whether the AwsAccount of that name is being deleted.
pub fn is_being_deleted(ctx: &Context, name: &str) -> bool {
    ctx.aws_accounts.get(&ObjectRef::new(name)).is_some_and(|account| account.metadata.deletion_timestamp.is_some())
}

/// Requests reconciles of AwsAccounts that are being deleted, after a cluster was deleted.
pub fn enqueue_deleted_accounts(ctx: &Context) {
    for account in ctx.aws_accounts.state_filter(|account| account.metadata.deletion_timestamp.is_some()) {
        ctx.queues.accounts.push(ObjectRef::from_obj(&*account), Trigger::Dependency);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn account_is_needed_by_recorded_resources_or_an_allowed_finalizer() {
        let cluster = |namespace: &str, finalizers: &[&str], resources: &[&str]| -> EksCluster {
            let resources: Vec<_> = resources.iter().map(|key| json!({"key": key})).collect();
            serde_json::from_value(json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
                "metadata": {"name": "demo", "namespace": namespace, "finalizers": finalizers},
                "spec": {"region": "eu-west-1", "version": "1.34", "accountRef": {"name": "prod"}},
                "status": {"resources": resources},
            }))
            .unwrap()
        };
        let account = |regions: &[&str]| -> AwsAccount {
            serde_json::from_value(json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "AwsAccount", "metadata": {"name": "prod"},
                "spec": {"accountId": "123456789012", "allowedNamespaces": ["team"], "allowedRegions": regions},
            }))
            .unwrap()
        };
        let (open, elsewhere) = (account(&["eu-west-1"]), account(&["eu-west-2"]));
        let finalizers = [crate::api::FINALIZER];
        assert!(needs(&cluster("team", &finalizers, &[]), &open), "its first id may not be in status yet");
        assert!(
            !needs(&cluster("team", &finalizers, &[]), &elsewhere)
                && !needs(&cluster("mallory", &finalizers, &[]), &open)
        );
        assert!(needs(&cluster("mallory", &[], &["vpc"]), &open), "created while the account allowed it");
        assert!(!needs(&cluster("team", &[], &["leftovers"]), &open), "a record of pre-existing resources");
        assert!(!needs(&cluster("team", &["example.com/hold"], &[]), &open));
        let other = AwsAccount {
            metadata: kube::core::ObjectMeta { name: Some("dev".into()), ..open.metadata.clone() },
            ..open
        };
        assert!(!needs(&cluster("team", &finalizers, &["vpc"]), &other));
    }

    #[test]
    fn message_names_the_clusters_that_need_the_account() {
        let names: Vec<_> = (0..12).map(|number| format!("team/c{number:02}")).collect();
        let text = describe_clusters(&names);
        assert!(text.contains("team/c00, team/c01") && text.contains("team/c09 and 2 more"), "{text}");
        assert!(!text.contains("team/c10"));
    }
}
