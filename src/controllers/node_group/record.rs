//! The key of a NodeGroup's only resource, and what status records of it. Pure.

use jiff::Timestamp;

use crate::api::NodeGroup;
use crate::controllers::status::journal;
use crate::engine::{InventoryRecord, Key};

/// The key of a node group's only resource.
pub fn key(group: &NodeGroup) -> Key {
    Key::named("nodeGroup", group.node_group_name())
}

/// The resource that status records.
pub fn recorded(group: &NodeGroup) -> Option<(Key, InventoryRecord)> {
    group.status.as_ref()?.arn.as_ref()?;
    let operation = group.status.as_ref().and_then(|status| status.update_id.clone());
    let operations = journal::parse_update_attempts(group.status.as_ref().and_then(|status| status.update_attempts));
    Some((
        key(group),
        InventoryRecord { id: Some(group.node_group_name()), operation, operations, at: Timestamp::UNIX_EPOCH },
    ))
}
