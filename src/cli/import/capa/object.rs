//! The objects of a file of Cluster API: several documents, and lists as `kubectl get -o yaml` prints them. Pure.

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

/// An object of the management cluster.
#[derive(Clone, Debug, Default)]
pub struct Object {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub labels: Map<String, Value>,
    pub spec: Map<String, Value>,
    pub status: Value,
}

/// Groups whose versions v1beta1 and v1beta2 can be read.
const GROUPS: [&str; 3] = ["cluster.x-k8s.io", "controlplane.cluster.x-k8s.io", "infrastructure.cluster.x-k8s.io"];
const VERSIONS: [&str; 2] = ["v1beta1", "v1beta2"];
const CLUSTER_LABEL: &str = "cluster.x-k8s.io/cluster-name";
const DEFAULT_NAMESPACE: &str = "default";

impl Object {
    /// Such as `AWSManagedMachinePool/workers`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    /// A text of the spec at a JSON pointer.
    pub fn text(&self, pointer: &str) -> &str {
        let (field, rest) = pointer.trim_start_matches('/').split_once('/').unwrap_or((&pointer[1..], ""));
        let value = self.spec.get(field).unwrap_or(&Value::Null);
        let value = if rest.is_empty() { Some(value) } else { value.pointer(&format!("/{rest}")) };
        value.and_then(Value::as_str).unwrap_or_default()
    }

    /// The name of its Cluster, if it says so itself.
    pub fn cluster_name(&self) -> &str {
        match self.text("/clusterName") {
            "" => self.labels.get(CLUSTER_LABEL).and_then(Value::as_str).unwrap_or_default(),
            name => name,
        }
    }
}

/// The objects of Cluster API in a file, and the names of others, each with why it is left.
///
/// # Errors
/// A text that is not YAML, or an object of a version that cannot be read.
pub fn read(text: &str) -> anyhow::Result<(Vec<Object>, Vec<String>)> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("is not YAML")?;
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for document in documents.iter().filter(|document| !document.is_null()) {
        let items = document["items"].as_array().filter(|_| document["kind"].as_str().is_some_and(is_list));
        for item in items.map_or(std::slice::from_ref(document), Vec::as_slice) {
            add(item, &mut found, &mut others)?;
        }
    }
    Ok((found, others))
}

fn is_list(kind: &str) -> bool {
    kind.ends_with("List")
}

fn add(item: &Value, found: &mut Vec<Object>, others: &mut Vec<String>) -> anyhow::Result<()> {
    let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, name, api) = (text("/kind"), text("/metadata/name"), text("/apiVersion"));
    let (group, version) = api.split_once('/').unwrap_or(("", &api));
    if kind.is_empty() || name.is_empty() {
        bail!("holds an object without kind or metadata.name");
    }
    if !GROUPS.contains(&group) {
        others.push(format!("{kind}/{name}: {}", why_left(group)));
        return Ok(());
    }
    let namespace = text("/metadata/namespace");
    // They become words of commands.
    let is_plain = |text: &str| {
        !text.starts_with('-')
            && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-".contains(&c))
    };
    if [&name, &namespace].into_iter().any(|text| text.contains("${")) {
        bail!(
            "is a template of clusterctl, such as {kind} {name}: pass the objects that were created from it, as kubectl get -o yaml \
             prints them"
        );
    }
    if !is_plain(&name) || !is_plain(&namespace) {
        bail!("holds an object whose name or namespace Kubernetes would not accept: {kind} {namespace:?} {name:?}");
    }
    if !VERSIONS.contains(&version) {
        bail!(
            "{kind}/{name} has version {version}, and v1beta1 and v1beta2 can be read: kubectl get -o yaml prints a newer one"
        );
    }
    let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
    found.push(Object {
        kind,
        namespace: namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        name,
        labels: item.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default(),
        spec: item["spec"].as_object().cloned().unwrap_or_default(),
        status: item["status"].clone(),
    });
    Ok(())
}

/// Why an object of another group is not converted.
fn why_left(group: &str) -> &'static str {
    match group {
        "bootstrap.cluster.x-k8s.io" => "what nodes of a node group use of it is in their launch template, which stays",
        "addons.cluster.x-k8s.io" => "Keelson installs nothing but an agent: put the objects that it applies into Git",
        other if other.ends_with("cluster.x-k8s.io") => "has no counterpart in Keelson",
        _ => "is no object of Cluster API",
    }
}
