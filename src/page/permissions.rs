//! Who may see what of the page in a cluster: whose a token is, and what that user may list, as the API server says. What it said is
//! kept for less than a minute, by the digest of the token; when it does not answer, nobody sees more than it said before.
//! I/O: through `review`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::failed_attempts::FailedAttempts;
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
/// A right that was asked about this long ago is not shown, also if it is the reviews of other namespaces that took so long.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Tokens and refusals that are kept. With more, the oldest are asked about again: first those of the same user.
pub const MAX_TOKENS: usize = 4096;
const MAX_TOKENS_OF_ONE: usize = 64;
const MAX_REFUSED: usize = 1024;
/// Namespaces that are asked about at the same time for one viewer.
const MAX_CONCURRENT: usize = 4;

/// The digest of a token.
type TokenDigest = [u8; 32];

/// Decides who may see what.
pub struct Access {
    reviewer: Reviewer,
    tokens: Mutex<HashMap<TokenDigest, Known>>,
    refused: Mutex<HashMap<TokenDigest, Instant>>,
    guesses: Mutex<FailedAttempts>,
    /// Of each token about which somebody asks at present: when that failed last.
    turns: Mutex<HashMap<TokenDigest, Arc<Attempt>>>,
}

type Attempt = tokio::sync::Mutex<Option<Instant>>;

/// The turn of one request among those with the same token: the others use its answers.
struct Turn<'a> {
    access: &'a Access,
    digest: TokenDigest,
    attempt: Arc<Attempt>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.access.turns.lock();
        drop(std::mem::take(&mut self.attempt));
        if turns.get(&self.digest).is_some_and(|attempt| Arc::strong_count(attempt) == 1) {
            turns.remove(&self.digest);
        }
    }
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
            turns: Mutex::default(),
        }
    }

    /// What the owner of a token may see of these namespaces. `was_accepted`: the token was accepted before, also if nothing is kept of it.
    /// `from`: where the request comes from, which counts wrong tokens.
    ///
    /// # Errors
    /// The token is not accepted, or the API server does not say.
    pub async fn admit(
        &self,
        token: &str,
        was_accepted: bool,
        namespaces: &BTreeSet<String>,
        from: &str,
    ) -> Result<Admitted, Denied> {
        let (digest, asked): (TokenDigest, _) = (Sha256::digest(token).into(), Instant::now());
        let turn = self.turn(digest);
        let mut failed = turn.attempt.lock().await;
        // Who waited meanwhile does not wait for another attempt.
        if failed.is_some_and(|at| at >= asked) {
            return Err(Denied::Undecided);
        }
        let admitted = self.review(token, digest, was_accepted, namespaces, from).await;
        if matches!(admitted, Err(Denied::Undecided)) {
            *failed = Some(Instant::now());
        }
        admitted
    }

    fn turn(&self, digest: TokenDigest) -> Turn<'_> {
        let attempt = Arc::clone(self.turns.lock().entry(digest).or_default());
        Turn { access: self, digest, attempt }
    }

    async fn review(
        &self,
        token: &str,
        digest: TokenDigest,
        was_accepted: bool,
        namespaces: &BTreeSet<String>,
        from: &str,
    ) -> Result<Admitted, Denied> {
        let user = self.user(token, digest, was_accepted, from).await?;
        let viewer = self.rights(&user, digest, namespaces).await?;
        Ok(Admitted { user: user.username.clone().unwrap_or_default(), viewer })
    }

    /// Forgets what the API server said.
    #[cfg(test)]
    pub fn forget_all(&self) {
        self.tokens.lock().clear();
        self.refused.lock().clear();
    }

    /// The owner of the token.
    async fn user(
        &self,
        token: &str,
        digest: TokenDigest,
        was_accepted: bool,
        from: &str,
    ) -> Result<Arc<UserInfo>, Denied> {
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
            None if !was_accepted && self.guesses.lock().is_blocked(from, now) => return Err(Denied::TooMany),
            _ => {}
        }
        let is_known = known.is_some() || was_accepted;
        let user = if has_expired { None } else { self.reviewer.user_of(token, is_known).await? };
        let Some(user) = user.map(Arc::new) else {
            self.refuse(digest, from, now);
            return Err(Denied::Invalid);
        };
        let mut tokens = self.tokens.lock();
        if !tokens.contains_key(&digest) {
            make_room(&mut tokens, user.username.as_deref(), now);
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

    /// What the user may see: the API server is asked only what it has not said yet. What it says is kept at once, so that whoever asks
    /// after a failure goes on from there.
    async fn rights(
        &self,
        user: &UserInfo,
        digest: TokenDigest,
        namespaces: &BTreeSet<String>,
    ) -> Result<Viewer, Denied> {
        let now = Instant::now();
        let kept = self.tokens.lock().get(&digest).and_then(|known| known.rights.clone());
        let (mut viewer, decided) = match kept.filter(|(_, decided)| is_fresh(*decided, now, RIGHTS_FOR)) {
            Some(kept) => kept,
            None => {
                let viewer = self.in_all_namespaces(user).await?;
                if let Some(known) = self.tokens.lock().get_mut(&digest) {
                    known.rights = Some((viewer.clone(), now));
                }
                (viewer, now)
            }
        };
        let kinds = viewer.missing_kinds();
        let missing: Vec<&String> = namespaces.iter().filter(|namespace| !viewer.knows(namespace)).collect();
        let asked: Vec<_> = missing.into_iter().map(|namespace| self.in_namespace(user, &kinds, namespace)).collect();
        let mut answers = futures::stream::iter(asked).buffer_unordered(MAX_CONCURRENT);
        while let Some(answer) = answers.next().await {
            let (namespace, allowed) = answer?;
            if !is_fresh(decided, Instant::now(), MAX_AGE) {
                return Err(Denied::Undecided);
            }
            learn(&mut viewer, &allowed, namespace);
            let mut tokens = self.tokens.lock();
            if let Some((kept, _)) = tokens.get_mut(&digest).and_then(|known| known.rights.as_mut()) {
                learn(kept, &allowed, namespace);
            }
        }
        Ok(viewer)
    }

    /// The kinds that the user may list in a namespace.
    async fn in_namespace<'a>(
        &self,
        user: &UserInfo,
        kinds: &[Kind],
        namespace: &'a str,
    ) -> Result<(&'a str, Vec<Kind>), Undecided> {
        let asked = kinds.iter().map(|kind| self.reviewer.may_list(user, *kind, Some(namespace)));
        let answers = futures::future::try_join_all(asked).await?;
        Ok((namespace, kinds.iter().copied().zip(answers).filter(|(_, may)| *may).map(|(kind, _)| kind).collect()))
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

/// Makes room for a token of that user.
fn make_room(tokens: &mut HashMap<TokenDigest, Known>, user: Option<&str>, now: Instant) {
    let is_own = |known: &Known| known.user.username.as_deref() == user;
    let own = tokens.values().filter(|known| is_own(known)).count();
    if own < MAX_TOKENS_OF_ONE && tokens.len() >= MAX_TOKENS {
        tokens.retain(|_, known| is_fresh(known.reviewed, now, ACCEPTED_FOR));
    }
    if own < MAX_TOKENS_OF_ONE && tokens.len() < MAX_TOKENS {
        return;
    }
    let oldest = tokens.iter().filter(|(_, known)| own == 0 || is_own(known)).min_by_key(|(_, known)| known.reviewed);
    if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
        tokens.remove(&oldest);
    }
}

/// Notes what the API server said about a namespace.
fn learn(viewer: &mut Viewer, allowed: &[Kind], namespace: &str) {
    for kind in allowed {
        viewer.allow(*kind, namespace);
    }
    viewer.complete(namespace);
}

fn is_fresh(since: Instant, now: Instant, lifetime: Duration) -> bool {
    now.saturating_duration_since(since) < lifetime
}

#[cfg(test)]
#[path = "permissions_tests.rs"]
mod tests;
