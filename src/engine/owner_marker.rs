//! What shows in the cloud which object owns a resource: written on adoption, removed on release. No I/O of its own.

use async_trait::async_trait;

use super::failure::Failure;

/// A client that marks resources with their owner.
#[async_trait]
pub trait MarkOwner: Send + Sync {
    /// The marker of one resource: what it says, and where it is.
    type Marker: Send + Sync;

    /// Writes the marker, and nothing else.
    async fn mark(&self, marker: &Self::Marker) -> Result<(), Failure>;

    /// Removes the marker, and nothing else.
    async fn unmark(&self, marker: &Self::Marker) -> Result<(), Failure>;
}

/// For graphs of tests in which nothing is adopted or released.
#[cfg(test)]
#[async_trait]
impl MarkOwner for () {
    type Marker = ();

    async fn mark(&self, (): &()) -> Result<(), Failure> {
        Err(Failure::invalid("not part of this test"))
    }

    async fn unmark(&self, (): &()) -> Result<(), Failure> {
        Err(Failure::invalid("not part of this test"))
    }
}
