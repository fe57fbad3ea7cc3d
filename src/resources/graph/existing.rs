//! Which objects exist in this management cluster. Pure.

use std::fmt;
use std::sync::Arc;

/// The objects that exist in this management cluster, by UID. An object that cannot be read counts as existing; without
/// access to the API, all do.
#[derive(Clone)]
pub struct Existing(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Existing {
    /// The objects for which `exists` returns true.
    pub fn new(exists: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(exists))
    }

    /// Whether an object with that UID exists.
    pub fn has(&self, uid: &str) -> bool {
        (self.0)(uid)
    }
}

impl Default for Existing {
    fn default() -> Self {
        Self::new(|_| true)
    }
}

impl fmt::Debug for Existing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Existing")
    }
}
