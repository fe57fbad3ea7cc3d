//! Asks the API server whose a token is, and what that user may list. I/O: the management cluster's API.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;

use super::id::Kind;
use crate::api::GROUP;
use crate::controllers::runtime::apply::describe_error;

/// Timeout of a review, with the wait for its turn.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Concurrent reviews for people who were seen before: they must not load the API server.
const MAX_KNOWN: usize = 16;
/// Concurrent reviews of tokens that were not: attempts with wrong tokens must not keep the others waiting.
const MAX_NEW: usize = 4;

/// The API server has not decided. Its reason is in the log: problems with the page's own rights are not for those who look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecided;

/// Asks the API server.
pub struct Reviewer {
    client: Client,
    known: Semaphore,
    new: Semaphore,
}

impl Reviewer {
    pub fn new(client: Client) -> Self {
        Self { client, known: Semaphore::new(MAX_KNOWN), new: Semaphore::new(MAX_NEW) }
    }

    /// The user of a token; `None`: the API server does not accept it. `is_known`: it was accepted before.
    ///
    /// # Errors
    /// The API server does not answer, or does not let the page ask.
    pub async fn user_of(&self, token: &str, is_known: bool) -> Result<Option<UserInfo>, Undecided> {
        let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = self.ask("TokenReview", if is_known { &self.known } else { &self.new }, &review).await?;
        let status = answer.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    /// Whether the user may list the objects of a kind: in a namespace, or in all (`None`), which is what kinds without a namespace need.
    ///
    /// # Errors
    /// The API server does not answer, or does not let the page ask.
    pub async fn may_list(&self, user: &UserInfo, kind: Kind, namespace: Option<&str>) -> Result<bool, Undecided> {
        let review = SubjectAccessReview { spec: access(user, kind, namespace), ..SubjectAccessReview::default() };
        let answer = self.ask("SubjectAccessReview", &self.known, &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
    }

    async fn ask<K>(&self, name: &'static str, turns: &Semaphore, review: &K) -> Result<K, Undecided>
    where
        K: kube::Resource<DynamicType = ()> + serde::Serialize + serde::de::DeserializeOwned + Clone + std::fmt::Debug,
    {
        let asked = async {
            // The semaphore is never closed.
            let _turn = turns.acquire().await;
            Api::<K>::all(self.client.clone()).create(&PostParams::default(), review).await
        };
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::warn!(review = name, error = %describe_error(&error), "cannot ask who may see the page");
                Err(Undecided)
            }
            Err(_) => {
                tracing::warn!(review = name, "the API server does not answer who may see the page");
                Err(Undecided)
            }
        }
    }
}

fn access(user: &UserInfo, kind: Kind, namespace: Option<&str>) -> SubjectAccessReviewSpec {
    let UserInfo { extra, groups, uid, username } = user.clone();
    SubjectAccessReviewSpec {
        extra,
        groups,
        uid,
        user: username,
        non_resource_attributes: None,
        resource_attributes: Some(ResourceAttributes {
            group: Some(GROUP.to_owned()),
            resource: Some(kind.resource().to_owned()),
            verb: Some("list".to_owned()),
            namespace: namespace.map(str::to_owned),
            ..ResourceAttributes::default()
        }),
    }
}
