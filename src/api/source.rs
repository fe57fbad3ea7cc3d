//! The source of a GitOps agent: a Git repository or an OCI artifact, with credentials and trusted signers. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SpecError;
use super::reference::SecretReference;
use super::rules;
use super::rules_git;

/// The provider of an OCI source in ECR.
pub const AWS_PROVIDER: &str = "aws";

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

/// The kind of a [`Source`].
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

/// A Git repository and the revision to sync.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules_git::verified_tag())]
#[serde(rename_all = "camelCase")]
pub struct GitSource {
    /// Address of the repository: https:// or ssh://. http:// only if an operator flag allows it.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules_git::git_url())]
    #[x_kube(validation = rules_git::no_password_in_url())]
    #[x_kube(validation = rules_git::no_metadata_address())]
    pub url: String,
    /// The revision to sync.
    #[serde(rename = "ref")]
    pub reference: GitRef,
    /// How often the repository is polled, such as `1m`.
    #[serde(default = "one_minute")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::at_least_a_second())]
    pub interval: String,
    /// How long one operation of Git may take, such as `2m`; absent: Flux's default, a minute. Flux only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules_git::timeout())]
    #[x_kube(validation = rules::at_least_a_second())]
    pub timeout: Option<String>,
    /// Directories to check out, such as `clusters/demo`, instead of the whole repository. They must contain `path` and all that it refers
    /// to. Flux only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rules_git::directories())]
    pub sparse_checkout: Vec<String>,
    /// Whether submodules are cloned too, with the credentials of the repository. Flux only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recurse_submodules: bool,
    /// Secret in this namespace with the credentials: `identity` and `known_hosts` (ssh), or `username` and `password`,
    /// or `bearerToken`, or a GitHub App's keys; also `ca.crt`. Copied into the cluster and kept in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Secret in this namespace with the `address` (and `username`, `password`) of a proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_secret_ref: Option<SecretReference>,
    /// Syncs only revisions that a trusted author signed; absent: signatures are not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<GitVerification>,
}

/// Required signatures of a Git repository, and trusted authors.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitVerification {
    /// What must be signed: the commit (`HEAD`), the tag (`Tag`), or both (`TagAndHEAD`).
    #[serde(default)]
    pub mode: GitVerificationMode,
    /// Secret in this namespace with the authors' public keys: OpenPGP in keys that end in `.asc`, SSH in keys that end
    /// in `.sshpub`. Copied into the cluster and kept in sync.
    pub secret_ref: SecretReference,
}

/// What must be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum GitVerificationMode {
    #[default]
    #[serde(rename = "HEAD")]
    Head,
    Tag,
    #[serde(rename = "TagAndHEAD")]
    TagAndHead,
}

impl GitVerificationMode {
    /// As written in the spec and in Flux.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "HEAD",
            Self::Tag => "Tag",
            Self::TagAndHead => "TagAndHEAD",
        }
    }
}

/// Exactly one of `branch`, `tag`, `semver`, `commit`, `name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::exactly_one_of(&["branch", "tag", "semver", "commit", "name"]))]
#[serde(rename_all = "camelCase")]
pub struct GitRef {
    /// The newest commit of this branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules_git::ref_name())]
    pub branch: Option<String>,
    /// This tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules_git::ref_name())]
    pub tag: Option<String>,
    /// The highest tag in this range of semantic versions, such as `>=1.0.0 <2.0.0`.
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

/// The revision in a [`GitRef`].
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

/// An OCI artifact and the version to sync.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules_git::single_login())]
#[serde(rename_all = "camelCase")]
pub struct OciSource {
    /// Address of the artifact, oci://, without a tag.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = rules_git::oci_url())]
    #[x_kube(validation = rules_git::no_metadata_address())]
    pub url: String,
    /// The version to sync.
    #[serde(rename = "ref")]
    pub reference: OciRef,
    /// How the agent logs in to the registry: `generic` (with `secretRef`, if any), or `aws` for ECR: Keelson creates a
    /// role that may pull and assigns it to Flux with EKS Pod Identity (needs the add-on `eks-pod-identity-agent`, or
    /// Auto Mode).
    #[serde(default = "generic")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::aws_name())]
    pub provider: String,
    /// How often the registry is polled, such as `1m`.
    #[serde(default = "one_minute")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::duration())]
    #[x_kube(validation = rules::at_least_a_second())]
    pub interval: String,
    /// How long one pull may take, such as `2m`; absent: Flux's default, a minute. Flux only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules_git::timeout())]
    #[x_kube(validation = rules::at_least_a_second())]
    pub timeout: Option<String>,
    /// Secret of type kubernetes.io/dockerconfigjson in this namespace; copied into the cluster and kept in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Secret in this namespace with `ca.crt` of a private certificate authority, and `tls.crt`, `tls.key` if the
    /// registry requires a client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<SecretReference>,
    /// Secret in this namespace with the `address` (and `username`, `password`) of a proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_secret_ref: Option<SecretReference>,
    /// Syncs only signed artifacts; absent: signatures are not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<OciVerification>,
}

/// Required signatures of an OCI artifact.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules_git::trusted_signers())]
#[serde(rename_all = "camelCase")]
pub struct OciVerification {
    /// Signature format: `cosign` or `notation`.
    #[serde(default = "cosign")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules_git::signature_provider())]
    pub provider: String,
    /// Secret in this namespace: for cosign with public keys, in keys that end in `.pub`; for notation with
    /// `trustpolicy.json` and certificates, in keys that end in `.crt` or `.pem`. Copied into the cluster and kept in
    /// sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Trusted identities of keyless cosign signatures: any of these.
    #[serde(default, rename = "matchOIDCIdentity", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_oidc_identity: Vec<OidcIdentityMatch>,
}

/// A trusted identity of keyless signatures: both patterns must match the signature's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcIdentityMatch {
    /// Regular expression for the issuer of the identity, such as
    /// `^https://token\\.actions\\.githubusercontent\\.com$`.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
    /// Regular expression for the identity.
    #[schemars(length(min = 1, max = 1024))]
    pub subject: String,
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
    /// The highest tag in this range of semantic versions.
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

/// The version in an [`OciRef`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OciReference<'a> {
    Tag(&'a str),
    Semver(&'a str),
    Digest(&'a str),
}

impl OciRef {
    /// The one member that is set.
    pub fn kind(&self) -> Result<OciReference<'_>, SpecError> {
        let Self { tag, semver, digest } = self;
        match (tag, semver, digest) {
            (Some(tag), None, None) => Ok(OciReference::Tag(tag)),
            (None, Some(semver), None) => Ok(OciReference::Semver(semver)),
            (None, None, Some(digest)) => Ok(OciReference::Digest(digest)),
            _ => Err(SpecError::new("spec.gitops.*.source.oci.ref", "exactly one of tag, semver, digest must be set")),
        }
    }
}

fn generic() -> String {
    "generic".to_owned()
}

fn cosign() -> String {
    "cosign".to_owned()
}

fn one_minute() -> String {
    "1m".to_owned()
}
