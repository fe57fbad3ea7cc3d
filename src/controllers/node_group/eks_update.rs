//! Whether EKS replaces the nodes of a node group, as last observed. Pure.

use crate::engine::{Class, Key, Memory};
use crate::resources::eks::lifecycle;

/// Whether EKS is replacing the nodes of the node group.
pub fn replaces_nodes(memory: &Memory, key: &Key) -> bool {
    let operation = memory.observed(key).and_then(|observed| observed.operation.as_ref());
    operation.is_some_and(|operation| lifecycle::is_version_update(&operation.kind))
}

/// Whether EKS gave up on replacing nodes because their pods could not be evicted.
pub fn evictions_failed(memory: &Memory, key: &Key) -> bool {
    let failed = memory.observed(key).and_then(|observed| observed.failed_operation.as_ref());
    failed.is_some_and(|failed| failed.failure.class == Class::EvictionBlocked)
}
