//! One file per kind of AWS resource: what is wanted, what is seen, how they differ, how it is made, changed and deleted.
//!
//! May not enter: Kubernetes clients. I/O: through [`crate::aws`] only.
//!
//! [`expand`] turns a spec into the graph of what must exist; [`layout`] says where subnets lie. To add a kind: a file here,
//! and a line in [`expand`].

pub mod access_entry;
pub mod addon;
mod addon_diff;
pub mod addon_fargate;
pub mod adoption;
pub mod blockers;
pub mod cloud;
pub mod cluster;
mod cluster_adoption;
mod cluster_diff;
mod cluster_request;
pub mod control_plane;
pub mod elastic_ip;
pub mod existing_network;
pub mod expand;
pub mod fargate_profile;
pub mod internet_gateway;
pub mod inventory;
pub mod layout;
pub mod leftovers;
pub mod made_by;
mod marks;
pub mod nat_gateway;
pub mod node_group;
mod node_role;
pub mod oidc_provider;
pub mod ownership;
pub mod pod_identity_association;
pub mod proof;
pub mod readiness;
pub mod role;
pub mod route;
pub mod route_table;
pub mod route_table_association;
pub mod security_group;
pub mod source_identity;
pub mod subnet;
pub mod survey;
pub mod unlisted;
mod unlisted_calls;
pub mod updates;
pub mod vpc;
pub mod vpc_endpoint;

pub use cloud::Cloud;
