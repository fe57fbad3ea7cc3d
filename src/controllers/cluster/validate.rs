//! Validates what can be judged of a spec before any call, so that a mistake touches nothing. Pure.

use std::borrow::Cow;

use super::agent::steps;
use crate::agents::validate_source::SourcePolicy;
use crate::agents::{self, ALL, Agent, ValidAgent};
use crate::api::gitops::GitOps;
use crate::api::hook::{HookCluster, HookPoint};
use crate::api::network::NetworkKind;
use crate::api::status_cluster::EksClusterStatus;
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
    let keeps_its_version = |agent: &dyn Agent| {
        let named = spec.gitops.as_ref().and_then(|gitops| agent.named_version(gitops));
        named.is_some_and(|version| stays(&agent.version_field(), version, agent.has_version(version)))
    };
    let agents: Vec<_> = ALL.iter().filter(|agent| keeps_its_version(**agent)).collect();
    if !agents.is_empty()
        && let Some(gitops) = &mut spec.to_mut().gitops
    {
        agents.iter().for_each(|agent| agent.unset_version(gitops));
    }
    spec
}

/// Validates the spec.
pub fn validate(spec: &EksClusterSpec, sources: SourcePolicy) -> Result<Valid, Refusal> {
    supported(spec)?;
    spec.version().map_err(|error| invalid("spec.version", &error).caused_by(error))?;
    Windows::parse(&spec.upgrade.windows)?;
    if duration::parse(&spec.upgrade.soak).is_none() {
        return Err(invalid("spec.upgrade.soak", duration::refusal(&spec.upgrade.soak)));
    }
    if let NetworkKind::Existing(existing) = spec.network.kind()? {
        existing.subnets()?;
    }
    hooks(spec)?;
    source_identity(spec)?;
    pod_identity_agent(spec)?;
    // At most one.
    spec.gitops.as_ref().map(GitOps::agent).transpose()?;
    let agent = spec.gitops.as_ref().and_then(|gitops| agents::requested(gitops)?.validate(gitops, sources));
    Ok(Valid { agent: agent.transpose()? })
}

/// A template is one of a Job, and a Job runs in the namespace of the EksCluster or in the EKS cluster.
fn hooks(spec: &EksClusterSpec) -> Result<(), Refusal> {
    for hook in &spec.hooks {
        let field = |name: &str| format!("spec.hooks[{}].{name}", hook.name);
        if duration::parse(&hook.timeout).is_none() {
            return Err(invalid(&field("timeout"), duration::refusal(&hook.timeout)));
        }
        let template = hook.job.template.as_ref();
        if hook.job.cron_job.is_some() == template.is_some() {
            return Err(invalid(&field("job"), "exactly one of cronJob, template must be set"));
        }
        if hook.job.cron_job.as_ref().is_some_and(|cron_job| cron_job.namespace.is_some()) {
            let why = "a hook uses a CronJob of the EksCluster's own namespace, or with `in: Workload` of the hook's namespace: remove \
                       cronJob.namespace";
            return Err(invalid(&field("job.cronJob.namespace"), why));
        }
        if hook.in_ == HookCluster::Workload && hook.at.contains(&HookPoint::BeforeCreate) {
            let why = "before its creation the EKS cluster has no API server that could run a Job: remove BeforeCreate from `at`, or set \
                       in: Management";
            return Err(invalid(&field("at"), why));
        }
        if hook.in_ == HookCluster::Management && hook.namespace.is_some() {
            let why = "in the management cluster a hook runs in the namespace of its EksCluster: remove namespace, or set in: Workload";
            return Err(invalid(&field("namespace"), why));
        }
        template
            .map_or(Ok(()), |template| template.parse().map(drop))
            .map_err(|why| invalid(&field("job.template"), why))?;
    }
    Ok(())
}

/// The add-on that runs the agent.
const ADDON: &str = "eks-pod-identity-agent";

/// Pods get an identity from an agent on their node, which Auto Mode includes.
fn source_identity(spec: &EksClusterSpec) -> Result<(), Refusal> {
    let Some(identity) = spec.gitops.as_ref().and_then(GitOps::aws_identity) else { return Ok(()) };
    if !has_pod_identity_agent(spec) {
        let why = format!("aws needs the add-on {ADDON}: list it in spec.addons, or set spec.autoMode");
        return Err(invalid(identity.field, why));
    }
    Ok(())
}

/// As for the source: without the agent, Pods get no credentials of a role that Keelson creates for them.
fn pod_identity_agent(spec: &EksClusterSpec) -> Result<(), Refusal> {
    let of_pods = spec.pod_identities.iter().find(|one| one.role.is_some());
    let of_pods = of_pods.map(|one| format!("spec.podIdentities[{}/{}].role", one.namespace, one.service_account));
    let of_addon = spec.addons.iter().find(|one| one.pod_identity_role.is_some());
    let of_addon = of_addon.map(|one| format!("spec.addons[{}].podIdentityRole", one.name));
    let of_karpenter = spec.karpenter.as_ref().map(|_| "spec.karpenter".to_owned());
    match of_pods.or(of_addon).or(of_karpenter).filter(|_| !has_pod_identity_agent(spec)) {
        Some(field) => {
            Err(invalid(&field, format!("it needs the add-on {ADDON}: list it in spec.addons, or set spec.autoMode")))
        }
        None => Ok(()),
    }
}

fn has_pod_identity_agent(spec: &EksClusterSpec) -> bool {
    spec.has_auto_mode() || spec.addons.iter().any(|addon| addon.name == ADDON)
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
    fn an_agent_is_optional() {
        let agent = |spec: &EksClusterSpec| validate(spec, SourcePolicy::default()).unwrap().agent;
        assert!(agent(&spec(|_| ())).is_some());
        assert!(agent(&spec(|spec| drop(spec["gitops"].take()))).is_none());
    }

    #[test]
    fn an_installed_agent_version_stays_valid_when_no_longer_built_in() {
        let gone = spec(|spec| spec["gitops"]["flux"]["version"] = "v2.0.0".into());
        let judged = |previous: &EksClusterStatus| {
            validate(&with_installed_agent(&gone, previous), SourcePolicy::default()).map(drop).map_err(|no| no.message)
        };
        assert!(judged(&EksClusterStatus::default()).unwrap_err().contains("spec.gitops.flux.version"));
        let with = |version: &str, adopted| -> EksClusterStatus {
            let applied = json!([{"field": "flux.version", "value": version}]);
            serde_json::from_value(json!({"gitops": {"applied": applied, "adopted": adopted}})).unwrap()
        };
        assert_eq!(judged(&with("v2.0.0", false)), Ok(()));
        assert!(judged(&with("v2.9.5", false)).is_err());
        assert_eq!(judged(&with("v2.9.5", true)), Ok(()), "it is Git's");
        let here = spec(|spec| spec["gitops"]["flux"]["version"] = "v2.7.5".into());
        assert!(matches!(with_installed_agent(&here, &with("v2.7.5", false)), Cow::Borrowed(_)));
    }

    #[test]
    fn mistake_in_a_hook_names_the_hook_and_the_field() {
        let of = |hook: Value| refused(|spec| spec["hooks"] = json!([hook]));
        let hook = |job: Value| json!({"name": "backup", "at": ["BeforeDelete"], "job": job});
        let template = json!({"spec": {"backofLimit": 0, "template": {}}});
        assert_eq!(
            of(hook(json!({"template": template}))),
            "spec.hooks[backup].job.template: spec.backofLimit is not a field of a Job"
        );
        let elsewhere = json!({"cronJob": {"name": "x", "namespace": "other"}});
        assert!(of(hook(elsewhere)).starts_with("spec.hooks[backup].job.cronJob.namespace: "));
        assert!(of(hook(json!({}))).starts_with("spec.hooks[backup].job: exactly one of"));
        let with = |fields: Value| {
            let mut hook = hook(json!({"cronJob": {"name": "x"}}));
            hook.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            of(hook)
        };
        let before = with(json!({"in": "Workload", "at": ["AfterCreate", "BeforeCreate"]}));
        assert!(
            before.starts_with("spec.hooks[backup].at: before its creation the EKS cluster has no API server"),
            "{before}"
        );
        assert!(
            with(json!({"namespace": "other"})).starts_with("spec.hooks[backup].namespace: in the management cluster")
        );
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
