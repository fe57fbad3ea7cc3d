//! Parses a manifest's documents as objects. What the API server's schema rejects is rejected here, with the document
//! and field.

use anyhow::{Context as _, bail};
use kube::CustomResourceExt;
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema;
use crate::api::{AwsAccount, EksCluster, GROUP, NodeGroup};

/// The objects of a manifest.
#[derive(Default)]
pub struct Manifest {
    pub clusters: Vec<EksCluster>,
    pub groups: Vec<NodeGroup>,
    pub accounts: Vec<AwsAccount>,
    /// What was left out, for the user.
    pub notes: Vec<String>,
}

impl Manifest {
    /// Reads all documents.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("the manifest is not YAML")?;
        let mut manifest = Self::default();
        for (n, document) in documents.into_iter().enumerate() {
            if !document.is_null() {
                manifest.add(n + 1, document)?;
            }
        }
        manifest.check_references();
        Ok(manifest)
    }

    /// An AwsAccount by name.
    pub fn account(&self, name: &str) -> Option<&AwsAccount> {
        self.accounts.iter().find(|account| account.name_any() == name)
    }

    fn add(&mut self, number: usize, document: Value) -> anyhow::Result<()> {
        let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let name = document["metadata"]["name"].as_str().unwrap_or_default();
        let place = format!("document {number}, {kind} {name}");
        if version.split('/').next() != Some(GROUP) {
            self.notes.push(format!("document {number} is left out: {version} {kind} is not Keelson's"));
            return Ok(());
        }
        if version != format!("{GROUP}/v1alpha1") {
            bail!("document {number}: apiVersion {version:?} is not known; write {GROUP}/v1alpha1");
        }
        if name.is_empty() {
            bail!("document {number}, {kind}: metadata.name is missing");
        }
        match kind.as_str() {
            "EksCluster" => self.clusters.push(namespaced(object(document, &place)?)),
            "NodeGroup" => self.groups.push(namespaced(object(document, &place)?)),
            "AwsAccount" => self.accounts.push(object(document, &place)?),
            other => bail!("document {number}: kind {other:?} is not known; write EksCluster, NodeGroup or AwsAccount"),
        }
        Ok(())
    }

    fn check_references(&mut self) {
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

fn object<K: CustomResourceExt + DeserializeOwned>(mut document: Value, place: &str) -> anyhow::Result<K> {
    let schema = serde_json::to_value(K::crd())?;
    let schema = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let errors = schema::check_object(schema, &mut document);
    if !errors.is_empty() {
        bail!("{place}:\n  {}", errors.join("\n  "));
    }
    serde_json::from_value(document).with_context(|| place.to_owned())
}

fn namespaced<K: ResourceExt>(mut object: K) -> K {
    object.meta_mut().namespace.get_or_insert_with(|| "default".to_owned());
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "apiVersion: keelson.dev/v1alpha1\nkind: EksCluster\nmetadata: {name: demo}\nspec:\n  \
                           region: eu-west-1\n  version: \"1.34\"\n";

    fn refused(text: &str) -> String {
        format!("{:#}", Manifest::parse(text).err().expect("is refused"))
    }

    #[test]
    fn schema_defaults_are_applied() {
        let manifest = Manifest::parse(CLUSTER).unwrap();
        let spec = &manifest.clusters[0].spec;
        assert_eq!(spec.addons.len(), 4);
        assert_eq!(spec.network.vpc.as_ref().unwrap().cidr, "10.0.0.0/16");
        assert_eq!(manifest.clusters[0].namespace().as_deref(), Some("default"));
    }

    #[test]
    fn errors_name_document_and_field() {
        let table: Vec<String> = [
            CLUSTER.replace("region:", "regoin:"),
            CLUSTER.replace("\"1.34\"", "1.34"),
            format!("{CLUSTER}  network: {{vpc: {{zoneCount: many}}}}\n"),
            format!("{CLUSTER}  changePolicy: Sometimes\n"),
            format!("{CLUSTER}  addons: [{{name: coredns}}, {{name: coredns}}]\n"),
            CLUSTER.replace("eu-west-1", "Ireland"),
            format!("{CLUSTER}  network: {{vpc: {{zones: [eu-west-1a, west]}}}}\n"),
            format!("{CLUSTER}  network: {{vpc: {{}}, existing: {{subnetIds: [subnet-1, subnet-2]}}}}\n"),
            format!(
                "{CLUSTER}  access: {{entries: [{{principalArn: \"arn:aws:iam::123456789012:role/a\", policies: \
                     [{{policyArn: \"arn:aws:eks::aws:cluster-access-policy/A\", scope: {{type: Namespace, namespaces: \
                     [\"a b\"]}}}}]}}]}}\n"
            ),
            format!("{CLUSTER}---\napiVersion: keelson.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: x}}\n"),
            format!("{CLUSTER}---\napiVersion: keelson.dev/v1\nkind: EksCluster\nmetadata: {{name: x}}\n"),
            CLUSTER.replace("name: demo", ""),
        ]
        .iter()
        .map(|text| refused(text))
        .collect();
        insta::assert_snapshot!(table.join("\n---\n"));
    }

    #[test]
    fn other_kinds_are_skipped_with_a_note() {
        let manifest =
            Manifest::parse(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: x}}\n---\n{CLUSTER}"))
                .unwrap();
        assert_eq!(manifest.clusters.len(), 1);
        assert!(manifest.notes[0].contains("Namespace"));
    }
}
