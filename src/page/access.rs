//! Who may see what of the page in a cluster: whose a token is, and what that user may list, as the API server says. What it said is
//! kept for less than a minute, by the digest of the token; when it does not answer, nobody sees more than it said before.
//! I/O: through `review`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::guesses::Guesses;
use super::id::Kind;
use super::review::{Reviewer, Undecided};
use super::seal::expiry;
use super::viewer::Viewer;

/// How long an accepted token is not reviewed again. A stream asks every [`RECHECK`], so it ends within half a minute of a revocation.
const ACCEPTED_FOR: Duration = Duration::from_secs(20);
/// How long a refused token is not reviewed again: short, as a token may become valid.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// How long rights are kept. With [`RECHECK`] it is less than the minute within which a right must end.
const RIGHTS_FOR: Duration = Duration::from_secs(45);
/// How often a stream asks whether its viewer may still see it.
pub const RECHECK: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(10) };
/// Tokens and refusals that are kept. With more, the oldest are asked about again.
const MAX_TOKENS: usize = 256;
const MAX_REFUSED: usize = 1024;
/// Reviews at the same time for one viewer.
const MAX_CONCURRENT: usize = 8;

/// The digest of a token.
type TokenDigest = [u8; 32];

/// Decides who may see what.
pub struct Access {
    reviewer: Reviewer,
    tokens: Mutex<HashMap<TokenDigest, Known>>,
    refused: Mutex<HashMap<TokenDigest, Instant>>,
    guesses: Mutex<Guesses>,
}

/// What the API server said about a token.
#[derive(Clone)]
struct Known {
    user: Arc<UserInfo>,
    reviewed: Instant,
    rights: Option<(Viewer, Instant)>,
}

/// Why somebody may see nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The token is wrong, or has expired.
    Invalid,
    /// Too many wrong tokens from there.
    TooMany,
    /// The API server does not say.
    Undecided,
}

impl From<Undecided> for Denied {
    fn from(_: Undecided) -> Self {
        Self::Undecided
    }
}

/// Somebody who may see the page.
pub struct Admitted {
    pub user: String,
    pub viewer: Viewer,
}

impl Access {
    /// The API server behind `client` decides.
    pub fn new(client: Client) -> Self {
        Self {
            reviewer: Reviewer::new(client),
            tokens: Mutex::default(),
            refused: Mutex::default(),
            guesses: Mutex::default(),
        }
    }

    /// What the owner of a token may see of these namespaces. `from`: where the request comes from, which counts wrong tokens.
    ///
    /// # Errors
    /// The token is not accepted, or the API server does not say.
    pub async fn admit(&self, token: &str, namespaces: &BTreeSet<String>, from: &str) -> Result<Admitted, Denied> {
        let digest: TokenDigest = Sha256::digest(token).into();
        let user = self.user(token, digest, from).await?;
        let (viewer, decided) = self.rights(&user, digest, namespaces).await?;
        if let Some(known) = self.tokens.lock().get_mut(&digest) {
            known.rights = Some((viewer.clone(), decided));
        }
        Ok(Admitted { user: user.username.clone().unwrap_or_default(), viewer })
    }

    /// Forgets what the API server said.
    #[cfg(test)]
    pub fn forget_all(&self) {
        self.tokens.lock().clear();
        self.refused.lock().clear();
    }

    /// The owner of the token.
    async fn user(&self, token: &str, digest: TokenDigest, from: &str) -> Result<Arc<UserInfo>, Denied> {
        let now = Instant::now();
        if self.refused.lock().get(&digest).is_some_and(|at| is_fresh(*at, now, REFUSED_FOR)) {
            return Err(Denied::Invalid);
        }
        let known = self.tokens.lock().get(&digest).cloned();
        let has_expired = expiry(token).is_some_and(|expiry| expiry <= Timestamp::now());
        match &known {
            Some(known) if !has_expired && is_fresh(known.reviewed, now, ACCEPTED_FOR) => {
                return Ok(known.user.clone());
            }
            None if self.guesses.lock().is_blocked(from, now) => return Err(Denied::TooMany),
            _ => {}
        }
        let user = if has_expired { None } else { self.reviewer.user_of(token, known.is_some()).await? };
        let Some(user) = user.map(Arc::new) else {
            self.refuse(digest, from, now);
            return Err(Denied::Invalid);
        };
        let mut tokens = self.tokens.lock();
        if tokens.len() >= MAX_TOKENS && !tokens.contains_key(&digest) {
            tokens.retain(|_, known| is_fresh(known.reviewed, now, ACCEPTED_FOR));
            let oldest = tokens.iter().min_by_key(|(_, known)| known.reviewed).map(|(digest, _)| *digest);
            if let Some(oldest) = oldest.filter(|_| tokens.len() >= MAX_TOKENS) {
                tokens.remove(&oldest);
            }
        }
        // Rights are those of a user with the same groups.
        let rights = known.filter(|known| known.user == user).and_then(|known| known.rights);
        tokens.insert(digest, Known { user: user.clone(), reviewed: now, rights });
        Ok(user)
    }

    fn refuse(&self, digest: TokenDigest, from: &str, now: Instant) {
        self.tokens.lock().remove(&digest);
        self.guesses.lock().record(from, now);
        let mut refused = self.refused.lock();
        if refused.len() >= MAX_REFUSED {
            refused.retain(|_, at| is_fresh(*at, now, REFUSED_FOR));
        }
        if refused.len() < MAX_REFUSED {
            refused.insert(digest, now);
        }
    }

    /// What the user may see, and when the API server said so: it is asked only what it has not said yet.
    async fn rights(
        &self,
        user: &UserInfo,
        digest: TokenDigest,
        namespaces: &BTreeSet<String>,
    ) -> Result<(Viewer, Instant), Denied> {
        let now = Instant::now();
        let kept = self.tokens.lock().get(&digest).and_then(|known| known.rights.clone());
        let (mut viewer, decided) = match kept.filter(|(_, decided)| is_fresh(*decided, now, RIGHTS_FOR)) {
            Some(kept) => kept,
            None => (self.in_all_namespaces(user).await?, now),
        };
        let kinds = viewer.missing_kinds();
        let missing: Vec<&String> = namespaces.iter().filter(|namespace| !viewer.knows(namespace)).collect();
        let mut asked = Vec::new();
        for namespace in &missing {
            asked.extend(kinds.iter().map(|kind| self.in_namespace(user, *kind, namespace)));
        }
        let answers: Vec<_> = futures::stream::iter(asked).buffer_unordered(MAX_CONCURRENT).try_collect().await?;
        for (kind, namespace, may) in answers {
            if may {
                viewer.allow(kind, namespace);
            }
        }
        for namespace in missing {
            viewer.complete(namespace);
        }
        Ok((viewer, decided))
    }

    async fn in_namespace<'a>(
        &self,
        user: &UserInfo,
        kind: Kind,
        namespace: &'a str,
    ) -> Result<(Kind, &'a str, bool), Undecided> {
        let may = self.reviewer.may_list(user, kind, Some(namespace)).await?;
        Ok((kind, namespace, may))
    }

    /// What the user may see in the whole cluster.
    async fn in_all_namespaces(&self, user: &UserInfo) -> Result<Viewer, Undecided> {
        let asked = Kind::ALL.map(|kind| self.reviewer.may_list(user, kind, None));
        let allowed = futures::future::try_join_all(asked).await?;
        let allowed: Vec<Kind> =
            Kind::ALL.into_iter().zip(allowed).filter(|(_, may)| *may).map(|(kind, _)| kind).collect();
        Ok(Viewer::with_rights(|kind| allowed.contains(&kind)))
    }
}

fn is_fresh(since: Instant, now: Instant, lifetime: Duration) -> bool {
    now.saturating_duration_since(since) < lifetime
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
