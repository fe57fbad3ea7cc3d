//! A cluster, as a rollout sees it. Plain data. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::request::Request;
use crate::api::KubernetesVersion;
use crate::api::fleet_rollout::Gate;

/// A cluster, as a rollout sees it in the cluster's spec and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// UID of the EksCluster.
    pub uid: String,
    /// Namespace and name.
    pub name: String,
    /// Labels of the EksCluster.
    pub labels: BTreeMap<String, String>,
    /// The version that its spec asks for.
    pub wanted: KubernetesVersion,
    /// Version of the control plane; `None`: it does not exist yet.
    pub control_plane: Option<KubernetesVersion>,
    /// The lowest version of the node groups that follow the control plane; that of the control plane if none follows.
    pub node_groups: Option<KubernetesVersion>,
    /// Whether it is suspended: it neither asks nor begins.
    pub suspended: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What it says to its rollout.
    pub request: Request,
    /// Whether it is healthy.
    pub health: Health,
    /// What a person must do, if it is stalled.
    pub stalled: Option<Stalled>,
    /// What it waits for, for messages.
    pub waits_for: Option<String>,
}

/// Health of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Healthy without interruption since then.
    Since(Timestamp),
    /// Not healthy, with the reason.
    Unhealthy(String),
}

/// A cluster that does not proceed without a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub message: String,
}

impl Member {
    /// The version that counts for `gate`; `None`: the cluster is being created.
    pub fn at(&self, gate: Gate) -> Option<KubernetesVersion> {
        match gate {
            Gate::ControlPlane => self.control_plane,
            Gate::NodeGroups => self.node_groups,
        }
    }

    /// Since when it is healthy.
    pub fn healthy_since(&self) -> Option<Timestamp> {
        match &self.health {
            Health::Since(since) => Some(*since),
            Health::Unhealthy(_) => None,
        }
    }
}
