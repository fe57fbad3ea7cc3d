//! Answers somebody who was let in: a view of the fleet as the viewer may see it, or the stream of its changes. No I/O of its own.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use url::form_urlencoded;

use super::Page;
use super::id::Id;
use super::query::Query;
use super::stream::{self, Credential};
use super::view::{self, Context};
use super::viewer::Viewer;

/// Where the stream is.
pub const STREAM: &str = "/events";

/// How long a request waits for its turn to be rendered.
const RENDER_WAIT: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(5) };
/// Seconds after which a request that was not rendered can be sent again.
const RETRY_AFTER: &str = "5";

/// Files that the page refers to: no data.
const ASSETS: [(&str, &str, &str); 3] = [
    ("/assets/page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
    ("/assets/page.js", "text/javascript; charset=utf-8", include_str!("assets/page.js")),
    ("/assets/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// The file at that path.
pub fn asset(path: &str) -> Option<Response> {
    let (_, kind, content) = ASSETS.iter().find(|(known, ..)| *known == path)?;
    Some(([(header::CONTENT_TYPE, *kind)], *content).into_response())
}

/// Answers somebody who may see what `viewer` says. `credential`: of the stream, in a cluster. Few views are rendered at the same time, and
/// none by the tasks that read from connections.
pub async fn respond(
    page: &Arc<Page>,
    viewer: Viewer,
    management: String,
    (path, query): (&str, &str),
    credential: Option<Credential>,
) -> Response {
    if path == STREAM {
        let of = parameter(query, "of").and_then(|path| Id::of_path(&path));
        return stream::live(page, viewer, of, credential).into_response();
    }
    let turn = tokio::time::timeout(RENDER_WAIT, Arc::clone(&page.renders).acquire_owned()).await;
    // The semaphore is never closed.
    let Ok(Ok(turn)) = turn else { return busy() };
    let (page, path, query) = (Arc::clone(page), path.to_owned(), query.to_owned());
    let rendered = tokio::task::spawn_blocking(move || {
        // Also if nobody waits for it any more.
        let _turn = turn;
        render(&page, &viewer, &management, (&path, &query))
    });
    match rendered.await {
        Ok(Some(content)) => html(StatusCode::OK, content),
        Ok(None) => message(
            StatusCode::NOT_FOUND,
            "It is not here",
            "No such object exists, or it was deleted. If it was just created, it appears in the fleet in a moment.",
        ),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "The page could not be rendered: its log has the reason.\n"),
    }
}

/// A view of the fleet; `None`: there is none at that path.
fn render(page: &Page, viewer: &Viewer, management: &str, (path, query): (&str, &str)) -> Option<String> {
    let fleet = page.fleet.read();
    let context = Context { fleet: &fleet, viewer, now: Timestamp::now(), zone: &page.zone, management };
    match path {
        "/" => Some(view::fleet(&context, &Query::parse(query))),
        "/accounts" => Some(view::accounts(&context)),
        path => Id::of_path(path).filter(|id| viewer.may_see(id)).and_then(|id| view::object(&context, &id)),
    }
}

/// The answer while others wait to be rendered.
fn busy() -> Response {
    let mut response = message(
        StatusCode::SERVICE_UNAVAILABLE,
        "The page is busy",
        "Too many people or scripts load it at this moment. Reload in a few seconds.",
    );
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    response
}

/// The value of a parameter in a query or a form.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// A page that only says something.
pub fn message(status: StatusCode, title: &str, content: &str) -> Response {
    html(status, view::message(title, content))
}

pub fn text(status: StatusCode, content: &'static str) -> Response {
    (status, content).into_response()
}

pub fn html(status: StatusCode, content: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], content).into_response()
}
