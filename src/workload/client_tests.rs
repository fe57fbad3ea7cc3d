//! When a client is reused, replaced, or not tried.

use super::*;

// A self-signed P-256 certificate: only its format matters here.
const CA: &str = include_str!("testdata/ca.b64");

fn access() -> Access {
    Access {
        cluster_name: "demo".into(),
        account_id: "111122223333".into(),
        arn: "arn:aws:eks:eu-west-1:111122223333:cluster/demo".into(),
        region: "eu-west-1".into(),
        // Nothing listens on port 9 of loopback.
        endpoint: "https://127.0.0.1:9".into(),
        certificate_authority: CA.into(),
        sts: StsEndpoint::of_region("eu-west-1", None).unwrap(),
        credentials: Credentials::new("AKID", "secret", None, None, "test"),
    }
}

fn memory_of(workloads: &Workloads, access: &Access) -> Arc<Mutex<Memory>> {
    workloads.open("uid", access, SystemTime::now()).unwrap().memory
}

fn valid_until(workloads: &Workloads) -> SystemTime {
    workloads.entries.lock()["uid"].client.as_ref().unwrap().1
}

#[tokio::test]
async fn client_is_reused_until_its_token_is_12_minutes_old() {
    let (workloads, access, start) = (Workloads::default(), access(), SystemTime::now());
    workloads.open("uid", &access, start).unwrap();
    let first = valid_until(&workloads);
    workloads.open("uid", &access, start + Duration::from_secs(11 * 60)).unwrap();
    assert_eq!(valid_until(&workloads), first);
    workloads.open("uid", &access, start + Duration::from_secs(12 * 60)).unwrap();
    assert!(valid_until(&workloads) > first);
}

#[tokio::test]
async fn client_is_replaced_before_its_credentials_expire() {
    let (workloads, mut access, start) = (Workloads::default(), access(), SystemTime::now());
    access.credentials = Credentials::new("AKID", "secret", None, Some(start + Duration::from_secs(300)), "test");
    workloads.open("uid", &access, start).unwrap();
    assert_eq!(valid_until(&workloads), start + Duration::from_secs(240));
}

#[tokio::test]
async fn changed_endpoint_or_ca_is_another_cluster() {
    let (workloads, mut access) = (Workloads::default(), access());
    // All are kept alive: a freed allocation could be reused, which would make the pointers equal.
    let first = memory_of(&workloads, &access);
    assert!(Arc::ptr_eq(&memory_of(&workloads, &access), &first));
    access.endpoint = "https://127.0.0.1:10".into();
    let second = memory_of(&workloads, &access);
    assert!(!Arc::ptr_eq(&second, &first));
    access.certificate_authority = STANDARD.encode(STANDARD.decode(CA.trim()).unwrap().repeat(2));
    let third = memory_of(&workloads, &access);
    assert!(!Arc::ptr_eq(&third, &first) && !Arc::ptr_eq(&third, &second));
}

#[tokio::test]
async fn no_token_is_minted_for_a_same_named_cluster_of_another_account() {
    let (workloads, mut access) = (Workloads::default(), access());
    let first = memory_of(&workloads, &access);
    access.arn = "arn:aws:eks:eu-west-1:999988887777:cluster/demo".into();
    let error = workloads.open("uid", &access, SystemTime::now()).err().unwrap();
    assert!(matches!(&error, GitOpsError::OtherCluster(_)), "{error:?}");
    assert!(error.endpoint_may_have_changed(), "the cluster is described again");
    let kept = workloads.entries.lock()["uid"].client.is_some();
    assert!(!kept, "the previous client carries a token for what may be another cluster");
    access.account_id = "999988887777".into();
    assert!(!Arc::ptr_eq(&memory_of(&workloads, &access), &first));
}

#[tokio::test]
async fn unreachable_cluster_is_not_tried_during_backoff() {
    let (workloads, access) = (Workloads::default(), access());
    let workload = workloads.open("uid", &access, SystemTime::now()).unwrap();
    let error = workload.client.apiserver_version().await.unwrap_err();
    let error = workload.record_failure(error.into());
    assert!(matches!(&error, GitOpsError::Unreachable { cause: Unreachable::Connect(_), .. }), "{error:?}");
    assert!(error.endpoint_may_have_changed());
    let again = workloads.open("uid", &access, SystemTime::now()).err().unwrap();
    assert_eq!(again.reason(), crate::api::conditions::Reason::AgentUnreachable);
    assert!(again.requeue_after() <= RETRY.0);
    workload.record_reachable();
    assert!(workloads.open("uid", &access, SystemTime::now()).is_ok());
}

#[tokio::test]
async fn delay_doubles_up_to_a_minute_and_the_outage_keeps_its_start() {
    let workload = Workloads::default().open("uid", &access(), SystemTime::now()).unwrap();
    let failures: Vec<_> =
        (0..6).map(|_| workload.record_failure(CallError::Unreachable(Unreachable::Timeout))).collect();
    let seconds: Vec<_> = failures.iter().map(|error| error.requeue_after().as_secs()).collect();
    assert_eq!(seconds, [2, 4, 8, 16, 32, 60]);
    let since = |error: &GitOpsError| match error {
        GitOpsError::Unreachable { since, .. } => *since,
        other => panic!("{other}"),
    };
    assert_eq!(since(&failures[0]), since(&failures[5]));
}

#[test]
fn invalid_certificate_authority_is_an_error() {
    assert_eq!(certificates(CA).map(|found| found.len()), Ok(1));
    assert!(certificates("%").unwrap_err().contains("not base64"));
    assert!(certificates(&STANDARD.encode("hello")).unwrap_err().contains("no certificate"));
    assert!(
        certificates(&STANDARD.encode("-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----"))
            .unwrap_err()
            .contains("not PEM")
    );
}

#[test]
fn access_does_not_print_its_secret_key() {
    let mut access = access();
    access.credentials = Credentials::new("AKID", "s3cr3t-k3y", Some("s3ss10n".into()), None, "test");
    let printed = format!("{access:?}");
    assert!(!printed.contains("s3cr3t-k3y") && !printed.contains("s3ss10n"), "{printed}");
}
