//! A Fargate profile: which Pods run on Fargate, in the cluster's private subnets.
//!
//! See <https://docs.aws.amazon.com/eks/latest/userguide/fargate-profile.html>. EKS creates and deletes one profile of
//! a cluster at a time, so each waits for the previous one in the list. [`crate::resources::deletion::prune`] deletes profiles that the spec
//! no longer lists.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eks::types::{FargateProfile as Profile, FargateProfileSelector, FargateProfileStatus};
use jiff::Timestamp;
use serde::Deserialize;

use super::cluster;
use super::control_plane_zones::subnets_in_valid_zones;
use super::health_issues;
use crate::api::RECONCILE_AT_ANNOTATION;
use crate::api::addons::{FargateProfile as DesiredProfile, FargateSelector};
use crate::aws::errors::health::{Subject, explain, failed_class};
use crate::aws::tags::Tags;
use crate::aws::{AwsError, Service};
use crate::engine::{
    Action, Change, Class, Failure, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Recreate, Refs,
    Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext, arn, changed_tags, tag_changes};
use crate::resources::deletion::pruning;
use crate::resources::graph::kind::{Area, InCluster, Kind};
use crate::resources::graph::ownership;
use crate::resources::iam::role::{self, Purpose};
use crate::resources::network::subnet;
use crate::resources::tag_calls::OwnerTags;

/// The row in the table of kinds.
pub const KIND: Kind = Kind::new("fargateProfile", "Fargate profile", Area::ControlPlane)
    .in_cluster(InCluster {
        parameter: Some("fargateProfileName"),
        arn_type: "fargateprofile",
        pruning: Some(("CreateFargateProfile", &pruning::FARGATE_PROFILES)),
    })
    .after_nodes()
    .with_actions(&[
        "eks:CreateFargateProfile",
        "eks:DeleteFargateProfile",
        "eks:DescribeFargateProfile",
        "eks:TagResource",
        "eks:UntagResource",
    ]);

/// A profile from the spec.
pub struct FargateProfile {
    cluster: String,
    wanted: DesiredProfile,
    /// The resources that provide the private subnets: own subnets, or the existing network.
    network: Vec<Key>,
    /// The previous profile in the list.
    previous: Option<Key>,
    tags: Tags,
    intervals: Intervals,
}

/// What Keelson observes of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    selectors: Vec<FargateSelector>,
    role_arn: String,
    subnets: Vec<String>,
    tags: Tags,
}

/// The key in the graph.
pub fn key(name: &str) -> Key {
    KIND.named(name)
}

/// A subnet in the output of an existing network.
#[derive(Deserialize)]
struct ExistingSubnet {
    id: String,
    zone: String,
    tier: String,
}

/// What to do when Fargate runs in no zone of the network.
const NO_FARGATE: &str = "use a network with private subnets in one of the available zones, or remove the profile";

impl FargateProfile {
    /// A profile of the cluster in the private subnets of `network`. `previous` is created, and deleted, first.
    pub fn new(
        context: &ResourceContext<'_>,
        wanted: &DesiredProfile,
        network: Vec<Key>,
        previous: Option<Key>,
    ) -> Self {
        let tags = context.tags(&key(&wanted.name));
        let (cluster, intervals) = (context.cluster_name.into(), context.intervals);
        Self { cluster, wanted: wanted.clone(), network, previous, tags, intervals }
    }

    /// The key of the role that Keelson creates; `None`: the spec names one.
    fn own_role(&self) -> Option<Key> {
        self.wanted.pod_execution_role_arn.is_none().then(|| role::key(Purpose::Fargate))
    }

    fn subnet_ids(&self, refs: &Refs) -> Result<Vec<String>, Failure> {
        if let Some(ids) = &self.wanted.subnet_ids {
            return Ok(ids.clone());
        }
        let mut ids = Vec::new();
        for key in &self.network {
            match refs.output(key, "subnets") {
                Some(several) => ids.extend(private_subnet_ids(several)),
                None => ids.push(refs.id(key)?.to_owned()),
            }
        }
        if ids.is_empty() {
            let name = &self.wanted.name;
            return Err(Failure::invalid(format!(
                "Fargate profile {name} needs a private subnet, and network.existing has none (a subnet that gives \
                 its instances public addresses is not private): add one, or remove the profile"
            )));
        }
        Ok(ids)
    }

    /// The zone of each subnet of the network, by id.
    fn zones_of(&self, refs: &Refs) -> BTreeMap<String, String> {
        let mut zones = BTreeMap::new();
        for key in &self.network {
            if let (Some(id), Some((_, zone))) = (refs.get(key), subnet::zone_of(key)) {
                zones.insert(id.to_owned(), zone.to_owned());
            }
            let existing = refs.output(key, "subnets").unwrap_or_default();
            let existing: Vec<ExistingSubnet> = serde_json::from_str(existing).unwrap_or_default();
            zones.extend(existing.into_iter().map(|subnet| (subnet.id, subnet.zone)));
        }
        zones
    }

    async fn request_create(
        &self,
        cloud: &Cloud,
        role: &str,
        subnets: Vec<String>,
    ) -> Result<Observation<Detail>, AwsError> {
        let name = &self.wanted.name;
        let request = cloud
            .aws
            .eks
            .create_fargate_profile()
            .cluster_name(&self.cluster)
            .fargate_profile_name(name)
            .pod_execution_role_arn(role)
            .set_subnets(Some(subnets))
            .set_selectors(Some(self.selectors()))
            .set_tags(Some(self.tags.to_eks()));
        let answer = cloud.aws.call(Service::Eks, "CreateFargateProfile", name, request.send()).await?;
        let profile = answer.fargate_profile.unwrap_or_else(|| Profile::builder().fargate_profile_name(name).build());
        Ok(to_observation(&profile))
    }

    fn selectors(&self) -> Vec<FargateProfileSelector> {
        let selector = |wanted: &FargateSelector| {
            let labels = wanted.labels.clone().into_iter().collect();
            FargateProfileSelector::builder().namespace(&wanted.namespace).set_labels(Some(labels)).build()
        };
        self.wanted.selectors.iter().map(selector).collect()
    }
}

/// Ids of the private subnets.
fn private_subnet_ids(listed: &str) -> Vec<String> {
    let all: Vec<ExistingSubnet> = serde_json::from_str(listed).unwrap_or_default();
    all.into_iter().filter(|subnet| subnet.tier == "Private").map(|subnet| subnet.id).collect()
}

fn to_observation(profile: &Profile) -> Observation<Detail> {
    let name = profile.fargate_profile_name().unwrap_or_default();
    let status = profile.status().map_or("CREATING", FargateProfileStatus::as_str);
    let since = profile.created_at().and_then(|at| Timestamp::from_second(at.secs()).ok());
    let issues = profile.health().map(|found| health_issues::reported(found.issues())).unwrap_or_default();
    let note = explain(Subject::FargateProfile, &issues).trim_end_matches('.').to_owned();
    let class = failed_class(Subject::FargateProfile, &issues);
    let phase = match profile.status() {
        Some(FargateProfileStatus::Active) => Phase::Ready,
        Some(FargateProfileStatus::Deleting) => Phase::Busy { action: Action::Delete, since: None, note },
        Some(FargateProfileStatus::CreateFailed) => Phase::Failed {
            reason: format!(
                "{status}: {note}; fix the cause, then set the annotation {RECONCILE_AT_ANNOTATION} to a new value: \
                 Keelson recreates the profile"
            ),
            class,
            // No Pod runs on it.
            recreate: Recreate::OnRequest,
        },
        Some(FargateProfileStatus::DeleteFailed) => {
            Phase::Failed { reason: format!("{status}: {note}"), class, recreate: Recreate::Never }
        }
        _ => Phase::Busy { action: Action::Create, since, note },
    };
    let selector = |selector: &FargateProfileSelector| FargateSelector {
        namespace: selector.namespace().unwrap_or_default().into(),
        labels: selector.labels().map(|labels| labels.clone().into_iter().collect()).unwrap_or_default(),
    };
    let detail = Detail {
        selectors: profile.selectors().iter().map(selector).collect(),
        role_arn: profile.pod_execution_role_arn().unwrap_or_default().to_owned(),
        subnets: profile.subnets().to_vec(),
        tags: Tags::from_eks(profile.tags()),
    };
    let observed = Observation::ready(name, status, detail)
        .phase(phase)
        .output("arn", profile.fargate_profile_arn().unwrap_or_default());
    Observation { issue_code: health_issues::first_code(&issues), ..observed }
}

/// "batch {fargate=true}, jobs-*", sorted.
fn format_selectors(selectors: &[FargateSelector]) -> String {
    let selector = |FargateSelector { namespace, labels }: &FargateSelector| {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if labels.is_empty() { namespace.clone() } else { format!("{namespace} {{{}}}", labels.join(", ")) }
    };
    let mut all: Vec<_> = selectors.iter().map(selector).collect();
    all.sort();
    all.join(", ")
}

#[async_trait]
impl Resource for FargateProfile {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key(&self.wanted.name)
    }

    fn after(&self) -> Vec<Key> {
        let network = self.network.iter().cloned();
        network.chain([cluster::key()]).chain(self.own_role()).chain(self.previous.clone()).collect()
    }

    fn inside(&self) -> Option<Key> {
        Some(cluster::key())
    }

    /// EKS does not delete a cluster that has profiles.
    fn holds(&self) -> Vec<Key> {
        [cluster::key()].into_iter().chain(self.own_role()).collect()
    }

    fn deleted_after(&self) -> Vec<Key> {
        self.previous.iter().cloned().collect()
    }

    fn deletable_while(&self, _: Action) -> bool {
        false
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let FargateProfile { wanted, .. } = self;
        let role = wanted.pod_execution_role_arn.iter().map(|arn| ("role", arn.clone()));
        let subnets = wanted.subnet_ids.iter().map(|ids| ("subnets", ids.join(", ")));
        [("selectors", format_selectors(&wanted.selectors))].into_iter().chain(role).chain(subnets).collect()
    }

    /// One to two minutes according to published measurements.
    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(90)
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.slow()
    }

    fn marker(&self, observed: &Observation<Detail>) -> Option<OwnerTags> {
        Some(OwnerTags::in_eks(observed, &self.tags))
    }

    fn diff(&self, observed: &Observation<Detail>, _: &Refs) -> Vec<Change> {
        let mut changes = tag_changes(&self.tags, &observed.detail.tags);
        let Detail { selectors, role_arn, subnets, tags: _ } = &observed.detail;
        let list =
            |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
        // A role or subnets that the spec does not name are EKS's to keep.
        let role = self.wanted.pod_execution_role_arn.clone().map(|wanted| (role_arn.clone(), wanted));
        let subnets = self.wanted.subnet_ids.as_ref().map(|wanted| (list(subnets), list(wanted)));
        let fixed = [
            ("selectors", Some((format_selectors(selectors), format_selectors(&self.wanted.selectors)))),
            ("podExecutionRoleArn", role),
            ("subnetIds", subnets),
        ];
        for (field, values) in fixed {
            let Some((current, wanted)) = values.filter(|(current, wanted)| current != wanted) else { continue };
            let why = format!(
                "EKS cannot change the {field} of a Fargate profile: add a profile with a new name, and remove this one"
            );
            changes.push(Change::forbidden(field, current, wanted, why));
        }
        changes
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        _: &Refs,
        _: &ObserveOptions,
        _: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        let name = &self.wanted.name;
        let request = cloud.aws.eks.describe_fargate_profile().cluster_name(&self.cluster).fargate_profile_name(name);
        let answer = match cloud.aws.call(Service::Eks, "DescribeFargateProfile", name, request.send()).await {
            Err(error) if error.class() == Class::NotFound => return Ok(Presence::Absent),
            other => other?,
        };
        let Some(profile) = answer.fargate_profile else { return Ok(Presence::Absent) };
        let tags = Tags::from_eks(profile.tags());
        let what = || format!("Fargate profile {name} of cluster {}", self.cluster);
        Ok(ownership::presence(cloud, &tags, to_observation(&profile), what))
    }

    async fn create(&self, cloud: &Cloud, refs: &Refs) -> Result<Observation<Detail>, Failure> {
        let role = match &self.wanted.pod_execution_role_arn {
            Some(arn) => arn,
            None => refs.need(&role::key(Purpose::Fargate), "arn")?,
        };
        let subnets = self.subnet_ids(refs)?;
        let error = match self.request_create(cloud, role, subnets.clone()).await {
            Ok(observed) => return Ok(observed),
            Err(error) => error,
        };
        if self.wanted.subnet_ids.is_some() {
            return Err(error.into());
        }
        // Fargate runs in fewer zones than EKS.
        let zones = self.zones_of(refs).into_iter().filter(|(id, _)| subnets.contains(id)).collect();
        let remaining = subnets_in_valid_zones(&zones, error, 1, NO_FARGATE)?;
        Ok(self.request_create(cloud, role, remaining).await?)
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
        let name = &self.wanted.name;
        let request = cloud.aws.eks.delete_fargate_profile().cluster_name(&self.cluster).fargate_profile_name(name);
        cloud.aws.call(Service::Eks, "DeleteFargateProfile", name, request.send()).await?;
        let phase = Phase::Busy { action: Action::Delete, since: None, note: String::new() };
        Ok(Presence::Ours(Observation { state: "DELETING".into(), ..observed.clone() }.phase(phase)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(namespace: &str, labels: &[(&str, &str)]) -> FargateSelector {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        FargateSelector { namespace: namespace.into(), labels }
    }

    #[test]
    fn order_of_selectors_does_not_matter() {
        let (batch, jobs) = (selector("batch", &[("b", "2"), ("a", "1")]), selector("jobs-*", &[]));
        assert_eq!(format_selectors(&[batch.clone(), jobs.clone()]), format_selectors(&[jobs.clone(), batch.clone()]));
        assert_eq!(format_selectors(&[batch, jobs.clone()]), "batch {a=1, b=2}, jobs-*");
        assert_ne!(
            format_selectors(std::slice::from_ref(&jobs)),
            format_selectors(&[selector("jobs-*", &[("a", "1")])])
        );
    }

    #[test]
    fn only_private_subnets_of_an_existing_network_are_used() {
        let listed = r#"[{"id":"subnet-1","zone":"a","tier":"Public","cidr":"x"},{"id":"subnet-2","zone":"b","tier":"Private"}]"#;
        assert_eq!(private_subnet_ids(listed), ["subnet-2"]);
        assert!(private_subnet_ids("nonsense").is_empty());
    }
}
