//! An upgrade of the agent as a step of a FleetRollout: when the cluster asks for it, and when it has ended. Pure.

use super::steps;
use crate::agents;
use crate::api::conditions::{self, ConditionType};
use crate::api::fleet_rollout::Gate;
use crate::api::status_cluster::EksClusterStatus;
use crate::api::{EksCluster, Reason};
use crate::rollout::{AgentState, AgentVersion, ClaimFacts, ClaimedStep, Step, Target};

/// What a FleetRollout must know of the agent of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentVersionState {
    /// The agent that the spec requests.
    pub agent: Option<&'static str>,
    /// Its version on record.
    pub at: Option<String>,
    /// Its target version.
    pub wanted: Option<String>,
    /// Whether a higher version is pending.
    pub is_upgrade: bool,
    /// Whether something else than a wave holds it.
    pub is_held: bool,
    /// Whether the control plane exists.
    pub has_api: bool,
    /// Whether it has started: it is finished, whatever a wave says.
    pub in_progress: bool,
}

impl AgentVersionState {
    fn version(&self, version: Option<&String>) -> Option<AgentVersion> {
        AgentVersion::new(self.agent?, version?)
    }

    /// The step that begins once its wave is open. One that is in progress without a claim began before a FleetRollout
    /// selected the cluster.
    pub fn wants(&self, claimed: Option<Step>) -> Option<Step> {
        let step = Step { gate: Gate::Agent, target: Target::Agent(self.version(self.wanted.as_ref())?) };
        let is_ready = self.is_upgrade && !self.is_held && self.has_api;
        (is_ready && (!self.in_progress || claimed == Some(step))).then_some(step)
    }

    /// The state of the step that it has claimed.
    pub fn claim(&self, step: Step, is_healthy: bool) -> ClaimedStep {
        let Target::Agent(target) = step.target else { return ClaimedStep::Dropped };
        let is_at_least = |version: Option<&String>| {
            let version = self.version(version).filter(|version| version.is_same_agent(&target));
            version.is_some_and(|version| version >= target)
        };
        ClaimedStep::of(ClaimFacts {
            is_reached: is_at_least(self.at.as_ref()),
            is_healthy,
            is_in_progress: self.is_upgrade && self.in_progress,
            // Another version is another step: one that has not begun gives way to it.
            is_wanted: self.version(self.wanted.as_ref()) == Some(target),
            is_held: self.is_upgrade && self.is_held,
        })
    }
}

/// Why the agent does not work. A new revision that is being applied is no failure.
pub fn unhealthy(status: &EksClusterStatus) -> Option<String> {
    let mut components = status.gitops.iter().flat_map(|gitops| &gitops.components);
    if let Some(component) = components.find(|component| !component.ready || component.updating) {
        let why = component.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        let what = if component.ready { "still has Pods of an earlier version" } else { "is not ready" };
        return Some(format!("{} of the GitOps agent {what}{why}", component.name));
    }
    let condition = conditions::get(&status.conditions, ConditionType::GitOpsReady)?;
    let is_expected =
        [Reason::WaitingForSync, Reason::Creating].iter().any(|reason| condition.reason == reason.as_str());
    (condition.status == "False" && !is_expected).then(|| format!("the GitOps agent: {}", condition.message))
}

/// The agent as a FleetRollout sees it; `None`: there is none, it is being installed, or Git manages it.
pub fn agent_state(cluster: &EksCluster, status: &EksClusterStatus) -> Option<AgentState> {
    let gitops = cluster.spec.gitops.as_ref()?;
    if steps::is_of_git(Some(gitops), status) {
        return None;
    }
    let applied = steps::applied(status)?;
    let name = agents::requested(gitops)?.name();
    let (_, versions) = steps::desired(Some(gitops), Some(&applied), false).version?;
    Some(AgentState {
        at: AgentVersion::new(name, versions.current.as_deref()?)?,
        wanted: AgentVersion::new(name, versions.goal())?,
        unhealthy: unhealthy(status),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const OLD: &str = "v2.7.5";
    const NEW: &str = "v2.9.5";

    fn turn(at: &str, wanted: &str) -> AgentVersionState {
        AgentVersionState {
            agent: Some("flux"),
            at: Some(at.into()),
            wanted: Some(wanted.into()),
            is_upgrade: at < wanted,
            has_api: true,
            ..AgentVersionState::default()
        }
    }

    fn to(version: &str) -> Step {
        Step::of(Gate::Agent, &format!("flux-{version}")).unwrap()
    }

    #[test]
    fn cluster_asks_for_an_upgrade_that_nothing_else_holds() {
        let pending = turn(OLD, NEW);
        assert_eq!(pending.wants(None), Some(to(NEW)));
        assert_eq!(AgentVersionState { is_held: true, ..pending.clone() }.wants(None), None, "outside its window");
        assert_eq!(AgentVersionState { has_api: false, ..pending.clone() }.wants(None), None);
        let in_progress = AgentVersionState { in_progress: true, ..pending };
        assert_eq!(in_progress.wants(None), None, "it began before a rollout selected the cluster");
        assert_eq!(in_progress.wants(Some(to(NEW))), Some(to(NEW)), "it is not written by an earlier leader");
        assert_eq!(turn(NEW, NEW).wants(None), None);
        assert_eq!(turn(NEW, OLD).wants(None), None, "a lower version is a remedy");
        assert_eq!(AgentVersionState::default().wants(None), None, "no agent");
    }

    #[test]
    fn claim_ends_with_a_healthy_agent_or_when_nothing_has_begun() {
        let pending = turn(OLD, NEW);
        assert_eq!(pending.claim(to(NEW), true), ClaimedStep::Ongoing, "it is about to begin");
        let table = [
            (turn(NEW, NEW), true, ClaimedStep::Finished),
            (turn(NEW, NEW), false, ClaimedStep::Ongoing),
            (AgentVersionState { in_progress: true, ..pending.clone() }, true, ClaimedStep::Ongoing),
            (AgentVersionState { is_held: true, ..pending.clone() }, true, ClaimedStep::Dropped),
            (AgentVersionState { is_held: true, in_progress: true, ..pending }, true, ClaimedStep::Ongoing),
            (turn(OLD, OLD), true, ClaimedStep::Dropped),
            // A newer Keelson brings a newer version along, before this one has begun.
            (turn(OLD, "v2.99.0"), true, ClaimedStep::Dropped),
            (AgentVersionState::default(), true, ClaimedStep::Dropped),
        ];
        for (turn, is_healthy, expected) in table {
            assert_eq!(turn.claim(to(NEW), is_healthy), expected, "{turn:?}");
        }
    }

    fn status(condition: (&str, &str), component: Value) -> EksClusterStatus {
        let (status, reason) = condition;
        let condition = json!({"type": "GitOpsReady", "status": status, "reason": reason, "message": "m",
            "lastTransitionTime": "2026-11-28T00:00:00Z"});
        serde_json::from_value(json!({"conditions": [condition], "gitops": {"components": [component]}})).unwrap()
    }

    #[test]
    fn agent_that_does_not_run_or_sync_is_unhealthy() {
        let runs = json!({"name": "source-controller", "ready": true});
        for (condition, is_healthy) in [
            (("True", "Available"), true),
            (("False", "WaitingForSync"), true),
            (("False", "SyncFailed"), false),
            (("False", "AgentUnreachable"), false),
        ] {
            assert_eq!(unhealthy(&status(condition, runs.clone())).is_none(), is_healthy, "{condition:?}");
        }
        let crashes = json!({"name": "source-controller", "ready": false, "message": "CrashLoopBackOff"});
        let why = unhealthy(&status(("True", "Available"), crashes)).unwrap();
        assert_eq!(why, "source-controller of the GitOps agent is not ready: CrashLoopBackOff");
        let updating = json!({"name": "source-controller", "ready": true, "updating": true});
        let why = unhealthy(&status(("True", "Available"), updating)).unwrap();
        assert_eq!(why, "source-controller of the GitOps agent still has Pods of an earlier version");
    }

    #[test]
    fn agent_counts_once_it_is_installed_and_as_long_as_git_does_not_manage_it() {
        let cluster = |version: Value| -> EksCluster {
            let source = json!({"git": {"url": "https://example.com/fleet", "ref": {"branch": "main"}}});
            serde_json::from_value(json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster", "metadata": {"name": "demo", "namespace": "team"},
                "spec": {"region": "eu-west-1", "version": "1.34",
                    "gitops": {"flux": {"path": "clusters/demo", "source": source, "version": version}}},
            }))
            .unwrap()
        };
        let status = |adopted: bool| -> EksClusterStatus {
            let applied = json!([{"field": "flux.version", "value": OLD}]);
            serde_json::from_value(json!({"gitops": {"agent": "flux", "adopted": adopted, "applied": applied}}))
                .unwrap()
        };
        let found = agent_state(&cluster(json!(NEW)), &status(false)).unwrap();
        assert_eq!((found.at.to_string(), found.wanted.to_string()), (format!("flux-{OLD}"), format!("flux-{NEW}")));
        let named_none = agent_state(&cluster(Value::Null), &status(false)).unwrap();
        assert_eq!(named_none.wanted.to_string(), format!("flux-{}", agents::flux::Version::NEWEST.as_str()));
        assert_eq!(agent_state(&cluster(json!(NEW)), &status(true)), None, "Git manages it");
        assert_eq!(agent_state(&cluster(json!(NEW)), &EksClusterStatus::default()), None, "it is being installed");
    }

    #[test]
    fn every_built_in_version_can_be_the_target_of_a_release() {
        for agent in agents::ALL {
            assert!(AgentVersion::new(agent.name(), agent.newest_version()).is_some(), "{}", agent.name());
        }
    }
}
