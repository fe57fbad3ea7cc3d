//! Single calls: no retries, lost responses, timeouts, the lease, throttling.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::io::AsyncReadExt;

use super::*;
use crate::aws::write_gate::WriteGate;
use crate::telemetry::metrics::CallLabels;

#[tokio::test]
async fn failed_create_is_not_retried_by_the_sdk() {
    for status in [500, 503] {
        let server = Server::start(move |request, _| match request.action() {
            "GetCallerIdentity" => caller_identity(ACCOUNT),
            _ => ec2_error(status, "InternalError"),
        })
        .await;
        let error = create_vpc(&session(&server).await).await.expect_err("it fails");
        assert_eq!(error.class(), Class::Unavailable);
        assert_eq!((error.code.as_deref(), error.request_id.as_deref()), (Some("InternalError"), Some("r-1")));
        assert_eq!(server.count("CreateVpc"), 1);
    }
}

/// Accepts calls, reads them, and then runs `with` on the connection; answers GetCallerIdentity normally.
async fn broken_server(with: impl Fn(tokio::net::TcpStream) + Send + Sync + 'static) -> (Server, Arc<Mutex<usize>>) {
    let identity = Server::start(|_, _| caller_identity(ACCOUNT)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server =
        Server { url: format!("http://{}", listener.local_addr().expect("an address")), requests: Arc::default() };
    let calls = Arc::new(Mutex::new(0));
    let counted = calls.clone();
    let upstream = identity.url.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 64 * 1024];
            let n = stream.read(&mut buffer).await.unwrap_or(0);
            if String::from_utf8_lossy(&buffer[..n]).contains("Action=GetCallerIdentity") {
                let mut to = tokio::net::TcpStream::connect(&upstream).await.expect("upstream");
                tokio::io::AsyncWriteExt::write_all(&mut to, &buffer[..n]).await.expect("forwarded");
                tokio::spawn(async move {
                    tokio::time::timeout(
                        Duration::from_millis(300),
                        tokio::io::copy_bidirectional(&mut stream, &mut to),
                    )
                    .await
                });
            } else {
                *counted.lock().expect("not poisoned") += 1;
                with(stream);
            }
        }
    });
    (server, calls)
}

#[tokio::test]
async fn lost_response_is_unavailable_and_not_retried() {
    let (server, calls) = broken_server(|stream| {
        stream.set_zero_linger().expect("a reset");
        drop(stream);
    })
    .await;
    let session = session(&server).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let error = create_vpc(&session).await.expect_err("it fails");
    assert_eq!(error.class(), Class::Unavailable, "{error}");
    assert_eq!(*calls.lock().expect("not poisoned"), 1);
}

#[tokio::test]
async fn hanging_call_times_out() {
    let connections = Arc::new(Mutex::new(Vec::new()));
    let (server, calls) = broken_server(move |stream| connections.lock().expect("not poisoned").push(stream)).await;
    let session = session(&server).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let started = Instant::now();
    let error = create_vpc(&session).await.expect_err("it fails");
    assert_eq!(error.class(), Class::Unavailable, "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(*calls.lock().expect("not poisoned"), 1);
}

#[tokio::test]
async fn refused_connection_is_unavailable() {
    let accounts = accounts("http://127.0.0.1:1");
    let error = accounts.session(&Identity::ambient(), REGION).await.expect_err("it fails");
    assert_eq!(error.class(), Class::Unavailable, "{error}");
}

#[derive(Debug, Default)]
struct Lease(AtomicBool);

impl WriteGate for Lease {
    fn may_write(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn open_for(&self) -> Option<Duration> {
        (!self.may_write()).then_some(Duration::ZERO)
    }
}

/// Open until a time that can be extended.
#[derive(Debug)]
struct OpenUntil(Mutex<Instant>);

impl WriteGate for OpenUntil {
    fn may_write(&self) -> bool {
        self.open_for() != Some(Duration::ZERO)
    }

    fn open_for(&self) -> Option<Duration> {
        Some(self.0.lock().expect("not poisoned").saturating_duration_since(Instant::now()))
    }
}

#[tokio::test]
async fn unanswered_write_is_abandoned_when_the_lease_expires() {
    let connections = Arc::new(Mutex::new(Vec::new()));
    let (server, calls) = broken_server(move |stream| connections.lock().expect("not poisoned").push(stream)).await;
    let open = |until: Duration| {
        let gate = Arc::new(OpenUntil(Mutex::new(Instant::now() + until)));
        let long = config(&server.url, Duration::from_secs(60));
        let accounts = Accounts::new(long, Settings::default(), gate.clone(), Metrics::new());
        async move {
            let session = accounts.session(&Identity::ambient(), REGION).await.expect("a session");
            tokio::time::sleep(Duration::from_millis(400)).await;
            (gate, session)
        }
    };
    let (_, session) = open(Duration::from_millis(1500)).await;
    let started = Instant::now();
    let error = create_vpc(&session).await.expect_err("no response");
    assert_eq!(error.class(), Class::Unavailable, "{error}");
    assert!(error.to_string().contains("lease expired"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());

    let (gate, session) = open(Duration::from_millis(1500)).await;
    let started = Instant::now();
    *gate.0.lock().expect("not poisoned") += Duration::from_secs(1);
    create_vpc(&session).await.expect_err("no response");
    assert!(started.elapsed() > Duration::from_millis(1500), "{:?}", started.elapsed());
    assert_eq!(*calls.lock().expect("not poisoned"), 2);
}

#[tokio::test]
async fn without_the_lease_only_reads_are_sent() {
    let server = Server::start(|request, _| match request.action() {
        "GetCallerIdentity" => caller_identity(ACCOUNT),
        "DescribeVpcs" => vpcs(&["vpc-1"], None),
        _ => ec2_error(400, "Unexpected"),
    })
    .await;
    let lease = Arc::new(Lease::default());
    let accounts =
        Accounts::new(config(&server.url, Duration::from_secs(1)), Settings::default(), lease, Metrics::new());
    let session = accounts.session(&Identity::ambient(), REGION).await.expect("a session");
    let error = create_vpc(&session).await.expect_err("it is refused");
    assert_eq!(error.class(), Class::NotLeader);
    assert_eq!(server.count("CreateVpc"), 0);
    assert_eq!(session.snapshots.vpcs(MaxStaleness::any()).await.expect("a read").len(), 1);
}

#[tokio::test]
async fn throttle_is_counted_and_has_a_retry_time() {
    let server = Server::start(|request, _| match request.action() {
        "GetCallerIdentity" => caller_identity(ACCOUNT),
        _ => ec2_error(503, "RequestLimitExceeded"),
    })
    .await;
    let metrics = Metrics::new();
    let accounts = Accounts::new(
        config(&server.url, Duration::from_secs(1)),
        Settings::default(),
        Arc::new(AlwaysOpen),
        metrics.clone(),
    );
    let session = accounts.session(&Identity::ambient(), REGION).await.expect("a session");
    let error = create_vpc(&session).await.expect_err("it is throttled");
    assert_eq!(error.class(), Class::Throttled);
    assert!(error.retry_after.is_some_and(|time| time > Duration::ZERO));
    let labels = CallLabels {
        service: "ec2",
        action: "CreateVpc",
        account: ACCOUNT.into(),
        region: REGION.into(),
        outcome: "throttled",
    };
    assert_eq!(metrics.aws().calls(&labels), 1);
    let error =
        session.background().snapshots.vpcs(MaxStaleness::any()).await.expect_err("drift checks wait for the pause");
    assert_eq!((error.class(), server.count("DescribeVpcs")), (Class::Throttled, 0));
    assert!(error.retry_after.is_some());
}
