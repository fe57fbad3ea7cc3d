//! What a decision is made from: what the spec asks for, what was seen, and what time it is. Plain data. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::addons::{Offer, Wanted};
use super::windows::WindowState;
use crate::api::EksClusterSpec;
use crate::api::KubernetesVersion;
use crate::api::upgrade::FollowPolicy;
use crate::api::version::InvalidVersion;

/// What the spec asks of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// The version to reach.
    pub version: KubernetesVersion,
    /// Whether node groups without a version of their own follow.
    pub node_groups: FollowPolicy,
    /// Whether add-ons at Default or Latest follow.
    pub addons: FollowPolicy,
    /// Whether the control plane may go back by a minor.
    pub allow_rollback: bool,
}

impl Goal {
    /// The goal that a spec sets.
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

/// What was seen of a cluster that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Version of the control plane, as EKS says.
    pub control_plane: KubernetesVersion,
    /// What EKS does to the control plane now.
    pub control_plane_work: ControlPlaneWork,
    /// The add-ons that exist, listed in the spec or not.
    pub addons: Vec<ObservedAddon>,
    /// The node groups of ours that exist.
    pub node_groups: Vec<ObservedNodeGroup>,
    /// Nodes that are in no node group of ours: name and version of the kubelet.
    pub other_kubelets: Vec<(String, KubernetesVersion)>,
    /// Why the kubelets are not known; `None`: they are, or do not matter.
    pub unread: Option<UnreadNodes>,
    /// The Kubernetes versions that EKS offers in the region; empty: not known.
    pub offered: BTreeSet<KubernetesVersion>,
}

/// Why the versions of the nodes' kubelets are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnreadNodes {
    /// They are being read.
    Reading,
    /// The workload cluster could not be read. Holds why.
    Failed(String),
}

/// What EKS does to a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlPlaneWork {
    /// Nothing.
    Idle,
    /// It changes the version (an update of type VersionUpdate or VersionRollback runs), whoever began it.
    Version,
    /// It changes something else.
    Other,
}

/// An add-on that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedAddon {
    /// Name in EKS.
    pub name: String,
    /// Its version, as EKS says.
    pub installed: String,
    /// The version that the spec asks for; `None`: the spec does not list the add-on, so it is not ours to move.
    pub wanted: Option<Wanted>,
    /// How it fares.
    pub state: AddonState,
    /// The versions that EKS offers for each Kubernetes version on the way, the present one with it. A Kubernetes version
    /// that is not in here was not asked about, and nothing is concluded for it.
    pub offered: BTreeMap<KubernetesVersion, Vec<Offer>>,
}

/// How an add-on fares. DEGRADED counts as settled: it may never clear, and then it would block for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddonState {
    Settled,
    /// EKS is at work on it.
    Busy,
    /// CREATE_FAILED, UPDATE_FAILED, DELETE_FAILED.
    Failed,
}

/// A node group of ours that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedNodeGroup {
    /// Name in EKS.
    pub name: String,
    /// Its version, as EKS says.
    pub version: KubernetesVersion,
    /// The version of its own (`spec.version` of the NodeGroup), if it has one.
    pub own: Option<KubernetesVersion>,
    /// The versions of its nodes' kubelets; empty: there are none, or the workload cluster was not read.
    pub kubelets: BTreeSet<KubernetesVersion>,
    /// Whether EKS is at work on it.
    pub busy: bool,
    /// Whether the NodeGroup is suspended: nothing will be done to it.
    pub suspended: bool,
    /// Its AMI comes out of its launch template: EKS moves it to no version but by another version of that.
    pub custom_ami: bool,
}

impl ObservedNodeGroup {
    /// The oldest kubelet that is in it, or that it would make.
    pub fn oldest(&self) -> KubernetesVersion {
        self.kubelets.first().copied().map_or(self.version, |kubelet| kubelet.min(self.version))
    }

    /// The newest kubelet that is in it, or that it would make.
    pub fn newest(&self) -> KubernetesVersion {
        self.kubelets.last().copied().map_or(self.version, |kubelet| kubelet.max(self.version))
    }
}

/// What the time says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Now.
    pub now: Timestamp,
    /// Whether steps may begin.
    pub window: WindowState,
    /// How far the cluster has settled since the last control plane step.
    pub soaked: Soaked,
}

/// How far a cluster has settled since its last control plane step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Soaked {
    /// How much longer it must be healthy; zero: long enough.
    pub remaining: Duration,
    /// Why it is not healthy now, so that this time does not count.
    pub unhealthy: Option<String>,
}
