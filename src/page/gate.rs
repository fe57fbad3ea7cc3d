//! Who is let in: the person who started `keelson ui`, or in a cluster everybody with a token of its API server. No I/O of its own.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use kube::Client;
use parking_lot::Mutex;

use super::permissions::{Access, MAX_TOKENS};
use super::seal::Seal;
use super::session::Session;

/// Streams at the same time, of all viewers and of one.
const MAX_STREAMS: usize = 1000;
const MAX_STREAMS_OF_ONE: usize = 50;
// Each asks again and again about its token: what was said of it must still be kept then.
const _: () = assert!(MAX_STREAMS < MAX_TOKENS);

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
    /// Streams by user.
    streams: Streams,
}

type Streams = Arc<Mutex<HashMap<String, usize>>>;

/// A slot among the streams, as long as this lasts.
pub struct StreamSlot {
    user: String,
    streams: Streams,
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut streams = self.streams.lock();
        if let Some(count) = streams.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.user);
            }
        }
    }
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
            streams: Streams::default(),
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

    /// A place among the streams; `None`: the user has too many, or all together have.
    pub fn stream(&self, user: &str) -> Option<StreamSlot> {
        let mut streams = self.streams.lock();
        if streams.values().sum::<usize>() >= MAX_STREAMS {
            return None;
        }
        let count = streams.entry(user.to_owned()).or_default();
        if *count >= MAX_STREAMS_OF_ONE {
            return None;
        }
        *count += 1;
        Some(StreamSlot { user: user.to_owned(), streams: Arc::clone(&self.streams) })
    }
}

#[cfg(test)]
mod tests {
    use kube::Config;

    use super::*;

    #[tokio::test]
    async fn nobody_takes_all_places_among_the_streams() {
        let client = Client::try_from(Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
        let cluster = Cluster::new(client, &[], None).unwrap();
        let mut places: Vec<_> = (0..MAX_STREAMS_OF_ONE).map(|_| cluster.stream("alice").unwrap()).collect();
        assert!(cluster.stream("alice").is_none() && cluster.stream("bob").is_some());
        places.pop();
        assert!(cluster.stream("alice").is_some(), "a place that is given back");
        places.clear();
        assert!(cluster.streams.lock().is_empty());
        let users = (0..MAX_STREAMS).map(|number| cluster.stream(&(number / 20).to_string()).unwrap());
        let all: Vec<_> = users.collect();
        assert!(cluster.stream("another").is_none(), "{} places", all.len());
    }
}
