//! The objects of the simulated fleet of [`super::world`], and a cluster of tests. No I/O.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::*;
use crate::api::KubernetesVersion;
use crate::api::fleet_rollout::FleetRolloutSpec;
use crate::api::fleet_rollout_status::FleetRolloutStatus;

/// A version of 1.x.
pub fn v(minor: u16) -> KubernetesVersion {
    KubernetesVersion { major: 1, minor }
}

/// A version of the agent.
pub fn agent_version(number: u16) -> AgentVersion {
    AgentVersion::new("any", &format!("v2.{number}")).unwrap()
}

/// The FleetRollout, as the API server stores it.
#[derive(Clone, Debug)]
pub struct RolloutObject {
    pub version: u64,
    pub spec: FleetRolloutSpec,
    pub status: FleetRolloutStatus,
    pub approve: Option<String>,
    pub retry: Option<String>,
    pub promote: Option<String>,
}

/// An EksCluster, as the API server stores it.
#[derive(Clone, Debug)]
pub struct ClusterObject {
    pub version: u64,
    pub member: Member,
}

/// A cluster, as it is in AWS.
#[derive(Clone, Debug)]
pub struct Truth {
    pub control_plane: KubernetesVersion,
    pub node_groups: KubernetesVersion,
    pub agent: Option<AgentVersion>,
    /// The steps in progress: of Kubernetes, of the agent.
    pub running: Option<Step>,
    pub agent_running: Option<Step>,
    pub healthy_since: Option<Timestamp>,
    pub last_unhealthy: Timestamp,
    pub stalled: Option<Timestamp>,
    pub window_closed: bool,
    /// Since when a condition that is checked is True.
    pub condition_since: Option<Timestamp>,
}

impl Truth {
    pub fn running(&self, lane: Lane) -> Option<Step> {
        match lane {
            Lane::Kubernetes => self.running,
            Lane::Agent => self.agent_running,
            Lane::Revision => None,
        }
    }

    pub fn running_mut(&mut self, lane: Lane) -> &mut Option<Step> {
        match lane {
            Lane::Kubernetes => &mut self.running,
            Lane::Agent | Lane::Revision => &mut self.agent_running,
        }
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some() || self.agent_running.is_some()
    }
}

/// What a cluster says in a lane.
pub fn request(member: &Member, lane: Lane) -> &Request {
    match lane {
        Lane::Kubernetes => &member.request,
        Lane::Agent => &member.agent_request,
        Lane::Revision => &member.revision_request,
    }
}

/// An operator, with what it has read so far.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Since when it leads, or has led.
    pub term: i64,
    pub rollout: RolloutObject,
    pub clusters: BTreeMap<String, ClusterObject>,
    /// Results of checks, which a restart loses.
    pub results: Vec<CheckRun>,
}

/// A healthy cluster that asks for nothing.
pub fn member(uid: &str, name: &str, ring: &str, at: KubernetesVersion, now: Timestamp) -> Member {
    Member {
        uid: uid.to_owned(),
        name: name.to_owned(),
        labels: BTreeMap::from([("ring".to_owned(), ring.to_owned())]),
        wanted: at,
        control_plane: Some(at),
        node_groups: Some(at),
        suspended: false,
        deleting: false,
        request: Request::default(),
        agent: None,
        agent_request: Request::default(),
        source: None,
        adopted_source: None,
        revision_request: Request::default(),
        health: Health::Since(now),
        stalled: None,
        waits_for: None,
    }
}
