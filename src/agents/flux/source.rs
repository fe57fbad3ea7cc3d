//! Flux's source: a GitRepository or an OCIRepository, and the Secrets that it refers to.
//!
//! Not allowed here: the API's types and a client. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::input::NAME;
use super::sync::duration;
use crate::agents::shared_input::{GitRef, OciRef, SecretCopy, SecretData};
use crate::agents::validate_source::{OciUrl, SourceUrl};

pub const GIT_REPOSITORY: (&str, &str) = ("source.toolkit.fluxcd.io/v1", "GitRepository");
pub const OCI_REPOSITORY: (&str, &str) = ("source.toolkit.fluxcd.io/v1", "OCIRepository");

/// The source, and how often it is polled.
#[derive(Debug, Clone)]
pub struct Source {
    pub interval: Duration,
    /// How long one fetch may take, in Flux's format; `None`: Flux's default.
    pub timeout: Option<String>,
    pub proxy_secret: Option<SecretCopy>,
    pub kind: SourceKind,
    /// The revision at which it is held, as source-controller reports it.
    pub held_at: Option<String>,
}

#[derive(Debug, Clone)]
pub enum SourceKind {
    Git(GitSource),
    Oci(OciSource),
}

#[derive(Debug, Clone)]
pub struct GitSource {
    pub url: SourceUrl,
    pub reference: GitRef,
    /// Copied under Flux's name, [`NAME`].
    pub secret: Option<SecretData>,
    pub verify: Option<GitVerification>,
    /// The directories to check out; empty: all.
    pub sparse_checkout: Vec<String>,
    pub recurse_submodules: bool,
}

/// What must be signed, and by whom.
#[derive(Debug, Clone)]
pub struct GitVerification {
    /// GitRepository's `spec.verify.mode`.
    pub mode: &'static str,
    pub keys: SecretCopy,
}

#[derive(Debug, Clone)]
pub struct OciSource {
    pub url: OciUrl,
    pub reference: OciRef,
    /// The registry is ECR, and the controller's Pods have an identity in AWS.
    pub aws: bool,
    pub secret: Option<SecretCopy>,
    pub cert_secret: Option<SecretCopy>,
    pub verify: Option<OciVerification>,
}

/// Who must have signed.
#[derive(Debug, Clone)]
pub struct OciVerification {
    /// `cosign` or `notation`.
    pub provider: String,
    pub keys: Option<SecretCopy>,
    /// Issuers and subjects of keyless signatures.
    pub identities: Vec<(String, String)>,
}

impl Source {
    /// API version and kind of the source.
    pub fn api(&self) -> (&'static str, &'static str) {
        match self.kind {
            SourceKind::Git(_) => GIT_REPOSITORY,
            SourceKind::Oci(_) => OCI_REPOSITORY,
        }
    }

    /// API version and kind of the other source, which may have been used before.
    pub fn other_api(&self) -> (&'static str, &'static str) {
        match self.kind {
            SourceKind::Git(_) => OCI_REPOSITORY,
            SourceKind::Oci(_) => GIT_REPOSITORY,
        }
    }

    /// Whether the controller logs in to ECR with an identity in AWS.
    pub fn is_in_ecr(&self) -> bool {
        matches!(&self.kind, SourceKind::Oci(oci) if oci.aws)
    }

    /// Credentials that are copied under Flux's name.
    pub fn credentials(&self) -> Option<&SecretData> {
        match &self.kind {
            SourceKind::Git(git) => git.secret.as_ref(),
            SourceKind::Oci(_) => None,
        }
    }

    /// Secrets that are copied under their own names.
    pub fn copies(&self) -> impl Iterator<Item = &SecretCopy> {
        let of_kind = match &self.kind {
            SourceKind::Git(git) => [git.verify.as_ref().map(|verify| &verify.keys), None, None],
            SourceKind::Oci(oci) => {
                let keys = oci.verify.as_ref().and_then(|verify| verify.keys.as_ref());
                [oci.secret.as_ref(), oci.cert_secret.as_ref(), keys]
            }
        };
        [self.proxy_secret.as_ref()].into_iter().chain(of_kind).flatten()
    }

    /// The object's spec.
    pub fn spec(&self) -> Value {
        let mut spec = match &self.kind {
            SourceKind::Git(git) => git.spec(),
            SourceKind::Oci(oci) => oci.spec(),
        };
        if let Some(revision) = &self.held_at {
            spec["ref"] = self.kind.held_reference(revision);
        }
        spec["interval"] = duration(self.interval).into();
        if let Some(timeout) = &self.timeout {
            spec["timeout"] = timeout.as_str().into();
        }
        if let Some(proxy) = &self.proxy_secret {
            spec["proxySecretRef"] = named(proxy);
        }
        spec
    }
}

impl SourceKind {
    /// The reference to one revision, such as `main@sha1:76087da...` or `latest@sha256:...`. A branch stays: it says where the
    /// commit is.
    fn held_reference(&self, revision: &str) -> Value {
        match self {
            // Only what a tag names can be verified by the tag's signature.
            Self::Git(git) if git.verify.as_ref().is_some_and(|verify| verify.mode != "HEAD") => {
                let name = revision.rsplit_once('@').map_or(revision, |(name, _)| name);
                if name.starts_with("refs/") { json!({"name": name}) } else { json!({"tag": name}) }
            }
            Self::Git(git) => {
                let mut reference = json!({"commit": revision.rsplit(['@', ':']).next().unwrap_or_default()});
                if let GitRef::Branch(branch) = &git.reference {
                    reference["branch"] = branch.as_str().into();
                }
                reference
            }
            Self::Oci(_) => json!({"digest": revision.rsplit('@').next().unwrap_or_default()}),
        }
    }
}

fn named(secret: &SecretCopy) -> Value {
    json!({"name": secret.name})
}

impl GitSource {
    fn spec(&self) -> Value {
        let (field, value) = self.reference.field();
        let mut spec = json!({"url": self.url.as_str(), "ref": {field: value}});
        if self.secret.is_some() {
            spec["secretRef"] = json!({"name": NAME});
        }
        if self.secret.as_ref().is_some_and(|secret| secret.0.contains_key("githubAppID")) {
            spec["provider"] = "github".into();
        }
        if let Some(GitVerification { mode, keys }) = &self.verify {
            spec["verify"] = json!({"mode": mode, "secretRef": named(keys)});
        }
        if !self.sparse_checkout.is_empty() {
            spec["sparseCheckout"] = json!(self.sparse_checkout);
        }
        if self.recurse_submodules {
            spec["recurseSubmodules"] = true.into();
        }
        spec
    }
}

impl OciSource {
    fn spec(&self) -> Value {
        let (field, value) = self.reference.field();
        let mut spec = json!({
            "url": self.url.as_str(),
            "ref": {field: value},
            "provider": if self.aws { "aws" } else { "generic" },
        });
        if let Some(secret) = &self.secret {
            spec["secretRef"] = named(secret);
        }
        if let Some(secret) = &self.cert_secret {
            spec["certSecretRef"] = named(secret);
        }
        if let Some(OciVerification { provider, keys, identities }) = &self.verify {
            spec["verify"] = json!({"provider": provider});
            if let Some(keys) = keys {
                spec["verify"]["secretRef"] = named(keys);
            }
            if !identities.is_empty() {
                let identity = |(issuer, subject): &(String, String)| json!({"issuer": issuer, "subject": subject});
                spec["verify"]["matchOIDCIdentity"] = identities.iter().map(identity).collect();
            }
        }
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::flux::fixture;

    #[test]
    fn each_kind_of_ref_sets_one_field() {
        let text = || "x".to_owned();
        for (reference, field) in [
            (GitRef::Branch(text()), "branch"),
            (GitRef::Tag(text()), "tag"),
            (GitRef::Semver(text()), "semver"),
            (GitRef::Commit(text()), "commit"),
            (GitRef::Name(text()), "name"),
        ] {
            let source = fixture::git(|git| git.reference = reference);
            assert_eq!(source.spec()["ref"], json!({field: "x"}));
        }
        for (reference, field) in
            [(OciRef::Tag(text()), "tag"), (OciRef::Semver(text()), "semver"), (OciRef::Digest(text()), "digest")]
        {
            let source = fixture::oci(|oci| oci.reference = reference);
            assert_eq!(source.spec()["ref"], json!({field: "x"}));
        }
    }

    #[test]
    fn held_source_names_one_revision() {
        let held = |mut source: Source, revision: &str| {
            source.held_at = Some(revision.to_owned());
            source.spec()["ref"].clone()
        };
        let commit = "76087da78cdcec69b25c1392f6c5948b0bd320f5";
        let branch = fixture::git(|git| git.reference = GitRef::Branch("main".into()));
        assert_eq!(held(branch, &format!("main@sha1:{commit}")), json!({"branch": "main", "commit": commit}));
        let range = fixture::git(|git| git.reference = GitRef::Semver(">=1.0.0".into()));
        assert_eq!(held(range.clone(), &format!("v1.2.0@sha1:{commit}")), json!({"commit": commit}));
        assert_eq!(held(range, &format!("sha1:{commit}")), json!({"commit": commit}));
        let artifact = fixture::oci(|oci| oci.reference = OciRef::Tag("latest".into()));
        assert_eq!(held(artifact, "latest@sha256:abc"), json!({"digest": "sha256:abc"}));
    }

    #[test]
    fn fetch_options_are_set_only_if_the_spec_has_them() {
        let plain = fixture::git(|_| ()).spec();
        for field in ["timeout", "sparseCheckout", "recurseSubmodules"] {
            assert_eq!(plain[field], Value::Null, "{field}");
        }
        let mut source = fixture::git(|git| {
            git.sparse_checkout = vec!["clusters/demo".into()];
            git.recurse_submodules = true;
        });
        source.timeout = Some("90m".into());
        let spec = source.spec();
        // Flux takes no hours: the text stays as it is.
        assert_eq!(spec["timeout"], "90m");
        assert_eq!((&spec["sparseCheckout"], &spec["recurseSubmodules"]), (&json!(["clusters/demo"]), &json!(true)));
    }

    #[test]
    fn github_app_sets_the_provider() {
        let keys = fixture::data(&["githubAppID", "githubAppPrivateKey", "githubAppInstallationID"]);
        let source = fixture::git(|git| git.secret = Some(keys));
        assert_eq!(source.spec()["provider"], "github");
    }

    #[test]
    fn ecr_uses_the_aws_provider() {
        assert_eq!(fixture::oci(|_| ()).spec()["provider"], "generic");
        assert_eq!(fixture::oci(|oci| oci.aws = true).spec()["provider"], "aws");
    }

    #[test]
    fn keyless_verification_lists_identities() {
        let identities = vec![("issuer".to_owned(), "subject".to_owned())];
        let verify = OciVerification { provider: "cosign".into(), keys: None, identities };
        let source = fixture::oci(|oci| oci.verify = Some(verify));
        let identity = json!([{"issuer": "issuer", "subject": "subject"}]);
        assert_eq!(source.spec()["verify"], json!({"provider": "cosign", "matchOIDCIdentity": identity}));
    }
}
