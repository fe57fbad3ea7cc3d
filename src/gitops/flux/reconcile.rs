//! One pass over one cluster: apply what is missing, read how it fares, say when to look again.
//!
//! May not enter: waiting. What takes time is looked at again. I/O: by `apply` and `observe`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::apply::{self, Outcome, Tenure};
use super::input::{FluxInput, VERSION};
use super::manifests::{self, Phase};
use super::memory::Install;
use super::object::{Object, ObjectId};
use super::observe::{self, Seen};
use super::status::roll_up;
use super::sync;
use super::verdict::{Verdict, verdict};
use crate::api::conditions::Reason;
use crate::api::status::GitOpsStatus;
use crate::gitops::error::{CallError, GitOpsError, NotApplied, Unreachable};
use crate::gitops::workload::{Workload, locked};

/// Objects of one cluster that are applied side by side: each is parsed when its turn comes.
const SIDE_BY_SIDE: usize = 6;
/// A pass that takes longer is given up; its calls have timeouts of their own, but there are many.
const LONGEST_PASS: Duration = Duration::from_secs(60);

/// What a pass came to.
#[derive(Debug, Clone)]
pub struct GitOpsOutcome {
    /// For `status.gitops`; `None` while nothing is installed that could be asked.
    pub status: Option<GitOpsStatus>,
    /// For the GitOpsReady condition.
    pub verdict: Verdict,
    /// What was created or changed in the cluster, for an event.
    pub changed: Vec<ObjectId>,
    pub look_again: Duration,
}

/// What applying came to, over all objects.
#[derive(Default)]
struct Applied {
    changed: Vec<ObjectId>,
    failed: Vec<NotApplied>,
}

/// Brings the agent to what `input` says and reads how it fares. Costs about eight small reads when nothing changed.
pub async fn reconcile(workload: &Workload, input: &FluxInput) -> Result<GitOpsOutcome, GitOpsError> {
    let pass = tokio::time::timeout(LONGEST_PASS, pass(workload, input)).await;
    match pass.unwrap_or(Err(CallError::Unreachable(Unreachable::Timeout))) {
        Ok(outcome) => {
            workload.reached();
            Ok(outcome)
        }
        Err(error) => Err(workload.failed(error)),
    }
}

async fn pass(workload: &Workload, input: &FluxInput) -> Result<GitOpsOutcome, CallError> {
    let mut applied = Applied::default();
    let everything = !locked(&workload.memory).installed(install_key(input), Instant::now());
    if let Some(missing) = install(workload, input, &mut applied).await? {
        return Ok(installing(applied, &missing));
    }
    let ours = sync::ours(input);
    each(workload, ours.iter().cloned(), Tenure::ForGood, &mut applied).await?;
    // The source before what refers to it: kustomize-controller calls a missing source a failure.
    for seed in sync::seeds(input) {
        each(workload, [seed].into_iter(), Tenure::UntilAdopted, &mut applied).await?;
    }
    if everything || !applied.changed.is_empty() {
        applied.changed.extend(apply::prune_secrets(&workload.client, &ours).await?);
    }
    let seen = observe::observe(&workload.client).await?;
    if lacks_a_controller(&seen, input) {
        locked(&workload.memory).install = Install::Nothing;
    }
    let verdict = verdict(&seen, &applied.failed);
    let now = Timestamp::now();
    let look_again = look_again(&verdict, &seen, input, now);
    Ok(GitOpsOutcome { status: Some(roll_up(&seen, now)), verdict, changed: applied.changed, look_again })
}

/// Applies the install manifests. What is still missing before the sync objects can be applied, if anything.
async fn install(workload: &Workload, input: &FluxInput, applied: &mut Applied) -> Result<Option<String>, CallError> {
    let key = install_key(input);
    if locked(&workload.memory).installed(key, Instant::now()) {
        return Ok(None);
    }
    let Ok(_permit) = workload.installs.try_acquire() else {
        return Ok(Some("other clusters' installs, which go first".into()));
    };
    let pending = match &locked(&workload.memory).install {
        Install::Definitions { key: begun, pending } if *begun == key => Some(pending.clone()),
        _ => None,
    };
    let pending = match pending {
        Some(pending) => pending,
        None => {
            each(workload, manifests::objects(input, Phase::Namespace), Tenure::UntilAdopted, applied).await?;
            each(workload, manifests::objects(input, Phase::Definitions), Tenure::UntilAdopted, applied).await?;
            manifests::objects(input, Phase::Definitions).map(|definition| definition.id).collect()
        }
    };
    if !applied.failed.is_empty() {
        return Ok(Some("what was refused".into()));
    }
    let pending = not_established(workload, pending).await?;
    let waits_for = pending.first().map(ToString::to_string);
    locked(&workload.memory).install = Install::Definitions { key, pending };
    if waits_for.is_some() {
        return Ok(waits_for);
    }
    each(workload, manifests::objects(input, Phase::Agent), Tenure::UntilAdopted, applied).await?;
    if applied.failed.is_empty() {
        let mut memory = locked(&workload.memory);
        memory.install = Install::Done { key, at: Instant::now() };
        // Their digests are no longer asked for: the key stands for them all.
        memory.objects.retain(|id, _| !is_manifest(id));
    }
    Ok(None)
}

/// Whether an object came from the install manifests, and not from `sync`.
fn is_manifest(id: &ObjectId) -> bool {
    !matches!(id.kind.as_str(), "Secret" | "ConfigMap" | "GitRepository" | "Kustomization")
}

/// Differs when other manifests would be applied.
fn install_key(input: &FluxInput) -> u64 {
    let mut hasher = DefaultHasher::new();
    let pull_secret = input.image_pull_secret.as_ref().map(|secret| &secret.name);
    (VERSION, &input.components, &input.registry, pull_secret).hash(&mut hasher);
    hasher.finish()
}

async fn not_established(workload: &Workload, definitions: Vec<ObjectId>) -> Result<Vec<ObjectId>, CallError> {
    stream::iter(definitions)
        .map(|id| async move {
            match apply::established(&workload.client, &id).await {
                Ok(true) => Ok(None),
                // Gone again: it is applied once more when the pass begins anew.
                Ok(false) | Err(CallError::NotFound) => Ok(Some(id)),
                Err(other) => Err(other),
            }
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .try_filter_map(|pending| async move { Ok(pending) })
        .try_collect()
        .await
}

/// Applies objects side by side. One that is not taken does not hold up the others; a cluster that is out of reach does.
async fn each(
    workload: &Workload,
    objects: impl Iterator<Item = Object> + Send,
    tenure: Tenure,
    applied: &mut Applied,
) -> Result<(), CallError> {
    let mut results = stream::iter(objects)
        .map(|object| async move {
            let result = apply::ensure(&workload.client, &workload.memory, &object, tenure).await;
            (object.id, result)
        })
        .buffer_unordered(SIDE_BY_SIDE);
    while let Some((object, result)) = results.next().await {
        let why = match result {
            Ok(Outcome::Created | Outcome::Configured) => {
                applied.changed.push(object);
                continue;
            }
            Ok(Outcome::Unchanged | Outcome::Adopted) => continue,
            Err(error @ (CallError::Unreachable(_) | CallError::Denied { unauthenticated: true, .. })) => {
                return Err(error);
            }
            Err(CallError::Denied { message, .. }) => message,
            Err(CallError::Refused(message)) => message,
            Err(CallError::NotFound) => "its kind is not served, or its namespace is gone".into(),
            Err(CallError::Conflict) => "something else keeps writing it".into(),
        };
        applied.failed.push(NotApplied { object, why });
    }
    applied.changed.sort();
    Ok(())
}

fn installing(applied: Applied, missing: &str) -> GitOpsOutcome {
    let (verdict, look_again) = if applied.failed.is_empty() {
        (Verdict::not_ready(Reason::Creating, format!("installing Flux {VERSION}: waiting for {missing}")), 1)
    } else {
        (verdict(&Seen::default(), &applied.failed), 15)
    };
    GitOpsOutcome { status: None, verdict, changed: applied.changed, look_again: Duration::from_secs(look_again) }
}

/// A controller that someone deleted is put back now, not when everything is applied again anyway.
fn lacks_a_controller(seen: &Seen, input: &FluxInput) -> bool {
    input
        .components
        .iter()
        .any(|component| !seen.controllers.iter().any(|found| found.metadata.name == component.as_str()))
}

/// Often while something is under way, less often the longer it takes, and as often as the source itself is asked when all is well.
fn look_again(verdict: &Verdict, seen: &Seen, input: &FluxInput, now: Timestamp) -> Duration {
    let since = seen.source.as_ref().and_then(|source| source.metadata.creation_timestamp);
    let age = since.map_or(0, |since| now.duration_since(since).as_secs());
    let seconds = match verdict.reason {
        _ if verdict.ready => input.source.interval.as_secs().clamp(10, 60),
        Reason::SyncFailed | Reason::Suspended => 15,
        // The agent starts and fetches within seconds.
        _ if age < 15 => 1,
        _ if age < 120 => 2,
        // A new commit being applied in a cluster of long standing, or one that never comes up.
        _ => 5,
    };
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gitops::flux::fixture;
    use crate::gitops::flux::input::Component;
    use crate::gitops::flux::observe::FluxObject;

    #[test]
    fn only_what_changes_the_manifests_changes_their_key() {
        let key = install_key(&fixture::input());
        assert_ne!(install_key(&fixture::full_input()), key);
        let mut input = fixture::input();
        input.path = "clusters/other".into();
        input.facts = fixture::full_input().facts;
        assert_eq!(install_key(&input), key);
        input.components.remove(&Component::HelmController);
        assert_ne!(install_key(&input), key);
    }

    #[test]
    fn a_deleted_controller_is_missed() {
        let controllers = Component::ALL.map(|component| {
            serde_json::from_value(serde_json::json!({"metadata": {"name": component.as_str()}})).unwrap()
        });
        let mut seen = Seen { controllers: controllers.into(), ..Seen::default() };
        assert!(!lacks_a_controller(&seen, &fixture::input()));
        seen.controllers.pop();
        assert!(lacks_a_controller(&seen, &fixture::input()));
    }

    #[test]
    fn it_is_looked_at_often_while_under_way_and_rarely_at_rest() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let aged = |seconds: i64| {
            let mut source = FluxObject::default();
            source.metadata.creation_timestamp = Some(now - jiff::SignedDuration::from_secs(seconds));
            Seen { source: Some(source), ..Seen::default() }
        };
        let input = fixture::input();
        let after = |reason, ready, age| {
            look_again(&Verdict { ready, reason, message: String::new() }, &aged(age), &input, now).as_secs()
        };
        assert_eq!(after(Reason::WaitingForSync, false, 10), 1);
        assert_eq!(after(Reason::WaitingForSync, false, 60), 2);
        assert_eq!(after(Reason::WaitingForSync, false, 1000), 5);
        assert_eq!(after(Reason::SyncFailed, false, 10), 15);
        assert_eq!(after(Reason::Available, true, 10), 60);
    }

    #[test]
    fn a_source_asked_more_often_is_looked_at_more_often() {
        let mut input = fixture::input();
        input.source.interval = Duration::from_secs(15);
        let ready = Verdict { ready: true, reason: Reason::Available, message: String::new() };
        assert_eq!(look_again(&ready, &Seen::default(), &input, Timestamp::now()).as_secs(), 15);
    }
}
