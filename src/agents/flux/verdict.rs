//! The GitOpsReady condition: whether Flux has applied the newest revision, and if not, why.
//!
//! Not allowed here: clients and clocks. Pure.

use jiff::{SignedDuration, Timestamp};

use super::input::{Component, NAME, NAMESPACE};
use super::observe::{FluxObject, Observation};
use super::status::revision;
use crate::agents::gitops_condition::Verdict;
use crate::agents::roll_up::{Health, short_revision};
use crate::api::conditions::Reason;

/// Evaluates the observation.
pub fn verdict(observed: &Observation, now: Timestamp) -> Verdict {
    let root = observed.kustomizations.iter().find(|kustomization| kustomization.is_root());
    let (Some(source), Some(root)) = (&observed.source, root) else {
        return Verdict::not_ready(
            Reason::Creating,
            format!("source and Kustomization {NAMESPACE}/{NAME} do not exist yet"),
        );
    };
    let wanted = match judge_source(observed, source) {
        Ok(revision) => revision,
        Err(verdict) => return verdict,
    };
    let verdict = judge_root(observed, root, wanted);
    match describe_stopped_controller(observed, now).filter(|_| verdict.ready) {
        Some(stopped) => Verdict::not_ready(
            Reason::SyncFailed,
            format!("{}, but new commits are not applied{stopped}", verdict.message),
        ),
        None => verdict,
    }
}

/// A controller that has not been ready for five minutes: without it the applied revision may be outdated.
fn describe_stopped_controller(observed: &Observation, now: Timestamp) -> Option<String> {
    const A_WHILE: SignedDuration = SignedDuration::from_mins(5);
    let needed = [Component::SourceController, Component::KustomizeController].map(Component::as_str);
    let mut stopped =
        observed.controllers.iter().filter(|controller| needed.contains(&controller.metadata.name.as_str()));
    let stopped = stopped
        .find(|controller| controller.unready_since().is_some_and(|since| now.duration_since(since) >= A_WHILE))?;
    Some(describe_unready_controller(observed, &stopped.metadata.name))
}

/// The revision that the source has fetched for its present spec.
fn judge_source<'a>(observed: &Observation, source: &'a FluxObject) -> Result<&'a str, Verdict> {
    let name = format!("{} {NAMESPACE}/{NAME}", source.kind);
    let url = source.spec.url.as_deref().unwrap_or("its URL");
    match source.health() {
        // A condition about an older generation does not count.
        Health::Failing { reason, message } if is_current(source) => {
            Err(Verdict::not_ready(Reason::SyncFailed, format!("{name}: {reason}: {message}")))
        }
        Health::Suspended => revision(source).ok_or_else(|| {
            Verdict::not_ready(Reason::Suspended, format!("{name} is suspended and has fetched nothing yet"))
        }),
        _ if source.status.observed_generation < source.metadata.generation => Err(Verdict::waiting(format!(
            "{name}: fetching {url}{}",
            describe_unready_controller(observed, "source-controller")
        ))),
        _ => revision(source).ok_or_else(|| {
            Verdict::waiting(format!(
                "{name}: fetching {url}{}",
                describe_unready_controller(observed, "source-controller")
            ))
        }),
    }
}

fn judge_root(observed: &Observation, root: &FluxObject, wanted: &str) -> Verdict {
    let name = format!("Kustomization {NAMESPACE}/{NAME}");
    let applied = root.status.last_applied_revision.as_deref();
    let progress = applied.map_or_else(
        || "nothing applied so far".to_owned(),
        |revision| format!("{} is applied", short_revision(revision)),
    );
    let up_to_date = applied == Some(wanted) && root.status.observed_generation >= root.metadata.generation;
    match root.health() {
        Health::Failing { reason, message } if is_current(root) => Verdict::not_ready(
            Reason::SyncFailed,
            format!("{name} at {}: {reason}: {message} ({progress})", short_revision(wanted)),
        ),
        Health::Suspended if !up_to_date => Verdict::not_ready(
            Reason::Suspended,
            format!("{name} is suspended and does not follow {} ({progress})", short_revision(wanted)),
        ),
        health if up_to_date => {
            let suspended = if health == Health::Suspended { "; suspended" } else { "" };
            Verdict::ready(format!("applied {wanted}{suspended}{}", describe_failures(observed)))
        }
        _ => {
            let why = root.condition("Ready").filter(|ready| ready.status == "False" && is_current(root));
            let why = why.map(|ready| format!(": {}", ready.message)).unwrap_or_default();
            Verdict::waiting(format!(
                "{name}: applying {}{why} ({progress}){}",
                short_revision(wanted),
                describe_unready_controller(observed, "kustomize-controller")
            ))
        }
    }
}

/// Whether the Ready condition is about the present generation.
fn is_current(object: &FluxObject) -> bool {
    let generation = object.condition("Ready").map_or(0, |ready| ready.observed_generation);
    generation.max(object.status.observed_generation) >= object.metadata.generation
}

/// Why a needed controller is not ready, if so.
fn describe_unready_controller(observed: &Observation, controller: &str) -> String {
    let Some(deployment) = observed.controllers.iter().find(|deployment| deployment.metadata.name == controller) else {
        return format!("; Deployment {NAMESPACE}/{controller} is missing");
    };
    if deployment.is_ready() {
        return String::new();
    }
    let why = deployment.unready_reason().map(|condition| format!(": {}", condition.message)).unwrap_or_default();
    format!("; Deployment {NAMESPACE}/{controller} has no ready pod{why}")
}

/// A note on failing objects: the revision is applied, but not everything works.
fn describe_failures(observed: &Observation) -> String {
    let below = observed.kustomizations.iter().map(|object| ("Kustomization", object));
    let below = below.chain(observed.helm_releases.iter().map(|object| ("HelmRelease", object)));
    let failing: Vec<_> = below
        .filter_map(|(kind, object)| match object.health() {
            Health::Failing { reason, .. } => {
                Some(format!("{kind} {}/{} ({reason})", object.metadata.namespace, object.metadata.name))
            }
            _ => None,
        })
        .collect();
    match failing.as_slice() {
        [] => String::new(),
        [only] => format!("; 1 object fails: {only}"),
        [first, ..] => format!("; {} objects fail, {first} among them", failing.len()),
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
