//! Validates what can be judged of a spec before any call, so that a mistake touches nothing. Pure.

use std::borrow::Cow;

use super::agent::{ValidAgent, steps};
use crate::agents::validate::SourcePolicy;
use crate::agents::{argocd, flux};
use crate::api::gitops::GitOps;
use crate::api::network::NetworkKind;
use crate::api::status::EksClusterStatus;
use crate::api::{EksClusterSpec, Reason, duration, unsupported};
use crate::controllers::account::refusal::{Refusal, invalid};
use crate::upgrade::Windows;

/// A validated spec, as far as controllers need more of it than its literal values.
#[derive(Clone, Debug)]
pub struct Valid {
    /// The requested agent.
    pub agent: Option<ValidAgent>,
}

/// The spec to validate. A version of the agent that the spec names and this Keelson no longer ships is valid where
/// the agent already has it, or where Git owns the agent: it stays as it is.
pub fn with_installed_agent<'a>(spec: &'a EksClusterSpec, previous: &EksClusterStatus) -> Cow<'a, EksClusterSpec> {
    let of_git = previous.gitops.as_ref().is_some_and(|gitops| gitops.adopted);
    let applied = steps::applied(previous).unwrap_or_default();
    let stays = |field: &str, version: &str, is_built_in: bool| {
        !is_built_in && (of_git || applied.get(field).is_some_and(|current| current == version))
    };
    let mut spec = Cow::Borrowed(spec);
    let named = |spec: &EksClusterSpec| {
        let gitops = spec.gitops.as_ref()?;
        let flux = gitops.flux.as_ref().and_then(|flux| flux.version.clone());
        let argocd = gitops.argocd.as_ref().and_then(|argocd| argocd.version.clone());
        Some((flux, argocd))
    };
    let (flux, argocd) = named(&spec).unwrap_or_default();
    let flux =
        flux.is_some_and(|version| stays(steps::FLUX_VERSION, &version, flux::Version::parse(&version).is_some()));
    let argocd =
        argocd.is_some_and(|version| stays(steps::ARGOCD_VERSION, &version, version == argocd::input::VERSION));
    if (flux || argocd)
        && let Some(gitops) = &mut spec.to_mut().gitops
    {
        gitops.flux.iter_mut().filter(|_| flux).for_each(|flux| flux.version = None);
        gitops.argocd.iter_mut().filter(|_| argocd).for_each(|argocd| argocd.version = None);
    }
    spec
}

/// Validates the spec.
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
    source_identity(spec)?;
    let agent = spec.gitops.as_ref().map(|gitops| gitops.agent()).transpose()?.flatten();
    let agent = agent.map(|agent| ValidAgent::of(agent, sources)).transpose()?;
    Ok(Valid { agent })
}

/// Pods get an identity from an agent on their node, which Auto Mode includes.
fn source_identity(spec: &EksClusterSpec) -> Result<(), Refusal> {
    const ADDON: &str = "eks-pod-identity-agent";
    let needed = spec.gitops.as_ref().is_some_and(GitOps::needs_aws_identity);
    if needed && spec.auto_mode.is_none() && !spec.addons.iter().any(|addon| addon.name == ADDON) {
        let why = format!("aws needs the add-on {ADDON}: list it in spec.addons, or set spec.autoMode");
        return Err(invalid("spec.gitops.flux.source.oci.provider", why));
    }
    Ok(())
}

/// Rejects fields that are part of the API and not implemented yet; none is ignored silently.
fn supported(spec: &EksClusterSpec) -> Result<(), Refusal> {
    match unsupported::of_cluster(spec)?.message() {
        Some(message) => Err(Refusal::new(Reason::InvalidSpec, message)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::input::GitRef;
    use crate::controllers::cluster::agent::ValidSource;
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
    fn the_minimal_spec_is_valid_and_has_flux_defaults() {
        let Some(ValidAgent::Flux(flux)) = validate(&spec(|_| ()), SourcePolicy::default()).unwrap().agent else {
            panic!("it asks for Flux")
        };
        let ValidSource::Git { reference, .. } = flux.source else { panic!("it follows Git") };
        assert_eq!(reference, GitRef::Branch("main".into()));
        assert_eq!((flux.source_interval.as_secs(), flux.interval.as_secs()), (60, 600));
        assert_eq!(flux.components.len(), 4);
        let without = validate(&spec(|s| drop(s["gitops"].take())), SourcePolicy::default()).unwrap();
        assert!(without.agent.is_none());
    }

    #[test]
    fn an_installed_agent_version_stays_valid_when_no_longer_built_in() {
        let gone = spec(|spec| spec["gitops"]["flux"]["version"] = "v2.0.0".into());
        let judged = |previous: &EksClusterStatus| {
            validate(&with_installed_agent(&gone, previous), SourcePolicy::default()).map(drop).map_err(|no| no.message)
        };
        assert!(judged(&EksClusterStatus::default()).unwrap_err().contains("spec.gitops.flux.version"));
        let with = |version: &str, adopted| -> EksClusterStatus {
            let applied = json!([{"field": steps::FLUX_VERSION, "value": version}]);
            serde_json::from_value(json!({"gitops": {"applied": applied, "adopted": adopted}})).unwrap()
        };
        assert_eq!(judged(&with("v2.0.0", false)), Ok(()));
        assert!(judged(&with("v2.9.5", false)).is_err());
        assert_eq!(judged(&with("v2.9.5", true)), Ok(()), "it is Git's");
        let here = spec(|spec| spec["gitops"]["flux"]["version"] = "v2.7.5".into());
        assert!(matches!(with_installed_agent(&here, &with("v2.7.5", false)), Cow::Borrowed(_)));
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
    fn every_mistake_about_an_artifact_names_its_field() {
        const ECR: &str = "oci://123456789012.dkr.ecr.eu-west-1.amazonaws.com/fleet";
        let key = json!({"name": "key"});
        let cases = [
            (json!({"url": "oci://ghcr.io/a:b"}), ".url"),
            (json!({"url": "oci://169.254.169.254/a"}), ".url"),
            (json!({"provider": "gcp"}), ".provider"),
            (json!({"provider": "aws"}), ".provider"),
            (json!({"provider": "aws", "url": ECR, "secretRef": key}), ".secretRef"),
            (json!({"interval": "soon"}), ".interval"),
            (json!({"certSecretRef": {"name": "flux-system"}}), ".certSecretRef"),
        ];
        let with = |spec: &mut Value, more: Value| {
            let mut source = json!({"url": "oci://ghcr.io/acme/fleet", "ref": {"tag": "prod"}});
            source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec["gitops"]["flux"]["source"] = json!({"oci": source});
        };
        for (more, field) in cases {
            let message = refused(|spec| with(spec, more));
            assert!(message.contains(&format!("spec.gitops.flux.source.oci{field}")), "{field}: {message}");
        }
        let ecr = || json!({"provider": "aws", "url": ECR});
        let good = |spec| validate(&spec, SourcePolicy::default()).map(|_| ()).map_err(|refusal| refusal.message);
        assert_eq!(good(spec(|spec| with(spec, ecr()))), Ok(()));
        let other_addons = |spec: &mut Value| {
            spec["addons"] = json!([{"name": "vpc-cni"}]);
            with(spec, ecr());
        };
        assert!(refused(other_addons).contains("eks-pod-identity-agent"));
        let auto = |spec: &mut Value| {
            other_addons(spec);
            spec["autoMode"] = json!({});
        };
        assert_eq!(good(spec(auto)), Ok(()));
    }
}
