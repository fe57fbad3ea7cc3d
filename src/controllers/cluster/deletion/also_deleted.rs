//! What is deleted with a cluster without being Keelson's: no more than was asked for when the deletion started. Pure.

use crate::api::EksClusterSpec;
use crate::api::policy::DeletionPolicy;
use crate::api::status_cluster::{AlsoDeleted, DeletionStatus};

/// What the spec asks for. An object without a cluster deletes no volumes and instances: those with its name are of others.
pub(super) fn desired(spec: &EksClusterSpec, has_cluster: bool) -> AlsoDeleted {
    let group = spec.log_group.as_ref();
    AlsoDeleted {
        volumes: has_cluster && spec.persistent_volumes.deletion_policy == DeletionPolicy::Delete,
        log_group: group.is_some_and(|group| group.deletion_policy == DeletionPolicy::Delete),
        instances: has_cluster && spec.karpenter.is_some(),
    }
}

/// What is deleted with an object that has that spec by now: an edit may retain more than at the start, never less. `has_cluster` counts
/// until the deletion has started.
pub(super) fn effective(deletion: &DeletionStatus, spec: &EksClusterSpec, has_cluster: bool) -> AlsoDeleted {
    let Some(at_start) = deletion.also.filter(|_| deletion.began.is_some()) else { return desired(spec, has_cluster) };
    let now = desired(spec, true);
    AlsoDeleted {
        volumes: at_start.volumes && now.volumes,
        log_group: at_start.log_group && now.log_group,
        instances: at_start.instances && now.instances,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn deletion_takes_no_more_with_it_than_at_its_start() {
        let spec = |text: &str| -> EksClusterSpec { serde_saphyr::from_str(text).unwrap() };
        let bare = spec("{region: eu-west-1, version: '1.36'}");
        let all = spec(
            "{region: eu-west-1, version: '1.36', karpenter: {}, logGroup: {retentionDays: 30}, \
             persistentVolumes: {deletionPolicy: Delete}}",
        );
        let (nothing, everything) =
            (AlsoDeleted::default(), AlsoDeleted { volumes: true, log_group: true, instances: true });
        let began = |also| DeletionStatus {
            began: Some(Time(jiff::Timestamp::UNIX_EPOCH)),
            also: Some(also),
            ..DeletionStatus::default()
        };
        assert_eq!(effective(&began(nothing), &all, true), nothing);
        assert_eq!(effective(&began(everything), &all, false), everything, "its cluster is gone by now");
        assert_eq!(effective(&began(everything), &bare, true), nothing);
        assert_eq!(effective(&DeletionStatus::default(), &all, true), everything);
        let without = AlsoDeleted { log_group: true, ..nothing };
        assert_eq!(effective(&DeletionStatus::default(), &all, false), without, "it never had a cluster");
    }
}
