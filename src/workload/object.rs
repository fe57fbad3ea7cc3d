//! An object to apply: its identity and its body.
//!
//! Not allowed here: a client. No I/O.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use kube::core::{ApiResource, GroupVersionKind, Request};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Label of objects that Keelson owns even after adoption by Git, so that an outdated copy of a Secret differs from a
/// user's Secrets.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "keelson");

/// Identity of an object in the workload cluster.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    pub api_version: String,
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
}

impl ObjectId {
    /// Whether both are one object, served in the same or in different versions.
    pub fn is_called(&self, other: &Self) -> bool {
        (&self.kind, &self.namespace, &self.name) == (&other.kind, &other.namespace, &other.name)
    }

    /// The request builder for this object's collection.
    pub fn request(&self) -> Request {
        collection(&self.api_version, &self.kind, self.namespace.as_deref())
    }
}

/// Kind and name: `Deployment flux-system/source-controller`.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The request builder for all objects of a kind, in one namespace or in all.
pub fn collection(api_version: &str, kind: &str, namespace: Option<&str>) -> Request {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let plural = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)).plural;
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let scope = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    Request::new(format!("{root}{scope}/{plural}"))
}

/// Reads `null` as the default: Go writes empty lists and maps as `null`.
pub fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An object and its body. `Debug` prints the identity only: the body may be a Secret's.
#[derive(Clone)]
pub struct Object {
    pub id: ObjectId,
    pub body: Value,
}

impl Object {
    /// Reads the identity from a body. `None` if the body is not a Kubernetes object.
    pub fn of(body: Value) -> Option<Self> {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let id = ObjectId {
            api_version: text("/apiVersion")?,
            kind: text("/kind")?,
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name")?,
        };
        Some(Self { id, body })
    }

    /// Sets an annotation.
    pub fn annotate(&mut self, key: &str, value: &str) {
        self.body["metadata"]["annotations"][key] = value.into();
    }

    /// Hash of the body. The memory of applied objects stores hashes, so that it holds no copy of a Secret.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.body.to_string().hash(&mut hasher);
        hasher.finish()
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_have_the_paths_of_the_kubernetes_api() {
        let path = |api_version, kind, namespace| collection(api_version, kind, namespace).url_path;
        assert_eq!(path("v1", "Namespace", None), "/api/v1/namespaces");
        assert_eq!(path("v1", "ResourceQuota", Some("a")), "/api/v1/namespaces/a/resourcequotas");
        assert_eq!(
            path("networking.k8s.io/v1", "NetworkPolicy", Some("a")),
            "/apis/networking.k8s.io/v1/namespaces/a/networkpolicies"
        );
        assert_eq!(
            path("source.toolkit.fluxcd.io/v1", "GitRepository", None),
            "/apis/source.toolkit.fluxcd.io/v1/gitrepositories"
        );
        assert_eq!(
            path("apiextensions.k8s.io/v1", "CustomResourceDefinition", None),
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        );
    }
}
