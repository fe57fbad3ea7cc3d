//! Which sources are valid, and the messages for the others.

use super::*;

const STRICT: SourcePolicy = SourcePolicy { allow_http: false };
const TESTS: SourcePolicy = SourcePolicy { allow_http: true };

#[test]
fn https_and_ssh_repositories_pass() {
    for text in [
        "https://github.com/acme/fleet",
        "https://git.example:8443/acme/fleet.git",
        "ssh://git@github.com/acme/fleet",
        "ssh://git@git.example:2222/fleet",
        "ssh://git@[2001:db8::7]:2222/fleet",
    ] {
        assert_eq!(url(text, STRICT).map(|url| url.to_string()), Ok(text.to_owned()));
    }
}

#[test]
fn other_urls_are_rejected_with_advice() {
    let table: Vec<String> = [
        "",
        "fleet",
        "git@github.com:acme/fleet",
        "file:///etc/passwd",
        "git://github.com/acme/fleet",
        "ext::sh -c id",
        "http://github.com/acme/fleet",
        "https://user:secret@github.com/acme/fleet",
        "https://token@github.com/acme/fleet",
        "ssh://git:secret@github.com/acme/fleet",
        "https://github.com",
        "https://github.com/acme/fleet?ref=main",
        "https://github.com/acme/fleet#main",
        "https://github.com/acme/ fleet",
        "https://github.com\\@169.254.169.254/x",
        "https://169.254.169.254/latest/meta-data",
        "https://2852039166/latest",
        "https://0xa9fea9fe/latest",
        "https://0251.0376.0251.0376/latest",
        "https://[::ffff:169.254.169.254]/latest",
        "https://[fd00:ec2::254]/latest",
        "ssh://git@0xa9fea9fe/latest",
        "ssh://git@169.254.169.254:22/latest",
        "https://metadata.google.internal/x",
        "https://localhost/x",
        "https://127.0.0.1:8080/x",
        "ssh://-oProxyCommand=id/x",
    ]
    .into_iter()
    .map(|text| format!("{text} -> {}", url(text, STRICT).unwrap_err()))
    .collect();
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn test_flag_allows_http_and_loopback_but_no_metadata() {
    assert_eq!(url("http://127.0.0.1:9418/fleet.git", TESTS).map(|url| url.scheme()), Ok(Scheme::Http));
    assert!(url("http://169.254.169.254/latest", TESTS).is_err());
    assert!(url("file:///srv/fleet.git", TESTS).is_err());
}

#[test]
fn paths_outside_the_repository_are_rejected() {
    for good in ["", "./", "clusters/demo", "./clusters/demo", "a..b"] {
        assert_eq!(path(good), Ok(()), "{good}");
    }
    for bad in ["..", "../other", "clusters/../../x", "a\nb"] {
        assert!(path(bad).is_err(), "{bad}");
    }
}

#[test]
fn invalid_refs_are_rejected() {
    let commit = "76087da78cdcec69b25c1392f6c5948b0bd320f5";
    for (field, good) in [
        ("branch", "main"),
        ("tag", "v1.2"),
        ("semver", ">=1.0.0 <2.0.0"),
        ("commit", commit),
        ("name", "refs/pull/1/head"),
    ] {
        assert_eq!(reference(field, good), Ok(()), "{field} {good}");
    }
    for (field, bad) in [
        ("branch", ""),
        ("branch", "--upload-pack=id"),
        ("tag", "a..b"),
        ("commit", "76087da"),
        ("name", "main"),
        ("semver", "1\n2"),
    ] {
        assert!(reference(field, bad).is_err(), "{field} {bad}");
    }
}

fn with_keys(text: &str, keys: Option<&[&str]>) -> String {
    let data = keys.map(|keys| keys.iter().map(|key| ((*key).to_owned(), ByteString(b"x".to_vec()))).collect());
    let named = NamedSecret { namespace: "team", name: "deploy-key", data: data.as_ref() };
    secret(&url(text, STRICT).unwrap(), Some(named)).map_or_else(|error| error.to_string(), |()| "accepted".into())
}

#[test]
fn secret_with_missing_keys_is_rejected_with_their_names() {
    let https = "https://github.com/acme/fleet";
    let ssh = "ssh://git@github.com/acme/fleet";
    let table: Vec<String> = [
        (ssh, None),
        (ssh, Some(&["identity", "known_hosts"][..])),
        (ssh, Some(&["identity"])),
        (ssh, Some(&["username", "password"])),
        (https, None),
        (https, Some(&["username", "password"])),
        (https, Some(&["username"])),
        (https, Some(&["bearerToken"])),
        (https, Some(&["githubAppID", "githubAppPrivateKey", "githubAppInstallationOwner"])),
        (https, Some(&["githubAppID", "githubAppPrivateKey"])),
        (https, Some(&["githubAppID"])),
        (https, Some(&["ca.crt"])),
        (https, Some(&["identity", "known_hosts"])),
        (https, Some(&[])),
    ]
    .into_iter()
    .map(|(text, keys)| format!("{} {keys:?} -> {}", text.split(':').next().unwrap(), with_keys(text, keys)))
    .collect();
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn ssh_needs_a_secret_and_https_does_not() {
    assert_eq!(secret(&url("ssh://git@github.com/a", STRICT).unwrap(), None), Err(InvalidSource::SecretNotNamed));
    assert_eq!(secret(&url("https://github.com/a", STRICT).unwrap(), None), Ok(()));
}

#[test]
fn artifact_url_has_only_host_and_path() {
    let strict = SourcePolicy::default();
    for good in ["oci://ghcr.io/acme/fleet", "oci://registry.acme.internal:5000/fleet", "oci://10.0.0.7/a/b"] {
        assert_eq!(oci_url(good, strict).unwrap().as_str(), good);
    }
    for (bad, why) in [
        ("https://ghcr.io/acme/fleet", "does not begin with oci://"),
        ("oci://ghcr.io", "names no artifact"),
        ("oci://ghcr.io/acme/fleet:prod", "ref.tag"),
        ("oci://ghcr.io/acme/fleet@sha256:0", "a digest"),
        ("oci://me:word@ghcr.io/acme/fleet", "a user"),
        ("oci://169.254.169.254/latest", "metadata"),
        ("oci://[fd00:ec2::254]/latest", "metadata"),
        ("oci://2852039166/latest", "169.254.169.254"),
        ("oci://127.0.0.1:5000/fleet", "loopback"),
    ] {
        let result = oci_url(bad, strict).unwrap_err().to_string();
        assert!(result.contains(why), "{bad}: {result}");
        assert!(!result.contains("word"), "{result}");
    }
    assert!(oci_url("oci://127.0.0.1:5000/fleet", SourcePolicy { allow_http: true }).is_ok());
}

#[test]
fn ecr_is_recognized_by_host() {
    let is_in_ecr = |url: &str| oci_url(url, SourcePolicy::default()).unwrap().is_in_ecr();
    for host in [
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        "123456789012.dkr-ecr.eu-west-1.on.aws",
    ] {
        assert!(is_in_ecr(&format!("oci://{host}/fleet")), "{host}");
    }
    for host in [
        "public.ecr.aws",
        "ghcr.io",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.example",
        "a.dkr.ecr.b.evilamazonaws.com",
    ] {
        assert!(!is_in_ecr(&format!("oci://{host}/fleet")), "{host}");
    }
}
