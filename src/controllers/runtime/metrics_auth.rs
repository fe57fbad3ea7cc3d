//! Authorizes reads of `/metrics`, as metrics name every cluster, account and namespace. The API server decides, as
//! for controller-runtime's metrics: a TokenReview authenticates the bearer token, a SubjectAccessReview checks
//! whether RBAC allows `get` on the path. Results are cached for a while. Probes need no token. I/O: the management
//! cluster's API.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::apply::describe_error;
use crate::controllers::runtime::locks::locked;

/// How long permission is cached: a revoked right ends after this.
const ALLOWED_FOR: Duration = Duration::from_secs(60);
/// How long a refusal is cached: short, so that a granted right takes effect soon.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Cached results; more concurrent tokens than this are guesses.
const MAX_CACHED: usize = 256;
/// Concurrent reviews: guessing tokens must not load the API server.
const MAX_REVIEWS: usize = 4;
/// Timeout of a review.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The digest of a token; tokens themselves are never stored.
type TokenDigest = [u8; 32];

/// The API server's decision on a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Allowed,
    /// The token is valid, and RBAC does not allow its owner.
    Forbidden,
    /// The token is not valid.
    Unauthenticated,
}

/// Checks bearer tokens with the API server.
struct Authorizer {
    client: Client,
    cache: Mutex<HashMap<TokenDigest, (Decision, Instant)>>,
    reviews: Semaphore,
}

/// Restricts `routes` to callers whom RBAC allows to `get` the path.
pub fn protect(routes: Router, client: Client) -> Router {
    let authorizer = Authorizer { client, cache: Mutex::default(), reviews: Semaphore::new(MAX_REVIEWS) };
    routes.layer(from_fn_with_state(Arc::new(authorizer), check))
}

async fn check(State(authorizer): State<Arc<Authorizer>>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed");
    }
    let Some(token) = bearer(request.headers()) else {
        return refuse(StatusCode::UNAUTHORIZED, "send the token of a service account: Authorization: Bearer TOKEN");
    };
    match authorizer.decision(token, request.uri().path()).await {
        Ok(Decision::Allowed) => next.run(request).await,
        Ok(Decision::Forbidden) => refuse(
            StatusCode::FORBIDDEN,
            "bind the ClusterRole keelson-metrics-reader to this account with a ClusterRoleBinding",
        ),
        Ok(Decision::Unauthenticated) => refuse(StatusCode::UNAUTHORIZED, "the API server does not accept this token"),
        Err(message) => refuse(StatusCode::SERVICE_UNAVAILABLE, &message),
    }
}

fn refuse(status: StatusCode, message: &str) -> Response {
    let text = format!("{message}\n");
    if status == StatusCode::UNAUTHORIZED {
        return (status, [(WWW_AUTHENTICATE, "Bearer")], text).into_response();
    }
    (status, text).into_response()
}

/// The bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl Authorizer {
    async fn decision(&self, token: &str, path: &str) -> Result<Decision, String> {
        let digest: TokenDigest = Sha256::digest(token.as_bytes()).into();
        if let Some(decision) = self.cached(&digest, Instant::now()) {
            return Ok(decision);
        }
        let Ok(_permit) = self.reviews.try_acquire() else {
            return Err("too many concurrent token checks; retry later".to_owned());
        };
        let decision = tokio::time::timeout(TIMEOUT, self.review(token, path))
            .await
            .map_err(|_| "the API server does not answer".to_owned())?
            .map_err(|error| {
                let error = describe_error(&error);
                tracing::warn!(%error, "cannot check a token for /metrics");
                // Problems with the operator's own permissions are not for the caller.
                "the API server could not check the token; see the operator's log".to_owned()
            })?;
        self.cache_decision(digest, decision, Instant::now());
        Ok(decision)
    }

    fn cached(&self, digest: &TokenDigest, now: Instant) -> Option<Decision> {
        let cache = locked(&self.cache);
        let (decision, at) = cache.get(digest)?;
        let ttl = if *decision == Decision::Allowed { ALLOWED_FOR } else { REFUSED_FOR };
        (now.saturating_duration_since(*at) < ttl).then_some(*decision)
    }

    fn cache_decision(&self, digest: TokenDigest, decision: Decision, now: Instant) {
        let mut cache = locked(&self.cache);
        if cache.len() >= MAX_CACHED {
            // Refusals are evicted first: a flood of guesses must not evict permitted readers.
            cache.retain(|_, (decision, at)| {
                *decision == Decision::Allowed && now.saturating_duration_since(*at) < ALLOWED_FOR
            });
        }
        if cache.len() < MAX_CACHED {
            cache.insert(digest, (decision, now));
        }
    }

    async fn review(&self, token: &str, path: &str) -> Result<Decision, kube::Error> {
        let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviewed = Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let status = reviewed.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
            return Ok(Decision::Unauthenticated);
        };
        let review = SubjectAccessReview { spec: access(user, path), ..SubjectAccessReview::default() };
        let reviews = Api::<SubjectAccessReview>::all(self.client.clone());
        let reviewed = reviews.create(&PostParams::default(), &review).await?;
        let allowed = reviewed.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        Ok(if allowed { Decision::Allowed } else { Decision::Forbidden })
    }
}

/// The access review of whether `user` may `get` `path`.
fn access(user: UserInfo, path: &str) -> SubjectAccessReviewSpec {
    let UserInfo { extra, groups, uid, username } = user;
    SubjectAccessReviewSpec {
        extra,
        groups,
        uid,
        user: username,
        non_resource_attributes: Some(NonResourceAttributes {
            path: Some(path.to_owned()),
            verb: Some("get".to_owned()),
        }),
        resource_attributes: None,
    }
}

#[cfg(test)]
#[path = "metrics_auth_tests.rs"]
mod tests;
