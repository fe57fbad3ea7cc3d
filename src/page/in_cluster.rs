//! Requests to the page in a cluster: whoever has a token of the API server sees what that one allows, and the others get a form for one.
//! `POST /login` and `POST /logout` are the only requests that are not reads, and change nothing here. I/O: through `permissions`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;

use super::Page;
use super::answer::{self, STREAM, message, parameter, text};
use super::gate::Cluster;
use super::id::Kind;
use super::permissions::{Admitted, Denied};
use super::seal::SealError;
use super::session::Session;
use super::sign_in::{self, MAX_TOKEN, Token, client_of, is_own_form, next_path};
use super::stream::Credential;
use super::view;

/// Largest form, with a token and its percent signs.
const MAX_FORM: usize = 2 * MAX_TOKEN;
/// A form that takes longer is abandoned.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds after which somebody who was refused for a while can try again.
const RETRY_AFTER: &str = "60";
/// The same if the API server does not answer.
const RETRY_SOON: &str = "5";

/// Answers a request.
pub async fn answer(page: &Arc<Page>, cluster: &Cluster, parts: &Parts, body: Body) -> Response {
    let (path, headers) = (parts.uri.path(), &parts.headers);
    match path {
        "/healthz" => return text(StatusCode::OK, "ok\n"),
        "/readyz" if page.fleet.read().source(Kind::EksCluster.as_str()).is_listed => {
            return text(StatusCode::OK, "ok\n");
        }
        "/readyz" => return text(StatusCode::SERVICE_UNAVAILABLE, "the EksClusters are not listed yet\n"),
        _ => {}
    }
    if !cluster.is_host(headers) {
        return text(StatusCode::MISDIRECTED_REQUEST, "This is not a name of this page: --ui-host has them.\n");
    }
    if parts.method == Method::POST && ["/login", "/logout"].contains(&path) {
        if !is_own_form(headers, cluster) {
            return text(StatusCode::FORBIDDEN, "Only the page's own form may send this.\n");
        }
        return if path == "/login" { sign_in(page, cluster, parts, body).await } else { sign_out(parts) };
    }
    if parts.method != Method::GET {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "The page only reads.\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    if Session::is_from_elsewhere(headers) {
        return text(StatusCode::FORBIDDEN, "A page of another origin may not read this one.\n");
    }
    if let Some(asset) = answer::asset(path) {
        return asset;
    }
    let query = parts.uri.query().unwrap_or_default();
    match path {
        "/login" => {
            let next = parameter(query, "next").unwrap_or_default();
            return form(StatusCode::OK, &next, "");
        }
        "/logout" => return answer::html(StatusCode::OK, view::sign_out()),
        _ => {}
    }
    let here = parts.uri.path_and_query().map_or("/", |here| here.as_str());
    let Some(token) = Token::of(parts, cluster, Timestamp::now()) else {
        if Session::is_link_from_elsewhere(headers) {
            return answer::html(StatusCode::OK, view::welcome(next_path(here)));
        }
        return form(StatusCode::UNAUTHORIZED, here, "");
    };
    let from = client_of(parts);
    let Admitted { user, viewer } = match admit(page, cluster, (&token.text, token.is_session()), &from).await {
        Ok(admitted) => admitted,
        Err(denied) => return refuse(denied, &token, parts, here),
    };
    let viewer = if token.is_session() { viewer.signed_in_as(&user) } else { viewer };
    let management = if viewer.sees_nothing() {
        format!(
            "No objects of Keelson are in namespaces where {user} may list them. A RoleBinding of the ClusterRole keelson-view to this user shows those of its namespace"
        )
    } else {
        page.management.clone()
    };
    let mut credential = None;
    if path == STREAM {
        let Some(place) = cluster.stream(&user) else {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many tabs follow the page. It is current after a reload.\n",
            );
        };
        credential = Some(Credential { token: token.text, until: token.until, from, _place: place });
    }
    answer::respond(page, viewer, management, (path, query), credential).await
}

/// A cookie that opens has a token that was accepted before, here or by another replica: wrong tokens of others do not count against it.
async fn admit(
    page: &Page,
    cluster: &Cluster,
    (token, is_of_session): (&str, bool),
    from: &str,
) -> Result<Admitted, Denied> {
    let namespaces = page.fleet.read().namespaces();
    cluster.access.admit(token, is_of_session, &namespaces, from).await
}

/// The answer to a token that is not accepted.
fn refuse(denied: Denied, token: &Token, parts: &Parts, here: &str) -> Response {
    match denied {
        Denied::Invalid if token.is_session() => {
            let mut response =
                form(StatusCode::UNAUTHORIZED, here, "Your session has ended: the token has expired, or was revoked.");
            add_cookie(&mut response, &sign_in::set_cookie(&parts.headers, "", 0));
            response
        }
        Denied::Invalid => challenge(message(
            StatusCode::UNAUTHORIZED,
            "The token is not accepted",
            "The API server of this cluster does not accept the token of the Authorization header: it is wrong, has expired, or is for \
             another cluster. Sign in again where it comes from, which is the proxy in front of this page, if there is one.",
        )),
        Denied::TooMany | Denied::Undecided => unavailable(denied),
    }
}

/// The answer to somebody about whom nothing is said now.
fn unavailable(denied: Denied) -> Response {
    let (status, after, title, content) = match denied {
        Denied::TooMany => (
            StatusCode::TOO_MANY_REQUESTS,
            RETRY_AFTER,
            "Too many wrong tokens",
            "Too many tokens from your address were not accepted. Try again in a minute.",
        ),
        Denied::Undecided | Denied::Invalid => (
            StatusCode::SERVICE_UNAVAILABLE,
            RETRY_SOON,
            "It cannot be checked what you may see",
            "The API server of this cluster does not answer, or does not let the page ask it about you. Nothing is shown until it does. \
             Reload in a moment; if this stays, whoever operates the page finds the reason in its log.",
        ),
    };
    let mut response = message(status, title, content);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(after));
    response
}

/// The form for a token. `next`: where to go on.
fn form(status: StatusCode, next: &str, problem: &str) -> Response {
    let response = answer::html(status, view::sign_in(next_path(next), problem));
    if status == StatusCode::UNAUTHORIZED { challenge(response) } else { response }
}

/// The script reads from this header that the page must be loaded anew. Browsers do nothing about it.
fn challenge(mut response: Response) -> Response {
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Exchanges the token of the form for a cookie.
async fn sign_in(page: &Page, cluster: &Cluster, parts: &Parts, body: Body) -> Response {
    let read = tokio::time::timeout(FORM_TIMEOUT, to_bytes(body, MAX_FORM)).await;
    let Ok(Ok(read)) = read else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large, or was not sent.\n");
    };
    let content = String::from_utf8_lossy(&read);
    let next = parameter(&content, "next").unwrap_or_default();
    let token = parameter(&content, "token").unwrap_or_default();
    // As copied from a header.
    let token = token.trim();
    let token = token.strip_prefix("Bearer ").unwrap_or(token).trim();
    if token.is_empty() || token.len() > MAX_TOKEN {
        return form(StatusCode::BAD_REQUEST, &next, "Enter a token.");
    }
    let from = client_of(parts);
    let user = match admit(page, cluster, (token, false), &from).await {
        Ok(Admitted { user, .. }) => user,
        Err(Denied::Invalid) => {
            tracing::info!(from, "somebody could not sign in on the page: the token is not accepted");
            let problem = "The API server of this cluster does not accept this token: it is wrong, has expired, or is for another cluster.";
            return form(StatusCode::UNAUTHORIZED, &next, problem);
        }
        Err(denied) => return unavailable(denied),
    };
    let (cookie, seconds) = match cluster.seal.close(token, Timestamp::now()) {
        Ok(cookie) => cookie,
        Err(SealError::Expired) => return form(StatusCode::UNAUTHORIZED, &next, "This token has expired."),
        Err(SealError::TooLong) => {
            let problem = "This token is too long for a cookie of your browser: use one with fewer claims, or a proxy that sends it.";
            return form(StatusCode::BAD_REQUEST, &next, problem);
        }
        Err(SealError::NoRandom) => {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "The system has no random numbers for a session.\n");
        }
    };
    tracing::info!(user, from, "somebody has signed in on the page");
    let mut response = see_other(next_path(&next));
    add_cookie(&mut response, &sign_in::set_cookie(&parts.headers, &cookie, seconds));
    response
}

fn sign_out(parts: &Parts) -> Response {
    let mut response = see_other("/login");
    add_cookie(&mut response, &sign_in::set_cookie(&parts.headers, "", 0));
    response
}

fn see_other(path: &str) -> Response {
    let path = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, path)]).into_response()
}

fn add_cookie(response: &mut Response, cookie: &str) {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

#[cfg(test)]
#[path = "in_cluster_tests.rs"]
mod tests;
