//! `spec.gitops.argocd`: validates it and builds the agent's input, including the Secrets it references.
//!
//! Not allowed here: clients. I/O: reads these Secrets, by the caller's reader.

use std::time::Duration;

use futures::future::BoxFuture;

use super::input::{ArgoCdInput, Kind, Repository, VERSION, revision_of};
use super::repository_secret::{self, Credentials, Unusable};
use crate::agents::agent::{AgentInput, InvalidField, ValidSpec};
use crate::agents::secret_keys::Keys;
use crate::agents::secret_reader::{self, Missing, SecretReader, copy_with};
use crate::agents::shared_input::SecretCopy;
use crate::agents::valid_source::{self, ValidSource};
use crate::agents::validate_source::{self, OciUrl, Scheme, SourcePolicy, SourceUrl};
use crate::api::gitops::{AWS_PROVIDER, ArgoCd, GitSource, OciSource};

const ARGOCD: &str = "spec.gitops.argocd";
const SOURCE: &str = "spec.gitops.argocd.source";

/// `spec.gitops.argocd`, parsed.
#[derive(Clone, Debug)]
pub struct ValidArgoCd {
    /// An installation of somebody else is taken over.
    takes_over: bool,
    /// The namespace it is installed in.
    pub namespace: String,
    /// The source it follows.
    pub source: ValidSource,
    /// The polling interval of the source.
    pub interval: Duration,
    /// The cluster's path in the source.
    pub path: String,
}

/// Validates the spec. Rejects source fields that only Flux supports.
pub fn valid(argocd: &ArgoCd, sources: SourcePolicy) -> Result<ValidArgoCd, InvalidField> {
    let ArgoCd { version, take_over, namespace, source, path } = argocd;
    if let Some(version) = version.as_ref().filter(|version| *version != VERSION) {
        let why = format!("{version:?} is not built in; this operator installs {VERSION}");
        return Err(InvalidField::new(format!("{ARGOCD}.version"), why));
    }
    validate_source::path(path).map_err(|why| InvalidField::new(format!("{ARGOCD}.path"), why))?;
    let (source, interval) = valid_source::valid(source, sources, SOURCE)?;
    let cannot = match &source {
        ValidSource::Git { spec, .. } => unsupported_git_field(spec),
        ValidSource::Oci { spec, .. } => unsupported_oci_field(spec),
    };
    match cannot {
        Some((field, why)) => Err(InvalidField::new(format!("{SOURCE}.{field}"), why)),
        None => Ok(ValidArgoCd {
            takes_over: *take_over,
            namespace: namespace.clone(),
            source,
            interval,
            path: path.clone(),
        }),
    }
}

const FETCH: &str = "Argo CD has no such field of a repository: remove it, or use Flux";
const VERIFIES: &str =
    "Argo CD requires signatures in its AppProjects (signatureKeys): set that in the repository, and remove it here";

/// Destructured, so that no field can be forgotten.
fn unsupported_git_field(git: &GitSource) -> Option<(&'static str, &'static str)> {
    let GitSource {
        url: _,
        reference: _,
        interval: _,
        timeout,
        sparse_checkout,
        recurse_submodules,
        secret_ref: _,
        proxy_secret_ref: _,
        verify,
    } = git;
    let set = [
        (timeout.is_some(), "git.timeout", FETCH),
        (!sparse_checkout.is_empty(), "git.sparseCheckout", FETCH),
        (*recurse_submodules, "git.recurseSubmodules", FETCH),
        (verify.is_some(), "git.verify", VERIFIES),
    ];
    set.into_iter().find_map(|(is_set, field, why)| is_set.then_some((field, why)))
}

fn unsupported_oci_field(oci: &OciSource) -> Option<(&'static str, &'static str)> {
    let OciSource {
        url: _,
        reference: _,
        provider,
        interval: _,
        timeout,
        secret_ref: _,
        cert_secret_ref: _,
        proxy_secret_ref: _,
        verify,
    } = oci;
    if provider == AWS_PROVIDER {
        let why = "Argo CD cannot log in to ECR by itself: set secretRef to a Secret and renew its token (it expires \
                   after 12 hours), follow a Git repository, or use Flux";
        return Some(("oci.provider", why));
    }
    if timeout.is_some() {
        return Some(("oci.timeout", FETCH));
    }
    verify.is_some().then_some(("oci.verify", "Argo CD does not verify artifacts: remove it, or use Flux"))
}

impl ValidSpec for ValidArgoCd {
    fn wants_facts(&self) -> bool {
        true
    }

    fn input<'a>(&'a self, secrets: &'a dyn SecretReader) -> BoxFuture<'a, Result<AgentInput, Missing>> {
        Box::pin(async move { Ok(Box::new(input(secrets, self).await?) as AgentInput) })
    }
}

/// The Secrets are in Argo CD's format.
async fn input(secrets: &dyn SecretReader, argocd: &ValidArgoCd) -> Result<ArgoCdInput, Missing> {
    let ValidArgoCd { takes_over, namespace: into, source, interval, path } = argocd;
    let (kind, url, revision, credentials) = match source {
        ValidSource::Git { url, reference, spec } => {
            (Kind::Git, url.as_str(), revision_of(reference), git(secrets, url, spec).await?)
        }
        ValidSource::Oci { url, reference, spec } => {
            (Kind::Oci, url.as_str(), reference.field().1.to_owned(), oci(secrets, url, spec).await?)
        }
    };
    let repository = Repository { kind, url: url.to_owned(), revision, interval: *interval, credentials };
    Ok(ArgoCdInput {
        installs: true,
        keeps_version: false,
        takes_over: *takes_over,
        namespace: into.clone(),
        repository,
        path: path.clone(),
        facts: None,
        host_network: None,
    })
}

async fn git(secrets: &dyn SecretReader, url: &SourceUrl, spec: &GitSource) -> Result<Credentials, Missing> {
    let field = format!("{SOURCE}.git.secretRef");
    let mut found = match (&spec.secret_ref, secret_reader::git(secrets, spec.secret_ref.as_ref(), url, &field).await?)
    {
        (Some(reference), Some(data)) => repository_secret::of_git(url, &data)
            .map_err(|why| unusable_secret(&field, secrets, &reference.name, why))?,
        _ => Credentials::default(),
    };
    let field = format!("{SOURCE}.git.proxySecretRef");
    if let Some(secret) = copy_with(secrets, spec.proxy_secret_ref.as_ref(), &field, Keys::Proxy).await? {
        let proxy = repository_secret::of_proxy(url.scheme() == Scheme::Ssh, &secret.data);
        found.keys.insert("proxy", proxy.map_err(|why| unusable_secret(&field, secrets, &secret.name, why))?);
    }
    Ok(found)
}

async fn oci(secrets: &dyn SecretReader, url: &OciUrl, spec: &OciSource) -> Result<Credentials, Missing> {
    let field = |name: &str| format!("{SOURCE}.oci.{name}");
    let of = |at: String| move |secret: &SecretCopy, why| unusable_secret(&at, secrets, &secret.name, why);
    let mut found = Credentials::default();
    let (at, refuse) = (field("secretRef"), of(field("secretRef")));
    if let Some(secret) = copy_with(secrets, spec.secret_ref.as_ref(), &at, Keys::DockerConfig).await? {
        found = repository_secret::of_registry(url, &secret.data).map_err(|why| refuse(&secret, why))?;
    }
    let (at, refuse) = (field("certSecretRef"), of(field("certSecretRef")));
    if let Some(secret) = copy_with(secrets, spec.cert_secret_ref.as_ref(), &at, Keys::Certificates).await? {
        repository_secret::add_certificates(url, &secret.data, &mut found).map_err(|why| refuse(&secret, why))?;
    }
    let (at, refuse) = (field("proxySecretRef"), of(field("proxySecretRef")));
    if let Some(secret) = copy_with(secrets, spec.proxy_secret_ref.as_ref(), &at, Keys::Proxy).await? {
        let proxy = repository_secret::of_proxy(false, &secret.data).map_err(|why| refuse(&secret, why))?;
        found.keys.insert("proxy", proxy);
    }
    Ok(found)
}

fn unusable_secret(field: &str, secrets: &dyn SecretReader, name: &str, why: Unusable) -> Missing {
    Missing::invalid_secret(field, format!("Secret {}/{name}: {why}", secrets.namespace()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(change: impl FnOnce(&mut Value)) -> Result<ValidArgoCd, String> {
        let source = json!({"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}}});
        let mut spec = json!({"source": source, "path": "clusters/demo"});
        change(&mut spec);
        let spec: ArgoCd = serde_json::from_value(spec).unwrap();
        valid(&spec, SourcePolicy::default()).map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn the_minimal_argocd_spec_is_valid_and_has_defaults() {
        let found = checked(|_| ()).unwrap();
        assert_eq!(found.namespace, "argocd");
        assert_eq!(found.interval.as_secs(), 60);
    }

    #[test]
    fn only_the_built_in_version_is_accepted() {
        assert!(checked(|spec| spec["version"] = VERSION.into()).is_ok());
        let message = checked(|spec| spec["version"] = "v3.0.0".into()).unwrap_err();
        assert!(message.starts_with("spec.gitops.argocd.version") && message.contains(VERSION), "{message}");
    }

    #[test]
    fn source_fields_that_only_flux_supports_are_refused() {
        let artifact = json!({"oci": {"url": "oci://ghcr.io/acme/fleet", "ref": {"tag": "prod"}}});
        assert!(checked(|spec| spec["source"] = artifact.clone()).is_ok());
        let ecr = json!({
            "url": "oci://123456789012.dkr.ecr.eu-west-1.amazonaws.com/fleet", "ref": {"tag": "prod"}, "provider": "aws",
        });
        let author = json!({"secretRef": {"name": "authors"}});
        for (source, field) in [
            (json!({"oci": ecr}), "spec.gitops.argocd.source.oci.provider"),
            (
                json!({"oci": {"url": "oci://ghcr.io/acme/fleet", "ref": {"tag": "prod"}, "verify": author}}),
                "spec.gitops.argocd.source.oci.verify",
            ),
            (
                json!({"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}, "verify": author}}),
                "spec.gitops.argocd.source.git.verify",
            ),
            (
                json!({"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}, "recurseSubmodules": true}}),
                "spec.gitops.argocd.source.git.recurseSubmodules",
            ),
            (
                json!({"oci": {"url": "oci://ghcr.io/acme/fleet", "ref": {"tag": "prod"}, "timeout": "2m"}}),
                "spec.gitops.argocd.source.oci.timeout",
            ),
        ] {
            let message = checked(|spec| spec["source"] = source).unwrap_err();
            assert!(message.starts_with(field), "{field}: {message}");
        }
    }

    #[test]
    fn every_mistake_names_its_field() {
        for (path, value, field) in [
            ("/source/git/url", json!("file:///etc"), "spec.gitops.argocd.source.git.url"),
            ("/source/git/url", json!("http://169.254.169.254/latest"), "spec.gitops.argocd.source.git.url"),
            ("/source/git/url", json!("ssh://git@github.com/acme/fleet"), "spec.gitops.argocd.source.git.secretRef"),
            ("/source/git/ref/branch", json!("-x"), "spec.gitops.argocd.source.git.ref"),
            ("/path", json!("../other"), "spec.gitops.argocd.path"),
        ] {
            let message = checked(|spec| *spec.pointer_mut(path).unwrap() = value).unwrap_err();
            assert!(message.starts_with(field), "{field}: {message}");
        }
    }
}
