//! What is checked of the objects in both management clusters before a move changes anything: whether the other one can
//! take over each. I/O: reads from both APIs; the checks are pure.

use anyhow::bail;
use kube::{Api, ResourceExt};

use super::copies::{self, Moved};
use super::{Movable, Move, checks, name_of};
use crate::api::conditions::{self, ConditionType};
use crate::api::status::ResourceStatus;
use crate::api::{AwsAccount, EksCluster, Reason};
use crate::controllers::recovery::is_on_record;
use crate::controllers::runtime::apply;
use crate::engine::Key;
use crate::resources::graph::kinds;

impl Move {
    /// Checks the accounts, and each cluster with its node groups.
    pub(super) async fn check(
        &self,
        accounts: impl Iterator<Item = &str>,
        clusters: &[EksCluster],
    ) -> anyhow::Result<()> {
        for name in accounts {
            self.account_exists(name).await?;
        }
        for cluster in clusters {
            if let Some(why) = why_not_handed_over(cluster, &self.installation) {
                bail!("EksCluster {}: {why}. Nothing was changed", name_of(cluster));
            }
            self.check_target(cluster).await?;
            for group in self.node_groups(cluster).await? {
                if group.metadata.deletion_timestamp.is_some() {
                    bail!("NodeGroup {} is being deleted: wait until it is gone. Nothing was changed", name_of(&group));
                }
                self.check_target(&group).await?;
            }
        }
        Ok(())
    }

    /// Whether the AwsAccount exists there, equal to the one here; `None`: it does not exist here.
    pub(super) async fn account_exists(&self, name: &str) -> anyhow::Result<Option<(AwsAccount, bool)>> {
        let (from, to) = (Api::<AwsAccount>::all(self.from.clone()), Api::<AwsAccount>::all(self.to.clone()));
        let Some(here) = from.get_opt(name).await? else { return Ok(None) };
        let Some(there) = to.get_opt(name).await? else { return Ok(Some((here, false))) };
        if there.spec != here.spec {
            let fields = checks::differences(&serde_json::to_value(&here.spec)?, &serde_json::to_value(&there.spec)?);
            bail!("AwsAccount {name} exists there and differs in {}: make both equal first", fields.join(", "));
        }
        Ok(Some((here, true)))
    }

    /// Whether the object there, if there is one, is the copy of the one here.
    async fn check_target<K: Movable>(&self, here: &K) -> anyhow::Result<()> {
        let Some(there) = K::in_namespace(&self.to, here).get_opt(&here.name_any()).await? else { return Ok(()) };
        let uid = here.uid().unwrap_or_default();
        if !copies::is_copy(&there, &uid) && !is_moved(here, &self.installation) {
            bail!(
                "{} {} already exists there, and is not the moved object: delete it there, or move it, first. Nothing was \
                 changed",
                K::NAME,
                name_of(here)
            );
        }
        if there.meta().deletion_timestamp.is_some() {
            bail!("{} {} is being deleted there: wait until it is gone. Nothing was changed", K::NAME, name_of(here));
        }
        Ok(())
    }
}

/// Whether its move is complete here: it was handed over, and has no finalizer any more.
pub fn is_moved<K: Movable>(here: &K, installation: &str) -> bool {
    !apply::has_finalizer(here) && copies::moves_to(here) == Some(installation)
}

/// Why the operator here would never hand over the cluster.
fn why_not_handed_over(cluster: &EksCluster, installation: &str) -> Option<&'static str> {
    let is_handed_over = cluster.handed_over_to().is_some_and(|to| to == installation);
    if !apply::has_finalizer(cluster) || is_handed_over || is_on_record(cluster) {
        return None;
    }
    let status = cluster.status.as_ref()?;
    let is_made = |line: &ResourceStatus| line.id.is_some() && kinds::is_resource(&Key::parse(&line.key));
    if status.resources.iter().any(is_made) {
        return Some(
            "its resources are being created, and cannot be handed over before its EKS cluster exists: wait until then, or \
             delete it",
        );
    }
    let stalled = conditions::get(&status.conditions, ConditionType::Stalled);
    let is_refused = stalled.is_some_and(|one| one.status == "True" && one.reason == Reason::NotOwned.as_str());
    is_refused.then_some(
        "it is Stalled NotOwned and has nothing on record, so it has nothing to hand over: correct or delete it first, or \
         move the other namespaces with --namespace",
    )
}

#[cfg(test)]
mod tests {
    use super::super::copies::MOVED_FROM;
    use super::*;
    use crate::api::{FINALIZER, HAND_OVER_ANNOTATION};
    use serde_json::{Value, json};

    fn cluster(status: Value) -> EksCluster {
        serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {"name": "demo", "namespace": "team", "uid": "uid-1", "finalizers": [FINALIZER]},
            "spec": {"region": "eu-west-1", "version": "1.34"},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn cluster_that_cannot_be_handed_over_is_refused_beforehand() {
        let stalled = |reason: &str| {
            json!({"type": "Stalled", "status": "True", "reason": reason, "message": "",
                   "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let refused = |status| why_not_handed_over(&cluster(status), "there");
        assert_eq!(refused(json!({})), None);
        assert_eq!(refused(json!({"conditions": [stalled("WaitingForApproval")]})), None);
        assert!(refused(json!({"conditions": [stalled("NotOwned")]})).unwrap().contains("NotOwned"));
        let on_record = |key: &str| json!({"key": key, "id": "x"});
        assert_eq!(refused(json!({"resources": [on_record("addonPruning")]})), None, "a sweep");
        assert!(refused(json!({"resources": [on_record("vpc")]})).unwrap().contains("being created"));
        assert_eq!(refused(json!({"resources": [on_record("vpc"), on_record("cluster")]})), None);
    }

    #[test]
    fn object_without_finalizer_is_moved_once_it_was_handed_over() {
        let mut here = cluster(json!({}));
        here.annotations_mut().insert(HAND_OVER_ANNOTATION.to_owned(), "there".to_owned());
        assert!(!is_moved(&here, "there"));
        here.metadata.finalizers = None;
        assert!(is_moved(&here, "there") && !is_moved(&here, "elsewhere"));
        let mut there = cluster(json!({}));
        assert!(!copies::is_copy(&there, "uid-1"));
        there.annotations_mut().insert(MOVED_FROM.to_owned(), "uid-1".to_owned());
        assert!(copies::is_copy(&there, "uid-1") && !copies::is_copy(&there, "uid-2"));
    }
}
