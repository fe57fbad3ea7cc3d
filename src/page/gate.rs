//! Who is let in: the person who started `keelson ui`, or in a cluster everybody with a token of its API server. No I/O of its own.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use kube::Client;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::Access;
use super::seal::Seal;
use super::session::Session;

/// Streams at the same time, of all viewers.
const MAX_STREAMS: usize = 1000;

/// Who is let in.
pub enum Gate {
    /// The person who started `keelson ui`.
    Owner(Session),
    /// Everybody with a token of the cluster's API server, who sees what that one allows.
    Cluster(Box<Cluster>),
}

/// What decides in a cluster.
pub struct Cluster {
    pub access: Access,
    pub seal: Seal,
    /// What may be in the Host header, in lower case; empty: anything.
    hosts: Vec<String>,
    streams: Arc<Semaphore>,
}

impl Cluster {
    /// The API server behind `client` decides. `hosts`: the page's own names; empty: any. `session_key`: a secret that replicas share.
    ///
    /// # Errors
    /// What is wrong with the secret.
    pub fn new(client: Client, hosts: &[String], session_key: Option<&[u8]>) -> Result<Self, String> {
        Ok(Self {
            access: Access::new(client),
            seal: Seal::new(session_key)?,
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        })
    }

    /// Whether the request is for one of the page's names. A name without a port is the page's with any.
    pub fn is_host(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        self.hosts.is_empty() || self.is_own(host)
    }

    /// Whether that is one of the names that were given.
    pub fn is_own(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
        self.hosts.iter().any(|own| *own == host || own == name)
    }

    /// A place among the streams; `None`: there are too many.
    pub fn stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).try_acquire_owned().ok()
    }
}
