//! Answers requests: checks who asks, renders a view, sends the style sheet and the script, and streams what changes. Nothing is
//! written anywhere. I/O: connections.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use tokio::net::TcpListener;

use super::answer::{self, html, message, parameter, text};
use super::gate::Gate;
use super::session::Session;
use super::viewer::Viewer;
use super::{Page, in_cluster, view};

/// On every answer. No script, style or frame but the page's own, and no address of the page for others.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// In a cluster: with `no-referrer`, browsers do not say from which origin a form is sent.
const REFERRER_IN_CLUSTER: (&str, &str) = ("referrer-policy", "same-origin");

/// Serves the page until the listener fails.
///
/// # Errors
/// Those of the listener.
pub async fn serve(listener: TcpListener, page: Arc<Page>) -> std::io::Result<()> {
    let routes = Router::new().fallback(handle).with_state(page);
    axum::serve(listener, routes.into_make_service_with_connect_info::<SocketAddr>()).await
}

/// Answers a request.
pub async fn handle(State(page): State<Arc<Page>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (mut response, other) = match &page.gate {
        Gate::Owner(session) => (answer_owner(&page, session, &parts).await, None),
        Gate::Cluster(cluster) => (in_cluster::answer(&page, cluster, &parts, body).await, Some(REFERRER_IN_CLUSTER)),
    };
    for (name, value) in HEADERS.into_iter().chain(other) {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Checks a request of the person who started the page, and answers it if it may be answered.
async fn answer_owner(page: &Arc<Page>, session: &Session, parts: &Parts) -> Response {
    let (headers, uri) = (&parts.headers, &parts.uri);
    if !session.is_host(headers) {
        return text(StatusCode::MISDIRECTED_REQUEST, "This is not the address of the page that keelson ui printed.\n");
    }
    if parts.method != Method::GET {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "The page only reads.\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    if Session::is_from_elsewhere(headers) {
        return text(StatusCode::FORBIDDEN, "A page of another origin may not read this one.\n");
    }
    if let Some(asset) = answer::asset(uri.path()) {
        return asset;
    }
    let query = uri.query().unwrap_or_default();
    if let Some(token) = parameter(query, "token") {
        return exchange(session, &token, headers);
    }
    if !session.has_cookie(headers) {
        return message(
            StatusCode::UNAUTHORIZED,
            "Open the address that keelson ui printed",
            "This page is for the person who started it. Its address with a token is in the terminal; a token can be used once.",
        );
    }
    answer::respond(page, Viewer::of_everything(), page.management.clone(), (uri.path(), query), None).await
}

/// Exchanges the token of the first address for the cookie. The answer leads on by itself, and not by a redirect: after one, a browser
/// that comes from another program would not send a strict cookie.
fn exchange(session: &Session, token: &str, headers: &HeaderMap) -> Response {
    let cookie = session.exchange(token).and_then(|cookie| HeaderValue::from_str(&cookie).ok());
    match cookie {
        Some(cookie) => {
            let mut response = html(StatusCode::OK, view::welcome("/"));
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            response
        }
        // Somebody reloads, or goes back to the first address.
        None if session.has_cookie(headers) => html(StatusCode::OK, view::welcome("/")),
        None => message(
            StatusCode::UNAUTHORIZED,
            "This address was used",
            "A token can be used once. keelson ui has printed a new address: if it was not you who used this one, stop it with Ctrl-C.",
        ),
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
