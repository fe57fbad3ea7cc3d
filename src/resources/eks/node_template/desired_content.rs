//! The contents that a NodeGroup's spec, its cluster and its tags ask for. Pure.

use std::collections::BTreeMap;

use super::content::{Content, Efa, Volume};
use super::user_data::{self, ClusterDetails};
use crate::api::SpecError;
use crate::api::node_template::{MetadataOptions, NodeTemplate, Volume as VolumeSpec};
use crate::aws::tags::NAME;

/// What the contents need of the cluster; each `None` until it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its security group.
    pub security_group: Option<String>,
    /// What a NodeConfig needs of it.
    pub details: Option<ClusterDetails>,
}

/// Address, certificate authority and range of Services.
pub type Address = (Option<String>, Option<String>, Option<String>);

impl Cluster {
    /// What is known of the cluster with that name.
    pub fn new(name: String, security_group: Option<String>, address: Address) -> Self {
        let (endpoint, certificate_authority, service_cidr) = address;
        let known = endpoint.zip(certificate_authority).zip(service_cidr);
        let details = known.map(|((endpoint, certificate_authority), service_cidr)| ClusterDetails {
            name,
            endpoint,
            certificate_authority,
            service_cidr,
        });
        Self { security_group, details }
    }
}

/// The contents; `None` while they depend on what is not known of the cluster. `name`: the `Name` of the nodes' resources.
///
/// # Errors
/// A value that AWS would refuse.
pub fn content(
    spec: &NodeTemplate,
    cluster: &Cluster,
    name: &str,
    tags: &BTreeMap<String, String>,
) -> Result<Option<Content>, SpecError> {
    let NodeTemplate {
        image_id,
        node_config,
        user_data: _,
        volumes,
        metadata,
        security_group_ids,
        capacity_reservation_id,
        placement_group,
        efa,
    } = spec;
    let MetadataOptions { http_put_response_hop_limit, http_tokens } = metadata.clone().unwrap_or_default();
    let needs_details =
        image_id.is_some() && node_config.as_ref().is_some_and(|config| !user_data::names_cluster(config));
    let user_data = user_data::user_data(spec, cluster.details.as_ref().filter(|_| needs_details))?;
    // EKS adds the cluster's security group only to nodes whose template names none.
    let names_groups = !security_group_ids.is_empty() || *efa;
    if needs_details && cluster.details.is_none() || names_groups && cluster.security_group.is_none() {
        return Ok(None);
    }
    let mut tags = tags.clone();
    tags.entry(NAME.to_owned()).or_insert_with(|| name.to_owned());
    Ok(Some(Content {
        image_id: image_id.clone(),
        user_data,
        volumes: volumes.iter().map(|one| (one.device_name.clone(), volume(one))).collect(),
        http_tokens,
        hop_limit: http_put_response_hop_limit,
        security_groups: security_group_ids
            .iter()
            .chain(cluster.security_group.iter().filter(|_| names_groups))
            .cloned()
            .collect(),
        capacity_reservation: capacity_reservation_id.clone(),
        placement_group: placement_group.clone(),
        capacity_block: None,
        efa: if *efa { Efa::AsManyAsPossible } else { Efa::None },
        tags,
        others: std::collections::BTreeSet::new(),
    }))
}

fn volume(spec: &VolumeSpec) -> Volume {
    let VolumeSpec { device_name: _, size_gib, volume_type, iops, throughput, kms_key_arn, encrypted } = spec;
    Volume {
        size: *size_gib,
        volume_type: volume_type.clone(),
        iops: *iops,
        throughput: *throughput,
        key: kms_key_arn.clone(),
        encrypted: *encrypted,
    }
}
