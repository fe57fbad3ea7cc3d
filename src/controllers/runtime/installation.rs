//! The id of this installation: it distinguishes its AWS resources from those of another management cluster. It is
//! stored in a ConfigMap in the operator's namespace, created once with a random id and never changed, so restoring it
//! from a backup restores the installation. I/O: the management cluster's API.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};

use super::apply::{MANAGER, describe_error};
use super::deadline::with_deadline;

/// Key of the id in the ConfigMap.
pub const ID: &str = "id";
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

/// Loads the id, and retries until that succeeds. Nothing is reconciled before: resources created without an id could
/// be claimed by any installation. `None`: it is neither configured nor stored.
pub async fn load(client: &Client, source: &Source) -> Option<String> {
    let mut logged = false;
    loop {
        match resolve(client, source).await {
            Ok(id) => return id,
            Err(why) if !logged => {
                tracing::warn!(why, "cannot load the installation id, so nothing is reconciled; retrying");
                logged = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// The id; `None`: it is neither configured nor stored.
async fn resolve(client: &Client, source: &Source) -> Result<Option<String>, String> {
    let Source { configured, configmap } = source;
    let Some((namespace, name)) = configmap else { return Ok(configured.clone()) };
    let stored = load_or_create(client, namespace, name, configured.as_deref()).await;
    match (configured, stored) {
        (Some(configured), Ok(stored)) => {
            if stored != *configured {
                tracing::warn!(
                    configured,
                    stored,
                    configmap = name,
                    "--installation-id differs from the stored id: the flag takes precedence"
                );
            }
            Ok(Some(configured.clone()))
        }
        (None, Ok(stored)) => Ok(Some(stored)),
        (_, Err(why)) => Err(why),
    }
}

/// Returns the stored id. Without one, stores `configured`, or a new id.
async fn load_or_create(
    client: &Client,
    namespace: &str,
    name: &str,
    configured: Option<&str>,
) -> Result<String, String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let read = || async {
        let found = with_deadline("get configmap", api.get_opt(name)).await.map_err(|error| describe_error(&error))?;
        let Some(found) = found else { return Ok(None) };
        let id = found.data.unwrap_or_default().remove(ID).unwrap_or_default();
        // Never overwritten: it may belong to something else, or be damaged.
        parse(&id).map(Some).map_err(|why| format!("ConfigMap {namespace}/{name}, key {ID}: {why}"))
    };
    if let Some(id) = read().await? {
        return Ok(id);
    }
    let id = configured.map_or_else(random, str::to_owned);
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
            Ok(id)
        }
        // Another replica was first.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            read().await?.ok_or_else(|| format!("ConfigMap {namespace}/{name} was just deleted"))
        }
        Err(error) => Err(describe_error(&error)),
    }
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
    fn installation_id_is_a_valid_tag_value_and_flag() {
        assert_eq!(parse("prod-eu.1"), Ok("prod-eu.1".to_owned()));
        for wrong in ["", "a b", "ä", &"x".repeat(64)] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse(&random()).is_ok());
        assert_ne!(random(), random());
    }
}
