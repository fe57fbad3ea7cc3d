//! The launch template that Keelson creates for `spec.node` of a NodeGroup: its contents, and its versions.
//!
//! Follows <https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html>.

pub mod content;
pub mod desired_content;
pub mod differences;
pub mod stored;
pub mod user_data;
pub mod versions;

pub use content::Content;
pub use desired_content::Cluster;
