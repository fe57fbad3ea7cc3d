//! Kinds of IAM resources: one file for each, with how their policies are compared.

pub mod external_role;
pub mod node_role;
pub mod oidc_provider;
pub mod policy_document;
mod principal_tags;
pub mod role;
mod role_calls;
pub mod role_diff;
pub mod role_name;
pub mod workload_content;
pub mod workload_policy;
pub mod workload_role;
