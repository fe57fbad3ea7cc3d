//! Decides what is done about a Secret that registers a cluster. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use crate::agents::hub::{self, Marks};
use crate::controllers::cluster::owned_secret::{Version, is_claimed, version};
use crate::controllers::runtime::apply::MANAGER;

/// What to do about a Secret.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is as it should be.
    Keep,
    /// Write it; with its version if it exists.
    Write(Option<Version>),
    /// It is not this object's.
    NotOwned,
}

/// Decides about the Secret that was found, for the object with the marks `owner`.
pub fn decide(found: Option<&Secret>, owner: &Marks, wanted: &Secret) -> Decision {
    match found {
        None => Decision::Write(None),
        Some(secret) if is_claimed(secret, &owner.owner) => Decision::Write(Some(version(secret))),
        Some(secret) if !hub::is_of(&secret.metadata, owner) => Decision::NotOwned,
        Some(secret) if is_current(secret, wanted) => Decision::Keep,
        Some(secret) => Decision::Write(Some(version(secret))),
    }
}

/// Whether it has all that is wanted, and nothing that was wanted before. Labels, annotations and keys of others are theirs.
fn is_current(found: &Secret, wanted: &Secret) -> bool {
    let (found_meta, wanted_meta) = (&found.metadata, &wanted.metadata);
    is_part(found_meta.labels.as_ref(), wanted_meta.labels.as_ref())
        && is_part(found_meta.annotations.as_ref(), wanted_meta.annotations.as_ref())
        && is_part(found.data.as_ref(), wanted.data.as_ref())
        && is_all_wanted(found, "/f:metadata/f:labels", wanted_meta.labels.as_ref())
        && is_all_wanted(found, "/f:metadata/f:annotations", wanted_meta.annotations.as_ref())
}

fn is_part<T: PartialEq>(found: Option<&BTreeMap<String, T>>, wanted: Option<&BTreeMap<String, T>>) -> bool {
    wanted.into_iter().flatten().all(|(key, value)| found.and_then(|found| found.get(key)) == Some(value))
}

/// Whether what Keelson applied below `path` is still wanted.
fn is_all_wanted(found: &Secret, path: &str, wanted: Option<&BTreeMap<String, String>>) -> bool {
    let is_applied =
        |manager: Option<&str>, operation: Option<&str>| (manager, operation) == (Some(MANAGER), Some("Apply"));
    let entries = found.managed_fields().iter();
    let applied = entries.filter(|entry| is_applied(entry.manager.as_deref(), entry.operation.as_deref()));
    let fields = applied.filter_map(|entry| entry.fields_v1.as_ref()?.0.pointer(path)?.as_object());
    let mut keys = fields.flat_map(|fields| fields.keys()).filter_map(|key| key.strip_prefix("f:"));
    keys.all(|key| wanted.is_some_and(|wanted| wanted.contains_key(key)))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn marks(name: &str, owner: &str) -> Marks {
        Marks { namespace: "shop".into(), name: name.into(), owner: owner.into() }
    }

    fn demo() -> Marks {
        marks("demo", "u-1")
    }

    fn wanted() -> Secret {
        let labels = json!({
            "app.kubernetes.io/managed-by": "keelson",
            "argocd.argoproj.io/secret-type": "cluster",
            "team": "shop",
        });
        serde_json::from_value(json!({
            "metadata": {
                "name": hub::secret_name("shop", "demo"),
                "labels": labels,
                "annotations": {"keelson.dev/owner": "u-1", "keelson.dev/cluster": "shop/demo", "vpc_id": "vpc-1"},
            },
            "data": {"server": "aHR0cHM6Ly9h"},
        }))
        .unwrap()
    }

    /// As Keelson wrote it.
    fn found(change: impl FnOnce(&mut Secret)) -> Secret {
        let mut secret = wanted();
        let meta = &mut secret.metadata;
        (meta.uid, meta.resource_version) = (Some("s-1".into()), Some("7".into()));
        let labels: serde_json::Map<_, _> =
            meta.labels.iter().flatten().map(|(key, _)| (format!("f:{key}"), json!({}))).collect();
        let entry = json!({
            "manager": MANAGER,
            "operation": "Apply",
            "fieldsV1": {"f:metadata": {"f:labels": labels}},
        });
        meta.managed_fields = Some(vec![serde_json::from_value(entry).unwrap()]);
        change(&mut secret);
        secret
    }

    fn label(secret: &mut Secret, key: &str, value: &str) {
        secret.metadata.labels.as_mut().unwrap().insert(key.into(), value.into());
    }

    #[test]
    fn secret_is_written_when_it_is_missing_or_differs() {
        let rewrite = Decision::Write(Some(("s-1".to_owned(), "7".to_owned())));
        let decided = |change: fn(&mut Secret)| decide(Some(&found(change)), &demo(), &wanted());
        assert_eq!(decide(None, &demo(), &wanted()), Decision::Write(None));
        assert_eq!(decided(|_| ()), Decision::Keep);
        assert_eq!(decided(|secret| label(secret, "team", "platform")), rewrite);
        assert_eq!(decided(|secret| secret.metadata.labels = None), rewrite);
        assert_eq!(decided(|secret| drop(secret.metadata.annotations.as_mut().unwrap().remove("vpc_id"))), rewrite);
        let other_server = |secret: &mut Secret| {
            secret.data = Some([("server".to_owned(), ByteString(b"https://evil".to_vec()))].into());
        };
        assert_eq!(decided(other_server), rewrite);
    }

    #[test]
    fn what_others_add_stays_and_what_keelson_added_goes() {
        // By an administrator of the registry.
        let sharded = found(|secret| label(secret, "shard", "1"));
        assert_eq!(decide(Some(&sharded), &demo(), &wanted()), Decision::Keep);
        let mut before = wanted();
        label(&mut before, "tier", "gold");
        let fields = json!({"f:metadata": {"f:labels": {"f:team": {}, "f:tier": {}}}});
        let applied = found(|secret| {
            label(secret, "tier", "gold");
            let entry = json!({"manager": MANAGER, "operation": "Apply", "fieldsV1": fields});
            secret.metadata.managed_fields = Some(vec![serde_json::from_value(entry).unwrap()]);
        });
        assert_eq!(decide(Some(&applied), &demo(), &before), Decision::Keep);
        assert!(matches!(decide(Some(&applied), &demo(), &wanted()), Decision::Write(Some(_))));
    }

    #[test]
    fn secret_of_another_object_is_not_touched() {
        assert_eq!(decide(Some(&found(|_| ())), &marks("other", "u-2"), &wanted()), Decision::NotOwned);
        assert_eq!(decide(Some(&Secret::default()), &demo(), &wanted()), Decision::NotOwned);
        let unmarked = found(|secret| secret.metadata.annotations = None);
        assert_eq!(decide(Some(&unmarked), &demo(), &wanted()), Decision::NotOwned);
    }

    #[test]
    fn secret_of_an_earlier_object_of_this_name_is_taken_over() {
        let mut wanted = wanted();
        wanted.metadata.annotations.as_mut().unwrap().insert("keelson.dev/owner".into(), "u-2".into());
        let rewrite = Decision::Write(Some(("s-1".to_owned(), "7".to_owned())));
        assert_eq!(decide(Some(&found(|_| ())), &marks("demo", "u-2"), &wanted), rewrite);
    }
}
