//! What a node group's nodes may become now. What is held back is not in it: the caller knows of windows and of the cluster. Pure.

use std::fmt;

use crate::api::NodeGroupSpec;

/// What they may become now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The Kubernetes version to go to; `None`: the one they have.
    pub version: Option<String>,
    /// Whether nodes may be replaced now for another AMI release or launch template version.
    pub replace: bool,
    /// The version of the control plane: no node is newer.
    pub control_plane: Option<String>,
    /// Why a version is not gone to yet.
    pub held: Option<Held>,
}

impl Target {
    /// Whatever the spec asks for, at once.
    pub fn at_once(spec: &NodeGroupSpec) -> Self {
        Self { version: spec.version.clone(), replace: true, ..Self::default() }
    }
}

/// Why a version is not gone to yet, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// The control plane does not have it yet.
    ControlPlane(String),
    /// No maintenance window is open.
    Window(String),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Held::ControlPlane(why) | Held::Window(why)) = self;
        f.write_str(why)
    }
}
