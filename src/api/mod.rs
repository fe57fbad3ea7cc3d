//! What people write: the kinds of group `keelson.dev`, their defaults, validation rules, status and conditions.
//!
//! May not enter: AWS crates, kube clients, anything of the other folders. No I/O.
