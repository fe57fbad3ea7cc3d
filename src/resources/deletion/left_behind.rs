//! What costs money after a cluster is deleted, and lies in no network of ours: EBS volumes of its PersistentVolumeClaims,
//! instances that its autoscaler launched, and the control plane's log group. Named at the end of a deletion. I/O: reads of EC2 and
//! CloudWatch Logs.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::claim_volumes::{ClaimVolume, OF_AUTO_MODE, filter_by, volumes};
use super::makers;
use crate::api::listing::first_few_joined;
use crate::aws::{AwsError, Service, Session};
use crate::resources::eks::log_group;

/// Most volumes and instances that one message names; the rest are counted.
const MAX_NAMED: usize = 10;
/// Instances that still run although their cluster is deleted, with their ids, by the tags of Karpenter and EKS.
async fn instances(aws: &Session, cluster: &str) -> Result<Vec<String>, AwsError> {
    let mut found = BTreeMap::new();
    let tags = [
        filter_by(format!("tag:kubernetes.io/cluster/{cluster}"), &["owned"]),
        filter_by(format!("tag:{OF_AUTO_MODE}"), &[cluster]),
    ];
    for tag in tags {
        let states = filter_by("instance-state-name", &["pending", "running", "stopping", "stopped"]);
        let request = aws.ec2.describe_instances().filters(tag).filters(states);
        let answer = aws.call(Service::Ec2, "DescribeInstances", cluster, request.send()).await?;
        let all = answer.reservations().iter().flat_map(|reservation| reservation.instances());
        found.extend(all.filter_map(|instance| {
            let id = instance.instance_id()?.to_owned();
            let (about, _) = makers::describe_instance(instance);
            Some((id.clone(), format!("{id} ({about})")))
        }));
    }
    Ok(found.into_values().collect())
}

/// What is left of a cluster that was deleted, for events: volumes with size and age, instances with who launched them, and the log
/// group. What cannot be read is named, too.
pub async fn describe(aws: &Session, cluster: &str, now: Timestamp) -> Vec<String> {
    let (volumes, instances, log_group) =
        futures::join!(volumes(aws, cluster), instances(aws, cluster), log_group::describe(aws, cluster));
    let unreadable =
        |what: &str, error: AwsError| format!("whether {what} of the cluster are left could not be read: {error}");
    let notes = [
        volumes.map_or_else(|error| Some(unreadable("volumes", error)), |all| describe_volumes(&all, now)),
        instances.map_or_else(|error| Some(unreadable("instances", error)), describe_instances),
        log_group.map_or_else(
            |error| Some(unreadable("logs", error)),
            |found| found.map(|found| describe_log_group(&log_group::name(cluster), &found)),
        ),
    ];
    notes.into_iter().flatten().collect()
}

fn describe_volumes(volumes: &[ClaimVolume], now: Timestamp) -> Option<String> {
    if volumes.is_empty() {
        return None;
    }
    let size: i32 = volumes.iter().map(|volume| volume.size_gib).sum();
    let named = first_few_joined(volumes.iter().map(|volume| volume.describe(now)), MAX_NAMED, ", ", " and ");
    Some(format!(
        "EBS volumes of the cluster's PersistentVolumeClaims are retained, {size} GiB in all: {named}: delete those \
         that nobody needs (aws ec2 delete-volume)"
    ))
}

fn describe_instances(instances: Vec<String>) -> Option<String> {
    if instances.is_empty() {
        return None;
    }
    let named = first_few_joined(instances, MAX_NAMED, ", ", " and ");
    Some(format!(
        "instances that carry the cluster's name still run: {named}: terminate those that nobody needs (aws ec2 \
         terminate-instances)"
    ))
}

fn describe_log_group(name: &str, found: &log_group::Detail) -> String {
    let mib = found.stored_bytes / (1 << 20);
    let retention = match found.retention_days {
        Some(days) => format!("which CloudWatch deletes after {days} days"),
        None => "which CloudWatch keeps for ever".to_owned(),
    };
    format!(
        "log group {name} of the control plane is retained with {mib} MiB of logs, {retention}: delete it if nobody needs \
         them (aws logs delete-log-group --log-group-name {name})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_group_is_described_with_size_and_retention() {
        let found = log_group::Detail { stored_bytes: 5 << 20, ..log_group::Detail::default() };
        let text = describe_log_group("/aws/eks/demo/cluster", &found);
        assert!(text.contains("with 5 MiB of logs, which CloudWatch keeps for ever: delete it"), "{text}");
        let text = describe_log_group("x", &log_group::Detail { retention_days: Some(30), ..found });
        assert!(text.contains("after 30 days"), "{text}");
    }
}
