//! Tests of [`super`].

use super::*;
use crate::agents::validate_source::{self, SourcePolicy};

fn url(text: &str) -> SourceUrl {
    validate_source::url(text, SourcePolicy::default()).unwrap()
}

fn secret(pairs: &[(&str, &str)]) -> SecretData {
    SecretData(pairs.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect())
}

fn keys(found: &Credentials) -> Vec<(&str, &str)> {
    found.keys.iter().map(|(key, value)| (*key, std::str::from_utf8(&value.0).unwrap())).collect()
}

#[test]
fn every_kind_of_credentials_has_argo_cds_keys() {
    for (address, entries, expected) in [
        (
            "https://github.com/acme/fleet",
            &[("username", "git"), ("password", "p")] as &[(&str, &str)],
            &[("password", "p"), ("username", "git")] as &[(&str, &str)],
        ),
        ("https://github.com/acme/fleet", &[("bearerToken", "t")], &[("bearerToken", "t")]),
        (
            "ssh://git@github.com/acme/fleet",
            &[("identity", "key"), ("identity.pub", "pub"), ("known_hosts", "github.com ssh-ed25519 A")],
            &[("sshPrivateKey", "key")],
        ),
        (
            "https://github.com/acme/fleet",
            &[
                ("githubAppID", "1\n"),
                ("githubAppInstallationID", "2"),
                ("githubAppPrivateKey", "k"),
                ("githubAppBaseURL", "https://ghe.acme.example/api/v3"),
            ],
            &[
                ("githubAppEnterpriseBaseUrl", "https://ghe.acme.example/api/v3"),
                ("githubAppID", "1"),
                ("githubAppInstallationID", "2"),
                ("githubAppPrivateKey", "k"),
            ],
        ),
        (
            "https://git.acme.example/fleet",
            &[("bearerToken", "t"), ("tls.crt", "c"), ("tls.key", "k")],
            &[("bearerToken", "t"), ("tlsClientCertData", "c"), ("tlsClientCertKey", "k")],
        ),
    ] {
        let found = of_git(&url(address), &secret(entries)).unwrap();
        assert_eq!(keys(&found), expected);
    }
}

#[test]
fn known_hosts_and_authorities_are_kept_outside_the_secret() {
    let ssh = of_git(&url("ssh://git@github.com/acme/fleet"), &secret(&[("identity", "key"), ("known_hosts", "line")]));
    assert_eq!(ssh.unwrap().known_hosts.as_deref(), Some("line"));
    for key in ["ca.crt", "caFile"] {
        let found = of_git(&url("https://git.acme.example:8443/fleet"), &secret(&[(key, "PEM")])).unwrap();
        assert_eq!(found.authority, Some(("git.acme.example".into(), "PEM".into())));
        assert!(found.keys.is_empty());
    }
}

#[test]
fn unusable_key_is_rejected_by_name() {
    let https = "https://github.com/acme/fleet";
    let app = ("githubAppPrivateKey", "k");
    for (address, entries, key) in [
        (
            "ssh://git@github.com/acme/fleet",
            &[("identity", "k"), ("known_hosts", "h"), ("password", "p")] as &[(&str, &str)],
            "password",
        ),
        (https, &[("tls.crt", "c"), ("tls.key", "k")], "tls.crt"),
        (https, &[("githubAppID", "1"), ("githubAppInstallationOwner", "acme"), app], "githubAppInstallationID"),
        (https, &[("githubAppID", "one"), ("githubAppInstallationID", "2"), app], "githubAppID"),
        ("https://[2001:db8::7]/fleet", &[("ca.crt", "PEM")], "ca.crt"),
    ] {
        assert_eq!(of_git(&url(address), &secret(entries)).unwrap_err().key, key);
    }
}

#[test]
fn proxy_is_one_url_with_escaped_password() {
    let entries =
        secret(&[("address", "http://proxy.acme.example:3128"), ("username", "u"), ("password", "p@ss:w/rd")]);
    let found = of_proxy(false, &entries).unwrap();
    assert_eq!(std::str::from_utf8(&found.0).unwrap(), "http://u:p%40ss%3Aw%2Frd@proxy.acme.example:3128");
    for address in ["", "proxy", "ftp://proxy.acme.example"] {
        assert_eq!(of_proxy(false, &secret(&[("address", address)])).unwrap_err().key, "address");
    }
}

#[test]
fn ssh_uses_socks_proxies_only() {
    assert!(of_proxy(true, &secret(&[("address", "socks5://proxy.acme.example:1080")])).is_ok());
    let refused = of_proxy(true, &secret(&[("address", "http://proxy.acme.example:3128")])).unwrap_err();
    assert!(refused.why.contains("socks5"), "{refused}");
}

fn artifact() -> OciUrl {
    validate_source::oci_url("oci://ghcr.io/acme/fleet", SourcePolicy::default()).unwrap()
}

#[test]
fn certificates_of_a_registry_need_no_login() {
    let mut found = Credentials::default();
    let entries = secret(&[("ca.crt", "PEM"), ("tls.crt", "c"), ("tls.key", "k")]);
    add_certificates(&artifact(), &entries, &mut found).unwrap();
    assert_eq!(keys(&found), [("tlsClientCertData", "c"), ("tlsClientCertKey", "k")]);
    assert_eq!(found.authority, Some(("ghcr.io".into(), "PEM".into())));
}

#[test]
fn registry_login_is_found_in_every_form_that_docker_writes() {
    let pair = STANDARD.encode("u:p:q");
    for config in [
        format!(r#"{{"auths": {{"ghcr.io": {{"auth": "{pair}"}}}}}}"#),
        format!(r#"{{"auths": {{"a.example": {{}}, "https://ghcr.io/v2/": {{"auth": "{pair}"}}}}}}"#),
        r#"{"auths": {"ghcr.io": {"username": "u", "password": "p:q"}}}"#.to_owned(),
    ] {
        let found = of_registry(&artifact(), &secret(&[(".dockerconfigjson", &config)])).unwrap();
        assert_eq!(keys(&found), [("password", "p:q"), ("username", "u")]);
    }
    for config in ["{}", "not json", r#"{"auths": {"ghcr.io": {"auth": "!"}}}"#] {
        let refused = of_registry(&artifact(), &secret(&[(".dockerconfigjson", config)])).unwrap_err();
        assert_eq!(refused.key, ".dockerconfigjson");
    }
}

#[test]
fn credentials_do_not_print_themselves() {
    let found = of_git(&url("https://github.com/acme/fleet"), &secret(&[("username", "git"), ("password", "s3cr3t")]));
    let printed = format!("{found:?}");
    assert!(printed.contains("password") && !printed.contains("s3cr3t"), "{printed}");
}
