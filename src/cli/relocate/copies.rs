//! What of an object is copied to the other management cluster, and how far its move is. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::ResourceExt;

use crate::api::{AwsAccount, EksCluster, HAND_OVER_ANNOTATION, NodeGroup, RECOVER_ANNOTATION};
use crate::controllers::recovery_requests::is_on_record;
use crate::controllers::runtime::apply::{self, Kind};
use crate::resources::recovery::takeover::parse_uid;

/// Annotation that records whether the object was suspended before its move. It counts only during a move
/// ([`is_moving`]): a hand-over that was withdrawn by hand leaves it behind.
pub const SUSPENDED_BEFORE: &str = "keelson.dev/suspended-before-move";

/// Annotation while a move is being undone, on the object here and on the copy there: the UID of the object here.
pub const ABORTED: &str = "keelson.dev/aborted-move-of";

/// Annotation on a copy that takes nothing over, as there was nothing in AWS: the UID of the object here.
pub const MOVED_FROM: &str = "keelson.dev/moved-from";

/// Annotations that apply only to the object here.
const NOT_COPIED: [&str; 8] = [
    ABORTED,
    MOVED_FROM,
    "kubectl.kubernetes.io/last-applied-configuration",
    "keelson.dev/approve",
    "keelson.dev/release-deletion",
    "keelson.dev/reconcile-at",
    HAND_OVER_ANNOTATION,
    SUSPENDED_BEFORE,
];

/// The state of an object's move.
pub trait MovedObject {
    /// Whether its own spec suspends it.
    fn is_suspended(&self) -> bool;
    /// The installation to which the operator handed over its resources.
    fn handed_over_to(&self) -> Option<&String>;
    /// Whether the operator handed over resources, and not nothing.
    fn handed_over_resources(&self) -> bool;
    /// Whether a hand-over is on record that is not taken back.
    fn has_hand_over(&self) -> bool;
    /// Whether the operator has recorded that it owns the cluster, or the node group, in AWS.
    fn owns_in_aws(&self) -> bool;
    /// The generation that its status describes.
    fn observed_generation(&self) -> Option<i64>;
    /// The UID whose resources the operator took over.
    fn recovered_from(&self) -> Option<&String>;
    /// Its conditions.
    fn conditions(&self) -> &[Condition];
}

macro_rules! moved {
    ($($kind:ident: $owns:expr),*) => {$(
        impl MovedObject for $kind {
            fn owns_in_aws(&self) -> bool {
                $owns(self)
            }
            fn is_suspended(&self) -> bool {
                self.spec.suspend
            }
            fn handed_over_to(&self) -> Option<&String> {
                let done = self.status.as_ref()?.hand_over.as_ref()?;
                Some(&done.installation).filter(|_| !done.withdrawn)
            }
            fn handed_over_resources(&self) -> bool {
                self.status.as_ref().and_then(|status| status.hand_over.as_ref()).is_some_and(|done| done.resources > 0)
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
            fn conditions(&self) -> &[Condition] {
                self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
            }
        }
    )*};
}

moved!(EksCluster: is_on_record, NodeGroup: has_arn);

fn has_arn(group: &NodeGroup) -> bool {
    group.status.as_ref().is_some_and(|status| status.arn.is_some())
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

/// The copy of an object with nothing in AWS: without the annotation that takes over.
pub fn without_recovery<K: ResourceExt>(mut copy: K) -> K {
    if let Some(uid) = copy.annotations_mut().remove(RECOVER_ANNOTATION) {
        copy.annotations_mut().insert(MOVED_FROM.to_owned(), uid);
    }
    copy
}

/// Whether the object there takes over the resources of that UID.
pub fn takes_over_from<K: ResourceExt>(there: &K, uid: &str) -> bool {
    there.annotations().get(RECOVER_ANNOTATION).is_some_and(|text| parse_uid(text) == uid)
}

/// Whether the object there is a copy that takes nothing over of the one here with that UID.
pub fn is_plain_copy<K: ResourceExt>(there: &K, uid: &str) -> bool {
    there.annotations().get(MOVED_FROM).is_some_and(|from| from == uid)
}

/// Whether the object there is the copy of the one here with that UID.
pub fn is_copy<K: ResourceExt + MovedObject>(there: &K, uid: &str) -> bool {
    takes_over_from(there, uid) || is_plain_copy(there, uid) || there.recovered_from().is_some_and(|from| from == uid)
}

/// Whether the object there owns something in AWS, so that removing it would leave that without an owner. Its takeover
/// may be complete before its status says so. `uid`: that of the object here.
pub fn is_taken_over<K: Kind + MovedObject>(there: &K, uid: &str) -> bool {
    // With the finalizer, a copy that takes nothing over may have created resources.
    let may_have_created = is_plain_copy(there, uid) && apply::has_finalizer(there);
    let is_aborted = there.annotations().get(ABORTED).is_some_and(|of| of == uid);
    let owns = (is_aborted || is_copy(there, uid)) && there.owns_in_aws();
    there.recovered_from().is_some_and(|from| from == uid) || owns || may_have_created
}

/// The installation to which the object here is being moved, or was.
pub fn moves_to<K: ResourceExt>(here: &K) -> Option<&str> {
    here.annotations().get(HAND_OVER_ANNOTATION).map(String::as_str)
}

/// Whether the object here is being moved, or its move is being undone.
pub fn is_moving<K: ResourceExt>(here: &K) -> bool {
    [HAND_OVER_ANNOTATION, ABORTED].iter().any(|one| here.annotations().contains_key(*one))
}

/// Whether the object here was suspended before its move; `None`: it is not being moved.
pub fn suspended_before<K: ResourceExt>(here: &K) -> Option<bool> {
    here.annotations().get(SUSPENDED_BEFORE).filter(|_| is_moving(here)).map(|before| before == "true")
}

/// Whether the account is open to the cluster, or was when the cluster was created in it.
pub fn uses_account(cluster: &EksCluster, account: &AwsAccount) -> bool {
    let made_in = cluster.status.as_ref().and_then(|status| status.account_id.as_ref());
    account.spec.allows_namespace(&cluster.namespace().unwrap_or_default()) || made_in == Some(&account.spec.account_id)
}

/// The AwsAccount there.
pub fn account(here: &AwsAccount) -> AwsAccount {
    AwsAccount { metadata: meta_of(here, false), spec: here.spec.clone(), status: None }
}

/// The EksCluster there. It takes over the resources of the one here; it is suspended if that one was before the
/// move.
pub fn cluster(here: &EksCluster) -> EksCluster {
    let mut spec = here.spec.clone();
    spec.suspend = suspended_before(here).unwrap_or(spec.suspend);
    EksCluster { metadata: meta_of(here, true), spec, status: None }
}

/// The NodeGroup there.
pub fn node_group(here: &NodeGroup) -> NodeGroup {
    NodeGroup { metadata: meta_of(here, true), spec: here.spec.clone(), status: None }
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
    fn suspension_before_the_move_counts_only_during_a_move() {
        let here = |annotations| -> EksCluster {
            serde_json::from_value(json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
                "metadata": {"name": "demo", "namespace": "team", "uid": "uid-1", "annotations": annotations},
                "spec": {"region": "eu-west-1", "version": "1.34", "suspend": true},
            }))
            .unwrap()
        };
        assert!(!cluster(&here(json!({SUSPENDED_BEFORE: "false", HAND_OVER_ANNOTATION: "there"}))).spec.suspend);
        assert_eq!(suspended_before(&here(json!({SUSPENDED_BEFORE: "false", ABORTED: "uid-1"}))), Some(false));
        // Left behind by a move that was undone by hand; the cluster was suspended since.
        let left = here(json!({SUSPENDED_BEFORE: "false"}));
        assert!(cluster(&left).spec.suspend && suspended_before(&left).is_none());
    }

    #[test]
    fn account_that_is_closed_to_a_cluster_is_not_used_by_it() {
        let account = |namespaces: &[&str]| -> AwsAccount {
            serde_json::from_value(json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "AwsAccount", "metadata": {"name": "prod"},
                "spec": {"accountId": "111122223333", "allowedNamespaces": namespaces},
            }))
            .unwrap()
        };
        let cluster = |status| -> EksCluster {
            serde_json::from_value(json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
                "metadata": {"name": "demo", "namespace": "team"},
                "spec": {"region": "eu-west-1", "version": "1.34", "accountRef": {"name": "prod"}}, "status": status,
            }))
            .unwrap()
        };
        assert!(uses_account(&cluster(json!({})), &account(&["team"])));
        assert!(!uses_account(&cluster(json!({})), &account(&["vault"])));
        assert!(uses_account(&cluster(json!({"accountId": "111122223333"})), &account(&["vault"])), "closed since");
    }

    #[test]
    fn object_there_that_owns_its_cluster_is_not_removed() {
        let there = |status| -> EksCluster {
            serde_json::from_value(json!({
                "apiVersion": "keelson.dev/v1alpha1", "kind": "EksCluster",
                "metadata": {"name": "demo", "namespace": "team", "uid": "uid-2", "finalizers": ["keelson.dev/aws"],
                             "annotations": {RECOVER_ANNOTATION: "uid-1"}},
                "spec": {"region": "eu-west-1", "version": "1.34"}, "status": status,
            }))
            .unwrap()
        };
        assert!(!is_taken_over(&there(json!({})), "uid-1"));
        let resources = |keys: &[&str]| {
            let lines: Vec<_> = keys.iter().map(|key| json!({"key": key, "id": "x"})).collect();
            json!({"resources": lines})
        };
        assert!(!is_taken_over(&there(resources(&["vpc"])), "uid-1"), "the cluster is taken over last");
        // All tags are written, and status does not say yet that the recovery is complete.
        assert!(is_taken_over(&there(resources(&["vpc", "cluster"])), "uid-1"));
    }

    #[test]
    fn copy_that_takes_nothing_over_names_the_object_here() {
        let here: NodeGroup = serde_json::from_value(json!({
            "apiVersion": "keelson.dev/v1alpha1", "kind": "NodeGroup",
            "metadata": {"name": "nodes", "namespace": "team", "uid": "uid-1", "annotations": {MOVED_FROM: "uid-0"}},
            "spec": {"clusterRef": {"name": "demo"}, "scaling": {"min": 1, "max": 1}},
        }))
        .unwrap();
        let there = without_recovery(node_group(&here));
        assert!(is_copy(&there, "uid-1") && is_plain_copy(&there, "uid-1") && !takes_over_from(&there, "uid-1"));
        let there = node_group(&here);
        assert!(is_copy(&there, "uid-1") && !is_plain_copy(&there, "uid-1") && !is_copy(&there, "uid-0"));
    }
}
