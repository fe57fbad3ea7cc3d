//! Whether an object is deleted only because something around it is: the definition of its kind, as when the operator is
//! uninstalled, or its namespace. Then nobody may have meant what is in AWS. I/O: reads of the management cluster's API.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource};

use crate::api::RELEASE_ANNOTATION;
use crate::controllers::apply::{Kind, describe_error};

/// What is being deleted around an object, and with it the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// `CustomResourceDefinition` or `Namespace`.
    kind: &'static str,
    name: String,
    /// Text of its [`RELEASE_ANNOTATION`]: the words of the deletions that whoever may write it releases, separated by commas.
    words: String,
}

impl Removal {
    /// Whether its annotation releases the deletion of `word`. In a namespace that terminates, and without the CRD, nobody can
    /// create a PlanApproval, and few people may write either of the two.
    pub fn releases(&self, word: &str) -> bool {
        self.words.split(',').any(|one| one.trim() == word)
    }

    /// `kubectl annotate ...`: how the deletion of `word` is released by the annotation of what is being deleted.
    pub fn instructions(&self, word: &str) -> String {
        let Self { kind, name, .. } = self;
        let kind = kind.to_lowercase();
        format!(
            "kubectl annotate {kind} {name} {RELEASE_ANNOTATION}={word} (several words are separated by commas; \
             PlanApprovals cannot be created any more, and annotations of the object itself do not count here)"
        )
    }

    /// For people: what happened, and how to do either of what they may have meant.
    pub fn describe(&self) -> String {
        let Self { kind, name, .. } = self;
        let kind = if *kind == "Namespace" { "namespace" } else { kind };
        format!(
            "the {kind} {name} is being deleted, and this object with it: nothing in AWS is deleted without a release. To keep \
             what is in AWS, set spec.deletionPolicy to Retain; to delete it, release the deletion"
        )
    }
}

/// What is being deleted around an object of kind `K` in `namespace`. Asked anew each time: no cache is told in time.
///
/// # Errors
/// Why it cannot be told: then nothing may be deleted.
pub async fn find<K: Kind>(client: &Client, namespace: &str) -> Result<Option<Removal>, String> {
    let name = format!("{}.{}", K::plural(&()), K::group(&()));
    match removal_of::<CustomResourceDefinition>(client, &name).await? {
        Some(removal) => Ok(Some(removal)),
        None => removal_of::<Namespace>(client, namespace).await,
    }
}

/// The removal of the object, cluster-scoped, if it is marked for deletion, or gone already.
async fn removal_of<K>(client: &Client, name: &str) -> Result<Option<Removal>, String>
where
    K: k8s_openapi::Resource + Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let found: Option<PartialObjectMeta<K>> =
        Api::<K>::all(client.clone()).get_metadata_opt(name).await.map_err(|error| {
            format!("whether {} {name} is being deleted cannot be read: {}", K::kind(&()), describe_error(&error))
        })?;
    let metadata = found.map(|object| object.metadata).unwrap_or_else(deleted);
    let words = metadata.annotations.as_ref().and_then(|all| all.get(RELEASE_ANNOTATION)).cloned().unwrap_or_default();
    let removal = Removal { kind: <K as k8s_openapi::Resource>::KIND, name: name.to_owned(), words };
    Ok(metadata.deletion_timestamp.is_some().then_some(removal))
}

/// Of an object that is gone.
fn deleted() -> ObjectMeta {
    ObjectMeta { deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)), ..ObjectMeta::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_is_deleted_and_both_ways_on() {
        for (kind, name, what) in [
            ("CustomResourceDefinition", "eksclusters.keelson.dev", "CustomResourceDefinition eksclusters.keelson.dev"),
            ("Namespace", "team", "namespace team"),
        ] {
            let text = Removal { kind, name: name.into(), words: String::new() }.describe();
            assert!(text.contains(what) && text.contains("spec.deletionPolicy to Retain"), "{text}");
            assert!(text.ends_with("release the deletion"), "how that is done is said behind it: {text}");
        }
    }

    #[test]
    fn an_annotation_of_what_is_deleted_releases_the_deletions_whose_words_it_holds() {
        let removal = Removal { kind: "Namespace", name: "team".into(), words: "1111, 2222".into() };
        for (word, released) in [("1111", true), ("2222", true), ("111", false), ("", false), ("1111, 2222", false)] {
            assert_eq!(removal.releases(word), released, "{word:?}");
        }
        let none = Removal { words: String::new(), ..removal.clone() };
        assert!(!none.releases("1111"));
        assert!(
            removal
                .instructions("3333")
                .starts_with("kubectl annotate namespace team keelson.dev/release-deletion=3333")
        );
    }
}
