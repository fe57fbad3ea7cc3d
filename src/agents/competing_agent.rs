//! Other agents, installed in the same cluster before the spec selected this one. Only their owners uninstall them.
//!
//! Not allowed here: what is done about them, and which agent. I/O: reads of the workload cluster's API.

use std::time::{Duration, Instant};

use kube::core::params::ListParams;
use serde::Deserialize;

use super::agent::{Agent, Installation};
use crate::workload::client::Workload;
use crate::workload::error::CallError;
use crate::workload::list::{ListFlow, for_each};

/// How long a result is reused: people install and uninstall agents by hand.
const RECHECK_AFTER: Duration = Duration::from_secs(60);

/// A note about the agents that the spec does not select, for the condition's message; `None` when none is installed.
pub async fn describe(
    workload: &Workload,
    agents: &[&dyn Agent],
    selected: &dyn Agent,
) -> Result<Option<String>, CallError> {
    if let Some((name, at, note)) = &workload.memory.lock().competing_agents
        && *name == selected.name()
        && at.elapsed() < RECHECK_AFTER
    {
        return Ok(note.clone());
    }
    let mut notes = Vec::new();
    for other in agents.iter().filter(|other| other.name() != selected.name()) {
        notes.extend(find(workload, *other).await?);
    }
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    workload.memory.lock().competing_agents = Some((selected.name(), Instant::now(), note.clone()));
    Ok(note)
}

async fn find(workload: &Workload, other: &dyn Agent) -> Result<Option<String>, CallError> {
    #[derive(Deserialize)]
    struct Found {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        namespace: String,
    }
    let Installation { kind, namespace, selector } = other.installation();
    let mut note = None;
    let parameters = ListParams::default().labels(selector);
    for_each(&workload.client, kind, namespace, &parameters, 1, |Found { metadata }| {
        note = Some(format!(
            "{} is installed too, in {}, and still applies its own sources: Keelson does not change it; uninstall \
             it once this agent has taken over",
            other.label(),
            metadata.namespace
        ));
        ListFlow::Stop
    })
    .await?;
    Ok(note)
}
