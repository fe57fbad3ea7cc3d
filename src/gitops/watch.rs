//! Watches that keep nothing: of each change only which object it was of, so that whoever needs to know can read it.
//!
//! May not enter: what is done about a change. I/O: reads of the API server that the client is for.
//!
//! Only metadata is asked for: what an object says may be long, and in a Secret is nobody's business here. Nothing is listed either, but
//! for the version at which the watch begins.

use std::time::Duration;

use http_body_util::BodyExt as _;
use kube::Client;
use kube::core::Status;
use kube::core::params::{ListParams, WatchParams};
use serde::Deserialize;
use tokio::time::Instant;

use super::answer;
use super::error::{CallError, Unreachable};
use super::kept::short;
use super::object::collection;

/// How long a server may keep one request open; Kubernetes' own clients do the same.
const OPEN_FOR: Duration = Duration::from_secs(290);
/// A connection on which nothing came for so long is dead: bookmarks come once a minute.
pub const SILENT_FOR: Duration = Duration::from_secs(100);
/// Bytes of one change. Of an object only metadata comes, and etcd takes 1.5 MiB of it.
const MOST_OF_CHANGE: usize = 2 << 20;
/// Bytes of one request: a server that tells more in so little time is not listened to for a while.
const MOST: usize = 128 << 20;
/// How long that is.
const NOT_LISTENING: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(60) };
/// A watch that ends sooner than this is opened again after as long.
const SHORT: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(1) };
/// So many in a row that told nothing are a failure.
const MOST_SHORT: u32 = 3;

/// A kind of object, everywhere or in one namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub namespace: Option<String>,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// It begins, or begins anew: what happened before was not told.
    Began,
    /// An object came, changed or went.
    Changed { namespace: String, name: String },
    /// The server is there, and nothing changed.
    Alive,
}

/// One watch, and how far it has come: it goes on there after an interruption.
#[derive(Debug)]
pub struct Watch {
    of: Watched,
    version: Option<String>,
}

/// A line of a watch: what happened, and to what; or in what it failed.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", deserialize_with = "short")]
    kind: String,
    object: Changed,
}

#[derive(Deserialize)]
struct Changed {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    code: u16,
    #[serde(default, deserialize_with = "short")]
    message: String,
}

#[derive(Deserialize, Clone, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    #[serde(deserialize_with = "short")]
    namespace: String,
    #[serde(deserialize_with = "short")]
    name: String,
    #[serde(deserialize_with = "short")]
    resource_version: String,
}

/// Why a request came to its end.
enum End {
    /// The server, or something on the way, closed it: nothing is lost.
    Closed,
    /// The server has forgotten the version to go on from.
    Forgotten,
    Failed(CallError),
}

impl Watch {
    pub fn of(of: Watched) -> Self {
        Self { of, version: None }
    }

    /// Tells of every change for as long as requests can be opened; returns why the last could not.
    pub async fn follow(&mut self, client: &Client, mut heard: impl FnMut(WatchEvent)) -> CallError {
        let mut short = 0;
        loop {
            let version = match self.version.clone() {
                Some(version) => version,
                None => match self.now(client).await {
                    Ok(version) => {
                        heard(WatchEvent::Began);
                        self.version.insert(version).clone()
                    }
                    Err(error) => return error,
                },
            };
            let opened = Instant::now();
            let mut told = false;
            let end = self.open(client, &version, |what| {
                told = true;
                heard(what);
            });
            let why = match end.await {
                End::Failed(error) => return error,
                End::Forgotten => {
                    self.version = None;
                    "the server does not keep the version that the watch goes on from"
                }
                End::Closed => "the server closes it",
            };
            short = if opened.elapsed() < SHORT && !told { short + 1 } else { 0 };
            if short >= MOST_SHORT {
                let message = format!("a watch of {} ends at once, {short} times in a row: {why}", self.of.kind);
                return CallError::Unreachable(Unreachable::WatchEnds(message));
            }
            if opened.elapsed() < SHORT {
                tokio::time::sleep(SHORT).await;
            }
        }
    }

    /// The version of the collection as it is now.
    async fn now(&self, client: &Client) -> Result<String, CallError> {
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

    async fn open(&mut self, client: &Client, version: &str, mut heard: impl FnMut(WatchEvent)) -> End {
        let seconds = u32::try_from(OPEN_FOR.as_secs()).unwrap_or(u32::MAX);
        let parameters = WatchParams::default().timeout(seconds);
        let request = match self.requests().watch_metadata(&parameters, version).map_err(kube::Error::BuildRequest) {
            Ok(request) => request,
            Err(error) => return End::of(error.into()),
        };
        let until = Instant::now() + OPEN_FOR + SILENT_FOR;
        let mut body = match tokio::time::timeout_at(until, answer::open(client, request)).await {
            Ok(Ok(response)) => response.into_body(),
            Ok(Err(error)) => return End::of(error),
            Err(_) => return End::Closed,
        };
        let (mut line, mut bytes) = (Vec::new(), 0);
        loop {
            // What was open is cut now and then; whether the server is there shows when it is opened again.
            let Ok(Some(Ok(frame))) = tokio::time::timeout_at(until, body.frame()).await else { return End::Closed };
            let Some(data) = frame.data_ref() else { continue };
            bytes += data.len();
            for part in data.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if bytes > MOST || line.len() > MOST_OF_CHANGE {
                    tokio::time::sleep(NOT_LISTENING).await;
                    return End::Failed(CallError::TooLarge(format!(
                        "a watch of {} tells more than is listened to",
                        self.of.kind
                    )));
                }
                if part.ends_with(b"\n") {
                    match serde_json::from_slice::<Event>(&line) {
                        Ok(event) => {
                            if let Some(end) = self.take(event, &mut heard) {
                                return end;
                            }
                        }
                        Err(_) if line.trim_ascii().is_empty() => {}
                        Err(_) => return End::Closed,
                    }
                    line.clear();
                }
            }
        }
    }

    fn take(&mut self, Event { kind, object }: Event, heard: &mut impl FnMut(WatchEvent)) -> Option<End> {
        let Changed { metadata: Metadata { namespace, name, resource_version }, code, message } = object;
        match kind.as_str() {
            "ADDED" | "MODIFIED" | "DELETED" => {
                self.version = Some(resource_version);
                heard(WatchEvent::Changed { namespace, name });
                None
            }
            "BOOKMARK" => {
                self.version = Some(resource_version);
                heard(WatchEvent::Alive);
                None
            }
            "ERROR" => {
                let status = Status { code, message, ..Status::default() };
                Some(End::of(kube::Error::Api(Box::new(status)).into()))
            }
            _ => Some(End::Closed),
        }
    }
}

impl End {
    fn of(error: CallError) -> Self {
        match error {
            CallError::Expired => Self::Forgotten,
            other => Self::Failed(other),
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
