//! Credentials: converts the keys of the Secrets that `secretRef` and `proxySecretRef` name, which are the same for
//! both agents, into those of Argo CD's repository Secret.
//!
//! Not allowed here: clients. Pure. A key that Argo CD cannot use is rejected by name: Argo CD would ignore it, and the
//! repository would deny access for no visible reason.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use serde::Deserialize;
use url::Url;

use crate::agents::shared_input::SecretData;
use crate::agents::validate_source::{OciUrl, Scheme, SourceUrl};

/// Credentials of a repository.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Entries of the repository Secret, besides its address.
    pub keys: BTreeMap<&'static str, ByteString>,
    /// Lines of an OpenSSH known_hosts file.
    pub known_hosts: Option<String>,
    /// The repository's host, and its certificate authorities in PEM.
    pub authority: Option<(String, String)>,
}

/// Prints the keys only.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, known_hosts, authority } = self;
        f.debug_struct("Credentials")
            .field("keys", &keys.keys())
            .field("known_hosts", &known_hosts)
            .field("authority", authority)
            .finish()
    }
}

/// A key of a Secret that Argo CD cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} {why}")]
pub struct Unusable {
    pub key: String,
    pub why: &'static str,
}

fn unusable(key: &str, why: &'static str) -> Unusable {
    Unusable { key: key.to_owned(), why }
}

/// For a Git repository. [`crate::agents::validate_source::secret`] checks that the Secret has the keys that the scheme needs.
pub fn of_git(url: &SourceUrl, secret: &SecretData) -> Result<Credentials, Unusable> {
    if url.scheme() == Scheme::Ssh { of_ssh(secret) } else { of_http(url, secret) }
}

fn of_ssh(secret: &SecretData) -> Result<Credentials, Unusable> {
    if has(secret, "password") {
        let why = "is a passphrase, and Argo CD supports no key with a passphrase: use another key without one";
        return Err(unusable("password", why));
    }
    let mut found = Credentials { known_hosts: text(secret, "known_hosts")?, ..Credentials::default() };
    found.copy(secret, "identity", "sshPrivateKey");
    Ok(found)
}

fn of_http(url: &SourceUrl, secret: &SecretData) -> Result<Credentials, Unusable> {
    let mut found = Credentials::default();
    for key in ["username", "password", "bearerToken"] {
        found.copy(secret, key, key);
    }
    if has(secret, "githubAppID") {
        github_app(secret, &mut found)?;
    }
    let certificate = [("tls.crt", "tlsClientCertData"), ("tls.key", "tlsClientCertKey")];
    if certificate.iter().any(|(key, _)| has(secret, key)) {
        if found.keys.is_empty() {
            let why =
                "is used by Argo CD only together with username and password, bearerToken or a GitHub App: add one";
            return Err(unusable("tls.crt", why));
        }
        for (key, name) in certificate {
            found.copy(secret, key, name);
        }
    }
    // The second is Flux's former name.
    for key in ["ca.crt", "caFile"] {
        if let (None, Some(pem)) = (&found.authority, text(secret, key)?) {
            found.authority = Some((host_of(url.as_str(), key)?, pem));
        }
    }
    Ok(found)
}

/// Adds the certificates of an OCI registry to its login.
pub fn add_certificates(url: &OciUrl, secret: &SecretData, found: &mut Credentials) -> Result<(), Unusable> {
    found.copy(secret, "tls.crt", "tlsClientCertData");
    found.copy(secret, "tls.key", "tlsClientCertKey");
    if let Some(pem) = text(secret, "ca.crt")? {
        found.authority = Some((host_of(url.as_str(), "ca.crt")?, pem));
    }
    Ok(())
}

fn github_app(secret: &SecretData, found: &mut Credentials) -> Result<(), Unusable> {
    if !has(secret, "githubAppInstallationID") {
        let why = "is needed: Argo CD does not look an installation up by its owner";
        return Err(unusable("githubAppInstallationID", why));
    }
    for key in ["githubAppID", "githubAppInstallationID"] {
        // Argo CD ignores a repository whose Secret it cannot parse.
        if text(secret, key)?.is_none_or(|id| id.trim().parse::<i64>().is_err()) {
            return Err(unusable(key, "is not a number"));
        }
        found.copy_trimmed(secret, key);
    }
    found.copy(secret, "githubAppPrivateKey", "githubAppPrivateKey");
    found.copy(secret, "githubAppBaseURL", "githubAppEnterpriseBaseUrl");
    Ok(())
}

/// The host name by which Argo CD looks up certificates.
fn host_of(url: &str, key: &str) -> Result<String, Unusable> {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    if host.is_empty() || host.starts_with('[') {
        return Err(unusable(
            key,
            "cannot be used for an IPv6 address, as Argo CD looks up certificates by host name: use a host name in the URL",
        ));
    }
    Ok(host)
}

/// The `proxy` entry of the repository Secret: address, user and password in one URL.
pub fn of_proxy(is_ssh: bool, secret: &SecretData) -> Result<ByteString, Unusable> {
    let address = text(secret, "address")?.ok_or_else(|| unusable("address", "is missing"))?;
    let mut proxy = Url::parse(address.trim()).map_err(|_| unusable("address", "is not a URL"))?;
    match proxy.scheme() {
        "socks5" => {}
        _ if is_ssh => {
            return Err(unusable("address", "must begin with socks5://: Argo CD supports no other proxy for ssh"));
        }
        "http" | "https" => {}
        _ => return Err(unusable("address", "must begin with http://, https:// or socks5://")),
    }
    let no_host = || unusable("address", "names no host");
    if proxy.host_str().is_none_or(str::is_empty) {
        return Err(no_host());
    }
    if let Some(username) = text(secret, "username")? {
        proxy.set_username(&username).map_err(|()| no_host())?;
    }
    if let Some(password) = text(secret, "password")? {
        proxy.set_password(Some(&password)).map_err(|()| no_host())?;
    }
    Ok(ByteString(proxy.as_str().trim_end_matches('/').as_bytes().to_vec()))
}

/// For an OCI registry, from a Secret of type kubernetes.io/dockerconfigjson.
pub fn of_registry(url: &OciUrl, secret: &SecretData) -> Result<Credentials, Unusable> {
    const KEY: &str = ".dockerconfigjson";
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        auths: BTreeMap<String, Login>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Login {
        username: String,
        password: String,
        auth: String,
    }
    let raw = text(secret, KEY)?.ok_or_else(|| unusable(KEY, "is missing"))?;
    let config: Config = serde_json::from_str(&raw).map_err(|_| unusable(KEY, "is not a Docker configuration"))?;
    let host = url.as_str().trim_start_matches("oci://").split('/').next().unwrap_or_default();
    let is_of_host = |registry: &str| {
        let registry = registry.split_once("://").map_or(registry, |(_, rest)| rest);
        registry.split('/').next() == Some(host)
    };
    let login = config.auths.into_iter().find(|(registry, _)| is_of_host(registry)).map(|(_, login)| login);
    let login = login.ok_or_else(|| unusable(KEY, "has no login for the registry of the URL"))?;
    let (username, password) = if login.auth.is_empty() {
        (login.username, login.password)
    } else {
        let pair = STANDARD.decode(login.auth.trim()).ok().and_then(|pair| String::from_utf8(pair).ok());
        pair.as_deref()
            .and_then(|pair| pair.split_once(':'))
            .map(|(username, password)| (username.to_owned(), password.to_owned()))
            .ok_or_else(|| unusable(KEY, "has a login whose auth is not user:password in base64"))?
    };
    let keys = [("username", username), ("password", password)];
    let keys = keys.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))).collect();
    Ok(Credentials { keys, ..Credentials::default() })
}

impl Credentials {
    fn copy(&mut self, secret: &SecretData, key: &str, name: &'static str) {
        if let Some(value) = secret.0.get(key).filter(|value| !value.0.is_empty()) {
            self.keys.insert(name, value.clone());
        }
    }

    fn copy_trimmed(&mut self, secret: &SecretData, key: &'static str) {
        if let Some(value) = secret.0.get(key) {
            self.keys.insert(key, ByteString(value.0.trim_ascii().to_vec()));
        }
    }
}

fn has(secret: &SecretData, key: &str) -> bool {
    secret.0.get(key).is_some_and(|value| !value.0.is_empty())
}

/// An entry that becomes text in a manifest: it must be UTF-8.
fn text(secret: &SecretData, key: &str) -> Result<Option<String>, Unusable> {
    let Some(value) = secret.0.get(key).filter(|value| !value.0.is_empty()) else { return Ok(None) };
    String::from_utf8(value.0.clone()).map(Some).map_err(|_| unusable(key, "is not text"))
}

#[cfg(test)]
#[path = "repository_secret_tests.rs"]
mod tests;
