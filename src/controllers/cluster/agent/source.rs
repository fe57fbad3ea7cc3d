//! `spec.gitops.flux.source`: validates it and builds the source that Flux follows, with the referenced Secrets. I/O:
//! reads these Secrets.

use std::time::Duration;

use super::secrets::{self, Missing, Reader, copy_with};
use crate::agents::flux::{GitSource, GitVerification, OciRef, OciSource, OciVerification, Source, SourceKind};
use crate::agents::input::GitRef;
use crate::agents::secret_keys::Keys;
use crate::agents::validate::{self, OciUrl, SourcePolicy, SourceUrl};
use crate::api::gitops::{
    AWS_PROVIDER, GitReference, GitSource as Git, OciReference, OciSource as Oci, Source as Spec, SourceKind as Kind,
};
use crate::api::reference::SecretReference;
use crate::controllers::account::refusal::{Refusal, duration, invalid};

const GIT: &str = "spec.gitops.flux.source.git";
const OCI: &str = "spec.gitops.flux.source.oci";
/// For registries that need only a Secret.
const GENERIC: &str = "generic";

/// The parsed source; its other fields as in the spec.
#[derive(Clone, Debug)]
pub enum ValidSource {
    Git { url: SourceUrl, reference: GitRef, spec: Git },
    Oci { url: OciUrl, reference: OciRef, spec: Oci },
}

/// Secrets that are copied under their own names, with their fields below `spec.gitops.flux`.
pub fn copies(source: &Spec) -> Vec<(&'static str, Option<&SecretReference>)> {
    let git = source.git.iter().flat_map(|git| {
        [
            ("source.git.proxySecretRef", git.proxy_secret_ref.as_ref()),
            ("source.git.verify.secretRef", git.verify.as_ref().map(|verify| &verify.secret_ref)),
        ]
    });
    let oci = source.oci.iter().flat_map(|oci| {
        [
            ("source.oci.secretRef", oci.secret_ref.as_ref()),
            ("source.oci.certSecretRef", oci.cert_secret_ref.as_ref()),
            ("source.oci.proxySecretRef", oci.proxy_secret_ref.as_ref()),
            ("source.oci.verify.secretRef", oci.verify.as_ref().and_then(|verify| verify.secret_ref.as_ref())),
        ]
    });
    git.chain(oci).collect()
}

/// Validates the source of any agent, at field `at` of the spec; also returns its polling interval.
pub fn valid(source: &Spec, policy: SourcePolicy, at: &str) -> Result<(ValidSource, Duration), Refusal> {
    match source.kind()? {
        Kind::Git(git) => {
            let at = format!("{at}.git");
            Ok((valid_git(git, policy, &at)?, duration(&format!("{at}.interval"), &git.interval)?))
        }
        Kind::Oci(oci) => {
            let at = format!("{at}.oci");
            Ok((valid_oci(oci, policy, &at)?, duration(&format!("{at}.interval"), &oci.interval)?))
        }
    }
}

fn valid_git(git: &Git, policy: SourcePolicy, at: &str) -> Result<ValidSource, Refusal> {
    let field = |name: &str| format!("{at}.{name}");
    let url = validate::url(&git.url, policy).map_err(|why| invalid(&field("url"), why))?;
    if git.secret_ref.is_none() {
        validate::secret(&url, None).map_err(|why| invalid(&field("secretRef"), why))?;
    }
    let reference = match git.reference.kind()? {
        GitReference::Branch(value) => GitRef::Branch(value.into()),
        GitReference::Tag(value) => GitRef::Tag(value.into()),
        GitReference::Semver(value) => GitRef::Semver(value.into()),
        GitReference::Commit(value) => GitRef::Commit(value.into()),
        GitReference::Name(value) => GitRef::Name(value.into()),
    };
    let (name, value) = reference.field();
    validate::reference(name, value).map_err(|why| invalid(&field("ref"), why))?;
    Ok(ValidSource::Git { url, reference, spec: git.clone() })
}

fn valid_oci(oci: &Oci, policy: SourcePolicy, at: &str) -> Result<ValidSource, Refusal> {
    let field = |name: &str| format!("{at}.{name}");
    let url = validate::oci_url(&oci.url, policy).map_err(|why| invalid(&field("url"), why))?;
    match oci.provider.as_str() {
        GENERIC => {}
        AWS_PROVIDER if !url.is_in_ecr() => {
            let why = "aws is for private registries in ECR, and url is not one: set provider: generic";
            return Err(invalid(&field("provider"), why));
        }
        AWS_PROVIDER if oci.secret_ref.is_some() => {
            let why = "would replace the provider's login: remove it, or set provider: generic";
            return Err(invalid(&field("secretRef"), why));
        }
        AWS_PROVIDER => {}
        other => {
            let why = format!("{other:?} is not supported in EKS; supported are {GENERIC} and {AWS_PROVIDER}");
            return Err(invalid(&field("provider"), why));
        }
    }
    let reference = match oci.reference.kind()? {
        OciReference::Tag(value) => OciRef::Tag(value.into()),
        OciReference::Semver(value) => OciRef::Semver(value.into()),
        OciReference::Digest(value) => OciRef::Digest(value.into()),
    };
    Ok(ValidSource::Oci { url, reference, spec: oci.clone() })
}

/// The source for Flux, with the referenced Secrets.
pub async fn input(
    reader: &Reader<'_>,
    namespace: &str,
    source: &ValidSource,
    interval: Duration,
) -> Result<Source, Missing> {
    let (kind, proxy) = match source {
        ValidSource::Git { url, reference: revision, spec } => {
            let (reference, field) = (spec.proxy_secret_ref.as_ref(), format!("{GIT}.proxySecretRef"));
            let proxy = copy_with(reader, namespace, reference, &field, Keys::Proxy).await?;
            (SourceKind::Git(git(reader, namespace, url, revision, spec).await?), proxy)
        }
        ValidSource::Oci { url, reference: revision, spec } => {
            let (reference, field) = (spec.proxy_secret_ref.as_ref(), format!("{OCI}.proxySecretRef"));
            let proxy = copy_with(reader, namespace, reference, &field, Keys::Proxy).await?;
            (SourceKind::Oci(oci(reader, namespace, url, revision, spec).await?), proxy)
        }
    };
    Ok(Source { interval, proxy_secret: proxy, kind })
}

async fn git(
    reader: &Reader<'_>,
    namespace: &str,
    url: &SourceUrl,
    reference: &GitRef,
    spec: &Git,
) -> Result<GitSource, Missing> {
    let field = format!("{GIT}.secretRef");
    let secret = secrets::git(reader, namespace, spec.secret_ref.as_ref(), url, &field).await?;
    let verify = match &spec.verify {
        None => None,
        Some(verify) => {
            let field = format!("{GIT}.verify.secretRef");
            let keys = copy_with(reader, namespace, Some(&verify.secret_ref), &field, Keys::Authors).await?;
            keys.map(|keys| GitVerification { mode: verify.mode.as_str(), keys })
        }
    };
    Ok(GitSource { url: url.clone(), reference: reference.clone(), secret, verify })
}

async fn oci(
    reader: &Reader<'_>,
    namespace: &str,
    url: &OciUrl,
    reference: &OciRef,
    spec: &Oci,
) -> Result<OciSource, Missing> {
    let field = |name: &str| format!("{OCI}.{name}");
    let (login, certificates) = (spec.secret_ref.as_ref(), spec.cert_secret_ref.as_ref());
    let secret = copy_with(reader, namespace, login, &field("secretRef"), Keys::DockerConfig).await?;
    let cert_secret = copy_with(reader, namespace, certificates, &field("certSecretRef"), Keys::Certificates).await?;
    let verify = match &spec.verify {
        None => None,
        Some(verify) => {
            let expected = if verify.provider == "notation" { Keys::Notation } else { Keys::Cosign };
            let reference = verify.secret_ref.as_ref();
            let keys = copy_with(reader, namespace, reference, &field("verify.secretRef"), expected).await?;
            let identities = verify.match_oidc_identity.iter();
            let identities = identities.map(|one| (one.issuer.clone(), one.subject.clone())).collect();
            Some(OciVerification { provider: verify.provider.clone(), keys, identities })
        }
    };
    let aws = spec.provider == AWS_PROVIDER;
    Ok(OciSource { url: url.clone(), reference: reference.clone(), aws, secret, cert_secret, verify })
}
