//! Watches, finalizers, status, events and leader election on the management cluster.
//!
//! May not enter: AWS calls. I/O: the management cluster's API.
