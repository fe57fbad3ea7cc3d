//! Roles of Pods that an earlier spec asked for: found here for [`super::removals`], which deletes them once nothing uses
//! them. I/O: IAM and EKS.
//!
//! A service account with another role now has Pods that still hold credentials of the earlier one, which end with it.
//! It stays until they have expired.

use aws_sdk_eks::types::PodIdentityAssociation;
use jiff::{SignedDuration, Timestamp};

use super::removals::{Found, Removals};
use crate::aws::snapshots::Role;
use crate::aws::tags::Tags;
use crate::aws::{Arn, MaxStaleness};
use crate::engine::{Class, Failure, Key};
use crate::resources::cloud::{Cloud, Tagged};
use crate::resources::eks::lists;
use crate::resources::iam::workload_role;

/// The roles that no longer should exist.
#[derive(Default)]
pub(super) struct UnwantedRoles {
    /// To be deleted, at once or when nothing uses them.
    pub found: Vec<Found>,
    /// Those whose credentials Pods may still hold.
    pub later: Vec<Key>,
}

impl Removals {
    pub(super) async fn unwanted_roles(
        &self,
        cloud: &Cloud,
        staleness: MaxStaleness,
    ) -> Result<UnwantedRoles, Failure> {
        let mut unwanted = UnwantedRoles::default();
        let keys: Vec<_> = self.ids_of(&workload_role::KIND).collect();
        if keys.is_empty() {
            return Ok(unwanted);
        }
        let roles = cloud.aws.snapshots.roles(staleness).await?;
        let exists = |(key, id): &&(Key, String)| {
            let name = id.rsplit('/').next().unwrap_or(id);
            Some((key.clone(), roles.iter().find(|role| role.name == name && self.is_ours(role))?))
        };
        let existing: Vec<(Key, &Role)> = keys.iter().filter_map(exists).collect();
        if existing.is_empty() {
            return Ok(unwanted);
        }
        let associations = match lists::all_pod_identities(&cloud.aws, &self.cluster).await {
            Err(error) if error.class() == Class::NotFound => Vec::new(),
            all => all?,
        };
        let now = Timestamp::now();
        for (key, role) in existing {
            let users: Vec<_> = associations.iter().filter(|one| one.role_arn() == Some(&role.arn)).collect();
            if users.is_empty() && associations.iter().any(|one| self.has_lately_replaced(&key, one, now)) {
                unwanted.later.push(key);
                continue;
            }
            let (ours, others): (Vec<_>, Vec<_>) = users.into_iter().partition(|one| self.is_changed_here(one));
            let blocked_by = others.first().map(|one| {
                let of = |text: Option<&str>| text.unwrap_or_default().to_owned();
                format!(
                    "the pod identity association of service account {}/{}, which Keelson did not create, uses it: delete it or \
                     give it another role",
                    of(one.namespace()),
                    of(one.service_account())
                )
            });
            let used_by = ours.iter().filter_map(|one| one.association_id().map(str::to_owned)).collect();
            let one = self.found(&key, id_of(role), role.tags.owner(), None);
            unwanted.found.push(Found { used_by, blocked_by, ..one });
        }
        Ok(unwanted)
    }

    fn is_ours(&self, role: &Role) -> bool {
        role.tags().is_owned_by(&self.owner)
    }

    /// Whether this object or its add-on changes the association, so that it is a matter of time until it uses another role.
    fn is_changed_here(&self, association: &PodIdentityAssociation) -> bool {
        association.owner_arn().is_some() || Tags::from_eks(association.tags()).is_owned_by(&self.owner)
    }

    /// Whether the Pods of the role got another one so recently that they may hold credentials of the earlier one.
    fn has_lately_replaced(&self, key: &Key, association: &PodIdentityAssociation, now: Timestamp) -> bool {
        let is_same = match workload_role::addon_of(key) {
            Some(addon) => association.owner_arn().and_then(addon_name) == Some(addon),
            None => {
                let account = association.namespace().zip(association.service_account());
                account.is_some_and(|(namespace, account)| key.name() == format!("{namespace}/{account}"))
            }
        };
        let changed = association.modified_at().and_then(|at| Timestamp::from_second(at.secs()).ok());
        let lifetime = SignedDuration::try_from(self.intervals.pod_credentials).unwrap_or(SignedDuration::MAX);
        is_same && changed.is_some_and(|changed| now.duration_since(changed) < lifetime)
    }
}

/// The name in the ARN of an add-on: `arn:aws:eks:REGION:ACCOUNT:addon/CLUSTER/NAME/ID`.
fn addon_name(arn: &str) -> Option<&str> {
    Arn::parse(arn)?.resource.split('/').nth(2)
}

/// The id under which the role is recorded.
fn id_of(role: &Role) -> &str {
    if role.path == "/" { &role.name } else { &role.arn }
}
