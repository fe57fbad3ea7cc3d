//! The steps of a rotation of the cluster's certificate authority: what the spec asks for beside what EKS has. Pure.

use std::collections::BTreeMap;

use aws_sdk_eks::types::{
    CertificateAuthorityDistributionStatus as Distribution, CertificateAuthoritySigningStatus as Signing,
    CertificateAuthoritySummary,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};

use crate::api::certificate_authority::AuthorityState;
use crate::engine::Change;

/// Fields of changes.
pub(super) const CREATED: &str = "controlPlane.certificateAuthority.createdAfter";
pub(super) const ACTIVE: &str = "controlPlane.certificateAuthority.activeId";
pub(super) const DELETED: &str = "controlPlane.certificateAuthority.deletedId";
/// EKS has at most so many.
const MOST: usize = 2;
/// How far the clock of EKS may be behind: a successor that seemed older than the time in the spec would be followed by another.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// What the spec asks for.
pub(super) struct Rotation {
    pub(super) cluster: String,
    pub(super) created_after: Option<Timestamp>,
    pub(super) active_id: Option<String>,
    pub(super) deleted_id: Option<String>,
}

/// A certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub(super) id: String,
    pub(super) created: Option<Timestamp>,
    pub(super) state: AuthorityState,
    /// Since when it is in that state: when EKS activated it, else when Keelson first observed it.
    pub(super) since: Option<Timestamp>,
    /// What EKS says of an operation that failed.
    pub(super) reason: Option<String>,
    /// EKS activated it, and not a person.
    pub(super) by_eks: bool,
    /// Its certificate is in what DescribeCluster returns, which Keelson's own clients trust.
    pub(super) is_shown: bool,
}

/// What Keelson observes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    pub(super) authorities: Vec<Authority>,
    /// When that was.
    pub(super) at: Option<Timestamp>,
    /// The certificates of successors, by id: PEM in Base64.
    pub(super) certificates: BTreeMap<String, String>,
}

impl Detail {
    /// The same, with which of the successors are in `bundle`: what DescribeCluster returned last.
    pub(super) fn shown_in(&self, bundle: Option<&str>) -> Self {
        let mut detail = self.clone();
        for one in &mut detail.authorities {
            let certificate = detail.certificates.get(&one.id).zip(bundle);
            one.is_shown = certificate.is_some_and(|(certificate, bundle)| is_in(certificate, bundle));
        }
        detail
    }

    /// The same, with since when each is in its state. `before`: the last observation.
    pub(super) fn since(mut self, before: Option<&Detail>) -> Self {
        let now = self.at;
        for one in &mut self.authorities {
            let same = |other: &&Authority| other.id == one.id && other.state == one.state;
            let known = before.and_then(|before| before.authorities.iter().find(same)).and_then(|other| other.since);
            one.since = one.since.or(known).or(now);
        }
        self
    }
}

fn time(at: Option<&aws_smithy_types::DateTime>) -> Option<Timestamp> {
    at.and_then(|at| Timestamp::from_second(at.secs()).ok())
}

impl From<&CertificateAuthoritySummary> for Authority {
    fn from(found: &CertificateAuthoritySummary) -> Self {
        let state = match (found.distribution_status(), found.signing_status()) {
            (Some(Distribution::Deleting), _) => AuthorityState::Deleting,
            (_, Some(Signing::InUse)) => AuthorityState::Active,
            (_, Some(Signing::Activating)) => AuthorityState::Activating,
            (Some(Distribution::Failed), _) => AuthorityState::Failed,
            (Some(Distribution::Complete), _) if found.activated_at().is_some() => AuthorityState::Retired,
            (Some(Distribution::Complete), _) => AuthorityState::Successor,
            _ => AuthorityState::Distributing,
        };
        Authority {
            id: found.id().unwrap_or_default().to_owned(),
            created: time(found.created_at()),
            since: time(found.activated_at()).filter(|_| state == AuthorityState::Active),
            reason: None,
            state,
            by_eks: found.activated_by().is_some_and(|by| by.as_str() == "EKS"),
            is_shown: false,
        }
    }
}

/// Whether the certificate is one of those in the bundle; both are PEM in Base64.
pub(super) fn is_in(certificate: &str, bundle: &str) -> bool {
    let lines = |text: &str| -> Option<String> {
        let pem = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        Some(pem.split_whitespace().collect())
    };
    lines(certificate).zip(lines(bundle)).is_some_and(|(one, all)| !one.is_empty() && all.contains(&one))
}

impl Authority {
    /// What happens to it, or what to do next.
    pub(super) fn message(&self) -> Option<String> {
        let id = &self.id;
        let text = match self.state {
            AuthorityState::Active => return None,
            AuthorityState::Distributing => "EKS distributes it to the control plane, Auto Mode and Fargate".to_owned(),
            AuthorityState::Activating => "EKS activates it".to_owned(),
            AuthorityState::Deleting => "EKS deletes it".to_owned(),
            AuthorityState::Successor => format!(
                "the cluster trusts it, and it does not sign: replace the nodes that started before it was created, give clients \
                 outside the cluster its certificate, then set controlPlane.certificateAuthority.activeId: {id}"
            ),
            AuthorityState::Retired => format!(
                "it no longer signs, and the cluster still trusts it: once every client trusts the one in use, set \
                 controlPlane.certificateAuthority.deletedId: {id}"
            ),
            AuthorityState::Failed => format!(
                "EKS could not distribute it: set controlPlane.certificateAuthority.deletedId: {id}; another one is created then"
            ),
        };
        Some(match &self.reason {
            Some(reason) => format!("{text}. {reason}"),
            None => text,
        })
    }
}

impl Rotation {
    /// What differs, in the order of the steps.
    pub(super) fn changes(&self, detail: &Detail) -> Vec<Change> {
        [self.creation(detail), self.activation(detail), self.deletion(detail)].into_iter().flatten().collect()
    }

    fn creation(&self, detail: &Detail) -> Option<Change> {
        let is_left =
            |one: &&Authority| one.state == AuthorityState::Failed && self.deleted_id.as_ref() != Some(&one.id);
        if let Some(failed) = detail.authorities.iter().find(is_left) {
            let (from, to) = (format!("{} is not distributed", failed.id), "a successor");
            return Some(Change::forbidden(CREATED, from, to, failed.message().unwrap_or_default()));
        }
        let (after, newest) = (self.created_after?, detail.authorities.iter().max_by_key(|one| one.created)?);
        let has_begun = detail.at.is_some_and(|at| at >= after.saturating_add(MAX_SKEW).unwrap_or(after));
        if !has_begun {
            return None;
        }
        let to = format!("a successor, created after {after}");
        let Some(created) = newest.created else {
            let why = "EKS does not say when its certificate authorities were created: remove createdAfter";
            return Some(Change::forbidden(CREATED, "unknown", to, why));
        };
        if created >= after {
            return None;
        }
        let from = created.to_string();
        let unused = detail.authorities.iter().find(|one| one.state != AuthorityState::Active);
        Some(match unused.filter(|_| detail.authorities.len() >= MOST) {
            Some(unused) => {
                let why = format!(
                    "EKS has at most {MOST} certificate authorities: if nothing needs {} any more, delete it first \
                     (deletedId: {})",
                    unused.id, unused.id
                );
                Change::forbidden(CREATED, from, to, why)
            }
            None => Change::in_place(CREATED, from, to),
        })
    }

    fn activation(&self, detail: &Detail) -> Option<Change> {
        let id = self.active_id.as_ref()?;
        let active = detail.authorities.iter().find(|one| one.state == AuthorityState::Active)?;
        if active.id == *id {
            return None;
        }
        let forbidden = |why: String| Some(Change::forbidden(ACTIVE, &active.id, id, why));
        let Some(wanted) = detail.authorities.iter().find(|one| one.id == *id) else {
            let all: Vec<_> = detail.authorities.iter().map(|one| one.id.as_str()).collect();
            return forbidden(format!("the cluster has no such certificate authority, only {}", all.join(", ")));
        };
        match wanted.state {
            AuthorityState::Successor if wanted.is_shown => {
                let disruption = format!("disconnects nodes and clients that do not trust {id}");
                Some(Change::in_place(ACTIVE, &active.id, id).disrupts(disruption))
            }
            AuthorityState::Successor => Some(Change::reported(
                ACTIVE,
                &active.id,
                id,
                "it is not activated before DescribeCluster returns its certificate, which Keelson's own clients trust",
            )),
            AuthorityState::Retired => {
                let by = if active.by_eks { "EKS" } else { "somebody" };
                let why = format!(
                    "it has signed before, and {by} activated {} since: set activeId: {}. If clients need the former one, \
                     EKS allows to go back for a limited time: aws eks activate-certificate-authority --cluster-name {} \
                     --certificate-authority-id {id}",
                    active.id, active.id, self.cluster
                );
                Some(Change::reported(ACTIVE, &active.id, id, why))
            }
            AuthorityState::Failed => forbidden("EKS could not distribute it, so it cannot be activated".to_owned()),
            AuthorityState::Active
            | AuthorityState::Activating
            | AuthorityState::Distributing
            | AuthorityState::Deleting => None,
        }
    }

    fn deletion(&self, detail: &Detail) -> Option<Change> {
        let id = self.deleted_id.as_ref()?;
        let found = detail.authorities.iter().find(|one| one.id == *id)?;
        let forbidden = |why: &str| Some(Change::forbidden(DELETED, id, "deleted", why));
        match found.state {
            AuthorityState::Active => forbidden("it signs the cluster's certificates: activate its successor first"),
            AuthorityState::Successor if self.created_after.is_some_and(|after| found.created >= Some(after)) => {
                forbidden("createdAfter asks for it: remove createdAfter as well to give up the rotation")
            }
            AuthorityState::Activating | AuthorityState::Deleting | AuthorityState::Distributing => None,
            AuthorityState::Retired | AuthorityState::Successor | AuthorityState::Failed => {
                let disruption =
                    format!("disconnects clients that trust {id} alone, and nodes with certificates of it");
                Some(Change::in_place(DELETED, id, "deleted").disrupts(disruption))
            }
        }
    }
}

#[cfg(test)]
#[path = "certificate_authority_tests.rs"]
mod tests;
