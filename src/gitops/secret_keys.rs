//! The keys of the Secrets that a spec names: which must be there, and which are copied. What else a Secret holds stays where it
//! is.
//!
//! May not enter: clients. Pure: the caller reads the Secret.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::validate::{InvalidSource, Scheme, SourceUrl};
use crate::api::secret_use::SecretUse;

/// Keys of the Secret of a Git repository, by how it is reached. `caFile` is what Flux called `ca.crt` before.
const KNOWN_SSH: [&str; 4] = ["identity", "identity.pub", "known_hosts", "password"];
const KNOWN_HTTP: [&str; 12] = [
    "username",
    "password",
    "bearerToken",
    "ca.crt",
    "caFile",
    "tls.crt",
    "tls.key",
    "githubAppID",
    "githubAppPrivateKey",
    "githubAppInstallationID",
    "githubAppInstallationOwner",
    "githubAppBaseURL",
];

/// What of a Git repository's Secret is copied: the keys that its scheme has a use for, and nothing else.
pub fn git_keys(url: &SourceUrl, data: BTreeMap<String, ByteString>) -> BTreeMap<String, ByteString> {
    let known = if url.scheme() == Scheme::Ssh { &KNOWN_SSH[..] } else { &KNOWN_HTTP[..] };
    data.into_iter().filter(|(key, _)| known.contains(&key.as_str())).collect()
}

/// What a Secret that is copied must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Public keys of those whose signatures in Git count.
    Authors,
    /// Public keys of those whose signatures by cosign count.
    Cosign,
    /// What notation trusts.
    Notation,
    /// A private authority, or a certificate of one's own.
    Certificates,
    /// The login of a registry.
    DockerConfig,
    /// The way out to the source.
    Proxy,
    /// What decrypts the Secrets that are kept in the source.
    Decryption,
}

/// What the keys of SOPS end with, as kustomize-controller tells them apart.
const DECRYPTION: [&str; 6] = [".agekey", ".asc", "sops.vault-token", "sops.aws-kms", "sops.azure-kv", "sops.gcp-kms"];

impl Keys {
    /// The use that the Secret's owner must have allowed.
    pub fn secret_use(self) -> SecretUse {
        match self {
            Self::Authors | Self::Cosign | Self::Notation => SecretUse::Verification,
            Self::Certificates | Self::DockerConfig => SecretUse::Registry,
            Self::Proxy => SecretUse::Proxy,
            Self::Decryption => SecretUse::Decryption,
        }
    }

    /// What of the Secret is copied: the keys that have a use there, and nothing else.
    pub fn of(self, data: BTreeMap<String, ByteString>) -> BTreeMap<String, ByteString> {
        data.into_iter().filter(|(key, _)| self.accepts(key)).collect()
    }

    fn accepts(self, key: &str) -> bool {
        let ends = |ends: &[&str]| ends.iter().any(|end| key.ends_with(end));
        match self {
            Self::Authors => ends(&[".asc", ".sshpub"]),
            Self::Cosign => ends(&[".pub"]),
            Self::Notation => key == "trustpolicy.json" || ends(&[".crt", ".pem"]),
            Self::Certificates => ["ca.crt", "tls.crt", "tls.key"].contains(&key),
            Self::DockerConfig => key == ".dockerconfigjson",
            Self::Proxy => ["address", "username", "password"].contains(&key),
            Self::Decryption => ends(&DECRYPTION),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Authors => "keys that end in .asc (OpenPGP) or .sshpub (SSH)",
            Self::Cosign => "keys that end in .pub",
            Self::Notation => "the key trustpolicy.json, and keys that end in .crt or .pem",
            Self::Certificates => "the key ca.crt, or tls.crt and tls.key, or all three",
            Self::DockerConfig => {
                "the key .dockerconfigjson, JSON with auths for at least one registry, of type kubernetes.io/dockerconfigjson"
            }
            Self::Proxy => "the key address with the proxy's URL",
            Self::Decryption => {
                "a key that ends in .agekey, .asc, sops.vault-token, sops.aws-kms, sops.azure-kv or sops.gcp-kms"
            }
        }
    }

    /// The keys still missing, for people.
    fn missing(self, data: &BTreeMap<String, ByteString>) -> Option<&'static str> {
        let has = |key: &str| data.get(key).is_some_and(|value| !value.0.is_empty());
        let ends = |end: &str| data.iter().any(|(key, value)| key.ends_with(end) && !value.0.is_empty());
        match self {
            Self::Authors => (!ends(".asc") && !ends(".sshpub")).then_some("public keys"),
            Self::Cosign => (!ends(".pub")).then_some("public keys"),
            Self::Notation if !has("trustpolicy.json") => Some("trustpolicy.json"),
            Self::Notation => (!ends(".crt") && !ends(".pem")).then_some("certificates"),
            Self::Certificates => match (has("tls.crt"), has("tls.key")) {
                (true, false) => Some("tls.key"),
                (false, true) => Some("tls.crt"),
                (true, true) => None,
                (false, false) => (!has("ca.crt")).then_some("ca.crt"),
            },
            Self::DockerConfig => match data.get(".dockerconfigjson") {
                None => Some(".dockerconfigjson"),
                Some(json) => (!names_registries(&json.0)).then_some("auths in .dockerconfigjson"),
            },
            Self::Proxy => (!has("address")).then_some("address"),
            Self::Decryption => (!DECRYPTION.iter().any(|end| ends(end))).then_some("keys"),
        }
    }
}

/// Whether it is a configuration of Docker's that logs in anywhere.
fn names_registries(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Configuration {
        auths: BTreeMap<String, IgnoredAny>,
    }
    // The parser's own words would quote what it stumbled over.
    serde_json::from_slice::<Configuration>(json).is_ok_and(|configuration| !configuration.auths.is_empty())
}

/// Checks the keys of a Secret that is there.
pub fn keys(
    expected: Keys,
    (namespace, name): (&str, &str),
    data: &BTreeMap<String, ByteString>,
) -> Result<(), InvalidSource> {
    match expected.missing(data) {
        None => Ok(()),
        Some(missing) => Err(InvalidSource::SecretKeys {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            missing: missing.to_owned(),
            expected: expected.expected(),
        }),
    }
}

#[cfg(test)]
#[path = "secret_keys_tests.rs"]
mod tests;
