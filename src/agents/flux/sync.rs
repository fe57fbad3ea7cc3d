//! The objects that point Flux at its source: credentials, facts, source and Kustomization.
//!
//! Not allowed here: a client. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::input::{FACTS, FluxInput, NAME, NAMESPACE};
use crate::agents::adoption::{AdoptionMarker, MetadataMap};
use crate::agents::shared_input::{Facts, SecretCopy, SecretData};
use crate::workload::object::{MANAGED_BY, Object, ObjectId};

pub const KUSTOMIZATION: (&str, &str) = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization");
pub const HELM_RELEASE: (&str, &str) = ("helm.toolkit.fluxcd.io/v2", "HelmRelease");

/// The annotation that keeps Flux from deleting an object whose manifest is removed from Git.
pub const PRUNE: &str = "kustomize.toolkit.fluxcd.io/prune";
/// Labels of objects applied by a Kustomization: its name and namespace.
pub const OF_KUSTOMIZATION: (&str, &str) =
    ("kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace");
/// Label of objects applied by a HelmRelease.
const OF_HELM_RELEASE: &str = "helm.toolkit.fluxcd.io/name";

/// How objects show that Flux applies them from Git. The retained fields are not in the files of `flux bootstrap`.
pub const MARKER: AdoptionMarker = AdoptionMarker {
    is_adopted: |labels, _| is_adopted(labels),
    retained: &["/metadata/annotations/kustomize.toolkit.fluxcd.io~1prune", "/spec/deletionPolicy"],
};

/// Whether Flux applies an object with these labels from Git.
pub fn is_adopted(labels: &MetadataMap) -> bool {
    [OF_KUSTOMIZATION.0, OF_HELM_RELEASE].iter().any(|label| labels.contains_key(*label))
}

/// Objects that Keelson always applies: the Secrets and facts that Flux needs and Git does not contain.
pub fn permanent_objects(input: &FluxInput) -> Vec<Object> {
    let FluxInput { source, decryption, image_pull_secret, facts, .. } = input;
    let credentials = source.credentials().map(|data| secret(NAME, "Opaque", data));
    let copies =
        [decryption.as_ref().and_then(|d| d.secret.as_ref()), image_pull_secret.as_ref()].into_iter().flatten();
    let copies = source.copies().chain(copies).map(|SecretCopy { name, kind, data }| secret(name, kind, data));
    credentials.into_iter().chain(copies).chain(facts.as_ref().map(facts_config_map)).collect()
}

/// Objects that Keelson applies until Git has adopted them: the source and the Kustomization.
pub fn seed_objects(input: &FluxInput) -> [Object; 2] {
    [seed(input.source.api(), input.source.spec()), kustomization(input)]
}

/// The source of the other kind, which may exist from before.
pub fn other_source(input: &FluxInput) -> ObjectId {
    let (api_version, kind) = input.source.other_api();
    ObjectId {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: Some(NAMESPACE.into()),
        name: NAME.into(),
    }
}

fn kustomization(input: &FluxInput) -> Object {
    let mut spec = json!({
        "interval": duration(input.interval),
        // Without it a failure is retried after the whole interval, and a first apply often fails until a dependency is
        // ready seconds later.
        "retryInterval": duration(input.interval.min(Duration::from_secs(60))),
        "path": format!("./{}", input.path.trim_start_matches("./").trim_start_matches('/')),
        "prune": input.prune,
        // Deleting this Kustomization, manually or from Git, must not delete everything that it applied.
        "deletionPolicy": "Orphan",
        "sourceRef": {"kind": input.source.api().1, "name": NAME},
    });
    if input.facts.is_some() {
        spec["postBuild"] = json!({"substituteFrom": [{"kind": "ConfigMap", "name": FACTS}]});
    }
    if let Some(decryption) = &input.decryption {
        spec["decryption"] = json!({"provider": decryption.provider});
        if let Some(secret) = &decryption.secret {
            spec["decryption"]["secretRef"] = json!({"name": secret.name});
        }
    }
    seed(KUSTOMIZATION, spec)
}

fn facts_config_map(facts: &Facts) -> Object {
    let data: BTreeMap<_, _> = facts.pairs().into_iter().collect();
    object(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": FACTS,
            "namespace": NAMESPACE,
            // The watch label makes Flux apply again as soon as a fact changes.
            "labels": {MANAGED_BY.0: MANAGED_BY.1, "reconcile.fluxcd.io/watch": "Enabled"},
            "annotations": {PRUNE: "disabled"},
        },
        "data": data,
    }))
}

fn secret(name: &str, kind: &str, data: &SecretData) -> Object {
    // Through the API type, which encodes the data.
    let data =
        serde_json::to_value(Secret { data: Some(data.0.clone()), ..Secret::default() }).unwrap_or_default()["data"]
            .take();
    object(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {MANAGED_BY.0: MANAGED_BY.1},
            "annotations": {PRUNE: "disabled"},
        },
        "type": kind,
        "data": data,
    }))
}

fn seed((api_version, kind): (&str, &str), spec: Value) -> Object {
    object(json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": NAME, "namespace": NAMESPACE, "annotations": {PRUNE: "disabled"}},
        "spec": spec,
    }))
}

fn object(body: Value) -> Object {
    Object::of(body).expect("has apiVersion, kind and name: it is written out above")
}

/// A duration in Go's format, in the largest units: 90 s is `1m30s`. Fractions of seconds are dropped.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs().max(1);
    let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::agents::flux::fixture;
    use crate::agents::flux::input::Decryption;

    #[test]
    fn sync_objects_of_a_minimal_input() {
        let objects: Vec<_> = seed_objects(&fixture::input()).into_iter().map(|object| object.body).collect();
        insta::assert_yaml_snapshot!(objects);
        assert!(permanent_objects(&fixture::input()).is_empty());
    }

    #[test]
    fn sync_objects_of_a_full_input() {
        let input = fixture::full_input();
        let objects: Vec<_> =
            permanent_objects(&input).into_iter().chain(seed_objects(&input)).map(|object| object.body).collect();
        insta::assert_yaml_snapshot!(objects);
    }

    #[test]
    fn sync_objects_of_an_oci_source() {
        let mut input = fixture::input();
        input.source = fixture::full_oci();
        let objects: Vec<_> =
            permanent_objects(&input).into_iter().chain(seed_objects(&input)).map(|object| object.body).collect();
        insta::assert_yaml_snapshot!(objects);
    }

    #[test]
    fn other_source_has_the_other_kind() {
        let mut input = fixture::input();
        assert_eq!(other_source(&input).to_string(), "OCIRepository flux-system/flux-system");
        input.source = fixture::full_oci();
        assert_eq!(other_source(&input).to_string(), "GitRepository flux-system/flux-system");
    }

    #[test]
    fn unknown_facts_are_empty_and_none_is_missing() {
        let mut input = fixture::input();
        input.facts = Some(Facts::default());
        let unknown = permanent_objects(&input).remove(0).body["data"].as_object().unwrap().clone();
        assert!(unknown.values().all(|value| value == ""));
        input.facts = fixture::full_input().facts;
        let known = permanent_objects(&input).remove(0).body["data"].as_object().unwrap().clone();
        // Those of subnets for Pods are there only if such subnets are, and those of Karpenter if the spec asks for it.
        let is_conditional = |name: &str| name.starts_with("POD_SUBNET_") || name.starts_with("KARPENTER_");
        let known_names = known.keys().filter(|name| !is_conditional(name));
        assert_eq!(known_names.collect::<BTreeSet<_>>(), unknown.keys().collect::<BTreeSet<_>>());
        assert!(known.values().all(|value| value != ""));
    }

    #[test]
    fn path_is_written_in_fluxs_format() {
        for path in ["clusters/demo", "./clusters/demo", "/clusters/demo"] {
            let mut input = fixture::input();
            input.path = path.into();
            assert_eq!(kustomization(&input).body["spec"]["path"], "./clusters/demo");
        }
    }

    #[test]
    fn durations_are_in_gos_format() {
        for (seconds, text) in
            [(0, "1s"), (59, "59s"), (60, "1m"), (90, "1m30s"), (600, "10m"), (3600, "1h"), (3661, "1h1m1s")]
        {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn secrets_do_not_print_themselves() {
        let mut input = fixture::full_input();
        input.decryption = Some(Decryption { provider: "sops".into(), secret: Some(fixture::secret("sops-age")) });
        let printed = format!("{input:?} {:?}", permanent_objects(&input));
        assert!(!printed.contains(fixture::SECRET_TEXT), "{printed}");
    }
}
