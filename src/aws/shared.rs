//! One read for all concurrent callers: cached for as long as each caller allows, single-flight. No I/O of its own.
//!
//! The age of a value counts from the *start* of its read: later changes in AWS may be missing from it. Callers that
//! arrive during a read that started late enough for them share it and its failure; failures are not cached.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use super::call::Priority;
use super::errors::AwsError;

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

    fn allows(self, began: Instant) -> bool {
        self.0.is_none_or(|oldest| began >= oldest)
    }
}

type Outcome<T> = Result<Arc<T>, AwsError>;

/// A cached, single-flight read of a `T`. `S` is the coverage of a read (usually `()`), for callers that request parts.
pub struct SharedRead<T, S = ()> {
    state: Arc<Mutex<State<T, S>>>,
}

struct State<T, S> {
    done: Option<Done<T, S>>,
    flight: Option<Flight<T, S>>,
    /// Reads that started before this are not cached.
    forgotten: Option<Instant>,
}

struct Done<T, S> {
    began: Instant,
    scope: Arc<S>,
    value: Arc<T>,
}

struct Flight<T, S> {
    began: Instant,
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
        SharedRead { state: Arc::new(Mutex::new(State { done: None, flight: None, forgotten: None })) }
    }
}

impl<T, S> fmt::Debug for SharedRead<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the value: credentials are shared this way too.
        f.debug_struct("SharedRead").finish_non_exhaustive()
    }
}

enum Found<T> {
    Done(Arc<T>),
    Flight(Shared<BoxFuture<'static, Outcome<T>>>),
}

impl<T: Send + Sync + 'static, S: Send + Sync + 'static> SharedRead<T, S> {
    /// Returns the value from the cache, a read in flight, or a new `read`.
    ///
    /// # Errors
    /// The failure of the read that this caller waited for.
    pub async fn get<F>(
        &self,
        fresh: MaxStaleness,
        priority: Priority,
        covers: impl Fn(&S) -> bool,
        scope: impl FnOnce() -> S,
        read: impl FnOnce(Arc<S>) -> F,
    ) -> Outcome<T>
    where
        F: Future<Output = Result<T, AwsError>> + Send + 'static,
    {
        match self.find_or_start(fresh, priority, covers, scope, read) {
            Found::Done(value) => Ok(value),
            Found::Flight(outcome) => outcome.await,
        }
    }

    fn find_or_start<F>(
        &self,
        fresh: MaxStaleness,
        priority: Priority,
        covers: impl Fn(&S) -> bool,
        scope: impl FnOnce() -> S,
        read: impl FnOnce(Arc<S>) -> F,
    ) -> Found<T>
    where
        F: Future<Output = Result<T, AwsError>> + Send + 'static,
    {
        let mut state = lock(&self.state);
        if let Some(done) = &state.done
            && fresh.allows(done.began)
            && covers(&done.scope)
        {
            return Found::Done(done.value.clone());
        }
        // Work in progress does not join a drift check's read, which may wait for the background share of a bucket.
        if let Some(flight) = &state.flight
            && fresh.allows(flight.began)
            && covers(&flight.scope)
            && flight.priority >= priority
            && let Some(outcome) = flight.outcome.upgrade()
        {
            return Found::Flight(outcome);
        }
        let began = Instant::now();
        let scope = Arc::new(scope());
        let reading = read(scope.clone());
        let (store, stored_scope) = (self.state.clone(), scope.clone());
        let outcome = async move {
            let value = Arc::new(reading.await?);
            lock(&store).keep(Done { began, scope: stored_scope, value: value.clone() });
            Ok(value)
        }
        .boxed()
        .shared();
        if let Some(weak) = outcome.downgrade() {
            state.flight = Some(Flight { began, scope, priority, outcome: weak });
        }
        Found::Flight(outcome)
    }

    /// The cached value, if it is acceptable; never reads.
    pub fn kept(&self, fresh: MaxStaleness, covers: impl Fn(&S) -> bool) -> Option<Arc<T>> {
        let state = lock(&self.state);
        let fits = |done: &&Done<T, S>| fresh.allows(done.began) && covers(&done.scope);
        state.done.as_ref().filter(fits).map(|done| done.value.clone())
    }

    /// The last value, however old.
    pub fn peek(&self) -> Option<Arc<T>> {
        lock(&self.state).done.as_ref().map(|done| done.value.clone())
    }

    /// Discards the cached value and the read in flight: the next caller reads again.
    pub fn invalidate(&self) {
        let mut state = lock(&self.state);
        *state = State { done: None, flight: None, forgotten: Some(Instant::now()) };
    }
}

impl<T, S> State<T, S> {
    /// A read that started earlier but ended later than the cached one is older.
    fn keep(&mut self, done: Done<T, S>) {
        if self.flight.as_ref().is_some_and(|flight| flight.began == done.began) {
            self.flight = None;
        }
        let newest = self.done.as_ref().is_none_or(|kept| kept.began <= done.began);
        if newest && self.forgotten.is_none_or(|time| done.began >= time) {
            self.done = Some(done);
        }
    }
}

fn lock<T, S>(state: &Mutex<State<T, S>>) -> MutexGuard<'_, State<T, S>> {
    // Each change of the state is a single assignment, so a panic cannot leave it inconsistent.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
