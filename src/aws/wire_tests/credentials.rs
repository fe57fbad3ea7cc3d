//! Roles, renewal, rejected credentials, the expected account.

use super::*;
use crate::telemetry::logs::{Captured, Format};

#[tokio::test]
async fn account_is_verified_first() {
    let server = Server::start(|_, _| caller_identity("999900001111")).await;
    let identity = Identity { account_id: Some(ACCOUNT.into()), role: None };
    let error = accounts(&server.url).session(&identity, REGION).await.expect_err("it is refused");
    assert_eq!(error.class(), Class::WrongAccount);
    let text = error.to_string();
    assert!(text.contains(ACCOUNT) && text.contains("999900001111"), "{text}");
}

#[tokio::test]
async fn role_is_assumed_with_the_external_id_and_renewed_before_expiry() {
    let server = Server::start(|request, before| match request.action() {
        "GetCallerIdentity" => caller_identity(ACCOUNT),
        "AssumeRole" => assume_role_response(before, Duration::from_secs(2)),
        _ => vpcs(&[], None),
    })
    .await;
    let session = accounts(&server.url).session(&role(Some("fleet-1")), REGION).await.expect("a session");
    session.snapshots.vpcs(MaxStaleness::now()).await.expect("a read");
    assert_eq!(server.count("AssumeRole"), 1, "one response serves all clients");
    let request = server.last("AssumeRole");
    assert_eq!(request.form.get("ExternalId").map(String::as_str), Some("fleet-1"));
    assert!(request.authorization.contains("AKIAOPERATOR"), "assumed with the operator's own credentials");
    assert!(server.last("DescribeVpcs").authorization.contains("ASIA0"));
    tokio::time::sleep(Duration::from_millis(1700)).await;
    futures::future::join_all((0..20).map(|_| session.snapshots.vpcs(MaxStaleness::now()))).await;
    assert_eq!(server.count("AssumeRole"), 2, "renewed once for all");
    assert!(server.last("DescribeVpcs").authorization.contains("ASIA1"));
}

#[tokio::test]
async fn denied_role_has_advice_and_does_not_affect_other_identities() {
    let server = Server::start(|request, _| match request.action() {
        "GetCallerIdentity" => caller_identity(ACCOUNT),
        "AssumeRole" => query_error(403, "AccessDenied", "User: op is not authorized to perform: sts:AssumeRole"),
        _ => vpcs(&[], None),
    })
    .await;
    let accounts = accounts(&server.url);
    let error = accounts.session(&role(None), REGION).await.expect_err("it is denied");
    assert_eq!((error.class(), error.action), (Class::Denied, "AssumeRole"));
    let text = error.to_string();
    assert!(text.contains("arn:aws:iam::111122223333:role/keelson") && text.contains("external id"), "{text}");
    accounts.session(&Identity::ambient(), REGION).await.expect("the other identity works");
}

/// STS answers only in regions that the operator's own account has.
async fn regions_asked(own_region: Option<&str>, refusal: &'static str) -> (Result<Session, AwsError>, Vec<String>) {
    let server = Server::start(move |request, before| match request.action() {
        "AssumeRole" if request.authorization.contains("/ap-south-2/") => query_error(403, refusal, "as STS says"),
        "AssumeRole" => assume_role_response(before, Duration::from_secs(3600)),
        _ => caller_identity(ACCOUNT),
    })
    .await;
    let settings = Settings { own_region: own_region.map(str::to_owned), ..Settings::default() };
    let config = config(&server.url, Duration::from_secs(1));
    let accounts = Accounts::new(config, settings, Arc::new(AlwaysOpen), Metrics::new());
    let session = accounts.session(&role(None), "ap-south-2").await;
    let requests = server.requests.lock().expect("not poisoned");
    let asked = requests.iter().filter(|request| request.action() == "AssumeRole");
    let region = |request: &Request| request.authorization.split('/').nth(2).unwrap_or_default().to_owned();
    (session, asked.map(region).collect())
}

#[tokio::test]
async fn role_in_an_opt_in_region_is_assumed_through_a_region_of_the_operators_account() {
    let (session, asked) = regions_asked(Some("eu-west-1"), "InvalidClientTokenId").await;
    assert_eq!((&*session.expect("a session").region, asked), ("ap-south-2", vec!["eu-west-1".to_owned()]));
    let (session, asked) = regions_asked(None, "InvalidClientTokenId").await;
    assert_eq!((session.is_ok(), asked), (true, vec!["ap-south-2".to_owned(), "us-east-1".to_owned()]));
    let (session, asked) = regions_asked(None, "RegionDisabledException").await;
    assert_eq!((session.is_ok(), asked.len()), (true, 2));
    // Another region would answer the same.
    let (session, asked) = regions_asked(None, "AccessDenied").await;
    assert_eq!((session.expect_err("denied").class(), asked.len()), (Class::Denied, 1));
}

#[tokio::test]
async fn rejected_credentials_are_fetched_again_for_the_next_call() {
    let server = Server::start(|request, before| match request.action() {
        "GetCallerIdentity" => caller_identity(ACCOUNT),
        "AssumeRole" => assume_role_response(before, Duration::from_secs(3600)),
        _ if request.authorization.contains("ASIA0") => ec2_error(400, "ExpiredToken"),
        _ => vpcs(&["vpc-1"], None),
    })
    .await;
    let session = accounts(&server.url).session(&role(None), REGION).await.expect("a session");
    let error = session.snapshots.vpcs(MaxStaleness::any()).await.expect_err("the token is rejected");
    assert_eq!(error.class(), Class::CredentialsUnavailable);
    assert_eq!(session.snapshots.vpcs(MaxStaleness::any()).await.expect("a read").len(), 1);
    assert_eq!(server.count("AssumeRole"), 2);
}

#[tokio::test]
async fn old_credentials_are_used_while_renewal_fails() {
    let server = Server::start(|request, before| match (request.action(), before) {
        ("GetCallerIdentity", _) => caller_identity(ACCOUNT),
        ("AssumeRole", 0) => assume_role_response(0, Duration::from_secs(8)),
        ("AssumeRole", _) => query_error(503, "ServiceUnavailable", "later"),
        _ => vpcs(&["vpc-1"], None),
    })
    .await;
    let session = accounts(&server.url).session(&role(None), REGION).await.expect("a session");
    // Due for renewal after three quarters of eight seconds.
    tokio::time::sleep(Duration::from_millis(6200)).await;
    session.snapshots.vpcs(MaxStaleness::now()).await.expect("the old credentials still work");
    assert_eq!(server.count("AssumeRole"), 2);
}

#[tokio::test]
async fn missing_credentials_are_reported_without_a_call() {
    let server = Server::start(|_, _| caller_identity(ACCOUNT)).await;
    let none = config(&server.url, Duration::from_secs(1)).into_builder();
    let mut none = none;
    none.set_credentials_provider(None);
    let accounts = Accounts::new(none.build(), Settings::default(), Arc::new(AlwaysOpen), Metrics::new());
    let error = accounts.session(&Identity::ambient(), REGION).await.expect_err("there are none");
    assert_eq!(error.class(), Class::CredentialsUnavailable, "{error}");
    assert_eq!(server.count("GetCallerIdentity"), 0);
}

#[tokio::test]
async fn idle_sessions_are_dropped() {
    let server = Server::start(|_, _| caller_identity(ACCOUNT)).await;
    let settings = Settings { idle: Duration::from_secs(2), ..Settings::default() };
    let accounts =
        Accounts::new(config(&server.url, Duration::from_secs(1)), settings, Arc::new(AlwaysOpen), Metrics::new());
    for region in ["eu-west-1", "eu-central-1", "us-east-1"] {
        accounts.session(&Identity::ambient(), region).await.expect("a session");
    }
    assert_eq!(accounts.open_sessions(), 3);
    tokio::time::sleep(Duration::from_millis(2200)).await;
    accounts.session(&Identity::ambient(), "eu-west-1").await.expect("a session");
    assert_eq!(accounts.open_sessions(), 1);
}

#[tokio::test]
async fn most_verbose_log_contains_no_secret() {
    let (logs, guard) = Captured::start(
        "trace,aws_smithy_runtime=trace,aws_sdk_sts=trace,aws_runtime=trace,hyper=trace,hyper_util=trace",
        Format::Json,
    );
    let server = Server::start(|request, before| match request.action() {
        "GetCallerIdentity" => caller_identity(ACCOUNT),
        "AssumeRole" => assume_role_response(before, Duration::from_secs(3600)),
        _ => ec2_error(403, "UnauthorizedOperation"),
    })
    .await;
    let identity = role(Some("SECRET-external-id"));
    let session = accounts(&server.url).session(&identity, REGION).await.expect("a session");
    let error = create_vpc(&session).await.expect_err("it is denied");
    tracing::info!(?identity, ?session, ?error, %error, "everything");
    drop(guard);
    let text = logs.text();
    assert!(text.contains("\"action\":\"CreateVpc\"") && text.contains("everything"), "{text}");
    assert!(!text.contains("SECRET"), "{}", text.lines().find(|line| line.contains("SECRET")).unwrap_or_default());
}
