//! The key of a NodeGroup's main resource, and what status records of its resources. Pure.

use jiff::Timestamp;

use crate::api::NodeGroup;
use crate::controllers::status::journal;
use crate::engine::{InventoryRecord, Key};
use crate::resources::eks::launch_template;

/// The key of the node group in use.
pub fn key(group: &NodeGroup) -> Key {
    Key::named("nodeGroup", group.node_group_name())
}

/// The resources that status records: the node group, during a replacement another one, and the launch template that Keelson
/// created.
pub fn recorded(group: &NodeGroup) -> Vec<(Key, InventoryRecord)> {
    let at = Timestamp::UNIX_EPOCH;
    let replacement = group.status.as_ref().and_then(|status| status.replacement.as_ref());
    let other = replacement.filter(|other| other.arn.is_some()).map(|other| {
        let name = other.node_group_name.clone();
        let record = InventoryRecord { id: Some(name.clone()), operation: None, operations: 0, at };
        (Key::named("nodeGroup", name), record)
    });
    let Some(status) = group.status.as_ref().filter(|status| status.arn.is_some()) else {
        return other.into_iter().collect();
    };
    let operations = journal::parse_update_attempts(status.update_attempts);
    let name = group.node_group_name();
    let operation = status.update_id.clone();
    let own = InventoryRecord { id: Some(name.clone()), operation, operations, at };
    let template = status.launch_template.as_ref().map(|template| {
        let record =
            InventoryRecord { id: Some(template.id.clone()), operation: None, operations: Default::default(), at };
        (launch_template::key(&name), record)
    });
    std::iter::once((key(group), own)).chain(template).chain(other).collect()
}
