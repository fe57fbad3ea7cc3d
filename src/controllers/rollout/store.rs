//! The cached FleetRollouts, as clusters and rollouts see them. No I/O: `rollout` watches them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use kube::ResourceExt;
use kube::runtime::reflector::Store;
use parking_lot::Mutex;

use crate::api::FleetRollout;
use crate::api::fleet_rollout_status::FleetRolloutStatus;
use crate::controllers::runtime::unreadable::Unreadables;
use crate::rollout::{Rollout, Rollouts, SourcePlan};

/// The cached FleetRollouts.
#[derive(Default)]
pub struct FleetRollouts {
    store: OnceLock<Store<FleetRollout>>,
    listed: AtomicBool,
    plans: Mutex<Plans>,
}

/// Which revisions clusters may have, by the name of the FleetRollout.
pub type Plans = Arc<HashMap<String, Vec<SourcePlan>>>;

/// All FleetRollouts at one time.
pub struct Snapshot {
    /// Whether they are listed: otherwise some may be missing.
    pub is_listed: bool,
    /// Those that can be read.
    pub readable: Vec<Arc<FleetRollout>>,
    /// The names of those that cannot be read.
    pub unreadable: Vec<String>,
    no_status: FleetRolloutStatus,
}

impl FleetRollouts {
    /// Sets the store, once it is watched.
    pub(super) fn set(&self, store: Store<FleetRollout>) {
        // A term watches once, so it is not set yet.
        let _ = self.store.set(store);
    }

    /// All of them are in the store.
    pub(super) fn set_listed(&self) {
        self.listed.store(true, Ordering::Release);
    }

    /// Which revisions clusters may have, by the last decisions of this process.
    pub fn plans(&self) -> Plans {
        self.plans.lock().clone()
    }

    /// Sets the plans of all FleetRollouts. Returns whether they have changed.
    pub(super) fn set_plans(&self, plans: HashMap<String, Vec<SourcePlan>>) -> bool {
        let mut known = self.plans.lock();
        let has_changed = **known != plans;
        if has_changed {
            *known = Arc::new(plans);
        }
        has_changed
    }

    /// All FleetRollouts as they are known now.
    pub fn snapshot(&self, unreadable: &Unreadables) -> Snapshot {
        // The flag first: what is listed afterwards does no harm.
        let is_listed = self.listed.load(Ordering::Acquire);
        let unreadable = unreadable.names::<FleetRollout>();
        let mut readable = self.store.get().map(Store::state).unwrap_or_default();
        readable.sort_by_key(|rollout| rollout.name_any());
        Snapshot { is_listed, readable, unreadable, no_status: FleetRolloutStatus::default() }
    }
}

impl Snapshot {
    /// What decisions are made on.
    pub fn rollouts(&self) -> Rollouts<'_> {
        if !self.is_listed {
            return Rollouts::Unlisted;
        }
        let readable = self.readable.iter().map(|rollout| Rollout {
            name: rollout.metadata.name.as_deref().unwrap_or_default(),
            spec: &rollout.spec,
            status: rollout.status.as_ref().unwrap_or(&self.no_status),
        });
        Rollouts::Listed { readable: readable.collect(), unreadable: self.unreadable.clone() }
    }
}
