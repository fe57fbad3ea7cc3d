//! A cluster, as a rollout sees it. Plain data. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::release_target::{AgentVersion, Revision, SourceKey, Target};
use super::request::{Lane, Request, Step};
use crate::api::KubernetesVersion;
use crate::api::fleet_rollout::Gate;

/// How many minors ahead of a cluster are shown: its spec may ask for a version that does not exist.
const MAX_AHEAD: usize = 5;

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
    /// What it says to its rollout of the control plane and the node groups.
    pub request: Request,
    /// Its GitOps agent; `None`: it has none, is being installed, or Git manages it.
    pub agent: Option<AgentState>,
    /// What it says to its rollout of the agent.
    pub agent_request: Request,
    /// The source of its agent; `None`: it has none, Git manages it, or its spec names one commit.
    pub source: Option<SourceState>,
    /// The source that its spec asks for, if Git manages it.
    pub adopted_source: Option<SourceKey>,
    /// What it says to its rollout of the source's revision.
    pub revision_request: Request,
    /// Whether it is healthy.
    pub health: Health,
    /// What a person must do, if it is stalled.
    pub stalled: Option<Stalled>,
    /// What it waits for, for messages.
    pub waits_for: Option<String>,
}

/// The GitOps agent of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentState {
    /// The version that is installed.
    pub at: AgentVersion,
    /// The version that it gets: that of the spec, or of this Keelson.
    pub wanted: AgentVersion,
    /// Why it does not work.
    pub unhealthy: Option<String>,
}

/// The source of an agent, as the agent reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// Which source.
    pub key: SourceKey,
    /// Its address.
    pub url: String,
    /// The revision that it has fetched, in full.
    pub fetched: Option<String>,
    /// The revision that the agent has applied.
    pub applied: Option<Revision>,
    /// The same, if that works.
    pub runs: Option<Revision>,
    /// Whether it is held at a revision.
    pub held: bool,
    /// Why the agent does not work.
    pub unhealthy: Option<String>,
}

impl SourceState {
    /// The revision that it has fetched.
    pub fn revision(&self) -> Option<Revision> {
        Revision::new(self.key, self.fetched.as_deref()?)
    }
}

/// How far a cluster is with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepProgress {
    /// It has the version, or a later one.
    pub is_reached: bool,
    /// Its spec asks for the version, or a later one.
    pub is_asked: bool,
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
    /// How it stands to a step; `None`: the step does not concern it. It is being created, or has another agent.
    pub fn standing(&self, step: Step) -> Option<StepProgress> {
        let of_kubernetes = |at: Option<KubernetesVersion>, target| {
            at.map(|at| StepProgress { is_reached: at >= target, is_asked: self.wanted >= target })
        };
        match (step.gate, step.target) {
            (Gate::ControlPlane, Target::Kubernetes(target)) => of_kubernetes(self.control_plane, target),
            (Gate::NodeGroups, Target::Kubernetes(target)) => of_kubernetes(self.node_groups, target),
            (Gate::Agent, Target::Agent(target)) => {
                let agent = self.agent.as_ref().filter(|agent| agent.at.is_same_agent(&target))?;
                Some(StepProgress { is_reached: agent.at >= target, is_asked: agent.wanted >= target })
            }
            (Gate::Revision, Target::Revision(target)) => {
                let source = self.source.as_ref().filter(|source| source.key == target.source())?;
                Some(StepProgress { is_reached: source.runs == Some(target), is_asked: true })
            }
            _ => None,
        }
    }

    /// Whether its spec asks for what a step gives, or for a later version of Kubernetes, whether it has made the step or not. A
    /// newer version of an agent supersedes one before it; of revisions that is decided with all clusters of a source.
    pub fn asks_for(&self, step: Step) -> bool {
        match step.target {
            Target::Kubernetes(_) => self.standing(step).is_some_and(|standing| standing.is_asked),
            Target::Agent(target) => self.agent.as_ref().is_some_and(|agent| agent.wanted == target),
            Target::Revision(_) => false,
        }
    }

    /// Whether it asks for a step that it has not made.
    pub fn is_left(&self, step: Step) -> bool {
        self.standing(step).is_some_and(|standing| standing.is_asked && !standing.is_reached)
    }

    /// The steps that are left of a gate, in order.
    pub fn steps_left(&self, gate: Gate) -> Vec<Step> {
        // Which revisions are left is decided with all clusters of a source.
        let at = match gate {
            Gate::Revision => return Vec::new(),
            Gate::ControlPlane => self.control_plane,
            Gate::NodeGroups => self.node_groups,
            Gate::Agent => {
                let agent = self.agent.as_ref().filter(|agent| agent.wanted > agent.at);
                return agent.map(|agent| Step { gate, target: Target::Agent(agent.wanted) }).into_iter().collect();
            }
        };
        let Some(at) = at else { return Vec::new() };
        let left = std::iter::successors(Some(at.next()), |version| Some(version.next())).take(MAX_AHEAD);
        let left = left.take_while(|version| *version <= self.wanted && version.major == at.major);
        left.map(|target| Step { gate, target: Target::Kubernetes(target) }).collect()
    }

    /// What it says to its rollout about steps of a gate.
    pub fn request_of(&self, gate: Gate) -> &Request {
        match Lane::of(gate) {
            Lane::Kubernetes => &self.request,
            Lane::Agent => &self.agent_request,
            Lane::Revision => &self.revision_request,
        }
    }

    /// Whether it has claimed a step that it has not released.
    pub fn has_claimed(&self) -> bool {
        [&self.request, &self.agent_request, &self.revision_request].iter().any(|request| request.claimed.is_some())
    }

    /// Its health, as it counts for a gate.
    pub fn health_of(&self, gate: Gate) -> Health {
        let why = match gate {
            Gate::ControlPlane | Gate::NodeGroups => None,
            Gate::Agent => self.agent.as_ref().and_then(|agent| agent.unhealthy.as_ref()),
            Gate::Revision => self.source.as_ref().and_then(|source| source.unhealthy.as_ref()),
        };
        match why {
            Some(why) => Health::Unhealthy(why.clone()),
            None => self.health.clone(),
        }
    }

    /// Its version that counts for a gate; `None`: it has none yet. Of a source that does not work: what it applied or fetched last.
    pub fn describe_at(&self, gate: Gate) -> Option<String> {
        match gate {
            Gate::ControlPlane => self.control_plane.map(|at| at.to_string()),
            Gate::NodeGroups => self.node_groups.map(|at| at.to_string()),
            Gate::Agent => self.agent.as_ref().map(|agent| agent.at.to_string()),
            Gate::Revision => {
                let source = self.source.as_ref()?;
                let shown = source.runs.or(source.applied).or_else(|| source.revision());
                shown.map(|revision| revision.to_string())
            }
        }
    }

    /// Which version its spec asks for, where that is not the one of a step.
    pub fn describe_wanted(&self, gate: Gate) -> String {
        match (gate, &self.agent) {
            (Gate::Agent, Some(agent)) => format!("its spec asks for {}", agent.wanted),
            _ => format!("its spec.version is {}", self.wanted),
        }
    }
}

impl Health {
    /// Since when it is healthy.
    pub fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Since(since) => Some(*since),
            Self::Unhealthy(_) => None,
        }
    }
}
