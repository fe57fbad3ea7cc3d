//! `spec.controlPlane.certificateAuthority` of an EksCluster: the rotation of the authority that signs the cluster's certificates. No I/O.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conditions::bounded;
use super::{SpecError, rules};

/// Rotation of the cluster's certificate authority, one step for each field. EKS has at most two authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = rules::active_authority_stays())]
#[serde(rename_all = "camelCase")]
pub struct CertificateAuthority {
    /// An authority that was created at this time or later exists, in UTC, such as `2026-11-30T12:00:00Z`. If there is none,
    /// Keelson creates a successor, which the cluster trusts beside the one in use. A later time begins the next rotation;
    /// the same manifest begins no second one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::utc_time())]
    pub created_after: Option<String>,
    /// Id, from `status.certificateAuthorities`, of the authority that signs. Set it once nodes and clients trust it: others lose
    /// their connection. Keelson activates only one that has never signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::aws_name())]
    pub active_id: Option<String>,
    /// Id of an authority that does not sign: Keelson deletes it, and the cluster no longer trusts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::aws_name())]
    pub deleted_id: Option<String>,
}

impl CertificateAuthority {
    /// The time from which on an authority must have been created.
    ///
    /// # Errors
    /// It is no time.
    pub fn created_after(&self) -> Result<Option<Timestamp>, SpecError> {
        let parse = |text: &String| {
            let field = "spec.controlPlane.certificateAuthority.createdAfter";
            text.parse::<Timestamp>()
                .map_err(|_| SpecError::new(field, format!("{text} is no time: write 2026-11-30T12:00:00Z")))
        };
        self.created_after.as_ref().map(parse).transpose()
    }
}

/// A certificate authority of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAuthorityStatus {
    /// Its id in EKS.
    #[schemars(length(max = 128))]
    pub id: String,
    /// When it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// Where it is in its rotation.
    pub state: AuthorityState,
    /// Since when it is in that state: when EKS activated it, else when Keelson first observed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// What happens to it, or what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
}

impl CertificateAuthorityStatus {
    /// That of one.
    pub fn new(
        id: &str,
        created_at: Option<Timestamp>,
        state: AuthorityState,
        since: Option<Timestamp>,
        message: Option<String>,
    ) -> Self {
        let message = message.map(|message| bounded(&message, 512));
        Self { id: bounded(id, 128), created_at: created_at.map(Time), state, since: since.map(Time), message }
    }

    /// The edit that continues the rotation after this state; `None`: Keelson or EKS is at it, or `spec` asks for it already.
    pub fn next_edit(&self, spec: &CertificateAuthority) -> Option<String> {
        let (when, field, current) = match self.state {
            AuthorityState::Successor => ("nodes and clients trust it", "activeId", &spec.active_id),
            AuthorityState::Retired => ("every client trusts the one in use", "deletedId", &spec.deleted_id),
            AuthorityState::Failed => ("you know why EKS could not distribute it", "deletedId", &spec.deleted_id),
            AuthorityState::Active
            | AuthorityState::Activating
            | AuthorityState::Deleting
            | AuthorityState::Distributing => return None,
        };
        let id = &self.id;
        let edit = format!(
            "certificate authority {id}: once {when}, set spec.controlPlane.certificateAuthority.{field}: {id}"
        );
        (current.as_ref() != Some(id)).then_some(edit)
    }
}

/// Where an authority is in its rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum AuthorityState {
    /// EKS makes its own components trust it.
    #[default]
    Distributing,
    /// The cluster trusts it, and it has never signed.
    Successor,
    /// EKS makes it the one that signs.
    Activating,
    /// It signs.
    Active,
    /// The cluster trusts it, and another one signs.
    Retired,
    /// EKS removes it from what the cluster trusts.
    Deleting,
    /// EKS could not distribute it.
    Failed,
}

impl AuthorityState {
    /// As in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            AuthorityState::Distributing => "Distributing",
            AuthorityState::Successor => "Successor",
            AuthorityState::Activating => "Activating",
            AuthorityState::Active => "Active",
            AuthorityState::Retired => "Retired",
            AuthorityState::Deleting => "Deleting",
            AuthorityState::Failed => "Failed",
        }
    }
}
