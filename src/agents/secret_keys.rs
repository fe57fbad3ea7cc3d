//! The keys of the Secrets that a spec names: which are required, and which are copied. Other keys are never copied.
//!
//! Not allowed here: clients. Pure: the caller reads the Secret.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::validate_source::{InvalidSource, Scheme, SourceUrl};
use crate::api::secret_use::SecretUse;

/// Keys of a Git repository's Secret, by scheme. `caFile` is Flux's former name of `ca.crt`.
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

/// The entries of a Git repository's Secret that are copied: only the keys that its scheme uses.
pub fn git_keys(url: &SourceUrl, data: BTreeMap<String, ByteString>) -> BTreeMap<String, ByteString> {
    let known = if url.scheme() == Scheme::Ssh { &KNOWN_SSH[..] } else { &KNOWN_HTTP[..] };
    data.into_iter().filter(|(key, _)| known.contains(&key.as_str())).collect()
}

/// The purpose of a copied Secret, which determines its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Public keys of trusted signers in Git.
    Authors,
    /// Public keys of trusted cosign signers.
    Cosign,
    /// Trust policy and certificates of notation.
    Notation,
    /// A private certificate authority, or a client certificate.
    Certificates,
    /// The credentials of a registry.
    DockerConfig,
    /// The proxy to the source.
    Proxy,
    /// The keys that decrypt Secrets in the source.
    Decryption,
}

/// Suffixes of SOPS keys, as kustomize-controller recognizes them.
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

    /// The entries of the Secret that are copied: only the keys that this purpose uses.
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

    /// The missing keys, for messages.
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

/// Whether it is a Docker configuration with credentials for at least one registry.
fn names_registries(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Configuration {
        auths: BTreeMap<String, IgnoredAny>,
    }
    // The parser's error is dropped: it would quote the value.
    serde_json::from_slice::<Configuration>(json).is_ok_and(|configuration| !configuration.auths.is_empty())
}

/// Checks the keys of an existing Secret.
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
