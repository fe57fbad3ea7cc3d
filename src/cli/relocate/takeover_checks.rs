//! What is checked of the objects in both management clusters before a move changes anything: whether the other one can
//! take over each. I/O: reads from both APIs; the checks are pure.

use anyhow::{Context as _, bail};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::copies::{self, MovedObject};
use super::{Movable, Move, checks, title};
use crate::api::conditions::{self, ConditionType};
use crate::api::listing::first_few;
use crate::api::policy::ChangePolicy;
use crate::api::status_cluster::ResourceStatus;
use crate::api::{AwsAccount, EksCluster, FleetRollout, Reason};
use crate::controllers::recovery_requests::is_on_record;
use crate::controllers::runtime::apply;
use crate::engine::Key;
use crate::resources::graph::kinds;
use crate::rollout::membership;

impl Move {
    /// Checks the accounts, and each cluster with its node groups.
    ///
    /// # Errors
    /// Names all that cannot be moved now.
    pub(super) async fn check(
        &self,
        accounts: impl Iterator<Item = &str>,
        clusters: &[EksCluster],
    ) -> anyhow::Result<()> {
        let mut refused = Vec::new();
        for name in accounts {
            if let Some((here, Some(there))) = self.account_in_both(name).await? {
                refused.extend(why_accounts_differ(&here, &there)?);
            }
        }
        refused.extend(self.missing_rollouts(clusters).await?);
        for cluster in clusters {
            let groups = self.node_groups(cluster).await?;
            let why = why_not_handed_over(cluster, &self.installation).map(str::to_owned);
            refused.extend(self.why_not_movable(cluster, why).await?);
            for group in &groups {
                refused.extend(self.why_not_movable(group, None).await?);
            }
        }
        match refused.len() {
            0 => Ok(()),
            1 => bail!("{}. Nothing was changed", refused[0]),
            count => bail!(
                "{count} objects cannot be moved now, and nothing was changed (--namespace moves a part):\n  {}",
                refused.join("\n  ")
            ),
        }
    }

    /// Why an object cannot be moved now, with what to do. `why`: known already.
    async fn why_not_movable<K: Movable>(&self, here: &K, why: Option<String>) -> anyhow::Result<Option<String>> {
        let deleted = || "is being deleted: wait until it is gone".to_owned();
        let why = match here.meta().deletion_timestamp.is_some().then(deleted).or(why) {
            Some(why) => Some(why),
            None => self.why_target_taken(here).await?,
        };
        Ok(why.map(|why| format!("{} {why}", title(here))))
    }

    /// The FleetRollouts here that select one of the clusters and do not exist there: upgrades there would wait for no wave.
    async fn missing_rollouts(&self, clusters: &[EksCluster]) -> anyhow::Result<Vec<String>> {
        let all = match Api::<FleetRollout>::all(self.from.clone()).list(&ListParams::default()).await {
            Ok(all) => all.items,
            // CRDs of an earlier version.
            Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
            Err(error) => return Err(error).context("FleetRollouts"),
        };
        let mut missing = Vec::new();
        for rollout in &all {
            let Some(why) = why_rollout_is_needed(rollout, clusters) else { continue };
            if Api::<FleetRollout>::all(self.to.clone()).get_opt(&rollout.name_any()).await?.is_none() {
                missing.push(why);
            }
        }
        Ok(missing)
    }

    /// The AwsAccount here, and the one there; `None`: it does not exist here.
    pub(super) async fn account_in_both(&self, name: &str) -> anyhow::Result<Option<(AwsAccount, Option<AwsAccount>)>> {
        let (from, to) = (Api::<AwsAccount>::all(self.from.clone()), Api::<AwsAccount>::all(self.to.clone()));
        let Some(here) = from.get_opt(name).await? else { return Ok(None) };
        Ok(Some((here, to.get_opt(name).await?)))
    }

    /// Why the object there, if there is one, is not the copy of the one here.
    async fn why_target_taken<K: Movable>(&self, here: &K) -> anyhow::Result<Option<String>> {
        let Some(there) = K::in_namespace(&self.to, here).get_opt(&here.name_any()).await? else { return Ok(None) };
        let uid = here.uid().unwrap_or_default();
        if !copies::is_copy(&there, &uid) && !is_moved(here, &self.installation) {
            let why = "already exists there, and is not the moved object: delete it there, or move it, first";
            return Ok(Some(why.to_owned()));
        }
        let is_deleted = there.meta().deletion_timestamp.is_some();
        Ok(is_deleted.then(|| "is being deleted there: wait until it is gone".to_owned()))
    }
}

/// That the FleetRollout must exist there, if it selects a cluster. What cannot be decided selects.
fn why_rollout_is_needed(rollout: &FleetRollout, clusters: &[EksCluster]) -> Option<String> {
    /// Clusters that are named.
    const MAX_NAMES: usize = 3;
    let is_selected =
        |cluster: &&EksCluster| membership::selects(&rollout.spec.cluster_selector, cluster.labels()).unwrap_or(true);
    let selected: Vec<String> = clusters.iter().filter(is_selected).map(super::name_of).collect();
    (!selected.is_empty()).then(|| {
        format!(
            "FleetRollout {} selects {}, is not moved, and does not exist there, where their upgrades would wait for no wave: \
             create it there first",
            rollout.name_any(),
            first_few(selected, MAX_NAMES)
        )
    })
}

fn why_accounts_differ(here: &AwsAccount, there: &AwsAccount) -> anyhow::Result<Option<String>> {
    if there.spec == here.spec {
        return Ok(None);
    }
    let fields = checks::differences(&serde_json::to_value(&here.spec)?, &serde_json::to_value(&there.spec)?);
    let (name, fields) = (here.name_any(), fields.join(", "));
    Ok(Some(format!("AwsAccount {name} exists there and differs in {fields}: make both equal first")))
}

/// Whether its move is complete here: it was handed over, and has no finalizer any more.
pub fn is_moved<K: Movable>(here: &K, installation: &str) -> bool {
    !apply::has_finalizer(here) && copies::moves_to(here) == Some(installation)
}

/// Why the operator here would never hand over the cluster.
fn why_not_handed_over(cluster: &EksCluster, installation: &str) -> Option<&'static str> {
    let is_handed_over = cluster.handed_over_to().is_some_and(|to| to == installation);
    if !apply::has_finalizer(cluster) || is_handed_over {
        return None;
    }
    let status = cluster.status.as_ref()?;
    let has_records = status.resources.iter().any(|line| line.id.is_some());
    if cluster.spec.change_policy == ChangePolicy::Observe && has_records {
        return Some(
            "has changePolicy: Observe, so nothing that it owns is handed over: set another policy first, here",
        );
    }
    if is_on_record(cluster) {
        return None;
    }
    let is_made = |line: &ResourceStatus| line.id.is_some() && kinds::is_resource(&Key::parse(&line.key));
    if status.resources.iter().any(is_made) {
        return Some(
            "is being created, and its resources cannot be handed over before its EKS cluster exists: wait until then, or \
             delete it",
        );
    }
    let stalled = conditions::get(&status.conditions, ConditionType::Stalled);
    let is_refused = stalled.is_some_and(|one| one.status == "True" && one.reason == Reason::NotOwned.as_str());
    is_refused.then_some(
        "is Stalled NotOwned and has nothing on record, so it has nothing to hand over: correct or delete it first, or \
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
        let made = json!({"resources": [on_record("vpc"), on_record("cluster")]});
        assert_eq!(refused(made.clone()), None);
        let mut observing = cluster(made);
        observing.spec.change_policy = ChangePolicy::Observe;
        assert!(why_not_handed_over(&observing, "there").unwrap().contains("changePolicy: Observe"));
    }

    #[test]
    fn rollout_that_selects_a_cluster_is_needed_there() {
        let rollout: FleetRollout = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "FleetRollout", "metadata": {"name": "main"},
            "spec": {"clusterSelector": {"matchLabels": {"fleet": "main"}}, "waves": [{"name": "all"}]},
        }))
        .unwrap();
        let mut selected = cluster(json!({}));
        assert_eq!(why_rollout_is_needed(&rollout, &[selected.clone()]), None);
        selected.labels_mut().insert("fleet".to_owned(), "main".to_owned());
        let why = why_rollout_is_needed(&rollout, &[selected]).unwrap();
        assert!(why.starts_with("FleetRollout main selects team/demo, is not moved"), "{why}");
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
