//! The id of this installation: it distinguishes its AWS resources from those of another management cluster. It is
//! stored in a ConfigMap in the operator's namespace, created once with a random id, so restoring it from a backup
//! restores the installation. Only `--installation-id` changes it: the stored id is always the one that runs. I/O: the
//! management cluster's API.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::apply::{MANAGER, describe_error};
use super::deadline::with_deadline;
use super::event_publisher::EventMessage;
use crate::controllers::context::Context;
use crate::controllers::recovery_requests::is_on_record;

/// Key of the id in the ConfigMap.
pub const ID: &str = "id";
/// Key of the version of the operator that leads, or led last, in the ConfigMap.
pub const VERSION: &str = "version";
/// Delay between attempts.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum length: the id is a tag value and a flag.
const MAX_LENGTH: usize = 63;

/// The sources of the id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The id from `--installation-id`.
    pub configured: Option<String>,
    /// Namespace and name of the ConfigMap; `None`: the id is not stored.
    pub configmap: Option<(String, String)>,
}

/// Validates an id.
///
/// # Errors
/// What is wrong with it, as a message.
pub fn parse(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match text {
        "" => Err("an installation id must not be empty".to_owned()),
        text if text.len() > MAX_LENGTH => Err(format!("an installation id may have at most {MAX_LENGTH} characters")),
        text if !text.chars().all(fits) => {
            Err("an installation id may only contain letters, digits and -_.".to_owned())
        }
        text => Ok(text.to_owned()),
    }
}

/// Where an id comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// It was stored, or is configured and not stored before.
    Known,
    /// A new one: none was stored or configured.
    Created,
    /// The configured one, which replaced this one in the ConfigMap.
    Replaced(String),
}

/// Loads the id, and retries until that succeeds. Nothing is reconciled before: resources created without an id could
/// be claimed by any installation. `None`: it is neither configured nor stored.
pub async fn load(ctx: &Context) -> Option<String> {
    let mut logged = false;
    loop {
        match resolve(&ctx.client, &ctx.settings.installation).await {
            Ok(loaded) => {
                if let Some((id, origin)) = &loaded {
                    announce(ctx, id, origin);
                    record_version(ctx).await;
                }
                return loaded.map(|(id, _)| id);
            }
            Err(why) if !logged => {
                tracing::warn!(why, "cannot load the installation id, so nothing is reconciled; retrying");
                logged = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Records the version of this operator, which `keelson version` shows. Nothing depends on it, so a failure is only
/// logged.
async fn record_version(ctx: &Context) {
    let Some((namespace, name)) = &ctx.settings.installation.configmap else { return };
    let api: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), namespace);
    let patch = Patch::Merge(json!({"data": {VERSION: env!("CARGO_PKG_VERSION")}}));
    let patched = with_deadline("patch configmap", api.patch(name, &PatchParams::default(), &patch)).await;
    if let Err(error) = patched {
        tracing::warn!(configmap = name, why = describe_error(&error), "cannot record the operator's version");
    }
}

/// Shows the id in metrics, and a changed one in the log and in an event of each cluster in AWS.
fn announce(ctx: &Context, id: &str, origin: &Origin) {
    ctx.metrics.installation().set(id);
    let clusters: Vec<_> = ctx.clusters.state().into_iter().filter(|cluster| is_on_record(cluster)).collect();
    let Some(why) = describe_change(id, origin).filter(|_| !clusters.is_empty()) else { return };
    tracing::warn!(id, clusters = clusters.len(), why, "the installation id changed");
    for cluster in clusters {
        ctx.events.publish(&*cluster, vec![EventMessage::normal("InstallationChanged", why.clone())]);
    }
}

/// Why the id is another one than in the tags of existing resources, and what happens to these; `None`: it is not.
fn describe_change(id: &str, origin: &Origin) -> Option<String> {
    let why = match origin {
        Origin::Known => return None,
        Origin::Created => {
            "the ConfigMap with the installation id did not exist, and --installation-id is not set".to_owned()
        }
        Origin::Replaced(stored) => format!("--installation-id replaces the stored id {stored}"),
    };
    Some(format!(
        "this installation has the new id {id}: {why}. The tag keelson.dev/installation of what the objects own in AWS is \
         corrected like any drift (docs/disaster-recovery.md)"
    ))
}

/// The id; `None`: it is neither configured nor stored.
async fn resolve(client: &Client, source: &Source) -> Result<Option<(String, Origin)>, String> {
    let Source { configured, configmap } = source;
    let Some((namespace, name)) = configmap else { return Ok(configured.clone().map(|id| (id, Origin::Known))) };
    let (stored, origin) = load_or_create(client, namespace, name, configured.as_deref()).await?;
    match configured {
        // The stored id is what `keelson recover` and `keelson move` go by, and later starts without the flag.
        Some(configured) if *configured != stored => {
            replace(client, namespace, name, &stored, configured).await?;
            tracing::warn!(configured, stored, configmap = name, "--installation-id replaces the stored id");
            Ok(Some((configured.clone(), Origin::Replaced(stored))))
        }
        _ => Ok(Some((stored, origin))),
    }
}

/// Returns the stored id. Without one, stores `configured`, or a new id.
async fn load_or_create(
    client: &Client,
    namespace: &str,
    name: &str,
    configured: Option<&str>,
) -> Result<(String, Origin), String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let read = || async {
        let found = with_deadline("get configmap", api.get_opt(name)).await.map_err(|error| describe_error(&error))?;
        let Some(found) = found else { return Ok(None) };
        let id = found.data.unwrap_or_default().remove(ID).unwrap_or_default();
        // A damaged one is never overwritten: the ConfigMap may belong to something else.
        parse(&id).map(Some).map_err(|why| format!("ConfigMap {namespace}/{name}, key {ID}: {why}"))
    };
    if let Some(id) = read().await? {
        return Ok((id, Origin::Known));
    }
    let (id, origin) = match configured {
        Some(id) => (id.to_owned(), Origin::Known),
        None => (random(), Origin::Created),
    };
    let object = ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([(ID.to_owned(), id.clone())])),
        ..ConfigMap::default()
    };
    // Its own field manager, without force: if another replica was first, the ids conflict.
    let params = PatchParams::apply(&format!("{MANAGER}-{id}"));
    match with_deadline("create configmap", api.patch(name, &params, &Patch::Apply(&object))).await {
        Ok(_) => {
            tracing::info!(id, configmap = name, "created the installation id");
            Ok((id, origin))
        }
        // Another replica was first.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let id = read().await?.ok_or_else(|| format!("ConfigMap {namespace}/{name} was just deleted"))?;
            Ok((id, Origin::Known))
        }
        Err(error) => Err(describe_error(&error)),
    }
}

/// Replaces the stored id, unless it changed since it was read.
async fn replace(client: &Client, namespace: &str, name: &str, stored: &str, by: &str) -> Result<(), String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = with_deadline("get configmap", api.get(name)).await.map_err(|error| describe_error(&error))?;
    if found.data.as_ref().and_then(|data| data.get(ID)).map(String::as_str) != Some(stored) {
        return Err(format!("ConfigMap {namespace}/{name} was just changed"));
    }
    let meta = json!({"uid": found.metadata.uid, "resourceVersion": found.metadata.resource_version});
    let patch = Patch::Merge(json!({"metadata": meta, "data": {ID: by}}));
    let replaced = with_deadline("patch configmap", api.patch(name, &PatchParams::default(), &patch)).await;
    replaced.map(drop).map_err(|error| describe_error(&error))
}

/// Generates an id. It only needs to be unique; this hasher's keys are random.
fn random() -> String {
    let part = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", part(), RandomState::new().hash_one(part()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_id_is_announced_with_its_cause() {
        assert_eq!(describe_change("new", &Origin::Known), None);
        let lost = describe_change("new", &Origin::Created).unwrap();
        assert!(lost.contains("new id new") && lost.contains("--installation-id is not set"), "{lost}");
        let replaced = describe_change("new", &Origin::Replaced("old".into())).unwrap();
        assert!(replaced.contains("replaces the stored id old"), "{replaced}");
    }

    #[test]
    fn installation_id_is_a_valid_tag_value_and_flag() {
        assert_eq!(parse("prod-eu.1"), Ok("prod-eu.1".to_owned()));
        for wrong in ["", "a b", "ä", &"x".repeat(64)] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse(&random()).is_ok());
        assert_ne!(random(), random());
    }
}
