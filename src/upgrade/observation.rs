//! The inputs of a decision: the spec, the observation and the time. Plain data. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::addon_versions::{DesiredVersion, OfferedVersion};
use super::windows::WindowState;
use crate::api::EksClusterSpec;
use crate::api::KubernetesVersion;
use crate::api::kubernetes_version::InvalidVersion;
use crate::api::upgrade::FollowPolicy;

/// The settings of an upgrade in the spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// The target version.
    pub version: KubernetesVersion,
    /// Whether node groups without their own version follow.
    pub node_groups: FollowPolicy,
    /// Whether add-ons at Default or Latest follow.
    pub addons: FollowPolicy,
    /// Whether the control plane may be rolled back by a minor.
    pub allow_rollback: bool,
}

impl Goal {
    /// The goal of a spec.
    pub fn of(spec: &EksClusterSpec) -> Result<Self, InvalidVersion> {
        let upgrade = &spec.upgrade;
        Ok(Self {
            version: spec.version()?,
            node_groups: upgrade.node_groups,
            addons: upgrade.addons,
            allow_rollback: upgrade.allow_rollback,
        })
    }
}

/// Observation of an existing cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Version of the control plane, as EKS reports it.
    pub control_plane: KubernetesVersion,
    /// The update that EKS runs on the control plane.
    pub control_plane_work: ControlPlaneWork,
    /// The existing add-ons, in the spec or not.
    pub addons: Vec<ObservedAddon>,
    /// The existing node groups of the cluster's NodeGroups.
    pub node_groups: Vec<ObservedNodeGroup>,
    /// Nodes outside the cluster's NodeGroups: name and kubelet version.
    pub other_kubelets: Vec<(String, KubernetesVersion)>,
    /// Why the kubelet versions are unknown; `None`: they are known or not needed.
    pub unread: Option<UnreadNodes>,
    /// The Kubernetes versions that EKS offers in the region; empty: unknown.
    pub offered: BTreeSet<KubernetesVersion>,
}

/// Why the kubelet versions of the nodes are unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnreadNodes {
    /// They are being read.
    Reading,
    /// The workload cluster could not be read. Holds the reason.
    Failed(String),
}

/// The update that EKS runs on a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlPlaneWork {
    /// None.
    Idle,
    /// A version change (an update of type VersionUpdate or VersionRollback), whoever started it.
    Version,
    /// Another change.
    Other,
}

/// An existing add-on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedAddon {
    /// Name in EKS.
    pub name: String,
    /// Its version, as EKS reports it.
    pub installed: String,
    /// The version in the spec; `None`: the spec does not list the add-on, so the operator does not update it.
    pub wanted: Option<DesiredVersion>,
    /// Its state.
    pub state: AddonState,
    /// The versions that EKS offers for each Kubernetes version on the path, including the current one. Kubernetes
    /// versions without an entry were not queried, and no conclusion is drawn for them.
    pub offered: BTreeMap<KubernetesVersion, Vec<OfferedVersion>>,
}

/// State of an add-on. DEGRADED counts as settled: it may never clear, and would block forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddonState {
    Settled,
    /// EKS is updating it.
    Busy,
    /// CREATE_FAILED, UPDATE_FAILED, DELETE_FAILED.
    Failed,
}

/// An existing node group of the cluster's NodeGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedNodeGroup {
    /// Name in EKS.
    pub name: String,
    /// Its version, as EKS reports it.
    pub version: KubernetesVersion,
    /// Its own version (`spec.version` of the NodeGroup), if set.
    pub own: Option<KubernetesVersion>,
    /// The kubelet versions of its nodes; empty: it has no nodes, or the workload cluster was not read.
    pub kubelets: BTreeSet<KubernetesVersion>,
    /// Whether EKS is updating it.
    pub busy: bool,
    /// Whether the NodeGroup is suspended: the operator does not update it.
    pub suspended: bool,
    /// Its AMI comes from its launch template: EKS changes its version only with another launch template version.
    pub custom_ami: bool,
}

impl ObservedNodeGroup {
    /// The oldest kubelet version of its current or new nodes.
    pub fn oldest(&self) -> KubernetesVersion {
        self.kubelets.first().copied().map_or(self.version, |kubelet| kubelet.min(self.version))
    }

    /// The newest kubelet version of its current or new nodes.
    pub fn newest(&self) -> KubernetesVersion {
        self.kubelets.last().copied().map_or(self.version, |kubelet| kubelet.max(self.version))
    }
}

/// The time, and what depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Now.
    pub now: Timestamp,
    /// Whether steps may start.
    pub window: WindowState,
    /// Soak since the last control plane step.
    pub soaked: Soaked,
    /// Whether a user holds the cluster: nothing begins.
    pub on_hold: bool,
    /// Whether the wave of a FleetRollout, or after it a hook, holds the next step.
    pub wave: WaveState,
}

/// Whether the wave of a FleetRollout, or after it a hook, holds the next step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WaveState {
    /// Nothing holds it.
    #[default]
    Free,
    /// It waits for its turn, or until the rollout is retried.
    Held { halted: bool, message: String },
    /// A person must change labels or FleetRollouts.
    Blocked { message: String },
    /// A hook runs, or has failed.
    Hook { failed: bool, message: String },
}

/// Soak of a cluster since its last control plane step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Soaked {
    /// How much longer it must be healthy; zero: long enough.
    pub remaining: Duration,
    /// Why it is not healthy now, so that this time does not count.
    pub unhealthy: Option<String>,
}
