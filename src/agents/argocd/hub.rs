//! A cluster in the Argo CD of the management cluster: the Secret by which Argo CD reaches it, and what an installation allows.
//!
//! The Secrets of all tenants are in one namespace, which is not theirs. So no tenant chooses the name of a Secret, of a cluster in
//! Argo CD or of a label with our prefix: they are derived from the namespace and the name of the EksCluster, and differ when those do.
//! The keys `project`, `namespaces` and `shard` are never set.
//!
//! Not allowed here: a client. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::sync::{CLUSTER_SECRET, SECRET_TYPE, is_label};
use crate::agents::shared_input::Facts;
use crate::workload::object::MANAGED_BY;

/// Annotation with the UID of the EksCluster.
const OWNER: &str = "keelson.dev/owner";
/// Annotation with the namespace and the name of the EksCluster.
const CLUSTER: &str = "keelson.dev/cluster";
/// Start of the name of each Secret.
const PREFIX: &str = "keelson-";
/// Longest part of a Secret's name that people recognise; a hash follows.
const MAX_READABLE: usize = 200;
/// Longest value of a label.
const MAX_LABEL: usize = 63;
/// Hexadecimal digits of a hash.
const HASH: usize = 16;
/// Domains whose labels mean something to Argo CD, Kubernetes or Keelson.
const RESERVED: [&str; 4] = ["keelson.dev", "argoproj.io", "kubernetes.io", "k8s.io"];

/// What the installation allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of Argo CD in the management cluster; `None`: no cluster is registered.
    pub namespace: Option<String>,
    /// Keys of labels that a spec may set: complete ones, or a domain with `/*`.
    pub labels: Vec<String>,
}

impl Settings {
    /// The namespace to register in.
    ///
    /// # Errors
    /// Argo CD's namespace is not known.
    pub fn namespace(&self) -> Result<&str, String> {
        self.namespace.as_deref().ok_or_else(|| {
            "spec.registerWith: the operator does not know the namespace of Argo CD: a cluster administrator must add the component \
             deploy/argocd-registration to its overlay, or set operator.argocd.namespace of its chart; or remove registerWith"
                .to_owned()
        })
    }

    /// Whether a spec may set these labels.
    ///
    /// # Errors
    /// The first label that is not allowed.
    pub fn check_labels(&self, labels: &BTreeMap<String, String>) -> Result<(), String> {
        let Some(key) = labels.keys().find(|key| !self.allows(key)) else { return Ok(()) };
        let allowed = if self.labels.is_empty() { "none".to_owned() } else { self.labels.join(", ") };
        Err(format!(
            "spec.registration.labels: the operator's --argocd-cluster-labels does not allow the label {key} (it allows {allowed}): \
             remove the label, or ask a cluster administrator to allow it"
        ))
    }

    /// Those of `labels` that a spec may set.
    pub fn allowed_labels(&self, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let allowed = labels.iter().filter(|(key, _)| self.allows(key));
        allowed.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn allows(&self, key: &str) -> bool {
        self.labels.iter().any(|allowed| matches(allowed, key))
    }
}

fn matches(allowed: &str, key: &str) -> bool {
    match allowed.strip_suffix('*') {
        Some(domain) => key.starts_with(domain),
        None => key == allowed,
    }
}

/// A label key that specs may set, or a domain of keys such as `acme.example/*`.
///
/// # Errors
/// It is neither, or its domain is reserved.
pub fn parse_label_key(text: &str) -> Result<String, String> {
    let (domain, name) = text.rsplit_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    let is_domain = |domain: &str| {
        domain.len() <= 253
            && domain.split('.').all(is_label)
            && domain.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
    };
    let is_name = is_label(name) || name == "*" && domain.is_some();
    let is_key = is_name && domain.is_none_or(is_domain);
    if !is_key {
        return Err(format!(
            "{text:?} is no label key: write one such as team or acme.example/team, or acme.example/* for all of a domain"
        ));
    }
    let is_of =
        |reserved: &&str| domain.is_some_and(|domain| domain == *reserved || domain.ends_with(&format!(".{reserved}")));
    match RESERVED.into_iter().find(is_of) {
        Some(reserved) => Err(format!("labels of {reserved} are set by Argo CD, Kubernetes or Keelson: choose others")),
        None => Ok(text.to_owned()),
    }
}

/// A cluster to register.
#[derive(Clone, Debug)]
pub struct Cluster<'a> {
    /// Namespace of the EksCluster.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub owner: &'a str,
    /// Name of its AwsAccount, if it has one.
    pub account: Option<&'a str>,
    /// The labels of its spec, without those that [`Settings::allowed_labels`] leaves out.
    pub labels: &'a BTreeMap<String, String>,
    /// The role that Argo CD assumes.
    pub role_arn: Option<&'a str>,
    /// Address of the API.
    pub endpoint: &'a str,
    /// Its certificate authority, in base64.
    pub certificate_authority: &'a str,
    /// What templates of ApplicationSets may refer to.
    pub facts: &'a Facts,
}

/// Name of the Secret of an EksCluster.
pub fn secret_name(namespace: &str, name: &str) -> String {
    format!("{PREFIX}{}", cut(&full_name(namespace, name), MAX_READABLE, true))
}

/// Whether a name may be that of a Secret of ours.
pub fn is_secret_name(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Name of the cluster in Argo CD. A namespace has no dot, so that no two EksClusters have the same.
fn full_name(namespace: &str, name: &str) -> String {
    format!("{namespace}.{name}")
}

/// A text of at most `most` characters that ends with a hash, if it is longer or `always`.
fn cut(text: &str, most: usize, always: bool) -> String {
    if text.len() <= most && !always {
        return text.to_owned();
    }
    let hash: String =
        Sha256::digest(text.as_bytes()).iter().take(HASH / 2).map(|byte| format!("{byte:02x}")).collect();
    let readable: String = text.chars().take(most - HASH - 1).collect();
    format!("{}-{hash}", readable.trim_end_matches(['.', '-']))
}

/// The Secret, without its namespace: what Keelson applies.
pub fn secret(cluster: &Cluster<'_>) -> Secret {
    let Cluster { namespace, name, owner, account, labels, role_arn, endpoint, certificate_authority, facts } = cluster;
    let full_name = full_name(namespace, name);
    let mut own = vec![
        (MANAGED_BY.0, MANAGED_BY.1.to_owned()),
        (SECRET_TYPE, CLUSTER_SECRET.to_owned()),
        ("keelson.dev/namespace", (*namespace).to_owned()),
        ("keelson.dev/cluster", full_name.clone()),
        ("keelson.dev/region", facts.aws_region.clone()),
        ("keelson.dev/account-id", facts.aws_account_id.clone()),
    ];
    own.extend(account.map(|account| ("keelson.dev/account", account.to_owned())));
    own.extend(facts.kubernetes_version.as_ref().map(|version| ("keelson.dev/version", version.clone())));
    let mut all: BTreeMap<String, String> = (*labels).clone();
    // After those of the spec, which cannot replace them.
    all.extend(own.into_iter().map(|(key, value)| (key.to_owned(), cut(&value, MAX_LABEL, false))));
    let mut annotations: BTreeMap<String, String> =
        facts.pairs().into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
    annotations.insert(OWNER.to_owned(), (*owner).to_owned());
    annotations.insert(CLUSTER.to_owned(), format!("{namespace}/{name}"));
    let mut authentication = json!({"clusterName": facts.cluster_name});
    if let Some(arn) = role_arn {
        authentication["roleARN"] = (*arn).into();
    }
    let config = json!({
        "awsAuthConfig": authentication,
        "tlsClientConfig": {"insecure": false, "caData": certificate_authority},
    });
    let data = [("name", full_name), ("server", (*endpoint).to_owned()), ("config", config.to_string())];
    Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(namespace, name)),
            labels: Some(all),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        data: Some(data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// Selects the Secrets that [`secret`] describes, among others.
pub fn selector() -> String {
    format!("{}={},{SECRET_TYPE}={CLUSTER_SECRET}", MANAGED_BY.0, MANAGED_BY.1)
}

/// Whose a Secret is, by what [`secret`] writes on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Namespace of the EksCluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub owner: String,
}

impl Marks {
    /// The marks of a Secret of that metadata; `None`: it is not one of ours.
    pub fn of(meta: &ObjectMeta) -> Option<Self> {
        let (labels, annotations) = (meta.labels.as_ref()?, meta.annotations.as_ref()?);
        let (namespace, name) = annotations.get(CLUSTER)?.split_once('/')?;
        let is_ours = labels.get(MANAGED_BY.0).is_some_and(|manager| manager == MANAGED_BY.1)
            && labels.get(SECRET_TYPE).is_some_and(|kind| kind == CLUSTER_SECRET)
            && meta.name.as_deref() == Some(secret_name(namespace, name).as_str());
        let owner = annotations.get(OWNER)?.clone();
        is_ours.then(|| Self { namespace: namespace.to_owned(), name: name.to_owned(), owner })
    }
}

/// Whether a Secret of that metadata is the one of the EksCluster with the marks `of`. Namespace and name suffice, which no two objects have
/// at once: a restore gives an object another UID.
pub fn is_of(meta: &ObjectMeta, of: &Marks) -> bool {
    let annotations = meta.annotations.as_ref();
    let has_uid =
        !of.owner.is_empty() && annotations.and_then(|all| all.get(OWNER)).is_some_and(|found| *found == of.owner);
    has_uid || Marks::of(meta).is_some_and(|found| found.namespace == of.namespace && found.name == of.name)
}

/// What a user does where the operator may not write the Secret.
pub fn describe_denied(namespace: &str, name: &str) -> String {
    format!(
        "spec.registerWith: the operator has no permission to write Secret {namespace}/{name}: a cluster administrator must apply the Role \
         and RoleBinding of deploy/argocd-registration in namespace {namespace}"
    )
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
