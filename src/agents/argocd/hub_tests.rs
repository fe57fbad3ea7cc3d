//! Which Secret a cluster gets in the Argo CD of the management cluster, whatever its tenant chooses.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn facts() -> Facts {
    Facts {
        cluster_name: "payments".into(),
        aws_region: "eu-west-1".into(),
        aws_account_id: "111122223333".into(),
        vpc_id: Some("vpc-1".into()),
        kubernetes_version: Some("1.34".into()),
        ..Facts::default()
    }
}

fn base<'a>(facts: &'a Facts, labels: &'a BTreeMap<String, String>) -> Cluster<'a> {
    Cluster {
        namespace: "shop",
        name: "payments-prod",
        owner: "u-1",
        account: Some("production"),
        labels,
        role_arn: None,
        endpoint: "https://a.eks.amazonaws.com",
        certificate_authority: "Q0E=",
        facts,
    }
}

fn payments() -> Secret {
    named("shop", "payments-prod")
}

fn named(namespace: &str, name: &str) -> Secret {
    secret(&Cluster { namespace, name, ..base(&facts(), &labels(&[])) })
}

fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

#[test]
fn secret_authenticates_with_aws_and_has_no_token() {
    let found = payments();
    assert_eq!(text(&found, "name"), "shop.payments-prod");
    assert_eq!(text(&found, "server"), "https://a.eks.amazonaws.com");
    let config: serde_json::Value = serde_json::from_str(&text(&found, "config")).unwrap();
    assert_eq!(
        config,
        json!({
            "awsAuthConfig": {"clusterName": "payments"},
            "tlsClientConfig": {"caData": "Q0E=", "insecure": false},
        })
    );
    let keys: Vec<_> = found.data.as_ref().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["config", "name", "server"], "no project, no namespaces, no shard");
    let arn = "arn:aws:iam::111122223333:role/argocd";
    let with_role = secret(&Cluster { role_arn: Some(arn), ..base(&facts(), &labels(&[])) });
    let config: serde_json::Value = serde_json::from_str(&text(&with_role, "config")).unwrap();
    assert_eq!(config["awsAuthConfig"]["roleARN"], arn);
}

#[test]
fn labels_and_annotations_describe_the_cluster() {
    let meta = payments().metadata;
    assert_eq!(
        meta.labels.unwrap(),
        labels(&[
            ("app.kubernetes.io/managed-by", "keelson"),
            ("argocd.argoproj.io/secret-type", "cluster"),
            ("keelson.dev/account", "production"),
            ("keelson.dev/account-id", "111122223333"),
            ("keelson.dev/cluster", "shop.payments-prod"),
            ("keelson.dev/namespace", "shop"),
            ("keelson.dev/region", "eu-west-1"),
            ("keelson.dev/version", "1.34"),
        ])
    );
    let annotations = meta.annotations.unwrap();
    assert_eq!((annotations["vpc_id"].as_str(), annotations["cluster_name"].as_str()), ("vpc-1", "payments"));
    assert_eq!((annotations[OWNER].as_str(), annotations[CLUSTER].as_str()), ("u-1", "shop/payments-prod"));
}

#[test]
fn a_spec_replaces_none_of_the_labels_of_keelson() {
    let wanted = labels(&[("team", "shop"), ("keelson.dev/namespace", "platform"), (SECRET_TYPE, "repository")]);
    let found = secret(&base(&facts(), &wanted)).metadata.labels.unwrap();
    assert_eq!((found["team"].as_str(), found["keelson.dev/namespace"].as_str()), ("shop", "shop"));
    assert_eq!(found[SECRET_TYPE], "cluster");
}

#[test]
fn no_two_clusters_have_a_name_in_common() {
    let long = "a".repeat(250);
    let longer = format!("{}b", "a".repeat(249));
    let objects = [
        ("a-b", "c"),
        ("a", "b-c"),
        ("a", "b.c"),
        ("a", "b"),
        ("shop", long.as_str()),
        ("shop", longer.as_str()),
        ("keelson", "cluster"),
    ];
    let secrets: BTreeSet<_> = objects.iter().map(|(namespace, name)| secret_name(namespace, name)).collect();
    assert_eq!(secrets.len(), objects.len(), "{secrets:?}");
    let in_registry: BTreeSet<_> = objects.iter().map(|(a, b)| text(&named(a, b), "name")).collect();
    assert_eq!(in_registry.len(), objects.len());
    let selected: BTreeSet<_> =
        objects.iter().map(|(a, b)| named(a, b).metadata.labels.unwrap()["keelson.dev/cluster"].clone()).collect();
    assert_eq!(selected.len(), objects.len(), "{selected:?}");
    assert!(selected.iter().all(|value| is_label(value)), "{selected:?}");
    assert!(secrets.iter().all(|name| name.len() <= 253 && is_secret_name(name) && name.is_ascii()), "{secrets:?}");
}

#[test]
fn only_what_has_all_marks_is_recognised() {
    let ours = payments().metadata;
    let marks = Marks { namespace: "shop".into(), name: "payments-prod".into(), owner: "u-1".into() };
    assert_eq!(Marks::of(&ours), Some(marks));
    let changes: [fn(&mut ObjectMeta); 6] = [
        |meta| meta.name = Some("argocd-secret".into()),
        |meta| drop(meta.labels.as_mut().unwrap().remove(SECRET_TYPE)),
        |meta| drop(meta.labels.as_mut().unwrap().insert(MANAGED_BY.0.into(), "somebody".into())),
        |meta| drop(meta.annotations.as_mut().unwrap().remove(OWNER)),
        |meta| drop(meta.annotations.as_mut().unwrap().insert(CLUSTER.into(), "shop/other".into())),
        |meta| meta.annotations = None,
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut meta = ours.clone();
        change(&mut meta);
        assert_eq!(Marks::of(&meta), None, "{at}");
    }
}

#[test]
fn a_secret_is_of_the_object_of_its_name_whatever_its_uid() {
    let ours = payments().metadata;
    let is_its = |meta: &ObjectMeta, name: &str, owner: &str| {
        is_of(meta, &Marks { namespace: "shop".into(), name: name.into(), owner: owner.into() })
    };
    assert!(is_its(&ours, "payments-prod", "u-1"));
    assert!(is_its(&ours, "payments-prod", "u-2"), "restored");
    assert!(!is_its(&ours, "payments", "u-2"));
    let mut edited = ours;
    edited.labels = None;
    assert!(is_its(&edited, "payments-prod", "u-1"), "somebody removed its labels");
    assert!(!is_its(&edited, "payments-prod", "u-2"));
    assert!(!is_its(&edited, "payments-prod", ""));
}

#[test]
fn labels_are_allowed_by_key_or_by_domain() {
    let allowed = |keys: &[&str]| {
        let labels = keys.iter().map(|key| parse_label_key(key).unwrap()).collect();
        Settings { namespace: None, labels }
    };
    let cases: [(&[&str], &str, bool); 8] = [
        (&[], "team", false),
        (&["team"], "team", true),
        (&["team"], "teams", false),
        (&["team"], "acme.example/team", false),
        (&["acme.example/*"], "acme.example/team", true),
        (&["acme.example/*"], "acme.example.org/team", false),
        (&["acme.example/*"], "team", false),
        (&["env", "acme.example/tier"], "acme.example/tier", true),
    ];
    for (keys, key, expected) in cases {
        assert_eq!(allowed(keys).check_labels(&labels(&[(key, "x")])).is_ok(), expected, "{keys:?} {key}");
    }
    let message = allowed(&["team", "env"]).check_labels(&labels(&[("tier", "gold")])).unwrap_err();
    assert!(message.contains("the label tier (it allows team, env)"), "{message}");
    let asked = labels(&[("env", "prod"), ("tier", "gold")]);
    assert_eq!(allowed(&["team", "env"]).allowed_labels(&asked), labels(&[("env", "prod")]));
}

#[test]
fn keys_that_mean_something_to_others_cannot_be_allowed() {
    for key in [
        "keelson.dev/namespace",
        "keelson.dev/*",
        "argocd.argoproj.io/secret-type",
        "app.kubernetes.io/managed-by",
        "eks.k8s.io/*",
        "*",
        "",
        "/team",
        "acme.example/",
        "ACME.example/team",
        "a b",
    ] {
        assert!(parse_label_key(key).is_err(), "{key}");
    }
    for key in ["team", "acme.example/team", "acme.example/*", "notkeelson.dev/team"] {
        assert_eq!(parse_label_key(key).as_deref(), Ok(key));
    }
}

#[test]
fn an_unknown_namespace_says_what_to_add() {
    let settings = Settings { namespace: Some("argocd".into()), labels: Vec::new() };
    assert_eq!(settings.namespace(), Ok("argocd"));
    assert!(Settings::default().namespace().unwrap_err().contains("deploy/argocd-registration"));
}
