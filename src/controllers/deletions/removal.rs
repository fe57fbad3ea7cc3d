//! Whether an object is deleted only because something around it is: the definition of its kind, as when the operator is
//! uninstalled, or its namespace. Then nobody may have meant what is in AWS. I/O: reads of the management cluster's API.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource};

use crate::controllers::apply::{Kind, told};

/// What is being deleted around an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The CustomResourceDefinition of its kind, by name.
    Definition(String),
    /// Its namespace, by name.
    Namespace(String),
}

impl Removal {
    /// For people: what happened, and how both what they may have meant is done.
    pub fn describe(&self) -> String {
        let what = match self {
            Self::Definition(name) => format!("the CustomResourceDefinition {name} is being deleted"),
            Self::Namespace(name) => format!("the namespace {name} is being deleted"),
        };
        format!(
            "{what}, and this object with it: nothing in AWS is deleted without a release. To keep what is in AWS, set \
             spec.deletionPolicy to Retain; to delete it, release the deletion"
        )
    }
}

/// What is being deleted around an object of kind `K` in `namespace`. Asked anew each time: no cache is told in time.
///
/// # Errors
/// Why it cannot be told: then nothing may be deleted.
pub async fn find<K: Kind>(client: &Client, namespace: &str) -> Result<Option<Removal>, String> {
    let name = format!("{}.{}", K::plural(&()), K::group(&()));
    if is_going::<CustomResourceDefinition>(client, &name).await? {
        return Ok(Some(Removal::Definition(name)));
    }
    let going = is_going::<Namespace>(client, namespace).await?;
    Ok(going.then(|| Removal::Namespace(namespace.to_owned())))
}

/// Whether the object, cluster-scoped, is marked for deletion, or gone already.
async fn is_going<K>(client: &Client, name: &str) -> Result<bool, String>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let found: Option<PartialObjectMeta<K>> =
        Api::<K>::all(client.clone()).get_metadata_opt(name).await.map_err(|error| {
            format!("whether {} {name} is being deleted cannot be read: {}", K::kind(&()), told(&error))
        })?;
    Ok(found.is_none_or(|object| object.metadata.deletion_timestamp.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_is_deleted_and_both_ways_on() {
        for (removal, what) in [
            (Removal::Definition("eksclusters.keelson.dev".into()), "CustomResourceDefinition eksclusters.keelson.dev"),
            (Removal::Namespace("team".into()), "namespace team"),
        ] {
            let text = removal.describe();
            assert!(text.contains(what) && text.contains("spec.deletionPolicy to Retain"), "{text}");
            assert!(text.ends_with("release the deletion"), "how that is done is said behind it: {text}");
        }
    }
}
