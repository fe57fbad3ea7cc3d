//! The certificate authorities of a cluster, and the rotation of the one that signs: a successor is created, activated, and the
//! outgoing one deleted. EKS runs each as an update of the cluster.
//!
//! EKS makes its own components trust a successor: the control plane, Auto Mode and Fargate. Nodes of node groups and clients outside
//! have to follow before it is activated, and EKS does not say whether they did. So activation and deletion each need the id of the
//! authority in the spec, which a person writes. None that has signed before is activated again: as the end of an authority comes
//! near, EKS activates its successor by itself, and an id that is still in the spec must not undo that. See
//! <https://docs.aws.amazon.com/eks/latest/APIReference/API_ActivateCertificateAuthority.html>.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eks::types::Update;
use jiff::Timestamp;

use super::certificate_authority_steps::{ACTIVE, Authority, CREATED, DELETED, Detail, Rotation};
use super::cluster;
use super::lists::{all_pages, if_exists};
use super::updates::{self, UpdateTarget};
use crate::api::certificate_authority::{
    AuthorityState, CertificateAuthority as DesiredAuthority, CertificateAuthorityStatus,
};
use crate::api::{EksClusterSpec, SpecError};
use crate::aws::tokens::client_token;
use crate::aws::{AwsError, Service};
use crate::engine::{
    Action, Change, Class, Failure, Goal, Key, Observation, ObserveOptions, Phase, PollPolicy, Presence, Refs, Resource,
};
use crate::resources::cloud::{Cloud, Intervals, ResourceContext};
use crate::resources::graph::kind::{Area, Kind};

/// How often a rotation that was requested just now is observed.
const SOON: Duration = Duration::from_secs(20);

/// Its row in the table of kinds.
pub const KIND: Kind = Kind::new("certificateAuthority", "certificate authority", Area::ControlPlane)
    .without_resource()
    .after_nodes()
    .with_actions(&[
        "eks:ActivateCertificateAuthority",
        "eks:CreateCertificateAuthority",
        "eks:DeleteCertificateAuthority",
        "eks:DescribeCertificateAuthority",
        "eks:DescribeUpdate",
        "eks:ListCertificateAuthorities",
        "eks:ListUpdates",
    ]);

/// The certificate authorities of a cluster.
pub struct CertificateAuthority {
    rotation: Rotation,
    intervals: Intervals,
}

/// The key in the graph.
pub fn key() -> Key {
    KIND.key()
}

impl CertificateAuthority {
    /// Those of the cluster, if the spec rotates them.
    ///
    /// # Errors
    /// A time that is none.
    pub fn of(context: &ResourceContext<'_>, spec: &EksClusterSpec) -> Result<Option<Self>, SpecError> {
        let wanted = spec.control_plane.as_ref().and_then(|settings| settings.certificate_authority.as_ref());
        wanted.map(|wanted| Self::new(context, wanted)).transpose()
    }

    fn new(context: &ResourceContext<'_>, wanted: &DesiredAuthority) -> Result<Self, SpecError> {
        let rotation = Rotation {
            cluster: context.cluster_name.to_owned(),
            created_after: wanted.created_after()?,
            active_id: wanted.active_id.clone(),
            deleted_id: wanted.deleted_id.clone(),
        };
        Ok(Self { rotation, intervals: context.intervals })
    }

    fn cluster(&self) -> &str {
        &self.rotation.cluster
    }

    fn target(&self) -> UpdateTarget<'_> {
        UpdateTarget::ClusterPart(self.cluster(), updates::CERTIFICATE_AUTHORITY)
    }

    async fn list(&self, cloud: &Cloud) -> Result<Vec<Authority>, AwsError> {
        let (aws, name) = (&cloud.aws, self.cluster());
        let list = || aws.eks.list_certificate_authorities().cluster_name(name);
        let found = all_pages!(aws, name, "ListCertificateAuthorities", list(), certificate_authorities);
        let mut all: Vec<_> = found.iter().map(Authority::from).collect();
        all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(all)
    }

    async fn certificate(&self, cloud: &Cloud, id: &str) -> Result<String, AwsError> {
        let eks = &cloud.aws.eks;
        let request = eks.describe_certificate_authority().cluster_name(self.cluster()).certificate_authority_id(id);
        let answer = cloud.aws.call(Service::Eks, "DescribeCertificateAuthority", id, request.send()).await;
        let found = if_exists(answer)?.and_then(|answer| answer.certificate_authority);
        Ok(found.and_then(|found| found.data).unwrap_or_default())
    }

    fn to_observation(&self, detail: Detail) -> Observation<Detail> {
        let phase = match detail.authorities.iter().find(is_busy) {
            Some(_) => Phase::Busy { action: Action::Update, since: None, note: String::new() },
            None => Phase::Ready,
        };
        let state = if phase == Phase::Ready { "ready" } else { "rotating" };
        Observation::ready(self.cluster(), state, detail).phase(phase)
    }

    /// The token of a step: another one after one that failed, or when the user asks for another try.
    fn token(&self, cloud: &Cloud, observed: &Observation<Detail>, step: &str) -> String {
        let ids: Vec<_> = observed.detail.authorities.iter().map(|one| one.id.as_str()).collect();
        let failed = observed.failed_operation.as_ref().map_or("", |failed| failed.id.as_str());
        let step = format!("certificateAuthority {step}, of {ids:?}, {}, after {failed}", cloud.client_token_seed);
        client_token(&cloud.owner.uid, 0, &step)
    }
}

fn is_busy(one: &&Authority) -> bool {
    matches!(one.state, AuthorityState::Distributing | AuthorityState::Activating | AuthorityState::Deleting)
}

/// The same with what users see of it: why an operation failed, what is in progress, and the state of each authority.
fn explained(mut observed: Observation<Detail>) -> Observation<Detail> {
    let failure = observed.failed_operation.as_ref().map(|failed| failed.failure.message.clone());
    for one in observed.detail.authorities.iter_mut().filter(|one| one.state == AuthorityState::Failed) {
        one.reason.clone_from(&failure);
    }
    let authorities = &observed.detail.authorities;
    if let (Phase::Busy { note, .. }, Some(one)) = (&mut observed.phase, authorities.iter().find(is_busy)) {
        *note = format!("{}: {}", one.id, one.message().unwrap_or_default());
    }
    let to_status =
        |one: &Authority| CertificateAuthorityStatus::new(&one.id, one.created, one.state, one.since, one.message());
    let shown: Vec<_> = authorities.iter().map(to_status).collect();
    let list = serde_json::to_string(&shown).unwrap_or_default();
    observed.output("authorities", list)
}

/// A successor exists, or is being created, by a call whose answer was lost or by somebody else: the next observation shows it.
fn create_failure(error: AwsError) -> Failure {
    match error.class() {
        Class::Conflict | Class::Quota => Failure::of(Class::NoChange, error),
        _ => error.into(),
    }
}

#[async_trait]
impl Resource for CertificateAuthority {
    type Cloud = Cloud;
    type Detail = Detail;

    fn key(&self) -> Key {
        key()
    }

    fn after(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn observed_after(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn deleted_with(&self) -> Option<Key> {
        Some(cluster::key())
    }

    fn expected(&self, _: Action) -> Duration {
        Duration::from_secs(600)
    }

    /// A rotation that was requested just now begins a minute after its time, in case clocks differ: it is observed often until then.
    fn poll_policy(&self) -> PollPolicy {
        let policy = self.intervals.single();
        let since = self.rotation.created_after.map(|after| Timestamp::now().duration_since(after).as_secs());
        let is_new = since.is_some_and(|seconds| (-300..300).contains(&seconds));
        PollPolicy { interval: if is_new { policy.interval.min(SOON) } else { policy.interval }, ..policy }
    }

    /// The trust of clients: DescribeCluster returns the certificates of all authorities.
    fn makes_stale(&self) -> Vec<Key> {
        vec![cluster::key()]
    }

    fn diff(&self, observed: &Observation<Detail>, refs: &Refs) -> Vec<Change> {
        self.rotation.changes(&observed.detail.shown_in(refs.output(&cluster::key(), "certificateAuthority")))
    }

    /// Each is an update of the cluster, of which EKS runs one at a time.
    fn batch(&self, changes: &[Change]) -> Vec<Change> {
        changes.iter().take(1).cloned().collect()
    }

    async fn observe(
        &self,
        cloud: &Cloud,
        refs: &Refs,
        options: &ObserveOptions,
        last: Option<&Observation<Detail>>,
    ) -> Result<Presence<Detail>, Failure> {
        // They go with the cluster.
        if options.goal != Goal::Present {
            return Ok(Presence::Absent);
        }
        let bundle = refs.output(&cluster::key(), "certificateAuthority").filter(|bundle| !bundle.is_empty());
        // EKS creates the first one with the cluster.
        if bundle.is_none() {
            return Ok(Presence::External(Observation::ready(self.cluster(), "unknown", Detail::default())));
        }
        let authorities = self.list(cloud).await?;
        let mut certificates = BTreeMap::new();
        for one in authorities.iter().filter(|one| one.state == AuthorityState::Successor) {
            certificates.insert(one.id.clone(), self.certificate(cloud, &one.id).await?);
        }
        let detail = Detail { authorities, at: Some(Timestamp::now()), certificates };
        let observed = self.to_observation(detail.since(last.map(|last| &last.detail)));
        // The list may show late that an update started, and only the update says why it failed.
        let observed = updates::follow(cloud, self.target(), observed, options, last).await?;
        Ok(Presence::Ours(explained(observed)))
    }

    /// EKS creates the first one with the cluster: there is always one.
    async fn create(&self, _: &Cloud, _: &Refs) -> Result<Observation<Detail>, Failure> {
        Err(Failure::invalid(format!("cluster {} has no certificate authority", self.cluster())))
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &Refs,
        observed: &Observation<Detail>,
        changes: &[Change],
    ) -> Result<Observation<Detail>, Failure> {
        let Some(change) = changes.first() else { return Ok(observed.clone()) };
        let (aws, eks) = (&cloud.aws, &cloud.aws.eks);
        let token = || self.token(cloud, observed, &format!("{} {} to {}", change.field, change.from, change.to));
        let update: Option<Update> = match (change.field.as_str(), &self.rotation.active_id, &self.rotation.deleted_id)
        {
            (CREATED, _, _) => {
                // Without a token of ours: EKS answers one for 24 hours with the successor that it created first, also when that
                // was deleted meanwhile. It has two authorities at most, so a repeated call creates no second one.
                let request = eks.create_certificate_authority().cluster_name(self.cluster());
                let answer = aws.call(Service::Eks, "CreateCertificateAuthority", self.cluster(), request.send()).await;
                answer.map_err(create_failure)?.update
            }
            (ACTIVE, Some(id), _) => {
                let request = eks.activate_certificate_authority().cluster_name(self.cluster());
                let request = request.certificate_authority_id(id).client_request_token(token());
                aws.call(Service::Eks, "ActivateCertificateAuthority", id, request.send()).await?.update
            }
            (DELETED, _, Some(id)) => {
                let request = eks.delete_certificate_authority().cluster_name(self.cluster());
                let request = request.certificate_authority_id(id).client_request_token(token());
                aws.call(Service::Eks, "DeleteCertificateAuthority", id, request.send()).await?.update
            }
            _ => None,
        };
        Ok(updates::record_start(observed.clone(), self.target(), update))
    }

    async fn delete(&self, _: &Cloud, _: &Observation<Detail>) -> Result<Presence<Detail>, Failure> {
        Ok(Presence::Absent)
    }
}
