//! What a request in a cluster says of who makes it, and the cookie of somebody who signed in: pure functions of headers.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use url::Url;

use super::gate::Cluster;

/// Longest token that is accepted in a header or a form.
pub const MAX_TOKEN: usize = 16 * 1024;
/// The cookie. Over TLS it has the prefix that makes browsers refuse one that another host or plain HTTP has set.
const COOKIE: &str = "keelson-ui";
const SECURE_COOKIE: &str = "__Host-keelson-ui";

/// A token, and where it is from.
pub struct Token {
    pub text: String,
    /// When the session ends, if somebody signed in on the page.
    pub until: Option<Timestamp>,
}

impl Token {
    /// That of the Authorization header, which a proxy sends, or that of the cookie.
    pub fn of(parts: &Parts, cluster: &Cluster, now: Timestamp) -> Option<Self> {
        if let Some(text) = bearer(&parts.headers) {
            return Some(Self { text, until: None });
        }
        let name = cookie_name(&parts.headers);
        let all = parts.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        let (text, until) = cluster.seal.open(value, now)?;
        Some(Self { text, until: Some(until) })
    }

    /// Whether somebody signed in on the page.
    pub fn is_session(&self) -> bool {
        self.until.is_some()
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    let is_token = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= MAX_TOKEN;
    is_token.then(|| token.to_owned())
}

/// Whether the browser's connection is encrypted, as the proxy in front says.
fn is_https(headers: &HeaderMap) -> bool {
    let proto = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok()).unwrap_or_default();
    proto.split(',').next().is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
}

fn cookie_name(headers: &HeaderMap) -> &'static str {
    if is_https(headers) { SECURE_COOKIE } else { COOKIE }
}

/// The header that sets the cookie for that many seconds; 0: that removes it.
pub fn set_cookie(headers: &HeaderMap, value: &str, seconds: i64) -> String {
    let secure = if is_https(headers) { "; Secure" } else { "" };
    format!("{}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}{secure}", cookie_name(headers))
}

/// Where the request comes from: the address that the nearest proxy saw, or else the other end of the connection.
pub fn client_of(parts: &Parts) -> String {
    let forwarded = parts.headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let nearest = forwarded.and_then(|all| all.rsplit(',').next()).map(str::trim).filter(|address| !address.is_empty());
    let peer = || parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_string());
    // Bounded, as it is remembered.
    nearest.map(|address| address.chars().take(64).collect()).or_else(peer).unwrap_or_default()
}

/// Whether a form was sent by the page itself, and not by a page of another origin. A browser that sends neither header is refused.
pub fn is_own_form(headers: &HeaderMap, cluster: &Cluster) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin") {
        return false;
    }
    match text("origin").filter(|origin| *origin != "null") {
        None => site.is_some(),
        Some(origin) => authority(origin).is_some_and(|authority| {
            let is = |host: &str| host.eq_ignore_ascii_case(&authority);
            // A proxy may have changed the Host header; a page of another origin cannot set these.
            text("host").is_some_and(is) || text("x-forwarded-host").is_some_and(is) || cluster.is_own(&authority)
        }),
    }
}

/// `host`, or `host:port` if that is not the scheme's own.
fn authority(origin: &str) -> Option<String> {
    let origin = Url::parse(origin).ok()?;
    let host = origin.host_str()?;
    Some(origin.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// The path to go on to after somebody signed in; the fleet, if it is not one of this page.
pub fn next_path(wanted: &str) -> &str {
    let is_path = wanted.starts_with('/') && !wanted.starts_with("//") && wanted.len() <= 2000;
    let is_plain = wanted.bytes().all(|c| c.is_ascii_graphic() && c != b'\\');
    let is_page = !["/login", "/logout", super::answer::STREAM].iter().any(|own| wanted.starts_with(own));
    if is_path && is_plain && is_page { wanted } else { "/" }
}

#[cfg(test)]
#[path = "sign_in_tests.rs"]
mod tests;
