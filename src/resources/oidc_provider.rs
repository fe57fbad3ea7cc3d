//! The IAM OIDC provider of the cluster's issuer, for IAM roles for service accounts.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/enable-iam-roles-for-service-accounts.html>.

use std::collections::BTreeSet;
use std::time::Instant;

use async_trait::async_trait;

use super::cloud::{Cloud, Intervals, ResourceContext, changed_tags, fresh, tag_changes};
use super::cluster;
use super::ownership;
use crate::aws::tags::{Ownership, Tags};
use crate::aws::{Service, Session};
use crate::engine::{
    Change, Class, Failure, Goal, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource,
};

/// Who may ask for credentials with the provider's tokens.
const AUDIENCE: &str = "sts.amazonaws.com";

/// The provider of the cluster's issuer.
pub struct OidcProvider {
    tags: Tags,
    intervals: Intervals,
}

/// What is seen of it. Thumbprints are not: AWS goes by its own list of authorities for EKS's issuers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    audiences: BTreeSet<String>,
    tags: Tags,
    /// It costs a call for each provider, so it is believed for a while.
    read: Instant,
}

/// Its name in the graph.
pub fn key() -> Key {
    Key::single("oidcProvider")
}

impl OidcProvider {
    /// The provider of the cluster's issuer.
    pub fn new(making: &ResourceContext<'_>) -> Self {
        Self { tags: making.tags(&key()), intervals: making.intervals }
    }
}

fn observed(arn: &str, seen: Detail) -> Observation<Detail> {
    Observation::ready(arn, "available", seen).output("arn", arn)
}

/// The ARN that IAM gives the provider of an issuer.
pub(super) fn arn(aws: &Session, issuer: &str) -> String {
    aws.iam_arn(&format!("oidc-provider/{}", issuer.trim_start_matches("https://")))
}

/// `None`: it is gone.
async fn describe(aws: &Session, arn: &str) -> Result<Option<Detail>, Failure> {
    let read = Instant::now();
    let request = aws.iam.get_open_id_connect_provider().open_id_connect_provider_arn(arn);
    match aws.call(Service::Iam, "GetOpenIDConnectProvider", arn, request.send()).await {
        Err(error) if error.class() == Class::NotFound => Ok(None),
        other => {
            let answer = other?;
            let audiences = answer.client_id_list().iter().cloned().collect();
            Ok(Some(Detail { audiences, tags: Tags::from_iam(answer.tags()), read }))
        }
    }
}

/// Tags of a provider; `None`: it is gone.
pub(super) async fn tags_of(aws: &Session, arn: &str) -> Result<Option<Tags>, Failure> {
    Ok(describe(aws, arn).await?.map(|seen| seen.tags))
}

async fn tag(cloud: &Cloud, seen: &Observation<Detail>, tags: Tags) -> Result<Observation<Detail>, Failure> {
    let mut detail = seen.detail.clone();
    let removed: Vec<String> = tags.removed().map(str::to_owned).collect();
    if !removed.is_empty() {
        let request = cloud.aws.iam.untag_open_id_connect_provider().open_id_connect_provider_arn(&seen.id);
        let request = request.set_tag_keys(Some(removed));
        cloud.aws.call(Service::Iam, "UntagOpenIDConnectProvider", &seen.id, request.send()).await?;
    }
    if !tags.is_empty() {
        let request = cloud
            .aws
            .iam
            .tag_open_id_connect_provider()
            .open_id_connect_provider_arn(&seen.id)
            .set_tags(Some(tags.to_iam()));
        cloud.aws.call(Service::Iam, "TagOpenIDConnectProvider", &seen.id, request.send()).await?;
    }
    detail.tags.apply(tags);
    Ok(observed(&seen.id, detail))
}

/// The one of `arns` that carries our tag: when the cluster is gone there is no issuer to tell its name. The list is older than
/// the answers: what is gone meanwhile is somebody else's.
async fn search(cloud: &Cloud, arns: &[String]) -> Result<Option<String>, Failure> {
    let eks = format!("oidc-provider/oidc.eks.{}.", cloud.aws.region);
    for arn in arns.iter().filter(|arn| arn.contains(&eks)) {
        if describe(&cloud.aws, arn).await?.is_some_and(|seen| seen.tags.is_owned_by(&cloud.owner.uid)) {
            return Ok(Some(arn.clone()));
        }
    }
    Ok(None)
}

#[async_trait]
impl Resource for OidcProvider {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key()
    }

    fn after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    /// The cluster's issuer is its name.
    fn observed_after(&self) -> Option<Key> {
        Some(cluster::key())
    }

    /// What runs in the cluster may need it to clean up after itself.
    fn holds(&self) -> Vec<Key> {
        Vec::new()
    }

    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("audience", AUDIENCE.into())]
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.shared()
    }

    /// Once the cluster is gone, the record leads to it.
    fn records_create(&self) -> bool {
        true
    }

    fn diff(&self, seen: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let mut changes = tag_changes(&self.tags, &seen.detail.tags);
        let audiences = &seen.detail.audiences;
        if !audiences.contains(AUDIENCE) {
            let there = audiences.iter().cloned().collect::<Vec<_>>().join(", ");
            // Not a right of the operator's: with it, a stolen credential could open roles to tokens that are meant for others.
            let why = format!(
                "somebody took it away, and IAM roles for service accounts need it: aws iam \
                 add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {} --client-id {AUDIENCE}",
                seen.id
            );
            changes.push(Change::forbidden("audiences", there, AUDIENCE, why));
        }
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let issuer = refs.output(&cluster::key(), "oidcIssuer");
        let wanted = issuer.map(|issuer| arn(&cloud.aws, issuer)).or_else(|| options.recorded_id.clone());
        // Without an issuer and a record there is no proof: a tag alone is anybody's.
        if wanted.is_none() && (options.goal == Goal::Present || !options.recorded) {
            return Ok(Presence::Absent);
        }
        let all = cloud.aws.snapshots.oidc_providers(fresh(options)).await?;
        let found = match wanted {
            Some(arn) => all.contains(&arn).then_some(arn),
            None => search(cloud, &all).await?,
        };
        let Some(arn) = found else { return Ok(Presence::Absent) };
        let believed =
            |last: &&Observation<Detail>| last.id == arn && last.detail.read.elapsed() < self.intervals.slow().interval;
        let seen = match last.filter(believed) {
            Some(last) => last.detail.clone(),
            None => match describe(&cloud.aws, &arn).await? {
                Some(seen) => seen,
                None => return Ok(Presence::Absent),
            },
        };
        let tags = seen.tags.clone();
        Ok(match Ownership::of(&tags, &cloud.owner.uid) {
            Ownership::Ours => Presence::Ours(observed(&arn, seen)),
            // It came with the cluster that is taken over.
            Ownership::Unowned if cloud.adoption.allows(&cloud.owner, &tags) => Presence::Unowned(observed(&arn, seen)),
            // Made by hand for our cluster's issuer: it does the job, and is not ours to delete.
            Ownership::Unowned | Ownership::Other { .. } => Presence::External(observed(&arn, seen)),
        })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let issuer = refs.need(&cluster::key(), "oidcIssuer")?;
        let request = cloud
            .aws
            .iam
            .create_open_id_connect_provider()
            .url(issuer)
            .client_id_list(AUDIENCE)
            .set_tags(Some(self.tags.to_iam()));
        let answer = cloud.aws.call(Service::Iam, "CreateOpenIDConnectProvider", issuer, request.send()).await;
        let answer = match answer {
            Err(error) if error.class() == Class::Conflict => {
                return Err(Failure::new(Class::NoChange, error.to_string()));
            }
            other => other?,
        };
        let made = answer.open_id_connect_provider_arn.unwrap_or_else(|| arn(&cloud.aws, issuer));
        let audiences = BTreeSet::from([AUDIENCE.to_owned()]);
        Ok(observed(&made, Detail { audiences, tags: self.tags.clone(), read: Instant::now() }))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        seen: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        tag(cloud, seen, changed_tags(changes)).await
    }

    async fn delete(&self, cloud: &Cloud, seen: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.iam.delete_open_id_connect_provider().open_id_connect_provider_arn(&seen.id);
        cloud.aws.call(Service::Iam, "DeleteOpenIDConnectProvider", &seen.id, request.send()).await?;
        Ok(Presence::Absent)
    }

    async fn adopt(&self, cloud: &Cloud, seen: &Observation<Detail>) -> Result<Observation<Detail>, Failure> {
        tag(cloud, seen, self.tags.ownership()).await
    }

    async fn release(&self, cloud: &Cloud, seen: &Observation<Detail>) -> Result<(), Failure> {
        let request = cloud.aws.iam.untag_open_id_connect_provider().open_id_connect_provider_arn(&seen.id);
        let request = request.set_tag_keys(Some(ownership::released_keys()));
        cloud.aws.call(Service::Iam, "UntagOpenIDConnectProvider", &seen.id, request.send()).await?;
        Ok(())
    }
}
