//! Sends one event. I/O: HTTP to the endpoint, through the proxy of the environment if there is one, and the file with the
//! keys, which is read each time: keys can be replaced without a restart.
//!
//! The HTTP client is the one that the AWS SDK brings, so there is no second TLS stack. It follows no redirect.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::cloud_event::CONTENT_TYPE;
use super::signature::Keys;

/// How long the endpoint may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Answers to an event that the endpoint will never take. All others may be an error of its configuration, or pass.
const REJECTED: [u16; 3] = [400, 413, 422];

/// Where notifications go.
#[derive(Clone)]
pub struct Target {
    url: String,
    /// Scheme, host and port: the path may contain a token.
    shown: String,
    secret_file: PathBuf,
    /// Certificates to trust besides those of the system, as PEM.
    ca: Option<Vec<u8>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Target {
    /// Checks the address, and that the files can be used.
    ///
    /// # Errors
    /// What is wrong, without quoting the address or a key.
    pub fn new(url: &str, secret_file: &Path, ca_file: Option<&Path>) -> Result<Self, String> {
        let parsed = url::Url::parse(url).map_err(|error| format!("--notify-url: not a URL: {error}"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err("--notify-url begins with https:// or http://".to_owned());
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("--notify-url contains no user or password: events are signed instead".to_owned());
        }
        if parsed.fragment().is_some() {
            return Err("--notify-url has no fragment".to_owned());
        }
        let host = parsed.host_str().filter(|host| !host.is_empty()).ok_or("--notify-url has a host")?;
        let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{}://{host}{port}", parsed.scheme());
        let file = secret_file.display();
        let text =
            std::fs::read_to_string(secret_file).map_err(|error| format!("--notify-secret-file {file}: {error}"))?;
        Keys::parse(&text).map_err(|why| format!("--notify-secret-file {file}: {why}"))?;
        let ca = ca_file.map(read_certificates).transpose()?;
        Ok(Self { url: parsed.into(), shown, secret_file: secret_file.to_owned(), ca })
    }
}

/// The client panics on certificates that it cannot read.
fn read_certificates(file: &Path) -> Result<Vec<u8>, String> {
    let shown = file.display();
    let pem = std::fs::read(file).map_err(|error| format!("--notify-ca-file {shown}: {error}"))?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(pem),
        Ok(_) => Err(format!("--notify-ca-file {shown}: it has no certificate")),
        Err(error) => Err(format!("--notify-ca-file {shown}: it is no PEM: {error}")),
    }
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint has taken it.
    Sent,
    /// The endpoint will never take it, and why.
    Rejected(String),
    /// It may be taken later, and why not now.
    Failed(String),
}

/// Sends events to one endpoint.
pub struct Sender {
    target: Target,
    connector: Connector,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}

impl Sender {
    /// A client for the target.
    ///
    /// # Errors
    /// Its certificates cannot be used.
    pub fn new(target: Target) -> Result<Self, String> {
        let trusted = TrustStore::default();
        let trusted = match &target.ca {
            Some(pem) => trusted.with_pem_certificate(pem.clone()),
            None => trusted,
        };
        let context = TlsContext::builder().with_trust_store(trusted).build();
        let connector = Connector::builder()
            .pool_idle_timeout(Duration::from_secs(60))
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context.map_err(|error| format!("--notify-ca-file: {error}"))?)
            .build();
        Ok(Self { target, connector })
    }

    /// Sends an event.
    pub async fn send(&self, id: &str, body: Vec<u8>) -> Outcome {
        match tokio::time::timeout(TIMEOUT, self.exchange(id, body)).await {
            Ok(Ok(status)) => outcome(status),
            Ok(Err(why)) => Outcome::Failed(why),
            Err(_) => Outcome::Failed(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    /// Returns the HTTP status.
    async fn exchange(&self, id: &str, body: Vec<u8>) -> Result<u16, String> {
        let file = &self.target.secret_file;
        let text = tokio::fs::read_to_string(file).await.map_err(|error| format!("{}: {error}", file.display()))?;
        let keys = Keys::parse(&text).map_err(|why| format!("{}: {why}", file.display()))?;
        let seconds = Timestamp::now().as_second();
        let signature = keys.sign(id, seconds, &body);
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST").map_err(|error| error.to_string())?;
        request.set_uri(self.target.url.clone()).map_err(|_| "the address is not valid".to_owned())?;
        let headers = request.headers_mut();
        headers.insert("content-type", CONTENT_TYPE);
        headers.insert("user-agent", concat!("keelson/", env!("CARGO_PKG_VERSION")));
        headers.insert("webhook-id", id.to_owned());
        headers.insert("webhook-timestamp", seconds.to_string());
        headers.insert("webhook-signature", signature);
        let response = self.connector.call(request).await.map_err(|error| root_cause(&error))?;
        Ok(response.status().as_u16())
    }
}

fn outcome(status: u16) -> Outcome {
    let why = || format!("HTTP status {status}");
    match status {
        200..300 => Outcome::Sent,
        300..400 => Outcome::Failed(format!("{}: redirects are not followed", why())),
        _ if REJECTED.contains(&status) => Outcome::Rejected(why()),
        _ => Outcome::Failed(why()),
    }
}

/// The innermost error says why; the outer ones only that there was one.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("keelson-notify-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn target_is_checked_at_the_start_without_quoting_secrets() {
        let key = file("key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
        let target = Target::new("https://hooks.example.com:8443/T0/hunter2?token=hunter2", &key, None).unwrap();
        assert_eq!(format!("{target:?}"), "https://hooks.example.com:8443");
        for url in [
            "hooks.example.com",
            "ftp://hooks.example.com",
            "https://me:hunter2@hooks.example.com",
            "https://h/#hunter2",
        ] {
            let why = Target::new(url, &key, None).unwrap_err();
            assert!(why.starts_with("--notify-url") && !why.contains("hunter2"), "{why}");
        }
        let refused = |secret: &Path, ca: Option<&Path>| Target::new("https://h", secret, ca).unwrap_err();
        assert!(refused(Path::new("/nonexistent"), None).starts_with("--notify-secret-file /nonexistent: "));
        let bad = file("bad", "hunter2");
        let why = refused(&bad, None);
        assert!(why.contains("whsec_") && !why.contains("hunter2"), "{why}");
        assert!(refused(&key, Some(&bad)).ends_with("it has no certificate"));
        for path in [key, bad] {
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn only_an_event_that_is_never_taken_is_given_up() {
        assert_eq!(outcome(204), Outcome::Sent);
        for status in [301, 401, 403, 404, 410, 429, 500, 503] {
            assert!(matches!(outcome(status), Outcome::Failed(_)), "{status}");
        }
        for status in REJECTED {
            assert!(matches!(outcome(status), Outcome::Rejected(_)), "{status}");
        }
    }
}
