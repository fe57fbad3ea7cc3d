//! Bounded responses of a workload cluster's API server: users of that cluster could make them arbitrarily large and
//! slow.
//!
//! Not allowed here: which requests. I/O: the API server that the client is for.
//!
//! Every response is bounded in bytes and in time. Redirects are not followed, and compressed responses, which were not
//! requested, are not read. Large responses take turns, so that many clusters at once stay within the same memory.

use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::error::{CallError, MESSAGE, Unreachable, bounded};

/// Bytes of one response: more than any object, as etcd accepts 1.5 MiB.
pub const MAX_BYTES: usize = 4 << 20;
/// Bytes of a metadata response, which takes more memory once parsed.
pub const MAX_METADATA_BYTES: usize = 1 << 20;
/// Bytes of an error response.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// Timeout of one response.
const RESPONSE_TIMEOUT: Duration = if cfg!(test) { Duration::from_secs(5) } else { Duration::from_secs(30) };
/// Timeout of the large part of a response.
const LARGE_RESPONSE_TIMEOUT: Duration = if cfg!(test) { Duration::from_secs(3) } else { Duration::from_secs(15) };
/// Responses up to this size are read concurrently; larger ones take turns.
const SMALL_BYTES: usize = 256 << 10;
static LARGE_RESPONSES: Semaphore = Semaphore::const_new(4);

/// Sends a request and parses the response.
pub async fn request<T: DeserializeOwned>(client: &Client, request: Request<Vec<u8>>) -> Result<T, CallError> {
    request_with(client, request, MAX_BYTES, |bytes| serde_json::from_slice(bytes)).await
}

/// The same for metadata only.
pub async fn request_metadata<T: DeserializeOwned>(client: &Client, request: Request<Vec<u8>>) -> Result<T, CallError> {
    request_with(client, request, MAX_METADATA_BYTES, |bytes| serde_json::from_slice(bytes)).await
}

/// Sends a request and ignores the body of a successful response.
pub async fn send(client: &Client, request: Request<Vec<u8>>) -> Result<(), CallError> {
    let sent = async {
        let mut body = open(client, request).await?.into_body();
        // Read to the end, so that the connection can be reused.
        read_up_to(&mut body, &mut Vec::new(), SMALL_BYTES).await.map(drop)
    };
    tokio::time::timeout(RESPONSE_TIMEOUT, sent).await.map_err(|_| TIMEOUT)?
}

const TIMEOUT: CallError = CallError::Unreachable(Unreachable::Timeout);

/// Sends a request, reads at most `limit` bytes, and parses them.
pub async fn request_with<T>(
    client: &Client,
    request: Request<Vec<u8>>,
    limit: usize,
    parse: impl FnOnce(&[u8]) -> Result<T, serde_json::Error>,
) -> Result<T, CallError> {
    let read = async {
        let response = open(client, request).await?;
        let announced =
            response.headers().get(http::header::CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: usize| length > limit) {
            return Err(too_large(limit));
        }
        let mut body = response.into_body();
        let mut bytes = Vec::with_capacity(announced.unwrap_or_default().min(SMALL_BYTES));
        let more = read_up_to(&mut body, &mut bytes, SMALL_BYTES.min(limit)).await?;
        if !more {
            return Ok((bytes, None));
        }
        if limit <= SMALL_BYTES {
            return Err(too_large(limit));
        }
        let permit = LARGE_RESPONSES.acquire().await.map_err(|_| TIMEOUT)?;
        let whole = tokio::time::timeout(LARGE_RESPONSE_TIMEOUT, read_up_to(&mut body, &mut bytes, limit));
        match whole.await {
            Ok(Ok(false)) => Ok((bytes, Some(permit))),
            Ok(Ok(true)) => Err(too_large(limit)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(TIMEOUT),
        }
    };
    let (bytes, permit) = tokio::time::timeout(RESPONSE_TIMEOUT, read).await.map_err(|_| TIMEOUT)??;
    let parsed = parse(&bytes).map_err(|error| kube::Error::SerdeError(error).into());
    drop((bytes, permit));
    parsed
}

/// Reads until the end (false), or until there are more than `limit` bytes (true).
async fn read_up_to(body: &mut Body, bytes: &mut Vec<u8>, limit: usize) -> Result<bool, CallError> {
    loop {
        if bytes.len() > limit {
            return Ok(true);
        }
        match body.frame().await {
            None => return Ok(false),
            Some(Ok(frame)) => frame.data_ref().into_iter().for_each(|data| bytes.extend_from_slice(data)),
            Some(Err(error)) => return Err(error.into()),
        }
    }
}

fn too_large(limit: usize) -> CallError {
    CallError::TooLarge(format!("a response is larger than {} KiB", limit >> 10))
}

/// Sends a request. A status other than success, and a response that is not plain JSON, is an error.
pub async fn open(client: &Client, request: Request<Vec<u8>>) -> Result<Response<Body>, CallError> {
    let response = client.send(request.map(Body::from)).await?;
    let (status, headers) = (response.status(), response.headers());
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).unwrap_or_default();
    if status.is_client_error() || status.is_server_error() {
        return Err(parse_failure(response).await);
    }
    if !status.is_success() {
        return Err(CallError::Refused(format!("HTTP status {}: a redirect is not followed", status.as_u16())));
    }
    let encoding = text(CONTENT_ENCODING);
    if !encoding.is_empty() && encoding != "identity" {
        return Err(CallError::Refused(format!(
            "the response is compressed ({}), which was not requested",
            bounded(encoding, 32)
        )));
    }
    let kind = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    if kind != "application/json" {
        let kind = if kind.is_empty() { "none".to_owned() } else { bounded(kind, 64) };
        return Err(CallError::Refused(format!("the response has content type {kind} instead of application/json")));
    }
    Ok(response)
}

/// The error in a response, as a Status or any text.
async fn parse_failure(response: Response<Body>) -> CallError {
    let code = response.status().as_u16();
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    // Whatever arrived in time, up to the limit, is enough.
    let _ = tokio::time::timeout(LARGE_RESPONSE_TIMEOUT, read_up_to(&mut body, &mut bytes, MAX_ERROR_BYTES)).await;
    bytes.truncate(MAX_ERROR_BYTES);
    let status = serde_json::from_slice::<Status>(&bytes).unwrap_or_else(|_| {
        let text = bounded(&String::from_utf8_lossy(&bytes), MESSAGE);
        Status { message: text, ..Status::default() }
    });
    // The HTTP status code counts, not the one in the body.
    kube::Error::Api(Box::new(Status { code, ..status })).into()
}
