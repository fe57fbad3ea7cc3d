//! The credentials of a Prometheus server, from a Secret that its owner has opened for this use. They are read for each run and never
//! kept, written or logged. I/O: reads the Secret.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::api::fleet_rollout_check::CheckSecretReference;
use crate::api::secret_use::{self, SecretUse};
use crate::controllers::runtime::apply::{denied_account, describe_error};
use crate::controllers::runtime::deadline::with_deadline;

/// Keys with this prefix are headers.
const HEADER: &str = "header.";
/// Headers that belong to the connection or to this request.
const RESERVED: [&str; 6] =
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "authorization"];

/// What a Secret holds for a server.
#[derive(Default)]
pub struct Credentials {
    /// Headers, all of which are sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Certificate authorities, as PEM.
    pub certificate_authority: Option<Vec<u8>>,
    /// Values that no message may contain.
    secrets: Vec<String>,
}

impl Credentials {
    /// The text without credentials: a server may return what it was sent.
    pub fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

/// Reads the Secret.
///
/// # Errors
/// Why it cannot be used, and what to do.
pub async fn read(client: &Client, reference: Option<&CheckSecretReference>) -> Result<Credentials, String> {
    let Some(CheckSecretReference { namespace, name }) = reference else { return Ok(Credentials::default()) };
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = with_deadline("get Secret", api.get_opt(name)).await.map_err(|error| match error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "the operator has no permission to read Secret {namespace}/{name}: run kubectl create rolebinding keelson-secrets \
             --namespace={namespace} --clusterrole=keelson-secrets --serviceaccount={}",
            denied_account(&status.message)
        ),
        error => format!("Secret {namespace}/{name} could not be read: {}", describe_error(&error)),
    })?;
    let secret = found.ok_or_else(|| format!("Secret {namespace}/{name} not found: create it"))?;
    let (labels, kind) = (secret.metadata.labels.as_ref(), secret.type_.as_deref());
    // Checked first: what a Secret lacks must not be disclosed to those who may not use it.
    secret_use::check((namespace, name), labels, kind, SecretUse::Prometheus).map_err(|why| why.to_string())?;
    of_data(&secret.data.unwrap_or_default()).map_err(|why| format!("Secret {namespace}/{name}: {why}"))
}

fn of_data(data: &BTreeMap<String, ByteString>) -> Result<Credentials, String> {
    let text = |key: &str| -> Result<Option<String>, String> {
        let Some(ByteString(bytes)) = data.get(key) else { return Ok(None) };
        let text = String::from_utf8(bytes.clone()).map_err(|_| format!("key {key} is not text"))?;
        Ok(Some(text.trim().to_owned()))
    };
    let mut found = Credentials::default();
    let authorization = match (text("token")?, text("username")?, text("password")?) {
        (Some(token), None, None) => {
            found.secrets.push(token.clone());
            Some(format!("Bearer {token}"))
        }
        (None, Some(user), Some(password)) => {
            let encoded = STANDARD.encode(format!("{user}:{password}"));
            found.secrets.extend([password, encoded.clone()]);
            Some(format!("Basic {encoded}"))
        }
        (None, None, None) => None,
        _ => return Err("it needs the key token, or username and password".to_owned()),
    };
    if let Some(value) = authorization {
        found.headers.push((AUTHORIZATION, sensitive("token", &value)?));
    }
    for key in data.keys() {
        let Some(name) = key.strip_prefix(HEADER) else { continue };
        let header: HeaderName = name.parse().map_err(|_| format!("key {key} does not name a header"))?;
        if RESERVED.contains(&header.as_str()) {
            return Err(format!("key {key}: this header cannot be set"));
        }
        let value = text(key)?.unwrap_or_default();
        found.headers.push((header, sensitive(key, &value)?));
        found.secrets.push(value);
    }
    found.certificate_authority = data.get("ca.crt").map(|ByteString(bytes)| bytes.clone());
    // Short values, such as the name of a tenant, are words of ordinary messages.
    found.secrets.retain(|secret| secret.len() >= 8);
    Ok(found)
}

fn sensitive(key: &str, value: &str) -> Result<HeaderValue, String> {
    let mut header =
        HeaderValue::from_str(value).map_err(|_| format!("the value of key {key} cannot be sent in a header"))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Credentials, String> {
        let data = pairs.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        of_data(&data.collect())
    }

    #[test]
    fn keys_become_headers_that_are_never_shown() {
        let found = of(&[("token", "s3cr3t-token\n"), ("header.X-Scope-OrgID", "tenant-0001")]).unwrap();
        let headers: Vec<_> =
            found.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(headers, [("authorization", "Bearer s3cr3t-token"), ("x-scope-orgid", "tenant-0001")]);
        assert!(found.headers.iter().all(|(_, value)| value.is_sensitive()));
        assert_eq!(found.redact("no s3cr3t-token for tenant-0001"), "no *** for ***");
        let basic = of(&[("username", "keelson"), ("password", "p4ssw0rd")]).unwrap();
        assert_eq!(basic.headers[0].1, "Basic a2VlbHNvbjpwNHNzdzByZA==");
        assert!(of(&[]).unwrap().headers.is_empty());
    }

    #[test]
    fn incomplete_and_dangerous_keys_are_errors_without_the_value() {
        for pairs in [
            &[("token", "s3cr3t"), ("password", "s3cr3t")][..],
            &[("username", "s3cr3t")],
            &[("token", "s3cr3t\r\nx: y")],
            &[("header.Host", "s3cr3t")],
            &[("header.a b", "s3cr3t")],
        ] {
            let Err(why) = of(pairs) else { panic!("{pairs:?}") };
            assert!(!why.contains("s3cr3t"), "{why}");
        }
    }
}
