//! What of an object is copied to the other management cluster, and how far its move is. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::ResourceExt;
use serde_json::Value;

use crate::api::conditions::{self, ConditionType};
use crate::api::{AwsAccount, EksCluster, HAND_OVER_ANNOTATION, NodeGroup, RECOVER_ANNOTATION};
use crate::resources::recovery::takeover::parse_uid;

/// Annotation that records whether the object was suspended before its move.
pub const SUSPENDED_BEFORE: &str = "keelson.dev/suspended-before-move";

/// Annotation on the copy there, while its move is being undone: the UID of the object here.
pub const ABORTED: &str = "keelson.dev/aborted-move-of";

/// Annotations that apply only to the object here.
const NOT_COPIED: [&str; 7] = [
    ABORTED,
    "kubectl.kubernetes.io/last-applied-configuration",
    "keelson.dev/approve",
    "keelson.dev/release-deletion",
    "keelson.dev/reconcile-at",
    HAND_OVER_ANNOTATION,
    SUSPENDED_BEFORE,
];

/// The state of an object's move.
pub trait Moved {
    /// Whether its own spec suspends it.
    fn is_suspended(&self) -> bool;
    /// The installation to which the operator handed over its resources.
    fn handed_over_to(&self) -> Option<&String>;
    /// Whether a hand-over is on record that is not taken back.
    fn has_hand_over(&self) -> bool;
    /// The generation that its status describes.
    fn observed_generation(&self) -> Option<i64>;
    /// The UID whose resources the operator took over.
    fn recovered_from(&self) -> Option<&String>;
    /// Its Ready condition.
    fn ready_message(&self) -> Option<String>;
}

macro_rules! moved {
    ($($kind:ident),*) => {$(
        impl Moved for $kind {
            fn is_suspended(&self) -> bool {
                self.spec.suspend
            }
            fn handed_over_to(&self) -> Option<&String> {
                let done = self.status.as_ref()?.hand_over.as_ref()?;
                Some(&done.installation).filter(|_| !done.withdrawn)
            }
            fn has_hand_over(&self) -> bool {
                self.status.as_ref().is_some_and(|status| status.hand_over.is_some())
            }
            fn observed_generation(&self) -> Option<i64> {
                self.status.as_ref()?.observed_generation
            }
            fn recovered_from(&self) -> Option<&String> {
                Some(&self.status.as_ref()?.recovery.as_ref()?.owner)
            }
            fn ready_message(&self) -> Option<String> {
                ready(&self.status.as_ref()?.conditions)
            }
        }
    )*};
}

moved!(EksCluster, NodeGroup);

fn ready(all: &[Condition]) -> Option<String> {
    conditions::get(all, ConditionType::Ready).map(|ready| format!("{}: {}", ready.reason, ready.message))
}

/// Metadata of the copy.
pub fn meta(name: &str, namespace: Option<String>) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), namespace, ..ObjectMeta::default() }
}

fn meta_of<K: ResourceExt>(object: &K, takes_over: bool) -> ObjectMeta {
    let mut annotations: BTreeMap<String, String> = object.annotations().clone();
    annotations.retain(|key, _| !NOT_COPIED.contains(&key.as_str()));
    if takes_over {
        annotations.insert(RECOVER_ANNOTATION.to_owned(), object.uid().unwrap_or_default());
    }
    let labels = Some(object.labels().clone()).filter(|labels| !labels.is_empty());
    let annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    ObjectMeta { labels, annotations, ..meta(&object.name_any(), object.namespace()) }
}

/// The copy without the annotation that takes over.
pub fn without_recovery<K: ResourceExt>(mut copy: K) -> K {
    copy.annotations_mut().remove(RECOVER_ANNOTATION);
    copy
}

/// Whether the object there takes over the resources of that UID.
pub fn takes_over_from<K: ResourceExt>(there: &K, uid: &str) -> bool {
    there.annotations().get(RECOVER_ANNOTATION).is_some_and(|text| parse_uid(text) == uid)
}

fn suspended_before<K: ResourceExt>(object: &K, now: bool) -> bool {
    object.annotations().get(SUSPENDED_BEFORE).map_or(now, |before| before == "true")
}

/// The AwsAccount there.
pub fn account(here: &AwsAccount) -> AwsAccount {
    AwsAccount { metadata: meta_of(here, false), spec: here.spec.clone(), status: None }
}

/// The EksCluster there. It takes over the resources of the one here; it is suspended if that one was before the
/// move.
pub fn cluster(here: &EksCluster) -> EksCluster {
    let mut spec = here.spec.clone();
    spec.suspend = suspended_before(here, spec.suspend);
    EksCluster { metadata: meta_of(here, true), spec, status: None }
}

/// The NodeGroup there.
pub fn node_group(here: &NodeGroup) -> NodeGroup {
    NodeGroup { metadata: meta_of(here, true), spec: here.spec.clone(), status: None }
}

/// The Secret there.
pub fn secret(here: &Secret) -> Secret {
    Secret { metadata: meta_of(here, false), ..here.clone() }
}

/// Names of the Secrets that a spec references.
pub fn secrets(spec: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(spec, &mut found);
    found
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let is_reference = key == "secretRef" || key.ends_with("SecretRef");
                if let Some(name) = value.get("name").and_then(Value::as_str).filter(|_| is_reference) {
                    found.insert(name.to_owned());
                }
                collect(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_copy_takes_over_and_is_otherwise_unchanged() {
        let here: EksCluster = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
            "metadata": {
                "name": "demo", "namespace": "team", "uid": "uid-1", "resourceVersion": "7", "finalizers": ["keelson.dev/aws"],
                "labels": {"team": "a"},
                "annotations": {"note": "kept", "keelson.dev/approve": "1", SUSPENDED_BEFORE: "false", HAND_OVER_ANNOTATION: "there"},
            },
            "spec": {"region": "eu-west-1", "version": "1.34", "suspend": true},
            "status": {"version": "1.34"},
        }))
        .unwrap();
        let there = cluster(&here);
        assert!(!there.spec.suspend && there.status.is_none());
        let ObjectMeta { name, namespace, labels, annotations, uid, resource_version, finalizers, .. } = there.metadata;
        assert_eq!((name.as_deref(), namespace.as_deref()), (Some("demo"), Some("team")));
        assert_eq!((uid, resource_version, finalizers), (None, None, None));
        assert_eq!(labels.unwrap().len(), 1);
        let expected = [("keelson.dev/recover", "uid-1"), ("note", "kept")];
        let annotations = annotations.unwrap();
        assert_eq!(annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_secret_in_a_spec_is_found() {
        let spec = json!({"gitops": {"flux": {"source": {"git": {"url": "x", "secretRef": {"name": "git"},
            "proxySecretRef": {"name": "proxy"}}}, "decryption": {"secretRef": {"name": "sops"}}}},
            "accountRef": {"name": "prod"}});
        assert_eq!(secrets(&spec).into_iter().collect::<Vec<_>>(), ["git", "proxy", "sops"]);
    }
}
