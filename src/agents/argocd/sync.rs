//! The objects that point Argo CD at its repository: credentials, the cluster with its facts, the project and the root
//! Application.
//!
//! Not allowed here: a client. Pure.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Map, Value, json};

use super::input::{ArgoCdInput, CLUSTER, NAME, SERVER};
use crate::agents::adoption::{AdoptionMarker, MetadataMap};
use crate::agents::shared_input::Facts;
use crate::workload::object::{MANAGED_BY, Object, ObjectId};

pub const APPLICATION: (&str, &str) = ("argoproj.io/v1alpha1", "Application");
const PROJECT: (&str, &str) = ("argoproj.io/v1alpha1", "AppProject");
/// The ConfigMap of certificate authorities, by host.
pub const CERTIFICATES: &str = "argocd-tls-certs-cm";

/// Annotation with Argo CD's options for an object.
const SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";
/// The Application that applies an object: by annotation, or by label if a user has configured label tracking.
const TRACKED_BY: &str = "argocd.argoproj.io/tracking-id";
const TRACKED_BY_LABEL: [&str; 2] = ["app.kubernetes.io/instance", "argocd.argoproj.io/instance"];
/// Label with the purpose of a Secret in Argo CD's namespace.
pub const SECRET_TYPE: &str = "argocd.argoproj.io/secret-type";
/// Its value for the Secret of a cluster that Argo CD deploys to.
pub const CLUSTER_SECRET: &str = "cluster";
/// Facts that are also labels, for ApplicationSets. Others may be longer than a label's value.
const CHOSEN_BY: [&str; 4] = ["CLUSTER_NAME", "AWS_REGION", "AWS_ACCOUNT_ID", "KUBERNETES_VERSION"];

/// How objects show that Git has adopted them. The option that protects them from pruning is retained.
pub const MARKER: AdoptionMarker =
    AdoptionMarker { is_adopted: is_tracked, retained: &["/metadata/annotations/argocd.argoproj.io~1sync-options"] };

/// Whether Argo CD applies an object with these labels and annotations from Git.
pub fn is_tracked(labels: &MetadataMap, annotations: &MetadataMap) -> bool {
    annotations.contains_key(TRACKED_BY) || TRACKED_BY_LABEL.iter().any(|label| labels.contains_key(*label))
}

/// Argo CD deletes the object neither when its manifest is removed from Git, nor together with its Application.
pub fn protect(mut object: Object) -> Object {
    object.annotate(SYNC_OPTIONS, "Prune=false,Delete=false");
    object
}

/// Whether an object is one of those below, and not part of the install manifest.
pub fn is_synced(id: &ObjectId) -> bool {
    match id.kind.as_str() {
        "Application" | "AppProject" => true,
        "ConfigMap" => id.name == CERTIFICATES,
        "Secret" => !matches!(id.name.as_str(), "argocd-secret" | "argocd-notifications-secret"),
        _ => false,
    }
}

/// Objects that Keelson always applies: Argo CD needs them, and Git does not contain them.
pub fn permanent_objects(input: &ArgoCdInput) -> Vec<Object> {
    let cluster = input.facts.as_ref().map(|facts| cluster(&input.namespace, facts));
    [Some(repository(input)), Some(certificates(input)), cluster].into_iter().flatten().collect()
}

/// Objects that Keelson applies until Git has adopted them.
pub fn seed_objects(input: &ArgoCdInput) -> [Object; 2] {
    [project(input), application(input)]
}

/// The repository Secret, also without credentials, so that Argo CD lists the repository.
fn repository(input: &ArgoCdInput) -> Object {
    let repository = &input.repository;
    let text = |value: &str| ByteString(value.as_bytes().to_vec());
    let address = [("type", text(repository.kind.as_str())), ("url", text(&repository.url))];
    let keys = repository.credentials.keys.iter().map(|(key, value)| (*key, value.clone()));
    secret(&input.namespace, "keelson-repository", "repository", json!({}), json!({}), address.into_iter().chain(keys))
}

/// The cluster Secret of the cluster that Argo CD runs in, so that ApplicationSets can select it by labels and use its
/// facts.
fn cluster(namespace: &str, facts: &Facts) -> Object {
    let text = |value: &str| ByteString(value.as_bytes().to_vec());
    // No token: Argo CD uses its own service account.
    let data = [
        ("name", text(CLUSTER)),
        ("server", text(SERVER)),
        ("config", text(r#"{"tlsClientConfig":{"insecure":false}}"#)),
    ];
    let pairs = facts.pairs();
    let annotations: Map<_, Value> =
        pairs.iter().map(|(name, value)| (name.to_lowercase(), value.as_str().into())).collect();
    let labels = pairs.iter().filter(|(name, value)| CHOSEN_BY.contains(name) && is_label(value));
    let labels: Map<_, Value> = labels.map(|(name, value)| (name.to_lowercase(), value.as_str().into())).collect();
    secret(namespace, "keelson-cluster", CLUSTER_SECRET, labels.into(), annotations.into(), data.into_iter())
}

/// Whether a text is a valid label value.
pub fn is_label(text: &str) -> bool {
    let ends = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && ends(text.chars().next())
        && ends(text.chars().last())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Always applied, in place of the manifest's empty ConfigMap: each host is a separate key, so Git can add others.
fn certificates(input: &ArgoCdInput) -> Object {
    let mut body = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": CERTIFICATES,
            "namespace": input.namespace,
            "labels": {"app.kubernetes.io/name": CERTIFICATES, "app.kubernetes.io/part-of": "argocd"},
        },
    });
    if let Some((host, pem)) = &input.repository.credentials.authority {
        body["data"] = json!({host.as_str(): pem});
    }
    object(body)
}

/// A separate project: owners may restrict `default`, and it exists only after Argo CD's server has created it.
fn project(input: &ArgoCdInput) -> Object {
    object(json!({
        "apiVersion": PROJECT.0,
        "kind": PROJECT.1,
        "metadata": {"name": NAME, "namespace": input.namespace},
        "spec": {
            "description": "The cluster's own path of its repository",
            "sourceRepos": ["*"],
            "destinations": [{"server": "*", "namespace": "*"}],
            "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
        },
    }))
}

/// Without a finalizer: its deletion, manually or from Git, deletes nothing else.
fn application(input: &ArgoCdInput) -> Object {
    let path = input.path.trim_start_matches("./").trim_matches('/');
    let longest = input.repository.interval.clamp(Duration::from_secs(10), Duration::from_secs(60));
    object(json!({
        "apiVersion": APPLICATION.0,
        "kind": APPLICATION.1,
        "metadata": {"name": NAME, "namespace": input.namespace},
        "spec": {
            "project": NAME,
            "source": {
                "repoURL": input.repository.url,
                "path": if path.is_empty() { "." } else { path },
                "targetRevision": input.repository.revision,
            },
            // Manifests without a namespace are Argo CD's, like the Applications of an app of apps.
            "destination": {"server": SERVER, "namespace": input.namespace},
            "syncPolicy": {
                "automated": {"prune": true, "selfHeal": true},
                // Argo CD's own CRDs are too large for the last-applied annotation.
                "syncOptions": ["ServerSideApply=true"],
                // Without a limit, and with the newest commit: a first sync often fails until a dependency is ready
                // seconds later, and a commit that fixes the last one must not wait for the retries to end.
                "retry": {
                    "limit": -1,
                    "refresh": true,
                    // The maximum is what the fixing commit waits for.
                    "backoff": {"duration": "5s", "factor": 2, "maxDuration": seconds(longest)},
                },
            },
        },
    }))
}

fn secret(
    namespace: &str,
    name: &str,
    kind: &str,
    mut labels: Value,
    annotations: Value,
    data: impl Iterator<Item = (&'static str, ByteString)>,
) -> Object {
    labels[MANAGED_BY.0] = MANAGED_BY.1.into();
    labels[SECRET_TYPE] = kind.into();
    // Through the API type, which encodes the data.
    let data = data.map(|(key, value)| (key.to_owned(), value)).collect();
    let data =
        serde_json::to_value(Secret { data: Some(data), ..Secret::default() }).unwrap_or_default()["data"].take();
    object(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
        "type": "Opaque",
        "data": data,
    }))
}

fn object(body: Value) -> Object {
    protect(Object::of(body).expect("has apiVersion, kind and name: it is written out above"))
}

/// A duration in Go's format.
pub fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::argocd::fixture;

    #[test]
    fn sync_objects_of_a_minimal_input() {
        let input = fixture::input();
        let objects: Vec<_> =
            permanent_objects(&input).into_iter().chain(seed_objects(&input)).map(|object| object.body).collect();
        insta::assert_yaml_snapshot!(objects);
    }

    #[test]
    fn sync_objects_of_a_full_input() {
        let input = fixture::full_input();
        let objects: Vec<_> = permanent_objects(&input).into_iter().map(|object| object.body).collect();
        insta::assert_yaml_snapshot!(objects);
    }

    #[test]
    fn unknown_facts_are_empty_and_none_is_missing() {
        let of = |facts: &Facts| cluster("argocd", facts).body["metadata"]["annotations"].as_object().unwrap().clone();
        let (known, unknown) = (of(&fixture::full_input().facts.unwrap()), of(&Facts::default()));
        // Those of subnets for Pods are there only if such subnets are, and those of Karpenter if the spec asks for it.
        let is_conditional = |name: &str| name.starts_with("pod_subnet_") || name.starts_with("karpenter_");
        let known_names = known.keys().filter(|name| !is_conditional(name));
        assert_eq!(known_names.collect::<Vec<_>>(), unknown.keys().collect::<Vec<_>>());
        assert!(known.values().all(|value| value != ""));
    }

    #[test]
    fn fact_that_is_no_valid_label_is_an_annotation_only() {
        let mut facts = fixture::full_input().facts.unwrap();
        facts.cluster_name = "a".repeat(100);
        let metadata = cluster("argocd", &facts).body["metadata"].take();
        assert_eq!(metadata["annotations"]["cluster_name"], facts.cluster_name);
        assert_eq!(metadata["labels"]["cluster_name"], Value::Null);
        assert_eq!(metadata["labels"]["aws_region"], "eu-west-1");
    }

    #[test]
    fn path_is_written_in_argo_cds_format() {
        for (path, written) in [("clusters/demo", "clusters/demo"), ("./clusters/demo/", "clusters/demo"), ("./", ".")]
        {
            let input = ArgoCdInput { path: path.into(), ..fixture::input() };
            assert_eq!(application(&input).body["spec"]["source"]["path"], written);
        }
    }

    #[test]
    fn object_is_adopted_when_an_application_tracks_it() {
        let map = |key: &str| MetadataMap::from([(key.to_owned(), "x".to_owned())]);
        let none = MetadataMap::new();
        assert!(is_tracked(&none, &map(TRACKED_BY)));
        for label in TRACKED_BY_LABEL {
            assert!(is_tracked(&map(label), &none));
        }
        let seed = application(&fixture::input()).body["metadata"]["annotations"].clone();
        let seed: MetadataMap = serde_json::from_value(seed).unwrap();
        assert!(!is_tracked(&none, &seed));
    }

    #[test]
    fn secrets_do_not_print_themselves() {
        let input = fixture::full_input();
        let printed = format!("{input:?} {:?}", permanent_objects(&input));
        assert!(!printed.contains(fixture::SECRET_TEXT), "{printed}");
    }
}
