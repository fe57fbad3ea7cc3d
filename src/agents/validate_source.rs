//! Validates a source: its URL, path and ref, and the keys of the Secrets that it names.
//!
//! Not allowed here: clients. Pure: the caller reads the Secret. A valid URL becomes a [`SourceUrl`] or an [`OciUrl`], the
//! only types that the agent's input accepts.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use url::Url;

use super::address::{self, InvalidHost};

/// The operator's flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourcePolicy {
    /// Allows `http://` and loopback hosts, for tests.
    pub allow_http: bool,
}

/// How the agent reaches a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Https,
    Http,
    Ssh,
}

/// The validated URL of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceUrl {
    text: String,
    scheme: Scheme,
}

impl SourceUrl {
    pub fn as_str(&self) -> &str {
        &self.text
    }
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The validated URL of an artifact, without a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciUrl(String);

impl OciUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is in a private ECR registry, to which an identity in AWS logs in.
    pub fn is_in_ecr(&self) -> bool {
        let host = self.0.trim_start_matches("oci://").split('/').next().unwrap_or_default();
        let amazons = ["amazonaws.com", "amazonaws.com.cn", "amazonaws.eu", "on.aws", "api.aws"];
        (host.contains(".dkr.ecr.") || host.contains(".dkr.ecr-fips.") || host.contains(".dkr-ecr"))
            && amazons.iter().any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
    }
}

/// Why a source is rejected. The messages never repeat a URL that could contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    #[error("the Git URL is not a URL ({0}): write https://HOST/PATH or ssh://git@HOST/PATH")]
    NotAUrl(String),
    #[error("the Git URL has the scheme {0:?}, but only https and ssh are allowed")]
    Scheme(String),
    #[error("the artifact's URL {0}: write oci://HOST/PATH")]
    Oci(&'static str),
    #[error(
        "the Git URL is unencrypted http: use https (the operator accepts http only with --allow-http-git, for tests)"
    )]
    Http,
    #[error("the URL's host {host:?} {why}")]
    Host { host: String, why: InvalidHost },
    #[error("the Git URL holds a password or a user: put credentials into a Secret and name it in secretRef")]
    Credentials,
    #[error("the Git URL has a {0}, which no Git server needs: remove it")]
    Superfluous(&'static str),
    #[error("{field} {value:?} {why}")]
    Field { field: &'static str, value: String, why: &'static str },
    #[error("ssh needs a Secret with the keys identity and known_hosts: name it in secretRef")]
    SecretNotNamed,
    #[error("Secret {namespace}/{name} does not exist; expected one with {expected}")]
    SecretMissing { namespace: String, name: String, expected: &'static str },
    #[error("Secret {namespace}/{name} lacks {missing}; expected {expected}")]
    SecretKeys { namespace: String, name: String, missing: String, expected: &'static str },
}

const SSH_KEYS: &str = "the keys identity and known_hosts";
const HTTP_KEYS: &str = "the keys username and password, or bearerToken, or githubAppID, githubAppPrivateKey and githubAppInstallationID or githubAppInstallationOwner (and ca.crt for a private authority)";

/// Checks the URL of a Git source.
pub fn url(text: &str, policy: SourcePolicy) -> Result<SourceUrl, InvalidSource> {
    if text.is_empty() || text.len() > 2048 || text.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'\\') {
        return Err(InvalidSource::NotAUrl(
            "it is empty, too long, or has spaces, backslashes or control characters".into(),
        ));
    }
    let Some((_, rest)) = text.split_once("://") else {
        return Err(InvalidSource::NotAUrl("it has no scheme; the form git@HOST:PATH is ssh://git@HOST/PATH".into()));
    };
    let parsed = Url::parse(text).map_err(|error| InvalidSource::NotAUrl(error.to_string()))?;
    let scheme = match parsed.scheme() {
        "https" => Scheme::Https,
        "ssh" => Scheme::Ssh,
        "http" if policy.allow_http => Scheme::Http,
        "http" => return Err(InvalidSource::Http),
        other => return Err(InvalidSource::Scheme(other.into())),
    };
    host(rest, policy)?;
    if parsed.password().is_some() || (scheme != Scheme::Ssh && !parsed.username().is_empty()) {
        return Err(InvalidSource::Credentials);
    }
    if parsed.query().is_some() {
        return Err(InvalidSource::Superfluous("query"));
    }
    if parsed.fragment().is_some() {
        return Err(InvalidSource::Superfluous("fragment"));
    }
    if parsed.path().trim_matches('/').is_empty() {
        return Err(InvalidSource::NotAUrl("it names no repository".into()));
    }
    Ok(SourceUrl { text: text.to_owned(), scheme })
}

/// Checks the host of a URL without its scheme. Takes the text as written, because a URL parser already normalizes
/// addresses.
fn host(rest: &str, policy: SourcePolicy) -> Result<(), InvalidSource> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host_and_port.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => host_and_port,
    };
    address::check(host, policy.allow_http).map_err(|why| InvalidSource::Host { host: host.into(), why })
}

/// Checks the URL of an artifact.
pub fn oci_url(text: &str, policy: SourcePolicy) -> Result<OciUrl, InvalidSource> {
    let reject = |why| Err(InvalidSource::Oci(why));
    let Some(rest) = text.strip_prefix("oci://") else { return reject("does not begin with oci://") };
    if text.len() > 2048 || text.bytes().any(|b| b <= b' ' || b >= 0x7f || b"\\@?#%".contains(&b)) {
        return reject("is too long, or has a user, a digest, a query or characters that no artifact's name has");
    }
    let path = rest.split_once('/').map(|(_, path)| path).unwrap_or_default();
    if path.trim_matches('/').is_empty() {
        return reject("names no artifact");
    }
    if path.contains(':') {
        return reject("has a tag, which belongs in ref.tag");
    }
    host(rest, policy)?;
    Ok(OciUrl(text.to_owned()))
}

/// Checks the path of the cluster's manifests, relative to the repository's root.
pub fn path(path: &str) -> Result<(), InvalidSource> {
    let reject = |why| Err(InvalidSource::Field { field: "path", value: path.into(), why });
    if path.len() > 1024 || path.chars().any(char::is_control) {
        reject("is too long or has control characters")
    } else if path.split('/').any(|segment| segment == "..") {
        reject("leads out of the repository: write it from the repository's root, without ..")
    } else {
        Ok(())
    }
}

/// Checks the text of a branch, tag, range, commit or ref name.
pub fn reference(field: &'static str, value: &str) -> Result<(), InvalidSource> {
    let reject = |why| Err(InvalidSource::Field { field, value: value.into(), why });
    if value.is_empty() || value.len() > 256 || value.chars().any(char::is_control) || value.starts_with('-') {
        return reject("is empty, too long, has control characters or begins with a dash");
    }
    match field {
        "commit" if value.len() != 40 || !value.bytes().all(|b| b.is_ascii_hexdigit()) => {
            reject("is not a full SHA-1: write all 40 digits")
        }
        "name" if !value.starts_with("refs/") => {
            reject("is not a full ref name: write refs/heads/..., refs/tags/... or refs/pull/...")
        }
        "branch" | "tag" | "name"
            if value.contains("..") || value.contains([' ', '~', '^', ':', '?', '*', '[', '\\']) =>
        {
            reject("is not a name that Git allows")
        }
        _ => Ok(()),
    }
}

/// The Secret that a source names: `None` if it names none, `data: None` if the Secret does not exist.
#[derive(Clone, Copy)]
pub struct NamedSecret<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub data: Option<&'a BTreeMap<String, ByteString>>,
}

/// Checks that the Secret has the keys that the URL's scheme needs. Messages contain keys, never values.
pub fn secret(url: &SourceUrl, secret: Option<NamedSecret<'_>>) -> Result<(), InvalidSource> {
    let expected = if url.scheme == Scheme::Ssh { SSH_KEYS } else { HTTP_KEYS };
    let Some(NamedSecret { namespace, name, data }) = secret else {
        return if url.scheme == Scheme::Ssh { Err(InvalidSource::SecretNotNamed) } else { Ok(()) };
    };
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    let Some(data) = data else {
        return Err(InvalidSource::SecretMissing { namespace, name, expected });
    };
    match missing(url.scheme, |key| data.get(key).is_some_and(|value| !value.0.is_empty())) {
        Some(missing) => Err(InvalidSource::SecretKeys { namespace, name, missing, expected }),
        None => Ok(()),
    }
}

/// The missing keys, for messages; `None` if the Secret is complete.
fn missing(scheme: Scheme, has: impl Fn(&str) -> bool) -> Option<String> {
    let lacking = |keys: &[&str]| {
        let keys: Vec<_> = keys.iter().filter(|key| !has(key)).copied().collect();
        (!keys.is_empty()).then(|| keys.join(" and "))
    };
    if scheme == Scheme::Ssh {
        return lacking(&["identity", "known_hosts"]);
    }
    if has("username") || has("password") {
        return lacking(&["username", "password"]);
    }
    if ["githubAppID", "githubAppPrivateKey", "githubAppInstallationID", "githubAppInstallationOwner"]
        .iter()
        .any(|key| has(key))
    {
        return lacking(&["githubAppID", "githubAppPrivateKey"]).or_else(|| {
            let one = "githubAppInstallationID or githubAppInstallationOwner";
            match (has("githubAppInstallationID"), has("githubAppInstallationOwner")) {
                (false, false) => Some(one.to_owned()),
                (true, true) => Some(format!("a choice: it holds both {one}, and Flux takes only one")),
                _ => None,
            }
        });
    }
    let enough = ["bearerToken", "ca.crt", "caFile", "tls.crt"].iter().any(|key| has(key));
    (!enough).then(|| "credentials".to_owned())
}

#[cfg(test)]
#[path = "validate_source_tests.rs"]
mod tests;
