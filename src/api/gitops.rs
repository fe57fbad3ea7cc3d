//! The GitOps agent in the new cluster, and what it follows. No I/O.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::SpecError;
use super::reference::SecretReference;
use super::rules;
use super::rules_git;
use super::schema;

/// The Flux version built into this binary.
pub const FLUX_VERSION: &str = "v2.9.5";
/// Where Flux's own images are.
pub const FLUX_REGISTRY: &str = "ghcr.io/fluxcd";
/// Flux controllers that are installed unless told otherwise.
pub const FLUX_COMPONENTS: [&str; 4] =
    ["source-controller", "kustomize-controller", "helm-controller", "notification-controller"];

/// At most one of `flux`, `argocd`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::at_most_one_of(&["flux", "argocd"]))]
#[serde(rename_all = "camelCase")]
pub struct GitOps {
    /// Flux, in namespace `flux-system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flux: Option<Flux>,
    /// Argo CD, in a namespace of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argocd: Option<ArgoCd>,
}

/// The agent that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent<'a> {
    Flux(&'a Flux),
    ArgoCd(&'a ArgoCd),
}

impl GitOps {
    /// The agent that is asked for, if any.
    pub fn agent(&self) -> Result<Option<Agent<'_>>, SpecError> {
        match (&self.flux, &self.argocd) {
            (None, None) => Ok(None),
            (Some(flux), None) => Ok(Some(Agent::Flux(flux))),
            (None, Some(argocd)) => Ok(Some(Agent::ArgoCd(argocd))),
            (Some(_), Some(_)) => Err(SpecError::new("spec.gitops", "at most one of flux, argocd may be set")),
        }
    }
}

/// Flux and the path it follows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flux {
    /// Flux version to install, until Git owns the agent's manifests.
    #[serde(default = "flux_version")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules_git::agent_version())]
    pub version: String,
    /// Registry and path of the controllers' images, for mirrors.
    #[serde(default = "flux_registry")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules_git::image_registry())]
    pub registry: String,
    /// Secret of type kubernetes.io/dockerconfigjson with which the controllers' images are pulled; copied, and kept in step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_secret_ref: Option<SecretReference>,
    /// Flux controllers to install; source-controller and kustomize-controller are always needed.
    #[serde(default = "flux_components")]
    #[schemars(length(max = 8), inner(length(max = 64)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = rules_git::components())]
    #[x_kube(validation = rules_git::component_names())]
    pub components: Vec<String>,
    /// What is followed.
    pub source: Source,
    /// Path of this cluster inside the source, such as `clusters/demo`.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = rules_git::path())]
    pub path: String,
    /// How often everything is compared with the source and corrected, such as `10m`.
    #[serde(default = "ten_minutes")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::at_least_a_second())]
    pub interval: String,
    /// Deletes from the cluster what disappears from the path.
    #[serde(default = "schema::yes")]
    pub prune: bool,
    /// Decrypts Secrets kept in the source; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decryption: Option<Decryption>,
    /// Keeps a ConfigMap `keelson-cluster-facts` in the cluster and substitutes it into the manifests: CLUSTER_NAME, AWS_REGION,
    /// AWS_ACCOUNT_ID, VPC_ID, PRIVATE_SUBNET_IDS, PUBLIC_SUBNET_IDS, OIDC_ISSUER, OIDC_PROVIDER_ARN, CLUSTER_ENDPOINT,
    /// CLUSTER_SECURITY_GROUP_ID, NODE_ROLE_ARN, KUBERNETES_VERSION.
    #[serde(default = "schema::yes")]
    pub facts: bool,
}

/// Argo CD and the path it follows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgoCd {
    /// Argo CD version to install, until Git owns the agent's manifests.
    #[serde(default = "argocd_version")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules_git::agent_version())]
    pub version: String,
    /// Namespace in the new cluster that Argo CD is installed in. Immutable.
    #[serde(default = "argocd_namespace")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace_name())]
    #[x_kube(validation = rules::fixed("the namespace of Argo CD cannot change: put the old one back"))]
    pub namespace: String,
    /// What is followed.
    pub source: Source,
    /// Path of this cluster inside the source, such as `clusters/demo`.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = rules_git::path())]
    pub path: String,
}

/// Exactly one of `git`, `oci`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one_of(&["git", "oci"]))]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// A Git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSource>,
    /// An OCI artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,
}

/// What kind of source a [`Source`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind<'a> {
    Git(&'a GitSource),
    Oci(&'a OciSource),
}

impl Source {
    /// The one member that is set.
    pub fn kind(&self) -> Result<SourceKind<'_>, SpecError> {
        match (&self.git, &self.oci) {
            (Some(git), None) => Ok(SourceKind::Git(git)),
            (None, Some(oci)) => Ok(SourceKind::Oci(oci)),
            _ => Err(SpecError::new("spec.gitops.*.source", "exactly one of git, oci must be set")),
        }
    }
}

/// A Git repository, and what of it is followed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSource {
    /// Address of the repository: https:// or ssh://. http:// only where the operator was started to allow it.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules_git::git_url())]
    #[x_kube(validation = rules_git::no_password_in_url())]
    #[x_kube(validation = rules_git::no_metadata_address())]
    pub url: String,
    /// Which revision is followed.
    #[serde(rename = "ref")]
    pub reference: GitRef,
    /// How often the repository is asked for something new, such as `1m`.
    #[serde(default = "one_minute")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::at_least_a_second())]
    pub interval: String,
    /// Secret in this namespace with the credentials: `identity` and `known_hosts` (ssh), or `username` and `password`, or
    /// `bearerToken`, or a GitHub App's keys; also `ca.crt`. Copied into the cluster, and kept in step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Secret in this namespace with the `address` (and `username`, `password`) of a proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_secret_ref: Option<SecretReference>,
}

/// Exactly one of `branch`, `tag`, `semver`, `commit`, `name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one_of(&["branch", "tag", "semver", "commit", "name"]))]
#[serde(rename_all = "camelCase")]
pub struct GitRef {
    /// Newest commit of this branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules_git::ref_name())]
    pub branch: Option<String>,
    /// This tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules_git::ref_name())]
    pub tag: Option<String>,
    /// Highest tag in this range of semantic versions, such as `>=1.0.0 <2.0.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules_git::semver_range())]
    pub semver: Option<String>,
    /// This commit, by its SHA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = rules_git::commit())]
    pub commit: Option<String>,
    /// This reference by its full name, such as `refs/heads/main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = rules_git::full_ref_name())]
    pub name: Option<String>,
}

/// The revision a [`GitRef`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitReference<'a> {
    Branch(&'a str),
    Tag(&'a str),
    Semver(&'a str),
    Commit(&'a str),
    Name(&'a str),
}

impl GitRef {
    /// The one member that is set.
    pub fn kind(&self) -> Result<GitReference<'_>, SpecError> {
        let Self { branch, tag, semver, commit, name } = self;
        match (branch, tag, semver, commit, name) {
            (Some(branch), None, None, None, None) => Ok(GitReference::Branch(branch)),
            (None, Some(tag), None, None, None) => Ok(GitReference::Tag(tag)),
            (None, None, Some(semver), None, None) => Ok(GitReference::Semver(semver)),
            (None, None, None, Some(commit), None) => Ok(GitReference::Commit(commit)),
            (None, None, None, None, Some(name)) => Ok(GitReference::Name(name)),
            _ => Err(SpecError::new(
                "spec.gitops.*.source.git.ref",
                "exactly one of branch, tag, semver, commit, name must be set",
            )),
        }
    }
}

/// An OCI artifact, and which version of it is followed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OciSource {
    /// Address of the artifact, oci://, without a tag.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules_git::oci_url())]
    #[x_kube(validation = rules_git::no_metadata_address())]
    pub url: String,
    /// Which version is followed.
    #[serde(rename = "ref")]
    pub reference: OciRef,
    /// How the registry is logged in to: `generic` (with `secretRef`, if any) or a cloud's own, such as `aws`.
    #[serde(default = "generic")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::aws_word())]
    pub provider: String,
    /// How often the registry is asked for something new, such as `1m`.
    #[serde(default = "one_minute")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::at_least_a_second())]
    pub interval: String,
    /// Secret of type kubernetes.io/dockerconfigjson in this namespace; copied into the cluster, and kept in step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

/// Exactly one of `tag`, `semver`, `digest`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one_of(&["tag", "semver", "digest"]))]
#[serde(rename_all = "camelCase")]
pub struct OciRef {
    /// This tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules_git::oci_tag())]
    pub tag: Option<String>,
    /// Highest tag in this range of semantic versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules_git::semver_range())]
    pub semver: Option<String>,
    /// This digest, `sha256:...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    #[x_kube(validation = rules_git::oci_digest())]
    pub digest: Option<String>,
}

/// Decryption of Secrets kept in the source.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decryption {
    /// What decrypts: `sops`.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::aws_word())]
    pub provider: String,
    /// Secret in this namespace with the keys; copied into the cluster, and kept in step. Absent: the agent's own cloud identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

fn flux_version() -> String {
    FLUX_VERSION.to_owned()
}

fn flux_registry() -> String {
    FLUX_REGISTRY.to_owned()
}

/// The components of a Flux that names none: [`FLUX_COMPONENTS`].
pub fn flux_components() -> Vec<String> {
    FLUX_COMPONENTS.map(str::to_owned).to_vec()
}

fn argocd_version() -> String {
    "v3.2.11".to_owned()
}

fn argocd_namespace() -> String {
    "argocd".to_owned()
}

fn generic() -> String {
    "generic".to_owned()
}

fn one_minute() -> String {
    "1m".to_owned()
}

fn ten_minutes() -> String {
    "10m".to_owned()
}
