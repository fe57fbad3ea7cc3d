//! Answers somebody who was let in: a view of the fleet as the viewer may see it, or the stream of its changes. No I/O of its own.

use std::sync::Arc;

use axum::http::{StatusCode, header};
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

/// Answers somebody who may see what `viewer` says. `credential`: of the stream, in a cluster.
pub fn respond(
    page: &Arc<Page>,
    viewer: Viewer,
    management: &str,
    (path, query): (&str, &str),
    credential: Option<Credential>,
) -> Response {
    if path == STREAM {
        let of = parameter(query, "of").and_then(|path| Id::of_path(&path));
        return stream::live(page, viewer, of, credential).into_response();
    }
    let fleet = page.fleet.read();
    let context = Context { fleet: &fleet, viewer: &viewer, now: Timestamp::now(), zone: &page.zone, management };
    let content = match path {
        "/" => Some(view::fleet(&context, &Query::parse(query))),
        "/accounts" => Some(view::accounts(&context)),
        path => Id::of_path(path).filter(|id| viewer.may_see(id)).and_then(|id| view::object(&context, &id)),
    };
    drop(fleet);
    match content {
        Some(content) => html(StatusCode::OK, content),
        None => message(
            StatusCode::NOT_FOUND,
            "It is not here",
            "No such object exists, or it was deleted. If it was just created, it appears in the fleet in a moment.",
        ),
    }
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
