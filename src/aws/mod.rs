//! The AWS edge: accounts and sessions, rate limits, error classes, ownership tags, shared snapshots.
//!
//! May not enter: what a cluster is, Kubernetes. I/O: AWS calls, all through [`session::Session::call`].
