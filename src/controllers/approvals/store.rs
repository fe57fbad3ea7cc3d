//! The cached PlanApprovals, and those that are offered to an object. No I/O: `approvals` watches them.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::Store;

use super::approval_state::is_open;
use super::execution_policy::ApprovalObject;
use crate::api::{EksCluster, NodeGroup, PlanApproval};
use crate::controllers::runtime::apply::Kind;

/// The cached PlanApprovals.
#[derive(Default)]
pub struct PlanApprovals(OnceLock<Store<PlanApproval>>);

impl PlanApprovals {
    /// Sets the store, once it is watched.
    pub(super) fn set(&self, store: Store<PlanApproval>) {
        // A term watches once, so it is not set yet.
        let _ = self.0.set(store);
    }

    /// The open approvals of an object. `accepted`: the one accepted last: until it is marked as used, no other is
    /// offered, so that each counts once whatever is lost in between.
    pub fn of<K: Kind>(&self, object: &K, accepted: Option<&str>, now: Timestamp) -> Vec<ApprovalObject> {
        let Some(store) = self.0.get() else { return Vec::new() };
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let mut found: Vec<_> = store
            .state()
            .into_iter()
            .filter(|one| one.namespace().as_ref() == Some(&namespace) && target_of(one) == Some((K::NAME, &name)))
            .filter(|one| is_open(one, now))
            .filter_map(|one| Some(ApprovalObject { uid: one.uid()?, hash: one.spec.hash.clone() }))
            .collect();
        if found.iter().any(|one| Some(one.uid.as_str()) == accepted) {
            return Vec::new();
        }
        found.sort_by(|one, other| one.uid.cmp(&other.uid));
        found
    }

    /// The approval with that UID.
    pub(super) fn by_uid(&self, uid: &str) -> Option<Arc<PlanApproval>> {
        self.0.get()?.state().into_iter().find(|one| one.uid().as_deref() == Some(uid))
    }
}

/// Kind and name of the object that an approval names.
pub(super) fn target_of(approval: &PlanApproval) -> Option<(&'static str, &str)> {
    let cluster = approval.spec.cluster_ref.as_ref().map(|cluster| (EksCluster::NAME, cluster.name.as_str()));
    let group = approval.spec.node_group_ref.as_ref().map(|group| (NodeGroup::NAME, group.name.as_str()));
    match (cluster, group) {
        (Some(named), None) | (None, Some(named)) => Some(named),
        // The schema rejects both, so nothing is approved.
        (Some(_), Some(_)) | (None, None) => None,
    }
}
