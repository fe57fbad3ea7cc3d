//! The IAM OIDC provider of the cluster's issuer, for IAM roles for service accounts.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/enable-iam-roles-for-service-accounts.html>.

use async_trait::async_trait;

use super::cloud::{Cloud, Intervals, Making, changed_tags, fresh, tag_changes};
use super::cluster;
use super::ownership;
use crate::aws::tags::{Ownership, Tags};
use crate::aws::{Service, Session};
use crate::engine::{Change, Class, Failure, Goal, Key, Look, Observed, Presence, Refs, Resource, Rest};

/// Who may ask for credentials with the provider's tokens.
const AUDIENCE: &str = "sts.amazonaws.com";

/// The provider of the cluster's issuer.
pub struct OidcProvider {
    tags: Tags,
    intervals: Intervals,
}

/// Its tags are all that can differ.
pub type Seen = Tags;

/// Its name in the graph.
pub fn key() -> Key {
    Key::single("oidcProvider")
}

impl OidcProvider {
    /// The provider of the cluster's issuer.
    pub fn new(making: &Making<'_>) -> Self {
        Self { tags: making.tags(&key()), intervals: making.intervals }
    }
}

fn observed(arn: &str, tags: Tags) -> Observed<Seen> {
    Observed::ready(arn, "available", tags).output("arn", arn)
}

/// The ARN that IAM gives the provider of an issuer.
pub(super) fn arn(aws: &Session, issuer: &str) -> String {
    aws.iam_arn(&format!("oidc-provider/{}", issuer.trim_start_matches("https://")))
}

/// `None`: it is gone.
pub(super) async fn tags_of(aws: &Session, arn: &str) -> Result<Option<Tags>, Failure> {
    let request = aws.iam.get_open_id_connect_provider().open_id_connect_provider_arn(arn);
    match aws.call(Service::Iam, "GetOpenIDConnectProvider", arn, request.send()).await {
        Err(error) if error.class() == Class::Gone => Ok(None),
        other => Ok(Some(Tags::from_iam(other?.tags()))),
    }
}

async fn tag(cloud: &Cloud, seen: &Observed<Seen>, tags: Tags) -> Result<Observed<Seen>, Failure> {
    let mut all = seen.detail.clone();
    if !tags.is_empty() {
        let request = cloud
            .aws
            .iam
            .tag_open_id_connect_provider()
            .open_id_connect_provider_arn(&seen.id)
            .set_tags(Some(tags.to_iam()));
        cloud.aws.call(Service::Iam, "TagOpenIDConnectProvider", &seen.id, request.send()).await?;
        all.extend(tags);
    }
    Ok(observed(&seen.id, all))
}

/// The one of `arns` that carries our tag: when the cluster is gone there is no issuer to tell its name. The list is older than
/// the answers: what is gone meanwhile is somebody else's.
async fn search(cloud: &Cloud, arns: &[String]) -> Result<Option<String>, Failure> {
    let eks = format!("oidc-provider/oidc.eks.{}.", cloud.aws.region);
    for arn in arns.iter().filter(|arn| arn.contains(&eks)) {
        if tags_of(&cloud.aws, arn).await?.is_some_and(|tags| tags.is_owned_by(&cloud.owner.uid)) {
            return Ok(Some(arn.clone()));
        }
    }
    Ok(None)
}

#[async_trait]
impl Resource for OidcProvider {
    type Cloud = Cloud;
    type Seen = Seen;

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

    fn rest(&self) -> Rest {
        self.intervals.shared()
    }

    /// Once the cluster is gone, the record leads to it.
    fn records_create(&self) -> bool {
        true
    }

    fn diff(&self, seen: &Observed<Seen>, _: &Refs) -> Vec<Change> {
        tag_changes(&self.tags, &seen.detail)
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        look: &Look,
        last: Option<&Observed<Seen>>,
    ) -> Result<Presence<Seen>, Failure> {
        let issuer = refs.output(&cluster::key(), "oidcIssuer");
        let wanted = issuer.map(|issuer| arn(&cloud.aws, issuer)).or_else(|| look.recorded_id.clone());
        // Without an issuer and a record there is no proof: a tag alone is anybody's.
        if wanted.is_none() && (look.goal == Goal::Present || !look.recorded) {
            return Ok(Presence::Absent);
        }
        let all = cloud.aws.snapshots.oidc_providers(fresh(look)).await?;
        let found = match wanted {
            Some(arn) => all.contains(&arn).then_some(arn),
            None => search(cloud, &all).await?,
        };
        let Some(arn) = found else { return Ok(Presence::Absent) };
        // The list has no tags, and they cost a call for each provider: what was seen once is believed.
        let tags = match last.filter(|last| last.id == arn) {
            Some(last) => last.detail.clone(),
            None => match tags_of(&cloud.aws, &arn).await? {
                Some(tags) => tags,
                None => return Ok(Presence::Absent),
            },
        };
        Ok(match Ownership::of(&tags, &cloud.owner.uid) {
            Ownership::Ours => Presence::Ours(observed(&arn, tags)),
            // It came with the cluster that is taken over.
            Ownership::Nobody if cloud.adoption.allows(&cloud.owner, &tags) => {
                Presence::Unclaimed(observed(&arn, tags))
            }
            // Made by hand for our cluster's issuer: it does the job, and is not ours to delete.
            Ownership::Nobody | Ownership::Other { .. } => Presence::Borrowed(observed(&arn, tags)),
        })
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observed<Seen>, Failure> {
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
        Ok(observed(&made, self.tags.clone()))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        seen: &Observed<Seen>,
        changes: &[Change],
    ) -> Result<Observed<Seen>, Failure> {
        tag(cloud, seen, changed_tags(changes)).await
    }

    async fn delete(&self, cloud: &Cloud, seen: &Observed<Seen>) -> Result<Presence<Seen>, Failure> {
        let request = cloud.aws.iam.delete_open_id_connect_provider().open_id_connect_provider_arn(&seen.id);
        cloud.aws.call(Service::Iam, "DeleteOpenIDConnectProvider", &seen.id, request.send()).await?;
        Ok(Presence::Absent)
    }

    async fn adopt(&self, cloud: &Cloud, seen: &Observed<Seen>) -> Result<Observed<Seen>, Failure> {
        tag(cloud, seen, self.tags.ownership()).await
    }

    async fn release(&self, cloud: &Cloud, seen: &Observed<Seen>) -> Result<(), Failure> {
        let request = cloud.aws.iam.untag_open_id_connect_provider().open_id_connect_provider_arn(&seen.id);
        let request = request.set_tag_keys(Some(ownership::released_keys()));
        cloud.aws.call(Service::Iam, "UntagOpenIDConnectProvider", &seen.id, request.send()).await?;
        Ok(())
    }
}
