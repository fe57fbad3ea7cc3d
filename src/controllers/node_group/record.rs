//! The key of a NodeGroup's main resource, and what status records of its resources. Pure.

use jiff::Timestamp;

use crate::api::NodeGroup;
use crate::api::status_cluster::ReplacementStatus;
use crate::controllers::status::journal;
use crate::engine::{InventoryRecord, Key};
use crate::resources::eks::{launch_template, node_group};

/// The key of the node group in use.
pub fn key(group: &NodeGroup) -> Key {
    node_group::key(&group.node_group_name())
}

/// The resources that status records: the node group, during a replacement another one, and the launch templates that Keelson
/// created for them.
pub fn recorded(group: &NodeGroup) -> Vec<(Key, InventoryRecord)> {
    let at = Timestamp::UNIX_EPOCH;
    let replacement = group.status.as_ref().and_then(|status| status.replacement.as_ref());
    let record = |id: &String| InventoryRecord { id: Some(id.clone()), operation: None, operations: 0, at };
    let other = replacement.filter(|other| other.arn.is_some());
    let other = other.map(|other| (node_group::key(&other.node_group_name), record(&other.node_group_name)));
    let template_of = |other: &ReplacementStatus| {
        let id = other.launch_template_id.as_ref()?;
        Some((launch_template::key(&other.node_group_name), record(id)))
    };
    let others = other.into_iter().chain(replacement.and_then(template_of));
    let Some(status) = group.status.as_ref().filter(|status| status.arn.is_some()) else {
        return others.collect();
    };
    let operations = journal::parse_update_attempts(status.update_attempts);
    let name = group.node_group_name();
    let operation = status.update_id.clone();
    let own = InventoryRecord { id: Some(name.clone()), operation, operations, at };
    let template = status.launch_template.as_ref();
    let template = template.map(|template| (launch_template::key(&name), record(&template.id)));
    std::iter::once((key(group), own)).chain(template).chain(others).collect()
}
