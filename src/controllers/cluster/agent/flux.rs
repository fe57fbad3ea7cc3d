//! `spec.gitops.flux`: checked before any call, and made the input of the agent with the Secrets it names. I/O: reads these Secrets.

use std::collections::BTreeSet;
use std::time::Duration;

use super::secrets::{Missing, copy, read};
use crate::api::Reason;
use crate::api::gitops::{FLUX_VERSION, Flux, GitReference, SourceKind};
use crate::api::reference::SecretReference;
use crate::controllers::account::Refusal;
use crate::controllers::cluster::validate::{duration, invalid};
use crate::controllers::context::Context;
use crate::gitops::flux::{Component, Decryption, FluxInput, GitSource};
use crate::gitops::input::{GitRef, SecretData};
use crate::gitops::validate::{self as source, NamedSecret, SourcePolicy, SourceUrl};

/// `spec.gitops.flux`, parsed.
#[derive(Clone, Debug)]
pub struct ValidFlux {
    /// Where the repository is.
    pub url: SourceUrl,
    /// What of it is followed.
    pub reference: GitRef,
    /// How often it is asked.
    pub source_interval: Duration,
    /// How often everything is compared.
    pub interval: Duration,
    /// Which controllers are installed.
    pub components: BTreeSet<Component>,
    /// Path, registry and the like, as they stand in the spec.
    pub spec: Flux,
    /// The Secret with the repository's credentials.
    pub credentials: Option<SecretReference>,
    /// The Secret with the proxy's address.
    pub proxy: Option<SecretReference>,
}

/// Checks the spec.
pub fn valid(flux: &Flux, sources: SourcePolicy) -> Result<ValidFlux, Refusal> {
    const FLUX: &str = "spec.gitops.flux";
    if flux.version != FLUX_VERSION {
        let why = format!("{:?} is not built in; this operator installs {}", flux.version, FLUX_VERSION);
        return Err(invalid("spec.gitops.flux.version", why));
    }
    let git = match flux.source.kind()? {
        SourceKind::Git(git) => git,
        SourceKind::Oci(_) => {
            return Err(invalid(
                "spec.gitops.flux.source.oci",
                "not supported yet by this version of the operator; remove it",
            ));
        }
    };
    let field = |name: &str| format!("{FLUX}.source.git.{name}");
    let url = source::url(&git.url, sources).map_err(|why| invalid(&field("url"), why))?;
    if git.secret_ref.is_none() {
        source::secret(&url, None).map_err(|why| invalid(&field("secretRef"), why))?;
    }
    source::path(&flux.path).map_err(|why| invalid("spec.gitops.flux.path", why))?;
    let reference = match git.reference.kind()? {
        GitReference::Branch(value) => GitRef::Branch(value.into()),
        GitReference::Tag(value) => GitRef::Tag(value.into()),
        GitReference::Semver(value) => GitRef::Semver(value.into()),
        GitReference::Commit(value) => GitRef::Commit(value.into()),
        GitReference::Name(value) => GitRef::Name(value.into()),
    };
    let (name, value) = reference.field();
    source::reference(name, value).map_err(|why| invalid(&field("ref"), why))?;
    Ok(ValidFlux {
        url,
        source_interval: duration(&field("interval"), &git.interval)?,
        interval: duration("spec.gitops.flux.interval", &flux.interval)?,
        components: components(flux)?,
        credentials: git.secret_ref.clone(),
        proxy: git.proxy_secret_ref.clone(),
        reference,
        spec: flux.clone(),
    })
}

fn components(flux: &Flux) -> Result<BTreeSet<Component>, Refusal> {
    const FIELD: &str = "spec.gitops.flux.components";
    let parse = |name: &String| {
        Component::parse(name).ok_or_else(|| {
            let known: Vec<_> = Component::ALL.iter().map(|component| component.as_str()).collect();
            invalid(FIELD, format!("{name:?} is not built in; write of {}", known.join(", ")))
        })
    };
    let mut all: BTreeSet<_> = flux.components.iter().map(parse).collect::<Result<_, _>>()?;
    // Nothing could be followed without these two.
    all.extend([Component::SourceController, Component::KustomizeController]);
    Ok(all)
}

/// All that is to be applied but the facts, with the Secrets it names.
pub async fn input(ctx: &Context, namespace: &str, flux: &ValidFlux) -> Result<FluxInput, Missing> {
    let ValidFlux { url, reference, source_interval, interval, components, spec, credentials, proxy } = flux;
    let git = "spec.gitops.flux.source.git";
    let secret = match credentials {
        None => None,
        Some(SecretReference { name }) => {
            let found = read(ctx, namespace, name).await?;
            let data = found.map(|secret| secret.data.unwrap_or_default());
            let named = NamedSecret { namespace, name, data: data.as_ref() };
            source::secret(url, Some(named)).map_err(|why| {
                Missing::Refused(Refusal::new(Reason::InvalidSpec, format!("{git}.secretRef: {why}")))
            })?;
            data.map(SecretData)
        }
    };
    let proxy_secret = copy(ctx, namespace, proxy.as_ref(), &format!("{git}.proxySecretRef")).await?;
    let pull = spec.image_pull_secret_ref.as_ref();
    let image_pull_secret = copy(ctx, namespace, pull, "spec.gitops.flux.imagePullSecretRef").await?;
    let decryption = match &spec.decryption {
        None => None,
        Some(decryption) => {
            let field = "spec.gitops.flux.decryption.secretRef";
            let secret = copy(ctx, namespace, decryption.secret_ref.as_ref(), field).await?;
            Some(Decryption { provider: decryption.provider.clone(), secret })
        }
    };
    Ok(FluxInput {
        components: components.clone(),
        registry: spec.registry.trim_end_matches('/').to_owned(),
        image_pull_secret,
        source: GitSource {
            url: url.clone(),
            reference: reference.clone(),
            interval: *source_interval,
            secret,
            proxy_secret,
        },
        path: spec.path.clone(),
        interval: *interval,
        prune: spec.prune,
        decryption,
        facts: None,
    })
}
