//! Tests of the Secrets that a move copies.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

fn spec(gitops: &Value) -> EksClusterSpec {
    serde_json::from_value(json!({"region": "eu-west-1", "version": "1.34", "gitops": gitops})).unwrap()
}

fn git(secret: &str) -> Value {
    json!({"git": {"url": "https://git.example.com/fleet", "ref": {"branch": "main"}, "secretRef": {"name": secret}}})
}

fn secret(label: Option<&str>, kind: &str, keys: &[&str]) -> Secret {
    let labels = label.map(|label| json!({"keelson.dev/use": label})).unwrap_or_default();
    let data: BTreeMap<_, _> = keys.iter().map(|key| (*key, "dmFsdWU=")).collect();
    let annotations = json!({"tool.example.com/applied": "everything"});
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind, "data": data,
        "metadata": {"name": "fleet", "namespace": "team", "labels": labels, "annotations": annotations},
    }))
    .unwrap()
}

fn copied(here: &Secret, gitops: &Value) -> (Option<Vec<String>>, String) {
    let references = References::of(&spec(gitops));
    let (copy, left) = copy(here, &references.0["fleet"]);
    (copy.map(|copy| copy.data.unwrap().into_keys().collect()), left.join("\n"))
}

#[test]
fn only_the_keys_of_the_use_are_copied() {
    let here = secret(Some("git"), "Opaque", &["username", "password", "database"]);
    let gitops = json!({"flux": {"path": "x", "source": git("fleet")}});
    let (keys, left) = copied(&here, &gitops);
    assert_eq!(keys.unwrap(), ["password", "username"]);
    assert!(left.contains("its keys database are not copied"), "{left}");
    let (copy, _) = copy(&here, &References::of(&spec(&gitops)).0["fleet"]);
    let copy = copy.unwrap();
    assert_eq!(copy.metadata.annotations, None);
    assert_eq!(copy.metadata.labels, here.metadata.labels);
}

#[test]
fn secret_that_the_operator_refuses_is_not_copied() {
    let gitops = json!({"argocd": {"path": "x", "source": git("fleet")}});
    for (label, kind, reason) in [
        (Some("decryption"), "Opaque", "may be used for \"decryption\" only"),
        (Some("none"), "Opaque", "may be used for \"none\" only"),
        (None, "Opaque", "has no label keelson.dev/use"),
        (Some("git"), "kubernetes.io/service-account-token", "never copied"),
    ] {
        let (keys, left) = copied(&secret(label, kind, &["username", "password", "token"]), &gitops);
        assert_eq!(keys, None, "{label:?} {kind}");
        assert!(left.starts_with("not copied for spec.gitops.argocd.source.git.secretRef: "), "{left}");
        assert!(left.contains(reason), "{left}");
    }
}

#[test]
fn secret_of_two_fields_is_copied_for_the_allowed_one() {
    let source = git("fleet");
    let decryption = json!({"provider": "sops", "secretRef": {"name": "fleet"}});
    let gitops = json!({"flux": {"path": "x", "source": source, "decryption": decryption}});
    let (keys, left) = copied(&secret(Some("decryption"), "Opaque", &["password", "one.agekey"]), &gitops);
    assert_eq!(keys.unwrap(), ["one.agekey"]);
    assert!(left.contains("not copied for spec.gitops.flux.source.git.secretRef"), "{left}");
}

#[test]
fn every_secret_in_a_spec_is_found() {
    fn names(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let is_reference = key == "secretRef" || key.ends_with("SecretRef");
                    found.extend(value["name"].as_str().filter(|_| is_reference).map(str::to_owned));
                    names(value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| names(item, found)),
            _ => {}
        }
    }
    let named = |name: &str| json!({"name": name});
    let flux = json!({"flux": {
        "path": "x", "imagePullSecretRef": named("pull"), "decryption": {"provider": "sops", "secretRef": named("sops")},
        "source": {"git": {
            "url": "https://git.example.com/fleet", "ref": {"branch": "main"}, "secretRef": named("git"),
            "proxySecretRef": named("proxy"), "verify": {"mode": "HEAD", "secretRef": named("authors")},
        }},
    }});
    let oci = json!({"flux": {"path": "x", "source": {"oci": {
        "url": "oci://registry.example.com/fleet", "ref": {"tag": "1"}, "secretRef": named("login"),
        "certSecretRef": named("ca"), "proxySecretRef": named("proxy"),
        "verify": {"provider": "notation", "secretRef": named("signers")},
    }}}});
    for gitops in [flux, oci] {
        let mut expected = BTreeSet::new();
        names(&gitops, &mut expected);
        assert!(expected.len() >= 4);
        assert_eq!(References::of(&spec(&gitops)).0.into_keys().collect::<BTreeSet<_>>(), expected);
    }
}
