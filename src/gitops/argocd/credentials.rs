//! Credentials: the keys of the Secrets that `secretRef` and `proxySecretRef` name, which are the same for every agent, in the
//! words of Argo CD's repository Secret.
//!
//! May not enter: clients. Pure. What Argo CD cannot use is refused by its key: it would be ignored, and the repository refuse
//! for a reason that nobody sees.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use serde::Deserialize;
use url::Url;

use crate::gitops::input::SecretData;
use crate::gitops::validate::{OciUrl, Scheme, SourceUrl};

/// How a repository is logged in to.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Of the repository Secret, beside its address.
    pub keys: BTreeMap<&'static str, ByteString>,
    /// Lines of an OpenSSH known_hosts file.
    pub known_hosts: Option<String>,
    /// The repository's host, and certificates that vouch for it, in PEM.
    pub authority: Option<(String, String)>,
}

/// Prints its keys only.
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

/// A key of a Secret that Argo CD has no use for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} {why}")]
pub struct Unusable {
    pub key: String,
    pub why: &'static str,
}

fn unusable(key: &str, why: &'static str) -> Unusable {
    Unusable { key: key.to_owned(), why }
}

/// Of a Git repository. That the keys which the scheme needs are there is checked by [`crate::gitops::validate::secret`].
pub fn of_git(url: &SourceUrl, secret: &SecretData) -> Result<Credentials, Unusable> {
    if url.scheme() == Scheme::Ssh { of_ssh(secret) } else { of_http(url, secret) }
}

fn of_ssh(secret: &SecretData) -> Result<Credentials, Unusable> {
    if has(secret, "password") {
        let why = "is a passphrase, and Argo CD takes no key that has one: give it a key of its own without";
        return Err(unusable("password", why));
    }
    let mut found = Credentials { known_hosts: text(secret, "known_hosts")?, ..Credentials::default() };
    found.take(secret, "identity", "sshPrivateKey");
    Ok(found)
}

fn of_http(url: &SourceUrl, secret: &SecretData) -> Result<Credentials, Unusable> {
    let mut found = Credentials::default();
    for key in ["username", "password", "bearerToken"] {
        found.take(secret, key, key);
    }
    if has(secret, "githubAppID") {
        github_app(secret, &mut found)?;
    }
    let certificate = [("tls.crt", "tlsClientCertData"), ("tls.key", "tlsClientCertKey")];
    if certificate.iter().any(|(key, _)| has(secret, key)) {
        if found.keys.is_empty() {
            let why =
                "is shown by Argo CD only together with username and password, bearerToken or a GitHub App: add one";
            return Err(unusable("tls.crt", why));
        }
        for (key, name) in certificate {
            found.take(secret, key, name);
        }
    }
    // The second is what Flux called it before.
    for key in ["ca.crt", "caFile"] {
        if let (None, Some(pem)) = (&found.authority, text(secret, key)?) {
            found.authority = Some((host_of(url.as_str(), key)?, pem));
        }
    }
    Ok(found)
}

/// Certificates for an OCI registry, beside its login.
pub fn add_certificates(url: &OciUrl, secret: &SecretData, found: &mut Credentials) -> Result<(), Unusable> {
    found.take(secret, "tls.crt", "tlsClientCertData");
    found.take(secret, "tls.key", "tlsClientCertKey");
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
        // Argo CD drops a repository whose Secret it cannot read.
        if text(secret, key)?.is_none_or(|id| id.trim().parse::<i64>().is_err()) {
            return Err(unusable(key, "is not a number"));
        }
        found.take_trimmed(secret, key);
    }
    found.take(secret, "githubAppPrivateKey", "githubAppPrivateKey");
    found.take(secret, "githubAppBaseURL", "githubAppEnterpriseBaseUrl");
    Ok(())
}

/// The host under which Argo CD looks for certificates.
fn host_of(url: &str, key: &str) -> Result<String, Unusable> {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    if host.is_empty() || host.starts_with('[') {
        return Err(unusable(key, "is kept by host name in Argo CD, which an IPv6 address cannot be: name the host"));
    }
    Ok(host)
}

/// The `proxy` of the repository Secret: address, user and password in one URL.
pub fn of_proxy(is_ssh: bool, secret: &SecretData) -> Result<ByteString, Unusable> {
    let address = text(secret, "address")?.ok_or_else(|| unusable("address", "is missing"))?;
    let mut proxy = Url::parse(address.trim()).map_err(|_| unusable("address", "is not a URL"))?;
    match proxy.scheme() {
        "socks5" => {}
        _ if is_ssh => {
            return Err(unusable("address", "must begin with socks5://: Argo CD reaches ssh through no other proxy"));
        }
        "http" | "https" => {}
        _ => return Err(unusable("address", "must begin with http://, https:// or socks5://")),
    }
    let no_place = || unusable("address", "names no host");
    if proxy.host_str().is_none_or(str::is_empty) {
        return Err(no_place());
    }
    if let Some(username) = text(secret, "username")? {
        proxy.set_username(&username).map_err(|()| no_place())?;
    }
    if let Some(password) = text(secret, "password")? {
        proxy.set_password(Some(&password)).map_err(|()| no_place())?;
    }
    Ok(ByteString(proxy.as_str().trim_end_matches('/').as_bytes().to_vec()))
}

/// Of an OCI registry, from a Secret of type kubernetes.io/dockerconfigjson.
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
    fn take(&mut self, secret: &SecretData, key: &str, name: &'static str) {
        if let Some(value) = secret.0.get(key).filter(|value| !value.0.is_empty()) {
            self.keys.insert(name, value.clone());
        }
    }

    fn take_trimmed(&mut self, secret: &SecretData, key: &'static str) {
        if let Some(value) = secret.0.get(key) {
            self.keys.insert(key, ByteString(value.0.trim_ascii().to_vec()));
        }
    }
}

fn has(secret: &SecretData, key: &str) -> bool {
    secret.0.get(key).is_some_and(|value| !value.0.is_empty())
}

/// What is text in a manifest must be text.
fn text(secret: &SecretData, key: &str) -> Result<Option<String>, Unusable> {
    let Some(value) = secret.0.get(key).filter(|value| !value.0.is_empty()) else { return Ok(None) };
    String::from_utf8(value.0.clone()).map(Some).map_err(|_| unusable(key, "is not text"))
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
