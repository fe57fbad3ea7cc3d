//! The opt-in of a Secret: the uses for which it may be copied into a workload cluster, or sent to a server. Users who write
//! EksClusters and FleetRollouts need not be allowed to read the namespace's Secrets, so referencing one is not enough: its owner labels it. No I/O.

use std::collections::BTreeMap;
use std::fmt;

/// Label of a Secret that EksClusters of its namespace, or FleetRollouts, may reference. Its value is a use, or several joined by dots,
/// such as `git.proxy`, because a label's value cannot contain commas.
pub const USE_LABEL: &str = "keelson.dev/use";

/// Types of Secrets with credentials for the management cluster itself. They are never copied, whatever their labels.
const CREDENTIALS_OF_THE_API_SERVER: [&str; 2] =
    ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];

/// A use of a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretUse {
    /// Credentials for a Git repository.
    Git,
    /// Credentials for a registry, or its certificates.
    Registry,
    /// Keys that decrypt Secrets in the source.
    Decryption,
    /// Address of a proxy, and its credentials.
    Proxy,
    /// Public keys of trusted signers.
    Verification,
    /// Credentials for a Prometheus server that checks of a FleetRollout query.
    Prometheus,
}

impl SecretUse {
    /// Every use.
    pub const ALL: [Self; 6] =
        [Self::Git, Self::Registry, Self::Decryption, Self::Proxy, Self::Verification, Self::Prometheus];

    /// As written in the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Registry => "registry",
            Self::Decryption => "decryption",
            Self::Proxy => "proxy",
            Self::Verification => "verification",
            Self::Prometheus => "prometheus",
        }
    }
}

impl fmt::Display for SecretUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a Secret may not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretNotPermitted {
    /// A credential of the management cluster.
    #[error(
        "Secret {namespace}/{name} is of type {kind}: such a Secret is a credential for this API server and is never copied into a cluster, or sent to a server; name another one"
    )]
    Type {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its type.
        kind: String,
    },
    /// It has no label.
    #[error(
        "Secret {namespace}/{name} has no label {USE_LABEL}, so it is not used: to allow it, run kubectl label secret {name} --namespace={namespace} {USE_LABEL}={wanted}"
    )]
    NotLabelled {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The use in the spec.
        wanted: SecretUse,
    },
    /// Its label allows other uses.
    #[error(
        "Secret {namespace}/{name} may be used for {label:?} only (its label {USE_LABEL}) and not for {wanted}: name another one, or run kubectl label secret {name} --namespace={namespace} --overwrite {USE_LABEL}={all}"
    )]
    OtherUse {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The label's value.
        label: String,
        /// The use in the spec.
        wanted: SecretUse,
        /// The label's value that would allow this use too.
        all: String,
    },
}

/// Checks that the Secret `namespace/name` with these labels and this type may be used for `wanted`.
///
/// # Errors
/// Why not, and what to do.
pub fn check(
    (namespace, name): (&str, &str),
    labels: Option<&BTreeMap<String, String>>,
    kind: Option<&str>,
    wanted: SecretUse,
) -> Result<(), SecretNotPermitted> {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    if let Some(kind) = kind.filter(|kind| CREDENTIALS_OF_THE_API_SERVER.contains(kind)) {
        return Err(SecretNotPermitted::Type { namespace, name, kind: kind.to_owned() });
    }
    let Some(label) = labels.and_then(|labels| labels.get(USE_LABEL)).filter(|label| !label.is_empty()) else {
        return Err(SecretNotPermitted::NotLabelled { namespace, name, wanted });
    };
    if label.split('.').any(|one| one == wanted.as_str()) {
        return Ok(());
    }
    let known = label.split('.').filter(|one| SecretUse::ALL.iter().any(|known| known.as_str() == *one));
    let all: Vec<&str> = known.chain([wanted.as_str()]).collect();
    Err(SecretNotPermitted::OtherUse { namespace, name, wanted, label: label.clone(), all: all.join(".") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_use(label: Option<&str>, kind: Option<&str>, wanted: SecretUse) -> Result<(), String> {
        let labels = label.map(|label| BTreeMap::from([(USE_LABEL.to_owned(), label.to_owned())]));
        check(("shop", "fleet"), labels.as_ref(), kind, wanted).map_err(|error| error.to_string())
    }

    #[test]
    fn secret_is_used_only_for_the_uses_in_its_label() {
        for wanted in SecretUse::ALL {
            assert_eq!(check_use(Some(wanted.as_str()), Some("Opaque"), wanted), Ok(()));
            assert_eq!(check_use(Some(&format!("git.{wanted}")), None, wanted), Ok(()));
            for other in SecretUse::ALL.into_iter().filter(|other| *other != wanted) {
                let message = check_use(Some(other.as_str()), None, wanted).unwrap_err();
                assert!(message.contains(&format!("--overwrite keelson.dev/use={other}.{wanted}")), "{message}");
            }
        }
        for label in ["gitx", "Git", "git-registry", "git_registry", ".", "registry.xgit"] {
            assert!(check_use(Some(label), None, SecretUse::Git).is_err(), "{label}");
        }
    }

    #[test]
    fn secret_without_label_is_rejected_with_the_command_that_sets_it() {
        for label in [None, Some("")] {
            let message = check_use(label, Some("Opaque"), SecretUse::Git).unwrap_err();
            assert!(message.contains("Secret shop/fleet has no label keelson.dev/use"), "{message}");
            assert!(message.ends_with("kubectl label secret fleet --namespace=shop keelson.dev/use=git"), "{message}");
        }
    }

    #[test]
    fn credential_of_the_api_server_is_rejected_whatever_its_label() {
        for kind in CREDENTIALS_OF_THE_API_SERVER {
            for wanted in SecretUse::ALL {
                let message =
                    check_use(Some("git.registry.decryption.proxy.verification.prometheus"), Some(kind), wanted)
                        .unwrap_err();
                assert!(message.contains(kind) && message.contains("never copied"), "{message}");
            }
        }
    }

    #[test]
    fn all_uses_joined_are_a_valid_label() {
        let all = SecretUse::ALL.map(SecretUse::as_str).join(".");
        assert!(all.len() <= 63 && all.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{all}");
    }
}
