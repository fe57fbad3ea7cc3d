//! Rate limits like those of AWS: a token bucket per account, region and API action, and a pause per service after
//! throttling. Pure: the time is an argument.
//!
//! EC2 publishes its buckets. For EKS, IAM and others, limits start as estimates and adapt: a throttled call halves the refill
//! rate, successes raise it slowly again. The published figures of
//! <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html> are a ceiling, an estimate is not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use parking_lot::Mutex;

use super::service::{Priority, Service};

/// Size and refill rate of a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub burst: f64,
    pub per_second: f64,
    /// Upper limit of the refill rate.
    pub ceiling: f64,
}

const fn published(burst: f64, per_second: f64) -> Rate {
    Rate { burst, per_second, ceiling: per_second }
}

const fn estimated(burst: f64, per_second: f64, ceiling: f64) -> Rate {
    Rate { burst, per_second, ceiling }
}

/// Initial rate of an action's bucket.
pub fn rate_of(service: Service, action: &str) -> Rate {
    let read = action.starts_with("Describe") || action.starts_with("Get") || action.starts_with("List");
    match (service, action) {
        (Service::Ec2, "CreateTags" | "DeleteTags") => published(100.0, 10.0),
        (Service::Ec2, "CreateNatGateway" | "DeleteNatGateway") => published(10.0, 1.0),
        (Service::Ec2, "CreateVpcEndpoint") => published(4.0, 0.3),
        (Service::Ec2, _) if read => published(100.0, 20.0),
        (Service::Ec2, _) => published(50.0, 5.0),
        (Service::Eks, _) if read => estimated(60.0, 20.0, 100.0),
        (Service::Eks, _) => estimated(30.0, 8.0, 40.0),
        (Service::Iam, _) if read => estimated(40.0, 15.0, 60.0),
        (Service::Iam, _) => estimated(30.0, 10.0, 40.0),
        // AWS publishes no rates, and shares these with every autoscaler of the account.
        (Service::AutoScaling, _) => estimated(20.0, 5.0, 20.0),
        // SQS has no limit that the operator could reach.
        (Service::Sqs, _) => estimated(100.0, 50.0, 200.0),
        // Ten a second for each action: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html>
        (Service::Logs, _) => estimated(10.0, 5.0, 10.0),
        // The lowest of its limits: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html>
        (Service::Events, _) => estimated(10.0, 5.0, 10.0),
        (Service::Kms | Service::ServiceQuotas, _) => estimated(20.0, 5.0, 20.0),
        (Service::Ssm, _) => estimated(20.0, 10.0, 40.0),
        (Service::Sts, _) => estimated(100.0, 50.0, 200.0),
    }
}

/// A refill rate never falls below this fraction of its initial value: some call must be sent to learn that AWS accepts
/// calls again.
const MIN_REFILL: f64 = 1.0 / 16.0;
/// Each success raises the refill rate by this fraction of its initial value: some tens of calls undo one throttle.
const RECOVERY: f64 = 0.02;
/// The fraction of a bucket that background calls leave unused.
const RESERVE: f64 = 0.5;
/// Maximum delay for a deferred caller, because the situation may change.
const MAX_DEFERRAL: Duration = Duration::from_secs(120);

/// The result of a request for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAnswer {
    /// A token is reserved; it is valid after `wait`.
    Granted { wait: Duration },
    /// No token was taken; retry after this time.
    Deferred { retry_after: Duration },
}

/// The tokens of one action in one account and region.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    refill: f64,
    /// Negative when callers wait for future tokens.
    level: f64,
    at: Instant,
    /// The last retry time given to a deferred caller: they return one by one, not all at once.
    last_retry: Instant,
}

impl Bucket {
    pub fn new(rate: Rate, now: Instant) -> Self {
        Bucket { rate, refill: rate.per_second, level: rate.burst, at: now, last_retry: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * self.refill).min(self.rate.burst);
        self.at = self.at.max(now);
    }

    /// Takes a token that is available within `max_wait` (counted from `now`), but not before `not_before`.
    pub fn take(&mut self, priority: Priority, now: Instant, not_before: Instant, max_wait: Duration) -> TokenAnswer {
        self.fill(now);
        // Background calls never borrow future tokens.
        let (reserve, max_wait) = match priority {
            Priority::Foreground => (0.0, max_wait),
            Priority::Background => (self.rate.burst * RESERVE, Duration::ZERO),
        };
        let missing = (1.0 + reserve - self.level).max(0.0);
        let token_wait = Duration::from_secs_f64(missing / self.refill);
        let wait = token_wait.max(not_before.saturating_duration_since(now));
        if wait <= max_wait {
            self.level -= 1.0;
            return TokenAnswer::Granted { wait };
        }
        let retry_at = (now + wait).max(self.last_retry);
        let retry_at = retry_at.min(now + MAX_DEFERRAL);
        self.last_retry = retry_at + Duration::from_secs_f64(1.0 / self.refill);
        TokenAnswer::Deferred { retry_after: retry_at - now }
    }

    /// Records a throttled call: empties the bucket and slows its refill.
    pub fn throttled(&mut self, now: Instant) {
        self.fill(now);
        self.level = self.level.min(0.0);
        self.refill = (self.refill / 2.0).max(self.rate.per_second * MIN_REFILL);
    }

    pub fn succeeded(&mut self) {
        // Above the initial rate only if calls used up the bucket: an idle bucket proves nothing.
        let limit = if self.level < 1.0 { self.rate.ceiling } else { self.rate.per_second };
        if self.refill < limit {
            self.refill = (self.refill + self.rate.per_second * RECOVERY).min(limit);
        }
    }
}

/// The pause of one service in one account and region, which grows with each consecutive throttle.
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

/// All limits of one account and region. Services never wait for each other.
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
    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        // A panic cannot leave the numbers inconsistent.
        self.state.lock()
    }

    pub fn take(
        &self,
        service: Service,
        action: &'static str,
        priority: Priority,
        now: Instant,
        max_wait: Duration,
    ) -> TokenAnswer {
        let mut state = self.state();
        let not_before = state.pauses.get(&service).map_or(now, |pause| pause.until);
        let bucket =
            state.buckets.entry((service, action)).or_insert_with(|| Bucket::new(rate_of(service, action), now));
        bucket.take(priority, now, not_before, max_wait)
    }

    /// Records a success of a call that started at `started`.
    pub fn succeeded(&self, service: Service, action: &'static str, started: Instant) {
        let mut state = self.state();
        if let Some(bucket) = state.buckets.get_mut(&(service, action)) {
            bucket.succeeded();
        }
        // Only a call sent after the pause shows that AWS accepts calls again.
        if state.pauses.get(&service).is_some_and(|pause| started >= pause.until) {
            state.pauses.remove(&service);
        }
    }

    /// Records the throttling of a call that started at `started`. Returns the pause of the service from `now`.
    pub fn throttled(&self, service: Service, action: &'static str, started: Instant, now: Instant) -> Duration {
        let mut state = self.state();
        // Calls that got their token before the pause carry no new information: a burst counts once.
        if let Some(pause) = state.pauses.get(&service)
            && started < pause.until
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

    /// The current refill rate of an action in tokens per second.
    #[cfg(test)]
    pub fn refill(&self, service: Service, action: &'static str) -> f64 {
        self.state().buckets.get(&(service, action)).map_or(rate_of(service, action).per_second, |bucket| bucket.refill)
    }
}

/// The limits of every account and region, shared by all sessions there, regardless of credentials.
#[derive(Debug, Default)]
pub struct Buckets {
    limits_by_region: Mutex<HashMap<(String, String), Arc<Limits>>>,
}

impl Buckets {
    pub fn of(&self, account: &str, region: &str) -> Arc<Limits> {
        let mut limits_by_region = self.limits_by_region.lock();
        limits_by_region.entry((account.to_owned(), region.to_owned())).or_default().clone()
    }

    /// Removes accounts and regions without sessions.
    pub fn drop_unused(&self) {
        let mut limits_by_region = self.limits_by_region.lock();
        limits_by_region.retain(|_, limits| Arc::strong_count(limits) > 1);
    }
}

#[cfg(test)]
#[path = "buckets_tests.rs"]
mod tests;
