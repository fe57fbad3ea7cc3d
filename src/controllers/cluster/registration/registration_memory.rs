//! What is remembered of the Secret that registers a cluster. No I/O.

use jiff::Timestamp;

use crate::api::registration::RegistrationStatus;
use crate::api::status_cluster::EksClusterStatus;

/// What is remembered of the Secret.
#[derive(Debug, Default)]
pub struct Memory {
    /// Digest of the place and the content that were last found in it, and when.
    pub verified: Option<(u64, Timestamp)>,
    /// The failure that was published last.
    pub published: Option<String>,
    /// Whether the deletion of the object has deleted it.
    pub is_removed: bool,
}

impl Memory {
    /// What status records of it while the object is deleted.
    pub fn recorded(&self, previous: &EksClusterStatus) -> Option<RegistrationStatus> {
        previous.registration.clone().filter(|_| !self.is_removed)
    }
}
