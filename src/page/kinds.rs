//! The kinds of objects that the page has: what it keeps of each, and its row in lists. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::fleet::{Fleet, Objects};
use super::id::{Id, Kind};
use super::row::Row;
use super::stored::Stored;
use crate::api::{AwsAccount, EksCluster, FleetRollout, NodeGroup};
use crate::controllers::runtime::apply;

/// A kind that is watched.
pub trait PageKind: apply::Kind + Serialize {
    const KIND: Kind;
    /// Removes what no view shows.
    fn trim(&mut self) {}
    /// How it is kept: compressed, except for kinds of which lists open each object.
    fn stored(self) -> Stored<Self> {
        Stored::compressed(self)
    }
    fn row(&self, fleet: &Fleet, now: Timestamp) -> Row;
    fn all(fleet: &Fleet) -> &Objects<Self>;
    fn all_mut(fleet: &mut Fleet) -> &mut Objects<Self>;
}

/// The cluster of a node group.
fn cluster_of(group: &NodeGroup) -> Id {
    Id::new(Kind::EksCluster, group.metadata.namespace.as_deref().unwrap_or_default(), &group.spec.cluster_ref.name)
}

impl PageKind for EksCluster {
    const KIND: Kind = Kind::EksCluster;

    fn trim(&mut self) {
        // Parts whose size only their author bounds. What is read grows by doubling; most of it never changes again.
        self.spec.hooks.iter_mut().for_each(|hook| hook.job.template = None);
        self.spec.pod_identities.clear();
        for addon in &mut self.spec.addons {
            (addon.configuration, addon.pod_identity_role) = (None, None);
        }
        if let Some(status) = &mut self.status {
            status.certificate_authority = None;
            status.certificate_authorities.clear();
            status.tag_keys.clear();
            if let Some(plan) = &mut status.plan {
                plan.approved.clear();
                plan.steps.shrink_to_fit();
            }
            if let Some(network) = &mut status.network {
                network.subnets.shrink_to_fit();
            }
            status.conditions.shrink_to_fit();
            status.resources.shrink_to_fit();
        }
    }

    fn row(&self, _: &Fleet, now: Timestamp) -> Row {
        Row::of_cluster(self, now)
    }

    fn all(fleet: &Fleet) -> &Objects<Self> {
        &fleet.clusters
    }

    fn all_mut(fleet: &mut Fleet) -> &mut Objects<Self> {
        &mut fleet.clusters
    }
}

impl PageKind for NodeGroup {
    const KIND: Kind = Kind::NodeGroup;

    fn trim(&mut self) {
        self.spec.node = None;
        if let Some(status) = &mut self.status {
            status.tag_keys.clear();
            status.auto_scaling_group_tag_keys.clear();
            if let Some(plan) = &mut status.plan {
                plan.approved.clear();
                plan.steps.shrink_to_fit();
            }
            status.conditions.shrink_to_fit();
        }
    }

    fn row(&self, fleet: &Fleet, now: Timestamp) -> Row {
        let cluster = fleet.clusters.get(&cluster_of(self).place());
        Row::of_group(self, cluster.and_then(|kept| kept.row.drift_policy), now)
    }

    fn all(fleet: &Fleet) -> &Objects<Self> {
        &fleet.groups
    }

    fn all_mut(fleet: &mut Fleet) -> &mut Objects<Self> {
        &mut fleet.groups
    }
}

impl PageKind for AwsAccount {
    const KIND: Kind = Kind::AwsAccount;

    fn row(&self, _: &Fleet, _: Timestamp) -> Row {
        Row::of_account(self)
    }

    fn all(fleet: &Fleet) -> &Objects<Self> {
        &fleet.accounts
    }

    fn all_mut(fleet: &mut Fleet) -> &mut Objects<Self> {
        &mut fleet.accounts
    }
}

impl PageKind for FleetRollout {
    const KIND: Kind = Kind::FleetRollout;

    fn stored(self) -> Stored<Self> {
        Stored::shared(Arc::new(self))
    }

    fn row(&self, _: &Fleet, _: Timestamp) -> Row {
        Row::of_rollout(self)
    }

    fn all(fleet: &Fleet) -> &Objects<Self> {
        &fleet.rollouts
    }

    fn all_mut(fleet: &mut Fleet) -> &mut Objects<Self> {
        &mut fleet.rollouts
    }
}
