//! Resolves two objects that claim one name in EKS: one holds it, and the other is rejected before anything is written
//! to AWS, or paid for. Pure, but reads the stores.
//!
//! Priority: the object that created the resource, then the one that has started (it has the finalizer), then the
//! older one. An object that is itself rejected, or suspended, and has created nothing, holds no name: otherwise it
//! would block objects that may use the account. A resource that exists in AWS without an owner here is found by the
//! engine's first observation, which also precedes its first write.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use parking_lot::Mutex;

use super::account::{self, Refusal, Request};
use super::context::Context;
use super::runtime::apply;
use crate::api::conditions::ConditionType;
use crate::api::policy::ChangePolicy;
use crate::api::status_cluster::{EksClusterStatus, NodeGroupStatus};
use crate::api::{EksCluster, NodeGroup, Reason};

/// Interval for checking whether the name is free.
pub const RECHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(15);

/// The priority of an object: the lowest holds the name.
type Rank = (bool, bool, Option<Timestamp>, Option<String>);

fn rank<K: kube::Resource>(object: &K, has_created: bool) -> Rank {
    let meta = object.meta();
    let created = meta.creation_timestamp.as_ref().map(|time| time.0);
    (!has_created, !apply::has_finalizer(object), created, meta.uid.clone())
}

/// Whether the conditions say that the object is rejected until it is edited.
fn is_refused(conditions: &[Condition]) -> bool {
    let refusals = [Reason::NotOwned, Reason::AccessDenied, Reason::InvalidSpec].map(Reason::as_str);
    let stalled = conditions.iter().find(|one| one.type_ == ConditionType::Stalled.as_str());
    stalled.is_some_and(|one| one.status == "True" && refusals.contains(&one.reason.as_str()))
}

/// Whether a cluster may hold its name.
fn may_hold(cluster: &EksCluster) -> bool {
    let refused = cluster.status.as_ref().is_some_and(|status| is_refused(&status.conditions));
    // A suspended cluster makes no calls, so it would not notice that the name is taken.
    let idle = refused || cluster.spec.suspend || cluster.spec.change_policy == ChangePolicy::Observe;
    has_created(cluster) || !idle
}

/// Whether a node group may hold its name.
fn group_may_hold(group: &NodeGroup) -> bool {
    let refused = |status: &NodeGroupStatus| status.arn.is_none() && is_refused(&status.conditions);
    !group.status.as_ref().is_some_and(refused)
}

/// Whether the operator recorded that the object owns the EKS cluster.
fn has_created(cluster: &EksCluster) -> bool {
    let taken_over = |status: &EksClusterStatus| status.arn.is_some() || status.recovery.is_some();
    cluster.status.as_ref().is_some_and(taken_over) || super::recovery_requests::is_on_record(cluster)
}

fn rank_of_cluster(cluster: &EksCluster) -> Rank {
    rank(cluster, has_created(cluster))
}

fn rank_of_node_group(group: &NodeGroup) -> Rank {
    rank(group, group.status.as_ref().is_some_and(|status| status.arn.is_some()))
}

/// A cluster in EKS: account, region and name.
type ClusterId = (String, String, String);

/// Which objects use names in EKS, by UID, during this leadership term. The first that may use one has it: the store may
/// not show yet that it has started, when an object appears that was created in the same second.
#[derive(Debug, Default)]
pub struct NameClaims(Mutex<HashMap<ClusterId, String>>);

impl NameClaims {
    /// Whether the object has it already.
    fn has(&self, place: &ClusterId, uid: &str) -> bool {
        self.0.lock().get(place).is_some_and(|holder| holder == uid)
    }

    /// Claims it, unless another object has it which `holds` it still.
    ///
    /// # Errors
    /// The UID of that object.
    fn claim(&self, place: ClusterId, uid: &str, holds: impl Fn(&str) -> bool) -> Result<(), String> {
        let mut all = self.0.lock();
        match all.get(&place) {
            Some(holder) if holder != uid && holds(holder) => Err(holder.clone()),
            _ => {
                all.insert(place, uid.to_owned());
                Ok(())
            }
        }
    }

    /// Gives up the names of a deleted object.
    pub fn forget(&self, uid: &str) {
        self.0.lock().retain(|_, holder| holder != uid);
    }
}

/// Rejects a cluster whose EKS name another EksCluster holds in the same account; otherwise it holds the name from now on.
///
/// # Errors
/// The holder, as far as this namespace may know it.
pub fn check_cluster_name(
    ctx: &Context,
    claims: &NameClaims,
    cluster: &EksCluster,
    account_id: &str,
) -> Result<(), Refusal> {
    let (name, region) = (cluster.cluster_name(), &cluster.spec.region);
    // EKS tells upper and lower case apart; IAM does not in the keys of conditions, and clusters' names are part of tags that IAM
    // policies compare.
    let place = (account_id.to_owned(), region.clone(), name.to_ascii_lowercase());
    let uid = cluster.uid().unwrap_or_default();
    if claims.has(&place, &uid) {
        return Ok(());
    }
    let rivals = ctx.clusters.state_filter(|other| {
        other.uid() != cluster.uid() && other.cluster_name().eq_ignore_ascii_case(&name) && other.spec.region == *region
    });
    let in_account = |other: &Arc<EksCluster>| {
        // An object that may not use the account does not block a name in it.
        let Ok(grant) = account::grant_in(ctx, &Request::of(other)) else { return false };
        let same_name = other.spec.account_name() == cluster.spec.account_name();
        let known = other.status.as_ref().and_then(|status| status.account_id.clone());
        let named = grant.account.as_deref().and_then(|name| account::find(ctx, name)).map(|spec| spec.account_id);
        same_name || named.or(known).as_deref() == Some(account_id)
    };
    let holds = |other: &Arc<EksCluster>| may_hold(other) && rank_of_cluster(other) < rank_of_cluster(cluster);
    let holder = match rivals.iter().filter(|other| holds(other)).find(|other| in_account(other)) {
        Some(holder) => holder.clone(),
        None => {
            let of = |uid: &str| rivals.iter().find(|other| other.uid().as_deref() == Some(uid));
            let claimed = claims.claim(place, &uid, |holder| of(holder).is_some_and(|other| may_hold(other)));
            let Err(holder) = claimed else { return Ok(()) };
            let Some(holder) = of(&holder) else { return Ok(()) };
            holder.clone()
        }
    };
    let rival = if holder.namespace() == cluster.namespace() {
        format!("EksCluster {}", holder.name_any())
    } else {
        "another EksCluster".to_owned()
    };
    let message = format!(
        "cluster {name} in account {account_id}, region {region} does not belong to this object: {rival} has priority for that \
         name, and nothing more is created. Choose another spec.clusterName in a new EksCluster, or delete one of the two"
    );
    Err(Refusal::new(Reason::NotOwned, message))
}

/// Rejects a node group whose EKS name another NodeGroup of the same cluster holds.
///
/// # Errors
/// The holder.
pub fn check_node_group_name(ctx: &Context, group: &NodeGroup) -> Result<(), Refusal> {
    let cluster = &group.spec.cluster_ref.name;
    // Also that of the first node group after its replacement: the next one has a name that begins with it.
    let claimed = |group: &NodeGroup| std::iter::once(group.first_node_group_name()).chain(group.node_group_names());
    let names: Vec<_> = claimed(group).collect();
    let others = ctx.node_groups_of(&group.namespace().unwrap_or_default(), cluster);
    let holds = |other: &&Arc<NodeGroup>| {
        other.uid() != group.uid()
            && claimed(other).any(|name| names.contains(&name))
            && group_may_hold(other)
            && rank_of_node_group(other) < rank_of_node_group(group)
    };
    let Some(holder) = others.iter().find(holds) else { return Ok(()) };
    let name = claimed(holder).find(|name| names.contains(name)).unwrap_or_default();
    let message = format!(
        "node group {name} of EksCluster {cluster} does not belong to this object: NodeGroup {} has priority for that name, and nothing \
         more is created. Choose another spec.nodeGroupName in a new NodeGroup, or delete one of the two",
        holder.name_any()
    );
    Err(Refusal::new(Reason::NotOwned, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cluster(uid: &str, created: &str, more: Value) -> EksCluster {
        let mut object = json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": uid, "namespace": "team", "uid": uid, "creationTimestamp": created},
            "spec": {"region": "eu-west-1", "version": "1.34"},
        });
        for (key, value) in more.as_object().unwrap() {
            match key.as_str() {
                "finalizers" => object["metadata"]["finalizers"] = value.clone(),
                key => object[key] = value.clone(),
            }
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn first_object_of_a_second_has_the_name_until_it_gives_it_up() {
        let place = |name: &str| ("111122223333".to_owned(), "eu-west-1".to_owned(), name.to_owned());
        let claims = NameClaims::default();
        let (holds, gone) = (|_: &str| true, |_: &str| false);
        assert_eq!(claims.claim(place("demo"), "b", holds), Ok(()));
        assert_eq!(claims.claim(place("demo"), "a", holds), Err("b".to_owned()));
        assert!(claims.has(&place("demo"), "b") && !claims.has(&place("demo"), "a"));
        assert_eq!(claims.claim(place("other"), "a", holds), Ok(()));
        assert_eq!(claims.claim(place("demo"), "a", gone), Ok(()), "rejected or suspended meanwhile");
        claims.forget("a");
        assert_eq!(claims.claim(place("demo"), "b", holds), Ok(()));
    }

    #[test]
    fn name_priority_is_creator_then_started_then_oldest() {
        let (early, late) = ("2026-11-28T10:00:00Z", "2026-11-28T11:00:00Z");
        let started = json!({"finalizers": [crate::api::FINALIZER]});
        let created_cluster = json!({"status": {"arn": "arn:aws:eks:eu-west-1:123456789012:cluster/demo"}});
        let table = [
            (cluster("b", early, json!({})), cluster("a", late, json!({}))),
            (cluster("a", early, json!({})), cluster("b", early, json!({}))),
            (cluster("b", late, started.clone()), cluster("a", early, json!({}))),
            (cluster("b", late, created_cluster), cluster("a", early, started)),
        ];
        for (holder, other) in table {
            assert!(rank_of_cluster(&holder) < rank_of_cluster(&other), "{holder:?}");
            assert!(rank_of_cluster(&other) > rank_of_cluster(&holder), "never both");
        }
    }

    #[test]
    fn rejected_object_does_not_hold_its_name() {
        let stalled = |reason: &str, arn: Option<&str>| {
            let condition = json!({"type": "Stalled", "status": "True", "reason": reason, "message": "",
                "lastTransitionTime": "2026-11-28T10:00:00Z"});
            let status = json!({"status": {"arn": arn, "conditions": [condition]}});
            cluster("a", "2026-11-28T10:00:00Z", status)
        };
        for reason in ["NotOwned", "AccessDenied", "InvalidSpec"] {
            assert!(!may_hold(&stalled(reason, None)), "{reason}");
            assert!(
                may_hold(&stalled(reason, Some("arn:aws:eks:eu-west-1:123456789012:cluster/demo"))),
                "it has created the cluster"
            );
        }
        assert!(may_hold(&stalled("WaitingForApproval", None)));
        assert!(may_hold(&cluster("a", "2026-11-28T10:00:00Z", json!({}))));
    }
}
