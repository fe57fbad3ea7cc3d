//! Handles objects that cannot be decoded: they are reported in their own status, counted, logged once, and block what
//! depends on their absence. Such an object is not in its kind's store, so it is not reconciled, and must not be
//! treated as deleted. I/O: the management cluster's API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::sync::Notify;

use super::apply::{self, Kind};
use super::decode::Unreadable;
use super::leader::Leadership;
use crate::api::account::DEFAULT_ACCOUNT;
use crate::api::{EksCluster, NodeGroup, Reason};
use crate::aws::WriteGate;
use crate::controllers::status::conditions::{ConditionValue, Conditions, Overall};
use crate::telemetry::Metrics;

/// Field manager of these conditions: separate, so that no other status field is dropped.
const MANAGER: &str = "keelson-unreadable";
/// Retry interval for a failed status write.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Kind, namespace, name.
type Id = (&'static str, String, String);

struct Entry {
    object: Unreadable,
    api_version: String,
    kind: String,
    url: String,
    reported: bool,
}

/// The objects that cannot be decoded.
#[derive(Default)]
pub struct Unreadables {
    all: Mutex<BTreeMap<Id, Entry>>,
    changed: Notify,
    metrics: Metrics,
}

fn id<K: Kind>(namespace: Option<&str>, name: &str) -> Id {
    (K::NAME, namespace.unwrap_or_default().to_owned(), name.to_owned())
}

impl Unreadables {
    /// No objects yet; they are counted in `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// Records an object that cannot be decoded, and logs it if it is new.
    pub fn record<K: Kind>(&self, object: &Unreadable) {
        if self.insert::<K>(object) {
            let meta = &object.meta;
            let (namespace, name) =
                (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
            tracing::warn!(
                kind = K::NAME,
                namespace,
                name,
                reason = object.reason,
                "an object cannot be read and is not reconciled; other objects are not affected"
            );
        }
        self.metrics.reconcile().set_unreadable(K::NAME, self.count::<K>());
    }

    /// Removes an object that is readable again, or deleted.
    pub fn clear<K: Kind>(&self, namespace: Option<&str>, name: &str) {
        if self.remove::<K>(namespace, name) {
            self.metrics.reconcile().set_unreadable(K::NAME, self.count::<K>());
        }
    }

    /// Records an object. Returns whether it is new or has changed.
    pub fn insert<K: Kind>(&self, object: &Unreadable) -> bool {
        let namespace = object.meta.namespace.as_deref();
        let id = id::<K>(namespace, object.meta.name.as_deref().unwrap_or_default());
        let mut all = self.all.lock();
        let same = |known: &Unreadable| known.meta.uid == object.meta.uid && known.reason == object.reason;
        let is_known = all
            .get(&id)
            .is_some_and(|entry| same(&entry.object) && entry.object.meta.generation == object.meta.generation);
        let entry = Entry {
            object: object.clone(),
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            url: K::url_path(&(), namespace),
            reported: is_known && all.get(&id).is_some_and(|entry| entry.reported),
        };
        all.insert(id, entry);
        drop(all);
        if !is_known {
            self.changed.notify_one();
        }
        !is_known
    }

    /// Removes an object that is readable again, or deleted. Returns whether it was recorded.
    pub fn remove<K: Kind>(&self, namespace: Option<&str>, name: &str) -> bool {
        self.all.lock().remove(&id::<K>(namespace, name)).is_some()
    }

    /// Why an object cannot be decoded, if so.
    pub fn reason<K: Kind>(&self, namespace: Option<&str>, name: &str) -> Option<String> {
        self.all.lock().get(&id::<K>(namespace, name)).map(|entry| entry.object.reason.clone())
    }

    /// The number of recorded objects of a kind.
    pub fn count<K: Kind>(&self) -> usize {
        self.all.lock().keys().filter(|(kind, ..)| *kind == K::NAME).count()
    }

    /// The names of the recorded objects of a kind.
    pub fn names<K: Kind>(&self) -> Vec<String> {
        self.all.lock().keys().filter(|(kind, ..)| *kind == K::NAME).map(|(_, _, name)| name.clone()).collect()
    }

    /// Whether an object with that UID, of any kind, is recorded.
    pub fn has_uid(&self, uid: &str) -> bool {
        self.all.lock().values().any(|entry| entry.object.meta.uid.as_deref() == Some(uid))
    }

    /// Whether the EksCluster with that UID is recorded.
    pub fn has_cluster(&self, uid: &str) -> bool {
        let all = self.all.lock();
        all.iter().any(|((kind, ..), entry)| *kind == EksCluster::NAME && entry.object.meta.uid.as_deref() == Some(uid))
    }

    /// EksClusters that may own AWS resources and use that account, explicitly or by default. `allows`: whether a
    /// namespace may use the account; a finalizer in another namespace proves nothing.
    pub fn clusters_of(&self, account: &str, allows: impl Fn(&str) -> bool) -> Vec<String> {
        let all = self.all.lock();
        let uses_account = |object: &Unreadable| object.account.as_deref().unwrap_or(DEFAULT_ACCOUNT) == account;
        let may_own_resources =
            |namespace: &str, object: &Unreadable| object.in_aws || allows(namespace) && has_finalizer(object);
        all.iter()
            .filter(|((kind, namespace, _), Entry { object, .. })| {
                *kind == EksCluster::NAME && uses_account(object) && may_own_resources(namespace, object)
            })
            .map(|((_, namespace, name), _)| format!("{namespace}/{name} (unreadable)"))
            .collect()
    }

    /// NodeGroups that belong, or may belong, to a cluster and may own AWS resources: status says so, or they have
    /// Keelson's finalizer, which affects only their own namespace.
    pub fn node_groups_of(&self, namespace: &str, cluster: &str) -> Vec<String> {
        let all = self.all.lock();
        let may_belong = |object: &Unreadable| object.cluster.as_deref().is_none_or(|name| name == cluster);
        all.iter()
            .filter(|((kind, object_namespace, _), entry)| {
                let object = &entry.object;
                let may_own_resources = object.in_aws || has_finalizer(object);
                *kind == NodeGroup::NAME && object_namespace == namespace && may_belong(object) && may_own_resources
            })
            .map(|((_, _, name), entry)| format!("NodeGroup {name} (unreadable: {})", entry.object.reason))
            .collect()
    }

    fn due(&self) -> Vec<(Id, Unreadable, String, serde_json::Value)> {
        let all = self.all.lock();
        let due = all.iter().filter(|(_, entry)| !entry.reported);
        due.map(|(id, entry)| (id.clone(), entry.object.clone(), entry.url.clone(), entry.body())).collect()
    }

    fn reported(&self, id: &Id, object: &Unreadable) {
        if let Some(entry) = self.all.lock().get_mut(id).filter(|entry| entry.object.reason == object.reason) {
            entry.reported = true;
        }
    }
}

impl Entry {
    /// The status patch that reports the object as unreadable.
    fn body(&self) -> serde_json::Value {
        let (meta, now) = (&self.object.meta, Timestamp::now());
        let mut conditions = Conditions::from(&self.object.conditions, meta.generation, &now);
        let message = format!(
            "the object cannot be read and is not reconciled: {}. Its AWS resources stay unchanged until you correct it",
            self.object.reason
        );
        conditions.overall(&Overall::Stalled(ConditionValue::false_(Reason::InvalidSpec, message)));
        let mut conditions = conditions.into_all();
        conditions.retain(|condition| matches!(condition.type_.as_str(), "Ready" | "Reconciling" | "Stalled"));
        json!({
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": {"name": meta.name, "uid": meta.uid},
            "status": {"observedGeneration": meta.generation, "conditions": conditions},
        })
    }
}

/// Reports unreadable objects in their status, while this process leads.
pub async fn report(unreadable: Arc<Unreadables>, client: Client, gate: Arc<Leadership>) {
    loop {
        for (id, object, url, body) in unreadable.due() {
            if !gate.may_write() {
                break;
            }
            match write(&client, &url, &object, &body).await {
                Ok(()) => unreadable.reported(&id, &object),
                // Deleted or replaced: the watch will report it.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => unreadable.reported(&id, &object),
                Err(error) => {
                    let (kind, namespace, name) = id;
                    tracing::warn!(kind, namespace, name, error = %apply::describe_error(&error), "failed to write the status of an unreadable object; Keelson will retry");
                }
            }
        }
        let pending = !unreadable.due().is_empty();
        let pause = if pending { RETRY_INTERVAL } else { Duration::MAX };
        let _ = tokio::time::timeout(pause, unreadable.changed.notified()).await;
    }
}

/// Requests only metadata in the response: the object itself cannot be parsed.
async fn write(client: &Client, url: &str, object: &Unreadable, body: &serde_json::Value) -> Result<(), kube::Error> {
    let name = object.meta.name.clone().unwrap_or_default();
    let params = PatchParams::apply(MANAGER).force();
    let mut request = Request::new(url)
        .patch_subresource("status", &name, &params, &Patch::Apply(body))
        .map_err(kube::Error::BuildRequest)?;
    request.headers_mut().insert(http::header::ACCEPT, http::HeaderValue::from_static(apply::METADATA_ONLY));
    client.request::<IgnoredAny>(request).await.map(drop)
}

/// Whether the object has Keelson's finalizer.
fn has_finalizer(object: &Unreadable) -> bool {
    object.meta.finalizers.iter().flatten().any(|one| one == crate::api::FINALIZER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, cluster: Option<&str>, finalizer: bool) -> Unreadable {
        let mut object =
            Unreadable { reason: "bad".into(), cluster: cluster.map(str::to_owned), ..Unreadable::default() };
        object.meta.name = Some(name.to_owned());
        object.meta.namespace = Some("team".to_owned());
        object.meta.uid = Some(name.to_owned());
        object.meta.finalizers = finalizer.then(|| vec![crate::api::FINALIZER.to_owned()]);
        object
    }

    #[test]
    fn unreadable_node_group_blocks_the_deletion_of_its_cluster() {
        let all = Unreadables::default();
        for object in [
            object("of-demo", Some("demo"), true),
            object("of-other", Some("other"), true),
            object("of-any", None, true),
            object("empty", Some("demo"), false),
        ] {
            assert!(all.insert::<NodeGroup>(&object));
        }
        let may_own_resources = all.node_groups_of("team", "demo");
        assert_eq!(may_own_resources.len(), 2);
        assert!(
            may_own_resources[0].contains("of-any") && may_own_resources[1].contains("of-demo (unreadable: bad)"),
            "{may_own_resources:?}"
        );
        assert!(all.node_groups_of("elsewhere", "demo").is_empty());
        assert!(all.remove::<NodeGroup>(Some("team"), "of-demo") && !all.remove::<NodeGroup>(Some("team"), "of-demo"));
    }

    #[test]
    fn unreadable_cluster_that_may_own_resources_blocks_the_deletion_of_its_account() {
        let all = Unreadables::default();
        let of = |name: &str, account: Option<&str>, finalizer: bool| Unreadable {
            account: account.map(str::to_owned),
            ..object(name, None, finalizer)
        };
        all.insert::<EksCluster>(&of("made", Some("prod"), true));
        all.insert::<EksCluster>(&of("new", Some("prod"), false));
        all.insert::<EksCluster>(&of("of-default", None, true));
        all.insert::<NodeGroup>(&of("group", None, true));
        let is_allowed = |namespace: &str| namespace == "team";
        assert_eq!(all.clusters_of("prod", is_allowed), ["team/made (unreadable)"]);
        assert_eq!(all.clusters_of("default", is_allowed), ["team/of-default (unreadable)"]);
        assert!(all.clusters_of("other", is_allowed).is_empty());
    }

    #[test]
    fn finalizer_counts_only_in_allowed_namespaces_and_status_always() {
        let all = Unreadables::default();
        let of = |name: &str, finalizer: bool, in_aws: bool| Unreadable { in_aws, ..object(name, None, finalizer) };
        all.insert::<EksCluster>(&of("written-by-a-tenant", true, false));
        all.insert::<EksCluster>(&of("finalizer-removed", false, true));
        all.insert::<NodeGroup>(&of("nodes", false, true));
        assert_eq!(all.clusters_of("default", |_| false), ["team/finalizer-removed (unreadable)"]);
        assert_eq!(all.node_groups_of("team", "demo").len(), 1, "counts without its finalizer");
    }

    #[test]
    fn unreadable_object_is_reported_once_per_edit() {
        let all = Unreadables::default();
        let mut cluster = object("a", None, false);
        assert!(all.insert::<EksCluster>(&cluster) && all.has_cluster("a"));
        let (id, known, ..) = all.due().remove(0);
        all.reported(&id, &known);
        assert!(!all.insert::<EksCluster>(&cluster) && all.due().is_empty());
        cluster.meta.generation = Some(2);
        assert!(all.insert::<EksCluster>(&cluster) && all.due().len() == 1);
        assert_eq!(all.reason::<EksCluster>(Some("team"), "a").as_deref(), Some("bad"));
    }

    #[test]
    fn status_patch_of_an_unreadable_object_sets_only_its_conditions() {
        let all = Unreadables::default();
        all.insert::<EksCluster>(&object("a", None, false));
        let (_, _, url, body) = all.due().remove(0);
        assert_eq!(url, "/apis/keelson.dev/v1alpha1/namespaces/team/eksclusters");
        let status = body["status"].as_object().unwrap();
        assert_eq!(status.keys().collect::<Vec<_>>(), ["conditions", "observedGeneration"]);
        let of =
            |kind: &str| status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == kind).unwrap().clone();
        assert_eq!(
            (of("Stalled")["status"].as_str(), of("Stalled")["reason"].as_str()),
            (Some("True"), Some("InvalidSpec"))
        );
        assert_eq!(of("Ready")["status"], "False");
    }
}
