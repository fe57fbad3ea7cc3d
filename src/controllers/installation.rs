//! The id of this installation: what tells its resources in AWS from those of another management cluster. It is kept in a ConfigMap
//! of the operator's namespace, made once with a random id and never changed, so that a backup which restores it restores the
//! installation. I/O: the management cluster's API.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};

use super::apply::{MANAGER, describe_error};
use super::context::Context;
use super::deadline::answered;

/// Key of the id in the ConfigMap.
pub const ID: &str = "id";
/// When it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// An id is the value of a tag, and a flag.
const LONGEST: usize = 63;

/// Where the id is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The id, where the operator was started with one.
    pub given: Option<String>,
    /// Namespace and name of the ConfigMap; none: there is nowhere to keep it.
    pub kept_in: Option<(String, String)>,
}

/// Checks an id.
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match text {
        "" => Err("an installation id is not empty".to_owned()),
        text if text.len() > LONGEST => Err(format!("an installation id has at most {LONGEST} characters")),
        text if !text.chars().all(fits) => Err("an installation id has letters, digits, and -_. only".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// Makes the id known to `ctx`. Nothing is reconciled before: what is made without one can be claimed by any installation.
pub async fn learn(ctx: &Arc<Context>) {
    let source = &ctx.settings.installation;
    let mut quiet = false;
    loop {
        match resolve(&ctx.client, source).await {
            Ok(id) => {
                let _ = ctx.installation.set(id);
                return;
            }
            Err(why) if !quiet => {
                tracing::warn!(why, "the id of this installation is not known, so nothing is reconciled; trying on");
                quiet = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The id; `None`: there is nowhere to keep one, and none was given.
async fn resolve(client: &Client, source: &Source) -> Result<Option<String>, String> {
    let Source { given, kept_in } = source;
    let Some((namespace, name)) = kept_in else { return Ok(given.clone()) };
    let kept = keep(client, namespace, name, given.as_deref()).await;
    match (given, kept) {
        (Some(given), Ok(kept)) => {
            if kept != *given {
                tracing::warn!(
                    given,
                    kept,
                    configmap = name,
                    "--installation-id is another than the one that is kept: it counts"
                );
            }
            Ok(Some(given.clone()))
        }
        (None, Ok(kept)) => Ok(Some(kept)),
        (_, Err(why)) => Err(why),
    }
}

/// The id that is kept; where none is, `given` or a new one is kept from now on.
async fn keep(client: &Client, namespace: &str, name: &str, given: Option<&str>) -> Result<String, String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let read = || async {
        let found = answered("get configmap", api.get_opt(name)).await.map_err(|error| describe_error(&error))?;
        let Some(found) = found else { return Ok(None) };
        let id = found.data.unwrap_or_default().remove(ID).unwrap_or_default();
        // Not written over: somebody else's, or damaged.
        parse(&id).map(Some).map_err(|why| format!("ConfigMap {namespace}/{name}, key {ID}: {why}"))
    };
    if let Some(id) = read().await? {
        return Ok(id);
    }
    let id = given.map_or_else(random, str::to_owned);
    let object = ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([(ID.to_owned(), id.clone())])),
        ..ConfigMap::default()
    };
    // Of a manager of its own and without force: where another replica was first, its id is in conflict with this one.
    let params = PatchParams::apply(&format!("{MANAGER}-{id}"));
    match answered("create configmap", api.patch(name, &params, &Patch::Apply(&object))).await {
        Ok(_) => {
            tracing::info!(id, configmap = name, "this installation has an id");
            Ok(id)
        }
        // Another replica was first.
        Err(kube::Error::Api(status)) if status.code == 409 => {
            read().await?.ok_or_else(|| format!("ConfigMap {namespace}/{name} was deleted a moment ago"))
        }
        Err(error) => Err(describe_error(&error)),
    }
}

/// A new id. Only that no two are the same counts; the keys of this hasher are random.
fn random() -> String {
    let part = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", part(), RandomState::new().hash_one(part()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_a_tag_and_a_flag_can_hold() {
        assert_eq!(parse("prod-eu.1"), Ok("prod-eu.1".to_owned()));
        for wrong in ["", "a b", "ä", &"x".repeat(64)] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse(&random()).is_ok());
        assert_ne!(random(), random());
    }
}
