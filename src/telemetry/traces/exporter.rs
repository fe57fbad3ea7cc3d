//! Sends spans to the collector in batches. I/O: HTTP to the collector, through the proxy of the environment if there is
//! one.
//!
//! The HTTP client is the one that the AWS SDK brings, so there is no second TLS stack.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::span_queue::{self, Receiver};
use super::{Resource, Span, encode};

/// Spans in one request.
const MAX_BATCH: usize = 512;
/// How long a span waits for others.
const BATCH_PAUSE: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses before a batch is sent again; then it is dropped.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// Longest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// Address of a collector.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// With the path of traces.
    url: String,
    /// Scheme, host and port, for messages.
    shown: String,
}

impl Endpoint {
    /// Reads the base URL of a collector, to which `/v1/traces` is added, as OpenTelemetry specifies for
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`.
    ///
    /// # Errors
    /// Why it is no such URL, without quoting it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = url::Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the URL of a collector begins with http:// or https://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL of a collector contains no user or password: let a collector in this cluster \
                        authenticate to others"
                .to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("the URL of a collector has no query and no fragment".to_owned());
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the URL of a collector has a host")?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{}://{host}{port}", url.scheme());
        Ok(Self { url: format!("{}/v1/traces", url.as_str().trim_end_matches('/')), shown })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Sends batches to one collector.
pub struct Exporter {
    endpoint: Endpoint,
    resource: Resource,
    installation: Arc<Mutex<Option<String>>>,
    connector: Connector,
    /// The last batch was not taken, which is logged.
    is_failing: bool,
}

/// Why a batch was not taken.
struct Failure {
    reason: String,
    retry: bool,
}

impl Exporter {
    pub fn new(endpoint: Endpoint, resource: Resource, installation: Arc<Mutex<Option<String>>>) -> Self {
        let connector = Connector::builder()
            .pool_idle_timeout(Duration::from_secs(60))
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
            .build();
        Self { endpoint, resource, installation, connector, is_failing: false }
    }

    /// Exports spans until `stop`, and then those that wait.
    pub async fn run(mut self, mut spans: Receiver, stop: CancellationToken) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                received = spans.recv_many(&mut batch, MAX_BATCH) => if received == 0 { return },
                () = stop.cancelled() => spans.close(),
            }
            let until = tokio::time::Instant::now() + BATCH_PAUSE;
            while batch.len() < MAX_BATCH && !stop.is_cancelled() {
                let room = MAX_BATCH - batch.len();
                tokio::select! {
                    received = spans.recv_many(&mut batch, room) => if received == 0 { break },
                    () = tokio::time::sleep_until(until) => break,
                    () = stop.cancelled() => spans.close(),
                }
            }
            if !batch.is_empty() {
                self.export(&batch, &stop).await;
            }
        }
    }

    async fn export(&mut self, batch: &[Span], stop: &CancellationToken) {
        let installation = self.installation.lock().clone();
        let body = encode::request(&self.resource, installation.as_deref(), batch);
        let count = batch.len() as u64;
        let mut pauses = RETRIES.into_iter();
        loop {
            match self.send(body.clone()).await {
                Ok(rejected) => {
                    span_queue::count_exported(count.saturating_sub(rejected));
                    span_queue::count_dropped(rejected.min(count));
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!(collector = ?self.endpoint, "traces: the collector takes spans again");
                    }
                    return;
                }
                Err(failure) => {
                    self.log(&failure);
                    let Some(pause) = pauses.next().filter(|_| failure.retry) else { break };
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        // At the end of the process there is no time to wait.
                        () = stop.cancelled() => break,
                    }
                }
            }
        }
        span_queue::count_dropped(count);
    }

    /// Logs the first failure only, until the collector takes spans again.
    fn log(&mut self, failure: &Failure) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                collector = ?self.endpoint,
                reason = failure.reason,
                "traces: the collector does not take spans; they are dropped (keelson_trace_spans_total) until it does. \
                 Reconciles are not affected"
            );
        }
    }

    /// Sends a request, and returns how many spans the collector rejected.
    async fn send(&self, body: Vec<u8>) -> Result<u64, Failure> {
        let again = |reason: String| Failure { reason, retry: true };
        let mut request = HttpRequest::new(SdkBody::from(body));
        let invalid = |reason: String| Failure { reason, retry: false };
        request.set_method("POST").map_err(|error| invalid(error.to_string()))?;
        request.set_uri(self.endpoint.url.clone()).map_err(|error| invalid(error.to_string()))?;
        request.headers_mut().insert("content-type", "application/json");
        let exchange = async {
            let response = self.connector.call(request).await.map_err(|error| again(root_cause(&error)))?;
            let status = response.status().as_u16();
            let answer = answer(response.into_body()).await;
            Ok((status, answer))
        };
        let timeout = |_| again("no answer within 5 s".to_owned());
        let (status, answer) = tokio::time::timeout(TIMEOUT, exchange).await.map_err(timeout)??;
        match status {
            200..300 => Ok(rejected(&answer)),
            // The codes for which OTLP asks to send again.
            429 | 502 | 503 | 504 => Err(again(format!("HTTP status {status}"))),
            _ => Err(invalid(format!("HTTP status {status}"))),
        }
    }
}

/// The answer, as far as it is read.
async fn answer(body: SdkBody) -> Vec<u8> {
    let (mut stream, mut read) = (ByteStream::new(body), Vec::new());
    while let Some(Ok(part)) = stream.next().await {
        if read.len() + part.len() > MAX_ANSWER {
            break;
        }
        read.extend_from_slice(&part);
    }
    read
}

/// How many spans were rejected, by the answer's `partialSuccess`. Numbers are text in protobuf's JSON.
fn rejected(answer: &[u8]) -> u64 {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedSpans"];
    rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or_default()
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

    #[test]
    fn endpoint_is_a_base_url() {
        for (text, url) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://otlp.example.com/tenant/", "https://otlp.example.com/tenant/v1/traces"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().url, url);
        }
        for text in ["collector:4318", "grpc://collector:4317", "http://user:hunter2@collector", "http://c?key=hunter2"]
        {
            let why = Endpoint::parse(text).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn rejected_spans_are_read_from_the_answer() {
        assert_eq!(rejected(br#"{"partialSuccess": {"rejectedSpans": "3"}}"#), 3);
        assert_eq!(rejected(br#"{"partialSuccess": {}}"#), 0);
        assert_eq!(rejected(b"OK"), 0);
    }
}
