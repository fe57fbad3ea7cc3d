//! Graph, plan, check, execute, and when to look again.
//!
//! May not enter: any kind of resource, any AWS or Kubernetes crate. A second cloud would use it as it is.
//! I/O: none of its own; the executor awaits what the resources do.
