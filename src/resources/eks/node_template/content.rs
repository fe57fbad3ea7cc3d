//! The contents of a version of the launch template: desired, and as EC2 takes them ([`super::stored`]: as EC2 returns them). Pure.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types as sdk;
use sdk::builders::RequestLaunchTemplateDataBuilder;
use sha2::{Digest, Sha256};

/// The resources that EC2 tags when it launches a node.
pub(super) const TAGGED: [sdk::ResourceType; 3] =
    [sdk::ResourceType::Instance, sdk::ResourceType::NetworkInterface, sdk::ResourceType::Volume];
pub(super) const EFA: &str = "efa";

/// What a version sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub image_id: Option<String>,
    /// In base64, as EC2 stores it.
    pub user_data: Option<String>,
    /// By device.
    pub volumes: BTreeMap<String, Volume>,
    pub http_tokens: Option<String>,
    pub hop_limit: Option<i32>,
    pub security_groups: BTreeSet<String>,
    pub capacity_reservation: Option<String>,
    pub placement_group: Option<String>,
    pub efa: Efa,
    /// Tags of instances, volumes and network interfaces. Those of one of them that the others lack show as missing.
    pub tags: BTreeMap<String, String>,
    /// Everything else that a version sets, by the names of EC2: Keelson never sets it.
    pub others: BTreeSet<String>,
}

/// The Elastic Fabric Adapters of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Efa {
    #[default]
    None,
    /// As many as the instance types have; not read from EC2 yet.
    AsManyAsPossible,
    /// One on each of the first network cards.
    Cards(i32),
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    pub size: Option<i32>,
    pub volume_type: String,
    pub iops: Option<i32>,
    pub throughput: Option<i32>,
    pub key: Option<String>,
    pub encrypted: bool,
}

impl Content {
    /// The same with the number of network cards, where it was open.
    #[must_use]
    pub fn with_cards(mut self, cards: i32) -> Self {
        if self.efa == Efa::AsManyAsPossible {
            self.efa = Efa::Cards(cards);
        }
        self
    }

    /// A short text that only equal contents have.
    pub fn digest(&self) -> String {
        let digest = Sha256::digest(format!("{self:?}"));
        let digest: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("sha256 {digest}")
    }

    /// As EC2 takes it.
    pub fn to_request(&self) -> sdk::RequestLaunchTemplateData {
        let mut data = sdk::RequestLaunchTemplateData::builder()
            .set_image_id(self.image_id.clone())
            .set_user_data(self.user_data.clone());
        for (device, volume) in &self.volumes {
            data = data.block_device_mappings(volume.to_request(device));
        }
        if self.http_tokens.is_some() || self.hop_limit.is_some() {
            let tokens = self.http_tokens.as_deref().map(sdk::LaunchTemplateHttpTokensState::from);
            let options = sdk::LaunchTemplateInstanceMetadataOptionsRequest::builder()
                .set_http_tokens(tokens)
                .set_http_put_response_hop_limit(self.hop_limit);
            data = data.metadata_options(options.build());
        }
        if let Some(id) = &self.capacity_reservation {
            let target = sdk::CapacityReservationTarget::builder().capacity_reservation_id(id).build();
            let specification = sdk::LaunchTemplateCapacityReservationSpecificationRequest::builder();
            data = data.capacity_reservation_specification(specification.capacity_reservation_target(target).build());
        }
        if let Some(name) = &self.placement_group {
            data = data.placement(sdk::LaunchTemplatePlacementRequest::builder().group_name(name).build());
        }
        for kind in TAGGED.into_iter().filter(|_| !self.tags.is_empty()) {
            let tag = |(key, value): (&String, &String)| sdk::Tag::builder().key(key).value(value).build();
            let tags = self.tags.iter().map(tag).collect();
            let tags = sdk::LaunchTemplateTagSpecificationRequest::builder().resource_type(kind).set_tags(Some(tags));
            data = data.tag_specifications(tags.build());
        }
        self.network(data).build()
    }

    /// EC2 takes security groups of the instance or of its network interfaces, not both.
    fn network(&self, mut data: RequestLaunchTemplateDataBuilder) -> RequestLaunchTemplateDataBuilder {
        let groups = || Some(self.security_groups.iter().cloned().collect::<Vec<_>>()).filter(|all| !all.is_empty());
        let cards = match self.efa {
            Efa::None => return data.set_security_group_ids(groups()),
            Efa::AsManyAsPossible => 1,
            Efa::Cards(cards) => cards,
        };
        for card in 0..cards {
            // https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/create-efa.html
            let interface = sdk::LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
                .device_index(i32::from(card > 0))
                .network_card_index(card)
                .interface_type(EFA)
                .delete_on_termination(true)
                .set_groups(groups());
            data = data.network_interfaces(interface.build());
        }
        data
    }
}

impl Volume {
    fn to_request(&self, device: &str) -> sdk::LaunchTemplateBlockDeviceMappingRequest {
        let ebs = sdk::LaunchTemplateEbsBlockDeviceRequest::builder()
            .delete_on_termination(true)
            .set_volume_size(self.size)
            .volume_type(sdk::VolumeType::from(self.volume_type.as_str()))
            .set_iops(self.iops)
            .set_throughput(self.throughput)
            .set_kms_key_id(self.key.clone())
            .encrypted(self.encrypted);
        sdk::LaunchTemplateBlockDeviceMappingRequest::builder().device_name(device).ebs(ebs.build()).build()
    }

    /// As in a plan, e.g. `80 GiB gp3, 3000 iops, encrypted`.
    pub fn describe(&self) -> String {
        let size = self.size.map(|size| format!("{size} GiB "));
        let iops = self.iops.map(|iops| format!(", {iops} iops"));
        let throughput = self.throughput.map(|throughput| format!(", {throughput} MiB/s"));
        let encrypted = match (&self.key, self.encrypted) {
            (Some(key), true) => format!(", encrypted with {key}"),
            (Some(key), false) => format!(", not encrypted, with {key}"),
            (None, true) => ", encrypted".to_owned(),
            (None, false) => ", not encrypted".to_owned(),
        };
        let [size, iops, throughput] = [size, iops, throughput].map(Option::unwrap_or_default);
        format!("{size}{}{iops}{throughput}{encrypted}", self.volume_type)
    }
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
