//! The GitOps agent in the workload cluster, and its source. No I/O.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::SpecError;
use super::reference::SecretReference;
use super::rules;
use super::rules_git;
use super::schema;
pub use super::source::{
    AWS_PROVIDER, GitRef, GitReference, GitSource, GitVerification, GitVerificationMode, OciRef, OciReference,
    OciSource, OciVerification, OidcIdentityMatch, Source, SourceKind,
};

/// Registry of Flux's own images.
pub const FLUX_REGISTRY: &str = "ghcr.io/fluxcd";
/// Flux controllers that are installed by default.
pub const FLUX_COMPONENTS: [&str; 4] =
    ["source-controller", "kustomize-controller", "helm-controller", "notification-controller"];

/// Domains of the labels and annotations with which agents mark what they apply.
pub const LABEL_DOMAINS: [&str; 2] = ["toolkit.fluxcd.io/", "argocd.argoproj.io/"];

/// At most one of `flux`, `argocd`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::at_most_one_of(&["flux", "argocd"]))]
#[serde(rename_all = "camelCase")]
pub struct GitOps {
    /// Flux, in namespace `flux-system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flux: Option<Flux>,
    /// Argo CD, in its own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argocd: Option<ArgoCd>,
}

/// The requested agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent<'a> {
    Flux(&'a Flux),
    ArgoCd(&'a ArgoCd),
}

impl GitOps {
    /// The requested agent, if any.
    pub fn agent(&self) -> Result<Option<Agent<'_>>, SpecError> {
        match (&self.flux, &self.argocd) {
            (None, None) => Ok(None),
            (Some(flux), None) => Ok(Some(Agent::Flux(flux))),
            (None, Some(argocd)) => Ok(Some(Agent::ArgoCd(argocd))),
            (Some(_), Some(_)) => Err(SpecError::new("spec.gitops", "at most one of flux, argocd may be set")),
        }
    }

    /// The source of the requested agent.
    pub fn source(&self) -> Option<&Source> {
        match self.agent() {
            Ok(Some(Agent::Flux(flux))) => Some(&flux.source),
            Ok(Some(Agent::ArgoCd(argocd))) => Some(&argocd.source),
            Ok(None) | Err(_) => None,
        }
    }

    /// The registry of the requested agent's images, if the spec can name one.
    pub fn image_registry(&self) -> Option<&str> {
        self.flux.as_ref().map(|flux| flux.registry.as_str())
    }
}

/// An identity in AWS with which Pods of an agent pull from ECR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentIdentity {
    /// The field that asks for it.
    pub field: &'static str,
    /// The namespace of the Pods.
    pub namespace: &'static str,
    /// Their service account.
    pub service_account: &'static str,
}

/// The identity of Flux's source-controller.
pub const FLUX_IDENTITY: AgentIdentity = AgentIdentity {
    field: "spec.gitops.flux.source.oci.provider",
    namespace: "flux-system",
    service_account: "source-controller",
};

impl GitOps {
    /// The identity in AWS that the requested agent needs.
    pub fn aws_identity(&self) -> Option<AgentIdentity> {
        let oci = self.flux.as_ref().and_then(|flux| flux.source.oci.as_ref());
        oci.filter(|oci| oci.provider == AWS_PROVIDER).map(|_| FLUX_IDENTITY)
    }
}

/// Flux and the path that it syncs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flux {
    /// Flux version to install, until Git owns the agent's manifests; absent: the newest built-in version, which a
    /// newer Keelson may upgrade. Built in are v2.9.5 and v2.7.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules_git::agent_version())]
    pub version: Option<String>,
    /// Takes over an installation that exists in the cluster and that somebody else made, for example with Helm.
    /// Otherwise nothing of it is changed, and `GitOpsReady` says what was found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_over: bool,
    /// Registry and path of the controllers' images, for mirrors.
    #[serde(default = "flux_registry")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules_git::image_registry())]
    pub registry: String,
    /// Pull secret of the controllers' images, of type kubernetes.io/dockerconfigjson; copied into the cluster and kept
    /// in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_secret_ref: Option<SecretReference>,
    /// Flux controllers to install: source-controller and kustomize-controller, which are required, helm-controller and
    /// notification-controller. Others come from Git, which then owns Flux.
    #[serde(default = "flux_components")]
    // Not a set: defaults would stay in it after a server-side apply with fewer items.
    #[schemars(length(max = 8), inner(length(max = 64)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules_git::components())]
    #[x_kube(validation = rules_git::component_names())]
    pub components: Vec<String>,
    /// The source to sync.
    pub source: Source,
    /// Path of this cluster inside the source, such as `clusters/demo`.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = rules_git::path())]
    pub path: String,
    /// How often the cluster is compared with the source and corrected, such as `10m`.
    #[serde(default = "ten_minutes")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::at_least_a_second())]
    pub interval: String,
    /// Deletes objects from the cluster that are removed from the path.
    #[serde(default = "schema::default_true")]
    pub prune: bool,
    /// Decrypts Secrets in the source; absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decryption: Option<Decryption>,
    /// Maintains a ConfigMap `keelson-cluster-facts` in the cluster and substitutes it into the manifests:
    /// CLUSTER_NAME, AWS_REGION, AWS_ACCOUNT_ID, VPC_ID, PRIVATE_SUBNET_IDS, PUBLIC_SUBNET_IDS, POD_SUBNET_IDS, POD_SUBNET_ZONES,
    /// OIDC_ISSUER, OIDC_PROVIDER_ARN, CLUSTER_ENDPOINT, CLUSTER_SECURITY_GROUP_ID, NODE_ROLE_ARN, KUBERNETES_VERSION.
    #[serde(default = "schema::default_true")]
    pub facts: bool,
}

/// Argo CD and the path that it syncs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules_git::no_fetch_options())]
#[serde(rename_all = "camelCase")]
pub struct ArgoCd {
    /// Argo CD version to install, until Git owns the agent's manifests; absent: the newest built-in version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules_git::agent_version())]
    pub version: Option<String>,
    /// Takes over an installation that exists in the cluster and that somebody else made, for example with Helm.
    /// Otherwise nothing of it is changed, and `GitOpsReady` says what was found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_over: bool,
    /// Namespace of Argo CD in the workload cluster. Immutable.
    #[serde(default = "argocd_namespace")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace_name())]
    #[x_kube(validation = rules::immutable("the namespace of Argo CD cannot change: put the old one back"))]
    pub namespace: String,
    /// The source to sync.
    pub source: Source,
    /// Path of this cluster inside the source, such as `clusters/demo`.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = rules_git::path())]
    pub path: String,
}

/// Decryption of Secrets in the source.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decryption {
    /// Decryption provider: `sops`.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::aws_name())]
    pub provider: String,
    /// Secret in this namespace with the keys; copied into the cluster and kept in sync. Absent: the agent's cloud
    /// identity is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

fn flux_registry() -> String {
    FLUX_REGISTRY.to_owned()
}

/// [`FLUX_COMPONENTS`], the default components.
pub fn flux_components() -> Vec<String> {
    FLUX_COMPONENTS.map(str::to_owned).to_vec()
}

fn argocd_namespace() -> String {
    "argocd".to_owned()
}

fn ten_minutes() -> String {
    "10m".to_owned()
}
