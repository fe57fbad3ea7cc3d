//! Watches that store nothing: each change is reported as the namespace and name of the object, and the caller reads
//! the object.
//!
//! Not allowed here: what is done about a change. I/O: reads of the API server that the client is for.
//!
//! Watches request metadata only: object bodies may be large, and Secrets' are confidential. A list is read only for
//! the resourceVersion at which the watch starts. kube's `metadata_watcher` (5.0) reads that list completely and again
//! after each interruption that outlasts the resourceVersion, and bounds neither a line nor what a request sends: a
//! cluster with 50,000 Secrets, or a hostile one, would cost the memory that [`MAX_BYTES`] protects. It does not tell
//! bookmarks, by which a caller knows that the server answers.

use std::time::Duration;

use http_body_util::BodyExt as _;
use kube::Client;
use kube::core::Status;
use kube::core::params::{ListParams, WatchParams};
use serde::Deserialize;
use tokio::time::Instant;

use super::answer;
use super::error::{CallError, Unreachable};
use super::kept::truncated;
use super::object::collection;

/// How long a server may keep one request open; Kubernetes' own clients use the same.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(290);
/// A connection without data for this long is dead: bookmarks arrive once a minute.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(100);
/// Bytes of one event. It holds metadata only, of which etcd takes 1.5 MiB.
const MAX_EVENT_BYTES: usize = 2 << 20;
/// Bytes of one request. A server that sends more is not read for [`OVERSIZE_PAUSE`].
const MAX_BYTES: usize = 128 << 20;
const OVERSIZE_PAUSE: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(60) };
/// A request that ends sooner than this is opened again after as long.
const MIN_DURATION: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(1) };
/// This many short requests in a row, without an event, are a failure.
const MAX_SHORT_REQUESTS: u32 = 3;

/// A kind of object, in all namespaces or in one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub namespace: Option<String>,
}

/// What a watch reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// It starts, or starts again: earlier changes were not reported.
    Started,
    /// An object was created, changed or deleted.
    Changed { namespace: String, name: String },
    /// The server answers, and nothing changed.
    Alive,
}

/// One watch and its resourceVersion, from which it resumes after an interruption.
#[derive(Debug)]
pub struct Watch {
    of: Watched,
    version: Option<String>,
}

/// A line of a watch: the event type, and the object or the error.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", deserialize_with = "truncated")]
    kind: String,
    object: Changed,
}

#[derive(Deserialize)]
struct Changed {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    code: u16,
    #[serde(default, deserialize_with = "truncated")]
    message: String,
}

#[derive(Deserialize, Clone, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    #[serde(deserialize_with = "truncated")]
    namespace: String,
    #[serde(deserialize_with = "truncated")]
    name: String,
    #[serde(deserialize_with = "truncated")]
    resource_version: String,
}

/// Why a request ended.
enum RequestEnd {
    /// The server or a proxy closed it: no event is lost.
    Closed,
    /// The server no longer keeps the resourceVersion to resume from.
    Expired,
    Failed(CallError),
}

impl Watch {
    pub fn of(of: Watched) -> Self {
        Self { of, version: None }
    }

    /// Reports every change while requests can be opened; returns the error of the one that could not.
    pub async fn follow(&mut self, client: &Client, mut on_event: impl FnMut(WatchEvent)) -> CallError {
        let mut short_requests = 0;
        loop {
            let version = match self.version.clone() {
                Some(version) => version,
                None => match self.current_version(client).await {
                    Ok(version) => {
                        on_event(WatchEvent::Started);
                        self.version.insert(version).clone()
                    }
                    Err(error) => return error,
                },
            };
            let opened = Instant::now();
            let mut reported = false;
            let end = self.open(client, &version, |event| {
                reported = true;
                on_event(event);
            });
            let why = match end.await {
                RequestEnd::Failed(error) => return error,
                RequestEnd::Expired => {
                    self.version = None;
                    "the server no longer keeps the resourceVersion to resume from"
                }
                RequestEnd::Closed => "the server closes the connection",
            };
            short_requests = if opened.elapsed() < MIN_DURATION && !reported { short_requests + 1 } else { 0 };
            if short_requests >= MAX_SHORT_REQUESTS {
                let message =
                    format!("the watch of {} ended at once {short_requests} times in a row: {why}", self.of.kind);
                return CallError::Unreachable(Unreachable::WatchEnds(message));
            }
            if opened.elapsed() < MIN_DURATION {
                tokio::time::sleep(MIN_DURATION).await;
            }
        }
    }

    /// The current resourceVersion of the collection.
    async fn current_version(&self, client: &Client) -> Result<String, CallError> {
        #[derive(Deserialize)]
        struct List {
            metadata: Metadata,
        }
        let one = ListParams::default().limit(1);
        let request = self.requests().list_metadata(&one).map_err(kube::Error::BuildRequest)?;
        Ok(answer::request::<List>(client, request).await?.metadata.resource_version)
    }

    fn requests(&self) -> kube::core::Request {
        collection(self.of.api_version, self.of.kind, self.of.namespace.as_deref())
    }

    async fn open(&mut self, client: &Client, version: &str, mut on_event: impl FnMut(WatchEvent)) -> RequestEnd {
        let seconds = u32::try_from(REQUEST_TIMEOUT.as_secs()).unwrap_or(u32::MAX);
        let parameters = WatchParams::default().timeout(seconds);
        let request = match self.requests().watch_metadata(&parameters, version).map_err(kube::Error::BuildRequest) {
            Ok(request) => request,
            Err(error) => return RequestEnd::of(error.into()),
        };
        let until = Instant::now() + REQUEST_TIMEOUT + IDLE_TIMEOUT;
        let mut body = match tokio::time::timeout_at(until, answer::open(client, request)).await {
            Ok(Ok(response)) => response.into_body(),
            Ok(Err(error)) => return RequestEnd::of(error),
            Err(_) => return RequestEnd::Closed,
        };
        let (mut line, mut bytes) = (Vec::new(), 0);
        loop {
            // Connections are cut now and then; the next request shows whether the server answers.
            let Ok(Some(Ok(frame))) = tokio::time::timeout_at(until, body.frame()).await else {
                return RequestEnd::Closed;
            };
            let Some(data) = frame.data_ref() else { continue };
            bytes += data.len();
            for part in data.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if bytes > MAX_BYTES || line.len() > MAX_EVENT_BYTES {
                    tokio::time::sleep(OVERSIZE_PAUSE).await;
                    return RequestEnd::Failed(CallError::TooLarge(format!(
                        "the watch of {} sends too much data",
                        self.of.kind
                    )));
                }
                if part.ends_with(b"\n") {
                    match serde_json::from_slice::<Event>(&line) {
                        Ok(event) => {
                            if let Some(end) = self.take(event, &mut on_event) {
                                return end;
                            }
                        }
                        Err(_) if line.trim_ascii().is_empty() => {}
                        Err(_) => return RequestEnd::Closed,
                    }
                    line.clear();
                }
            }
        }
    }

    fn take(&mut self, Event { kind, object }: Event, on_event: &mut impl FnMut(WatchEvent)) -> Option<RequestEnd> {
        let Changed { metadata: Metadata { namespace, name, resource_version }, code, message } = object;
        match kind.as_str() {
            "ADDED" | "MODIFIED" | "DELETED" => {
                self.version = Some(resource_version);
                on_event(WatchEvent::Changed { namespace, name });
                None
            }
            "BOOKMARK" => {
                self.version = Some(resource_version);
                on_event(WatchEvent::Alive);
                None
            }
            "ERROR" => {
                let status = Status { code, message, ..Status::default() };
                Some(RequestEnd::of(kube::Error::Api(Box::new(status)).into()))
            }
            _ => Some(RequestEnd::Closed),
        }
    }
}

impl RequestEnd {
    fn of(error: CallError) -> Self {
        match error {
            CallError::Expired => Self::Expired,
            other => Self::Failed(other),
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
