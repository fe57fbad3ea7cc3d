//! Parses a manifest's documents as objects. What the API server's schema rejects is rejected here, with the document
//! and field.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use kube::CustomResourceExt;
use kube::ResourceExt;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema;
use crate::api::{AwsAccount, EksCluster, FleetRollout, GROUP, NodeGroup, PlanApproval};
use crate::cli::errors;
use crate::cli::terminal::one_line;
use crate::controllers::account::named;

/// Namespace of objects that name none.
const DEFAULT: &str = "default";

/// The objects of a manifest.
#[derive(Default)]
pub struct Manifest {
    pub clusters: Vec<EksCluster>,
    pub groups: Vec<NodeGroup>,
    pub accounts: Vec<AwsAccount>,
    /// What was left out, for the user.
    pub notes: Vec<String>,
    /// Namespaces and names of the clusters that exist in the management cluster and are in no file: their node groups
    /// are planned, and they are not.
    context: BTreeSet<(String, String)>,
    /// Namespaces and names of the clusters whose documents have a status: they exist.
    with_status: BTreeSet<(String, String)>,
    /// Whether an AwsAccount that is not there does not exist. Otherwise nothing is known of it.
    pub knows_accounts: bool,
    /// Namespace of the objects that name none.
    namespace: Option<String>,
    /// The objects in the files, as the API server would store them.
    pub checked: Vec<Checked>,
    /// Where each object is.
    places: BTreeMap<(String, String, String), String>,
}

/// An object in a file that its schema accepts.
pub struct Checked {
    pub kind: String,
    /// `None`: its kind has no namespaces.
    pub namespace: Option<String>,
    pub name: String,
    /// Its file and document, for messages.
    pub place: String,
    /// With the defaults of its schema.
    pub object: Value,
}

impl Manifest {
    /// A manifest without objects. `namespace`: that of objects that name none.
    pub fn in_namespace(namespace: Option<&str>) -> Self {
        Self { namespace: namespace.map(str::to_owned), ..Self::default() }
    }

    /// Objects that exist.
    pub fn of(clusters: Vec<EksCluster>, groups: Vec<NodeGroup>, accounts: Vec<AwsAccount>) -> Self {
        Self { clusters, groups, accounts, knows_accounts: true, ..Self::default() }
    }

    /// The objects of all documents.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut manifest = Self::default();
        manifest.add_text("", text, true)?;
        manifest.note_references();
        Ok(manifest)
    }

    /// Adds all documents. `place` stands before the number of the document; `notes_others`: with a note for each
    /// object that is not Keelson's.
    ///
    /// # Errors
    /// The text is not YAML, or what is refused: all of it, so that nobody mends one mistake after the other.
    pub fn add_text(&mut self, place: &str, text: &str, notes_others: bool) -> anyhow::Result<()> {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).with_context(|| format!("{place}the manifest is not YAML"))?;
        let mut refused = Vec::new();
        for (n, document) in documents.into_iter().enumerate() {
            let is_list = is_list(&document);
            for (at, object) in objects_of(format!("{place}document {}", n + 1), document) {
                if is_list && self::is_list(&object) {
                    refused.push(anyhow::anyhow!("{at} is a List inside a List: move its items to the outer one"));
                    continue;
                }
                refused.extend(self.add(&at, object, notes_others).err());
            }
        }
        match refused.len() {
            0 => Ok(()),
            1 => Err(refused.remove(0)),
            _ => bail!("{}", refused.iter().map(errors::format_error).collect::<Vec<_>>().join("\n")),
        }
    }

    /// Adds a cluster of the management cluster.
    pub fn add_context(&mut self, cluster: EksCluster) {
        self.context.insert((cluster.namespace().unwrap_or_default(), cluster.name_any()));
        self.clusters.push(cluster);
    }

    /// Whether the cluster is in no file.
    pub fn is_context(&self, cluster: &EksCluster) -> bool {
        self.context.contains(&(cluster.namespace().unwrap_or_default(), cluster.name_any()))
    }

    /// Whether the cluster is known to exist: its document, or the object in the management cluster, has a status.
    pub fn exists(&self, cluster: &EksCluster) -> bool {
        let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        cluster.status.is_some() || self.with_status.contains(&key)
    }

    /// Namespaces and names of the clusters that NodeGroups refer to and that are not there.
    pub fn missing_clusters(&self) -> BTreeSet<(String, String)> {
        let named = self.groups.iter().map(|group| (group.namespace(), group.spec.cluster_ref.name.clone()));
        let exists = |namespace: &Option<String>, name: &str| {
            self.clusters.iter().any(|cluster| cluster.namespace() == *namespace && cluster.name_any() == name)
        };
        let missing = named.filter(|(namespace, name)| !exists(namespace, name));
        missing.map(|(namespace, name)| (namespace.unwrap_or_default(), name)).collect()
    }

    /// Names of the AwsAccounts that clusters use and that are not there.
    pub fn missing_accounts(&self) -> BTreeSet<String> {
        let named = self.clusters.iter().map(|cluster| cluster.spec.account_name());
        named.filter(|name| self.account(name).is_none()).map(str::to_owned).collect()
    }

    /// Whether nothing is known of the AwsAccount of a cluster: it is not there, and may exist.
    pub fn is_account_unknown(&self, cluster: &EksCluster) -> bool {
        !self.knows_accounts && self.account(cluster.spec.account_name()).is_none()
    }

    /// An AwsAccount by name.
    pub fn account(&self, name: &str) -> Option<&AwsAccount> {
        self.accounts.iter().find(|account| account.name_any() == name)
    }

    fn add(&mut self, at: &str, document: Value, notes_others: bool) -> anyhow::Result<()> {
        let text = |field: &str| one_line(document[field].as_str().unwrap_or_default());
        let (version, kind) = (text("apiVersion"), text("kind"));
        let name = document["metadata"]["name"].as_str().unwrap_or_default();
        let shown = one_line(name);
        let place = format!("{at}, {kind} {shown}");
        if version.split('/').next() != Some(GROUP) {
            if notes_others {
                self.notes.push(match kind.as_str() {
                    "" => format!("{at} is left out: it has no kind"),
                    kind => format!("{at} is left out: {version} {kind} is not Keelson's"),
                });
            }
            return Ok(());
        }
        if version != format!("{GROUP}/v1alpha1") {
            bail!("{at}: apiVersion {version:?} is not known; write {GROUP}/v1alpha1");
        }
        if name.is_empty() {
            bail!("{at}, {kind}: metadata.name is missing");
        }
        let namespace = document["metadata"]["namespace"].as_str().or(self.namespace.as_deref()).unwrap_or(DEFAULT);
        let (namespace, key) = (namespace.to_owned(), (kind.clone(), namespace.to_owned(), name.to_owned()));
        if let Some(other) = self.places.insert(key, at.to_owned()) {
            bail!("{place} is also in {other}: keep one of them");
        }
        let name = name.to_owned();
        let object = match kind.as_str() {
            "EksCluster" => {
                let has_status = document["status"].as_object().is_some_and(|status| !status.is_empty());
                let (cluster, object) = checked(document, &place)?;
                if has_status {
                    self.with_status.insert((namespace.clone(), name.clone()));
                }
                self.clusters.push(namespaced(cluster, namespace.clone()));
                object
            }
            "NodeGroup" => {
                let (group, object) = checked(document, &place)?;
                self.groups.push(namespaced(group, namespace.clone()));
                object
            }
            "AwsAccount" => {
                let (account, object) = checked(document, &place)?;
                self.accounts.push(account);
                object
            }
            // Nothing is planned of these.
            "PlanApproval" => checked::<PlanApproval>(document, &place)?.1,
            "FleetRollout" => checked::<FleetRollout>(document, &place)?.1,
            other => bail!("{at}: kind {other:?} is not known; write EksCluster, NodeGroup or AwsAccount"),
        };
        let namespace = Some(namespace).filter(|_| !["AwsAccount", "FleetRollout"].contains(&kind.as_str()));
        self.checked.push(Checked { kind, namespace, name, place, object });
        Ok(())
    }

    /// Notes what the objects refer to and what is not there.
    pub fn note_references(&mut self) {
        for cluster in &self.clusters {
            if let Some(reference) = &cluster.spec.account_ref
                && self.account(&reference.name).is_none()
            {
                let name = &reference.name;
                self.notes.push(format!(
                    "AwsAccount {name} is not in the manifest: what it adds and allows is not part of the plan"
                ));
            }
        }
        for cluster in &self.clusters {
            let named = named::by_cluster(&cluster.spec);
            let own = named.iter().find(|one| one.kind == named::Kind::InlinePolicy);
            if let Some(own) = own.filter(|_| self.is_account_unknown(cluster)) {
                self.notes.push(format!(
                    "AwsAccount {} is not in the manifest: for {} of EksCluster {} it has to set allowInlinePolicies and \
                     workloadPermissionsBoundaryArn",
                    cluster.spec.account_name(),
                    own.field,
                    cluster.name_any()
                ));
            }
        }
        for group in &self.groups {
            let name = &group.spec.cluster_ref.name;
            let found = self.clusters.iter().any(|c| c.name_any() == *name && c.namespace() == group.namespace());
            if !found {
                self.notes.push(format!(
                    "NodeGroup {} is left out: EksCluster {name} is not in the manifest",
                    group.name_any()
                ));
            }
        }
    }
}

/// The objects of a document, each with its place: none, one, or the items of a list, as `kubectl get -o yaml` prints it.
fn objects_of(at: String, mut document: Value) -> Vec<(String, Value)> {
    if document.is_null() {
        return Vec::new();
    }
    let is_list = is_list(&document);
    match document.get_mut("items").filter(|_| is_list).map(Value::take) {
        Some(Value::Array(items)) => {
            items.into_iter().enumerate().map(|(n, item)| (format!("{at}, item {}", n + 1), item)).collect()
        }
        _ => vec![(at, document)],
    }
}

/// Whether the document is a list of objects.
fn is_list(document: &Value) -> bool {
    document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && document["items"].is_array()
}

/// That a cluster to which a NodeGroup refers is in no file.
pub fn describe_missing(namespace: &str, name: &str) -> String {
    let (namespace, name) = (one_line(namespace), one_line(name));
    format!("EksCluster {namespace}/{name}, to which a NodeGroup refers, is not in the files")
}

/// The error without the lines of a file that a parser's message quotes: a comment shows them to more people than may read
/// the file.
pub fn without_source(error: &anyhow::Error) -> String {
    let parser = |cause: &(dyn std::error::Error + 'static)| {
        let found = cause.downcast_ref::<serde_saphyr::Error>();
        found.map_or_else(|| cause.to_string(), |error| errors::format_yaml_error(error.without_snippet()))
    };
    // Below an error of kube are the output of the user's commands and the server's answers.
    let of_kube = error.chain().any(|cause| cause.is::<kube::Error>());
    if !of_kube && error.chain().any(|cause| cause.is::<serde_saphyr::Error>()) {
        return error.chain().map(parser).collect::<Vec<_>>().join(": ");
    }
    errors::format_error(error)
}

/// The object, and how the API server would store it.
fn checked<K: CustomResourceExt + DeserializeOwned>(mut document: Value, place: &str) -> anyhow::Result<(K, Value)> {
    let schema = schema_of::<K>()?;
    refuse(place, &schema::check_object(&schema, &mut document))?;
    let object = serde_json::from_value(document.clone()).with_context(|| place.to_owned())?;
    Ok((object, document))
}

/// The schema of a kind. It is built once: that takes longer than to check an object.
pub fn schema_of<K: CustomResourceExt>() -> anyhow::Result<Arc<Value>> {
    static BUILT: Mutex<BTreeMap<&str, Arc<Value>>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock();
    if let Some(schema) = built.get(K::crd_name()) {
        return Ok(Arc::clone(schema));
    }
    let mut crd = serde_json::to_value(K::crd())?;
    let schema = Arc::new(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take());
    built.insert(K::crd_name(), Arc::clone(&schema));
    Ok(schema)
}

/// The error of an object that the API server would refuse.
pub fn refuse(place: &str, errors: &[String]) -> anyhow::Result<()> {
    if errors.is_empty() { Ok(()) } else { bail!("{place}:\n  {}", errors.join("\n  ")) }
}

fn namespaced<K: ResourceExt>(mut object: K, namespace: String) -> K {
    object.meta_mut().namespace.get_or_insert(namespace);
    object
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
