//! Rates as AWS keeps them: a token bucket per account, region and API action, and a pause per service when it throttles.
//! Pure: the time is passed in.
//!
//! EC2 publishes its buckets; for EKS and IAM we begin with a guess and let answers correct it: a throttled call halves the
//! refill, successes raise it slowly again. The figures of
//! <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html> are a ceiling, a guess is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::call::{Priority, Service};

/// Size and refill of a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub burst: f64,
    pub per_second: f64,
    /// As far as successes may raise the refill.
    pub ceiling: f64,
}

const fn published(burst: f64, per_second: f64) -> Rate {
    Rate { burst, per_second, ceiling: per_second }
}

const fn guess(burst: f64, per_second: f64, ceiling: f64) -> Rate {
    Rate { burst, per_second, ceiling }
}

/// Where an action's bucket begins.
pub fn rate_of(service: Service, action: &str) -> Rate {
    let read = action.starts_with("Describe") || action.starts_with("Get") || action.starts_with("List");
    match (service, action) {
        (Service::Ec2, "CreateTags" | "DeleteTags") => published(100.0, 10.0),
        (Service::Ec2, "CreateNatGateway" | "DeleteNatGateway") => published(10.0, 1.0),
        (Service::Ec2, "CreateVpcEndpoint") => published(4.0, 0.3),
        (Service::Ec2, _) if read => published(100.0, 20.0),
        (Service::Ec2, _) => published(50.0, 5.0),
        (Service::Eks, _) if read => guess(60.0, 20.0, 100.0),
        (Service::Eks, _) => guess(30.0, 8.0, 40.0),
        (Service::Iam, _) if read => guess(40.0, 15.0, 60.0),
        (Service::Iam, _) => guess(30.0, 10.0, 40.0),
        // SQS knows no limit that we could reach.
        (Service::Sqs, _) => guess(100.0, 50.0, 200.0),
        (Service::Ssm, _) => guess(20.0, 10.0, 40.0),
        (Service::Sts, _) => guess(100.0, 50.0, 200.0),
    }
}

/// A refill never falls below this part of where it began: some call must go out to learn that AWS has room again.
const LEAST: f64 = 1.0 / 16.0;
/// Each success raises the refill by this part of where it began: some tens of calls undo one throttle.
const RECOVERY: f64 = 0.02;
/// This part of a bucket is kept from background calls.
const RESERVE: f64 = 0.5;
/// No caller is sent away for longer than this: the world may have changed by then.
const LONGEST_AWAY: Duration = Duration::from_secs(120);

/// What a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// A token is yours after `wait`.
    Go { wait: Duration },
    /// No token was taken: come again then.
    Later { retry_after: Duration },
}

/// One action's tokens in one account and region.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    refill: f64,
    /// Below zero when callers wait for tokens to come.
    level: f64,
    at: Instant,
    /// When the last of those sent away was told to come again: they come back one by one, not all at once.
    line_ends: Instant,
}

impl Bucket {
    pub fn new(rate: Rate, now: Instant) -> Self {
        Bucket { rate, refill: rate.per_second, level: rate.burst, at: now, line_ends: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * self.refill).min(self.rate.burst);
        self.at = self.at.max(now);
    }

    /// Takes a token that is there within `patience` (counted from `now`), but not before `not_before`.
    pub fn take(&mut self, priority: Priority, now: Instant, not_before: Instant, patience: Duration) -> Take {
        self.fill(now);
        // Background calls use what is left over: they never borrow from tokens to come.
        let (reserve, patience) = match priority {
            Priority::Foreground => (0.0, patience),
            Priority::Background => (self.rate.burst * RESERVE, Duration::ZERO),
        };
        let missing = (1.0 + reserve - self.level).max(0.0);
        let for_token = Duration::from_secs_f64(missing / self.refill);
        let wait = for_token.max(not_before.saturating_duration_since(now));
        if wait <= patience {
            self.level -= 1.0;
            return Take::Go { wait };
        }
        let turn = (now + wait).max(self.line_ends);
        let turn = turn.min(now + LONGEST_AWAY);
        self.line_ends = turn + Duration::from_secs_f64(1.0 / self.refill);
        Take::Later { retry_after: turn - now }
    }

    /// AWS threw a call away: its bucket is empty, and refills more slowly than we thought.
    pub fn throttled(&mut self, now: Instant) {
        self.fill(now);
        self.level = self.level.min(0.0);
        self.refill = (self.refill / 2.0).max(self.rate.per_second * LEAST);
    }

    pub fn succeeded(&mut self) {
        // Beyond where it began only by calls that used the bucket up: an idle one proves nothing.
        let limit = if self.level < 1.0 { self.rate.ceiling } else { self.rate.per_second };
        if self.refill < limit {
            self.refill = (self.refill + self.rate.per_second * RECOVERY).min(limit);
        }
    }

    /// Tokens a second, as adapted so far.
    pub fn refill(&self) -> f64 {
        self.refill
    }
}

/// The pause of one service in one account and region, longer with each throttle in a row.
#[derive(Debug)]
struct Pause {
    until: Instant,
    delays: ExponentialBackoff,
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(60))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// All rates of one account and region. A call of one service never waits for another's.
#[derive(Debug, Default)]
pub struct Limits {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    buckets: HashMap<(Service, &'static str), Bucket>,
    pauses: HashMap<Service, Pause>,
}

impl Limits {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is numbers that are valid at any point.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(
        &self,
        service: Service,
        action: &'static str,
        priority: Priority,
        now: Instant,
        patience: Duration,
    ) -> Take {
        let mut state = self.state();
        let not_before = state.pauses.get(&service).map_or(now, |pause| pause.until);
        let bucket =
            state.buckets.entry((service, action)).or_insert_with(|| Bucket::new(rate_of(service, action), now));
        bucket.take(priority, now, not_before, patience)
    }

    /// A call that began at `began` went through.
    pub fn succeeded(&self, service: Service, action: &'static str, began: Instant) {
        let mut state = self.state();
        if let Some(bucket) = state.buckets.get_mut(&(service, action)) {
            bucket.succeeded();
        }
        // Only a call sent after the pause shows that AWS has room again.
        if state.pauses.get(&service).is_some_and(|pause| began >= pause.until) {
            state.pauses.remove(&service);
        }
    }

    /// AWS throttled a call that began at `began`. Returns how long the service pauses from `now`.
    pub fn throttled(&self, service: Service, action: &'static str, began: Instant, now: Instant) -> Duration {
        let mut state = self.state();
        // Calls that had their token before the pause tell nothing new: a storm counts once.
        if let Some(pause) = state.pauses.get(&service)
            && began < pause.until
        {
            return pause.until.saturating_duration_since(now).max(Duration::from_millis(100));
        }
        let bucket =
            state.buckets.entry((service, action)).or_insert_with(|| Bucket::new(rate_of(service, action), now));
        bucket.throttled(now);
        let pause = state.pauses.entry(service).or_insert_with(|| Pause { until: now, delays: delays() });
        let delay = pause.delays.next().unwrap_or(Duration::from_secs(60));
        pause.until = now + delay;
        delay
    }

    /// Tokens a second of an action, as adapted so far.
    pub fn refill(&self, service: Service, action: &'static str) -> f64 {
        self.state().buckets.get(&(service, action)).map_or(rate_of(service, action).per_second, Bucket::refill)
    }
}

/// The limits of every account and region, shared by all sessions there whatever their credentials.
#[derive(Debug, Default)]
pub struct Buckets {
    places: Mutex<HashMap<(String, String), Arc<Limits>>>,
}

impl Buckets {
    pub fn of(&self, account: &str, region: &str) -> Arc<Limits> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry((account.to_owned(), region.to_owned())).or_default().clone()
    }

    /// Forgets places that no session uses any more.
    pub fn drop_unused(&self) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, limits| Arc::strong_count(limits) > 1);
    }
}

#[cfg(test)]
#[path = "buckets_tests.rs"]
mod tests;
