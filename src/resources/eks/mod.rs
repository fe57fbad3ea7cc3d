//! Kinds of EKS resources: one file (or folder) for each, with the updates that EKS runs for them.

pub mod access_entry;
pub mod addon;
pub mod addon_diff;
pub mod addon_fargate;
mod addon_roles;
pub mod cluster;
pub mod cluster_adoption;
pub mod cluster_create;
pub mod cluster_deletion;
pub mod cluster_diff;
pub mod cluster_request;
pub mod control_plane;
pub mod control_plane_config;
pub mod control_plane_zones;
pub mod fargate_profile;
pub mod health_issues;
pub mod launch_template;
pub mod lists;
pub mod log_group;
pub mod node_access_entry;
pub mod node_group;
pub mod node_template;
pub mod offered_versions;
pub mod pod_identity_association;
pub mod updates;
pub mod upgrade_data;
