//! One file per kind of AWS resource: the desired state, the observed state, their diff, and how to create, update and
//! delete it.
//!
//! Not allowed here: Kubernetes clients. I/O: through [`crate::aws`] only.
//!
//! [`aws_validation`] checks a spec against AWS before the first write; [`expand`] turns a spec into the graph of resources
//! that must exist; [`layout`] assigns the subnets' address ranges. To add a kind: a file here, and a line in
//! [`expand`].

pub mod access_entry;
mod account_lists;
pub mod addon;
mod addon_diff;
pub mod addon_fargate;
pub mod adoption;
pub mod aws_validation;
pub mod blockers;
pub mod cloud;
pub mod cluster;
mod cluster_adoption;
mod cluster_diff;
mod cluster_request;
pub mod control_plane;
mod eks_lists;
pub mod elastic_ip;
pub mod existing_network;
pub mod expand;
mod expand_node_group;
mod external_role;
pub mod fargate_profile;
pub mod internet_gateway;
pub mod inventory;
pub mod kind;
mod layout;
pub mod leftovers;
mod marks;
pub mod nat_gateway;
pub mod node_access_entry;
pub mod node_group;
mod node_role;
pub mod oidc_provider;
pub mod owned_resources;
pub mod ownership;
pub mod pod_identity_association;
mod policy_document;
pub mod proof;
pub mod prune;
mod prune_calls;
pub mod pruned_kind;
pub mod readiness;
pub mod recovery;
mod removal_calls;
pub mod removals;
pub mod retag;
pub mod role;
mod role_diff;
pub mod route;
pub mod route_table;
pub mod route_table_association;
pub mod security_group;
pub mod source_identity;
pub mod subnet;
pub mod survey;
pub mod tagged_resources;
pub mod updates;
pub mod vpc;
pub mod vpc_endpoint;

pub use cloud::Cloud;
