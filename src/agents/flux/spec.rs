//! `spec.gitops.flux`: validates it and builds the agent's input, including the Secrets it references.
//!
//! Not allowed here: clients. I/O: reads these Secrets, by the caller's reader.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::BoxFuture;

use super::input::{Component, Decryption, FluxInput, NAME, Version};
use super::source_input;
use crate::agents::agent::{AgentInput, InvalidField, ValidSpec};
use crate::agents::secret_keys::Keys;
use crate::agents::secret_reader::{Missing, SecretReader, copy_with};
use crate::agents::valid_source::{self, ValidSource};
use crate::agents::validate_source::{self, SourcePolicy};
use crate::api::gitops::Flux;

/// `spec.gitops.flux`, parsed.
#[derive(Clone, Debug)]
pub struct ValidFlux {
    /// The requested version.
    pub version: Option<Version>,
    /// The source it follows.
    pub source: ValidSource,
    /// The polling interval of the source.
    pub source_interval: Duration,
    /// The interval at which everything is reconciled.
    pub interval: Duration,
    /// The controllers to install.
    pub components: BTreeSet<Component>,
    /// Path, registry and other fields, as in the spec.
    pub spec: Flux,
}

/// Validates the spec.
pub fn valid(flux: &Flux, sources: SourcePolicy) -> Result<ValidFlux, InvalidField> {
    let version = flux.version.as_deref().map(version).transpose()?;
    let (source, source_interval) = valid_source::valid(&flux.source, sources, "spec.gitops.flux.source")?;
    validate_source::path(&flux.path).map_err(|why| InvalidField::new("spec.gitops.flux.path", why))?;
    copies_are_apart(flux)?;
    Ok(ValidFlux {
        version,
        source,
        source_interval,
        interval: valid_source::interval("spec.gitops.flux.interval", &flux.interval)?,
        components: components(flux)?,
        spec: flux.clone(),
    })
}

/// The repository's credentials are copied under Flux's own name for them, all other Secrets under their own names.
fn copies_are_apart(flux: &Flux) -> Result<(), InvalidField> {
    let decryption = flux.decryption.as_ref().and_then(|decryption| decryption.secret_ref.as_ref());
    let others = [("imagePullSecretRef", flux.image_pull_secret_ref.as_ref()), ("decryption.secretRef", decryption)];
    for (field, reference) in others.into_iter().chain(source_input::copies(&flux.source)) {
        if reference.is_some_and(|reference| reference.name == NAME) {
            let why =
                format!("Flux reserves the Secret name {NAME} for the repository's credentials: use another name");
            return Err(InvalidField::new(format!("spec.gitops.flux.{field}"), why));
        }
    }
    Ok(())
}

fn version(text: &str) -> Result<Version, InvalidField> {
    Version::parse(text).ok_or_else(|| {
        let built_in: Vec<_> = Version::ALL.iter().map(|version| version.as_str()).collect();
        let why = format!(
            "{text:?} is not built in: use one of {}, or remove it to use {}",
            built_in.join(", "),
            Version::NEWEST
        );
        InvalidField::new("spec.gitops.flux.version", why)
    })
}

fn components(flux: &Flux) -> Result<BTreeSet<Component>, InvalidField> {
    const FIELD: &str = "spec.gitops.flux.components";
    let parse = |name: &String| {
        Component::parse(name).ok_or_else(|| {
            let known: Vec<_> = Component::ALL.iter().map(|component| component.as_str()).collect();
            let why = format!(
                "{name:?} is not built in: use any of {}, or let Git own Flux: commit the whole of it with {name} to the path \
                 (flux install --components-extra={name} --export)",
                known.join(", ")
            );
            InvalidField::new(FIELD, why)
        })
    };
    let mut all: BTreeSet<_> = flux.components.iter().map(parse).collect::<Result<_, _>>()?;
    // Flux needs these two to follow any source.
    all.extend([Component::SourceController, Component::KustomizeController]);
    Ok(all)
}

impl ValidSpec for ValidFlux {
    fn wants_facts(&self) -> bool {
        self.spec.facts
    }

    fn input<'a>(&'a self, secrets: &'a dyn SecretReader) -> BoxFuture<'a, Result<AgentInput, Missing>> {
        Box::pin(async move { Ok(Box::new(input(secrets, self).await?) as AgentInput) })
    }
}

async fn input(secrets: &dyn SecretReader, flux: &ValidFlux) -> Result<FluxInput, Missing> {
    let ValidFlux { version, source, source_interval, interval, components, spec } = flux;
    let source = source_input::input(secrets, source, *source_interval).await?;
    let (pull, field) = (spec.image_pull_secret_ref.as_ref(), "spec.gitops.flux.imagePullSecretRef");
    let image_pull_secret = copy_with(secrets, pull, field, Keys::DockerConfig).await?;
    let decryption = match &spec.decryption {
        None => None,
        Some(decryption) => {
            let field = "spec.gitops.flux.decryption.secretRef";
            let keys = decryption.secret_ref.as_ref();
            let secret = copy_with(secrets, keys, field, Keys::Decryption).await?;
            Some(Decryption { provider: decryption.provider.clone(), secret })
        }
    };
    Ok(FluxInput {
        version: *version,
        installs: Some(version.unwrap_or(Version::NEWEST)),
        keeps_version: false,
        takes_over: spec.take_over,
        components: components.clone(),
        registry: spec.registry.trim_end_matches('/').to_owned(),
        image_pull_secret,
        source,
        path: spec.path.clone(),
        interval: *interval,
        prune: spec.prune,
        decryption,
        facts: None,
        source_identity: None,
        host_network: None,
        source_leaves_first: false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agents::shared_input::GitRef;
    use crate::api::gitops::FLUX_COMPONENTS;

    #[test]
    fn the_minimal_spec_is_valid_and_has_defaults() {
        let source = json!({"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}}});
        let spec: Flux = serde_json::from_value(json!({"source": source, "path": "clusters/demo"})).unwrap();
        let found = valid(&spec, SourcePolicy::default()).unwrap();
        let ValidSource::Git { reference, .. } = &found.source else { panic!("it follows Git") };
        assert_eq!(*reference, GitRef::Branch("main".into()));
        assert_eq!((found.source_interval.as_secs(), found.interval.as_secs()), (60, 600));
        assert_eq!(found.components.len(), 4);
        assert!(found.wants_facts());
    }

    #[test]
    fn every_component_that_the_schema_accepts_is_built_in() {
        let built_in = Component::ALL.map(Component::as_str);
        assert_eq!(FLUX_COMPONENTS, built_in);
    }
}
