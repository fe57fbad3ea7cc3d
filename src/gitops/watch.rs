//! Watches that keep nothing: of each change only which object it was of, so that whoever needs to know can read it.
//!
//! May not enter: what is done about a change. I/O: reads of the API server that the client is for.
//!
//! Only metadata is asked for: what an object says may be long, and in a Secret is nobody's business here. Nothing is listed either, but
//! for the version at which the watch begins.

use std::time::Duration;

use futures::TryStreamExt as _;
use kube::Client;
use kube::core::WatchEvent;
use kube::core::params::{ListParams, WatchParams};
use serde::Deserialize;
use tokio::time::Instant;

use super::error::{CallError, Unreachable};
use super::object::collection;

/// How long a server may keep one request open; Kubernetes' own clients do the same.
const OPEN_FOR: Duration = Duration::from_secs(290);
/// A connection on which nothing came for so long is dead: bookmarks come once a minute.
pub const SILENT_FOR: Duration = Duration::from_secs(100);
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
pub enum Heard {
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

#[derive(Deserialize, Clone)]
struct Changed {
    metadata: Metadata,
}

#[derive(Deserialize, Clone, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    namespace: String,
    name: String,
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
    pub async fn follow(&mut self, client: &Client, mut heard: impl FnMut(Heard)) -> CallError {
        let mut short = 0;
        loop {
            let version = match self.version.clone() {
                Some(version) => version,
                None => match self.now(client).await {
                    Ok(version) => {
                        heard(Heard::Began);
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
        Ok(client.request::<List>(request).await?.metadata.resource_version)
    }

    fn requests(&self) -> kube::core::Request {
        collection(self.of.api_version, self.of.kind, self.of.namespace.as_deref())
    }

    async fn open(&mut self, client: &Client, version: &str, mut heard: impl FnMut(Heard)) -> End {
        let seconds = u32::try_from(OPEN_FOR.as_secs()).unwrap_or(u32::MAX);
        let parameters = WatchParams::default().timeout(seconds);
        let events = match self.requests().watch_metadata(&parameters, version) {
            Ok(request) => client.request_events::<Changed>(request).await,
            Err(error) => Err(kube::Error::BuildRequest(error)),
        };
        let mut events = match events {
            Ok(events) => std::pin::pin!(events),
            Err(error) => return End::of(error),
        };
        loop {
            match events.try_next().await {
                Ok(Some(WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object))) => {
                    let Metadata { namespace, name, resource_version } = object.metadata;
                    self.version = Some(resource_version);
                    heard(Heard::Changed { namespace, name });
                }
                Ok(Some(WatchEvent::Bookmark(bookmark))) => {
                    self.version = Some(bookmark.metadata.resource_version);
                    heard(Heard::Alive);
                }
                Ok(Some(WatchEvent::Error(status))) => return End::of(kube::Error::Api(status)),
                // What was open is cut now and then; whether the server is there shows when it is opened again.
                Ok(None) | Err(_) => return End::Closed,
            }
        }
    }
}

impl End {
    fn of(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 410 => Self::Forgotten,
            _ => Self::Failed(error.into()),
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
