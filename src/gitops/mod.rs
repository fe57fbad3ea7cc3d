//! Agents in the workload cluster: access to its API, what is installed there, and what its status says.
//!
//! May not enter: AWS resources. I/O: the workload cluster's API.
