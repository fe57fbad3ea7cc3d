//! Contents as EC2 returns them. Everything that a version sets is either a value of [`Content`], or named in its `others`: a version
//! that sets anything else than Keelson writes equals no desired contents, so it is neither used again nor left in use. Pure.
//!
//! EC2 returns what a version was created with, and of its own accord `State` of the metadata options, `Operator`, and defaults beside
//! metadata options that were set
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LaunchTemplateInstanceMetadataOptions.html>,
//! hashicorp/terraform-provider-aws#29024).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use aws_sdk_ec2::types as sdk;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::content::{Content, EFA, Efa, TAGGED, Volume};

/// Takes what Keelson writes out of a copy; what is left are the others.
impl From<&sdk::ResponseLaunchTemplateData> for Content {
    fn from(data: &sdk::ResponseLaunchTemplateData) -> Self {
        let mut rest = data.clone();
        let mut others = BTreeSet::new();
        let image_id = take_text(&mut rest.image_id);
        let user_data = take_text(&mut rest.user_data).map(|text| canonical(&text));
        let volumes = take_volumes(rest.block_device_mappings.as_mut(), &mut others);
        let (http_tokens, hop_limit) = take_metadata_options(rest.metadata_options.as_mut());
        let (efa, security_groups) = take_network(&mut rest, &mut others);
        let reservation = rest.capacity_reservation_specification.as_mut();
        let target = reservation.and_then(|specification| specification.capacity_reservation_target.as_mut());
        let capacity_reservation = target.and_then(|target| take_text(&mut target.capacity_reservation_id));
        let placement_group = rest.placement.as_mut().and_then(|placement| take_text(&mut placement.group_name));
        let tags = take_tags(rest.tag_specifications.as_mut());
        rest.operator = rest.operator.filter(|operator| operator.managed() == Some(true));
        others.extend(set_fields(&rest));
        Self {
            image_id,
            user_data,
            volumes,
            http_tokens,
            hop_limit,
            security_groups,
            capacity_reservation,
            placement_group,
            efa,
            tags,
            others,
        }
    }
}

/// EC2 may return what is not set as empty text.
fn take_text(text: &mut Option<String>) -> Option<String> {
    text.take().filter(|text| !text.is_empty())
}

/// Base64 as Keelson writes it.
fn canonical(base64: &str) -> String {
    STANDARD.decode(base64.trim()).map_or_else(|_| base64.to_owned(), |bytes| STANDARD.encode(bytes))
}

fn take_volumes(
    mappings: Option<&mut Vec<sdk::LaunchTemplateBlockDeviceMapping>>,
    others: &mut BTreeSet<String>,
) -> BTreeMap<String, Volume> {
    let mut volumes = BTreeMap::new();
    for mapping in mappings.into_iter().flatten() {
        let (Some(device), Some(ebs)) = (&mapping.device_name, &mut mapping.ebs) else { continue };
        if volumes.contains_key(device) {
            continue;
        }
        if ebs.delete_on_termination.take() != Some(true) {
            others.insert("BlockDeviceMappings.Ebs.DeleteOnTermination".to_owned());
        }
        let volume = Volume {
            size: ebs.volume_size.take(),
            volume_type: ebs.volume_type.take().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
            iops: ebs.iops.take(),
            throughput: ebs.throughput.take(),
            key: take_text(&mut ebs.kms_key_id),
            encrypted: ebs.encrypted.take().unwrap_or_default(),
        };
        volumes.extend(mapping.device_name.take().map(|device| (device, volume)));
    }
    volumes
}

fn take_metadata_options(
    options: Option<&mut sdk::LaunchTemplateInstanceMetadataOptions>,
) -> (Option<String>, Option<i32>) {
    use sdk::LaunchTemplateInstanceMetadataEndpointState as Endpoint;
    use sdk::LaunchTemplateInstanceMetadataProtocolIpv6 as Ipv6;
    use sdk::LaunchTemplateInstanceMetadataTagsState as Tags;
    let Some(options) = options else { return (None, None) };
    options.state = None;
    options.http_endpoint.take_if(|endpoint| *endpoint == Endpoint::Enabled);
    options.http_protocol_ipv6.take_if(|ipv6| *ipv6 == Ipv6::Disabled);
    options.instance_metadata_tags.take_if(|tags| *tags == Tags::Disabled);
    (options.http_tokens.take().map(|tokens| tokens.as_str().to_owned()), options.http_put_response_hop_limit.take())
}

/// The adapters and the groups: of the instance, or the same of each interface.
fn take_network(rest: &mut sdk::ResponseLaunchTemplateData, others: &mut BTreeSet<String>) -> (Efa, BTreeSet<String>) {
    let interfaces = rest.network_interfaces.iter_mut().flatten();
    let mut found: Vec<_> = interfaces
        .map(|one| {
            let (card, device) = (one.network_card_index.take(), one.device_index.take());
            let groups: BTreeSet<String> = one.groups.take().unwrap_or_default().into_iter().collect();
            let kind = (one.interface_type.take(), one.delete_on_termination.take());
            (card.unwrap_or_default(), device.unwrap_or_default(), kind, groups)
        })
        .collect();
    found.sort();
    let Some((.., groups)) = found.first().cloned() else {
        return (Efa::None, rest.security_group_ids.take().unwrap_or_default().into_iter().collect());
    };
    let is_written = |(card, one): (i32, &_)| {
        *one == (card, i32::from(card > 0), (Some(EFA.to_owned()), Some(true)), groups.clone())
    };
    if !(0..).zip(&found).all(is_written) {
        others.insert("NetworkInterfaces".to_owned());
        return (Efa::None, BTreeSet::new());
    }
    (Efa::Cards(i32::try_from(found.len()).unwrap_or(i32::MAX)), groups)
}

/// The tags that all of them have, and, with another value, those that only some have.
fn take_tags(specifications: Option<&mut Vec<sdk::LaunchTemplateTagSpecification>>) -> BTreeMap<String, String> {
    let mut by_kind: [Option<BTreeMap<String, String>>; 3] = Default::default();
    for one in specifications.into_iter().flatten() {
        let position = TAGGED.iter().position(|kind| one.resource_type() == Some(kind));
        // A second list of one kind is left.
        let Some(tags) = position.and_then(|at| by_kind.get_mut(at)).filter(|tags| tags.is_none()) else { continue };
        let all = one.tags.take().unwrap_or_default().into_iter();
        *tags = Some(all.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect());
        one.resource_type = None;
    }
    let keys: BTreeSet<String> = by_kind.iter().flatten().flat_map(|tags| tags.keys().cloned()).collect();
    let value = |key: &String| {
        let values: BTreeSet<_> = by_kind.iter().map(|tags| tags.as_ref().and_then(|tags| tags.get(key))).collect();
        match values.into_iter().collect::<Vec<_>>().as_slice() {
            [Some(value)] => (*value).clone(),
            // No tag can have this value: AWS allows no parentheses.
            _ => "(not on all)".to_owned(),
        }
    };
    keys.into_iter().map(|key| (key.clone(), value(&key))).collect()
}

/// The fields that are set, by their paths, such as `MetadataOptions.HttpEndpoint`. Read from the output for debugging, which has all fields:
/// also those that a later version of EC2's API adds.
fn set_fields(data: &impl Debug) -> BTreeSet<String> {
    let text = format!("{data:#?}");
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        path.retain(|(outer, _)| *outer < indent);
        let is_name = |text: &str| text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
        let field = line.split_once(": ").filter(|(name, _)| is_name(name));
        let value = field.map_or(line, |(_, value)| value);
        path.extend(field.map(|(name, _)| (indent, in_pascal_case(name))));
        let is_empty = ["None,", "[],", "\"\","].contains(&value);
        let is_structure = value.ends_with(['(', '[', '{']) || value.starts_with([')', ']', '}']);
        if !is_empty && !is_structure {
            let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
            found.insert(names.join("."));
        }
    }
    // The SDK prints a placeholder for it, also where there is none.
    found.remove("UserData");
    found
}

fn in_pascal_case(name: &str) -> String {
    let parts = name.split('_').filter_map(|part| part.split_at_checked(1));
    parts.map(|(first, rest)| first.to_ascii_uppercase() + rest).collect()
}
