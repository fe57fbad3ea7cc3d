//! What all written objects have in common. Pure.

/// Where the objects belong.
#[derive(Clone, Debug, Default)]
pub struct ObjectPlacement {
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// `spec.accountRef.name` of the cluster.
    pub account_ref: Option<String>,
}
