//! What is checked of the objects in both management clusters before a move changes anything: whether the other one can
//! take over each. I/O: reads from both APIs; the checks are pure.

use anyhow::bail;
use kube::{Api, ResourceExt};

use super::copies::{self, Moved};
use super::{Movable, Move, checks, title};
use crate::api::conditions::{self, ConditionType};
use crate::api::policy::ChangePolicy;
use crate::api::status::ResourceStatus;
use crate::api::{AwsAccount, EksCluster, Reason};
use crate::controllers::recovery::is_on_record;
use crate::controllers::runtime::apply;
use crate::engine::Key;
use crate::resources::graph::kinds;

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
