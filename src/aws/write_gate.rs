//! Whether this process may change AWS. No I/O.

use std::fmt;
use std::time::Duration;

/// Checked right before each write: whether this process may still change AWS.
pub trait WriteGate: Send + Sync + fmt::Debug {
    fn may_write(&self) -> bool;
    /// How long it stays open without renewal; `None`: forever.
    fn open_for(&self) -> Option<Duration>;
}

/// For the command line, which has no other replicas.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub struct AlwaysOpen;

#[cfg(test)]
impl WriteGate for AlwaysOpen {
    fn may_write(&self) -> bool {
        true
    }

    fn open_for(&self) -> Option<Duration> {
        None
    }
}
