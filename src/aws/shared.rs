//! One read for all concurrent callers: cached for as long as each caller allows, single-flight. No I/O of its own.
//!
//! The age of a value counts from the *start* of its read: later changes in AWS may be missing from it. Callers that
//! arrive during a read that started late enough for them share it and its failure; failures are not cached.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

use super::errors::AwsError;
use super::service::Priority;

/// The oldest acceptable read, by its start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxStaleness(Option<Instant>);

impl MaxStaleness {
    /// Started at `time` or later: for a write just before `time`.
    pub fn since(time: Instant) -> Self {
        MaxStaleness(Some(time))
    }

    /// Started at most `age` ago.
    pub fn within(age: Duration) -> Self {
        // A clock that runs for less than `age` has no older reads.
        MaxStaleness(Instant::now().checked_sub(age))
    }

    /// Not started yet: reads again, shared only with callers that arrive during the read.
    pub fn now() -> Self {
        MaxStaleness(Some(Instant::now()))
    }

    /// Any cached value.
    pub fn any() -> Self {
        MaxStaleness(None)
    }

    fn allows(self, started: Instant) -> bool {
        self.0.is_none_or(|oldest| started >= oldest)
    }
}

type Outcome<T> = Result<Arc<T>, AwsError>;

/// A cached, single-flight read of a `T`. `S` is the coverage of a read (usually `()`), for callers that request parts.
pub struct SharedRead<T, S = ()> {
    state: Arc<Mutex<State<T, S>>>,
}

struct State<T, S> {
    cached: Option<CachedValue<T, S>>,
    in_flight: Option<InFlight<T, S>>,
    /// Reads that started before this are not cached.
    invalidated_at: Option<Instant>,
}

struct CachedValue<T, S> {
    started: Instant,
    scope: Arc<S>,
    value: Arc<T>,
}

struct InFlight<T, S> {
    started: Instant,
    scope: Arc<S>,
    priority: Priority,
    /// Weak: when all waiting callers are gone, the read is dropped rather than continued much later.
    outcome: WeakShared<BoxFuture<'static, Outcome<T>>>,
}

impl<T, S> Clone for SharedRead<T, S> {
    fn clone(&self) -> Self {
        SharedRead { state: self.state.clone() }
    }
}

impl<T, S> Default for SharedRead<T, S> {
    fn default() -> Self {
        SharedRead { state: Arc::new(Mutex::new(State { cached: None, in_flight: None, invalidated_at: None })) }
    }
}

impl<T, S> fmt::Debug for SharedRead<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the value: credentials are shared this way too.
        f.debug_struct("SharedRead").finish_non_exhaustive()
    }
}

enum Found<T> {
    CachedValue(Arc<T>),
    InFlight(Shared<BoxFuture<'static, Outcome<T>>>),
}

impl<T: Send + Sync + 'static, S: Send + Sync + 'static> SharedRead<T, S> {
    /// Returns the value from the cache, a read in flight, or a new `read`.
    ///
    /// # Errors
    /// The failure of the read that this caller waited for.
    pub async fn get<F>(
        &self,
        max_staleness: MaxStaleness,
        priority: Priority,
        covers: impl Fn(&S) -> bool,
        scope: impl FnOnce() -> S,
        read: impl FnOnce(Arc<S>) -> F,
    ) -> Outcome<T>
    where
        F: Future<Output = Result<T, AwsError>> + Send + 'static,
    {
        match self.find_or_start(max_staleness, priority, covers, scope, read) {
            Found::CachedValue(value) => Ok(value),
            Found::InFlight(outcome) => outcome.await,
        }
    }

    fn find_or_start<F>(
        &self,
        max_staleness: MaxStaleness,
        priority: Priority,
        covers: impl Fn(&S) -> bool,
        scope: impl FnOnce() -> S,
        read: impl FnOnce(Arc<S>) -> F,
    ) -> Found<T>
    where
        F: Future<Output = Result<T, AwsError>> + Send + 'static,
    {
        let mut state = self.state.lock();
        if let Some(cached) = &state.cached
            && max_staleness.allows(cached.started)
            && covers(&cached.scope)
        {
            return Found::CachedValue(cached.value.clone());
        }
        // Work in progress does not join a drift check's read, which may wait for the background share of a bucket.
        if let Some(in_flight) = &state.in_flight
            && max_staleness.allows(in_flight.started)
            && covers(&in_flight.scope)
            && in_flight.priority >= priority
            && let Some(outcome) = in_flight.outcome.upgrade()
        {
            return Found::InFlight(outcome);
        }
        let started = Instant::now();
        let scope = Arc::new(scope());
        let reading = read(scope.clone());
        let (store, stored_scope) = (self.state.clone(), scope.clone());
        let outcome = async move {
            let value = Arc::new(reading.await?);
            store.lock().store(CachedValue { started, scope: stored_scope, value: value.clone() });
            Ok(value)
        }
        .boxed()
        .shared();
        if let Some(weak) = outcome.downgrade() {
            state.in_flight = Some(InFlight { started, scope, priority, outcome: weak });
        }
        Found::InFlight(outcome)
    }

    /// The cached value, if it is acceptable; never reads.
    pub fn cached(&self, max_staleness: MaxStaleness, covers: impl Fn(&S) -> bool) -> Option<Arc<T>> {
        let state = self.state.lock();
        let fits = |cached: &&CachedValue<T, S>| max_staleness.allows(cached.started) && covers(&cached.scope);
        state.cached.as_ref().filter(fits).map(|cached| cached.value.clone())
    }

    /// The last value, however old.
    pub fn peek(&self) -> Option<Arc<T>> {
        self.state.lock().cached.as_ref().map(|cached| cached.value.clone())
    }

    /// Discards the cached value and the read in flight: the next caller reads again.
    pub fn invalidate(&self) {
        let mut state = self.state.lock();
        *state = State { cached: None, in_flight: None, invalidated_at: Some(Instant::now()) };
    }
}

impl<T, S> State<T, S> {
    /// A read that started earlier but ended later than the cached one is older.
    fn store(&mut self, cached: CachedValue<T, S>) {
        if self.in_flight.as_ref().is_some_and(|in_flight| in_flight.started == cached.started) {
            self.in_flight = None;
        }
        let newest = self.cached.as_ref().is_none_or(|previous| previous.started <= cached.started);
        if newest && self.invalidated_at.is_none_or(|time| cached.started >= time) {
            self.cached = Some(cached);
        }
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
