//! Deletes the EBS volumes of a cluster's PersistentVolumeClaims with the cluster, if `persistentVolumes.deletionPolicy` asks
//! for it. I/O: EC2.
//!
//! A controller of the cluster created them, so they are on no record. Each that is deleted carries the cluster's name and
//! the driver's tag, is attached to nothing, and is newer than the object: a volume of an earlier cluster of that name stays.
//! Snapshots are never deleted.
//!
//! The tags: <https://github.com/kubernetes-sigs/aws-ebs-csi-driver/blob/master/docs/tagging.md>. The driver writes the cluster's
//! name as its option `k8sTagClusterId` says; EKS's add-on and Auto Mode set it.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::{Filter, Volume, VolumeState};
use jiff::{SignedDuration, Timestamp};

use crate::aws::tags::Tags;
use crate::aws::{AwsError, Service, Session};
use crate::engine::sweep::Baseline;
use crate::engine::{
    Action, Change, CheckedSweep, Failure, Goal, Key, Mark, Observation, ObserveOptions, PollPolicy, Presence, Proof,
    Refs, Resource, Scope, Sweep, Target,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext};
use crate::resources::eks::{cluster, kubernetes_api};
use crate::resources::graph::kind::{Area, Kind};
use crate::resources::iam::role::ignore_not_found;

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("claimVolumes", "volumes of PersistentVolumeClaims", Area::ControlPlane)
    .without_resource()
    .with_actions(&["ec2:DeleteVolume", "ec2:DescribeVolumes", "eks:DescribeCluster"]);

/// The tag of every volume that the driver creates.
const OF_DRIVER: &str = "ebs.csi.aws.com/cluster";
/// The tag of Auto Mode's volumes and instances, with the cluster's name.
pub(super) const OF_AUTO_MODE: &str = "eks:eks-cluster-name";

/// A volume of a PersistentVolumeClaim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClaimVolume {
    pub id: String,
    pub size_gib: i32,
    pub created: Option<Timestamp>,
    pub is_available: bool,
    /// The claim: `NAMESPACE/NAME`.
    pub claim: Option<String>,
    /// Whether the driver's own tag is on it, besides the cluster's name.
    pub is_of_driver: bool,
}

pub(super) fn filter_by(name: impl Into<String>, values: &[&str]) -> Filter {
    Filter::builder().name(name).set_values(Some(values.iter().map(|value| (*value).to_owned()).collect())).build()
}

impl From<&Volume> for ClaimVolume {
    fn from(volume: &Volume) -> Self {
        let tags = Tags::from_ec2(volume.tags());
        let of_claim = |part: &str| tags.get(&format!("kubernetes.io/created-for/pvc/{part}"));
        Self {
            id: volume.volume_id().unwrap_or_default().to_owned(),
            size_gib: volume.size().unwrap_or_default(),
            created: volume.create_time().and_then(|at| Timestamp::from_second(at.secs()).ok()),
            is_available: volume.state() == Some(&VolumeState::Available),
            claim: of_claim("name").map(|name| match of_claim("namespace") {
                Some(namespace) => format!("{namespace}/{name}"),
                None => name.to_owned(),
            }),
            is_of_driver: tags.get(OF_DRIVER) == Some("true"),
        }
    }
}

impl ClaimVolume {
    pub(super) fn describe(&self, now: Timestamp) -> String {
        let age = self.created.map(|at| format!("{} old", age(now.duration_since(at))));
        let claim = self.claim.as_ref().map(|claim| format!("of claim {claim}"));
        let state = (!self.is_available).then(|| "in use".to_owned());
        let about: Vec<_> = [Some(format!("{} GiB", self.size_gib)), age, claim, state].into_iter().flatten().collect();
        format!("{} ({})", self.id, about.join(", "))
    }
}

/// In the largest unit that is not zero.
fn age(age: SignedDuration) -> String {
    let hours = age.as_hours();
    match hours {
        _ if hours >= 48 => format!("{} days", hours / 24),
        1.. => format!("{hours} hours"),
        _ => format!("{} minutes", age.as_mins().max(0)),
    }
}

/// The volumes in the account and region that carry the cluster's name as the driver writes it.
///
/// # Errors
/// Those of the reads.
pub(super) async fn volumes(aws: &Session, cluster: &str) -> Result<Vec<ClaimVolume>, AwsError> {
    let mut found: Vec<ClaimVolume> = Vec::new();
    // Filters are combined with "and", so each tag needs its own request.
    let tags = [
        filter_by(format!("tag:kubernetes.io/cluster/{cluster}"), &["owned"]),
        filter_by(format!("tag:{OF_AUTO_MODE}"), &[cluster]),
    ];
    for tag in tags {
        let mut next = None;
        loop {
            let states = filter_by("status", &["available", "in-use"]);
            let request = aws.ec2.describe_volumes().filters(tag.clone()).filters(states).set_next_token(next);
            let answer = aws.call(Service::Ec2, "DescribeVolumes", cluster, request.send()).await?;
            let new = answer.volumes().iter().filter(|volume| is_of_claim(volume)).map(ClaimVolume::from);
            found.extend(new.filter(|volume| found.iter().all(|other| other.id != volume.id)).collect::<Vec<_>>());
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// Root volumes of nodes carry the cluster's name as well, and go with their instances.
fn is_of_claim(volume: &Volume) -> bool {
    let tags = Tags::from_ec2(volume.tags());
    tags.get(OF_DRIVER).is_some()
        || tags.get("CSIVolumeName").is_some()
        || tags.get("kubernetes.io/created-for/pvc/name").is_some()
}

/// The volumes of one cluster.
pub struct ClaimVolumes {
    cluster: String,
    owner: String,
    /// When the object was created.
    since: Timestamp,
    intervals: Intervals,
}

impl ClaimVolumes {
    /// Creates the resource for the volumes that are newer than `since`.
    pub fn new(context: &ResourceContext<'_>, since: Timestamp) -> Self {
        let (cluster, owner) = (context.cluster_name.into(), context.owner.uid.clone());
        Self { cluster, owner, since, intervals: context.intervals }
    }
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

#[async_trait]
impl Resource for ClaimVolumes {
    type Cloud = Cloud;
    type Detail = ();

    fn key(&self) -> Key {
        key()
    }

    fn holds(&self) -> Vec<Key> {
        Vec::new()
    }

    /// While the cluster exists, its driver deletes them as their claims say.
    fn deleted_after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(5)
    }

    fn poll_policy(&self) -> PollPolicy {
        self.intervals.single()
    }

    fn sweep_scope(&self) -> Option<Scope> {
        let (name, owner) = (self.cluster.clone(), self.owner.clone());
        Some(Scope { subject: cluster::key(), name, owner, prunes: false })
    }

    fn diff(&self, _: &Observation<()>, _: &Refs) -> Vec<Change> {
        Vec::new()
    }

    /// They count as existing until they were swept. The id is the record that the check of a sweep needs.
    async fn observe(
        &self,
        _: &Cloud,
        _: &Refs,
        options: &ObserveOptions,
        _: Option<&Observation<()>>,
    ) -> Result<Presence<()>, Failure> {
        let id = Baseline::new(self.since, []).to_string();
        Ok(match options.goal {
            Goal::Deleted => Presence::Ours(Observation::ready(id, "to be swept", ())),
            Goal::Present | Goal::Retained => Presence::External(Observation::ready("", "none", ())),
        })
    }

    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<()>, Failure> {
        Err(Failure::invalid("volumes of claims are never created"))
    }

    async fn update(&self, _: &Cloud, _: &Refs, _: &Observation<()>, _: &[Change]) -> Result<Observation<()>, Failure> {
        Err(Failure::invalid("volumes of claims are never changed"))
    }

    async fn delete(&self, _: &Cloud, _: &Observation<()>) -> Result<Presence<()>, Failure> {
        Err(Failure::invalid("volumes of claims are deleted by a sweep"))
    }

    async fn list_sweep(&self, cloud: &Cloud, _: &Observation<()>) -> Result<Sweep, Failure> {
        // Then they are its, whoever owns it.
        if kubernetes_api::tags(&cloud.aws, &self.cluster).await?.is_some() {
            return Ok(Sweep::default());
        }
        let found = volumes(&cloud.aws, &self.cluster).await?;
        let is_new = |at: Option<Timestamp>| at.is_some_and(|at| at >= self.since);
        let deletable = found.iter().filter(|one| one.is_available && one.is_of_driver && is_new(one.created));
        let targets = deletable.map(|volume| {
            let mark = Mark { by: "the EBS CSI driver", name: Some(self.cluster.clone()), reserved: false };
            let proof = Proof::AppearedLater { mark, at: volume.created };
            let what = format!("volume {} of {} GiB", volume.id, volume.size_gib);
            Target { id: volume.id.clone(), key: None, what, proof, in_use: false, referred_to_by: Vec::new() }
        });
        Ok(Sweep { targets: targets.collect(), ..Sweep::default() })
    }

    async fn sweep(
        &self,
        cloud: &Cloud,
        _: &Observation<()>,
        _: Action,
        swept: &CheckedSweep,
    ) -> Result<Presence<()>, Failure> {
        let mut failed = None;
        for volume in &swept.allowed {
            let request = cloud.aws.ec2.delete_volume().volume_id(volume.id());
            let deleted = cloud.aws.call(Service::Ec2, "DeleteVolume", volume.id(), request.send()).await;
            failed = failed.or(ignore_not_found(deleted).err());
        }
        failed.map_or(Ok(Presence::Absent), Err)
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::primitives::DateTime;
    use aws_sdk_ec2::types::Tag;

    use super::*;

    fn volume(tags: &[(&str, &str)]) -> Volume {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build()).collect();
        let volume = Volume::builder().volume_id("vol-1").size(20).create_time(DateTime::from_secs(0));
        volume.state(VolumeState::Available).set_tags(Some(tags)).build()
    }

    #[test]
    fn volumes_are_described_with_size_age_and_claim() {
        let tags = [
            (OF_DRIVER, "true"),
            ("kubernetes.io/created-for/pvc/name", "data"),
            ("kubernetes.io/created-for/pvc/namespace", "shop"),
        ];
        let found = ClaimVolume::from(&volume(&tags));
        let now = Timestamp::from_second(3 * 24 * 3600).unwrap();
        assert_eq!(found.describe(now), "vol-1 (20 GiB, 3 days old, of claim shop/data)");
        let in_use = ClaimVolume { is_available: false, ..ClaimVolume::from(&volume(&[])) };
        assert_eq!(in_use.describe(Timestamp::from_second(7200).unwrap()), "vol-1 (20 GiB, 2 hours old, in use)");
    }

    #[test]
    fn root_volume_of_a_node_is_not_one_of_a_claim() {
        assert!(!is_of_claim(&volume(&[("kubernetes.io/cluster/demo", "owned"), ("Name", "node")])));
        assert!(is_of_claim(&volume(&[("CSIVolumeName", "pvc-1")])));
    }
}
