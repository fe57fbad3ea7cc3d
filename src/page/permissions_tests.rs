//! Who may see what, how long the API server's answers count, and how often it is asked. I/O: loopback.

use super::*;
use crate::page::id::Id;
use crate::page::reviews_tests::ApiServer;

const FROM: &str = "10.0.0.1";

fn namespaces(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

async fn admit(access: &Access, token: &str) -> Result<Admitted, Denied> {
    access.admit(token, false, &namespaces(&["team-a", "team-b"]), FROM).await
}

/// Whether the clusters of the namespace are shown.
fn sees(admitted: &Admitted, namespace: &str) -> bool {
    admitted.viewer.may_see(&Id::new(Kind::EksCluster, namespace, "x"))
}

/// Lets time pass.
fn age(access: &Access, time: Duration) {
    for known in access.tokens.lock().values_mut() {
        known.reviewed -= time;
        if let Some((_, decided)) = &mut known.rights {
            *decided -= time;
        }
    }
    for at in access.refused.lock().values_mut() {
        *at -= time;
    }
}

async fn started() -> (ApiServer, Access) {
    let api = ApiServer::default();
    api.accept("a", "alice");
    api.accept("b", "bob");
    api.allow_clusters("alice", "team-a");
    for resource in ["eksclusters", "nodegroups", "awsaccounts", "fleetrollouts"] {
        api.allow("bob", resource, "");
    }
    let access = Access::new(api.client().await);
    (api, access)
}

#[tokio::test]
async fn user_sees_what_rbac_lets_the_user_list() {
    let (api, access) = started().await;
    let alice = admit(&access, "a").await.unwrap();
    assert_eq!(alice.user, "alice");
    assert!(sees(&alice, "team-a") && !sees(&alice, "team-b") && !sees(&alice, "other"));
    assert!(alice.viewer.may_see(&Id::new(Kind::NodeGroup, "team-a", "x")));
    for kind in [Kind::AwsAccount, Kind::FleetRollout] {
        assert!(!alice.viewer.may_see(&Id::new(kind, "", "x")), "{kind:?}");
    }
    api.asked();
    let bob = admit(&access, "b").await.unwrap();
    assert!(sees(&bob, "team-b") && sees(&bob, "other") && bob.viewer.may_see(&Id::new(Kind::AwsAccount, "", "x")));
    let mut asked = api.asked();
    asked.sort();
    let of_all = ["awsaccounts", "eksclusters", "fleetrollouts", "nodegroups"].map(|name| format!("bob {name} in all"));
    assert_eq!(asked, [&of_all[..], &["token b".to_owned()]].concat(), "no namespace is asked about");
    assert_eq!(admit(&access, "guess").await.err(), Some(Denied::Invalid));
}

#[tokio::test]
async fn answers_count_for_less_than_a_minute() {
    let (api, access) = started().await;
    admit(&access, "a").await.unwrap();
    assert_eq!(api.asked().len(), 1 + 4 + 4);
    admit(&access, "a").await.unwrap();
    assert!(api.asked().is_empty());
    age(&access, ACCEPTED_FOR);
    admit(&access, "a").await.unwrap();
    assert_eq!(api.asked(), ["token a"]);
    age(&access, RIGHTS_FOR - ACCEPTED_FOR);
    api.forbid("alice");
    assert!(!sees(&admit(&access, "a").await.unwrap(), "team-a"));
    assert!(ACCEPTED_FOR + Duration::from_secs(10) <= Duration::from_secs(60));
    assert!(RIGHTS_FOR + Duration::from_secs(10) <= Duration::from_secs(60));
}

#[tokio::test]
async fn namespace_that_appears_is_asked_about_alone() {
    let (api, access) = started().await;
    admit(&access, "a").await.unwrap();
    api.asked();
    api.allow("alice", "eksclusters", "team-c");
    let alice = access.admit("a", false, &namespaces(&["team-a", "team-b", "team-c"]), FROM).await.unwrap();
    assert!(sees(&alice, "team-a") && sees(&alice, "team-c"));
    let mut asked = api.asked();
    asked.sort();
    assert_eq!(asked, ["alice eksclusters in team-c", "alice nodegroups in team-c"]);
}

#[tokio::test]
async fn revoked_token_ends_and_others_do_not() {
    let (api, access) = started().await;
    admit(&access, "a").await.unwrap();
    api.revoke("a");
    age(&access, ACCEPTED_FOR);
    assert_eq!(admit(&access, "a").await.err(), Some(Denied::Invalid));
    api.asked();
    assert_eq!(admit(&access, "a").await.err(), Some(Denied::Invalid));
    assert!(api.asked().is_empty(), "a refusal is kept");
    age(&access, REFUSED_FOR);
    api.accept("a", "alice");
    assert!(sees(&admit(&access, "a").await.unwrap(), "team-a"));
}

#[tokio::test]
async fn nobody_sees_anything_when_the_api_server_does_not_say() {
    let (api, access) = started().await;
    admit(&access, "a").await.unwrap();
    api.set_failing(true);
    assert!(sees(&admit(&access, "a").await.unwrap(), "team-a"), "what it said counts for a moment");
    assert_eq!(admit(&access, "b").await.err(), Some(Denied::Undecided));
    age(&access, ACCEPTED_FOR);
    assert_eq!(admit(&access, "a").await.err(), Some(Denied::Undecided));
    api.set_failing(false);
    assert!(sees(&admit(&access, "a").await.unwrap(), "team-a"));
}

#[tokio::test]
async fn many_guesses_are_refused_without_asking() {
    let (api, access) = started().await;
    admit(&access, "a").await.unwrap();
    for number in 0..20 {
        assert_eq!(admit(&access, &format!("guess-{number}")).await.err(), Some(Denied::Invalid));
    }
    api.asked();
    assert_eq!(admit(&access, "guess").await.err(), Some(Denied::TooMany));
    assert!(api.asked().is_empty());
    age(&access, ACCEPTED_FOR);
    assert!(admit(&access, "a").await.is_ok(), "who was admitted before is not shut out");
    let elsewhere = access.admit("b", false, &namespaces(&[]), "10.0.0.2").await;
    assert!(elsewhere.is_ok(), "another client");
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let (_, access) = started().await;
    admit(&access, "a").await.unwrap();
    let known = access.tokens.lock().values().next().unwrap().clone();
    for number in 0..2 * MAX_REFUSED {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
        access.refuse(digest, FROM, Instant::now());
    }
    assert!(access.refused.lock().len() <= MAX_REFUSED);
    for number in 1..MAX_TOKENS {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
        let username = Some(format!("user-{}", number / 8));
        let user = Arc::new(UserInfo { username, ..UserInfo::default() });
        access.tokens.lock().insert(digest, Known { user, ..known.clone() });
    }
    access.admit("b", false, &namespaces(&[]), "10.0.0.2").await.unwrap();
    assert!(access.tokens.lock().len() <= MAX_TOKENS);
}

#[tokio::test]
async fn user_with_many_tokens_pushes_out_nobody() {
    let (api, access) = started().await;
    admit(&access, "a").await.unwrap();
    for number in 0..2 * MAX_TOKENS_OF_ONE {
        let token = format!("bob-{number}");
        api.accept(&token, "bob");
        access.admit(&token, false, &namespaces(&[]), FROM).await.unwrap();
    }
    assert_eq!(access.tokens.lock().len(), 1 + MAX_TOKENS_OF_ONE);
    api.asked();
    admit(&access, "a").await.unwrap();
    assert!(api.asked().is_empty(), "alice is still known");
}

#[tokio::test]
async fn requests_with_one_token_share_their_reviews() {
    let (api, access) = started().await;
    let all = futures::future::join_all((0..20).map(|_| admit(&access, "a"))).await;
    assert!(all.iter().all(|admitted| sees(admitted.as_ref().unwrap(), "team-a")));
    assert_eq!(api.asked().len(), 1 + 4 + 4, "one set of reviews");
    assert!(access.turns.lock().is_empty());
    api.set_failing(true);
    access.forget_all();
    let all = futures::future::join_all((0..20).map(|_| admit(&access, "a"))).await;
    assert!(all.iter().all(|admitted| admitted.as_ref().err() == Some(&Denied::Undecided)));
    assert_eq!(api.failures(), 1, "and its failure");
    assert!(access.turns.lock().is_empty());
}

#[tokio::test]
async fn what_was_said_before_a_failure_is_not_asked_again() {
    let (api, access) = started().await;
    let many: Vec<String> = (0..50).map(|number| format!("team-{number:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    api.fail_after(1 + 4 + 60);
    let failed = access.admit("a", false, &namespaces(&many), FROM).await;
    assert_eq!(failed.err(), Some(Denied::Undecided));
    api.set_failing(false);
    api.asked();
    access.admit("a", false, &namespaces(&many), FROM).await.unwrap();
    let asked = api.asked().len();
    assert!((40..=60).contains(&asked), "{asked} of 100");
}

#[tokio::test]
async fn session_is_not_shut_out_by_wrong_tokens_of_others() {
    let (_, access) = started().await;
    for number in 0..20 {
        assert_eq!(admit(&access, &format!("guess-{number}")).await.err(), Some(Denied::Invalid));
    }
    assert_eq!(admit(&access, "a").await.err(), Some(Denied::TooMany), "a token that is new here");
    let session = access.admit("a", true, &namespaces(&[]), FROM).await;
    assert!(session.is_ok(), "of another replica, or from before a restart");
}
