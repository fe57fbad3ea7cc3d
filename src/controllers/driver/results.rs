//! What the steps of a reconcile pass on to the next. No I/O.

use crate::controllers::account::Grant;
use crate::controllers::account::named::ResourceReference;
use crate::controllers::recovery_requests::RecoveryRequest;
use crate::controllers::status::conditions::Overall;
use crate::controllers::status::finish_reconcile::Next;
use crate::controllers::status::waits::Wait;
use crate::engine::{ExecutionPolicy, Report};

/// An object that may be reconciled, with what its spec refers to in the management cluster.
pub struct Valid<T> {
    /// The access to its account.
    pub grant: Grant,
    /// The AWS resources that its spec names.
    pub named: Vec<ResourceReference>,
    /// The takeover that a user requests, which comes before the spec.
    pub request: Option<RecoveryRequest>,
    /// What is the kind's own.
    pub own: T,
}

/// What the engine did.
pub struct Executed<T> {
    pub report: Report,
    /// Which steps were allowed.
    pub policy: ExecutionPolicy,
    /// Digest of the requested state.
    pub asked: String,
    /// What is the kind's own.
    pub own: T,
}

/// What a reconcile leads to: the status, and when to requeue.
pub struct StatusUpdate<S> {
    pub status: S,
    pub overall: Overall,
    /// What is waited for; `None`: nothing was observed, or the conditions say what is waited for.
    pub waits: Option<Vec<Wait>>,
    /// Part of the spec waits for a maintenance window, even if the object is Ready.
    pub is_held: bool,
    pub next: Next,
}
