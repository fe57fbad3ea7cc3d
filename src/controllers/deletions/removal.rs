//! Detects whether an object is deleted only because its CRD, as when the operator is uninstalled, or its namespace is
//! deleted. Then the deletion of its AWS resources may be unintended. I/O: reads of the management cluster's API.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource};

use crate::api::RELEASE_ANNOTATION;
use crate::controllers::runtime::apply::{Kind, describe_error};

/// The CRD or namespace whose deletion also deletes an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// `CustomResourceDefinition` or `Namespace`.
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// Text of its [`RELEASE_ANNOTATION`]: tokens of the deletions to release, separated by commas.
    pub(super) tokens: String,
}

impl Removal {
    /// Whether its annotation releases the deletion with `token`. In a terminating namespace, and without the CRD,
    /// nobody can create a PlanApproval, and few people may edit either of the two.
    pub fn releases(&self, token: &str) -> bool {
        self.tokens.split(',').any(|one| one.trim() == token)
    }

    /// The command that releases the deletion with `token` by an annotation of the CRD or namespace.
    pub fn instructions(&self, token: &str) -> String {
        let Self { kind, name, .. } = self;
        let kind = kind.to_lowercase();
        format!(
            "kubectl annotate {kind} {name} {RELEASE_ANNOTATION}={token} (separate several tokens by commas; \
             PlanApprovals cannot be created any more, and annotations of the object itself do not count here)"
        )
    }

    /// The message: what happened, and how to keep or delete the AWS resources.
    pub fn describe(&self) -> String {
        let Self { kind, name, .. } = self;
        let kind = if *kind == "Namespace" { "namespace" } else { kind };
        format!(
            "the {kind} {name} is being deleted, and this object with it: nothing in AWS is deleted without a release. To keep \
             what is in AWS, set spec.deletionPolicy to Retain; to delete it, release the deletion"
        )
    }
}

/// Returns the CRD or namespace of kind `K` in `namespace`, if it is being deleted. Read each time: a cache may be
/// outdated.
///
/// # Errors
/// It could not be read: nothing may be deleted.
pub async fn find<K: Kind>(client: &Client, namespace: &str) -> Result<Option<Removal>, String> {
    let name = format!("{}.{}", K::plural(&()), K::group(&()));
    match removal_of::<CustomResourceDefinition>(client, &name).await? {
        Some(removal) => Ok(Some(removal)),
        None => removal_of::<Namespace>(client, namespace).await,
    }
}

/// Returns a cluster-scoped object if it is being deleted, or does not exist.
async fn removal_of<K>(client: &Client, name: &str) -> Result<Option<Removal>, String>
where
    K: k8s_openapi::Resource + Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let found: Option<PartialObjectMeta<K>> =
        Api::<K>::all(client.clone()).get_metadata_opt(name).await.map_err(|error| {
            format!("cannot read whether {} {name} is being deleted: {}", K::kind(&()), describe_error(&error))
        })?;
    let metadata = found.map(|object| object.metadata).unwrap_or_else(deleted);
    let tokens = metadata.annotations.as_ref().and_then(|all| all.get(RELEASE_ANNOTATION)).cloned().unwrap_or_default();
    let removal = Removal { kind: <K as k8s_openapi::Resource>::KIND, name: name.to_owned(), tokens };
    Ok(metadata.deletion_timestamp.is_some().then_some(removal))
}

/// The metadata to assume for a missing object.
fn deleted() -> ObjectMeta {
    ObjectMeta { deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)), ..ObjectMeta::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_the_deleted_parent_and_both_options() {
        for (kind, name, what) in [
            ("CustomResourceDefinition", "eksclusters.keelson.dev", "CustomResourceDefinition eksclusters.keelson.dev"),
            ("Namespace", "team", "namespace team"),
        ] {
            let text = Removal { kind, name: name.into(), tokens: String::new() }.describe();
            assert!(text.contains(what) && text.contains("spec.deletionPolicy to Retain"), "{text}");
            assert!(text.ends_with("release the deletion"), "instructions follow: {text}");
        }
    }

    #[test]
    fn parent_annotation_releases_the_deletions_of_its_tokens() {
        let removal = Removal { kind: "Namespace", name: "team".into(), tokens: "1111, 2222".into() };
        for (token, released) in [("1111", true), ("2222", true), ("111", false), ("", false), ("1111, 2222", false)] {
            assert_eq!(removal.releases(token), released, "{token:?}");
        }
        let none = Removal { tokens: String::new(), ..removal.clone() };
        assert!(!none.releases("1111"));
        assert!(
            removal
                .instructions("3333")
                .starts_with("kubectl annotate namespace team keelson.dev/release-deletion=3333")
        );
    }
}
