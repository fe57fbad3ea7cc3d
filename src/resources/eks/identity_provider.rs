//! The OIDC identity provider whose tokens the cluster's API accepts. A cluster has one at most.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/authenticate-oidc-identity-provider.html>. EKS associates and disassociates it
//! with an update of the cluster, in which it changes nothing else of it, and cannot change it: [`crate::resources::deletion::removals`]
//! disassociates one that the spec no longer asks for, and only then another one is associated. If an association fails, EKS forgets the
//! provider, and only DescribeUpdate says why.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eks::types::{ConfigStatus, IdentityProviderConfig, OidcIdentityProviderConfig as Config};

use super::cluster;
use super::identity_provider_settings as settings;
use super::lists::{all_pages, if_exists};
use super::updates::{self, UpdateTarget};
use crate::api::identity_provider::OidcIdentityProvider as DesiredProvider;
use crate::aws::tags::Tags;
use crate::aws::{AwsError, Service, Session};
use crate::engine::{
    Action, Change, Class, Failure, Goal, Key, Observation, ObserveOptions, Operation, Phase, PollPolicy, Presence,
    Recreate, Refs, Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, arn, changed_tags, tag_changes};
use crate::resources::graph::kind::{Area, InCluster, Kind, Removal};
use crate::resources::graph::ownership;
use crate::resources::graph::proof;
use crate::resources::tag_calls::OwnerTags;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("identityProvider", "OIDC identity provider", Area::ControlPlane)
    .in_cluster(InCluster {
        parameter: Some("identityProviderConfigName"),
        arn_type: "identityproviderconfig",
        pruning: None,
    })
    .removed_by(Removal {
        field: "access.oidcIdentityProvider",
        can_coexist: |_, _| false,
        delete: |aws, cluster, name| Box::pin(disassociate(aws, cluster, name)),
    })
    .after_nodes()
    .with_actions(&[
        "eks:AssociateIdentityProviderConfig",
        "eks:DescribeIdentityProviderConfig",
        "eks:DescribeUpdate",
        "eks:DisassociateIdentityProviderConfig",
        "eks:ListIdentityProviderConfigs",
        "eks:ListUpdates",
        "eks:TagResource",
        "eks:UntagResource",
    ]);

/// How long each takes: reports say 15 to 24 minutes.
pub(crate) const EXPECTED: Duration = Duration::from_secs(1020);

/// The identity provider of a cluster.
pub struct IdentityProvider {
    cluster: String,
    name: String,
    /// `None` for one of an earlier spec: it goes with the cluster.
    wanted: Option<DesiredProvider>,
    /// What is created first, since EKS creates nothing in the cluster while it associates a provider.
    after: Vec<Key>,
    /// What removes another one first.
    removal: Option<Key>,
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The settings, by the field of the spec.
    settings: BTreeMap<&'static str, String>,
    tags: Tags,
}

/// The key in the graph.
pub fn key(name: &str) -> Key {
    KIND.named(name)
}

impl IdentityProvider {
    /// The provider of the spec, which is associated after `after`, and after `removal` has removed another one.
    pub(crate) fn new(
        context: &ResourceContext<'_>,
        wanted: &DesiredProvider,
        after: Vec<Key>,
        removal: Option<Key>,
    ) -> Self {
        Self { wanted: Some(wanted.clone()), after, removal, ..Self::earlier(context, &wanted.name) }
    }

    /// One of an earlier spec, which goes with the cluster.
    pub(crate) fn earlier(context: &ResourceContext<'_>, name: &str) -> Self {
        Self {
            cluster: context.cluster_name.into(),
            name: name.to_owned(),
            wanted: None,
            after: Vec::new(),
            removal: None,
            tags: context.tags(&key(name)),
            intervals: context.intervals,
        }
    }

    fn what(&self) -> String {
        format!("identity provider {} of cluster {}", self.name, self.cluster)
    }

    /// One of another name that is not this object's: EKS takes no second one.
    async fn other(&self, cloud: &Cloud) -> Result<Option<Presence<Detail>>, Failure> {
        let others = names(&cloud.aws, &self.cluster).await?.into_iter().filter(|name| *name != self.name);
        for name in others {
            let Some(config) = describe(&cloud.aws, &self.cluster, &name).await? else { continue };
            // It is gone soon, or removed first.
            let is_ours = Tags::from_eks(config.tags()).is_owned_by(&cloud.owner.uid);
            if config.status() == Some(&ConfigStatus::Deleting) || is_ours && self.removal.is_some() {
                continue;
            }
            return Ok(Some(Presence::Foreign(if is_ours {
                proof::describe_unproven(&cloud.owner, &format!("identity provider {name}"))
            } else {
                format!(
                    "cluster {} has the identity provider {name}, which this object does not own, and EKS takes one for a \
                     cluster: remove access.oidcIdentityProvider, or disassociate the other one (aws eks \
                     disassociate-identity-provider-config --cluster-name {} --identity-provider-config type=oidc,name={name})",
                    self.cluster, self.cluster
                )
            })));
        }
        Ok(None)
    }

    /// The observation of one that EKS does not know (any more): why the association `id` failed, if it did.
    async fn failed_association(&self, cloud: &Cloud, id: &str) -> Result<Option<Observation<Detail>>, Failure> {
        let target = UpdateTarget::Cluster(&self.cluster);
        let Some(failed) = updates::failure_of(cloud, target, id).await? else { return Ok(None) };
        let phase = Phase::Failed {
            reason: format!(
                "{} EKS could not associate the identity provider: check that it reaches issuerUrl from the internet, and set \
                 the annotation {} to a new value to try again",
                failed.failure.message,
                crate::api::RECONCILE_AT_ANNOTATION
            ),
            class: Class::Unknown,
            recreate: Recreate::OnRequest,
        };
        let observed = Observation::ready(&self.name, FAILED, Detail::default()).phase(phase);
        Ok(Some(Observation { failed_operation: Some(failed), ..observed }))
    }
}

fn to_observation(config: &Config) -> Observation<Detail> {
    let status = config.status().map_or("CREATING", ConfigStatus::as_str);
    let busy = |action| Phase::Busy { action, since: None, note: String::new() };
    let phase = match config.status() {
        Some(ConfigStatus::Active) => Phase::Ready,
        Some(ConfigStatus::Deleting) => busy(Action::Delete),
        _ => busy(Action::Create),
    };
    let settings = settings::observed(config);
    let detail = Detail { settings, tags: Tags::from_eks(config.tags()) };
    Observation::ready(config.identity_provider_config_name().unwrap_or_default(), status, detail)
        .phase(phase)
        .output("arn", config.identity_provider_config_arn().unwrap_or_default())
}

/// The name as EKS's calls take it, which fail without it.
fn named(name: &str) -> Option<IdentityProviderConfig> {
    IdentityProviderConfig::builder().r#type("oidc").name(name).build().ok()
}

/// The provider with that name; `None` if it does not exist.
pub(crate) async fn describe(aws: &Session, cluster: &str, name: &str) -> Result<Option<Config>, AwsError> {
    let request =
        aws.eks.describe_identity_provider_config().cluster_name(cluster).set_identity_provider_config(named(name));
    let answer = if_exists(aws.call(Service::Eks, "DescribeIdentityProviderConfig", name, request.send()).await)?;
    Ok(answer.and_then(|answer| answer.identity_provider_config).and_then(|config| config.oidc))
}

/// The names of the cluster's providers: one at most.
pub(crate) async fn names(aws: &Session, cluster: &str) -> Result<Vec<String>, AwsError> {
    let list = || aws.eks.list_identity_provider_configs().cluster_name(cluster);
    let all = all_pages!(aws, cluster, "ListIdentityProviderConfigs", list(), identity_provider_configs);
    Ok(all.into_iter().map(|config| config.name).collect())
}

/// Whether EKS disassociates it already, and its tags; `None` if it does not exist.
pub(crate) async fn removal_state(aws: &Session, cluster: &str, name: &str) -> Result<Option<(bool, Tags)>, AwsError> {
    let found = describe(aws, cluster, name).await?;
    Ok(found.map(|config| (config.status() == Some(&ConfigStatus::Deleting), Tags::from_eks(config.tags()))))
}

async fn disassociate(aws: &Session, cluster: &str, name: &str) -> Result<(), AwsError> {
    let request =
        aws.eks.disassociate_identity_provider_config().cluster_name(cluster).set_identity_provider_config(named(name));
    aws.call(Service::Eks, "DisassociateIdentityProviderConfig", name, request.send()).await.map(drop)
}

/// The state of one whose association failed; EKS has no name for it.
const FAILED: &str = "ASSOCIATION_FAILED";

#[async_trait]
impl Resource for IdentityProvider {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.name)
    }

    fn after(&self) -> Vec<Key> {
        [cluster::key()].iter().chain(&self.removal).chain(&self.after).cloned().collect()
    }

    /// Writes only tags.
    fn adopted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn inside(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn deleted_with(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let shown = ["issuerUrl", "clientId", "usernameClaim", "groupsClaim"];
        let all = self.wanted.iter().flat_map(settings::desired);
        all.filter(|(field, _)| shown.contains(field)).collect()
    }

    fn expected(&self, action: Action) -> Duration {
        match action {
            Action::Create | Action::Delete => EXPECTED,
            Action::Update | Action::Adopt | Action::Release => Duration::from_secs(1),
        }
    }

    fn expected_operation(&self, _: &str) -> Duration {
        EXPECTED
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    /// What is on record is removed when the spec no longer asks for it, though the answer to its creation was lost.
    fn records_create(&self) -> bool {
        true
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_eks(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let Detail { settings, tags } = &observed.detail;
        let mut changes = tag_changes(&self.tags, tags);
        for (field, wanted) in self.wanted.iter().flat_map(settings::desired) {
            let current = settings.get(field).cloned().unwrap_or_default();
            if current != wanted {
                let why = "EKS does not change an identity provider: put the old value back, or remove \
                           access.oidcIdentityProvider, wait until status.resources has no identityProvider, and add it again";
                changes.push(Change::forbidden(format!("access.oidcIdentityProvider.{field}"), current, wanted, why));
            }
        }
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let operation = last.and_then(|last| last.operation.clone());
        let failed = last.and_then(|last| last.failed_operation.as_ref()).map(|failed| failed.id.clone());
        let known = operation.as_ref().map(|operation| operation.id.clone()).or(failed);
        let known = known.or_else(|| options.recorded_operation.clone());
        let Some(config) = describe(&cloud.aws, &self.cluster, &self.name).await? else {
            if options.goal != Goal::Present {
                return Ok(Presence::Absent);
            }
            if let Some(id) = known
                && let Some(failed) = self.failed_association(cloud, &id).await?
            {
                return Ok(Presence::Ours(failed));
            }
            return Ok(self.other(cloud).await?.unwrap_or(Presence::Absent));
        };
        let mut observed = to_observation(&config);
        if let (Phase::Busy { action: Action::Create, .. }, Some(id)) = (&observed.phase, known) {
            let operation = operation.unwrap_or(Operation { id, kind: updates::ASSOCIATION.into(), since: None });
            observed.operation = Some(operation);
        }
        let tags = observed.detail.tags.clone();
        Ok(ownership::presence(cloud, &tags, observed, || self.what()))
    }

    /// Without a client token: EKS takes one provider for a cluster, so nothing is created twice, and with a token a repetition after
    /// a removal would be answered with the first update.
    async fn create(&self, cloud: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        let Some(wanted) = &self.wanted else {
            return Err(Failure::invalid(format!("{} is of an earlier spec: it is not created", self.what())));
        };
        let (name, oidc) = (&self.name, settings::request(wanted)?);
        let request = cloud
            .aws
            .eks
            .associate_identity_provider_config()
            .cluster_name(&self.cluster)
            .oidc(oidc)
            .set_tags(Some(self.tags.to_eks()));
        let answer = match cloud.aws.call(Service::Eks, "AssociateIdentityProviderConfig", name, request.send()).await {
            // It exists already, by an attempt whose response was lost or by hand: the next observation picks it up.
            Err(error) if error.class() == Class::Conflict => return Err(Failure::of(Class::NoChange, error)),
            other => other?,
        };
        let detail = Detail { settings: settings::desired(wanted), tags: self.tags.clone() };
        let phase = Phase::Busy { action: Action::Create, since: None, note: String::new() };
        let observed = Observation::ready(name, "CREATING", detail).phase(phase);
        Ok(Observation { operation: answer.update.as_ref().map(updates::operation), ..observed })
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let mut detail = observed.detail.clone();
        cloud.tag_eks(arn(observed), &mut detail.tags, changed_tags(changes)).await?;
        Ok(Observation { detail, ..observed.clone() })
    }

    async fn delete(&self, cloud: &Cloud, observed: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        if observed.state == FAILED {
            return Ok(Presence::Absent);
        }
        disassociate(&cloud.aws, &self.cluster, &self.name).await?;
        let phase = Phase::Busy { action: Action::Delete, since: None, note: String::new() };
        Ok(Presence::Ours(Observation { state: "DELETING".into(), ..observed.clone() }.phase(phase)))
    }
}

#[cfg(test)]
#[path = "identity_provider_tests.rs"]
mod tests;
