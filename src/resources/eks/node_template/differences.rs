//! How two contents of the launch template differ, by the fields of `spec.node`; and what a plan shows of new ones. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{Content, Efa, Volume};
use super::user_data;
use crate::engine::Change;

/// The field of the contents as a whole.
pub const WHOLE: &str = "node";
/// Prefix of the fields.
pub const PREFIX: &str = "node.";
/// The field of what `spec.node` has no field for.
pub const OTHERS: &str = "node.others";
const NONE: &str = "(none)";

/// A value for each field that is set. `node.volumes` and `node.tags` have one for each device and key.
fn fields(content: &Content) -> BTreeMap<String, String> {
    let Content {
        image_id,
        user_data,
        volumes,
        http_tokens,
        hop_limit,
        security_groups,
        capacity_reservation,
        placement_group,
        capacity_block,
        efa,
        tags,
        others,
    } = content;
    let joined = |all: Vec<&str>| Some(all.join(", ")).filter(|text| !text.is_empty());
    let single = [
        ("imageId", image_id.clone()),
        ("userData", user_data.as_deref().map(user_data::describe)),
        ("metadata.httpTokens", http_tokens.clone()),
        ("metadata.httpPutResponseHopLimit", hop_limit.map(|limit| limit.to_string())),
        ("securityGroupIds", joined(security_groups.iter().map(String::as_str).collect())),
        ("capacityReservationId", capacity_reservation.clone()),
        ("placementGroup", placement_group.clone()),
        ("capacityBlock", capacity_block.clone()),
        ("efa", describe_efa(*efa)),
        ("others", joined(others.iter().map(String::as_str).collect())),
    ];
    let single = single.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let volumes = volumes.iter().map(|(device, volume)| (format!("volumes.{device}"), Volume::describe(volume)));
    let tags = tags.iter().map(|(key, value)| (format!("tags.{key}"), format!("{value:?}")));
    single.chain(volumes).chain(tags).map(|(name, value)| (format!("{PREFIX}{name}"), value)).collect()
}

fn describe_efa(efa: Efa) -> Option<String> {
    match efa {
        Efa::None => None,
        Efa::AsManyAsPossible => Some("on each network card".to_owned()),
        Efa::Cards(1) => Some("on 1 network card".to_owned()),
        Efa::Cards(cards) => Some(format!("on {cards} network cards")),
    }
}

/// The fields that differ; none only if the contents are equal.
pub fn differences(from: &Content, to: &Content) -> Vec<Change> {
    if from == to {
        return Vec::new();
    }
    let (before, after) = (fields(from), fields(to));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |of: &BTreeMap<String, String>, name: &String| of.get(name).cloned().unwrap_or_else(|| NONE.to_owned());
    let change = |name: &&String| Change::in_place((*name).clone(), value(&before, name), value(&after, name));
    let changes: Vec<_> = names.iter().map(change).filter(|change| change.from != change.to).collect();
    if changes.is_empty() {
        // They differ in what the texts do not show.
        return vec![Change::in_place(WHOLE, from.digest(), to.digest())];
    }
    changes
}

/// What a plan shows of the first version.
pub fn facts(content: &Content) -> Vec<(&'static str, String)> {
    let Content { volumes, tags, .. } = content;
    let join = |all: Vec<String>| Some(all.join("; ")).filter(|text| !text.is_empty());
    let of = |name: &str| fields(content).remove(&format!("{PREFIX}{name}"));
    let facts = [
        ("image", of("imageId")),
        ("userData", of("userData")),
        ("volumes", join(volumes.iter().map(|(device, one)| format!("{device} {}", one.describe())).collect())),
        ("httpTokens", of("metadata.httpTokens")),
        ("hopLimit", of("metadata.httpPutResponseHopLimit")),
        ("securityGroups", of("securityGroupIds")),
        ("capacityReservation", of("capacityReservationId")),
        ("placementGroup", of("placementGroup")),
        ("capacityBlock", of("capacityBlock")),
        ("efa", of("efa")),
        ("nodeTags", join(tags.iter().map(|(key, value)| format!("{key}={value}")).collect())),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
