//! What costs money after a cluster is deleted, and lies in no network of ours: EBS volumes of its PersistentVolumeClaims,
//! and instances that its autoscaler launched. Named at the end of a deletion. I/O: reads of EC2.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::claim_volumes::{OF_AUTO_MODE, filter_by, volumes};
use super::makers;
use crate::api::listing::first_few_joined;
use crate::aws::{AwsError, Service, Session};

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

/// What is left of a cluster that was deleted, for events: volumes with size and age, and instances with who launched them.
///
/// # Errors
/// Those of the reads.
pub async fn describe(aws: &Session, cluster: &str, now: Timestamp) -> Result<Vec<String>, AwsError> {
    let (volumes, instances) = futures::try_join!(volumes(aws, cluster), instances(aws, cluster))?;
    let mut notes = Vec::new();
    if !volumes.is_empty() {
        let size: i32 = volumes.iter().map(|volume| volume.size_gib).sum();
        let named = first_few_joined(volumes.iter().map(|volume| volume.describe(now)), MAX_NAMED, ", ", " and ");
        notes.push(format!(
            "EBS volumes of the cluster's PersistentVolumeClaims are retained, {size} GiB in all: {named}: delete those \
             that nobody needs (aws ec2 delete-volume)"
        ));
    }
    if !instances.is_empty() {
        let named = first_few_joined(instances, MAX_NAMED, ", ", " and ");
        notes.push(format!(
            "instances that carry the cluster's name still run: {named}: terminate those that nobody needs (aws ec2 \
             terminate-instances)"
        ));
    }
    Ok(notes)
}
