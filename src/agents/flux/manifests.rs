//! Flux's install manifests: those of a release, customized with registry, pull secret and components.
//!
//! Not allowed here: a client. No I/O. An object is parsed when it is needed and lives as long as the caller keeps it.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use super::built_in_manifests::{Release, SEPARATOR};
use super::input::{Component, FluxInput, NAMESPACE, REGISTRY, Version};
use super::sync::{MARKER, PRUNE};
use crate::agents::adoption::AdoptionMarker;
use crate::agents::apply::{OwnershipPolicy, PrunedKind};
use crate::agents::host_network::{set_addresses, set_host_network};
use crate::agents::install::{Manifests, Phase};
use crate::workload::object::{Object, ObjectId};

/// Annotation of source-controller's Pods: the association that gives them their identity in AWS.
const IDENTITY: &str = "keelson.dev/pod-identity-association";

/// The install of one cluster.
#[derive(Debug, Clone, Copy)]
pub struct Install<'a> {
    pub input: &'a FluxInput,
    pub version: Version,
    /// Git has adopted the agent at a version that is not built in: existing objects stay unchanged, so that versions
    /// do not mix.
    pub only_if_missing: bool,
}

/// Hash of what the manifests depend on.
pub fn key(input: &FluxInput) -> u64 {
    let mut hasher = DefaultHasher::new();
    let pull_secret = input.image_pull_secret.as_ref().map(|secret| &secret.name);
    (input.installs, &input.components, &input.registry, pull_secret, &input.source_identity).hash(&mut hasher);
    (&input.host_network, input.source_leaves_first).hash(&mut hasher);
    hasher.finish()
}

impl Manifests for Install<'_> {
    fn agent(&self) -> String {
        format!("Flux {}", self.version)
    }

    fn key(&self) -> u64 {
        key(self.input)
    }

    fn objects(&self, phase: Phase) -> Box<dyn Iterator<Item = Object> + Send + '_> {
        Box::new(objects(self.version, self.input, phase))
    }

    fn is_held_back(&self, id: &ObjectId) -> bool {
        self.input.source_leaves_first && id.kind == "Deployment" && id.name != Component::SourceController.as_str()
    }

    fn is_synced(&self, id: &ObjectId) -> bool {
        matches!(id.kind.as_str(), "Secret" | "ConfigMap" | "GitRepository" | "OCIRepository" | "Kustomization")
    }

    fn marker(&self) -> AdoptionMarker {
        MARKER
    }

    fn policy(&self) -> OwnershipPolicy {
        if self.only_if_missing { OwnershipPolicy::IfMissing(MARKER) } else { OwnershipPolicy::UntilAdopted(MARKER) }
    }

    fn pruned_kinds(&self) -> Vec<PrunedKind<'_>> {
        const SELECTOR: &str = "app.kubernetes.io/part-of=flux,app.kubernetes.io/instance=flux-system";
        const RBAC: &str = "rbac.authorization.k8s.io/v1";
        [
            ("apps/v1", "Deployment", Some(NAMESPACE)),
            ("v1", "Service", Some(NAMESPACE)),
            ("v1", "ServiceAccount", Some(NAMESPACE)),
            ("v1", "ResourceQuota", Some(NAMESPACE)),
            ("networking.k8s.io/v1", "NetworkPolicy", Some(NAMESPACE)),
            (RBAC, "ClusterRoleBinding", None),
            (RBAC, "ClusterRole", None),
        ]
        .map(|(api_version, kind, namespace)| PrunedKind { api_version, kind, namespace, selector: SELECTOR })
        .into()
    }
}

fn objects(version: Version, input: &FluxInput, phase: Phase) -> impl Iterator<Item = Object> + '_ {
    let release = Release::of(version);
    let system = release.system;
    let components = input.components.iter().flat_map(move |component| release.component(*component).split(SEPARATOR));
    system
        .split(SEPARATOR)
        .chain(components)
        .filter(move |document| phase_of(document) == Some(phase))
        .filter_map(|document| Object::of(serde_saphyr::from_str::<Value>(document).ok()?))
        .map(|object| customize(object, input))
}

/// Reads the kind from the text without parsing. `None`: a header without an object.
fn phase_of(document: &str) -> Option<Phase> {
    let kind = document.lines().find_map(|line| line.strip_prefix("kind: "))?;
    Some(match kind {
        "Namespace" => Phase::Namespace,
        "CustomResourceDefinition" => Phase::Definitions,
        _ => Phase::Agent,
    })
}

fn customize(mut object: Object, input: &FluxInput) -> Object {
    object.annotate(PRUNE, "disabled");
    match object.id.kind.as_str() {
        "Deployment" => {
            let template = &mut object.body["spec"]["template"];
            set_deployment(&mut template["spec"], input);
            if object.id.name == Component::SourceController.as_str()
                && let Some(identity) = &input.source_identity
            {
                template["metadata"]["annotations"][IDENTITY] = identity.as_str().into();
            }
            if !input.source_leaves_first
                && let (Some(api), Some(component)) = (&input.host_network, Component::parse(&object.id.name))
            {
                set_host_network(&mut object.body, api);
                let pod = &mut object.body["spec"]["template"]["spec"];
                set_host_addresses(&mut pod["containers"][0], component, input);
            }
        }
        "ClusterRoleBinding" => keep_subjects(&mut object.body, input),
        _ => {}
    }
    object
}

fn set_deployment(pod: &mut Value, input: &FluxInput) {
    if let Some(secret) = &input.image_pull_secret {
        pod["imagePullSecrets"] = json!([{"name": secret.name}]);
    }
    let container = &mut pod["containers"][0];
    if let Some(image) = container["image"].as_str().and_then(|image| image.strip_prefix(REGISTRY)) {
        container["image"] = format!("{}{image}", input.registry).into();
    }
    if !input.components.contains(&Component::NotificationController)
        && let Some(arguments) = container["args"].as_array_mut()
    {
        arguments.retain(|argument| !argument.as_str().is_some_and(|text| text.starts_with("--events-addr=")));
    }
}

/// Addresses on the host network, where the components' default ports are the same and are open to other machines.
fn set_host_addresses(container: &mut Value, component: Component, input: &FluxInput) {
    const EVENTS: &str = "127.0.0.1:9690";
    const STORAGE: &str = "127.0.0.1:9790";
    let (health, metrics) = match component {
        Component::SourceController => (9791, 9792),
        Component::KustomizeController => (9793, 9794),
        Component::HelmController => (9795, 9796),
        Component::NotificationController => (9797, 9798),
    };
    let mut flags = vec![format!("--health-addr=127.0.0.1:{health}"), format!("--metrics-addr=127.0.0.1:{metrics}")];
    match component {
        Component::NotificationController => {
            flags.extend([format!("--events-addr={EVENTS}"), "--receiverAddr=127.0.0.1:9692".to_owned()]);
        }
        _ if input.components.contains(&Component::NotificationController) => {
            flags.push(format!("--events-addr=http://{EVENTS}/"));
        }
        _ => {}
    }
    if component == Component::SourceController {
        // Its readiness is that of the storage, which listens once it leads.
        flags.extend([format!("--storage-addr={STORAGE}"), format!("--storage-adv-addr={STORAGE}")]);
    }
    set_addresses(container, &flags, Some(health));
    if component == Component::SourceController {
        container["readinessProbe"]["httpGet"]["port"] = 9790.into();
    }
}

/// Removes subjects of components that are not installed: anyone who can create a service account in the namespace
/// would get their permissions.
fn keep_subjects(binding: &mut Value, input: &FluxInput) {
    if let Some(subjects) = binding["subjects"].as_array_mut() {
        subjects.retain(|subject| {
            let component = subject["name"].as_str().and_then(Component::parse);
            component.is_some_and(|component| input.components.contains(&component))
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::agents::flux::fixture;
    use crate::agents::host_network::ApiAddress;

    #[test]
    fn key_changes_only_with_the_manifests() {
        let before = key(&fixture::input());
        assert_ne!(key(&fixture::full_input()), before);
        let mut input = fixture::input();
        input.path = "clusters/other".into();
        input.facts = fixture::full_input().facts;
        // Naming the default version changes nothing.
        input.version = Some(Version::NEWEST);
        assert_eq!(key(&input), before);
        input.installs = Some(Version::V2_7_5);
        assert_ne!(key(&input), before);
        input.installs = Some(Version::NEWEST);
        input.components.remove(&Component::HelmController);
        assert_ne!(key(&input), before);
    }

    const PHASES: [Phase; 3] = [Phase::Namespace, Phase::Definitions, Phase::Agent];

    fn newest(input: &FluxInput, phase: Phase) -> impl Iterator<Item = Object> + '_ {
        objects(Version::NEWEST, input, phase)
    }

    #[test]
    fn every_document_of_the_manifests_has_a_phase() {
        let input = fixture::input();
        for version in Version::ALL {
            let all = PHASES.into_iter().flat_map(|phase| objects(version, &input, phase));
            let all: Vec<_> = all.map(|object| object.id.to_string()).collect();
            let release = Release::of(version);
            let documents = Component::ALL.map(|component| release.component(component)).into_iter();
            let documents = documents.chain([release.system]).flat_map(|text| text.split(SEPARATOR));
            let kinds = documents.filter(|text| text.contains("\nkind: ") || text.starts_with("kind: "));
            assert_eq!(all.len(), kinds.count(), "{version}");
            insta::assert_snapshot!(version.as_str(), all.join("\n"));
        }
    }

    fn deployments(input: &FluxInput) -> Vec<Object> {
        newest(input, Phase::Agent).filter(|object| object.id.kind == "Deployment").collect()
    }

    #[test]
    fn new_identity_replaces_only_source_controller_pods() {
        let mut input = fixture::input();
        let (plain, before) = (deployments(&input), key(&input));
        input.source_identity = Some("a-1".into());
        assert_ne!(key(&input), before);
        for (before, after) in plain.iter().zip(deployments(&input)) {
            let annotation = &after.body["spec"]["template"]["metadata"]["annotations"][IDENTITY];
            let is_source_controller = after.id.name == "source-controller";
            assert_eq!(annotation.as_str(), is_source_controller.then_some("a-1"), "{}", after.id);
            assert_eq!(before.body == after.body, !is_source_controller, "{}", after.id);
        }
    }

    #[test]
    fn components_on_the_host_network_share_no_port_and_listen_on_loopback_only() {
        let mut input = fixture::input();
        let (plain, before) = (deployments(&input), key(&input));
        input.host_network = ApiAddress::of_endpoint("https://ABC.gr7.eu-west-1.eks.amazonaws.com");
        assert_ne!(key(&input), before);
        let mut ports = BTreeSet::new();
        for (plain, host) in plain.iter().zip(deployments(&input)) {
            let pod = &host.body["spec"]["template"]["spec"];
            assert_eq!((&pod["hostNetwork"], &pod["dnsPolicy"]), (&json!(true), &json!("Default")), "{}", host.id);
            let container = &pod["containers"][0];
            assert!(container["env"].to_string().contains("ABC.gr7.eu-west-1.eks.amazonaws.com"), "{}", host.id);
            assert_eq!(container["ports"], Value::Null, "the scheduler would keep them apart");
            let flags: Vec<_> =
                container["args"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
            assert!(!flags.iter().any(|flag| flag.contains(".svc.")), "{flags:?}");
            let names: BTreeSet<_> = flags.iter().map(|flag| flag.split('=').next().unwrap()).collect();
            assert_eq!(names.len(), flags.len(), "{flags:?}");
            let is_own = |flag: &&&str| {
                flag.starts_with("--health") || flag.starts_with("--metrics") || flag.starts_with("--storage-addr")
            };
            for flag in flags.iter().filter(is_own) {
                assert!(ports.insert(flag.split_once("=127.0.0.1:").unwrap().1.to_owned()), "{flag} is in use");
            }
            for probe in ["livenessProbe", "readinessProbe"] {
                let request = &container[probe]["httpGet"];
                let address = format!("127.0.0.1:{}", request["port"]);
                assert!(
                    request["host"] == "127.0.0.1" && flags.iter().any(|flag| flag.ends_with(&address)),
                    "{request}"
                );
            }
            assert_eq!(plain.body["spec"]["selector"], host.body["spec"]["selector"], "it is immutable");
        }
        assert_eq!(ports.len(), 9);
    }

    #[test]
    fn source_controller_leaves_the_host_network_before_the_others() {
        let mut input = fixture::input();
        input.host_network = ApiAddress::of_endpoint("https://api.example");
        let before = key(&input);
        input.source_leaves_first = true;
        assert_ne!(key(&input), before);
        let install = Install { input: &input, version: Version::NEWEST, only_if_missing: false };
        let applied: Vec<_> = deployments(&input).into_iter().filter(|item| !install.is_held_back(&item.id)).collect();
        assert_eq!(applied.iter().map(|item| item.id.name.as_str()).collect::<Vec<_>>(), ["source-controller"]);
        assert_eq!(applied[0].body["spec"]["template"]["spec"]["hostNetwork"], Value::Null);
    }

    #[test]
    fn every_object_has_labels_and_is_protected_from_pruning() {
        let input = fixture::input();
        for version in Version::ALL {
            for object in PHASES.into_iter().flat_map(|phase| objects(version, &input, phase)) {
                let metadata = &object.body["metadata"];
                assert_eq!(metadata["labels"]["app.kubernetes.io/part-of"], "flux", "{object:?}");
                assert_eq!(metadata["labels"]["app.kubernetes.io/version"], version.as_str(), "{object:?}");
                assert_eq!(metadata["annotations"][PRUNE], "disabled", "{object:?}");
            }
        }
    }

    /// Objects that a version no longer has are deleted only if their kind is pruned.
    #[test]
    fn every_kind_of_the_last_phase_is_pruned() {
        let input = fixture::input();
        let install = Install { input: &input, version: Version::NEWEST, only_if_missing: false };
        let pruned_kinds: Vec<_> =
            install.pruned_kinds().iter().map(|one| (one.api_version, one.kind, one.namespace)).collect();
        for version in Version::ALL {
            for Object { id, .. } in objects(version, &input, Phase::Agent) {
                let kind = (id.api_version.as_str(), id.kind.as_str(), id.namespace.as_deref());
                assert!(pruned_kinds.contains(&kind), "{id:?}");
            }
        }
        assert!(!pruned_kinds.iter().any(|(_, kind, _)| ["CustomResourceDefinition", "Namespace"].contains(kind)));
    }

    #[test]
    fn definitions_have_complete_schemas() {
        let input = fixture::input();
        for object in Version::ALL.into_iter().flat_map(|version| objects(version, &input, Phase::Definitions)) {
            for version in object.body["spec"]["versions"].as_array().unwrap() {
                let spec =
                    version.pointer("/schema/openAPIV3Schema/properties/spec/properties").and_then(Value::as_object);
                assert!(spec.is_some_and(|properties| !properties.is_empty()), "{object:?}");
            }
        }
    }

    #[test]
    fn mirror_and_pull_secret_are_set_on_every_deployment() {
        let mut input = fixture::input();
        input.registry = "mirror.acme.example/flux".into();
        input.image_pull_secret = Some(fixture::secret("mirror-credentials"));
        let pods: Vec<_> =
            deployments(&input).iter().map(|object| object.body["spec"]["template"]["spec"].clone()).collect();
        let images: Vec<_> = pods.iter().map(|pod| pod["containers"][0]["image"].as_str().unwrap()).collect();
        assert_eq!(
            images,
            [
                "mirror.acme.example/flux/source-controller:v1.9.5",
                "mirror.acme.example/flux/kustomize-controller:v1.9.5",
                "mirror.acme.example/flux/helm-controller:v1.6.4",
                "mirror.acme.example/flux/notification-controller:v1.9.4",
            ]
        );
        assert!(pods.iter().all(|pod| pod["imagePullSecrets"][0]["name"] == "mirror-credentials"));
    }

    #[test]
    fn omitted_components_are_not_installed_bound_or_called() {
        let mut input = fixture::input();
        input.components = [Component::SourceController, Component::KustomizeController].into();
        let agent: Vec<_> = newest(&input, Phase::Agent).collect();
        assert!(!agent.iter().any(|object| object.id.name == "helm-controller"));
        let bound = |name: &str| -> Vec<String> {
            let binding =
                agent.iter().find(|object| object.id.kind == "ClusterRoleBinding" && object.id.name == name).unwrap();
            let subjects = binding.body["subjects"].as_array().unwrap();
            subjects.iter().map(|subject| subject["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(bound("cluster-reconciler-flux-system"), ["kustomize-controller"]);
        assert_eq!(bound("crd-controller-flux-system"), ["kustomize-controller", "source-controller"]);
        assert!(!agent.iter().any(|object| object.body.to_string().contains("--events-addr")));
    }
}
