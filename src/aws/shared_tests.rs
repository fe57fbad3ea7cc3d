//! Shared reads.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::aws::errors::{Call, Class};
use crate::aws::service::Service;

#[derive(Clone, Default)]
struct Reads(Arc<AtomicUsize>);

impl Reads {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Each read takes some time and returns its number.
    async fn next(self) -> Result<usize, AwsError> {
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(Duration::from_millis(30)).await;
        Ok(number)
    }

    async fn fail(self) -> Result<usize, AwsError> {
        self.next().await?;
        let call = Call { service: Service::Ec2, action: "DescribeVpcs", resource: "", account: "1", region: "a" };
        Err(call.failed(Class::Unavailable, "no").into())
    }
}

async fn get(read: &SharedRead<usize>, max_staleness: MaxStaleness, reads: &Reads) -> usize {
    *read
        .get(max_staleness, Priority::Foreground, |()| true, || (), |_| reads.clone().next())
        .await
        .expect("reads do not fail")
}

#[tokio::test]
async fn concurrent_callers_share_one_read() {
    let (read, reads) = (SharedRead::default(), Reads::default());
    let max_staleness = MaxStaleness::now();
    let values = futures::future::join_all((0..500).map(|_| get(&read, max_staleness, &reads))).await;
    assert!(values.iter().all(|value| *value == 1));
    assert_eq!(reads.count(), 1);
}

#[tokio::test]
async fn value_is_cached_for_as_long_as_the_caller_allows() {
    let (read, reads) = (SharedRead::default(), Reads::default());
    assert_eq!(get(&read, MaxStaleness::any(), &reads).await, 1);
    assert_eq!(get(&read, MaxStaleness::within(Duration::from_secs(60)), &reads).await, 1);
    assert_eq!(get(&read, MaxStaleness::now(), &reads).await, 2);
}

#[tokio::test]
async fn write_during_a_read_causes_another_read() {
    let (read, reads) = (SharedRead::default(), Reads::default());
    let early = get(&read, MaxStaleness::any(), &reads);
    let late = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        // Written now: the read in flight may miss it.
        get(&read, MaxStaleness::since(Instant::now()), &reads).await
    };
    assert_eq!(futures::join!(early, late), (1, 2));
    assert_eq!(get(&read, MaxStaleness::any(), &reads).await, 2, "the newer read is cached");
}

#[tokio::test]
async fn slow_older_read_does_not_replace_a_newer_one() {
    let (read, reads) = (SharedRead::<usize>::default(), Reads::default());
    let slow = read.get(
        MaxStaleness::any(),
        Priority::Foreground,
        |()| true,
        || (),
        |_| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(100)
        },
    );
    let newer = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        get(&read, MaxStaleness::now(), &reads).await
    };
    let (old, new) = futures::join!(slow, newer);
    assert_eq!((*old.expect("no failure"), new), (100, 1));
    assert_eq!(get(&read, MaxStaleness::any(), &reads).await, 1);
}

#[tokio::test]
async fn failure_is_shared_by_waiting_callers_and_not_cached() {
    let (read, reads) = (SharedRead::<usize>::default(), Reads::default());
    let all = (0..10)
        .map(|_| read.get(MaxStaleness::any(), Priority::Foreground, |()| true, || (), |_| reads.clone().fail()));
    let failed = futures::future::join_all(all).await;
    assert!(failed.iter().all(|result| result.as_ref().is_err_and(|error| error.class() == Class::Unavailable)));
    assert_eq!(reads.count(), 1);
    assert_eq!(get(&read, MaxStaleness::any(), &reads).await, 2);
}

#[tokio::test]
async fn read_continues_when_its_first_caller_is_cancelled() {
    let (read, reads) = (SharedRead::default(), Reads::default());
    let cancelled = tokio::time::timeout(Duration::from_millis(10), get(&read, MaxStaleness::any(), &reads));
    let other = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        get(&read, MaxStaleness::any(), &reads).await
    };
    let (cancelled_result, other_result) = futures::join!(cancelled, other);
    assert!(cancelled_result.is_err());
    assert_eq!((other_result, reads.count()), (1, 1));
}

#[tokio::test]
async fn abandoned_read_is_started_again() {
    let (read, reads) = (SharedRead::default(), Reads::default());
    let _ = tokio::time::timeout(Duration::from_millis(10), get(&read, MaxStaleness::any(), &reads)).await;
    assert_eq!(get(&read, MaxStaleness::any(), &reads).await, 2);
}

#[tokio::test]
async fn foreground_does_not_join_a_background_read_but_vice_versa() {
    let (read, reads) = (SharedRead::<usize>::default(), Reads::default());
    let get = |priority| read.get(MaxStaleness::any(), priority, |()| true, || (), |_| reads.clone().next());
    let (a, b) = futures::join!(get(Priority::Background), get(Priority::Foreground));
    assert_ne!(a.expect("no failure"), b.expect("no failure"));
    read.invalidate();
    let (a, b) = futures::join!(get(Priority::Foreground), get(Priority::Background));
    assert_eq!(a.expect("no failure"), b.expect("no failure"));
}

#[tokio::test]
async fn value_read_before_an_invalidation_is_not_cached() {
    let (read, reads) = (SharedRead::default(), Reads::default());
    let early = get(&read, MaxStaleness::any(), &reads);
    let forget = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        read.invalidate();
    };
    assert_eq!(futures::join!(early, forget).0, 1);
    assert_eq!(get(&read, MaxStaleness::any(), &reads).await, 2);
}

#[tokio::test]
async fn read_is_shared_only_with_callers_it_covers() {
    let (read, reads) = (SharedRead::<usize, Vec<u8>>::default(), Reads::default());
    let get = |mine: u8, union: Vec<u8>| {
        let (read, reads) = (read.clone(), reads.clone());
        async move {
            *read
                .get(
                    MaxStaleness::any(),
                    Priority::Foreground,
                    |covered| covered.contains(&mine),
                    || union,
                    |_| reads.next(),
                )
                .await
                .expect("no failure")
        }
    };
    assert_eq!(get(1, vec![1]).await, 1);
    assert_eq!(get(2, vec![1, 2]).await, 2);
    assert_eq!(get(1, vec![]).await, 2);
}
