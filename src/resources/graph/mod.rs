//! From a spec to the graph of resources that must exist: expansion, address ranges, who owns what, the table of kinds.

pub mod adoption;
pub mod expand;
pub mod expand_node_group;
pub mod kind;
pub mod layout;
pub mod ownership;
pub mod proof;
pub mod source_identity;
