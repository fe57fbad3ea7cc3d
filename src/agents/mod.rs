//! GitOps agents: what is installed in a workload cluster, how Git adopts it, and its status. A folder for each agent;
//! what they share is beside them and names none of them.
//!
//! Not allowed here: AWS resources. I/O: the workload cluster's API, through [`crate::workload`].

pub mod address;
pub mod adoption;
pub mod agent;
pub mod apply;
pub mod argocd;
pub mod competing_agent;
pub mod definition;
pub mod driver;
pub mod flux;
pub mod gitops_condition;
pub mod host_network;
pub mod install;
pub mod other_installation;
pub mod pause;
pub mod roll_up;
pub mod secret_keys;
pub mod secret_reader;
pub mod shared_input;
pub mod sync_outcome;
pub mod valid_source;
pub mod validate_source;

use crate::api::gitops::GitOps;

pub use argocd::hub;

pub use agent::{Agent, AgentInput, InvalidField, ValidAgent};
pub use gitops_condition::Verdict;
pub use sync_outcome::GitOpsOutcome;

/// All agents, the oldest first.
pub static ALL: &[&dyn Agent] = &[&flux::FluxAgent, &argocd::ArgoCdAgent];

/// The agent that the spec requests.
pub fn requested(gitops: &GitOps) -> Option<&'static dyn Agent> {
    ALL.iter().copied().find(|agent| agent.is_requested(gitops))
}

/// The agent with that name in status. The oldest if there is none: statuses that name no agent are older than all
/// others.
pub fn recorded(name: Option<&str>) -> &'static dyn Agent {
    ALL.iter().copied().find(|agent| Some(agent.name()) == name).unwrap_or(ALL[0])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::agents::validate_source::SourcePolicy;

    fn gitops(agent: &dyn Agent, version: Option<&str>) -> GitOps {
        let source = json!({"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}}});
        let mut spec = json!({"source": source, "path": "clusters/demo"});
        spec["version"] = version.map_or(Value::Null, Value::from);
        serde_json::from_value(json!({agent.name(): spec})).unwrap()
    }

    #[test]
    fn every_agent_is_requested_by_its_own_field() {
        for agent in ALL {
            let spec = gitops(*agent, None);
            assert_eq!(requested(&spec).map(Agent::name), Some(agent.name()));
            assert_eq!(recorded(Some(agent.name())).name(), agent.name());
            let valid = |agent: &dyn Agent| agent.validate(&spec, SourcePolicy::default());
            assert!(valid(*agent).unwrap().is_ok(), "{}", agent.name());
            let others = ALL.iter().filter(|other| other.name() != agent.name());
            assert!(others.clone().all(|other| valid(*other).is_none()), "{}", agent.name());
        }
        assert!(requested(&GitOps::default()).is_none());
        let labels: BTreeSet<_> = ALL.iter().map(|agent| agent.label()).collect();
        assert_eq!(labels.len(), ALL.len());
    }

    #[test]
    fn version_in_the_spec_is_read_and_removed() {
        for agent in ALL {
            assert!(agent.has_version(agent.newest_version()) && !agent.has_version("v0.0.1"), "{}", agent.name());
            let mut spec = gitops(*agent, Some("v0.0.1"));
            assert_eq!(agent.named_version(&spec), Some("v0.0.1"));
            assert!(agent.validate(&spec, SourcePolicy::default()).unwrap().is_err(), "{}", agent.name());
            agent.unset_version(&mut spec);
            assert_eq!(spec, gitops(*agent, None));
        }
    }
}
