//! Argo CD's install manifest: `deploy/argocd`, embedded and compressed, customized with namespace, interval and known
//! hosts.
//!
//! Not allowed here: a client. No I/O. The manifest is read as a stream with one object per line: other objects are not
//! parsed, and an object lives as long as the caller keeps it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead as _, BufReader};

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::{Value, json};

use super::input::{ArgoCdInput, VERSION};
use super::sync::{CERTIFICATES, MARKER, is_synced, protect, seconds};
use crate::agents::adoption::AdoptionMarker;
use crate::agents::apply::OwnershipPolicy;
use crate::agents::host_network::{ApiAddress, set_addresses, set_host_network};
use crate::agents::install::{Manifests, Phase};
use crate::workload::object::{Object, ObjectId};

const INSTALL: &[u8] = include_bytes!("../../../deploy/argocd/install.jsonl.gz");
const CONTROLLER: &str = "argocd-application-controller";
pub const REPO_SERVER: &str = "argocd-repo-server";

/// The Deployments and the StatefulSet of the manifest.
pub const COMPONENTS: [&str; 7] = [
    CONTROLLER,
    "argocd-applicationset-controller",
    "argocd-dex-server",
    "argocd-notifications-controller",
    "argocd-redis",
    REPO_SERVER,
    "argocd-server",
];

/// The install of one cluster.
#[derive(Debug, Clone, Copy)]
pub struct Install<'a> {
    pub input: &'a ArgoCdInput,
    /// Git has adopted one of the components. Argo CD does not track CRDs, so their owner is unknown: from then on,
    /// existing objects that Git does not contain stay unchanged, as they belong to the version that Git installed.
    pub adopted_by_git: bool,
}

/// Hash of what the manifests depend on.
pub fn key(input: &ArgoCdInput) -> u64 {
    let mut hasher = DefaultHasher::new();
    let ArgoCdInput {
        installs,
        keeps_version: _,
        takes_over: _,
        namespace,
        repository,
        path: _,
        facts: _,
        host_network,
    } = input;
    (VERSION, installs, namespace, repository.interval, &repository.credentials.known_hosts).hash(&mut hasher);
    host_network.hash(&mut hasher);
    hasher.finish()
}

impl Manifests for Install<'_> {
    fn agent(&self) -> String {
        format!("Argo CD {VERSION}")
    }

    fn key(&self) -> u64 {
        key(self.input)
    }

    fn objects(&self, phase: Phase) -> Box<dyn Iterator<Item = Object> + Send + '_> {
        match phase {
            Phase::Namespace => Box::new(namespace(self.input).into_iter()),
            _ => Box::new(objects(self.input, phase)),
        }
    }

    fn policy(&self) -> OwnershipPolicy {
        if self.adopted_by_git { OwnershipPolicy::IfMissing(MARKER) } else { OwnershipPolicy::UntilAdopted(MARKER) }
    }

    fn is_synced(&self, id: &ObjectId) -> bool {
        is_synced(id)
    }

    fn marker(&self) -> AdoptionMarker {
        MARKER
    }
}

/// The namespace, which the manifest expects to exist.
fn namespace(input: &ArgoCdInput) -> Option<Object> {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": input.namespace}});
    Object::of(body).map(protect)
}

fn objects(input: &ArgoCdInput, phase: Phase) -> impl Iterator<Item = Object> + '_ {
    BufReader::new(GzDecoder::new(INSTALL))
        .lines()
        .map_while(Result::ok)
        .filter(move |line| phase_of(line) == Some(phase))
        .filter_map(|line| serde_json::from_str(&line).ok())
        .filter_map(|body| customize(body, input))
}

/// Parses only the kind: two of the CRDs are most of the manifest.
fn phase_of(line: &str) -> Option<Phase> {
    #[derive(Deserialize)]
    struct Head<'a> {
        kind: &'a str,
    }
    match serde_json::from_str::<Head<'_>>(line).ok()?.kind {
        "CustomResourceDefinition" => Some(Phase::Definitions),
        _ => Some(Phase::Agent),
    }
}

/// `None` for the object that every reconcile applies instead.
fn customize(mut body: Value, input: &ArgoCdInput) -> Option<Object> {
    let kind = body["kind"].as_str().unwrap_or_default().to_owned();
    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    match (kind.as_str(), name.as_str()) {
        ("ConfigMap", CERTIFICATES) => return None,
        ("ClusterRoleBinding", _) => set_subjects(&mut body, &input.namespace),
        ("ConfigMap", "argocd-cm") => set_interval(&mut body["data"], input),
        ("ConfigMap", "argocd-cmd-params-cm") => set_error_grace_period(&mut body["data"], input),
        ("ConfigMap", "argocd-ssh-known-hosts-cm") => add_known_hosts(&mut body["data"]["ssh_known_hosts"], input),
        (_, CONTROLLER | REPO_SERVER) if matches!(kind.as_str(), "StatefulSet" | "Deployment") => {
            // Both read the interval at startup.
            body["spec"]["template"]["metadata"]["annotations"]["keelson.dev/interval"] =
                seconds(input.repository.interval).into();
        }
        _ => {}
    }
    if let Some(api) = &input.host_network
        && matches!(kind.as_str(), "StatefulSet" | "Deployment")
    {
        set_host_addresses(&mut body, &name, api);
    }
    if !matches!(kind.as_str(), "CustomResourceDefinition" | "ClusterRole" | "ClusterRoleBinding") {
        body["metadata"]["namespace"] = input.namespace.as_str().into();
    }
    Object::of(body).map(protect)
}

/// What applies Applications runs on the host network. The user interface, logins and notifications wait for Pods'
/// own.
fn set_host_addresses(workload: &mut Value, name: &str, api: &ApiAddress) {
    const REDIS: &str = "--redis=127.0.0.1:9780";
    let local = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>();
    let (flags, probed) = match name {
        // Their form in a Redis command is `--port 9780`.
        "argocd-redis" => (Vec::new(), None),
        REPO_SERVER => {
            let own =
                ["--address=127.0.0.1", "--port=9781", "--metrics-address=127.0.0.1", "--metrics-port=9782", REDIS];
            (local(&own), Some(9782))
        }
        CONTROLLER => (local(&["--metrics-port=9783", "--repo-server=127.0.0.1:9781", REDIS]), Some(9783)),
        "argocd-applicationset-controller" => {
            let own = ["--metrics-addr=127.0.0.1:9784", "--probe-addr=127.0.0.1:9785", "--webhook-addr=127.0.0.1:9786"];
            (local(&[&own[..], &["--argocd-repo-server=127.0.0.1:9781"]].concat()), None)
        }
        _ => return,
    };
    set_host_network(workload, api);
    let container = &mut workload["spec"]["template"]["spec"]["containers"][0];
    set_addresses(container, &flags, probed);
    if name == "argocd-redis"
        && let Some(arguments) = container["args"].as_array_mut()
    {
        arguments.extend(["--port", "9780", "--bind", "127.0.0.1"].map(Value::from));
    }
}

fn set_subjects(binding: &mut Value, namespace: &str) {
    for subject in binding["subjects"].as_array_mut().into_iter().flatten() {
        subject["namespace"] = namespace.into();
    }
}

/// Argo CD has one interval for all sources. No jitter, which only large installations need.
fn set_interval(data: &mut Value, input: &ArgoCdInput) {
    data["timeout.reconciliation"] = seconds(input.repository.interval).into();
    data["timeout.reconciliation.jitter"] = "0s".into();
}

/// Argo CD reports a repository error after the next failed try, not after three minutes.
fn set_error_grace_period(data: &mut Value, input: &ArgoCdInput) {
    // With a unit, in spite of the name: Argo CD ignores a plain number and uses three minutes.
    data["controller.repo.error.grace.period.seconds"] = seconds(input.repository.interval).into();
}

/// Keeps the keys of public hosts that Argo CD ships, for other repositories.
fn add_known_hosts(shipped: &mut Value, input: &ArgoCdInput) {
    if let Some(added) = &input.repository.credentials.known_hosts {
        let before = shipped.as_str().unwrap_or_default().trim_end();
        *shipped = format!("{before}\n{}\n", added.trim()).into();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::agents::argocd::fixture;

    fn all(input: &ArgoCdInput) -> Vec<Object> {
        [Phase::Namespace, Phase::Definitions, Phase::Agent]
            .into_iter()
            .flat_map(|phase| Install { input, adopted_by_git: false }.objects(phase).collect::<Vec<_>>())
            .collect()
    }

    fn named<'a>(objects: &'a [Object], kind: &str, name: &str) -> &'a Value {
        &objects.iter().find(|object| object.id.kind == kind && object.id.name == name).unwrap().body
    }

    #[test]
    fn whole_manifest_is_installed() {
        let ids: Vec<_> = all(&fixture::input()).into_iter().map(|object| object.id.to_string()).collect();
        insta::assert_yaml_snapshot!(ids);
    }

    #[test]
    fn components_and_version_match_the_manifest() {
        let objects = all(&fixture::input());
        let workloads = objects.iter().filter(|object| matches!(object.id.kind.as_str(), "Deployment" | "StatefulSet"));
        let names: BTreeSet<_> = workloads.map(|object| object.id.name.as_str()).collect();
        assert_eq!(names, COMPONENTS.into());
        let controller = named(&objects, "StatefulSet", CONTROLLER);
        let image = controller["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
        assert_eq!(image, format!("quay.io/argoproj/argocd:{VERSION}"));
    }

    #[test]
    fn namespace_is_set_everywhere() {
        let mut input = fixture::input();
        input.namespace = "delivery".into();
        for object in all(&input) {
            let cluster_wide = ["Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"];
            if cluster_wide.contains(&object.id.kind.as_str()) {
                assert_eq!(object.id.namespace, None, "{object:?}");
            } else {
                assert_eq!(object.id.namespace.as_deref(), Some("delivery"), "{object:?}");
            }
            for subject in object.body["subjects"].as_array().into_iter().flatten() {
                assert!(subject["namespace"].as_str().is_none_or(|namespace| namespace == "delivery"), "{object:?}");
            }
        }
    }

    #[test]
    fn every_object_is_protected_from_pruning() {
        for object in all(&fixture::input()) {
            let options = &object.body["metadata"]["annotations"]["argocd.argoproj.io/sync-options"];
            assert_eq!(options, "Prune=false,Delete=false", "{object:?}");
        }
    }

    #[test]
    fn interval_is_set_and_restarts_its_readers() {
        let objects = all(&fixture::input());
        let settings = &named(&objects, "ConfigMap", "argocd-cm")["data"];
        assert_eq!(settings["timeout.reconciliation"], "60s");
        assert!(settings.as_object().unwrap().len() > 2, "shipped settings are kept");
        let patience = &named(&objects, "ConfigMap", "argocd-cmd-params-cm")["data"];
        assert_eq!(patience["controller.repo.error.grace.period.seconds"], "60s");
        for (kind, name) in [("StatefulSet", CONTROLLER), ("Deployment", REPO_SERVER)] {
            let template = &named(&objects, kind, name)["spec"]["template"]["metadata"];
            assert_eq!(template["annotations"]["keelson.dev/interval"], "60s");
        }
    }

    #[test]
    fn what_applies_applications_can_run_on_the_host_network_with_addresses_of_its_own() {
        let mut input = fixture::input();
        input.host_network = ApiAddress::of_endpoint("https://ABC.gr7.eu-west-1.eks.amazonaws.com");
        assert_ne!(key(&input), key(&fixture::input()));
        let objects = all(&input);
        let mut ports = BTreeSet::new();
        for (kind, name) in [
            ("StatefulSet", CONTROLLER),
            ("Deployment", "argocd-applicationset-controller"),
            ("Deployment", "argocd-redis"),
            ("Deployment", REPO_SERVER),
        ] {
            let pod = &named(&objects, kind, name)["spec"]["template"]["spec"];
            assert_eq!(pod["hostNetwork"], true, "{name}");
            for containers in ["initContainers", "containers"] {
                for container in pod[containers].as_array().into_iter().flatten() {
                    assert!(container["env"].to_string().contains("KUBERNETES_SERVICE_HOST"), "{name}: {container}");
                    assert_eq!(container["ports"], Value::Null, "{name}");
                }
            }
            let arguments = pod["containers"][0]["args"].as_array().unwrap();
            let arguments: Vec<_> = arguments.iter().map(|argument| argument.as_str().unwrap()).collect();
            let is_server = |flag: &&&str| flag.contains("port=") || **flag == "9780" || flag.contains("-addr=");
            for flag in arguments.iter().filter(is_server) {
                let port = flag.rsplit([':', '=']).next().unwrap();
                assert!(ports.insert(port.to_owned()), "{name}: {flag} is in use");
            }
            if let Some(port) = pod["containers"][0]["readinessProbe"]["httpGet"]["port"].as_u64() {
                assert!(ports.contains(&port.to_string()), "{name}: {port}");
            }
        }
        assert_eq!(ports.len(), 7);
        let server = &named(&objects, "Deployment", "argocd-server")["spec"]["template"]["spec"];
        assert_eq!(server["hostNetwork"], Value::Null, "it waits for the Pod network");
    }

    #[test]
    fn known_hosts_are_added_to_the_shipped_ones() {
        let hosts = |input: &ArgoCdInput| {
            named(&all(input), "ConfigMap", "argocd-ssh-known-hosts-cm")["data"]["ssh_known_hosts"].to_string()
        };
        let shipped = hosts(&fixture::input());
        assert!(shipped.contains("github.com"));
        let known = hosts(&fixture::full_input());
        assert!(known.contains("github.com") && known.contains(fixture::KNOWN_HOST));
    }

    #[test]
    fn key_changes_only_with_the_manifests() {
        let before = key(&fixture::input());
        let mut input = fixture::input();
        input.path = "clusters/other".into();
        input.facts = fixture::full_input().facts;
        assert_eq!(key(&input), before);
        assert_ne!(key(&fixture::full_input()), before);
        input.namespace = "delivery".into();
        assert_ne!(key(&input), before);
    }
}
