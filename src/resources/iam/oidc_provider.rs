//! The IAM OIDC provider for the cluster's issuer, for IAM roles for service accounts.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/enable-iam-roles-for-service-accounts.html>.

use std::collections::BTreeSet;
use std::time::Instant;

use async_trait::async_trait;

use crate::aws::tags::{Ownership, Tags};
use crate::aws::{MaxStaleness, Service, Session};
use crate::engine::{
    Change, Class, Failure, Goal, Key, Observation, ObserveOptions, PollPolicy, Presence, Refs, Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, changed_tags, max_staleness, tag_changes};
use crate::resources::eks::cluster;
use crate::resources::graph::adoption::Adoption;
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::tag_calls::{Handle, OwnerTags};

/// Its row in the table of kinds.
pub const KIND: Kind =
    Kind::new("oidcProvider", "OIDC provider", Area::ControlPlane).by_record().removable().after_nodes().with_actions(
        &[
            "iam:CreateOpenIDConnectProvider",
            "iam:DeleteOpenIDConnectProvider",
            "iam:GetOpenIDConnectProvider",
            "iam:ListOpenIDConnectProviders",
            "iam:TagOpenIDConnectProvider",
            "iam:UntagOpenIDConnectProvider",
        ],
    );

/// The audience of the provider's tokens.
const AUDIENCE: &str = "sts.amazonaws.com";

/// The provider for the cluster's issuer.
pub struct OidcProvider {
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of a provider. Thumbprints are not compared: AWS uses its own list of authorities for EKS's
/// issuers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    audiences: BTreeSet<String>,
    tags: Tags,
    /// When it was read. Each provider costs a call, so the result is cached for a while.
    read: Instant,
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

impl OidcProvider {
    /// Creates the resource for the cluster's issuer.
    pub fn new(context: &ResourceContext<'_>) -> Self {
        Self { tags: context.tags(&key()), intervals: context.intervals }
    }
}

fn to_observation(arn: &str, observed: Detail) -> Observation<Detail> {
    Observation::ready(arn, "available", observed).output("arn", arn)
}

/// The ARN that IAM gives the provider of an issuer.
pub(crate) fn arn(aws: &Session, issuer: &str) -> String {
    aws.iam_arn(&format!("oidc-provider/{}", issuer.trim_start_matches("https://")))
}

/// `None` if it does not exist.
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

/// Tags of a provider; `None` if it does not exist.
pub(crate) async fn tags_of(aws: &Session, arn: &str) -> Result<Option<Tags>, Failure> {
    Ok(describe(aws, arn).await?.map(|observed| observed.tags))
}

/// The one of `arns` that carries our tag: after the cluster is deleted, no issuer leads to its name. A provider
/// deleted since the list was read was not ours.
async fn search(cloud: &Cloud, arns: &[String]) -> Result<Option<String>, Failure> {
    let eks = format!("oidc-provider/oidc.eks.{}.", cloud.aws.region);
    for arn in arns.iter().filter(|arn| arn.contains(&eks)) {
        if describe(&cloud.aws, arn).await?.is_some_and(|observed| observed.tags.is_owned_by(&cloud.owner.uid)) {
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

    /// The cluster's issuer identifies the provider.
    fn observed_after(&self) -> Option<Key> {
        Some(cluster::key())
    }

    /// Workloads in the cluster may need it until they are deleted.
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

    /// After the cluster is deleted, the record identifies it.
    fn records_create(&self) -> bool {
        true
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::new(Handle::OidcProvider(observed.id.clone()), &observed.id, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let mut changes = tag_changes(&self.tags, &observed.detail.tags);
        let audiences = &observed.detail.audiences;
        if !audiences.contains(AUDIENCE) {
            let current = audiences.iter().cloned().collect::<Vec<_>>().join(", ");
            // Not a permission of the operator: a stolen credential could then open roles to tokens meant for others.
            let why = format!(
                "the audience was removed, and IAM roles for service accounts need it: aws iam \
                 add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {} --client-id {AUDIENCE}",
                observed.id
            );
            changes.push(Change::forbidden("audiences", current, AUDIENCE, why));
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
        // Without an issuer and a record there is no proof: anybody can write a tag.
        if wanted.is_none() && (options.goal == Goal::Present || !options.recorded) {
            return Ok(Presence::Absent);
        }
        let mut all = cloud.aws.snapshots.oidc_providers(max_staleness(options)).await?;
        // The list may be older than the provider of a cluster that others created.
        let may_be_adopted =
            options.goal == Goal::Present && !options.recorded && cloud.adoption != Adoption::Forbidden;
        if may_be_adopted && wanted.as_ref().is_some_and(|arn| !all.contains(arn)) {
            all = cloud.aws.snapshots.oidc_providers(MaxStaleness::now()).await?;
        }
        let found = match wanted {
            Some(arn) => all.contains(&arn).then_some(arn),
            None => search(cloud, &all).await?,
        };
        let Some(arn) = found else { return Ok(Presence::Absent) };
        let is_cached =
            |last: &&Observation<Detail>| last.id == arn && last.detail.read.elapsed() < self.intervals.slow().interval;
        let observed = match last.filter(is_cached) {
            Some(last) => last.detail.clone(),
            None => match describe(&cloud.aws, &arn).await? {
                Some(observed) => observed,
                None => return Ok(Presence::Absent),
            },
        };
        let tags = observed.tags.clone();
        Ok(match Ownership::of(&tags, &cloud.owner.uid) {
            Ownership::Ours => Presence::Ours(to_observation(&arn, observed)),
            // It belongs to the cluster that is adopted.
            Ownership::Unowned if cloud.adoption.allows(&cloud.owner, &tags) => {
                Presence::Unowned(to_observation(&arn, observed))
            }
            // Created by others for our cluster's issuer: usable, but not ours to delete.
            Ownership::Unowned | Ownership::Other { .. } => Presence::External(to_observation(&arn, observed)),
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
                return Err(Failure::of(Class::NoChange, error));
            }
            other => other?,
        };
        let arn = answer.open_id_connect_provider_arn.unwrap_or_else(|| arn(&cloud.aws, issuer));
        let audiences = BTreeSet::from([AUDIENCE.to_owned()]);
        Ok(to_observation(&arn, Detail { audiences, tags: self.tags.clone(), read: Instant::now() }))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let (handle, mut detail) = (Handle::OidcProvider(observed.id.clone()), observed.detail.clone());
        cloud.tag(&handle, &observed.id, &mut detail.tags, changed_tags(changes)).await?;
        Ok(to_observation(&observed.id, detail))
    }

    /// Its tags are read again only after a while.
    async fn adopt(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Observation<Detail>, Failure> {
        let (handle, mut detail) = (Handle::OidcProvider(observed.id.clone()), observed.detail.clone());
        cloud.tag(&handle, &observed.id, &mut detail.tags, self.tags.ownership()).await?;
        Ok(to_observation(&observed.id, detail))
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        let request = cloud.aws.iam.delete_open_id_connect_provider().open_id_connect_provider_arn(&observed.id);
        cloud.aws.call(Service::Iam, "DeleteOpenIDConnectProvider", &observed.id, request.send()).await?;
        Ok(Presence::Absent)
    }
}
