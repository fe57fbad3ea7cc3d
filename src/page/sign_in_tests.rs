//! What headers say of who makes a request.

use axum::http::{HeaderValue, Request};

use super::*;
use crate::page::reviews_tests::ApiServer;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

fn parts(pairs: &[(&'static str, &str)]) -> Parts {
    let (mut parts, ()) = Request::builder().uri("/").body(()).unwrap().into_parts();
    parts.headers = headers(pairs);
    parts
}

async fn cluster(hosts: &[&str]) -> Cluster {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    Cluster::new(ApiServer::default().client().await, &hosts, None).unwrap()
}

#[tokio::test]
async fn only_the_own_form_is_accepted() {
    let cluster = cluster(&["fleet.example.com"]).await;
    let host = ("host", "page.internal:8081");
    for (own, pairs) in [
        (true, vec![host, ("sec-fetch-site", "same-origin")]),
        (true, vec![host, ("sec-fetch-site", "same-origin"), ("origin", "null")]),
        (true, vec![host, ("origin", "http://page.internal:8081")]),
        (true, vec![host, ("origin", "https://fleet.example.com")]),
        (true, vec![host, ("origin", "https://a.example.com"), ("x-forwarded-host", "a.example.com")]),
        (false, vec![host]),
        (false, vec![host, ("origin", "null")]),
        (false, vec![host, ("origin", "https://evil.example")]),
        (false, vec![host, ("origin", "http://page.internal")]),
        (false, vec![host, ("sec-fetch-site", "cross-site"), ("origin", "http://page.internal:8081")]),
        (false, vec![host, ("sec-fetch-site", "same-site")]),
        (false, vec![host, ("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")]),
    ] {
        assert_eq!(is_own_form(&headers(&pairs), &cluster), own, "{pairs:?}");
    }
}

#[tokio::test]
async fn token_is_that_of_the_header_or_the_cookie() {
    let cluster = cluster(&[]).await;
    let now = Timestamp::now();
    let (cookie, _) = cluster.seal.close("of-cookie", now).unwrap();
    let plain = format!("a=1; keelson-ui={cookie}");
    let secure = format!("__Host-keelson-ui={cookie}");
    let https = ("x-forwarded-proto", "https");
    for (pairs, expected) in [
        (vec![("authorization", "Bearer of-header")], Some("of-header")),
        (vec![("authorization", "bearer of-header"), ("cookie", plain.as_str())], Some("of-header")),
        (vec![("authorization", "Basic x"), ("cookie", plain.as_str())], Some("of-cookie")),
        (vec![("cookie", plain.as_str())], Some("of-cookie")),
        (vec![https, ("cookie", secure.as_str())], Some("of-cookie")),
        (vec![https, ("cookie", plain.as_str())], None),
        (vec![("cookie", "keelson-ui=guess")], None),
        (vec![("authorization", "Bearer ")], None),
        (vec![], None),
    ] {
        let token = Token::of(&parts(&pairs), &cluster, now);
        assert_eq!(token.as_ref().map(|token| token.text.as_str()), expected, "{pairs:?}");
        assert_eq!(token.is_some_and(|token| token.is_session()), expected == Some("of-cookie"));
    }
}

#[test]
fn cookie_is_for_nobody_but_the_server() {
    let plain = set_cookie(&headers(&[]), "v", 60);
    assert_eq!(plain, "keelson-ui=v; HttpOnly; SameSite=Strict; Path=/; Max-Age=60");
    let secure = set_cookie(&headers(&[("x-forwarded-proto", "https, http")]), "v", 60);
    assert_eq!(secure, "__Host-keelson-ui=v; HttpOnly; SameSite=Strict; Path=/; Max-Age=60; Secure");
}

#[test]
fn client_is_what_the_nearest_proxy_saw() {
    assert_eq!(client_of(&parts(&[("x-forwarded-for", "1.1.1.1, 10.0.0.7")])), "10.0.0.7");
    assert_eq!(client_of(&parts(&[])), "");
    let mut direct = parts(&[]);
    direct.extensions.insert(ConnectInfo(SocketAddr::from(([10, 0, 0, 9], 1234))));
    assert_eq!(client_of(&direct), "10.0.0.9");
    assert_eq!(client_of(&parts(&[("x-forwarded-for", &"x".repeat(1000))])).len(), 64);
}

#[test]
fn next_page_is_one_of_this_host() {
    for path in ["/", "/clusters/team-a/demo", "/?q=a+b&state=blocked"] {
        assert_eq!(next_path(path), path);
    }
    for path in [
        "",
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/a b",
        "/\r\nx: y",
        "/events?of=/x",
        "/logout",
    ] {
        assert_eq!(next_path(path), "/", "{path:?}");
    }
}
