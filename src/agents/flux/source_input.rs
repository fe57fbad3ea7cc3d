//! `spec.gitops.flux.source`: builds the source that Flux follows, with the referenced Secrets.
//!
//! Not allowed here: clients. I/O: reads these Secrets, by the caller's reader.

use std::time::Duration;

use super::source::{GitSource, GitVerification, OciSource, OciVerification, Source, SourceKind};
use crate::agents::secret_keys::Keys;
use crate::agents::secret_reader::{self, Missing, SecretReader, copy_with};
use crate::agents::shared_input::{GitRef, OciRef};
use crate::agents::valid_source::ValidSource;
use crate::agents::validate_source::{OciUrl, SourceUrl};
use crate::api::gitops::{AWS_PROVIDER, GitSource as Git, OciSource as Oci, Source as Spec};
use crate::api::reference::SecretReference;

const GIT: &str = "spec.gitops.flux.source.git";
const OCI: &str = "spec.gitops.flux.source.oci";

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

/// The source for Flux, with the referenced Secrets.
pub async fn input(secrets: &dyn SecretReader, source: &ValidSource, interval: Duration) -> Result<Source, Missing> {
    let (kind, proxy, timeout) = match source {
        ValidSource::Git { url, reference: revision, spec } => {
            let (reference, field) = (spec.proxy_secret_ref.as_ref(), format!("{GIT}.proxySecretRef"));
            let proxy = copy_with(secrets, reference, &field, Keys::Proxy).await?;
            (SourceKind::Git(git(secrets, url, revision, spec).await?), proxy, &spec.timeout)
        }
        ValidSource::Oci { url, reference: revision, spec } => {
            let (reference, field) = (spec.proxy_secret_ref.as_ref(), format!("{OCI}.proxySecretRef"));
            let proxy = copy_with(secrets, reference, &field, Keys::Proxy).await?;
            (SourceKind::Oci(oci(secrets, url, revision, spec).await?), proxy, &spec.timeout)
        }
    };
    Ok(Source { interval, timeout: timeout.clone(), proxy_secret: proxy, kind, held_at: None })
}

async fn git(
    secrets: &dyn SecretReader,
    url: &SourceUrl,
    reference: &GitRef,
    spec: &Git,
) -> Result<GitSource, Missing> {
    let field = format!("{GIT}.secretRef");
    let secret = secret_reader::git(secrets, spec.secret_ref.as_ref(), url, &field).await?;
    let verify = match &spec.verify {
        None => None,
        Some(verify) => {
            let field = format!("{GIT}.verify.secretRef");
            let keys = copy_with(secrets, Some(&verify.secret_ref), &field, Keys::Authors).await?;
            keys.map(|keys| GitVerification { mode: verify.mode.as_str(), keys })
        }
    };
    Ok(GitSource {
        url: url.clone(),
        reference: reference.clone(),
        secret,
        verify,
        sparse_checkout: spec.sparse_checkout.clone(),
        recurse_submodules: spec.recurse_submodules,
    })
}

async fn oci(secrets: &dyn SecretReader, url: &OciUrl, reference: &OciRef, spec: &Oci) -> Result<OciSource, Missing> {
    let field = |name: &str| format!("{OCI}.{name}");
    let (login, certificates) = (spec.secret_ref.as_ref(), spec.cert_secret_ref.as_ref());
    let secret = copy_with(secrets, login, &field("secretRef"), Keys::DockerConfig).await?;
    let cert_secret = copy_with(secrets, certificates, &field("certSecretRef"), Keys::Certificates).await?;
    let verify = match &spec.verify {
        None => None,
        Some(verify) => {
            let expected = if verify.provider == "notation" { Keys::Notation } else { Keys::Cosign };
            let reference = verify.secret_ref.as_ref();
            let keys = copy_with(secrets, reference, &field("verify.secretRef"), expected).await?;
            let identities = verify.match_oidc_identity.iter();
            let identities = identities.map(|one| (one.issuer.clone(), one.subject.clone())).collect();
            Some(OciVerification { provider: verify.provider.clone(), keys, identities })
        }
    };
    let aws = spec.provider == AWS_PROVIDER;
    Ok(OciSource { url: url.clone(), reference: reference.clone(), aws, secret, cert_secret, verify })
}
