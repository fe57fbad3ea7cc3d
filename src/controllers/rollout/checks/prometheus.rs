//! Runs the queries of a check. I/O: the Prometheus server, and the Secret with its credentials.
//!
//! The client is kube's, over the HTTP and TLS stack that the operator has anyway: a client library for Prometheus would bring a second
//! one. It follows no redirect. Every answer is bounded in bytes, and every query in time.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Request, Uri};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::{Client, Config};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::Semaphore;

use super::Query;
use super::prometheus_credentials::{self, Credentials};
use super::response;
use crate::api::duration;
use crate::api::fleet_rollout_check::PrometheusCheck;
use crate::rollout::{ClusterOutcome, Outcome};
use crate::workload::error::{bounded, with_causes};

/// Queries of one check that run concurrently.
const MAX_CONCURRENT: usize = 8;
/// Bytes of an answer.
const MAX_BYTES: usize = 1 << 20;
/// Longest description of an error.
const MAX_MESSAGE: usize = 200;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the queries, those of other checks included no more than `limit` allows.
pub async fn run(
    management: Client,
    check: PrometheusCheck,
    queries: Vec<Query>,
    limit: Arc<Semaphore>,
) -> Vec<ClusterOutcome> {
    let server = Server::new(&management, &check).await;
    let server = &server;
    let one = |(cluster, query): Query| {
        let limit = limit.clone();
        async move {
            let outcome = match (server, query) {
                (Ok(server), Ok(query)) => {
                    let _permit = limit.acquire().await;
                    server.query(&query).await
                }
                (Err(why), _) => Outcome::Error(why.clone()),
                (_, Err(why)) => Outcome::Error(why),
            };
            ClusterOutcome { cluster, outcome }
        }
    };
    futures::stream::iter(queries).map(one).buffer_unordered(MAX_CONCURRENT).collect().await
}

/// A server, during one run.
struct Server {
    client: Client,
    credentials: Credentials,
    timeout: Duration,
}

impl Server {
    async fn new(management: &Client, check: &PrometheusCheck) -> Result<Self, String> {
        let credentials = prometheus_credentials::read(management, check.secret_ref.as_ref()).await?;
        let timeout = duration::parse(&check.timeout).unwrap_or(DEFAULT_TIMEOUT);
        let url: Uri = check.address.trim_end_matches('/').parse().map_err(|_| "address is not a URL".to_owned())?;
        let mut config = Config::new(url);
        let pem = check.certificate_authority.as_ref().map(|pem| pem.as_bytes());
        config.root_cert = pem.or(credentials.certificate_authority.as_deref()).map(certificates).transpose()?;
        config.connect_timeout = Some(timeout);
        config.read_timeout = Some(timeout);
        config.write_timeout = Some(timeout);
        // Each run is one attempt: the next one is due after the interval.
        config.default_retry = false;
        config.disable_compression = true;
        let client = Client::try_from(config).map_err(|error| bounded(&with_causes(&error), MAX_MESSAGE))?;
        Ok(Self { client, credentials, timeout })
    }

    async fn query(&self, query: &str) -> Outcome {
        let outcome = tokio::time::timeout(self.timeout, self.send(query)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(format!("no answer within {} s", self.timeout.as_secs_f64())));
        match outcome {
            Ok(Outcome::Error(why)) | Err(why) => Outcome::Error(self.credentials.redact(&why)),
            Ok(outcome) => outcome,
        }
    }

    async fn send(&self, query: &str) -> Result<Outcome, String> {
        // The server gives up as well.
        let timeout = format!("{}ms", self.timeout.as_millis());
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("query", query)
            .append_pair("timeout", &timeout)
            .finish();
        let mut request = Request::post("/api/v1/query")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("keelson/", env!("CARGO_PKG_VERSION")))
            .body(Body::from(form.into_bytes()))
            .map_err(|error| error.to_string())?;
        request.headers_mut().extend(self.credentials.headers.iter().cloned());
        let unreachable = |error: kube::Error| {
            format!("the server cannot be reached: {}", bounded(&with_causes(&error), MAX_MESSAGE))
        };
        let response = self.client.send(request).await.map_err(unreachable)?;
        let status = response.status();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(unreachable)?;
            frame.data_ref().into_iter().for_each(|data| bytes.extend_from_slice(data));
            if bytes.len() > MAX_BYTES {
                return Err(format!("the answer is larger than {} KiB", MAX_BYTES >> 10));
            }
        }
        // Before anything is cut off: a part of a token is one, too.
        Ok(response::outcome(status, self.credentials.redact(&String::from_utf8_lossy(&bytes)).as_bytes()))
    }
}

/// The DER certificates of a PEM bundle.
fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem).map(|one| one.map(|certificate| certificate.to_vec())).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("the certificate authority holds no certificate".to_owned()),
        Err(error) => Err(format!("the certificate authority is not PEM: {error}")),
    }
}
