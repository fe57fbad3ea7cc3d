//! The other agent, installed in the same cluster before the spec selected this one. Only its owner uninstalls it.
//!
//! Not allowed here: what is done about it. I/O: reads of the workload cluster's API.

use std::time::{Duration, Instant};

use kube::core::params::ListParams;
use serde::Deserialize;

use super::flux;
use super::input::AgentInput;
use crate::workload::client::Workload;
use crate::workload::error::CallError;
use crate::workload::list::{Flow, for_each};

/// How long a result is reused: people install and uninstall agents by hand.
const RECHECK_AFTER: Duration = Duration::from_secs(60);

/// The agent that the spec does not select.
struct CompetingAgent {
    name: &'static str,
    kind: (&'static str, &'static str),
    namespace: Option<&'static str>,
    selector: &'static str,
}

const FLUX: CompetingAgent = CompetingAgent {
    name: "Flux",
    kind: ("apps/v1", "Deployment"),
    namespace: Some(flux::input::NAMESPACE),
    selector: "app.kubernetes.io/part-of=flux",
};
const ARGOCD: CompetingAgent = CompetingAgent {
    name: "Argo CD",
    kind: ("apps/v1", "StatefulSet"),
    namespace: None,
    selector: "app.kubernetes.io/part-of=argocd,app.kubernetes.io/component=application-controller",
};

/// A note about the other agent for the condition's message; `None` when it is not installed.
pub async fn describe(workload: &Workload, input: &AgentInput) -> Result<Option<String>, CallError> {
    let other = match input {
        AgentInput::Flux(_) => ARGOCD,
        AgentInput::ArgoCd(_) => FLUX,
    };
    if let Some((name, at, note)) = &workload.memory.lock().competing_agent
        && *name == other.name
        && at.elapsed() < RECHECK_AFTER
    {
        return Ok(note.clone());
    }
    let note = find(workload, &other).await?;
    workload.memory.lock().competing_agent = Some((other.name, Instant::now(), note.clone()));
    Ok(note)
}

async fn find(workload: &Workload, other: &CompetingAgent) -> Result<Option<String>, CallError> {
    #[derive(Deserialize)]
    struct Found {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        namespace: String,
    }
    let CompetingAgent { name, kind, namespace, selector } = other;
    let mut note = None;
    let parameters = ListParams::default().labels(selector);
    for_each(&workload.client, *kind, *namespace, &parameters, 1, |Found { metadata }| {
        note = Some(format!(
            "{name} is installed too, in {}, and still applies its own sources: Keelson does not change it; uninstall \
             it once this agent has taken over",
            metadata.namespace
        ));
        Flow::Stop
    })
    .await?;
    Ok(note)
}
