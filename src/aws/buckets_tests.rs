//! What a bucket grants, and how it adapts.

use proptest::prelude::*;

use super::*;

const MAX_WAIT: Duration = Duration::from_secs(3);
const EC2: Service = Service::Ec2;

fn seconds(n: f64) -> Duration {
    Duration::from_secs_f64(n)
}

fn is_granted(limits: &Limits, action: &'static str, priority: Priority, now: Instant) -> bool {
    matches!(limits.take(EC2, action, priority, now, Duration::ZERO), TokenAnswer::Granted { .. })
}

#[test]
fn buckets_have_the_published_sizes() {
    let table = [
        ("DescribeVpcs", 100),
        ("CreateVpc", 50),
        ("CreateTags", 100),
        ("CreateNatGateway", 10),
        ("DeleteNatGateway", 10),
        ("CreateVpcEndpoint", 4),
    ];
    for (action, burst) in table {
        let (limits, now) = (Limits::default(), Instant::now());
        let taken = (0..1000).filter(|_| is_granted(&limits, action, Priority::Foreground, now)).count();
        assert_eq!(taken, burst, "{action}");
    }
}

#[test]
fn caller_waits_briefly_or_gets_a_retry_time() {
    let mut bucket = Bucket::new(Rate { burst: 10.0, per_second: 1.0, ceiling: 1.0 }, Instant::now());
    let now = Instant::now();
    let mut take = || bucket.take(Priority::Foreground, now, now, MAX_WAIT);
    for _ in 0..10 {
        assert_eq!(take(), TokenAnswer::Granted { wait: Duration::ZERO });
    }
    let waits: Vec<bool> =
        (0..4).map(|_| matches!(take(), TokenAnswer::Granted { wait } if wait > Duration::ZERO)).collect();
    assert_eq!(waits, [true, true, true, false]);
    assert!(matches!(take(), TokenAnswer::Deferred { retry_after } if retry_after > MAX_WAIT));
}

#[test]
fn deferred_callers_retry_one_by_one() {
    let now = Instant::now();
    let mut bucket = Bucket::new(Rate { burst: 1.0, per_second: 1.0, ceiling: 1.0 }, now);
    let mut retry_times = Vec::new();
    for _ in 0..20 {
        if let TokenAnswer::Deferred { retry_after } = bucket.take(Priority::Foreground, now, now, Duration::ZERO) {
            retry_times.push(retry_after);
        }
    }
    for pair in retry_times.windows(2) {
        assert!(pair[1] >= pair[0] + seconds(0.9), "{retry_times:?}");
    }
}

#[test]
fn background_calls_leave_half_the_bucket() {
    let (limits, now) = (Limits::default(), Instant::now());
    let background = (0..100).filter(|_| is_granted(&limits, "DescribeVpcs", Priority::Background, now)).count();
    let foreground = (0..100).filter(|_| is_granted(&limits, "DescribeVpcs", Priority::Foreground, now)).count();
    assert_eq!((background, foreground), (50, 50));
}

#[test]
fn background_calls_never_borrow_future_tokens() {
    let (limits, now) = (Limits::default(), Instant::now());
    while is_granted(&limits, "DescribeVpcs", Priority::Background, now) {}
    let take = limits.take(EC2, "DescribeVpcs", Priority::Background, now, MAX_WAIT);
    assert!(matches!(take, TokenAnswer::Deferred { .. }), "{take:?}");
}

#[test]
fn throttle_halves_the_refill_and_pauses_the_service() {
    let (limits, now) = (Limits::default(), Instant::now());
    assert!(is_granted(&limits, "CreateVpc", Priority::Foreground, now));
    let pause = limits.throttled(EC2, "CreateVpc", now, now);
    assert!(pause >= seconds(0.5) && pause <= seconds(1.0), "{pause:?}");
    assert_eq!(limits.refill(EC2, "CreateVpc"), 2.5);
    assert_eq!(limits.refill(EC2, "CreateSubnet"), 5.0, "another action keeps its rate");
    assert!(!is_granted(&limits, "CreateSubnet", Priority::Foreground, now), "but waits for the pause");
    assert!(is_granted(&limits, "CreateSubnet", Priority::Foreground, now + pause));
    let eks = limits.take(Service::Eks, "DescribeCluster", Priority::Foreground, now, Duration::ZERO);
    assert_eq!(eks, TokenAnswer::Granted { wait: Duration::ZERO }, "another service is not affected");
}

#[test]
fn burst_of_throttles_counts_once() {
    let (limits, now) = (Limits::default(), Instant::now());
    for _ in 0..50 {
        let _ = limits.throttled(EC2, "DescribeVpcs", now, now + seconds(0.1));
    }
    assert_eq!(limits.refill(EC2, "DescribeVpcs"), 10.0);
}

#[test]
fn pauses_grow_while_throttled_and_end_with_a_success() {
    let limits = Limits::default();
    let mut now = Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let pause = limits.throttled(EC2, "CreateVpc", now, now);
        pauses.push(pause);
        now += pause;
    }
    // Each delay is the base plus jitter of at most the same size.
    assert!(pauses[4] >= seconds(8.0) && pauses[9] >= seconds(60.0) && pauses[9] <= seconds(120.0), "{pauses:?}");
    limits.succeeded(EC2, "CreateVpc", now);
    let pause = limits.throttled(EC2, "CreateVpc", now, now);
    assert!(pause <= seconds(1.0), "the delays start again: {pause:?}");
}

#[test]
fn earlier_success_does_not_end_a_pause() {
    let (limits, now) = (Limits::default(), Instant::now());
    let _ = limits.throttled(EC2, "CreateVpc", now, now);
    limits.succeeded(EC2, "CreateVpc", now - seconds(1.0));
    assert!(!is_granted(&limits, "CreateVpc", Priority::Foreground, now));
}

#[test]
fn refill_recovers_slowly_up_to_the_published_rate() {
    let (limits, now) = (Limits::default(), Instant::now());
    let _ = limits.throttled(EC2, "CreateVpc", now, now);
    for _ in 0..10 {
        limits.succeeded(EC2, "CreateVpc", now);
    }
    let refill = limits.refill(EC2, "CreateVpc");
    assert!(refill > 2.5 && refill < 5.0, "{refill}");
    for _ in 0..1000 {
        limits.succeeded(EC2, "CreateVpc", now);
    }
    assert_eq!(limits.refill(EC2, "CreateVpc"), 5.0);
}

#[test]
fn estimate_is_raised_only_when_the_bucket_is_used_up() {
    let (limits, now) = (Limits::default(), Instant::now());
    let take = || limits.take(Service::Eks, "CreateCluster", Priority::Foreground, now, Duration::ZERO);
    let _ = take();
    limits.succeeded(Service::Eks, "CreateCluster", now);
    assert_eq!(limits.refill(Service::Eks, "CreateCluster"), 8.0, "an idle bucket proves nothing");
    while take() == (TokenAnswer::Granted { wait: Duration::ZERO }) {}
    limits.succeeded(Service::Eks, "CreateCluster", now);
    assert!(limits.refill(Service::Eks, "CreateCluster") > 8.0);
}

#[test]
fn throttling_one_account_does_not_slow_others() {
    let (buckets, now) = (Buckets::default(), Instant::now());
    let (noisy, quiet) = (buckets.of("111122223333", "eu-west-1"), buckets.of("444455556666", "eu-west-1"));
    let elsewhere = buckets.of("111122223333", "eu-central-1");
    while is_granted(&noisy, "CreateVpc", Priority::Foreground, now) {}
    let _ = noisy.throttled(EC2, "CreateVpc", now, now);
    for other in [&quiet, &elsewhere] {
        assert!(is_granted(other, "CreateVpc", Priority::Foreground, now));
        assert_eq!(other.refill(EC2, "CreateVpc"), 5.0);
    }
}

#[test]
fn unused_limits_are_dropped() {
    let buckets = Buckets::default();
    let used = buckets.of("1", "a");
    drop(buckets.of("2", "a"));
    buckets.drop_unused();
    assert_eq!(buckets.limits_by_region.lock().len(), 1);
    drop(used);
}

/// The AWS side: a plain bucket that throttles.
struct Aws {
    level: f64,
    burst: f64,
    per_second: f64,
    at: Instant,
}

impl Aws {
    fn accepts(&mut self, now: Instant) -> bool {
        self.level = (self.level + now.duration_since(self.at).as_secs_f64() * self.per_second).min(self.burst);
        self.at = now;
        let accepts = self.level >= 1.0;
        if accepts {
            self.level -= 1.0;
        }
        accepts
    }
}

proptest! {
    /// For any calls, no second has more of them than the bucket's size plus its refill.
    #[test]
    fn calls_never_exceed_burst_and_refill(
        steps in prop::collection::vec((0u64..400, 1usize..30, any::<bool>()), 1..60),
    ) {
        let rate = Rate { burst: 20.0, per_second: 10.0, ceiling: 10.0 };
        let begin = Instant::now();
        let mut bucket = Bucket::new(rate, begin);
        let (mut now, mut sent) = (begin, Vec::new());
        for (millis, calls, background) in steps {
            now += Duration::from_millis(millis);
            let priority = if background { Priority::Background } else { Priority::Foreground };
            for _ in 0..calls {
                if let TokenAnswer::Granted { wait } = bucket.take(priority, now, now, MAX_WAIT) {
                    sent.push(now + wait);
                }
            }
        }
        sent.sort();
        for (i, from) in sent.iter().enumerate() {
            let within = sent[i..].iter().take_while(|time| **time <= *from + seconds(1.0)).count();
            prop_assert!(within as f64 <= rate.burst + rate.per_second + 1.0, "{within} calls in a second");
        }
    }

    /// With a limit below the estimate, all calls succeed, and few are wasted.
    #[test]
    fn limits_adapt_to_a_stricter_aws(burst in 5.0f64..50.0, per_second in 1.0f64..5.0) {
        let begin = Instant::now();
        let mut aws = Aws { level: burst, burst, per_second, at: begin };
        let limits = Limits::default();
        // Two hundred callers that retry at the given time.
        let mut due: Vec<Instant> = vec![begin; 200];
        let (mut refused, mut served, mut now) = (0, 0, begin);
        while served < 200 {
            due.sort_by(|a, b| b.cmp(a));
            let Some(next) = due.pop() else { break };
            now = now.max(next);
            match limits.take(EC2, "CreateVpc", Priority::Foreground, now, Duration::ZERO) {
                TokenAnswer::Deferred { retry_after } => due.push(now + retry_after),
                TokenAnswer::Granted { .. } if aws.accepts(now) => {
                    limits.succeeded(EC2, "CreateVpc", now);
                    served += 1;
                }
                TokenAnswer::Granted { .. } => {
                    refused += 1;
                    let pause = limits.throttled(EC2, "CreateVpc", now, now);
                    due.push(now + pause);
                }
            }
            prop_assert!(now < begin + Duration::from_secs(3600), "starved: {served} served");
        }
        prop_assert!(refused < 60, "{refused} calls throttled");
    }
}
