//! Names in EKS that Cluster API gives where its objects have none. Pure.

use super::object::Object;

/// Lengths from which on it takes a hash in place of the name.
pub const CLUSTER: usize = 100;
pub const NODE_GROUP: usize = 64;
pub const FARGATE_PROFILE: usize = 100;

/// What to do about a name that is a hash.
pub const HASHED: &str =
    "is missing, and the name in EKS is a hash because namespace and name are long: write the name that EKS shows";

/// The name of an object without one: namespace and name. `None`: it is longer than `limit`, and EKS has a hash.
pub fn in_eks(object: &Object, limit: usize) -> Option<String> {
    let name = format!("{}_{}", object.namespace, object.name.replace('.', "_"));
    (name.len() < limit).then_some(name)
}
