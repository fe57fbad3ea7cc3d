//! Which keys of a Secret are required and copied for each purpose.

use k8s_openapi::ByteString;

use super::*;
use crate::agents::validate_source::{self, SourcePolicy};

const STRICT: SourcePolicy = SourcePolicy { allow_http: false };

fn data(keys: &[&str]) -> BTreeMap<String, ByteString> {
    keys.iter().map(|key| ((*key).to_owned(), ByteString(b"x".to_vec()))).collect()
}

#[test]
fn only_known_keys_of_a_purpose_are_copied() {
    // Like a labelled Secret of a database, together with keys of every purpose.
    let everything = data(&[
        "DATABASE_PASSWORD",
        "token",
        "namespace",
        "address",
        "username",
        "password",
        "bearerToken",
        "identity",
        "known_hosts",
        "githubAppID",
        "githubAppPrivateKey",
        "ca.crt",
        "tls.crt",
        "tls.key",
        ".dockerconfigjson",
        "alice.asc",
        "bob.sshpub",
        "release.pub",
        "trustpolicy.json",
        "root.pem",
        "keys.agekey",
        "sops.aws-kms",
    ]);
    for (expected, copied) in [
        (Keys::Authors, vec!["alice.asc", "bob.sshpub"]),
        (Keys::Cosign, vec!["release.pub"]),
        (Keys::Notation, vec!["ca.crt", "root.pem", "tls.crt", "trustpolicy.json"]),
        (Keys::Certificates, vec!["ca.crt", "tls.crt", "tls.key"]),
        (Keys::DockerConfig, vec![".dockerconfigjson"]),
        (Keys::Proxy, vec!["address", "password", "username"]),
        (Keys::Decryption, vec!["alice.asc", "keys.agekey", "sops.aws-kms"]),
    ] {
        let found = expected.of(everything.clone());
        assert_eq!(found.keys().collect::<Vec<_>>(), copied, "{expected:?}");
    }
    for (url, copied) in [
        ("ssh://git@github.com/a", vec!["identity", "known_hosts", "password"]),
        (
            "https://github.com/a",
            vec![
                "bearerToken",
                "ca.crt",
                "githubAppID",
                "githubAppPrivateKey",
                "password",
                "tls.crt",
                "tls.key",
                "username",
            ],
        ),
    ] {
        let found = git_keys(&validate_source::url(url, STRICT).unwrap(), everything.clone());
        assert_eq!(found.keys().collect::<Vec<_>>(), copied, "{url}");
    }
}

#[test]
fn secret_must_have_the_keys_of_its_purpose() {
    let login = r#"{"auths": {"ghcr.io": {"auth": "eDp5"}}}"#;
    let result = |expected: Keys, present: &[&str]| {
        let value = |key: &str| if key == ".dockerconfigjson" { login } else { "pa55word" };
        let value = |key: &&str| ((*key).to_owned(), ByteString(value(key).as_bytes().to_vec()));
        let data = present.iter().map(value).collect();
        keys(expected, ("team", "keys"), &data).map_err(|why| why.to_string())
    };
    for (expected, good) in [
        (Keys::Authors, vec!["alice.asc"]),
        (Keys::Authors, vec!["bob.sshpub", "notes"]),
        (Keys::Cosign, vec!["release.pub"]),
        (Keys::Notation, vec!["trustpolicy.json", "ca.pem"]),
        (Keys::Certificates, vec!["ca.crt"]),
        (Keys::Certificates, vec!["tls.crt", "tls.key"]),
        (Keys::DockerConfig, vec![".dockerconfigjson"]),
        (Keys::Proxy, vec!["address"]),
        (Keys::Decryption, vec!["README", "keys.agekey"]),
        (Keys::Decryption, vec!["team.asc"]),
        (Keys::Decryption, vec!["sops.aws-kms"]),
    ] {
        assert_eq!(result(expected, &good), Ok(()), "{good:?}");
    }
    for (expected, bad, missing) in [
        (Keys::Authors, vec!["identity"], "lacks public keys"),
        (Keys::Cosign, vec![], "lacks public keys"),
        (Keys::Notation, vec!["ca.pem"], "lacks trustpolicy.json"),
        (Keys::Notation, vec!["trustpolicy.json"], "lacks certificates"),
        (Keys::Certificates, vec!["ca.crt", "tls.crt"], "lacks tls.key"),
        (Keys::Certificates, vec!["ca.pem"], "lacks ca.crt"),
        (Keys::DockerConfig, vec![".dockercfg"], "lacks .dockerconfigjson"),
        (Keys::Proxy, vec!["username"], "lacks address"),
        (Keys::Decryption, vec!["keys.txt"], "lacks keys; expected a key that ends in .agekey"),
    ] {
        let why = result(expected, &bad).unwrap_err();
        assert!(why.contains("Secret team/keys") && why.contains(missing) && !why.contains("pa55word"), "{why}");
    }
    for json in ["pa55word", "{}", r#"{"auths": {}}"#] {
        let data = [(".dockerconfigjson".to_owned(), ByteString(json.as_bytes().to_vec()))].into();
        let why = keys(Keys::DockerConfig, ("team", "keys"), &data).unwrap_err().to_string();
        assert!(why.contains("lacks auths in .dockerconfigjson") && !why.contains("pa55word"), "{why}");
    }
}
