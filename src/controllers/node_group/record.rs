//! The key of a NodeGroup's main resource, and what status records of its resources. Pure.

use jiff::Timestamp;

use crate::api::NodeGroup;
use crate::controllers::status::journal;
use crate::engine::{InventoryRecord, Key};
use crate::resources::eks::launch_template;

/// The key of the node group itself.
pub fn key(group: &NodeGroup) -> Key {
    Key::named("nodeGroup", group.node_group_name())
}

/// The resources that status records: the node group, and the launch template that Keelson created for it.
pub fn recorded(group: &NodeGroup) -> Vec<(Key, InventoryRecord)> {
    let Some(status) = group.status.as_ref().filter(|status| status.arn.is_some()) else { return Vec::new() };
    let at = Timestamp::UNIX_EPOCH;
    let operations = journal::parse_update_attempts(status.update_attempts);
    let name = group.node_group_name();
    let operation = status.update_id.clone();
    let own = InventoryRecord { id: Some(name.clone()), operation, operations, at };
    let template = status.launch_template.as_ref().map(|template| {
        let record =
            InventoryRecord { id: Some(template.id.clone()), operation: None, operations: Default::default(), at };
        (launch_template::key(&name), record)
    });
    std::iter::once((key(group), own)).chain(template).collect()
}
