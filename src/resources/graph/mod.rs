//! From a spec to the graph of resources that must exist: expansion, address ranges, who owns what, the table of kinds.

pub mod adoption;
pub mod existing;
pub mod expand;
mod expand_karpenter;
pub mod expand_network;
pub mod expand_node_group;
pub mod kind;
pub mod kinds;
pub mod layout;
pub mod located;
pub mod ownership;
pub mod proof;
pub mod source_identity;
