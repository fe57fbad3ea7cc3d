//! The versions that a node group's nodes may be updated to now; the caller has applied maintenance windows and the
//! cluster's version. Pure.

use std::fmt;

use crate::api::NodeGroupSpec;
use crate::resources::eks::node_template::Content;

/// The versions to update to now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The Kubernetes version to update to; `None`: the current one.
    pub version: Option<String>,
    /// Whether nodes may be replaced now for another AMI release or launch template version.
    pub replace: bool,
    /// The version of the control plane: nodes are never newer.
    pub control_plane: Option<String>,
    /// The contents of the launch template that Keelson creates; `None`: there is none, or its cluster does not show yet what they
    /// depend on.
    pub node: Option<Content>,
    /// When the next maintenance window opens, as a message; `None`: one is open, or there are none.
    pub next_window: Option<String>,
    /// Why a version update is on hold.
    pub on_hold: Option<UpdateHold>,
}

impl Target {
    /// Everything that the spec asks for, immediately.
    pub fn at_once(spec: &NodeGroupSpec) -> Self {
        Self { version: spec.version.clone(), replace: true, ..Self::default() }
    }
}

/// Why a version update is on hold, as a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateHold {
    /// The control plane does not have that version yet.
    ControlPlane(String),
    /// No maintenance window is open.
    Window(String),
}

impl fmt::Display for UpdateHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (UpdateHold::ControlPlane(why) | UpdateHold::Window(why)) = self;
        f.write_str(why)
    }
}
