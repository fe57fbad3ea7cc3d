//! What of a spec can be judged before any call: it is, so that a mistake touches nothing. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::api::gitops::{Agent, Flux, GitReference, SourceKind};
use crate::api::network::NetworkKind;
use crate::api::reference::SecretReference;
use crate::api::{EksClusterSpec, Reason, duration, unsupported};
use crate::controllers::account::Refusal;
use crate::gitops::flux::{Component, GitRef};
use crate::gitops::validate::{self as source, SourcePolicy, SourceUrl};
use crate::upgrade::Windows;

/// A spec that was checked, as far as controllers need more of it than it says literally.
#[derive(Clone, Debug)]
pub struct Valid {
    /// The agent that is asked for.
    pub flux: Option<ValidFlux>,
}

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

fn invalid(field: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::new(Reason::InvalidSpec, format!("{field}: {why}"))
}

impl From<crate::api::SpecError> for Refusal {
    fn from(error: crate::api::SpecError) -> Self {
        Refusal::new(Reason::InvalidSpec, error.to_string())
    }
}

/// Checks the spec.
pub fn validate(spec: &EksClusterSpec, sources: SourcePolicy) -> Result<Valid, Refusal> {
    supported(spec)?;
    spec.version().map_err(|error| invalid("spec.version", error))?;
    Windows::parse(&spec.upgrade.windows)?;
    if duration::parse(&spec.upgrade.soak).is_none() {
        return Err(invalid("spec.upgrade.soak", duration::refusal(&spec.upgrade.soak)));
    }
    if let NetworkKind::Existing(existing) = spec.network.kind()? {
        existing.subnets()?;
    }
    let agent = spec.gitops.as_ref().map(|gitops| gitops.agent()).transpose()?.flatten();
    let flux = match agent {
        None => None,
        Some(Agent::Flux(flux)) => Some(valid_flux(flux, sources)?),
        Some(Agent::ArgoCd(_)) => return Err(not_yet("spec.gitops.argocd")),
    };
    Ok(Valid { flux })
}

/// Fields that are part of the API and not acted upon yet: said, never ignored.
fn supported(spec: &EksClusterSpec) -> Result<(), Refusal> {
    match unsupported::of_cluster(spec)?.message() {
        Some(message) => Err(Refusal::new(Reason::InvalidSpec, message)),
        None => Ok(()),
    }
}

fn not_yet(field: &str) -> Refusal {
    invalid(field, "not supported yet by this version of the operator; remove it")
}

fn valid_flux(flux: &Flux, sources: SourcePolicy) -> Result<ValidFlux, Refusal> {
    const FLUX: &str = "spec.gitops.flux";
    if flux.version != crate::api::gitops::FLUX_VERSION {
        let why =
            format!("{:?} is not built in; this operator installs {}", flux.version, crate::api::gitops::FLUX_VERSION);
        return Err(invalid("spec.gitops.flux.version", why));
    }
    let git = match flux.source.kind()? {
        SourceKind::Git(git) => git,
        SourceKind::Oci(_) => return Err(not_yet("spec.gitops.flux.source.oci")),
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

/// Reads `10m`, `1h30m`, `90s`.
pub fn duration(field: &str, text: &str) -> Result<Duration, Refusal> {
    duration::parse(text).filter(|duration| !duration.is_zero()).ok_or_else(|| invalid(field, duration::refusal(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(change: impl FnOnce(&mut Value)) -> EksClusterSpec {
        let source = json!({"git": {"url": "https://github.com/acme/fleet", "ref": {"branch": "main"}}});
        let mut spec = json!({
            "region": "eu-west-1",
            "version": "1.34",
            "gitops": {"flux": {"source": source, "path": "clusters/demo"}},
        });
        change(&mut spec);
        serde_json::from_value(spec).unwrap()
    }

    fn refused(change: impl FnOnce(&mut Value)) -> String {
        let refusal = validate(&spec(change), SourcePolicy::default()).unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidSpec);
        refusal.message
    }

    #[test]
    fn the_minimal_spec_is_valid_and_has_fluxs_defaults() {
        let flux = validate(&spec(|_| ()), SourcePolicy::default()).unwrap().flux.unwrap();
        assert_eq!(flux.reference, GitRef::Branch("main".into()));
        assert_eq!((flux.source_interval.as_secs(), flux.interval.as_secs()), (60, 600));
        assert_eq!(flux.components.len(), 4);
        let without = validate(&spec(|s| drop(s["gitops"].take())), SourcePolicy::default()).unwrap();
        assert!(without.flux.is_none());
    }

    #[test]
    fn every_mistake_names_its_field() {
        let git = "/gitops/flux/source/git";
        let set = |spec: &mut Value, path: &str, value: Value| {
            let (parent, name) = path.rsplit_once('/').unwrap();
            spec.pointer_mut(parent).unwrap()[name] = value;
        };
        let night = json!({"windows": [{"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Nowhere"}]});
        let cases: [(&str, String, Value); 11] = [
            ("spec.upgrade.windows", "/upgrade".into(), night),
            ("spec.upgrade.soak", "/upgrade".into(), json!({"soak": "a while"})),
            ("spec.version", "/version".into(), json!("latest")),
            ("spec.network", "/network".into(), json!({"vpc": {}, "existing": {"subnetIds": ["subnet-1"]}})),
            ("spec.gitops.flux.source.git.url", format!("{git}/url"), json!("http://169.254.169.254/latest")),
            ("spec.gitops.flux.source.git.url", format!("{git}/url"), json!("file:///etc")),
            ("spec.gitops.flux.source.git.secretRef", format!("{git}/url"), json!("ssh://git@github.com/acme/fleet")),
            ("spec.gitops.flux.path", "/gitops/flux/path".into(), json!("../other")),
            ("spec.gitops.flux.interval", "/gitops/flux/interval".into(), json!("soon")),
            ("spec.gitops.flux.version", "/gitops/flux/version".into(), json!("v1.0.0")),
            ("spec.gitops.flux.components", "/gitops/flux/components".into(), json!(["no-controller"])),
        ];
        for (field, path, value) in cases {
            let message = refused(|spec| set(spec, &path, value));
            assert!(message.contains(field), "{field}: {message}");
        }
    }

    #[test]
    fn an_interval_of_nothing_is_refused() {
        assert_eq!(duration("x", "1h30m").unwrap().as_secs(), 5400);
        for bad in ["", "0s", "-1m", "ten"] {
            assert!(duration("x", bad).is_err(), "{bad}");
        }
    }
}
