//! The finalizer: it is on the object before the first write to AWS, and until nothing of ours is left there. I/O: the
//! management cluster's API.

use std::time::Instant;

use jiff::SignedDuration;
use kube::ResourceExt;

use super::{Provisioned, Reconcile, Step};
use crate::api::Reason;
use crate::controllers::runtime::apply::{self, Kind};
use crate::controllers::runtime::events::EventMessage;
use crate::controllers::status::report::{MANAGEMENT_API, Next};

/// Retry interval while the finalizer cannot be removed.
const RETRY_INTERVAL: SignedDuration = SignedDuration::from_secs(2);

impl<C: Provisioned> Reconcile<'_, C> {
    /// Whether our finalizer is on it, as far as is known.
    pub fn has_finalizer(&self) -> bool {
        let lately = self.state.finalizer_added.is_some_and(|at| at.elapsed().as_secs() < 30);
        apply::has_finalizer(self.object) || lately
    }

    /// Adds our finalizer before the first write to AWS.
    pub async fn add_finalizer(&mut self, previous: &C::Status) -> Step<C, ()> {
        if self.has_finalizer() {
            return Ok(());
        }
        if let Err(error) = apply::add_finalizer(&self.ctx.client, self.object).await {
            let message =
                format!("the finalizer was not added, so nothing is created in AWS: {}", apply::describe_error(&error));
            let (kind, name) = (C::Object::NAME, self.object.name_any());
            tracing::warn!(kind, namespace = self.namespace, name, message);
            return Err(self.record_not_written(previous, message).into());
        }
        self.state.finalizer_added = Some(Instant::now());
        Ok(())
    }

    /// Removes the finalizer: nothing of ours is left, or it is retained, which `event` says. `None`: it is removed.
    pub async fn remove_finalizer(&mut self, previous: &C::Status, event: Option<EventMessage>) -> Option<C::Outcome> {
        if let Some(event) = event {
            self.ctx.events.publish(self.object, vec![event]);
        }
        match apply::remove_finalizer(&self.ctx.client, self.object).await {
            Ok(()) => {
                self.state.finalizer_added = None;
                C::is_gone(self);
                None
            }
            Err(error) => {
                let message = format!("the finalizer was not removed: {}", apply::describe_error(&error));
                let next = Next::after(RETRY_INTERVAL, self.now).failed(MANAGEMENT_API);
                Some(self.waiting_until(previous, Reason::Deleting, message, next))
            }
        }
    }
}
