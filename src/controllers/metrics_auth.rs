//! Who may read `/metrics`: metrics name every cluster, account and namespace. The API server decides, as for controller-runtime's
//! metrics: a TokenReview says whose bearer token it is, a SubjectAccessReview whether RBAC lets them `get` the path. Answers are
//! cached for a while. Probes need no token. I/O: the management cluster's API.

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
use super::context::locked;

/// How long an answer counts: a right that is taken away is gone after this.
const ALLOWED_FOR: Duration = Duration::from_secs(60);
/// The same of a refusal, so that a right that is given is taken up soon.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Answers that are kept; more tokens than this at once are guesses.
const MOST_ANSWERS: usize = 256;
/// Reviews at a time: whoever guesses tokens must not load the API server.
const MOST_REVIEWS: usize = 4;
/// An API server that does not answer is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A token, as it is remembered: never itself.
type TokenDigest = [u8; 32];

/// What the API server said of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allowed,
    /// It knows the token, and RBAC does not let its owner.
    Forbidden,
    /// It does not know the token.
    Unauthenticated,
}

/// Asks the API server about bearer tokens.
struct Authorizer {
    client: Client,
    answers: Mutex<HashMap<TokenDigest, (Answer, Instant)>>,
    reviews: Semaphore,
}

/// `routes`, open only to those whom RBAC lets `get` the path.
pub fn protect(routes: Router, client: Client) -> Router {
    let authorizer = Authorizer { client, answers: Mutex::default(), reviews: Semaphore::new(MOST_REVIEWS) };
    routes.layer(from_fn_with_state(Arc::new(authorizer), check))
}

async fn check(State(authorizer): State<Arc<Authorizer>>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET");
    }
    let Some(token) = bearer(request.headers()) else {
        return refuse(StatusCode::UNAUTHORIZED, "send the token of a service account: Authorization: Bearer TOKEN");
    };
    match authorizer.answer(token, request.uri().path()).await {
        Ok(Answer::Allowed) => next.run(request).await,
        Ok(Answer::Forbidden) => refuse(
            StatusCode::FORBIDDEN,
            "bind the ClusterRole keelson-metrics-reader to this account with a ClusterRoleBinding",
        ),
        Ok(Answer::Unauthenticated) => refuse(StatusCode::UNAUTHORIZED, "the API server does not know this token"),
        Err(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn refuse(status: StatusCode, why: &str) -> Response {
    let text = format!("{why}\n");
    if status == StatusCode::UNAUTHORIZED {
        return (status, [(WWW_AUTHENTICATE, "Bearer")], text).into_response();
    }
    (status, text).into_response()
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl Authorizer {
    async fn answer(&self, token: &str, path: &str) -> Result<Answer, String> {
        let digest: TokenDigest = Sha256::digest(token.as_bytes()).into();
        if let Some(answer) = self.known(&digest, Instant::now()) {
            return Ok(answer);
        }
        let Ok(_permit) = self.reviews.try_acquire() else {
            return Err("too many tokens are being checked; try again".to_owned());
        };
        let answer = tokio::time::timeout(PATIENCE, self.review(token, path))
            .await
            .map_err(|_| "the API server does not answer".to_owned())?
            .map_err(|error| {
                let error = describe_error(&error);
                tracing::warn!(%error, "a token for /metrics cannot be checked");
                // What is wrong with the operator's own rights is not for whoever asks.
                "the API server did not check the token; the operator's log says why".to_owned()
            })?;
        self.remember(digest, answer, Instant::now());
        Ok(answer)
    }

    fn known(&self, digest: &TokenDigest, now: Instant) -> Option<Answer> {
        let answers = locked(&self.answers);
        let (answer, at) = answers.get(digest)?;
        let counts_for = if *answer == Answer::Allowed { ALLOWED_FOR } else { REFUSED_FOR };
        (now.saturating_duration_since(*at) < counts_for).then_some(*answer)
    }

    fn remember(&self, digest: TokenDigest, answer: Answer, now: Instant) {
        let mut answers = locked(&self.answers);
        if answers.len() >= MOST_ANSWERS {
            // Refusals first: a flood of guesses must not push out who may read.
            answers.retain(|_, (answer, at)| {
                *answer == Answer::Allowed && now.saturating_duration_since(*at) < ALLOWED_FOR
            });
        }
        if answers.len() < MOST_ANSWERS {
            answers.insert(digest, (answer, now));
        }
    }

    async fn review(&self, token: &str, path: &str) -> Result<Answer, kube::Error> {
        let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviewed = Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let status = reviewed.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
            return Ok(Answer::Unauthenticated);
        };
        let review = SubjectAccessReview { spec: access(user, path), ..SubjectAccessReview::default() };
        let reviews = Api::<SubjectAccessReview>::all(self.client.clone());
        let reviewed = reviews.create(&PostParams::default(), &review).await?;
        let allowed = reviewed.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        Ok(if allowed { Answer::Allowed } else { Answer::Forbidden })
    }
}

/// Whether `user` may get `path`.
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
