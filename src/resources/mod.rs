//! One file per kind of AWS resource: what is wanted, what is seen, how they differ, how it is made, changed and deleted.
//!
//! May not enter: Kubernetes. I/O: through [`crate::aws`] only.
