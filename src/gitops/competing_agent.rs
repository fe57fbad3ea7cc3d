//! Another agent in the same cluster: one that was installed before the spec asked for this one, which nobody but its owner takes away.
//!
//! May not enter: what is done about it. I/O: reads of the workload cluster's API.

use std::time::{Duration, Instant};

use kube::core::params::ListParams;
use serde::Deserialize;

use super::error::CallError;
use super::flux;
use super::input::AgentInput;
use super::list::{Go, each};
use super::workload::{Workload, locked};

/// It comes and goes by hand, so it is looked for this often.
const LOOKED_FOR: Duration = Duration::from_secs(60);

/// An agent that is not the one asked for.
struct Other {
    name: &'static str,
    kind: (&'static str, &'static str),
    namespace: Option<&'static str>,
    selector: &'static str,
}

const FLUX: Other = Other {
    name: "Flux",
    kind: ("apps/v1", "Deployment"),
    namespace: Some(flux::input::NAMESPACE),
    selector: "app.kubernetes.io/part-of=flux",
};
const ARGOCD: Other = Other {
    name: "Argo CD",
    kind: ("apps/v1", "StatefulSet"),
    namespace: None,
    selector: "app.kubernetes.io/part-of=argocd,app.kubernetes.io/component=application-controller",
};

/// A word on the other agent, for people; `None` when there is none.
pub async fn notice(workload: &Workload, input: &AgentInput) -> Result<Option<String>, CallError> {
    let other = match input {
        AgentInput::Flux(_) => ARGOCD,
        AgentInput::ArgoCd(_) => FLUX,
    };
    if let Some((name, at, found)) = &locked(&workload.memory).other
        && *name == other.name
        && at.elapsed() < LOOKED_FOR
    {
        return Ok(found.clone());
    }
    let found = look_for(workload, &other).await?;
    locked(&workload.memory).other = Some((other.name, Instant::now(), found.clone()));
    Ok(found)
}

async fn look_for(workload: &Workload, other: &Other) -> Result<Option<String>, CallError> {
    #[derive(Deserialize)]
    struct Found {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        namespace: String,
    }
    let Other { name, kind, namespace, selector } = other;
    let mut word = None;
    let parameters = ListParams::default().labels(selector);
    each(&workload.client, *kind, *namespace, &parameters, 1, |Found { metadata }| {
        let place = metadata.namespace;
        word = Some(format!(
            "{name} is installed too, in {place}, and still applies what it follows: it is left as it is; uninstall it when this \
             agent has taken over"
        ));
        Go::Enough
    })
    .await?;
    Ok(word)
}
