//! Decodes watched objects one by one: an undecodable object is isolated with a reason, and the others are not
//! affected. Pure.
//!
//! The API server accepts objects that a typed decoder rejects, such as free-form JSON nested deeper than 128 levels,
//! and one of them would fail the whole list or watch. So [`Decoded`] never fails on user input. It also drops
//! metadata that is not used: managed fields and foreign annotations, which together may be as large as etcd
//! allows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::apply::Kind;
use super::bounded_json::{Bounded, Limits};
use crate::api::TAG_PREFIX;
use crate::api::hold::HOLD_PREFIX;
use crate::controllers::status::journal;
use crate::workload::error::bounded;

/// Maximum number of finalizers, and maximum bytes of Keelson's annotations. An object beyond one of them is not decoded.
const MAX_FINALIZERS: usize = 64;
const MAX_ANNOTATIONS: usize = 16 * 1024;
/// Maximum bytes of labels, by which FleetRollouts select: more than 64 labels of the greatest length.
const MAX_LABELS: usize = 32 * 1024;
/// Maximum bytes of the reason.
const MAX_REASON: usize = 512;

/// A watched object.
#[derive(Clone, Debug)]
pub enum Decoded<K> {
    /// A decoded object.
    Object(Box<K>),
    /// An object that cannot be decoded.
    Unreadable(Box<Unreadable>),
}

/// What is known of an object that cannot be decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unreadable {
    /// Name, namespace, UID, generation, finalizers.
    pub meta: ObjectMeta,
    /// The reason, and how to fix it.
    pub reason: String,
    /// `spec.clusterRef.name`, if decodable.
    pub cluster: Option<String>,
    /// `spec.accountRef.name`, if decodable.
    pub account: Option<String>,
    /// Whether its status, which only the operator writes, records an AWS resource of its own, or one that was about
    /// to be created.
    pub in_aws: bool,
    /// The conditions in its status.
    pub conditions: Vec<Condition>,
}

impl Unreadable {
    /// Its name.
    pub fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// Its UID.
    pub fn uid(&self) -> &str {
        self.meta.uid.as_deref().unwrap_or_default()
    }

    /// Its key in the store of its kind.
    pub fn reference<K: Kind>(&self) -> ObjectRef<K> {
        let reference = ObjectRef::new(self.name());
        match self.meta.namespace.as_deref() {
            Some(namespace) => reference.within(namespace),
            None => reference,
        }
    }
}

impl<K: Kind> Resource for Decoded<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Object(object) => object.meta(),
            Self::Unreadable(unreadable) => &unreadable.meta,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Object(object) => object.meta_mut(),
            Self::Unreadable(unreadable) => &mut unreadable.meta,
        }
    }
}

impl<'de, K: Kind> Deserialize<'de> for Decoded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Parts(PhantomData))
    }
}

struct Parts<K>(PhantomData<K>);

impl<'de, K: Kind> Visitor<'de> for Parts<K> {
    type Value = Decoded<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Decoded<K>, A::Error> {
        let mut metadata = Metadata::default();
        let mut object = Map::from_iter([("metadata".to_owned(), json!({}))]);
        let mut violation = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metadata" => metadata = map.next_value()?,
                "spec" | "status" => {
                    let mut limits = Limits::default();
                    let value = map.next_value_seed(Bounded::of(&mut limits))?;
                    limits.leave(|| key.clone());
                    violation = violation.or_else(|| limits.problem());
                    object.insert(key, value);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if metadata.name.is_none() {
            return Err(A::Error::custom("an object without a name"));
        }
        let problem = metadata.problem().or(violation);
        let object = Value::Object(object);
        Ok(match problem {
            Some(problem) => Decoded::Unreadable(Box::new(metadata.unreadable(problem, &object))),
            None => match K::deserialize(&object) {
                Ok(mut decoded) => {
                    *decoded.meta_mut() = metadata.into_meta();
                    Decoded::Object(Box::new(decoded))
                }
                Err(error) => {
                    let problem = format!(
                        "{}; the object does not match this version of Keelson: correct it, or install the operator and its CRDs in the same version",
                        bounded(&error.to_string(), MAX_REASON / 2)
                    );
                    Decoded::Unreadable(Box::new(metadata.unreadable(problem, &object)))
                }
            },
        })
    }
}

/// The metadata fields that are used.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    annotations: OwnAnnotations,
    labels: Option<BTreeMap<String, String>>,
}

impl Metadata {
    fn problem(&self) -> Option<String> {
        let finalizers = self.finalizers.as_ref().map_or(0, Vec::len);
        if finalizers > MAX_FINALIZERS {
            return Some(format!(
                "metadata.finalizers: {finalizers} exceed the limit of {MAX_FINALIZERS}: remove some"
            ));
        }
        let size =
            |all: &BTreeMap<String, String>| all.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        if self.labels.as_ref().is_some_and(|labels| size(labels) > MAX_LABELS) {
            return Some(format!("metadata.labels: they exceed the limit of {MAX_LABELS} bytes: remove some"));
        }
        let bytes = size(&self.annotations.0);
        (bytes > MAX_ANNOTATIONS).then(|| {
            format!("metadata.annotations: those with prefix {TAG_PREFIX} or {HOLD_PREFIX} exceed the limit of {MAX_ANNOTATIONS} bytes: shorten or remove them")
        })
    }

    fn into_meta(self) -> ObjectMeta {
        let annotations = self.annotations.0;
        ObjectMeta {
            name: self.name,
            namespace: self.namespace,
            uid: self.uid,
            resource_version: self.resource_version,
            generation: self.generation,
            creation_timestamp: self.creation_timestamp,
            deletion_timestamp: self.deletion_timestamp,
            finalizers: self.finalizers,
            annotations: (!annotations.is_empty()).then_some(annotations),
            labels: self.labels,
            ..ObjectMeta::default()
        }
    }

    fn unreadable(self, reason: String, object: &Value) -> Unreadable {
        let conditions = object.pointer("/status/conditions").and_then(|value| Vec::deserialize(value).ok());
        let cluster = object.pointer("/spec/clusterRef/name").and_then(Value::as_str).map(str::to_owned);
        let mut meta = self.into_meta();
        meta.finalizers.iter_mut().for_each(|finalizers| finalizers.truncate(MAX_FINALIZERS));
        (meta.annotations, meta.labels) = (None, None);
        let account = object.pointer("/spec/accountRef/name").and_then(Value::as_str).map(str::to_owned);
        let (reason, conditions) = (bounded(&reason, MAX_REASON), conditions.unwrap_or_default());
        Unreadable { meta, reason, cluster, account, in_aws: in_aws(object), conditions }
    }
}

/// An EksCluster records an inventory. A NodeGroup's ARN is always its own: it has no resource that it merely refers
/// to.
fn in_aws(object: &Value) -> bool {
    let text = |value: &Value, at: &str| value.pointer(at).and_then(Value::as_str).is_some();
    match object.pointer("/status/resources").and_then(Value::as_array) {
        Some(resources) => journal::has_recorded(resources.iter().filter_map(|one| one.get("key")?.as_str())),
        None => text(object, "/spec/clusterRef/name") && text(object, "/status/arn"),
    }
}

/// Keelson's annotations; all others are skipped while parsing.
#[derive(Default)]
struct OwnAnnotations(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for OwnAnnotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Own;
        impl<'de> Visitor<'de> for Own {
            type Value = OwnAnnotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations")
            }

            fn visit_unit<E>(self) -> Result<OwnAnnotations, E> {
                Ok(OwnAnnotations::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OwnAnnotations, A::Error> {
                let mut own = OwnAnnotations::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key.starts_with(TAG_PREFIX) || key.starts_with(HOLD_PREFIX) {
                        own.0.insert(key, map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(own)
            }
        }
        deserializer.deserialize_any(Own)
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
