//! `keelson move --abort`: undoes a move whose clusters were not taken over yet. First the object there stops taking
//! over and is deleted, then the operator here takes back its resources, and only then is the object here resumed. I/O:
//! the APIs of both management clusters.

use anyhow::{Context as _, bail};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::copies::{self, SUSPENDED_BEFORE};
use super::move_waits::Side;
use super::{Movable, Move, name_of, title};
use crate::api::listing::counted;
use crate::api::{EksCluster, HAND_OVER_ANNOTATION, NodeGroup, RECOVER_ANNOTATION};
use crate::controllers::runtime::apply;

impl Move {
    /// Undoes the move of each cluster that was not taken over. The others are named at the end.
    pub(super) async fn abort_all(&self, clusters: &[EksCluster], dry_run: bool) -> anyhow::Result<()> {
        let mut left = Vec::new();
        for cluster in clusters {
            let groups = self.node_groups(cluster).await?;
            if !copies::is_moving(cluster) && !groups.iter().any(copies::is_moving) {
                self.say(&format!("{}: is not being moved", title(cluster)))?;
            } else if let Some(why) = self.why_not_undone(cluster, &groups).await? {
                left.push(why);
            } else {
                self.abort(cluster, groups, dry_run).await.with_context(|| title(cluster))?;
            }
        }
        if !left.is_empty() {
            bail!("not undone:\n  {}", left.join("\n  "));
        }
        crate::cli::print(if dry_run { "nothing was changed\n" } else { "undone\n" })
    }

    /// Why the move of a cluster cannot be undone; nothing of it is changed then.
    async fn why_not_undone(&self, cluster: &EksCluster, groups: &[NodeGroup]) -> anyhow::Result<Option<String>> {
        if cluster.metadata.deletion_timestamp.is_some() {
            return Ok(Some(format!("{} is being deleted: wait until it is gone", title(cluster))));
        }
        if let Some(why) = self.why_taken_over(cluster).await? {
            return Ok(Some(why));
        }
        for group in groups {
            if let Some(why) = self.why_taken_over(group).await? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// Undoes the move of a cluster with its node groups.
    async fn abort(&self, cluster: &EksCluster, groups: Vec<NodeGroup>, dry_run: bool) -> anyhow::Result<()> {
        self.say(&format!(
            "EksCluster {}, {}: deleted there, taken back and resumed here",
            name_of(cluster),
            counted(groups.len(), "NodeGroup")
        ))?;
        if dry_run {
            return Ok(());
        }
        // The NodeGroups there wait for their cluster, so the cluster stops first.
        self.stop_there(cluster).await?;
        for group in &groups {
            self.stop_there(group).await?;
        }
        for group in &groups {
            self.delete_there(group).await?;
        }
        self.delete_there(cluster).await?;
        self.take_back(cluster).await?;
        for group in &groups {
            self.take_back(group).await?;
        }
        self.resume(cluster).await
    }

    async fn check_not_taken_over<K: Movable>(&self, here: &K) -> anyhow::Result<()> {
        self.why_taken_over(here).await?.map_or(Ok(()), |why| Err(anyhow::anyhow!(why)))
    }

    /// That the object there owns what it has in AWS; `None`: it does not.
    async fn why_taken_over<K: Movable>(&self, here: &K) -> anyhow::Result<Option<String>> {
        let there = K::in_namespace(&self.to, here).get_opt(&here.name_any()).await?;
        let uid = here.uid().unwrap_or_default();
        Ok(there.filter(|there| copies::is_taken_over(there, &uid)).map(|_| {
            format!(
                "{} was taken over there, so its move cannot be undone. Run keelson move again to complete it; to move it \
                 back, delete the objects here once it is complete, and run keelson move from there",
                title(here)
            )
        }))
    }

    /// The object there, if it is the copy of `here`.
    async fn copy_of<K: Movable>(&self, here: &K) -> anyhow::Result<Option<K>> {
        let uid = here.uid().unwrap_or_default();
        let there = K::in_namespace(&self.to, here).get_opt(&here.name_any()).await?;
        Ok(there.filter(|there| is_copy(there, &uid)))
    }

    /// Suspends the object there and withdraws its request to take over, and waits until the operator there, if one
    /// runs, is done with what it had begun.
    async fn stop_there<K: Movable>(&self, here: &K) -> anyhow::Result<()> {
        let Some(there) = self.copy_of(here).await? else { return Ok(()) };
        let (api, name) = (K::in_namespace(&self.to, here), here.name_any());
        // Its finalizer may already be on it: while it is suspended, its deletion deletes nothing in AWS.
        let annotations = json!({RECOVER_ANNOTATION: null, copies::ABORTED: here.uid()});
        let patch = json!({"metadata": {"uid": there.uid(), "annotations": annotations}, "spec": {"suspend": true}});
        let stopped = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        // One that takes nothing over may be about to create resources, and gets its finalizer before.
        let is_idle =
            !apply::has_finalizer(&stopped) && !copies::is_plain_copy(&stopped, &here.uid().unwrap_or_default());
        if is_idle || self.operator_missing(Side::There).await?.is_some() {
            return self.check_not_taken_over(here).await;
        }
        let generation = stopped.meta().generation;
        self.until(&stopped, Side::There, "suspend it", |now| now.observed_generation() >= generation).await?;
        self.check_not_taken_over(here).await
    }

    /// Deletes the object there. It is suspended and owns nothing, so nothing is deleted in AWS.
    async fn delete_there<K: Movable>(&self, here: &K) -> anyhow::Result<()> {
        let Some(there) = self.copy_of(here).await? else { return Ok(()) };
        apply::remove_finalizer(&self.to, &there).await?;
        apply::delete(&self.to, &there).await.context("the object there")
    }

    /// Withdraws the hand-over, and waits until the operator here has its own id in the tags again.
    async fn take_back<K: Movable>(&self, object: &K) -> anyhow::Result<()> {
        let (api, name) = (K::in_namespace(&self.from, object), object.name_any());
        // The mark says that what was suspended for the move is still to be resumed, if this is interrupted.
        let annotations = json!({HAND_OVER_ANNOTATION: null, copies::ABORTED: object.uid()});
        let patch = json!({"metadata": {"uid": object.uid(), "annotations": annotations}});
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        let is_taken_back = |now: &K| !now.has_hand_over() || !apply::has_finalizer(now);
        self.until(object, Side::Here, "take it back", is_taken_back).await?;
        self.say(&format!("{}: taken back", title(object)))
    }

    /// Resumes the cluster, unless it was suspended before the move.
    async fn resume(&self, cluster: &EksCluster) -> anyhow::Result<()> {
        let groups = self.node_groups(cluster).await?;
        for group in &groups {
            self.forget(group, None).await?;
        }
        let before = copies::suspended_before(cluster);
        self.forget(cluster, before).await?;
        self.say(&match before {
            Some(false) => format!("EksCluster {}: resumed", name_of(cluster)),
            _ => format!("EksCluster {}: stays suspended, as before the move", name_of(cluster)),
        })
    }

    async fn forget<K: Movable>(&self, object: &K, suspend: Option<bool>) -> anyhow::Result<()> {
        let annotations = json!({SUSPENDED_BEFORE: null, copies::ABORTED: null});
        let mut patch = json!({"metadata": {"uid": object.uid(), "annotations": annotations}});
        if let Some(suspend) = suspend {
            patch["spec"] = json!({"suspend": suspend});
        }
        let api = K::in_namespace(&self.from, object);
        api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// The NodeGroups here of a cluster.
    pub(super) async fn node_groups(&self, cluster: &EksCluster) -> anyhow::Result<Vec<NodeGroup>> {
        let api = NodeGroup::in_namespace_named(&self.from, cluster.namespace().as_deref());
        let all = api.list(&Default::default()).await?.items;
        Ok(all.into_iter().filter(|group| group.spec.cluster_ref.name == cluster.name_any()).collect())
    }
}

/// Whether the object there is the copy of the one here with that UID, also once its move is being undone.
fn is_copy<K: Movable>(there: &K, uid: &str) -> bool {
    let aborted = there.annotations().get(copies::ABORTED).is_some_and(|of| of == uid);
    aborted || copies::is_copy(there, uid)
}
