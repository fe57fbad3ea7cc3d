//! Answers requests: checks who asks, renders a view, sends the style sheet and the script, and streams what changes. Nothing is
//! written anywhere. I/O: connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use url::form_urlencoded;

use super::Page;
use super::fleet::Change;
use super::id::Id;
use super::query::Query;
use super::session::Session;
use super::view::{self, Context};
use super::viewer::Viewer;

/// Changes in that time are one message.
const COALESCE: Duration = Duration::from_millis(300);
/// A connection without changes says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After that time a browser connects again.
const RETRY: Duration = Duration::from_secs(1);

/// A browser ignores a message without data.
const NOTHING_MORE: &str = "-";

/// Files that the page refers to: no data.
const ASSETS: [(&str, &str, &str); 3] = [
    ("/assets/page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
    ("/assets/page.js", "text/javascript; charset=utf-8", include_str!("assets/page.js")),
    ("/assets/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

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

/// Serves the page until the listener fails.
///
/// # Errors
/// Those of the listener.
pub async fn serve(listener: TcpListener, page: Arc<Page>) -> std::io::Result<()> {
    axum::serve(listener, Router::new().fallback(handle).with_state(page)).await
}

/// Answers a request.
pub async fn handle(State(page): State<Arc<Page>>, request: Request) -> Response {
    let mut response = guarded(&page, &request);
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Checks the request, and answers it if it may be answered.
fn guarded(page: &Arc<Page>, request: &Request) -> Response {
    let (headers, uri) = (request.headers(), request.uri());
    if !page.session.is_host(headers) {
        return text(StatusCode::MISDIRECTED_REQUEST, "This is not the address of the page that keelson ui printed.\n");
    }
    if request.method() != Method::GET {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "The page only reads.\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    if Session::is_from_elsewhere(headers) {
        return text(StatusCode::FORBIDDEN, "A page of another origin may not read this one.\n");
    }
    if let Some((_, kind, content)) = ASSETS.iter().find(|(path, ..)| *path == uri.path()) {
        return ([(header::CONTENT_TYPE, *kind)], *content).into_response();
    }
    let query = uri.query().unwrap_or_default();
    if let Some(token) = parameter(query, "token") {
        return exchange(page, &token, headers);
    }
    if !page.session.has_cookie(headers) {
        return html(
            StatusCode::UNAUTHORIZED,
            view::message(
                "Open the address that keelson ui printed",
                "This page is for the person who started it. Its address with a token is in the terminal; a token can be used once.",
            ),
        );
    }
    respond(page, Viewer::of_everything(), uri.path(), query)
}

/// Answers somebody who may see what `viewer` says.
fn respond(page: &Arc<Page>, viewer: Viewer, path: &str, query: &str) -> Response {
    if path == "/events" {
        let of = parameter(query, "of").and_then(|path| Id::of_path(&path));
        return live(page, viewer, of).into_response();
    }
    let fleet = page.fleet.read();
    let context = Context {
        fleet: &fleet,
        viewer: &viewer,
        now: Timestamp::now(),
        zone: &page.zone,
        management: &page.management,
    };
    let content = match path {
        "/" => Some(view::fleet(&context, &Query::parse(query))),
        "/accounts" => Some(view::accounts(&context)),
        path => Id::of_path(path).filter(|id| viewer.may_see(id)).and_then(|id| view::object(&context, &id)),
    };
    drop(fleet);
    match content {
        Some(content) => html(StatusCode::OK, content),
        None => html(
            StatusCode::NOT_FOUND,
            view::message(
                "It is not here",
                "No such object exists, or it was deleted. If it was just created, it appears in the fleet in a moment.",
            ),
        ),
    }
}

/// Exchanges the token of the first address for the cookie. The answer leads on by itself, and not by a redirect: after one, a browser
/// that comes from another program would not send a strict cookie.
fn exchange(page: &Page, token: &str, headers: &HeaderMap) -> Response {
    let cookie = page.session.exchange(token).and_then(|cookie| HeaderValue::from_str(&cookie).ok());
    match cookie {
        Some(cookie) => {
            let mut response = html(StatusCode::OK, view::welcome());
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            response
        }
        // Somebody reloads, or goes back to the first address.
        None if page.session.has_cookie(headers) => html(StatusCode::OK, view::welcome()),
        None => html(
            StatusCode::UNAUTHORIZED,
            view::message(
                "This address was used",
                "A token can be used once. keelson ui has printed a new address: if it was not you who used this one, stop it with Ctrl-C.",
            ),
        ),
    }
}

/// A message whenever something changes of that object, or of anything that the viewer may see.
fn live(page: &Page, viewer: Viewer, of: Option<Id>) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let receiver = page.changes.subscribe();
    let first = Event::default().event("connected").data(NOTHING_MORE).retry(RETRY);
    let changes = futures::stream::unfold((receiver, viewer, of), |(mut receiver, viewer, of)| async move {
        loop {
            match receiver.recv().await {
                Ok(change) if concerns(&change, &viewer, of.as_ref()) => break,
                Ok(_) => {}
                // More than is remembered.
                Err(broadcast::error::RecvError::Lagged(_)) => break,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
        tokio::time::sleep(COALESCE).await;
        // What comes with it, is part of it.
        receiver = receiver.resubscribe();
        let event = Event::default().event("changed").data(NOTHING_MORE);
        Some((Ok(event), (receiver, viewer, of)))
    });
    let all = futures::StreamExt::chain(futures::stream::iter([Ok(first)]), changes);
    Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// Whether a change is one of that object, or of anything the viewer may see.
fn concerns(change: &Change, viewer: &Viewer, of: Option<&Id>) -> bool {
    match (change, of) {
        (Change::Source, _) => true,
        (Change::Object { id, .. }, None) => viewer.may_see(id),
        (Change::Object { id, cluster }, Some(of)) => viewer.may_see(id) && (id == of || cluster.as_ref() == Some(of)),
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn text(status: StatusCode, content: &'static str) -> Response {
    (status, content).into_response()
}

fn html(status: StatusCode, content: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], content).into_response()
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
